"""The two diameters of a head: lengths, errors, circumference, and whether they can be its axes."""

from __future__ import annotations

import numpy as np
import pandas as pd

DIAMETERS = ("ofd", "bpd")  # as in the names of columns

# OFD and BPD are the axes of one head in one plane, and a skull there is close to an ellipse: its
# axes are perpendicular, halve each other, and their ratio, the cephalic index, is 0.78 ± 0.04
# (Hadlock et al. 1981). The limits leave room for unusual heads and for an imprecise hand.
MIN_ANGLE = 70.0  # degrees between the two
MAX_MIDPOINT_DISTANCE = 0.2  # of the longer one
MIN_RATIO = 0.6  # of the shorter to the longer one; over four standard deviations below


def diameters(landmarks: np.ndarray) -> np.ndarray:
    """Measure (OFD, BPD) in the unit of the landmarks: [N, 4, 2] → [N, 2]."""
    ends = landmarks.reshape(-1, 2, 2, 2)  # image, diameter, end, (x, y)
    return np.linalg.norm(ends[:, :, 1] - ends[:, :, 0], axis=-1)


def circumference(diameters: np.ndarray) -> np.ndarray:
    """Return the circumference of the ellipse with these two axes, [N, 2], in their unit: [N]. This
    is Ramanujan's second approximation (1914, "Modular equations and approximations to π"); for the
    axes of a head it errs by less than a millionth."""
    longer, shorter = diameters.max(axis=1) / 2, diameters.min(axis=1) / 2
    with np.errstate(invalid="ignore"):  # two points: 0 / 0
        h = ((longer - shorter) / (longer + shorter)) ** 2
    return np.pi * (longer + shorter) * (1 + 3 * h / (10 + np.sqrt(4 - 3 * h)))


def measure_axes(landmarks: np.ndarray, index: pd.Index | None = None) -> pd.DataFrame:
    """Measure whether OFD and BPD, of landmarks [N, 4, 2] in px of the original images, can be the
    two axes of a head: the audit's rule. index: that of the returned table.

    Returns `ofd_px` and `bpd_px`, the lengths; `angle`, the acute angle between the two in
    degrees; `midpoint_distance`, over the longer one; `ratio` of the shorter to the longer one;
    and whether the two are `plausible` by these three: "boolean", NA where a landmark is NaN.
    Where a diameter has no length, what cannot be measured is NaN, and the two are not plausible.
    """
    lengths = diameters(landmarks)
    ends = landmarks.reshape(-1, 2, 2, 2)  # image, diameter, end, (x, y)
    vectors = ends[:, :, 1] - ends[:, :, 0]
    midpoints = ends.mean(axis=2)
    shorter, longer = lengths.min(axis=1), lengths.max(axis=1)
    with np.errstate(invalid="ignore"):  # 0 / 0
        cosine = np.abs((vectors[:, 0] * vectors[:, 1]).sum(axis=-1)) / lengths.prod(axis=1)
        distance = np.linalg.norm(midpoints[:, 0] - midpoints[:, 1], axis=-1)
        measures = pd.DataFrame(
            {
                "ofd_px": lengths[:, 0],
                "bpd_px": lengths[:, 1],
                "angle": np.degrees(np.arccos(np.minimum(cosine, 1))),  # rounding can exceed 1
                "midpoint_distance": distance / longer,
                "ratio": shorter / longer,
            },
            index=index,
        )
    plausible = within_limits(measures).all(axis=1).astype("boolean")
    return measures.assign(plausible=plausible.mask(np.isnan(lengths).any(axis=1)))


def within_limits(measures: pd.DataFrame) -> pd.DataFrame:
    """Return which of the three measures of measure_axes are within their limits: bool, a column
    each. What is NaN is not."""
    return pd.DataFrame(
        {
            "angle": measures["angle"] > MIN_ANGLE,
            "midpoint_distance": measures["midpoint_distance"] < MAX_MIDPOINT_DISTANCE,
            "ratio": measures["ratio"] > MIN_RATIO,
        }
    )


def normalised_errors(predicted: np.ndarray, annotated: np.ndarray) -> np.ndarray:
    """Return, for each diameter, the mean distance of its two ends over its annotated length.

    predicted, annotated: [N, 4, 2] in pixels of the original image. Returns [N, 2] for (OFD, BPD),
    NaN where the length is 0. Which end is called 1 is a convention, so of the two ways to pair
    them the better one counts, as in the multi-centre fetal biometry benchmark (Di Vece et al.
    2025).
    """
    # image, diameter, end, (x, y)
    found, true = predicted.reshape(-1, 2, 2, 2), annotated.reshape(-1, 2, 2, 2)
    as_named = np.linalg.norm(found - true, axis=-1).mean(axis=-1)  # image, diameter
    exchanged = np.linalg.norm(found - true[:, :, ::-1], axis=-1).mean(axis=-1)
    lengths = diameters(annotated)
    return np.minimum(as_named, exchanged) / np.where(lengths > 0, lengths, np.nan)


def describe_circumference(off: dict[str, pd.Series], groups: dict[str, np.ndarray]) -> str:
    """Say how far circumferences of the head are from a second reader's, in groups of images, bool
    [N] by name. off: by who measured them, their difference from the second reader's, [N] in mm,
    NaN where it is not known; "" where none is known."""
    lines = []
    for group, is_in in groups.items():
        for label, of_all in off.items():
            known = of_all[is_in].dropna()
            if len(known):
                figures = f"{known.abs().mean():8.2f}{known.mean():8.2f}"
                lines.append(f"  {f'{group}, {label}':<34}{len(known):>5} images{figures}")
    title = "Circumference of the head less the second reader's, mm (mean absolute error, bias)"
    return "\n".join([title, *lines]) if lines else ""
