"""The tables that testers have written: how they are read, and whether they can be compared."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from common import RowErrors, UserError
from common.annotations.readers import MATCHED, PREDICTED_TO_SECOND
from common.ground_truth import (
    LANDMARKS,
    NAME_COLUMN,
    find_bad_cells,
    landmark_values,
    numbers,
    plain_name,
    read_cells,
    select_columns,
)
from common.results.figures import ERROR, LENGTHS

TOLERANCE = 1e-6  # px, or a share of a pixel size: what is farther apart is not the same
PLAUSIBLE, SHA256 = "annotation_plausible", "model_sha256"


def _of_landmarks(*columns: str) -> list[str]:
    return [f"{landmark}_{column}" for column in columns for landmark in LANDMARKS]


NEEDED = [NAME_COLUMN, *_of_landmarks(ERROR)]
NUMBERS = [
    *_of_landmarks(ERROR, "x", "y", "pred_x", "pred_y", "error_mm", "second_x", "second_y"),
    *_of_landmarks(PREDICTED_TO_SECOND, MATCHED),
    *(f"{name}_{kind}" for name in LENGTHS for kind in ("px", "pred_px", "mm", "pred_mm")),
    "second_hc_mm",
]


def read_test(path: str) -> pd.DataFrame:
    """Read the columns of a tester's table that are used here, in the order of `image_name`, the
    names in their plain spelling. Raises UserError for a file that is no such table, names what is
    no number by row and column, and for one that holds no errors."""
    known = [NAME_COLUMN, PLAUSIBLE, SHA256, *NUMBERS]
    cells = select_columns(read_cells(path), known, NEEDED, path)
    measures = cells[cells.columns.intersection(NUMBERS, sort=False)]
    values, names = numbers(measures), cells[NAME_COLUMN]
    problems = find_bad_cells(measures, values, names)
    errors = values[_of_landmarks(ERROR)]
    problems += [(row, f"{names[row]}: an error is below 0") for row in np.where(errors < 0)[0]]
    plain = names.map(plain_name)
    problems += [(row, f"{names[row]}: stands in an earlier row") for row in _repeated(plain)]
    if problems:
        raise RowErrors(path, problems)
    if errors.isna().all(axis=None):
        raise UserError(f"{path}: holds no errors, as no landmark is annotated")
    table = values.assign(**{NAME_COLUMN: plain})
    if PLAUSIBLE in cells:
        table[PLAUSIBLE] = cells[PLAUSIBLE].str.lower().map({"true": 1.0, "false": 0.0})
    table[SHA256] = cells.get(SHA256, pd.Series("", cells.index))
    return table.sort_values(NAME_COLUMN, ignore_index=True)


def _repeated(names: pd.Series) -> list[int]:
    return names.index[names.duplicated()].tolist()


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

    lengths = [f"{name}_px" for name in LENGTHS]
    annotations = some(*_of_landmarks("x", "y"), *lengths)
    references = {
        "annotations": annotations.join(some(*_of_landmarks(ERROR)).isna()),
        "plausibility": some(PLAUSIBLE),
        "second reader": some(*_of_landmarks("second_x", "second_y"), "second_hc_mm").join(
            some(*_of_landmarks(PREDICTED_TO_SECOND)).isna()
        ),
    }
    if {"ofd_pred_px", "bpd_pred_px", "ofd_pred_mm", "bpd_pred_mm"} <= set(table):
        # Every prediction has both lengths, though some may be 0.
        in_mm, in_px = (table[[f"ofd_pred_{u}", f"bpd_pred_{u}"]].sum(axis=1) for u in ("mm", "px"))
        rate = in_mm.where(in_mm > 0) / in_px
        references["pixel size"] = pd.DataFrame({"rate": rate})
    return references


def describe_lacking(tables: dict[str, pd.DataFrame]) -> list[str]:
    """Return a line for each kind of columns that some tables lack and others have."""
    lines = []
    for what, columns in {
        "plausibility": [PLAUSIBLE],
        "errors in mm": _of_landmarks("error_mm"),
        "lengths in mm": [f"{name}_pred_mm" for name in LENGTHS],
        "errors with the ends matched": _of_landmarks(MATCHED),
        "a second reader": _of_landmarks(PREDICTED_TO_SECOND),
    }.items():
        lacking = [name for name, table in tables.items() if not set(columns) <= set(table)]
        if 0 < len(lacking) < len(tables):
            lines.append(f"Not all tables have {what}: not {', '.join(lacking)}")
    return lines


def errors_of(table: pd.DataFrame, column: str) -> np.ndarray:
    """Return these errors of a table: [N, 4] in px of the 256×256 image; NaN where it has none."""
    return landmark_values(table.reindex(columns=_of_landmarks(column)), column)[..., 0]
