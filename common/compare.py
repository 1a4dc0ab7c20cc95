"""Compare tests: which training is better, and would other images of this kind show it too?

    python -m common.compare --csv_paths hypothesis_1_predictions.csv hypothesis_2_predictions.csv

It reads the tables that testers wrote of the same images; it needs no model and no image.
"""

from __future__ import annotations

import os
import string
import textwrap
from argparse import Namespace

import numpy as np
import pandas as pd

from common import UserError, cli, comparison, comparison_plots, figures
from common.comparison import EXCELLENT, FROM, TO, WITHIN_TARGET, Comparison
from common.files import check_outputs, write_table
from common.ground_truth import landmark_values

LETTERS = string.ascii_uppercase  # what the tests are called where there is little room
HIGHEST_IS_BEST = (EXCELLENT, WITHIN_TARGET)
NONE_IS_BEST = tuple(f"{name}, %" for name in figures.BAND_NAMES[1:-1])
TRAINING_FORMATS = {"Parameters": ",.0f", "Epochs": ".0f", "Minutes": ".1f", "  in epoch": ".0f"}
MEANING = (
    f"The 95 % intervals ({figures.DRAWS:,} draws of whole images, with replacement) cover the "
    "choice of the images: what other images of this kind would give. They do not cover another "
    "seed of the training, nor images from another hospital."
)
NO_INTERVALS = f"Fewer than {figures.MIN_IMAGES} images have no 95 % intervals."


def describe_tests(tables: dict[str, pd.DataFrame], paths: list[str]) -> str:
    """Say how much was tested, what the letters stand for, and what not all tables have."""
    errors = landmark_values(next(iter(tables.values())), comparison.ERRORS)
    known = np.isfinite(errors)
    images = known.any(axis=(1, 2)).sum()
    lines = [f"{images} images, {known.sum()} landmarks (px at 256×256)"]
    width = max(map(len, tables))
    lines += [f"  {a}  {name:<{width}}  {path}" for a, name, path in zip(LETTERS, tables, paths)]
    letters = dict(zip(tables, LETTERS))
    for what, names in comparison.find_lacking(tables).items():
        if len(names) == len(tables):
            lines.append(f"Not used, as no table has it: {what}")
        elif names:
            lacking = ", ".join(letters[name] for name in names)
            lines.append(f"Not used, as not all tables have it: {what} (not in {lacking})")
    return "\n".join(lines)


def best_of(row: str, values: pd.Series) -> list[str]:
    """Return the names of the tests that are best in a row, by the two decimals that are printed;
    none where no value is better than another by itself."""
    rounded = values.round(2)
    if row in NONE_IS_BEST or rounded.isna().all():
        return []
    best = rounded.max() if row in HIGHEST_IS_BEST else rounded.min()
    return list(rounded.index[rounded == best])


def describe_comparison(compared: Comparison) -> str:
    """Give the figures of all tests, which is best in each, and the differences of their means."""
    rows = compared.figures
    letters = dict(zip(rows.columns, LETTERS))
    names = [row for row in rows.index if not row.endswith((FROM, TO))]
    cells = {letter: [_cell(rows[name], row) for row in names] for name, letter in letters.items()}
    best = [", ".join(letters[name] for name in best_of(row, rows.loc[row])) for row in names]
    lines = _aligned(["", *names], [[f"{letter:>6}", *column] for letter, column in cells.items()])
    lines = [f"{line}  {text}".rstrip() for line, text in zip(lines, ["best", *best])]
    has_intervals = bool(np.isfinite(compared.differences["low"]).all())
    interval = " (95 % interval)" if has_intervals else ""
    lines += ["", f"Difference of means in px, paired by image{interval}"]
    for pair in compared.differences.itertuples():
        line = f"  {letters[pair.first]} less {letters[pair.second]}  {pair.difference:8.2f}"
        if has_intervals:
            contains_0 = pair.low <= 0 <= pair.high
            interval = f"({pair.low:.2f} to {pair.high:.2f})"
            line += f" {interval:<20}{'contains 0' if contains_0 else 'does not contain 0'}"
        lines.append(line)
    if compared.title:
        lines = [compared.title, "-" * len(compared.title), *lines]
    return "\n".join(lines)


def _cell(column: pd.Series, row: str) -> str:
    """Return a figure with its interval, if there is one; "-" if it is not known."""
    if np.isnan(column[row]):
        return f"{'-':>6}"
    text = f"{column[row]:6.2f}"
    if row + FROM in column:
        text += f" ({column[row + FROM]:.1f} to {column[row + TO]:.1f})"
    return text


