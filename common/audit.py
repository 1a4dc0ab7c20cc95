"""Measure the annotations of a data set: which are plausible, and who is on several images.

    python -m common.audit --csv_path ground_truth.csv --image_folder_path images

No model is involved: what is found here is the data's part in any error.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from common import cli, plots
from common.biometry import MAX_MIDPOINT_DISTANCE, MIN_ANGLE, MIN_RATIO, measure_axes
from common.files import protect_images, write_table
from common.ground_truth import (
    MIN_ROWS,
    NAME_COLUMN,
    find_subjects,
    landmark_values,
    read_ground_truth,
    split_ground_truth,
    subjects_in_training,
)
from common.images import load_images
from common.summary import describe_splits

WORST_SHOWN = 9


def audit_table(table: pd.DataFrame, splits: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """measure_axes with `image_name`, `split` and, where it is known, `subject` before it."""
    columns = {NAME_COLUMN: table[NAME_COLUMN]}
    if "test" in splits:
        columns["split"] = pd.concat([pd.Series(name, s.index) for name, s in splits.items()])
    subjects = find_subjects(table)
    if subjects is not None:
        columns["subject"] = subjects
    return pd.DataFrame(columns).join(measure_axes(landmark_values(table, "x", "y"), table.index))


def implausibility(audit: pd.DataFrame) -> pd.Series:
    """How far annotations are beyond the three limits: for each 0 within it and towards 1 far
    beyond it, added. What could not be measured counts 1."""
    shares = pd.DataFrame(
        {
            "angle": 1 - audit["angle"] / MIN_ANGLE,
            "midpoint_distance": 1 - MAX_MIDPOINT_DISTANCE / audit["midpoint_distance"],
            "ratio": 1 - audit["ratio"] / MIN_RATIO,
        }
    )
    return shares.fillna(1).clip(lower=0).sum(axis=1)


def describe_audit(
    audit: pd.DataFrame, table: pd.DataFrame, splits: dict[str, pd.DataFrame]
) -> str:
    """What an audit_table of a ground truth finds, as lines to print."""
    points = landmark_values(table, "x", "y")

    def line(label: str, rows: np.ndarray | pd.Series) -> str:
        return f"{label:<38}{rows.sum():5d} of {len(rows)} ({rows.mean():.1%})"

    lines = [
        describe_splits(splits),
        "",
        line("Plausible annotations", audit["plausible"]),
        line(f"  angle above {MIN_ANGLE:g}°", audit["angle"] > MIN_ANGLE),
        line(
            f"  midpoints closer than {MAX_MIDPOINT_DISTANCE:g}",
            audit["midpoint_distance"] < MAX_MIDPOINT_DISTANCE,
        ),
        line(f"  ratio above {MIN_RATIO:g}", audit["ratio"] > MIN_RATIO),
    ]
    if "split" in audit:
        for name, rows in splits.items():
            lines.append(line(f"  in {name}", audit.loc[rows.index, "plausible"]))
    lines += [
        line("OFD shorter than BPD", audit["ofd_px"] < audit["bpd_px"]),
        line("OFD-1 is the upper end", points[:, 0, 1] < points[:, 1, 1]),
        line("OFD-1 is the left end", points[:, 0, 0] < points[:, 1, 0]),
        line("BPD-1 is the upper end", points[:, 2, 1] < points[:, 3, 1]),
        line("BPD-1 is the left end", points[:, 2, 0] < points[:, 3, 0]),
    ]
    if "subject" in audit:
        lines.append(f"{'Subjects':<38}{audit['subject'].nunique():5d}")
        for name, seen in subjects_in_training(splits).items():
            lines.append(line(f"  {name} images of training's subjects", seen))
    else:
        lines.append("Who is on which image is not known")
    return "\n".join(lines)


@cli.reports_errors()
def main(argv: list[str] | None = None) -> None:
    """Print the summary; write the table and the picture where they are asked for."""
    parser = cli.Parser("Measure the annotations of a data set: which of them are plausible?")
    cli.add_data_arguments(parser)
    parser.add_argument("--csv_save_path", help="table of all measures, one row per image")
    parser.add_argument(
        "--plot_save_path",
        type=cli.picture_path,
        help="picture of the measures and of the least plausible annotations",
    )
    args = parser.parse_args(argv)
    table = read_ground_truth(args.csv_path)
    protect_images(args, table[NAME_COLUMN])
    data = load_images(table, args.image_folder_path)
    splits = split_ground_truth(table) if len(table) >= MIN_ROWS else {"all": table}
    audit = audit_table(table, splits)
    if args.csv_save_path:
        write_table(audit, args.csv_save_path)
    if args.plot_save_path:
        worst = np.argsort(-implausibility(audit).to_numpy(), kind="stable")[:WORST_SHOWN]
        plots.audit(audit, data, worst, args.plot_save_path)
    print(describe_audit(audit, table, splits))
    if args.csv_save_path:
        print(f"\nTable:   {args.csv_save_path}")
    if args.plot_save_path:
        print(f"Picture: {args.plot_save_path}")


if __name__ == "__main__":
    main()
