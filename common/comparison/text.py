"""The comparison as it is printed."""

from __future__ import annotations

import textwrap
from fractions import Fraction

import numpy as np
import pandas as pd

from common.comparison.frame import (
    ALL_IMAGES,
    AS_FAR,
    IMAGES_ERROR,
    LESS,
    PAIRS,
    REPORTED,
    TRAINING,
    TRAININGS_ERROR,
    WON,
    Recipes,
)
from common.comparison.tables import describe_lacking, errors_of
from common.evaluation import BAND_NAMES
from common.ground_truth import LANDMARK_NAMES
from common.results.intervals import MIN_IMAGES, RESAMPLES
from common.results.metrics import ERROR, TARGET_MM

EXCELLENT, GOOD, POOR, FAILURE = (f"{name}, %" for name in BAND_NAMES)
WITHIN_TARGET, HC_BIAS = f"Landmarks within {TARGET_MM} mm, %", "HC bias, mm"
# Of all figures those that are printed, in this order; the table that is written has all of them.
PRINTED = (
    *("Mean", "Std", "Median", "Min", "Max", "95th percentile"),
    *(f"{name} {figure}" for name in LANDMARK_NAMES for figure in ("mean", "median")),
    *(EXCELLENT, GOOD, POOR, FAILURE, WITHIN_TARGET),
    *(f"{name} absolute error, mm" for name in ("OFD", "BPD", "HC")),
    HC_BIAS,
)
HIGHEST_IS_BEST = (EXCELLENT, WITHIN_TARGET)
NONE_IS_BEST = (GOOD, POOR, HC_BIAS)
FORMATS = {"Parameters": ",.0f", "Epochs": ".4g", "in epoch": ".4g", "Minutes": ".1f"}
MAX_LABEL = 12  # characters of a name that can stand above a column
MAX_WIDTH = 130  # of a table; further columns stand below
RARE = 1000  # one in so many is all that is said of a share


def column_labels(names: list[str]) -> dict[str, str]:
    """Return what each recipe is called where there is little room: its name, if all are short, and
    otherwise a letter."""
    if max(map(len, names)) <= MAX_LABEL:
        return {name: name for name in names}
    letters = [chr(ord("A") + i) for i in range(len(names))]
    prefix = "test " if set(letters) & set(names) else ""
    return {name: prefix + letter for name, letter in zip(names, letters)}


def describe_recipes(recipes: Recipes, paths: dict[str, list[str]]) -> str:
    """Say how much was tested, from which tables, and what not all of them have."""
    known = np.isfinite(errors_of(next(iter(recipes.values()))[0], ERROR))
    lines = [f"{known.any(axis=1).sum()} images, {known.sum()} landmarks (px at 256×256)"]
    labels = column_labels(list(recipes))
    titles = {name: name if label == name else f"{label}: {name}" for name, label in labels.items()}
    width = max(map(len, titles.values()))
    for name, title in titles.items():
        first, *others = paths[name]
        if others:
            title += f", {len(paths[name])} trainings"
            lines += [f"  {title}", *(f"    {path}" for path in paths[name])]
        else:
            lines.append(f"  {title:<{width}}  {first}")
    by_path = {
        path: table for name, tables in recipes.items() for path, table in zip(paths[name], tables)
    }
    return "\n".join([*lines, *describe_lacking(by_path)])


def best_of(figure: str, values: pd.Series) -> list[str]:
    """Return the names of the recipes that are best in a figure, by the two decimals that are
    printed; none where no value is better than another by itself."""
    rounded = values.round(2)
    if figure in NONE_IS_BEST or len(values) < 2 or rounded.isna().all():
        return []
    best = rounded.max() if figure in HIGHEST_IS_BEST else rounded.min()
    return list(rounded.index[rounded == best])


