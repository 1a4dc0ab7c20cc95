"""Compare tests: which training is better, and would other images of this kind show it too?

    python -m common.compare --csv_paths hypothesis_1_predictions.csv hypothesis_2_predictions.csv

It reads the tables that testers wrote of the same images; it needs no network and no image. Tables
of the same name are trainings of one recipe.
"""

from __future__ import annotations

import os
from argparse import Namespace

import pandas as pd

from common import UserError
from common.basics.arguments import PICTURES, Parser, ending_in
from common.basics.errors import reports_errors
from common.basics.files import check_outputs, write_table
from common.comparison import text
from common.comparison.frame import COLUMNS, TRAINING, compare, report_rows, summarise_trainings
from common.comparison.picture import draw_comparison
from common.comparison.tables import SHA256, check_same, read_test
from common.comparison.trainings import describe_stale, read_training, training_figures

MAX_TESTS = 26


def check_arguments(args: Namespace) -> list[str]:
    """Return the name of each table. Raises UserError for numbers of arguments that do not fit."""
    number = len(args.csv_paths)
    if number > MAX_TESTS:
        raise UserError(f"--csv_paths: {number} given; at most {MAX_TESTS} can be compared")
    for option in ("names", "checkpoint_paths"):
        values = getattr(args, option)
        if values is not None and len(values) != number:
            raise UserError(f"--{option}: {len(values)} given for {number} tables")
    stems = [os.path.splitext(os.path.basename(path))[0] for path in args.csv_paths]
    repeated = [name for name in stems if stems.count(name) > 1]
    if not args.names and repeated:
        raise UserError(f"two tables are named {repeated[0]}: give each a name of its own, --names")
    # A name that is not UTF-8 can be printed, but neither drawn nor written.
    names = [os.fsencode(name).decode(errors="replace") for name in args.names or stems]
    distinct = len(set(names))
    if args.report and len(args.report) != distinct:
        raise UserError(f"--report: {len(args.report)} given for {distinct} different names")
    return names


def check_repeated(names: list[str], paths: list[str], tables: list[pd.DataFrame]) -> None:
    """Raise UserError where two trainings of one recipe are tests of the same weights."""
    seen = {}
    for name, path, table in zip(names, paths, tables):
        key = (name, table[SHA256].iloc[0])
        if key[1] and key in seen:
            raise UserError(f"{path}: is of the same weights as {seen[key]}, also named {name}")
        seen[key] = path


@reports_errors()
def main(argv: list[str] | None = None) -> None:
    """Write the table and the picture where they are asked for, then print the comparison."""
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
    args = parser.parse_args(argv)
    check_outputs(args)
    names = check_arguments(args)
    tables = [read_test(path) for path in args.csv_paths]
    check_same(args.csv_paths, tables)
    check_repeated(names, args.csv_paths, tables)
    trainings = [read_training(path) for path in args.checkpoint_paths or []]
    recipes, paths, histories = {}, {}, {}
    for i, name in enumerate(names):
        recipes.setdefault(name, []).append(tables[i])
        paths.setdefault(name, []).append(args.csv_paths[i])
        if trainings:
            histories.setdefault(name, []).append(trainings[i])

    frame, remarks = compare(recipes)
    rows = []
    for name, of_one in histories.items():
        rows += summarise_trainings(TRAINING, name, pd.DataFrame(map(training_figures, of_one)))
    frame = pd.concat([frame, pd.DataFrame(rows, columns=COLUMNS)]) if rows else frame
    reports = {n: report for n, report in zip(recipes, args.report or []) if report != "-"}
    if reports:
        frame = pd.concat([frame, report_rows(frame, list(reports.values()))], ignore_index=True)
    remarks += [
        describe_stale(path, table[SHA256].iloc[0], training)
        for path, table, training in zip(args.csv_paths, tables, trainings)
    ]

    written = []
    if args.csv_save_path:  # before anything is printed: a reader may leave (`| head`)
        write_table(frame, args.csv_save_path)
        written.append(f"Table:   {args.csv_save_path}")
    if args.plot_save_path:
        draw_comparison(frame, recipes, histories, args.plot_save_path)
        written.append(f"Picture: {args.plot_save_path}")
    labels = text.column_labels(list(recipes))
    parts = [text.describe_recipes(recipes, paths)]
    for images, of_group in frame.groupby("images", sort=False):
        describe = text.describe_training if images == TRAINING else text.describe_group
        parts.append(describe(of_group, labels, reports))
    parts += [*remarks, text.describe_intervals(frame), "\n".join(written)]
    print("\n\n".join(filter(None, parts)))


if __name__ == "__main__":
    main()
