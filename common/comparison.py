"""From the tables that testers write to the figures of a comparison: numbers only."""

from __future__ import annotations

import io
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Callable, NamedTuple

import numpy as np
import pandas as pd

from common import UserError
from common.biometry import DIAMETERS
from common.figures import (
    BAND_NAMES,
    CLINICAL_TARGET,
    band_counts,
    drawn_figures,
    error_figures,
    interval,
)
from common.ground_truth import LANDMARK_NAMES, LANDMARKS, NAME_COLUMN, landmark_values

TOLERANCE = 1e-6  # px, or mm of a length: annotations that are farther apart are not the same


def _of_landmarks(*columns: str) -> list[str]:
    return [f"{landmark}_{column}" for landmark in LANDMARKS for column in columns]


ERRORS, SECOND_ERRORS = "error_px256", "pred_second_px256"
NEEDED = [NAME_COLUMN, *_of_landmarks(ERRORS)]
# What is used where all tables have it.
OPTIONAL = {
    "annotations": _of_landmarks("x", "y"),
    "plausibility": ["annotation_plausible"],
    "second reader": _of_landmarks("second_x", "second_y", SECOND_ERRORS),
    "errors in mm": _of_landmarks("error_mm"),
    "lengths in mm": [f"{name}_{kind}" for name in DIAMETERS for kind in ("mm", "pred_mm")],
}
CELLS = {"": np.nan, "true": 1.0, "false": 0.0}  # those that are not numbers
# What does not depend on the model, and so is the same in all tests of the same data: for ERRORS
# and each of OPTIONAL, what it is called and how it is read.
REFERENCES: dict[str, tuple[str, Callable[[pd.DataFrame], np.ndarray]]] = {
    ERRORS: ("annotations", lambda table: np.isnan(landmark_values(table, ERRORS))),
    "annotations": ("annotations", lambda table: landmark_values(table, "x", "y")),
    "plausibility": ("plausibility", lambda table: table[["annotation_plausible"]].to_numpy()),
    "second reader": ("second reader", lambda t: landmark_values(t, "second_x", "second_y")),
    "errors in mm": ("pixel size", lambda table: np.isnan(landmark_values(table, "error_mm"))),
    "lengths in mm": ("pixel size", lambda table: table[["ofd_mm", "bpd_mm"]].to_numpy()),
}

EXCELLENT, FAILURE = (f"{name}, %" for name in (BAND_NAMES[0], BAND_NAMES[-1]))
WITHIN_TARGET = f"Landmarks within {CLINICAL_TARGET} mm, %"
# The rows that have an interval: the figure of the draws, and the factor from that to the row's.
DRAWN = {
    "Mean": ("mean", 1),
    "Median": ("median", 1),
    EXCELLENT: ("within 10 px", 100),
    FAILURE: ("above 50 px", 100),
}
HISTORY = ("train_losses", "val_losses", "val_within_10_px")  # what is read of a training
FROM, TO = ", 95 % interval from", ", 95 % interval to"  # how its two ends' rows are named


class Comparison(NamedTuple):
    """Hold what several tests give for some images.

    title: which images these are; "" for all. errors: [N, 4] in px of the 256×256 image by the name
    of the test, NaN where they are not known. figures: a row for each figure and for each end of
    its interval, if it has one; a column for each test. differences: a row for each pair of tests,
    with the names `first` and `second`, the `difference` of their means in px, first less second,
    and the ends `low` and `high` of its 95 % interval, NaN for fewer than ten images.
    """

    title: str
    errors: dict[str, np.ndarray]
    figures: pd.DataFrame
    differences: pd.DataFrame


