"""The two diameters of a head: their lengths, their errors, and whether they can be its axes."""

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


def is_plausible(landmarks: np.ndarray) -> np.ndarray:
    """Return which landmarks [N, 4, 2], in px of the original images, measure_axes finds plausible:
    bool [N], False where a landmark is NaN."""
    return measure_axes(landmarks)["plausible"].fillna(False).to_numpy(bool)


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


# The eight ways to name four ends that leave each diameter whole: OFD, BPD and the two ends of each
# may change places.
EIGHT_ORDERS = np.array(
    [
        [0, 1, 2, 3],
        [0, 1, 3, 2],
        [1, 0, 2, 3],
        [1, 0, 3, 2],
        [2, 3, 0, 1],
        [2, 3, 1, 0],
        [3, 2, 0, 1],
        [3, 2, 1, 0],
    ]
)


def are_comparable(landmarks: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return in which images two readers' landmarks, [N, 4, 2] each, can be matched: bool [N]. One
    must know all four ends and the other at least three. With fewer, the ends that happen to be
    known decide which diameter is taken for which, and they cross."""
    known = np.isfinite(landmarks).all(axis=-1).sum(axis=1)
    known_reference = np.isfinite(reference).all(axis=-1).sum(axis=1)
    fewer, more = np.minimum(known, known_reference), np.maximum(known, known_reference)
    return (more == 4) & (fewer >= 3)


def in_best_order(landmarks: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Match the ends of each image's two diameters with those of a reference: which diameter is
    called OFD, and which end 1, are conventions. Of the EIGHT_ORDERS, the lowest mean distance
    decides.

    landmarks, reference: [N, 4, 2]; where they are not comparable, the image keeps its names.
    Returns the order [N, 4]: landmarks[n, order[n, i]] is matched with reference[n, i].
    """
    every_way = landmarks[:, EIGHT_ORDERS]  # image, way, end, (x, y)
    distances = np.linalg.norm(every_way - reference[:, None], axis=-1)
    # Of an end that one of the two does not know there is no distance, whichever the way. So every
    # way has as many, and the lowest sum is that with the lowest mean.
    best = EIGHT_ORDERS[np.nansum(distances, axis=-1).argmin(axis=-1)]
    is_comparable = are_comparable(landmarks, reference)[:, None]
    return np.where(is_comparable, best, EIGHT_ORDERS[0])


def reorder(landmarks: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Return each image's landmarks [N, 4, 2] in the order [N, 4] that in_best_order found."""
    return np.take_along_axis(landmarks, order[..., None], axis=1)
