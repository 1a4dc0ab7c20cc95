"""The tables that testers have written: how they are read, and whether they can be compared."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from common import RowErrors, UserError
from common.annotation_quality.biometry import DIAMETERS
from common.annotation_quality.second_reader import MATCHED, PREDICTED_TO_SECOND
from common.ground_truth import (
    LANDMARKS,
    NAME_COLUMN,
    NOT_KNOWN,
    find_bad_cells,
    landmark_values,
    numbers,
    plain_name,
    read_cells,
    select_columns,
)
from common.results.metrics import ERROR, LENGTHS

TOLERANCE = 1e-6  # px, or a share of a pixel size: what is farther apart is not the same
PLAUSIBLE, SHA256 = "annotation_plausible", "model_sha256"


def _of_landmarks(*columns: str) -> list[str]:
    return [f"{landmark}_{column}" for column in columns for landmark in LANDMARKS]


NEEDED = [NAME_COLUMN, *_of_landmarks(ERROR)]
# What a table may lack; of each kind it has all columns or none.
OPTIONAL = {
    "plausibility": [PLAUSIBLE],
    "coordinates": _of_landmarks("x", "y", "pred_x", "pred_y"),
    "errors in mm": _of_landmarks("error_mm"),
    "lengths in mm": [f"{name}_{kind}" for name in DIAMETERS for kind in ("mm", "pred_mm")],
    "the circumference in mm": ["hc_mm", "hc_pred_mm"],
    "errors with the ends matched": _of_landmarks(MATCHED),
    "a second reader": _of_landmarks(PREDICTED_TO_SECOND),
    "the second reader's circumference in mm": ["second_hc_mm"],
}
DISTANCES = [
    *_of_landmarks(ERROR, "error_px", "error_mm", PREDICTED_TO_SECOND, MATCHED),
    *(f"{name}_{kind}" for name in LENGTHS for kind in ("px", "pred_px", "mm", "pred_mm")),
    "second_hc_mm",
]
NUMBERS = [*DISTANCES, *_of_landmarks("x", "y", "pred_x", "pred_y", "second_x", "second_y")]


def read_test(path: str) -> pd.DataFrame:
    """Read the columns of a tester's table that are used here, in the order of `image_name`, the
    names in their plain spelling. Raises UserError for a file that is no such table, naming what is
    no number by row and column, and for one that holds no errors."""
    known = [NAME_COLUMN, PLAUSIBLE, SHA256, *NUMBERS]
    cells = select_columns(read_cells(path), known, NEEDED, path)
    measures = cells[cells.columns.intersection(NUMBERS, sort=False)]
    values, names = numbers(measures), cells[NAME_COLUMN]
    problems = find_bad_cells(measures, values, names)
    problems += [
        (row, f"{names[row]}: {column} is below 0")
        for column in values.columns.intersection(DISTANCES, sort=False)
        for row in np.flatnonzero(values[column] < 0)
    ]
    plain = names.map(plain_name)
    repeated = np.flatnonzero(plain.duplicated())
    problems += [(row, f"{names[row]}: stands in an earlier row") for row in repeated]
    if PLAUSIBLE in cells:
        plausible = cells[PLAUSIBLE].str.lower()
        problems += [
            (row, f"{names[row]}: {PLAUSIBLE} is '{cells[PLAUSIBLE][row]}', not True or False")
            for row in np.flatnonzero(~plausible.isin(("true", "false", *NOT_KNOWN)))
        ]
    if SHA256 in cells:
        others = np.flatnonzero(cells[SHA256] != cells[SHA256].iloc[0])
        problems += [(row, f"{names[row]}: {SHA256} is not that of row 1") for row in others]
    if problems:
        raise RowErrors(path, problems)
    if values[_of_landmarks(ERROR)].isna().all(axis=None):
        raise UserError(f"{path}: holds no errors, as no landmark is annotated")
    table = values.assign(**{NAME_COLUMN: plain})
    if PLAUSIBLE in cells:
        table[PLAUSIBLE] = plausible.map({"true": 1.0, "false": 0.0})
    table[SHA256] = cells.get(SHA256, pd.Series("", cells.index))
    for columns in OPTIONAL.values():
        if not set(columns) <= set(table):
            table = table.drop(columns=columns, errors="ignore")
    return table.sort_values(NAME_COLUMN, ignore_index=True)


def check_same(paths: Sequence[str], tables: Sequence[pd.DataFrame]) -> None:
    """Raise UserError, naming the first such image, for tables of different images, and where what
    does not depend on the network is not the same."""
    first, first_path = tables[0], paths[0]
    for path, table in zip(paths[1:], tables[1:]):
        unmatched = sorted(set(first[NAME_COLUMN]) ^ set(table[NAME_COLUMN]))
        if unmatched:
            image, is_in_first = unmatched[0], unmatched[0] in set(first[NAME_COLUMN])
            lacks, has = (path, first_path) if is_in_first else (first_path, path)
            raise UserError(f"{lacks}: has no image {image}, which {has} has")
        given, expected = _references(table), _references(first)
        for what in given.keys() & expected.keys():
            columns = given[what].columns.intersection(expected[what].columns)
            pair = (part[what][columns].to_numpy(np.float64) for part in (given, expected))
            is_same = np.isclose(*pair, rtol=0, atol=TOLERANCE, equal_nan=True).all(axis=1)
            if not is_same.all():
                image = table[NAME_COLUMN][(~is_same).argmax()]
                raise UserError(f"{path}: {image}: not the {what} of {first_path}")


def _references(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return what a table says that does not depend on the network, by what it is called."""

    def some(*columns: str) -> pd.DataFrame:
        return table[table.columns.intersection(columns)]

    annotated = some(*_of_landmarks("x", "y"), *(f"{name}_px" for name in LENGTHS))
    second = some(*_of_landmarks("second_x", "second_y"), "second_hc_mm")
    in_mm, rate = some(*(f"{name}_mm" for name in LENGTHS)), _pixel_size(table)
    if np.isfinite(rate).any():
        in_mm = in_mm.assign(rate=rate)
    predicted_mm = [*(f"{name}_pred_mm" for name in LENGTHS), *_of_landmarks("error_mm")]
    return {
        "annotations": annotated.join(some(*_of_landmarks(ERROR, MATCHED)).isna()),
        "plausibility": some(PLAUSIBLE),
        "second reader": second.join(some(*_of_landmarks(PREDICTED_TO_SECOND)).isna()),
        "pixel size": in_mm.join(some(*predicted_mm).isna()),
    }


