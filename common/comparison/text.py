"""The comparison as it is printed."""

import itertools
from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd

from common.comparison import frame
from common.evaluation import BAND_NAMES
from common.ground_truth import LANDMARK_NAMES
from common.results.intervals import MIN_IMAGES, RESAMPLES
from common.results.metrics import TARGET_MM, errors_of

EXCELLENT, GOOD, POOR, FAILURE = (f"{name}, %" for name in BAND_NAMES)
WITHIN_TARGET, HC_BIAS = f"Landmarks within {TARGET_MM} mm, %", "HC bias, mm"
# Of the figures of a test those that are printed, in this order; of a training all are. The table
# that is written has all of them.
PRINTED = (
    *("Mean", "Std", "Median", "Min", "Max", "95th percentile"),
    *(f"{name} {figure}" for name in LANDMARK_NAMES for figure in ("mean", "median")),
    *(EXCELLENT, GOOD, POOR, FAILURE, WITHIN_TARGET),
    *(f"{name} absolute error, mm" for name in ("OFD", "BPD", "HC")),
    HC_BIAS,
)
FORMATS = {"Parameters": ",.0f", "Epochs": ".4g", "in epoch": ".4g", "Minutes": ".1f"}
HIGHEST_IS_BEST = (EXCELLENT, WITHIN_TARGET)
NONE_IS_BEST = (GOOD, POOR, HC_BIAS)
RARE = 1_000_000  # one in so many is all that is said of a share
MAX_WIDTH = 140  # of a table; further columns stand below
SIGNS = f"""\
[ ] lowest and highest of several trainings. ( ) 95 % interval, from {MIN_IMAGES} images on: what
other images of this kind would give ({RESAMPLES:,} resamples of whole images). It covers neither
images from another hospital nor, but in a difference of "images and trainings", other seeds.
* the report's figure lies outside those of three or more trainings. A gap is the validation loss
less the training loss. Losses of different criteria are not comparable."""


def describe_tables(names: list[str], paths: list[str], first: pd.DataFrame) -> str:
    """Say how much was tested, and which table is of which recipe. first: one of the tables."""
    known, width = np.isfinite(errors_of(first)), max(map(len, names))
    lines = [f"{known.any(axis=1).sum()} images, {known.sum()} landmarks (px at 256×256)"]
    return "\n".join(lines + [f"  {name:<{width}}  {path}" for name, path in zip(names, paths)])


def describe_group(rows: pd.DataFrame, reports: dict[str, str]) -> str:
    """Give the figures of a group of images, or of the trainings, a column for each recipe, and the
    differences.

    rows: those of a comparison on this group. reports: by the name of each recipe, that under which
    the figures of the report that stand beside it are found, if there are any.
    """
    is_of_two, images = rows["figure"].isin(frame.OF_TWO), rows["images"].iloc[0]
    figures, of_two = rows[~is_of_two], rows[is_of_two]
    of_recipes = figures[figures["test"].isin(list(reports))]
    known = of_recipes.groupby("figure", sort=False)["value"].max().dropna()
    printed = [figure for figure in PRINTED if figure in known] or list(known.index)
    tests = {
        name: of_test.set_index("figure").reindex(printed)
        for name, of_test in figures.groupby("test")
    }
    columns = []
    for name, report in reports.items():
        columns.append(_column(name, map(_cell, tests[name].itertuples())))
        if report in tests:
            cells = map(_report_cell, tests[report]["value"], tests[name].itertuples())
            columns.append(_column(report, cells))
    values = pd.DataFrame({name: tests[name]["value"] for name in reports})
    best = [", ".join(best_of(figure, of_figure)) for figure, of_figure in values.iterrows()]
    if any(best) and images != frame.TRAINING:
        columns.append(_column("best", [("", names) for names in best]))
    table = pd.concat(columns, axis=1)
    # What is in mm rests on the landmarks or images with a pixel size, equally many in all tests.
    table.index = [
        f"{name} (of {known[f'{name.split()[0]} known in mm']:.0f})" if "mm" in name else name
        for name in printed
    ]
    lines = table.to_string(justify="left", line_width=MAX_WIDTH).split("\n")
    lines = [images, "-" * len(images), *(line.rstrip(" \\") for line in lines)]
    return "\n".join(lines + _describe_differences(of_two, list(reports)))