def read_test(path: str) -> pd.DataFrame:
    """Read the columns of a tester's table that are used here, in the order of `image_name`; all
    others are float64. Raises UserError for a file that is no such table or holds no errors."""
    try:
        content = io.BytesIO(Path(path).read_bytes())
        cells = pd.read_csv(content, dtype=str, na_filter=False)
        cells = cells.fillna("")  # rows that are short
        missing = [column for column in NEEDED if column not in cells]
        if missing:
            raise ValueError(f"no column named {', '.join(missing)}")
        repeated = cells.loc[cells[NAME_COLUMN].duplicated(), NAME_COLUMN]
        if len(repeated):
            raise ValueError(f"{repeated.iloc[0]} stands in two rows")
        used = [c for c in (*NEEDED[1:], *itertools.chain(*OPTIONAL.values())) if c in cells]
        table = pd.DataFrame({column: _numbers(cells[column]) for column in used})
        errors = landmark_values(table, ERRORS)
        if (errors < 0).any():
            raise ValueError("an error is below 0")
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:  # pandas' and float's too
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: not the table of a tester: {reason}") from error
    if np.isnan(errors).all():
        raise UserError(f"{path}: holds no errors, as no landmark is annotated")
    table.insert(0, NAME_COLUMN, cells[NAME_COLUMN])
    return table.sort_values(NAME_COLUMN, ignore_index=True)


def _numbers(cells: pd.Series) -> np.ndarray:
    """Return a column's cells as float64, to the last digit: not every pandas reads it so. Raises
    ValueError for a cell that is neither a finite number nor one of CELLS."""
    numbers = np.empty(len(cells))
    for row, cell in enumerate(cells):
        try:
            numbers[row] = CELLS[cell.lower()] if cell.lower() in CELLS else float(cell)
        except ValueError:
            numbers[row] = np.inf
        if np.isinf(numbers[row]):
            raise ValueError(f"row {row + 1}: {cells.name} is '{cell}'")
    return numbers


def find_lacking(tables: dict[str, pd.DataFrame]) -> dict[str, list[str]]:
    """Return the names of the tests that lack a column of each of OPTIONAL."""
    return {
        what: [name for name, table in tables.items() if not set(columns) <= set(table)]
        for what, columns in OPTIONAL.items()
    }


def check_same(paths: Sequence[str], tables: Sequence[pd.DataFrame], shared: Sequence[str]) -> None:
    """Raise UserError, naming the first such image, for tables of different images or with other
    values in REFERENCES. shared: those of OPTIONAL that all tables have."""
    names, first_path = tables[0][NAME_COLUMN], paths[0]
    for path, table in zip(paths[1:], tables[1:]):
        unmatched = sorted(set(names) ^ set(table[NAME_COLUMN]))
        if unmatched:
            image, is_in_first = unmatched[0], unmatched[0] in set(names)
            lacks, has = (path, first_path) if is_in_first else (first_path, path)
            raise UserError(f"{lacks}: has no image {image}, which {has} has")
        for what in (ERRORS, *shared):
            label, read = REFERENCES[what]
            values, expected = read(table), read(tables[0])
            is_same = np.isclose(values, expected, rtol=0, atol=TOLERANCE, equal_nan=True)
            differs = ~is_same.reshape(len(table), -1).all(axis=1)
            if differs.any():
                image = names[differs.argmax()]
                raise UserError(f"{path}: {image}: not the {label} of {first_path}")


def compare_tests(
    tables: dict[str, pd.DataFrame], shared: Sequence[str]
) -> tuple[list[Comparison], list[str]]:
    """Compare tests on all images, on those with a plausible annotation, and by the second reader.

    tables: by the name of the test, of the same images in the same order. shared: those of OPTIONAL
    that all tables have. Returns the comparisons, and a remark on each that would be of no images,
    or of all images once more.
    """
    comparisons, remarks = [_compare("", tables, ERRORS, shared)], []
    first = next(iter(tables.values()))
    if "plausibility" in shared:
        plausible = first["annotation_plausible"] == 1  # NaN, not known, is not plausible
        title = f"The {plausible.sum()} of {len(first)} images with a plausible annotation"
        if 0 < plausible.sum() < len(first):
            some = {name: table[plausible] for name, table in tables.items()}
            comparisons.append(_compare(title, some, ERRORS, shared))
        else:
            remarks.append(f"{title}: {'all of them' if plausible.any() else 'none'}")
    if "second reader" in shared:
        title = "By the second reader"
        if np.isfinite(landmark_values(first, SECOND_ERRORS)).any():
            comparisons.append(_compare(title, tables, SECOND_ERRORS, ()))
        else:
            remarks.append(f"{title}: none of these images")
    return comparisons, remarks


