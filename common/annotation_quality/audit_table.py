"""The audit of a ground truth: which annotations are plausible, in figures and in words."""

from __future__ import annotations

import numpy as np
import pandas as pd

from common import ground_truth
from common.annotation_quality.biometry import (
    MAX_MIDPOINT_DISTANCE,
    MIN_ANGLE,
    MIN_RATIO,
    measure_axes,
    within_limits,
)
from common.ground_truth import NAME_COLUMN, landmark_values

TENTHS = 10


def describe_splits(splits: dict[str, pd.DataFrame]) -> str:
    """Say how many images there are, in which splits: `train`, `val` and `test`, or `all`."""
    text = f"Loaded {sum(map(len, splits.values()))} images"
    if "test" in splits:
        text += "\n" + " | ".join(f"{name.capitalize()}: {len(s)}" for name, s in splits.items())
    return text


def describe_annotations(splits: dict[str, pd.DataFrame]) -> str:
    """Say how many annotations of these splits are plausible, and how many images show a subject
    of training, in a sentence each; nothing where nothing is annotated."""
    table = pd.concat(splits.values())
    if not ground_truth.has_landmarks(table).any():
        return ""
    plausible = measure_axes(landmark_values(table, "x", "y"), table.index)["plausible"]
    if not plausible.count():
        return "No image has all four landmarks, so no annotation can be found plausible."
    text = f"{plausible.sum()} of {plausible.count()} annotations are plausible"
    if "test" in splits:
        in_test = plausible[splits["test"].index]
        text += f", {in_test.sum()} of {in_test.count()} in test"
    text += "."
    seen = ground_truth.subjects_in_training(splits)
    if seen:
        val, test = seen["val"], seen["test"]
        text += f"\n{val.sum()} of {len(val)} validation and {test.sum()} of {len(test)} test "
        text += "images show a subject of training."
    return text


def audit_table(table: pd.DataFrame, splits: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Return measure_axes with `image_name`, `split` and, where known, `subject` before it."""
    columns = {NAME_COLUMN: table[NAME_COLUMN]}
    if "test" in splits:
        columns["split"] = pd.concat([pd.Series(name, s.index) for name, s in splits.items()])
    subjects, _ = ground_truth.find_subjects(table)
    if subjects is not None:
        columns["subject"] = subjects
    return pd.DataFrame(columns).join(measure_axes(landmark_values(table, "x", "y"), table.index))


def implausibility(measures: pd.DataFrame) -> pd.Series:
    """Rate how far the measures of an audit_table lie beyond their limits: each adds 0 within its
    limit, and more, up to 1, the farther beyond. NaN where a landmark is not annotated."""
    shares = pd.DataFrame(
        {
            "angle": measures["angle"] / MIN_ANGLE,
            "midpoint_distance": MAX_MIDPOINT_DISTANCE / measures["midpoint_distance"],
            "ratio": measures["ratio"] / MIN_RATIO,
        }
    )
    return (1 - shares).clip(lower=0).sum(axis=1, skipna=False)


def plausible_shares(measures: pd.DataFrame) -> tuple[np.ndarray, np.ndarray] | None:
    """Return where each tenth of the rows of an audit_table begins and ends, [11], and the share of
    plausible annotations in it, [10], NaN where none has all four landmarks. None where there are
    fewer than ten rows."""
    if len(measures) < TENTHS:
        return None
    bounds = np.linspace(0, len(measures), TENTHS + 1).round().astype(int)
    parts = (measures["plausible"].iloc[a:b].dropna() for a, b in zip(bounds, bounds[1:]))
    return bounds, np.array([part.astype(float).mean() for part in parts])


def describe_audit(
    measures: pd.DataFrame, table: pd.DataFrame, splits: dict[str, pd.DataFrame]
) -> str:
    """Say what an audit_table of a ground truth finds in the images with all four landmarks."""
    known = measures["plausible"].notna()
    plausible = measures["plausible"][known]
    ofd_1, ofd_2, bpd_1, bpd_2 = landmark_values(table[known], "x", "y").transpose(1, 0, 2)

    def line(label: str, is_so: np.ndarray | pd.Series) -> str:
        share = f" ({is_so.mean():.1%})" if len(is_so) else ""
        return f"{label:<38}{is_so.sum():5d} of {len(is_so)}{share}"

    if not ground_truth.has_landmarks(table).any():
        return f"{describe_splits(splits)}\n\nNo landmark is annotated: there is nothing to audit"
    lines = [describe_splits(splits), "", line("Plausible annotations", plausible)]
    shares = plausible_shares(measures)
    if shares is not None:
        _, heights = shares
        text = " ".join("-" if np.isnan(share) else f"{share:.0%}" for share in heights)
        lines.append(f"{'  in each tenth of the rows':<38}{text}")
    passed = within_limits(measures)[known]
    lines.append(line(f"  angle above {MIN_ANGLE:g}", passed["angle"]))
    closer = f"  midpoint distance below {MAX_MIDPOINT_DISTANCE:g}"
    lines.append(line(closer, passed["midpoint_distance"]))
    lines.append(line(f"  ratio above {MIN_RATIO:g}", passed["ratio"]))
    if "split" in measures:
        of_split = measures["split"][known]
        lines += [line(f"  in {name}", plausible[of_split == name]) for name in splits]
    lines.append(line("OFD shorter than BPD", (measures["ofd_px"] < measures["bpd_px"])[known]))
    for name, end_1, end_2 in (("OFD-1", ofd_1, ofd_2), ("BPD-1", bpd_1, bpd_2)):
        lines.append(line(f"{name} is the upper end", end_1[:, 1] < end_2[:, 1]))
        lines.append(line(f"{name} is the left end", end_1[:, 0] < end_2[:, 0]))
    if "subject" not in measures:
        return "\n".join([*lines, "Who is on which image is not known"])
    subjects = measures["subject"][measures["subject"] != ""]
    label = f"Subjects (by {ground_truth.find_subjects(table)[1]})"
    lines.append(f"{label:<38}{subjects.nunique():5d}")
    for name, seen in ground_truth.subjects_in_training(splits).items():
        lines.append(line(f"  {name} images of training's subjects", seen))
    return "\n".join(lines)


def audited_groups(
    measures: pd.DataFrame, splits: dict[str, pd.DataFrame]
) -> dict[str, np.ndarray]:
    """Return the groups of images for which the distances to a second reader are given: bool [N]
    by name."""
    groups = {"All images": np.ones(len(measures), bool)}
    for name, rows in splits.items():
        if name != "all":
            groups[f"In {name}"] = measures.index.isin(rows.index)
    for name, value in (("Plausible", True), ("Implausible", False)):
        is_in = measures["plausible"].eq(value).fillna(False)  # NA where a landmark is missing
        groups[f"{name} annotations"] = is_in.to_numpy(bool)
    return groups
