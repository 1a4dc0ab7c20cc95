"""The comparison as it is printed."""

from __future__ import annotations

import textwrap

import numpy as np
import pandas as pd

from common.comparison.frame import (
    ALL_IMAGES,
    AS_FAR,
    LESS,
    PAIRS,
    REPORTED,
    TRAINING,
    WON,
    Recipes,
)
from common.comparison.tables import describe_lacking, errors_of
from common.evaluation import BAND_NAMES
from common.ground_truth import LANDMARK_NAMES
from common.results.figures import ERROR, TARGET
from common.results.intervals import MIN_IMAGES, RESAMPLES

EXCELLENT, GOOD, POOR, FAILURE = (f"{name}, %" for name in BAND_NAMES)
WITHIN_TARGET = f"Landmarks within {TARGET} mm, %"
# Of all figures those that are printed, in this order; the table that is written has all of them.
PRINTED = (
    *("Mean", "Std", "Median", "Min", "Max", "95th percentile"),
    *(f"{name} {figure}" for name in LANDMARK_NAMES for figure in ("mean", "median")),
    *(EXCELLENT, GOOD, POOR, FAILURE, WITHIN_TARGET, "Landmarks known in mm"),
    *(f"{name} absolute error, mm" for name in ("OFD", "BPD", "HC")),
    *("HC bias, mm", "HC known in mm"),
)
HIGHEST_IS_BEST = (EXCELLENT, WITHIN_TARGET)
NONE_IS_BEST = (GOOD, POOR, "HC bias, mm", "Landmarks known in mm", "HC known in mm")
FORMATS = {
    **dict.fromkeys(("Parameters", "Landmarks known in mm", "HC known in mm"), ",.0f"),
    **{"Epochs": ".4g", "in epoch": ".4g", "Minutes": ".1f"},
}
MAX_LABEL = 12  # characters of a name that can stand above a column


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
    width = max(map(len, labels.values()))
    for name, label in labels.items():
        title = name if label == name else f"{label:<{width}}  {name}"
        trainings = f", {len(paths[name])} trainings" if len(paths[name]) > 1 else ""
        lines += [f"  {title}{trainings}", *(f"    {path}" for path in paths[name])]
    by_path = {
        path: table for name, tables in recipes.items() for path, table in zip(paths[name], tables)
    }
    return "\n".join([*lines, *describe_lacking(by_path)])


def best_of(figure: str, values: pd.Series) -> list[str]:
    """Return the names of the tests that are best in a figure, by the two decimals that are
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
    is_known = rows["value"].notna() & ~(
        rows["figure"].str.contains("known") & (rows["value"] == 0)
    )
    printed = [name for name in PRINTED if name in set(rows.loc[is_known, "figure"])]
    lines = [images, "-" * len(images), *_lay_out(rows, printed, labels, reports, "best")]
    differences = rows[rows["figure"].str.startswith(LESS)]
    if len(differences):
        lines += ["", "Difference of means in px, paired by image (95 % interval)"]
        figures = rows.set_index(["figure", "test"])["value"]
        for row in differences.itertuples():
            second = row.figure[len(LESS) :]
            lines += _describe_difference(row, second, figures, labels)
    return "\n".join(lines)


def _lay_out(
    rows: pd.DataFrame,
    printed: list[str],
    labels: dict[str, str],
    reports: dict[str, str],
    heading: str,
) -> list[str]:
    """Return the lines of a table with these figures, each recipe's column followed by that of the
    report; with a heading, a column says which are best."""
    by_figure = {name: of_one.set_index("test") for name, of_one in rows.groupby("figure")}
    columns = {}
    for name, label in labels.items():
        columns[name] = label
        if name in reports and (rows["test"] == REPORTED + reports[name]).any():
            columns[REPORTED + reports[name]] = REPORTED + reports[name]
    table = [["", *columns.values(), heading]]
    for figure in printed:
        of_one = by_figure[figure]
        cells = []
        for name in columns:
            known = name in of_one.index and np.isfinite(of_one.loc[name, "value"])
            report = of_one["value"].get(REPORTED + reports.get(name, ""), np.nan)
            cells.append(_cell(of_one.loc[name], report) if known else "-")
        best = ""
        if heading:
            values = of_one["value"].reindex(list(labels))
            best = ", ".join(labels[name] for name in best_of(figure, values))
        table.append([figure, *cells, best])
    widths = [max(map(len, column)) for column in zip(*table)]
    return ["  ".join(f"{c:<{w}}" for c, w in zip(line, widths)).rstrip() for line in table]


def _cell(row: pd.Series, report: float) -> str:
    """Return a figure, its interval in (), the lowest and highest training in [], and an asterisk
    where the report's figure lies outside those of three or more trainings."""
    style = FORMATS.get(row["figure"], ".6f" if row["images"] == TRAINING else ".2f")
    text = f"{_number(row['value'], style):>6}"
    if np.isfinite(row["low"]):
        text += f" ({_number(row['low'], '.1f')} to {_number(row['high'], '.1f')})"
    if row["lowest"] < row["highest"]:
        text += f" [{_number(row['lowest'], style)} to {_number(row['highest'], style)}]"
    if row["trainings"] >= 3 and (report < row["lowest"] or report > row["highest"]):
        text += " *"
    return text