def _pixel_size(table: pd.DataFrame) -> np.ndarray:
    """Return the mm per px of each image, [N], from all that is given in both: the lengths of the
    prediction, though an image has no complete diameter, and the errors, though the lengths may be
    0. It is NaN where it is not known."""
    names = [*(f"{name}_pred" for name in LENGTHS), *(f"{name}_error" for name in LANDMARKS)]
    mm, px = (
        table.reindex(columns=[f"{name}_{unit}" for name in names]).to_numpy(np.float64)
        for unit in ("mm", "px")
    )
    is_known = np.isfinite(mm) & (px > 0)
    sums = (np.where(is_known, values, 0).sum(axis=1) for values in (mm, px))
    with np.errstate(invalid="ignore"):  # nothing is known: 0 / 0
        return np.divide(*sums)


def describe_lacking(tables: dict[str, pd.DataFrame]) -> list[str]:
    """Return a line for each kind of columns that some tables lack and others have."""
    lines = []
    for what, columns in OPTIONAL.items():
        lacking = [name for name, table in tables.items() if not set(columns) <= set(table)]
        if 0 < len(lacking) < len(tables):
            lines.append(f"Not all tables have {what}: not {', '.join(lacking)}")
    return lines


def errors_of(table: pd.DataFrame, column: str) -> np.ndarray:
    """Return these errors of a table: [N, 4] in px of the 256×256 image."""
    return landmark_values(table, column)[..., 0]