def describe_group(rows: pd.DataFrame, labels: dict[str, str], reports: dict[str, str]) -> str:
    """Give the figures of a group of images, a column for each recipe, and the differences.

    rows: those of compare, and of the report, of this group. reports: the number of the hypothesis
    of the report that a recipe repeats, by the name of the recipe.
    """
    images = rows["images"].iloc[0]
    is_known = rows["value"].notna()
    known = rows[is_known].groupby("figure")["value"].max()
    # What is in mm rests on the landmarks or images with a pixel size, equally many in all tests.
    printed = {
        name: f"{name} (of {known[_number_of(name)]:.0f})" if "mm" in name else name
        for name in PRINTED
        if name in known
    }
    best = {}
    for figure in printed:
        values = rows[rows["figure"] == figure].set_index("test")["value"].reindex(list(labels))
        best[figure] = ", ".join(labels[name] for name in best_of(figure, values))
    heading = {"best": best} if len(labels) > 1 else {}
    lines = [images, "-" * len(images), *_lay_out(rows, printed, labels, reports, heading)]
    if len(labels) > 1:
        lines += ["", *_describe_differences(rows, labels)]
    return "\n".join(lines)


def _number_of(figure: str) -> str:
    """Return the figure that says of how many landmarks or images a figure in mm is."""
    return f"{figure.split()[0]} known in mm"


def _lay_out(
    rows: pd.DataFrame,
    printed: dict[str, str],
    labels: dict[str, str],
    reports: dict[str, str],
    more: dict[str, dict[str, str]],
) -> list[str]:
    """Return the lines of a table: a row for each figure that is printed, by what it is called; a
    column for each recipe, followed by that of the report's figures, if it has any here; and last
    more columns by their headings. Recipes that have no room are in another table below."""
    rows = rows.set_index(["figure", "test"])
    first = ["", *printed.values()]
    tables = [first]
    for name, label in labels.items():
        column = [label, *_align([_cell(figure, rows, name) for figure in printed])]
        report = REPORTED + reports.get(name, "")
        if report in rows.index.get_level_values("test"):
            marked = [_reported(figure, rows, name, report) for figure in printed]
            column = _beside(column, [report, *_align(marked)])
        wider = _beside(tables[-1], column)
        if tables[-1] is first or max(map(len, wider)) <= MAX_WIDTH:
            tables[-1] = wider
        else:
            tables.append(_beside(first, column))
    for heading, cells in more.items():
        tables[-1] = _beside(tables[-1], [heading, *map(cells.get, printed)])
    return "\n\n".join("\n".join(table) for table in tables).split("\n")


def _beside(left: list[str], right: list[str]) -> list[str]:
    """Return the lines of two columns, one beside the other."""
    width = max(map(len, left))
    return [f"{text:<{width}}  {other}".rstrip() for text, other in zip(left, right)]


def _cell(figure: str, rows: pd.DataFrame, name: str) -> tuple[str, str]:
    """Return a figure of a recipe, and behind it the lowest and highest training in [] and its
    interval in (), where there are any."""
    row = rows.loc[(figure, name)] if (figure, name) in rows.index else None
    if row is None or not np.isfinite(row["value"]):
        return "-", ""
    style = FORMATS.get(figure, ".6f" if row["images"] == TRAINING else ".2f")
    behind = ""
    if row["lowest"] < row["highest"]:
        behind += f" [{_number(row['lowest'], style)}, {_number(row['highest'], style)}]"
    if np.isfinite(row["low"]):
        behind += f" ({_number(row['low'], '.1f')} to {_number(row['high'], '.1f')})"
    return _number(row["value"], style), behind


def _reported(figure: str, rows: pd.DataFrame, name: str, report: str) -> tuple[str, str]:
    """Return the report's figure with the digits that it has there, and an asterisk where it lies
    outside those of three or more trainings."""
    if (figure, report) not in rows.index:
        return "-", ""
    value, row = rows.loc[(figure, report), "value"], rows.loc[(figure, name)]
    is_outside = value < row["lowest"] or value > row["highest"]
    return f"{value:,.10g}", " *" if is_outside and row["trainings"] >= 3 else ""


def _align(cells: list[tuple[str, str]]) -> list[str]:
    """Join the number and the rest of each cell, so that all numbers end at one place."""
    width = max(6, *(len(number) for number, _ in cells))
    return [f"{number:>{width}}{behind}" for number, behind in cells]


