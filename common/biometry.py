"""The two diameters of a head, and whether an annotation of them can be right."""

from __future__ import annotations

import numpy as np
import pandas as pd

from common.dataset import coordinates, find_subjects

# OFD and BPD are the axes of one head in one plane, and a skull there is close to an ellipse: its
# axes are perpendicular, halve each other, and their ratio, the cephalic index, is 0.78 ± 0.04
# (Hadlock et al. 1981). The limits leave room for odd heads and for a hand that slips. What lies
# beyond them is no pair of axes.
MIN_ANGLE = 70.0  # degrees between the two
MAX_MIDPOINT_DISTANCE = 0.2  # of the longer one
MIN_RATIO = 0.6  # of the shorter to the longer one; more than four standard deviations below


def diameters(landmarks: np.ndarray) -> np.ndarray:
    """The lengths of (OFD, BPD) in the unit of the landmarks: [N, 4, 2] → [N, 2]."""
    ends = landmarks.reshape(-1, 2, 2, 2)  # image, diameter, end, (x, y)
    return np.linalg.norm(ends[:, :, 1] - ends[:, :, 0], axis=-1)


def normalised_errors(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """For each diameter, the mean distance of its two ends over its true length.

    predicted, true: [N, 4, 2] in pixels of the original image. Returns [N, 2] for (OFD, BPD).
    Which end is called 1 is a convention, so of the two ways to pair the ends the better one
    counts, as in the public multi-centre fetal biometry benchmark. NaN where the true length is 0.
    """
    ours, theirs = predicted.reshape(-1, 2, 2, 2), true.reshape(-1, 2, 2, 2)
    distances = [
        np.linalg.norm(ours - paired, axis=-1).mean(axis=-1)
        for paired in (theirs, theirs[:, :, ::-1])
    ]
    lengths = diameters(true)
    return np.minimum(*distances) / np.where(lengths > 0, lengths, np.nan)


def audit_annotations(table: pd.DataFrame) -> pd.DataFrame:
    """Measure each annotation of a ground truth, in pixels of its original image.

    Returns, under the index of the table: `ofd_px` and `bpd_px`, the lengths; `angle`, the acute
    angle between the two in degrees; `midpoint_distance`, over the longer one; `ratio` of the
    shorter to the longer one; and whether the annotation is `plausible` by these three. Where a
    diameter has no length, what cannot be measured is NaN, and the annotation not plausible.
    """
    landmarks = coordinates(table)
    lengths = diameters(landmarks)
    ends = landmarks.reshape(-1, 2, 2, 2)  # image, diameter, end, (x, y)
    vectors = ends[:, :, 1] - ends[:, :, 0]
    midpoints = ends.mean(axis=2)
    shorter, longer = lengths.min(axis=1), lengths.max(axis=1)
    with np.errstate(invalid="ignore"):  # 0 / 0
        cosine = np.abs((vectors[:, 0] * vectors[:, 1]).sum(axis=-1)) / lengths.prod(axis=1)
        distance = np.linalg.norm(midpoints[:, 0] - midpoints[:, 1], axis=-1) / longer
        ratio = shorter / longer
    angle = np.degrees(np.arccos(np.minimum(cosine, 1)))  # rounding can lead beyond 1
    return pd.DataFrame(
        {
            "ofd_px": lengths[:, 0],
            "bpd_px": lengths[:, 1],
            "angle": angle,
            "midpoint_distance": distance,
            "ratio": ratio,
            "plausible": (angle > MIN_ANGLE)
            & (distance < MAX_MIDPOINT_DISTANCE)
            & (ratio > MIN_RATIO),
        },
        index=table.index,
    )


def images_of_training_subjects(parts: dict[str, pd.DataFrame]) -> dict[str, pd.Series]:
    """For the parts `val` and `test`, which of their images show a subject that `train` shows too.

    Empty where there are no such parts or nothing says who is on an image (see find_subjects).
    """
    subjects = find_subjects(pd.concat(parts.values()))
    if subjects is None or "train" not in parts:
        return {}
    in_training = subjects.isin(subjects[parts["train"].index])
    return {name: in_training[parts[name].index] for name in ("val", "test")}


def audit_line(parts: dict[str, pd.DataFrame]) -> str:
    """What the audit finds, in one line, for a ground truth in parts (`train`, `val`, `test`)."""
    table = pd.concat(parts.values())
    audit = audit_annotations(table)
    text = f"Audit: {audit['plausible'].sum()} of {len(table)} annotations plausible"
    if "test" in parts:
        rows = parts["test"].index
        text += f", {audit.loc[rows, 'plausible'].sum()} of {len(rows)} in test"
    text += f"; OFD shorter than BPD in {(audit['ofd_px'] < audit['bpd_px']).sum()}"
    seen = images_of_training_subjects(parts)
    if seen:
        counts = " and ".join(f"{s.sum()} of {len(s)} {name}" for name, s in seen.items())
        text += f"; subjects of training in {counts} images"
    return text
