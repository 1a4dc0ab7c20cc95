"""The audit of a ground truth: which annotations are plausible, in figures and in words."""

from __future__ import annotations

import numpy as np
import pandas as pd

from common.annotation_quality.biometry import LIMITS, describe_data, measure_axes, within_limits
from common.ground_truth import NAME_COLUMN, SPLITS, find_subjects, landmark_values

PARTS = 10


def audit_table(table: pd.DataFrame, splits: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Return measure_axes with `image_name`, `split` and, where known, `subject` before it."""
    columns = {NAME_COLUMN: table[NAME_COLUMN]}
    if "test" in splits:
        columns["split"] = pd.concat([pd.Series(name, s.index) for name, s in splits.items()])
    subjects = find_subjects(table)
    if subjects is not None:
        columns["subject"] = subjects
    return pd.DataFrame(columns).join(measure_axes(landmark_values(table, "x", "y")))


def implausibility(measures: pd.DataFrame) -> pd.Series:
    """Rate how far the measures of an audit_table lie beyond their limits: each adds 0 within its
    limit, and more, up to 1, the farther beyond. NaN where a landmark is not annotated."""
    beyond = pd.Series(0.0, measures.index)
    for measure, (limit, side) in LIMITS.items():
        values = measures[measure]
        share = values / limit if side == "above" else limit / values
        beyond += (1 - share).clip(lower=0)
    return beyond


def plausible_shares(measures: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return where each of ten parts of the rows of an audit_table begins and ends, [11], and the
    share of plausible annotations in it, [10], NaN where none has all four landmarks. Of fewer than
    ten rows, each is a part."""
    number = len(measures)
    bounds = np.linspace(0, number, min(PARTS, number) + 1).round().astype(int)
    plausible = measures["plausible"].astype(float)  # NaN where a landmark is missing
    shares = [plausible.iloc[start:end].mean() for start, end in zip(bounds, bounds[1:])]
    return bounds, np.array(shares)


def describe_audit(
    measures: pd.DataFrame, table: pd.DataFrame, splits: dict[str, pd.DataFrame]
) -> str:
    """Say what an audit_table of a ground truth finds in the images with all four landmarks."""
    known = measures["plausible"].notna()
    if not known.any():
        return f"{describe_data(splits)}\n\nNo image has all four landmarks: nothing to audit"
    plausible, passed = measures["plausible"][known], within_limits(measures)[known]
    x, y = landmark_values(table[known], "x", "y").transpose(2, 1, 0)  # end, image

    def line(label: str, is_so: np.ndarray | pd.Series) -> str:
        share = f" ({is_so.mean():.1%})" if len(is_so) else ""
        return f"{label:<38}{is_so.sum():5d} of {len(is_so)}{share}"

    _, shares = plausible_shares(measures)
    along_rows = " ".join("-" if np.isnan(share) else f"{share:.0%}" for share in shares)
    lines = [describe_data(splits), "", line("Plausible annotations", plausible)]
    lines.append(f"{'  along the rows':<38}{along_rows}")
    for measure, (limit, side) in LIMITS.items():
        lines.append(line(f"  {measure.replace('_', ' ')} {side} {limit:g}", passed[measure]))
    if "split" in measures:
        of_split = measures["split"][known]
        lines += [line(f"  in {name}", plausible[of_split == name]) for name in splits]
    lines.append(line("OFD shorter than BPD", (measures["ofd_px"] < measures["bpd_px"])[known]))
    for name, end_1, end_2 in (("OFD-1", 0, 1), ("BPD-1", 2, 3)):
        lines.append(line(f"{name} is the upper end", y[end_1] < y[end_2]))
        lines.append(line(f"{name} is the left end", x[end_1] < x[end_2]))
    if "subject" in measures:
        subjects = measures["subject"][measures["subject"] != ""]
        label = f"Subjects (by {find_subjects(table).name})"
        lines.append(f"{label:<38}{subjects.nunique():5d}")
    return "\n".join(lines)


def audited_groups(measures: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return the groups of images for which the distances to a second reader are given: bool [N]
    by name."""
    groups = {"All images": np.ones(len(measures), bool)}
    if "split" in measures:
        groups |= {f"In {name}": (measures["split"] == name).to_numpy() for name in SPLITS}
    plausible = measures["plausible"]  # NA where a landmark is missing
    groups["Plausible annotations"] = plausible.fillna(False).to_numpy(bool)
    groups["Implausible annotations"] = ~plausible.fillna(True).to_numpy(bool)
    return groups
