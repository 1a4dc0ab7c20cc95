"""Measure the annotations of a data set: which are plausible, and how far from a second reader.

    python -m common.audit --csv_path ground_truth.csv --image_folder_path images

No model is involved: what is found here is the data's part in any error.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from common import cli, ground_truth, plots
from common.biometry import (
    MAX_MIDPOINT_DISTANCE,
    MIN_ANGLE,
    MIN_RATIO,
    is_plausible,
    measure_axes,
    reorder,
    within_limits,
)
from common.evaluation import compare_readers
from common.files import check_outputs, write_table
from common.ground_truth import NAME_COLUMN, landmark_values
from common.images import load_images, read_second_reader
from common.summary import describe_readers, describe_splits, reader_columns

WORST_SHOWN = 9
TENTHS = 10


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


@cli.reports_errors()
def main(argv: list[str] | None = None) -> None:
    """Print the summary; write the table and the picture where they are asked for."""
    parser = cli.Parser("Measure the annotations of a data set: which of them are plausible?")
    cli.add_data_arguments(parser)
    add = parser.add_argument
    add("--second_csv_path", help="another reader's landmarks, to be compared")
    add("--csv_save_path", type=cli.ending_in(".csv"), help="table of all measures")
    add("--plot_save_path", type=cli.ending_in(*cli.PICTURES), help="picture of the measures")
    args = parser.parse_args(argv)
    check_outputs(args)
    table = ground_truth.read_ground_truth(args.csv_path)
    data = load_images(table, args.image_folder_path)
    second = None
    if args.second_csv_path:
        second = read_second_reader(args.second_csv_path, data)
    splits = {"all": table}
    if len(table) >= ground_truth.MIN_ROWS:
        splits = ground_truth.split_ground_truth(table)
    measures = audit_table(table, splits)
    print(describe_audit(measures, table, splits))
    if second is not None:
        annotated = data.landmarks.numpy().astype(float)
        comparison = compare_readers(annotated, data.to_256(second))
        second = reorder(second, comparison.order)
        measures = measures.join(reader_columns(second, comparison.distances))
        if ground_truth.has_landmarks(table).any():
            print(f"\n{describe_readers(comparison, audited_groups(table, splits))}")
    if args.csv_save_path:
        write_table(measures, args.csv_save_path)
        print(f"\nTable:   {args.csv_save_path}")
    if args.plot_save_path and measures["plausible"].isna().all():
        print("Picture: not drawn, as no image has all four landmarks")
    elif args.plot_save_path:
        beyond = implausibility(measures).sort_values(ascending=False, kind="stable")
        worst = beyond.index[beyond > 0][:WORST_SHOWN]
        shares = plausible_shares(measures)
        plots.audit_picture(measures, shares, data, worst, args.plot_save_path, second)
        print(f"Picture: {args.plot_save_path}")


def audited_groups(table: pd.DataFrame, splits: dict[str, pd.DataFrame]) -> dict[str, np.ndarray]:
    """Return the groups of images for which the distances to a second reader are given: bool [N]
    by name."""
    landmarks = landmark_values(table, "x", "y")
    plausible, is_complete = is_plausible(landmarks), np.isfinite(landmarks).all(axis=(1, 2))
    groups = {"All images": np.ones(len(table), bool)}
    for name, rows in splits.items():
        if name != "all":
            groups[f"In {name}"] = table.index.isin(rows.index)
    groups["Plausible annotations"] = plausible
    groups["Implausible annotations"] = is_complete & ~plausible
    return groups


if __name__ == "__main__":
    main()