def _compare(
    title: str, tables: dict[str, pd.DataFrame], column: str, shared: Sequence[str]
) -> Comparison:
    """Compare tests by the errors in this column of each landmark."""
    errors, rows, means = {}, {}, {}
    for name, table in tables.items():
        errors[name] = landmark_values(table, column)[..., 0]
        drawn = drawn_figures(errors[name], table[NAME_COLUMN], [f for f, _ in DRAWN.values()])
        rows[name] = _error_rows(errors[name], drawn) | _mm_rows(table, shared)
        means[name] = (rows[name]["Mean"], None if drawn is None else drawn["mean"])
    differences = []
    for first, second in itertools.combinations(tables, 2):
        (mean, drawn), (other_mean, other_drawn) = means[first], means[second]
        ends = (np.nan, np.nan) if drawn is None else interval(drawn - other_drawn)
        differences.append([first, second, mean - other_mean, *ends])
    columns = ["first", "second", "difference", "low", "high"]
    return Comparison(title, errors, pd.DataFrame(rows), pd.DataFrame(differences, columns=columns))


def _error_rows(errors: np.ndarray, drawn: dict[str, np.ndarray] | None) -> dict[str, float]:
    """Return the rows on errors [N, 4], with those of the intervals where there are draws."""
    rows = {name.capitalize(): value for name, value in error_figures(errors).items()}
    for landmark, column in zip(LANDMARK_NAMES, errors.T):
        of_landmark = error_figures(column) if np.isfinite(column).any() else {}
        for name in ("mean", "median"):
            rows[f"{landmark} {name}"] = of_landmark.get(name, np.nan)
    counts = band_counts(errors)
    for name, share in zip(BAND_NAMES, counts / counts.sum()):
        rows[f"{name}, %"] = 100 * share
    if drawn is None:
        return rows
    with_intervals = {}
    for row, value in rows.items():
        with_intervals[row] = value
        if row in DRAWN:
            figure, factor = DRAWN[row]
            with_intervals[row + FROM], with_intervals[row + TO] = interval(factor * drawn[figure])
    return with_intervals


def _mm_rows(table: pd.DataFrame, shared: Sequence[str]) -> dict[str, float]:
    """Return the rows in mm that all tables can have; NaN where no image has a pixel size."""
    rows = {}
    if "errors in mm" in shared:
        errors = landmark_values(table, "error_mm")
        known = errors[np.isfinite(errors)]
        rows[WITHIN_TARGET] = 100 * (known <= CLINICAL_TARGET).mean() if known.size else np.nan
    if "lengths in mm" in shared:
        for name in DIAMETERS:
            error = (table[f"{name}_pred_mm"] - table[f"{name}_mm"]).abs()
            rows[f"{name.upper()} absolute error, mm"] = error.mean()
    return rows


def read_training(path: str) -> dict[str, Any]:
    """Read what is compared of a training from its checkpoint: lists with a value per epoch,
    `train_losses`, `val_losses`, `val_within_10_px` and `epoch_seconds`, and `parameters`. Older
    versions did not keep the last two: [] and NaN. Raises UserError for a file that is no
    checkpoint."""
    # Not above: torchvision takes more than a second to import, and most comparisons need none.
    from common.weights import read_file

    checkpoint = read_file(path)
    try:
        history = {name: list(map(float, checkpoint[name])) for name in HISTORY}
        history["epoch_seconds"] = list(map(float, checkpoint.get("epoch_seconds", [])))
        history["parameters"] = float(checkpoint.get("parameters", np.nan))
        lengths = {len(history[name]) for name in HISTORY}
        if len(lengths) > 1 or 0 in lengths:
            raise ValueError
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise UserError(f"{path}: not a checkpoint of this package") from error
    return history


def training_rows(history: dict[str, Any]) -> dict[str, float]:
    """Return the rows on a training of read_training, NaN for what is not known. A gap is the
    validation loss less the training loss."""
    train, val = np.array(history["train_losses"]), np.array(history["val_losses"])
    seconds, best = history["epoch_seconds"], int(val.argmin())
    # An older version, which kept no seconds, may have trained the first epochs.
    minutes = sum(seconds) / 60 if len(seconds) == len(val) else np.nan
    return {
        "Parameters": history["parameters"],
        "Epochs": len(val),
        "Minutes": minutes,
        "Lowest validation loss": val[best],
        "  in epoch": best + 1,
        "Last training loss": train[-1],
        "Gap in the best epoch": val[best] - train[best],
        "Gap in the last epoch": val[-1] - train[-1],
    }