def _number(value: float, style: str) -> str:
    """Format a number; what rounds to 0 has no sign."""
    text = f"{value:{style}}"
    return text.lstrip("-") if float(text.replace(",", "")) == 0 else text


def _describe_differences(rows: pd.DataFrame, labels: dict[str, str]) -> list[str]:
    """Say, of each pair, by how much a recipe's mean is above the other's, and how sure that is."""
    differences = rows[rows["figure"].str.startswith(LESS)]
    interval = " (95 % interval)" if differences["low"].notna().any() else ""
    lines = [f"Difference of means in px, paired by image{interval}"]
    pairs = [(row, row.figure[len(LESS) :]) for row in differences.itertuples()]
    titles = [f"{labels[row.test]} less {labels[second]}" for row, second in pairs]
    values = rows.set_index(["figure", "test"])["value"]
    for (row, second), title in zip(pairs, titles):
        line = f"  {title:<{max(map(len, titles))}}  {_number(row.value, '.2f'):>6}"
        if np.isfinite(row.low):
            contains = "contains" if row.low <= 0 <= row.high else "does not contain"
            of_several = (PAIRS + second, row.test) in values
            line += f" ({_number(row.low, '.2f')} to {_number(row.high, '.2f')}) {contains} 0; "
            line += "images and trainings" if of_several else "images alone"
        lines += [line, *_describe_trainings(row.test, second, values, labels)]
    return lines


def _describe_trainings(
    first: str, second: str, values: pd.Series, labels: dict[str, str]
) -> list[str]:
    """Say, of a pair of recipes with several trainings, what is due to these, and which are better.
    values: of the figures, by figure and test."""
    lines = []
    if (IMAGES_ERROR + second, first) in values:
        images, trainings = (
            values[figure + second, first] for figure in (IMAGES_ERROR, TRAININGS_ERROR)
        )
        lines.append(
            f"    standard error {images:.2f} from the images, {trainings:.2f} from the trainings"
        )
    if (PAIRS + second, first) in values:
        won, pairs, as_far = (values[f + second, first] for f in (WON, PAIRS, AS_FAR))
        lines += [
            f"    {labels[first]} is better in {won:g} of {pairs:g} pairs of trainings, "
            f"{labels[second]} in {pairs - won:g}",
            f"    at least as far from half: {_share(as_far)} of all ways to divide the trainings",
        ]
    return lines


def _share(share: float) -> str:
    """Return a share as a fraction in words."""
    if share < 1 / RARE:
        return f"less than 1 in {RARE:,}"
    fraction = Fraction(share).limit_denominator(RARE)
    return f"{fraction.numerator} in {fraction.denominator}"


def describe_training(rows: pd.DataFrame, labels: dict[str, str], reports: dict[str, str]) -> str:
    """Give the figures on the trainings, a column for each recipe."""
    printed = {figure: figure for figure in rows["figure"]}
    return "\n".join(
        [
            TRAINING,
            "-" * len(TRAINING),
            *_lay_out(rows, printed, labels, reports, {}),
            "A gap is the validation loss less the training loss. Losses of different criteria",
            "are not comparable.",
        ]
    )


def describe_intervals(frame: pd.DataFrame) -> str:
    """Say what the intervals and the other signs of a comparison mean."""
    sentences = []
    if frame["lowest"].notna().any():
        sentences.append("[ ] lowest and highest of the trainings.")
    if frame.loc[frame["images"] == ALL_IMAGES, "low"].isna().all():
        sentences.append(f"Fewer than {MIN_IMAGES} images have no 95 % intervals.")
    else:
        sentences += [
            f"( ) 95 % interval over the images ({RESAMPLES:,} resamples of whole images): what "
            "other images of this kind would give.",
            "That of a difference of recipes with several trainings covers other seeds too."
            if frame["figure"].str.startswith(AS_FAR).any()
            else "It does not cover another seed of the training.",
            "None covers images from another hospital.",
        ]
    if frame["test"].str.startswith(REPORTED).any() and frame["trainings"].max() >= 3:
        sentences.append("* the report's figure lies outside those of three or more trainings.")
    return textwrap.fill(" ".join(sentences), 78)