def _column(heading: str, cells: Iterable[tuple[str, str]]) -> pd.Series:
    """Return a column of text in which all numbers end at one place. cells: a number each, and what
    stands behind it."""
    numbers, others = map(pd.Series, zip(*cells))
    column = numbers.str.rjust(numbers.str.len().max()) + others
    return column.str.ljust(max(len(heading), column.str.len().max())).rename(heading)


def _cell(row: Any) -> tuple[str, str]:
    """Return a figure of a recipe, and behind it the lowest and highest training in [] and its
    interval in (), where there are any. row: of a figure, as itertuples gives it."""
    if np.isnan(row.value):
        return "-", ""
    style = FORMATS.get(row.Index, ".6f" if row.images == frame.TRAINING else ".2f")
    others = ""
    if row.lowest < row.highest:
        others += f" [{_number(row.lowest, style)}, {_number(row.highest, style)}]"
    if np.isfinite(row.low):
        others += f" ({_number(row.low, '.1f')} to {_number(row.high, '.1f')})"
    return _number(row.value, style), others


def _report_cell(value: float, row: Any) -> tuple[str, str]:
    """Return the report's figure with the digits that it has there, and an asterisk where it lies
    outside those of three or more trainings. row: of the figure of these trainings."""
    if np.isnan(value):
        return "-", ""
    is_outside = value < row.lowest or value > row.highest
    return f"{value:,.10g}", " *" if is_outside and row.trainings >= 3 else ""


def _number(value: float, style: str = ".2f") -> str:
    """Format a number; what rounds to 0 has no sign."""
    text = f"{value:{style}}"
    return text.lstrip("-") if float(text.replace(",", "")) == 0 else text


def best_of(figure: str, values: pd.Series) -> list[str]:
    """Return the names of the recipes that are best in a figure, by the two decimals that are
    printed; none where no value is better than another."""
    rounded = values.round(2)
    if figure in NONE_IS_BEST or rounded.nunique() < 2:
        return []
    best = rounded.max() if figure in HIGHEST_IS_BEST else rounded.min()
    return list(rounded.index[rounded == best])


def _describe_differences(of_two: pd.DataFrame, names: list[str]) -> list[str]:
    """Say, of each two of the recipes, by how much the mean of one is above the other's, and how
    sure that is; then, of recipes with several trainings, what is due to these, and which are
    better. of_two: the rows on them."""
    if of_two.empty:
        return []
    lines = ["", "Difference of means in px, paired by image (95 % interval)"]
    width = of_two["test"].str.len().max()
    for first, second in itertools.combinations(names, 2):
        test = f"{first} less {second}"
        figures = of_two[of_two["test"] == test].set_index("figure")
        values, low, high = figures["value"], *figures.loc[frame.DIFFERENCE, ["low", "high"]]
        line = f"  {test:<{width}}  {_number(values[frame.DIFFERENCE]):>6}"
        if np.isfinite(low):
            contains = "contains" if low <= 0 <= high else "does not contain"
            over = "images and trainings" if frame.OF_PAIRS in values else "images alone"
            line += f" ({_number(low)} to {_number(high)}) {contains} 0; {over}"
        lines.append(line)
        if frame.IMAGES_ERROR in values:
            lines.append(
                f"    standard error {values[frame.IMAGES_ERROR]:.2f} from the images, "
                f"{values[frame.TRAININGS_ERROR]:.2f} from the trainings"
            )
        if frame.OF_PAIRS in values:
            won, number = values[frame.WON], values[frame.OF_PAIRS]
            share = Fraction(values[frame.AS_FAR]).limit_denominator(RARE)
            rarity = f"{share.numerator:,} in {share.denominator:,}"
            if values[frame.AS_FAR] < 1 / RARE:
                rarity = f"less than 1 in {RARE:,}"
            lines += [
                f"    {first} is better in {won:g} of {number:g} pairs of trainings, "
                f"{second} in {number - won:g}",
                f"    at least as far from half: {rarity} of all ways to divide the trainings",
            ]
    return lines
