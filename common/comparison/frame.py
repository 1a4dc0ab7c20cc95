"""The comparison as one tidy table: a row for each figure of each recipe in each group of images.

A recipe is what was trained one or several times, with different seeds; each training was tested
once, on the same images as all others.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from common.annotation_quality.second_reader import MATCHED, PREDICTED_TO_SECOND
from common.comparison.checkpoints import training_figures
from common.comparison.recipes import compare_recipes, pairs_won, training_means
from common.comparison.tables import PLAUSIBLE, errors_of
from common.ground_truth import NAME_COLUMN
from common.results.intervals import interval, resampled_figures
from common.results.metrics import ERROR, all_figures

COLUMNS = ["images", "figure", "test", "value", "low", "high", "lowest", "highest", "trainings"]
ALL_IMAGES, TRAINING = "All images", "Training"
# Figures of a pair of recipes; the name of the other one follows. The last five are of pairs of
# which both have several trainings.
LESS, IMAGES_ERROR, TRAININGS_ERROR, WON, PAIRS, AS_FAR = (
    "Mean less that of ",
    "Standard error from the images, less ",
    "Standard error from the trainings, less ",
    "Pairs of trainings won against ",
    "Pairs of trainings with ",
    "Share of divisions as far from half, with ",
)
REPORTED = "report "  # the number of the hypothesis follows
Recipes = dict[str, list[pd.DataFrame]]  # the tables of its trainings by the name of the recipe


def compare(recipes: Recipes) -> tuple[pd.DataFrame, list[str]]:
    """Compare recipes on all images, on those with a plausible annotation, with the ends matched,
    and by a second reader.

    recipes: tables of the same images in the same order. Returns a table with COLUMNS: of which
    images, which figure, of which recipe, its value (the mean over the trainings), the ends of its
    95 % interval, the lowest and the highest of the trainings, and their number; what is not known
    is NaN. And a remark on each group that would be of no images, or of all images once more.
    """
    rows, remarks = _rows(ALL_IMAGES, recipes, ERROR), []
    tables = list(itertools.chain(*recipes.values()))
    first = tables[0]
    if all(PLAUSIBLE in table for table in tables):
        is_annotated = np.isfinite(errors_of(first, ERROR)).any(axis=1)
        plausible = (first[PLAUSIBLE] == 1) & is_annotated  # NaN, not known, is not plausible
        title = f"The {plausible.sum()} of {is_annotated.sum()} images with a plausible annotation"
        if 0 < plausible.sum() < is_annotated.sum():
            some = {name: [t[plausible] for t in of_one] for name, of_one in recipes.items()}
            rows += _rows(title, some, ERROR)
        else:
            remarks.append(f"{title}: {'all of them' if plausible.any() else 'none'}")
    for title, column in (
        ("With the ends matched", MATCHED),
        ("By the second reader, with the ends matched", PREDICTED_TO_SECOND),
    ):
        if not all(f"ofd_1_{column}" in table for table in tables):
            continue
        if np.isfinite(errors_of(first, column)).any():  # known are the same in all tables
            rows += _rows(title, recipes, column)
        else:
            remarks.append(f"{title}: none of these images")
    return pd.DataFrame(rows, columns=COLUMNS), remarks


def _rows(images: str, recipes: Recipes, column: str) -> list[tuple]:
    """Return the rows of compare by the errors in this column of each landmark."""
    rows, resampled = [], {}
    for name, tables in recipes.items():
        of_trainings = [resampled_figures(errors_of(t, column), t[NAME_COLUMN]) for t in tables]
        if of_trainings[0] is not None:  # the images are the same in all trainings
            resampled[name] = sum(of_trainings) / len(of_trainings)
        figures = pd.DataFrame([all_figures(table, column) for table in tables])
        rows += _summarise(images, name, figures, resampled.get(name))
    for first, second in itertools.combinations(recipes, 2):
        rows += _pair_rows(images, first, second, recipes, column, resampled)
    return rows


def _summarise(
    images: str, name: str, figures: pd.DataFrame, resampled: pd.DataFrame | None = None
) -> list[tuple]:
    """Return the rows of a recipe. figures: a row for each training, a column for each figure.
    resampled: the figures of the recipe in each resample of the images."""
    rows = []
    for figure, values in figures.items():
        ends = (np.nan, np.nan)
        if resampled is not None and figure in resampled:
            ends = interval(resampled[figure])
        reach = (values.min(), values.max()) if len(values) > 1 else (np.nan, np.nan)
        value = values.mean(skipna=False)
        rows.append((images, figure, name, value, *ends, *reach, len(values)))
    return rows


def _pair_rows(
    images: str,
    first: str,
    second: str,
    recipes: Recipes,
    column: str,
    resampled: dict[str, pd.DataFrame],
) -> list[tuple]:
    """Return the rows of a pair of recipes: the difference of their means, its interval over the
    images and, where both have several trainings, the trainings; then which pairs are won."""
    errors = [np.stack([errors_of(t, column) for t in recipes[name]]) for name in (first, second)]
    means = [training_means(of_one) for of_one in errors]
    differences = means[0][:, None] - means[1]
    reach = (np.nan,) * 2
    if differences.size > 1:
        reach = (differences.min(), differences.max())
    ends, over_both = (np.nan, np.nan), compare_recipes(*errors)
    if over_both is not None:
        ends = (over_both.low, over_both.high)
    elif resampled:
        ends = interval(resampled[first]["Mean"] - resampled[second]["Mean"])
    value = means[0].mean() - means[1].mean()
    rows = [(images, LESS + second, first, value, *ends, *reach, np.nan)]
    more = {}
    if over_both is not None:
        more |= {IMAGES_ERROR: over_both.images_error, TRAININGS_ERROR: over_both.trainings_error}
    if min(map(len, means)) > 1:
        won = pairs_won(*means)
        more |= {WON: won.won, PAIRS: float(won.pairs), AS_FAR: won.as_far / won.divisions}
    none = (np.nan,) * 5
    return rows + [(images, name + second, first, value, *none) for name, value in more.items()]


def training_rows(histories: dict[str, list[dict[str, Any]]]) -> pd.DataFrame:
    """Return the rows on the trainings of each recipe, those of read_training by its name."""
    rows = []
    for name, trainings in histories.items():
        rows += _summarise(TRAINING, name, pd.DataFrame(map(training_figures, trainings)))
    return pd.DataFrame(rows, columns=COLUMNS)


def read_report() -> pd.DataFrame:
    """Return the report's own figures: `hypothesis`, `figure`, `value`, and the `section` of the
    report that each comes from."""
    return pd.read_csv(Path(__file__).with_name("report.csv"))


def report_rows(frame: pd.DataFrame, hypotheses: list[str]) -> pd.DataFrame:
    """Return the rows of the report's own figures of these hypotheses, "1" to "3", as far as a
    comparison has them: as a test called REPORTED and the number."""
    report = read_report().astype({"hypothesis": str})
    report = report[report["hypothesis"].isin(hypotheses)]
    groups = frame[frame["images"].isin([ALL_IMAGES, TRAINING])]
    found = groups[["images", "figure"]].drop_duplicates().merge(report, on="figure")
    return found.assign(test=REPORTED + found["hypothesis"]).reindex(columns=COLUMNS)
