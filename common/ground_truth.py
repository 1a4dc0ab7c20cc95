"""The ground truth: its file and the checks of it, its subjects, and the split."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import GroupShuffleSplit, train_test_split

from common import UserError

SPLIT_SEED = 42  # the report's; --seed does not change it, or runs could not be compared
SPLITS = ("train", "val", "test")
MIN_ROWS = 6  # fewer cannot be split into three

LANDMARK_NAMES = ("OFD-1", "OFD-2", "BPD-1", "BPD-2")  # this order everywhere
LANDMARKS = tuple(name.lower().replace("-", "_") for name in LANDMARK_NAMES)  # as in columns
NAME_COLUMN = "image_name"
COLUMNS = (NAME_COLUMN, *(f"{landmark}_{axis}" for landmark in LANDMARKS for axis in "xy"))
# Kept where they are present; named as in the public multi-centre fetal biometry data.
RATE_COLUMN = "px_to_mm_rate"  # mm per px of the original image
SUBJECT_COLUMN = "SubjectID"
SUBJECT_IN_NAME = r"(.*\d+)_\d*HC\.\w+"  # 010_HC.png and 010_2HC.png show one subject
NO_SUBJECT = r"\W*|\W*n\W?a\W*|nan|none|null|missing|unknown"  # "", "-", "N/A", …

MAX_PROBLEMS_SHOWN = 20
SEPARATORS = {";": "semicolons", "\t": "tabs"}
Problem = tuple[int, str]  # the row, from 0, and what is wrong with it


def read_ground_truth(csv_path: str) -> pd.DataFrame:
    """Read the landmarks of all images from a local UTF-8 file with commas.

    Returns one row per image in the order of the file: `image_name` and the eight coordinates
    `ofd_1_x … bpd_2_y`, float64, in pixels of the original image; then, where the file has them,
    `px_to_mm_rate`, float64, NaN where the cell is empty, and `SubjectID`, text. Columns are found
    by name, in any order and without regard to case, spaces, hyphens and underscores; others are
    left out. A file without a header is read by position, and a line printed, if it has exactly
    nine columns.
    Raises UserError, naming file, row and column, for everything that cannot be used.
    """
    cells = _name_columns(_read_cells(csv_path), csv_path)
    if cells.empty:
        raise UserError(f"{csv_path}: no rows")

    def convert(column: pd.Series) -> pd.Series:
        if column.name in (NAME_COLUMN, SUBJECT_COLUMN):
            return column.str.strip()
        return pd.to_numeric(column, errors="coerce").astype(np.float64)

    table = cells.apply(convert)
    raise_problems(csv_path, _find_problems(cells, table))
    return table


def landmark_values(table: pd.DataFrame, *columns: str) -> np.ndarray:
    """What a table holds in these columns of each landmark: float64 [N, 4, len(columns)].

    landmark_values(table, "x", "y") are the coordinates in `ofd_1_x`, `ofd_1_y`, `ofd_2_x`, …
    """
    names = [f"{landmark}_{column}" for landmark in LANDMARKS for column in columns]
    return table[names].to_numpy(np.float64).reshape(len(table), len(LANDMARKS), len(columns))


def find_subjects(table: pd.DataFrame) -> pd.Series | None:
    """Who is on each image of a ground truth, as text: `SubjectID` where it is filled in in every
    row, else what names like 010_HC.png and 010_2HC.png say, else None."""
    if SUBJECT_COLUMN in table:
        named = table[SUBJECT_COLUMN]
        if not named.str.lower().str.fullmatch(NO_SUBJECT).any():
            return named
    subjects = table[NAME_COLUMN].str.extract(f"^{SUBJECT_IN_NAME}$", expand=False)
    return None if subjects.isna().any() else subjects


def split_ground_truth(table: pd.DataFrame, split_by: str = "image") -> dict[str, pd.DataFrame]:
    """Split the rows 80/10/10 into `train`, `val` and `test`, alike for every script and seed.

    622 rows give 497/62/63 (report, "Data Split Methodology"). The rows keep their index.
    split_by: "image", or "subject": 80/10/10 of the subjects, each with all images in one split.
    Raises UserError when there are too few rows or subjects, or the subjects are not known.
    """
    if split_by == "image":
        if len(table) < MIN_ROWS:
            raise UserError(
                f"{len(table)} rows in the ground truth: the split needs at least {MIN_ROWS}"
            )
        train, held_out = train_test_split(table, test_size=0.2, random_state=SPLIT_SEED)
        val, test = train_test_split(held_out, test_size=0.5, random_state=SPLIT_SEED)
        return {"train": train, "val": val, "test": test}

    subjects = find_subjects(table)
    if subjects is None:
        raise UserError(
            f"--split_by subject: nothing says who is on each image: {SUBJECT_COLUMN} is not "
            "filled in in every row, and not all names are like 010_HC.png or 010_2HC.png"
        )
    if subjects.nunique() < MIN_ROWS:
        raise UserError(
            f"--split_by subject: {subjects.nunique()} subjects in the ground truth: the split "
            f"needs at least {MIN_ROWS}"
        )

    def halves(rows: pd.DataFrame, test_size: float) -> tuple[pd.DataFrame, pd.DataFrame]:
        splitter = GroupShuffleSplit(n_splits=1, test_size=test_size, random_state=SPLIT_SEED)
        first, second = next(splitter.split(rows, groups=subjects[rows.index]))
        return rows.iloc[first], rows.iloc[second]

    train, held_out = halves(table, 0.2)
    val, test = halves(held_out, 0.5)
    return {"train": train, "val": val, "test": test}


def subjects_in_training(splits: dict[str, pd.DataFrame]) -> dict[str, pd.Series]:
    """For the splits `val` and `test`, which of their images show a subject of `train`, bool.

    Empty where there are no such splits or the subjects are not known (see find_subjects).
    """
    subjects = find_subjects(pd.concat(splits.values()))
    if subjects is None or "train" not in splits:
        return {}
    in_training = subjects.isin(subjects[splits["train"].index])
    return {name: in_training[splits[name].index] for name in ("val", "test")}


def raise_problems(source: str, problems: Sequence[Problem]) -> None:
    """Raise one UserError for all problems of a source in the order of rows, if there are any."""
    ordered = sorted(problems, key=lambda problem: problem[0])
    lines = [f"row {row + 1}: {text}" for row, text in ordered]
    if len(lines) == 1:
        raise UserError(f"{source}: {lines[0]}")
    if lines:
        shown = lines[:MAX_PROBLEMS_SHOWN]
        if len(lines) > len(shown):
            shown.append(f"… and {len(lines) - len(shown)} more")
        raise UserError("\n  ".join([f"{source}: {len(lines)} problems", *shown]))


def _read_cells(csv_path: str) -> pd.DataFrame:
    """Every cell of the file as text, the header line (if any) as row 0."""
    try:
        content = Path(csv_path).read_bytes()
    except FileNotFoundError as error:
        raise UserError(f"{csv_path}: no such ground-truth file") from error
    except OSError as error:
        raise UserError(f"{csv_path}: cannot be read: {error.strerror}") from error
    try:
        # utf-8-sig also reads UTF-8 without the byte-order mark that spreadsheets write.
        text = content.decode("utf-8-sig")
        for sign, name in SEPARATORS.items():  # with commas, none of the columns would be found
            if text.partition("\n")[0].count(sign) >= len(COLUMNS) - 1:
                raise UserError(
                    f"{csv_path}: its cells are separated by {name}: save it with commas"
                )
        cells = pd.read_csv(io.StringIO(text), header=None, dtype=str, na_filter=False)
    except UnicodeDecodeError as error:
        found = "UTF-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "not UTF-8"
        raise UserError(
            f"{csv_path}: not a CSV file that can be read: its encoding is {found}; save it as "
            "CSV in UTF-8"
        ) from error
    except pd.errors.EmptyDataError as error:
        raise UserError(f"{csv_path}: the file is empty") from error
    except pd.errors.ParserError as error:
        raise UserError(f"{csv_path}: not a CSV file: {' '.join(str(error).split())}") from error
    return cells.fillna("")  # the ends of rows that are too short


def _name_columns(cells: pd.DataFrame, csv_path: str) -> pd.DataFrame:
    """The rows and columns that are used, under their names."""

    def plain(name: str) -> str:
        return re.sub(r"[\s_-]", "", name).lower()

    known = {plain(name): name for name in (*COLUMNS, RATE_COLUMN, SUBJECT_COLUMN)}
    header = [known.get(plain(cell)) for cell in cells.iloc[0]]
    if set(header) & set(COLUMNS):
        missing = [name for name in COLUMNS if name not in header]
        if missing:
            raise UserError(f"{csv_path}: no column named {', '.join(missing)}")
        used = [*COLUMNS, *(name for name in (RATE_COLUMN, SUBJECT_COLUMN) if name in header)]
        repeated = [name for name in used if header.count(name) > 1]
        if repeated:
            raise UserError(f"{csv_path}: more than one column named {', '.join(repeated)}")
        rows = cells.iloc[1:, [header.index(name) for name in used]]
        return rows.set_axis(used, axis=1).reset_index(drop=True)

    first_is_data = pd.to_numeric(cells.iloc[0, 1:], errors="coerce").notna().any()
    if cells.shape[1] == len(COLUMNS) and first_is_data:
        print(f"{csv_path}: no header, read by position as {', '.join(COLUMNS)}")
        return cells.set_axis(list(COLUMNS), axis=1)
    raise UserError(
        f"{csv_path}: none of the columns {', '.join(COLUMNS)} is there. (A file without a "
        "header is read by position if it has exactly these nine columns.)"
    )


def _find_problems(cells: pd.DataFrame, table: pd.DataFrame) -> list[Problem]:
    """What is wrong with the rows themselves, before any image is opened."""
    problems = []
    names = table[NAME_COLUMN]
    repeated = names.map(os.path.normpath).duplicated()
    for row, name in enumerate(names):
        if not name:
            problems.append((row, "no image name"))
        elif re.search(r"[\x00-\x1f\x7f-\x9f]", name):
            problems.append((row, f"{name!r}: the name holds control characters"))
        elif Path(name).is_absolute() or ".." in Path(name).parts:
            problems.append((row, f"{name}: the name leads out of the image folder"))
        elif repeated[row]:
            problems.append((row, f"{name}: the name stands in an earlier row already"))
    for column in table.columns.drop([NAME_COLUMN, SUBJECT_COLUMN], errors="ignore"):
        values, texts = table[column], cells[column]
        if column == RATE_COLUMN:
            is_good, rule = (values > 0) | (texts.str.strip() == ""), "a number above 0 (or empty)"
        else:
            is_good, rule = values >= 0, "a number from 0"
        for row in np.flatnonzero(~is_good | np.isinf(values)).tolist():
            problems.append((row, f"{names[row]}: {column} is '{texts[row]}', not {rule}"))
    return problems
