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
from common.comparison.inputs import PLAUSIBLE
from common.comparison.recipes import compare_recipes, pairs_won
from common.ground_truth import NAME_COLUMN
from common.results.intervals import interval, resampled_figures
from common.results.metrics import ERROR, all_figures, errors_of

COLUMNS = ["images", "figure", "test", "value", "low", "high", "lowest", "highest", "trainings"]
ALL_IMAGES, TRAINING = "All images", "Training"
# The figures of two recipes, of which the test is called "A less B". The last five are of recipes
# that have several trainings each.
DIFFERENCE = "Difference of means"
IMAGES_ERROR, TRAININGS_ERROR = "Standard error from images", "Standard error from trainings"
WON, OF_PAIRS = "Pairs of trainings won", "Pairs of trainings"
AS_FAR = "Share of divisions as far from half"
OF_TWO = (DIFFERENCE, IMAGES_ERROR, TRAININGS_ERROR, WON, OF_PAIRS, AS_FAR)
REPORTED = "report "  # the number of the hypothesis follows
Recipes = dict[str, list[pd.DataFrame]]  # the tables of its trainings by the name of the recipe
Trainings = dict[str, list[dict[str, float]]]  # the figures of read_training by the same names
Row = dict[str, Any]  # what it lacks is NaN


def compare(recipes: Recipes, trainings: Trainings) -> tuple[pd.DataFrame, list[str]]:
    """Compare recipes on all images, on those with a plausible annotation, with the ends matched,
    and by a second reader; then their trainings, if there is anything on these.

    recipes: tables of the same images in the same order. Returns a table with COLUMNS: of which
    images, which figure, of which recipe (or of two, "A less B"), its value (the mean over the
    trainings), the ends of its 95 % interval, the lowest and the highest of the trainings, and
    their number; what is not known is NaN. And a remark on each group that would be of no images,
    or of all images once more.
    """
    rows, remarks = _compare_by(ERROR, recipes, ALL_IMAGES), []
    tables = list(itertools.chain(*recipes.values()))
    first = tables[0]
    judged = [table[PLAUSIBLE] for table in tables if PLAUSIBLE in table]  # alike in all of them
    if judged:
        is_annotated = np.isfinite(errors_of(first)).any(axis=1)
        plausible = (judged[0] == 1) & is_annotated  # NaN, not known, is not plausible
        title = f"The {plausible.sum()} of {is_annotated.sum()} images with a plausible annotation"
        if 0 < plausible.sum() < is_annotated.sum():
            some = {name: [t[plausible] for t in of_one] for name, of_one in recipes.items()}
            rows += _compare_by(ERROR, some, title)
        else:
            remarks.append(f"{title}: {'all of them' if plausible.any() else 'none'}")
    for title, column in (
        ("With the ends matched", MATCHED),
        ("By the second reader, with the ends matched", PREDICTED_TO_SECOND),
    ):
        has_errors = [f"ofd_1_{column}" in table for table in tables]
        if all(has_errors) and np.isfinite(errors_of(first, column)).any():
            rows += _compare_by(column, recipes, title)
        elif any(has_errors):
            remarks.append(f"{title}: not in all tables, or of none of these images")
    for name, figures in trainings.items():
        rows += _recipe_rows(TRAINING, name, pd.DataFrame(figures))
    return pd.DataFrame(rows, columns=COLUMNS).astype({"trainings": "Int64"}), remarks


def with_report(frame: pd.DataFrame, hypotheses: list[str]) -> pd.DataFrame:
    """Return a comparison with the report's own figures of these hypotheses, "1" to "3", as far as
    it has them otherwise: as tests called "report 1" and so on. In the file of these figures,
    `section` says where in the report each one stands."""
    path = Path(__file__).with_name("figures_of_the_report.csv")
    report = pd.read_csv(path, dtype={"hypothesis": str})
    report = report[report["hypothesis"].isin(hypotheses)]
    groups = frame[frame["images"].isin([ALL_IMAGES, TRAINING])]
    found = groups[["images", "figure"]].drop_duplicates().merge(report, on="figure")
    found["test"] = REPORTED + found["hypothesis"]
    return pd.concat([frame, found.reindex(columns=COLUMNS)], ignore_index=True)


def _compare_by(column: str, recipes: Recipes, images: str) -> list[Row]:
    """Compare recipes by the errors in this column of each landmark. images: of which these are."""
    errors = {
        name: np.stack([errors_of(table, column) for table in tables])
        for name, tables in recipes.items()
    }
    rows, resampled = [], {}
    for name, tables in recipes.items():
        of_trainings = [resampled_figures(e, tables[0][NAME_COLUMN]) for e in errors[name]]
        if of_trainings[0] is not None:  # the images are the same in all trainings
            resampled[name] = sum(of_trainings) / len(of_trainings)
        figures = pd.DataFrame([all_figures(table, column) for table in tables])
        rows += _recipe_rows(images, name, figures, resampled.get(name))
    for first, second in itertools.combinations(recipes, 2):
        for figure in _figures_of_two(first, second, errors, resampled):
            rows.append({"images": images, "test": f"{first} less {second}", **figure})
    return rows


def _recipe_rows(
    images: str, name: str, figures: pd.DataFrame, resampled: pd.DataFrame | None = None
) -> list[Row]:
    """Return the rows of a recipe. figures: a row for each training, a column for each figure.
    resampled: the figures of the recipe in each resample of the images."""
    rows = []
    for figure, values in figures.items():
        row = {"images": images, "figure": figure, "test": name}
        row |= {"value": values.mean(skipna=False), "trainings": len(values)}
        if len(values) > 1:
            row |= {"lowest": values.min(), "highest": values.max()}
        if resampled is not None and figure in resampled:
            row["low"], row["high"] = interval(resampled[figure])
        rows.append(row)
    return rows


def _figures_of_two(
    first: str, second: str, errors: dict[str, np.ndarray], resampled: dict[str, pd.DataFrame]
) -> list[Row]:
    """Return what rows say of two recipes: the difference of their means, its interval over the
    images and, where both have several trainings, the trainings; then which pairs are won.

    errors: [trainings, images, 4] by the name of the recipe. resampled: its figures in each
    resample of the images; empty where these are too few.
    """
    means = [np.nanmean(errors[name], axis=(1, 2)) for name in (first, second)]  # of each training
    differences = means[0][:, None] - means[1]
    less = {"figure": DIFFERENCE, "value": means[0].mean() - means[1].mean()}
    if differences.size > 1:
        less |= {"lowest": differences.min(), "highest": differences.max()}
    of_several = {}
    if min(map(len, means)) > 1:
        if resampled:
            low, high, of_images, of_trainings = compare_recipes(errors[first], errors[second])
            less |= {"low": low, "high": high}
            of_several |= {IMAGES_ERROR: of_images, TRAININGS_ERROR: of_trainings}
        won, as_far = pairs_won(*means)
        of_several |= {WON: won, OF_PAIRS: differences.size, AS_FAR: as_far}
    elif resampled:
        less["low"], less["high"] = interval(resampled[first]["Mean"] - resampled[second]["Mean"])
    return [less, *({"figure": name, "value": value} for name, value in of_several.items())]
