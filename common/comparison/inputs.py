"""What is compared: the tables that testers have written, whether they can be compared, and the
checkpoints of the trainings."""

import hashlib
import itertools
from pathlib import Path

import numpy as np
import pandas as pd

from common import RowErrors, UserError, ground_truth
from common.annotation_quality.second_reader import MATCHED, PREDICTED_TO_SECOND
from common.ground_truth import LANDMARKS, NAME_COLUMN, RATE_COLUMN
from common.results.metrics import ERROR, LENGTHS, errors_of

TOLERANCE = 1e-6  # px, mm, or mm per px: what is farther apart is not the same
PLAUSIBLE, SHA256 = "annotation_plausible", "model_sha256"


def _of_landmarks(*columns: str) -> list[str]:
    return [f"{landmark}_{column}" for column in columns for landmark in LANDMARKS]


# Of each of these groups of columns a table has all, or none is used; it needs the first group.
GROUPS = [
    *map(_of_landmarks, (ERROR, "error_px", "error_mm", MATCHED, PREDICTED_TO_SECOND)),
    _of_landmarks("x", "y", "pred_x", "pred_y"),
    _of_landmarks("second_x", "second_y"),
]
# What does not depend on the network, besides landmarks and plausibility.
ANNOTATED = [f"{length}_{unit}" for length in LENGTHS for unit in ("px", "mm")]
ANNOTATED += ["second_hc_mm", RATE_COLUMN]
PREDICTED = [f"{length}_pred_{unit}" for length in LENGTHS for unit in ("px", "mm")]
NUMBERS = [*itertools.chain(*GROUPS), *ANNOTATED, *PREDICTED]
REFERENCES = {PLAUSIBLE, *ANNOTATED, *_of_landmarks("x", "y", "second_x", "second_y")}


def read_test(path: str) -> pd.DataFrame:
    """Read the columns of a tester's table that are used here, in the order of `image_name`, the
    names in their plain spelling. Raises UserError for a file that is no such table, naming what is
    wrong by row and column, and for one that holds no errors."""
    known = [NAME_COLUMN, PLAUSIBLE, SHA256, *NUMBERS]
    cells = ground_truth.select_columns(
        ground_truth.read_cells(path), known, [NAME_COLUMN, *GROUPS[0]], path
    )
    names = cells[NAME_COLUMN]
    sha256 = cells.get(SHA256, pd.Series("", cells.index)).str.lower()
    measures = cells[cells.columns.intersection(NUMBERS, sort=False)]
    table = ground_truth.numbers(measures)
    problems = ground_truth.find_name_problems(names) + ground_truth.find_bad_cells(
        measures, table, names
    )
    checks = [
        (name, table[name] < 0, "is below 0") for name in table if not name.endswith(("_x", "_y"))
    ]
    checks.append((SHA256, sha256 != sha256[0], "is not that of row 1"))
    if PLAUSIBLE in cells:
        plausible = cells[PLAUSIBLE].str.lower()
        table[PLAUSIBLE] = plausible.map({"true": 1.0, "false": 0.0})
        is_wrong = table[PLAUSIBLE].isna() & ~plausible.isin(ground_truth.NOT_KNOWN)
        checks.append((PLAUSIBLE, is_wrong, "is not True or False"))
    problems += [
        (row, f"{names[row]}: {column} {what}")
        for column, is_wrong, what in checks
        for row in np.flatnonzero(is_wrong)
    ]
    if problems:
        raise RowErrors(path, problems)
    if table[GROUPS[0]].isna().all(axis=None):
        raise UserError(f"{path}: holds no errors, as no landmark is annotated")
    for columns in GROUPS:
        if not set(columns) <= set(table):
            table = table.drop(columns=columns, errors="ignore")
    table = table.assign(**{NAME_COLUMN: names.map(ground_truth.plain_name), SHA256: sha256})
    return table.sort_values(NAME_COLUMN, ignore_index=True)


def _known(table: pd.DataFrame) -> pd.DataFrame:
    """Return which cells of a table are known: bool. How many of an image's four distances are
    known once the ends are matched is the same for every network, but not which ones. So they count
    as if the last ones were."""
    known = table.notna()
    for columns in map(_of_landmarks, (MATCHED, PREDICTED_TO_SECOND)):
        if set(columns) <= set(table):
            known[columns] = np.sort(known[columns], axis=1)
    return known


def check_same(paths: list[str], tables: list[pd.DataFrame]) -> None:
    """Raise UserError, naming the first such image, for tables of different images, and where a
    column that two tables have is not known of the same images, or does not depend on the network
    and is not the same."""
    first, first_path = tables[0], paths[0]
    with_column = {}  # of each column the first table that has it
    for path, table in zip(paths, tables):
        unmatched = sorted(set(first[NAME_COLUMN]) ^ set(table[NAME_COLUMN]))
        if unmatched:
            raise UserError(f"{path}: not the images of {first_path}: one lacks {unmatched[0]}")
        known = _known(table)
        for column in table:
            reference = with_column.setdefault(column, (table, known, path))
            other, other_known, other_path = reference
            is_other = other_known[column] != known[column]
            if column in REFERENCES:
                is_other |= (other[column] - table[column]).abs() > TOLERANCE
            if is_other.any():
                image = table[NAME_COLUMN][is_other.idxmax()]
                raise UserError(
                    f"{path}: {image}: not tested with the same data as {other_path}: see {column}"
                )


def check_repeated(names: list[str], paths: list[str], tables: list[pd.DataFrame]) -> None:
    """Raise UserError where two trainings of one recipe are tests of the same weights, one of an
    ensemble's too, or have the same errors throughout, as a model and its checkpoint have."""
    seen = {}
    for name, path, table in zip(names, paths, tables):
        for what in (*table[SHA256][0].split("+"), errors_of(table).tobytes()):
            if what and (name, what) in seen:
                other = seen[name, what]
                raise UserError(f"{path}: is of the same weights as {other}, also named {name}")
            seen[name, what] = path


def read_training(path: str) -> tuple[dict[str, float], list[str]]:
    """Read from the checkpoint of a training its training_figures, and the SHA-256 of the file of
    its best weights and of the checkpoint itself. Raises UserError for any other file."""
    # Not above: torchvision takes more than a second to import, and most comparisons need none.
    from common.runs.checkpoint import training_figures
    from common.runs.weights import read_file

    checkpoint = read_file(path)
    try:
        own = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        return training_figures(checkpoint), [str(checkpoint["model_sha256"]), own]
    except (LookupError, TypeError, ValueError) as error:
        raise UserError(f"{path}: not a checkpoint of this package") from error
