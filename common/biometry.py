"""The two diameters of a head: their lengths, their errors, and whether they can be its axes."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import pandas as pd

Values = TypeVar("Values", pd.Series, np.ndarray)

DIAMETERS = ("ofd", "bpd")  # as in the names of columns

# OFD and BPD are the axes of one head in one plane, and a skull there is close to an ellipse: its
# axes are perpendicular, halve each other, and their ratio, the cephalic index, is 0.78 ± 0.04
# (Hadlock et al. 1981). The limits leave room for unusual heads and for an imprecise hand.
LIMITS = {
    "angle": ("above", 70.0),  # degrees between the two
    "midpoint_distance": ("below", 0.2),  # of the longer one
    "ratio": ("above", 0.6),  # of the shorter to the longer; over four standard deviations below
}


def is_within(measure: str, values: Values) -> Values:
    """Return whether values of one of the three measures are on the plausible side of its limit."""
    side, limit = LIMITS[measure]
    return values > limit if side == "above" else values < limit


def diameters(landmarks: np.ndarray) -> np.ndarray:
    """Measure (OFD, BPD) in the unit of the landmarks: [N, 4, 2] → [N, 2]."""
    ends = landmarks.reshape(-1, 2, 2, 2)  # image, diameter, end, (x, y)
    return np.linalg.norm(ends[:, :, 1] - ends[:, :, 0], axis=-1)


def normalised_errors(predicted: np.ndarray, annotated: np.ndarray) -> np.ndarray:
    """Return, for each diameter, the mean distance of its two ends over its annotated length.

    predicted, annotated: [N, 4, 2] in pixels of the original image. Returns [N, 2] for (OFD, BPD),
    NaN where the length is 0. Which end is called 1 is a convention, so of the two ways to pair
    them the better one counts, as in the multi-centre fetal biometry benchmark (Di Vece et al.
    2025).
    """
    ours, theirs = predicted.reshape(-1, 2, 2, 2), annotated.reshape(-1, 2, 2, 2)
    both_ways = np.stack([theirs, theirs[:, :, ::-1]])
    distances = np.linalg.norm(ours - both_ways, axis=-1).mean(axis=-1).min(axis=0)
    lengths = diameters(annotated)
    return distances / np.where(lengths > 0, lengths, np.nan)


def in_best_order(landmarks: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Name the ends of each image's two diameters as it suits a reference best: which is called
    OFD, and which end 1, are conventions. Of the eight ways, the lowest mean distance decides.

    landmarks, reference: [N, 4, 2]; where one is NaN, the image keeps its names. Returns the
    positions [N, 4] in landmarks[n] of the four that take the names of reference[n].
    """
    ofd, bpd = ((0, 1), (1, 0)), ((2, 3), (3, 2))
    orders = np.array([(*p, *q) for a, b in ((ofd, bpd), (bpd, ofd)) for p in a for q in b])
    means = np.linalg.norm(landmarks[:, orders] - reference[:, None], axis=-1).mean(axis=-1)
    return orders[means.argmin(axis=-1)]  # that of NaN is 0, the names as they are


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
        measures = {
            "ofd_px": lengths[:, 0],
            "bpd_px": lengths[:, 1],
            "angle": np.degrees(np.arccos(np.minimum(cosine, 1))),  # rounding can lead beyond 1
            "midpoint_distance": distance / longer,
            "ratio": shorter / longer,
        }
    plausible = np.all([is_within(name, measures[name]) for name in LIMITS], axis=0)
    measures["plausible"] = pd.arrays.BooleanArray(plausible, np.isnan(lengths).any(axis=1))
    return pd.DataFrame(measures, index=index)
