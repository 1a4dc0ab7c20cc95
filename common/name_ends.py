"""Name the four ends of each image's diameters by their direction, as the report's file does.

python -m common.name_ends --csv_path Head.csv --csv_save_path named.csv
"""

from __future__ import annotations

import numpy as np

from common.annotation_quality.end_names import order_by_direction, rename_ends
from common.basics.arguments import Parser, ending_in
from common.basics.errors import reports_errors
from common.basics.files import check_outputs, write_table
from common.ground_truth import landmark_values, parse_ground_truth, read_cells


@reports_errors()
def main(argv: list[str] | None = None) -> None:
    """Write the file with its ends named anew, and print how many names have changed."""
    parser = Parser("Name the ends of the diameters by their direction in the image.")
    add = parser.add_argument
    add("--csv_path", required=True, help="name and eight coordinates per image")
    add("--csv_save_path", type=ending_in(".csv"), required=True, help="the file to write")
    args = parser.parse_args(argv)
    check_outputs(args)
    cells = read_cells(args.csv_path)
    landmarks = landmark_values(parse_ground_truth(cells, args.csv_path), "x", "y")
    order = order_by_direction(landmarks)
    write_table(rename_ends(cells, order, args.csv_path), args.csv_save_path)
    changed = (order != np.arange(4)).any(axis=1).sum()
    incomplete = np.isnan(landmarks).any(axis=(1, 2)).sum()
    print(f"{changed} of {len(cells)} images have ends under other names now")
    print(f"{incomplete} images lack a landmark and keep their names")
    print(f"Table: {args.csv_save_path}")


if __name__ == "__main__":
    main()