def _aligned(names: list[str], columns: list[list[str]]) -> list[str]:
    """Return lines of a name and its cells, each column as wide as it needs."""
    lines = [f"  {name:<{max(map(len, names))}}" for name in names]
    for column in columns:
        width = max(map(len, column))
        lines = [f"{line}  {cell:<{width}}" for line, cell in zip(lines, column)]
    return lines


def describe_training(training: pd.DataFrame) -> str:
    """Give the rows on the trainings, a column for each test."""
    columns = []
    for letter, name in zip(LETTERS, training):
        formats = [TRAINING_FORMATS.get(row, ".6f") for row in training.index]
        values = zip(training[name], formats)
        cells = ["-" if np.isnan(value) else f"{value:{style}}" for value, style in values]
        columns.append([f"{cell:>12}" for cell in (letter, *cells)])
    lines = _aligned(["", *training.index], columns)
    note = "A gap is the validation loss less the training loss. Losses of different criteria are "
    note += "not comparable."
    return "\n".join(["Training", "--------", *lines, note])


def comparison_table(compared: list[Comparison], training: pd.DataFrame) -> pd.DataFrame:
    """Return all figures as one table: a row for each figure or end of an interval, a column for
    each test. `images` says of which images a row is. A difference stands in the column of the
    test that is subtracted."""
    names = list(compared[0].figures)
    rows = []
    for each in compared:
        images = each.title or "All images"
        rows += [[images, row, *values] for row, *values in each.figures.itertuples()]
        for first, pairs in each.differences.groupby("first", sort=False):
            pairs = pairs.set_index("second").reindex(names)
            for column, end in (("difference", ""), ("low", FROM), ("high", TO)):
                if pairs[column].notna().any():
                    label = f"Mean of {first} less that of this test{end}"
                    rows.append([images, label, *pairs[column]])
    rows += [["Training", row.strip(), *values] for row, *values in training.itertuples()]
    return pd.DataFrame(rows, columns=["images", "figure", *names])


def check_arguments(args: Namespace) -> list[str]:
    """Return the names of the tests. Raises UserError for numbers of arguments that do not fit."""
    number = len(args.csv_paths)
    if not 2 <= number <= len(LETTERS):
        raise UserError(f"--csv_paths: {number} given; 2 to {len(LETTERS)} can be compared")
    for option in ("names", "checkpoint_paths"):
        values = getattr(args, option)
        if values is not None and len(values) != number:
            raise UserError(f"--{option}: {len(values)} given for {number} tables")
    names = args.names or [os.path.splitext(os.path.basename(path))[0] for path in args.csv_paths]
    repeated = [name for name in names if names.count(name) > 1]
    if repeated:
        raise UserError(f"two tables are named {repeated[0]}: give each a name of its own, --names")
    return names


@cli.reports_errors()
def main(argv: list[str] | None = None) -> None:
    """Print the comparison; write the table and the picture where they are asked for."""
    parser = cli.Parser("Compare tests: which training is better, and how sure is that?")
    add = parser.add_argument
    add("--csv_paths", nargs="+", required=True, help="the tables of two or more testers")
    add("--names", nargs="+", help="what to call the tests; without it, as their files")
    add("--checkpoint_paths", nargs="+", help="the checkpoints of the trainings, in this order")
    add("--csv_save_path", type=cli.ending_in(".csv"), help="table of all figures")
    add("--plot_save_path", type=cli.ending_in(*cli.PICTURES), help="picture of the comparison")
    args = parser.parse_args(argv)
    check_outputs(args)
    names = check_arguments(args)
    tables = dict(zip(names, map(comparison.read_test, args.csv_paths)))
    lacking = comparison.find_lacking(tables)
    shared = [what for what, lack_it in lacking.items() if not lack_it]
    comparison.check_same(args.csv_paths, list(tables.values()), shared)
    histories = dict(zip(names, map(comparison.read_training, args.checkpoint_paths or [])))
    training = pd.DataFrame({n: comparison.training_rows(h) for n, h in histories.items()})

    print(describe_tests(tables, args.csv_paths))
    compared, remarks = comparison.compare_tests(tables, shared)
    for text in (*map(describe_comparison, compared), *remarks):
        print(f"\n{text}")
    if len(training):
        print(f"\n{describe_training(training)}")
    has_intervals = compared[0].differences["low"].notna().all()
    print("\n" + (textwrap.fill(MEANING, 78) if has_intervals else NO_INTERVALS))
    if args.csv_save_path:
        write_table(comparison_table(compared, training), args.csv_save_path)
        print(f"\nTable:   {args.csv_save_path}")
    if args.plot_save_path:
        comparison_plots.comparison_picture(compared, histories, args.plot_save_path)
        print(f"Picture: {args.plot_save_path}")


if __name__ == "__main__":
    main()
