"""Compare tests: which training is better, and would other images of this kind show it too?

    python -m common.compare --csv_paths hypothesis_1_predictions.csv hypothesis_2_predictions.csv

It reads the tables that testers wrote of the same images; it needs no network and no image. Tables
of the same name are trainings of one recipe.
"""

from __future__ import annotations

import os
from argparse import Namespace
from typing import Any

from common import UserError
from common.basics.arguments import PICTURES, Parser, ending_in
from common.basics.errors import reports_errors
from common.basics.files import check_outputs, write_table
from common.comparison import inputs, text
from common.comparison.frame import REPORTED, compare, with_report
from common.comparison.picture import draw_comparison


def command_parser() -> Parser:
    """Return the parser of this command."""
    parser = Parser("Compare tests: which training is better, and how sure is that?")
    add = parser.add_argument
    add("--csv_paths", nargs="+", required=True, help="the tables of one or more testers")
    add("--names", nargs="+", help="what to call them; of equal names are trainings of one recipe")
    add("--checkpoint_paths", nargs="+", help="the checkpoints of the trainings, in this order")
    add(
        "--report",
        nargs="+",
        choices=("1", "2", "3", "-"),
        help="for each different name, the hypothesis whose figures in the report stand beside it",
    )
    add("--csv_save_path", type=ending_in(".csv"), help="table of all figures")
    add("--plot_save_path", type=ending_in(*PICTURES), help="picture of the comparison")
    return parser


def check_arguments(args: Namespace) -> list[str]:
    """Return the name of each table. Raises UserError for numbers of arguments that do not fit, and
    for names that do not tell the tables apart."""
    number = len(args.csv_paths)
    for option in ("names", "checkpoint_paths"):
        values = getattr(args, option)
        if values is not None and len(values) != number:
            raise UserError(f"--{option}: {len(values)} given for {number} tables")
    stems = [os.path.splitext(os.path.basename(path))[0] for path in args.csv_paths]
    # A name that is not UTF-8 can be printed, but neither drawn nor written.
    names = [os.fsencode(name).decode(errors="replace") for name in args.names or stems]
    repeated = [name for name in names if names.count(name) > 1]
    if repeated and not args.names:
        raise UserError(f"two tables are named {repeated[0]}: give each a name of its own, --names")
    distinct = len(set(names))
    if args.report and len(args.report) != distinct:
        raise UserError(f"--report: {len(args.report)} given for {distinct} different names")
    reserved = [name for name in names if name.startswith(REPORTED) or " less " in f" {name} "]
    if reserved:
        raise UserError(
            f"--names: {reserved[0]}: so the report's own figures, or differences, are called"
        )
    return names


def by_name(names: list[str], values: list[Any]) -> dict[str, list[Any]]:
    """Return the values of the tables by their names, in the order of the first of each."""
    pairs = list(zip(names, values))
    return {name: [value for other, value in pairs if other == name] for name, _ in pairs}


@reports_errors()
def main(argv: list[str] | None = None) -> None:
    """Write the table and the picture where they are asked for, then print the comparison."""
    args = command_parser().parse_args(argv)
    check_outputs(args)
    names, paths = check_arguments(args), args.csv_paths
    tables = [inputs.read_test(path) for path in paths]
    inputs.check_same(paths, tables)
    inputs.check_repeated(names, paths, tables)
    trainings = [inputs.read_training(path) for path in args.checkpoint_paths or []]
    recipes = by_name(names, tables)
    reports = [f"{REPORTED}{number}" for number in args.report or ["-"] * len(recipes)]

    frame, remarks = compare(recipes, by_name(names, [figures for figures, _ in trainings]))
    if args.report:
        frame = with_report(frame, args.report)
    for path, table, (_, checksums) in zip(paths, tables, trainings):
        tested = table[inputs.SHA256][0].split("+")  # several, where their heatmaps were averaged
        if not {"", *checksums} & set(tested):
            remarks.append(f"{path}: a test of other weights than its checkpoint's: test again")
        elif len(tested) > 1:
            remarks.append(f"{path}: a test of {len(tested)} models; its checkpoint is of one")

    written = []
    if args.csv_save_path:  # before anything is printed: a reader may leave (`| head`)
        write_table(frame, args.csv_save_path)
        written.append(f"Table:   {args.csv_save_path}")
    if args.plot_save_path:
        draw_comparison(frame, recipes, args.plot_save_path)
        written.append(f"Picture: {args.plot_save_path}")
    parts = [text.describe_tables(names, paths, tables[0])]
    for _, rows in frame.groupby("images", sort=False):
        parts.append(text.describe_group(rows, dict(zip(recipes, reports))))
    print("\n\n".join([*parts, *remarks, text.SIGNS, *written]))


if __name__ == "__main__":
    main()
