"""The two diameters of a head: lengths, circumference, and whether they can be its axes."""

from __future__ import annotations

import numpy as np
import pandas as pd

from common.ground_truth import find_subjects, landmark_values

DIAMETERS = ("ofd", "bpd")  # as in the names of columns

# OFD and BPD are the axes of one head in one plane, and a skull there is close to an ellipse: its
# axes are perpendicular, halve each other, and their ratio, the cephalic index, is 0.78 ± 0.04
# (Hadlock et al. 1981). The limits leave room for unusual heads and for an imprecise hand.
LIMITS = {
    "angle": (70.0, "above"),  # degrees between the two
    "midpoint_distance": (0.2, "below"),  # of the longer one
    "ratio": (0.6, "above"),  # of the shorter to the longer one; four standard deviations below
}


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


def measure_axes(landmarks: np.ndarray) -> pd.DataFrame:
    """Measure whether OFD and BPD, of landmarks [N, 4, 2] in px of the original images, can be the
    two axes of a head: the audit's rule.

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
        columns = {
            "ofd_px": lengths[:, 0],
            "bpd_px": lengths[:, 1],
            "angle": np.degrees(np.arccos(np.minimum(cosine, 1))),  # rounding can exceed 1
            "midpoint_distance": distance / longer,
            "ratio": shorter / longer,
        }
    measures = pd.DataFrame(columns)
    plausible = within_limits(measures).all(axis=1).astype("boolean")
    return measures.assign(plausible=plausible.mask(np.isnan(lengths).any(axis=1)))


def within_limits(measures: pd.DataFrame) -> pd.DataFrame:
    """Return which of the three measures of measure_axes are within their limits: bool, a column
    each. What is NaN is not."""
    return pd.DataFrame(
        {
            measure: measures[measure] > limit if side == "above" else measures[measure] < limit
            for measure, (limit, side) in LIMITS.items()
        }
    )


def describe_data(splits: dict[str, pd.DataFrame]) -> str:
    """Say how many images there are, in which splits (`train`, `val` and `test`, or `all`); how
    many annotations are plausible, where any has all four landmarks; and how many images show a
    subject of training, where that is known."""
    table = pd.concat(splits.values())
    lines = [f"Loaded {len(table)} images"]
    measures = measure_axes(landmark_values(table, "x", "y")).set_axis(table.index)
    plausible = measures["plausible"]
    in_test = ""
    if "test" in splits:
        lines.append(" | ".join(f"{name.capitalize()}: {len(s)}" for name, s in splits.items()))
        of_test = plausible[splits["test"].index]
        in_test = f", {of_test.sum()} of {of_test.count()} in test"
    if plausible.count():
        share = f"{plausible.sum()} of {plausible.count()} annotations are plausible"
        lines.append(f"{share}{in_test}.")
    subjects = find_subjects(table)
    if "test" in splits and subjects is not None:
        of_training = set(subjects[splits["train"].index]) - {""}  # not known
        val, test = (subjects[splits[name].index].isin(of_training) for name in ("val", "test"))
        seen = f"{val.sum()} of {len(val)} validation and {test.sum()} of {len(test)} test images"
        lines.append(f"{seen} show a subject of training.")
    return "\n".join(lines)
