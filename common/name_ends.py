"""Name the four ends of each image's diameters by their direction, as the report's file does.

    python -m common.name_ends --csv_path Head.csv --csv_save_path named.csv

HC18's own annotations follow another rule: OFD is the longer diameter, whichever way it points. The
augmentation relies on names by direction, since its flip exchanges the left and the right end of
BPD; and a network learns best what it can see.
"""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from common import cli, ground_truth
from common.files import check_outputs, write_table
from common.ground_truth import landmark_columns, landmark_values


def name_by_direction(landmarks: np.ndarray) -> np.ndarray:
    """Return the same points under the names that their directions give them: OFD is the more
    upright diameter and OFD-1 its upper end; BPD is the other one and BPD-1 its left end.

    landmarks: [N, 4, 2], (x, y) in px, y downwards. An image of which an end is NaN keeps its
    names: the direction of one diameter, at least, is not known.
    """
    diameters = landmarks.reshape(-1, 2, 2, 2)  # image, diameter, end, (x, y)
    across, down = np.moveaxis(np.abs(diameters[:, :, 1] - diameters[:, :, 0]), -1, 0)
    steepness = np.arctan2(down, across)  # [N, 2]: 0 is level, π/2 upright
    is_exchanged = steepness[:, 1] > steepness[:, 0]
    diameters = np.where(is_exchanged[:, None, None, None], diameters[:, ::-1], diameters)
    ofd, bpd = diameters[:, 0], diameters[:, 1]
    starts_below = ofd[:, 0, 1] > ofd[:, 1, 1]
    starts_right = bpd[:, 0, 0] > bpd[:, 1, 0]
    ofd = np.where(starts_below[:, None, None], ofd[:, ::-1], ofd)
    bpd = np.where(starts_right[:, None, None], bpd[:, ::-1], bpd)
    named = np.concatenate([ofd, bpd], axis=1)
    is_complete = np.isfinite(landmarks).all(axis=(1, 2))
    return np.where(is_complete[:, None, None], named, landmarks)


def read_other_columns(csv_path: str, table: pd.DataFrame) -> pd.DataFrame:
    """Return, as text, the columns of a file that read_ground_truth, which gave this table, leaves
    out: one row per image."""
    cells = pd.read_csv(csv_path, dtype=str, na_filter=False, encoding="utf-8-sig")
    is_empty = cells.apply(lambda column: column.str.strip() == "").all(axis=1)

    def plain(name: str) -> str:
        return re.sub(r"[\s_-]", "", name).lower()

    known = {plain(name) for name in table.columns}
    others = [name for name in cells.columns if plain(name) not in known]
    return cells.loc[~is_empty, others].reset_index(drop=True)


@cli.reports_errors()
def main(argv: list[str] | None = None) -> None:
    """Write the file with its ends named anew, and print how many names have changed."""
    parser = cli.Parser("Name the ends of the diameters by their direction in the image.")
    add = parser.add_argument
    add("--csv_path", required=True, help="name and eight coordinates per image")
    add("--csv_save_path", type=cli.ending_in(".csv"), required=True, help="the file to write")
    args = parser.parse_args(argv)
    check_outputs(args)
    table = ground_truth.read_ground_truth(args.csv_path)
    landmarks = landmark_values(table, "x", "y")
    named = name_by_direction(landmarks)
    columns = landmark_columns({"x": named[..., 0], "y": named[..., 1]})
    others = read_other_columns(args.csv_path, table)
    write_table(table.assign(**columns).join(others), args.csv_save_path)
    is_complete = np.isfinite(landmarks).all(axis=(1, 2))
    changed = (named != landmarks)[is_complete].any(axis=(1, 2)).sum()
    print(f"{changed} of {len(table)} images have ends under other names now")
    if not is_complete.all():
        print(f"{(~is_complete).sum()} images lack a landmark and keep their names")
    print(f"Table: {args.csv_save_path}")


if __name__ == "__main__":
    main()
