"""Compare tests: which training is better, and would other images of this kind show it too?

    python -m common.compare --csv_paths hypothesis_1_predictions.csv hypothesis_2_predictions.csv

It reads the tables that testers wrote of the same images; it needs no network and no image. Tables
of the same name are trainings of one recipe.
"""

from __future__ import annotations

import os
from argparse import Namespace
from typing import Any

import pandas as pd

from common import UserError
from common.basics.arguments import PICTURES, Parser, ending_in
from common.basics.errors import reports_errors
from common.basics.files import check_outputs, write_table
from common.comparison import text
from common.comparison.checkpoints import describe_stale, read_training
from common.comparison.frame import REPORTED, TRAINING, compare, report_rows, training_rows
from common.comparison.picture import draw_comparison
from common.comparison.tables import SHA256, check_same, errors_of, read_test
from common.results.metrics import ERROR

MAX_TESTS = 26


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
    if number > MAX_TESTS:
        raise UserError(f"--csv_paths: {number} given; at most {MAX_TESTS} can be compared")
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
    reported = [name for name in names if name.startswith(REPORTED)]
    if args.report and reported:
        raise UserError(f"--names: {reported[0]}: so the report's own figures are called")
    return names


def check_repeated(names: list[str], paths: list[str], tables: list[pd.DataFrame]) -> None:
    """Raise UserError where two trainings of one recipe are tests of the same weights, or have the
    same errors throughout, as a model and its checkpoint have."""
    seen = {}
    for name, path, table in zip(names, paths, tables):
        sha256 = table[SHA256].iloc[0].lower()
        for key in ((name, sha256 or path), (name, errors_of(table, ERROR).tobytes())):
            if key in seen:
                raise UserError(f"{path}: is of the same weights as {seen[key]}, also named {name}")
            seen[key] = path


def by_name(names: list[str], values: list[Any]) -> dict[str, list[Any]]:
    """Return the values of the tables by their names, in the order of the first of each."""
    of_names = {}
    for name, value in zip(names, values):
        of_names.setdefault(name, []).append(value)
    return of_names


@reports_errors()
def main(argv: list[str] | None = None) -> None:
    """Write the table and the picture where they are asked for, then print the comparison."""
    args = command_parser().parse_args(argv)
    check_outputs(args)
    names = check_arguments(args)
    tables = [read_test(path) for path in args.csv_paths]
    check_same(args.csv_paths, tables)
    check_repeated(names, args.csv_paths, tables)
    trainings = [read_training(path) for path in args.checkpoint_paths or []]
    recipes, histories = by_name(names, tables), by_name(names, trainings)
    reports = {n: number for n, number in zip(recipes, args.report or []) if number != "-"}

    frame, remarks = compare(recipes)
    frame = pd.concat([frame, training_rows(histories)]) if histories else frame
    frame = pd.concat([frame, report_rows(frame, list(reports.values()))]) if reports else frame
    remarks += [
        describe_stale(path, table[SHA256].iloc[0], training)
        for path, table, training in zip(args.csv_paths, tables, trainings)
    ]

    written = []
    if args.csv_save_path:  # before anything is printed: a reader may leave (`| head`)
        write_table(frame.astype({"trainings": "Int64"}), args.csv_save_path)
        written.append(f"Table:   {args.csv_save_path}")
    if args.plot_save_path:
        draw_comparison(frame, recipes, histories, args.plot_save_path)
        written.append(f"Picture: {args.plot_save_path}")
    labels = text.column_labels(list(recipes))
    parts = [text.describe_recipes(recipes, by_name(names, args.csv_paths))]
    for images, of_group in frame.groupby("images", sort=False):
        describe = text.describe_training if images == TRAINING else text.describe_group
        parts.append(describe(of_group, labels, reports))
    parts += [*remarks, text.describe_intervals(frame), "\n".join(written)]
    print("\n\n".join(filter(None, parts)))


if __name__ == "__main__":
    main()