def _number(value: float, style: str) -> str:
    """Format a number; what rounds to 0 has no sign."""
    text = f"{value:{style}}"
    return text.lstrip("-") if float(text.replace(",", "")) == 0 else text


def _describe_difference(
    row: pd.Series, second: str, figures: pd.Series, labels: dict[str, str]
) -> list[str]:
    """Say by how much a recipe's mean is above another's, and how sure that is."""
    first, other = labels[row.test], labels[second]
    line = f"  {first} less {other}  {_number(row.value, '.2f'):>6}"
    pairs = figures.get((PAIRS + second, row.test), 0)
    if np.isfinite(row.low):
        contains_0 = "contains 0" if row.low <= 0 <= row.high else "does not contain 0"
        over = "images and trainings" if pairs else "images alone"
        line += f" ({_number(row.low, '.2f')} to {_number(row.high, '.2f')}) {contains_0}; {over}"
    if not pairs:
        return [line]
    won, as_far = figures[WON + second, row.test], figures[AS_FAR + second, row.test]
    return [
        line,
        f"    {first} is better in {won:g} of {pairs:.0f} pairs of trainings; as far from half in "
        f"{as_far:.1%} of all ways to divide these trainings",
    ]


def describe_training(rows: pd.DataFrame, labels: dict[str, str], reports: dict[str, str]) -> str:
    """Give the figures on the trainings, a column for each recipe."""
    figures = list(dict.fromkeys(rows["figure"]))
    note = "A gap is the validation loss less the training loss. Losses of different criteria are "
    note += "not comparable."
    return "\n".join(
        [TRAINING, "-" * len(TRAINING), *_lay_out(rows, figures, labels, reports, ""), note]
    )


def describe_intervals(frame: pd.DataFrame) -> str:
    """Say what the intervals and the other signs of a comparison mean."""
    if frame.loc[frame["images"] == ALL_IMAGES, "low"].isna().all():
        text = f"Fewer than {MIN_IMAGES} images have no 95 % intervals."
    else:
        text = (
            f"( ) 95 % interval over the images ({RESAMPLES:,} resamples of whole images): what "
            "other images of this kind would give. "
        )
        if frame["figure"].str.startswith(AS_FAR).any():
            text += (
                "The interval of a difference of recipes with several trainings covers other seeds "
                "too. "
            )
        else:
            text += "It does not cover another seed of the training. "
        text += "None covers images from another hospital."
    if frame["lowest"].notna().any():
        text += " [ ] lowest and highest of the trainings."
    if frame["test"].str.startswith(REPORTED).any():
        text += " * the report's figure lies outside those of three or more trainings."
    return textwrap.fill(text, 78)
