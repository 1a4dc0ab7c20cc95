"""The ground truth, with its checks, subjects and split; a landmark that is not annotated is NaN.
Every CSV file that a user gives is read here."""

from __future__ import annotations

import io
import os
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from common import RowErrors, UserError

SPLIT_SEED = 42  # the report's; --seed does not change it, or runs could not be compared
SPLITS = ("train", "val", "test")
MIN_ROWS = 6  # fewer cannot be split into three
LANDMARK_NAMES = ("OFD-1", "OFD-2", "BPD-1", "BPD-2")  # this order everywhere
LANDMARKS = tuple(name.lower().replace("-", "_") for name in LANDMARK_NAMES)  # as in columns
NAME_COLUMN = "image_name"
COORDINATES = tuple(f"{landmark}_{axis}" for landmark in LANDMARKS for axis in "xy")
COLUMNS = (NAME_COLUMN, *COORDINATES)
# Columns that may be missing, named as in the public multi-centre fetal biometry data.
RATE_COLUMN = "px_to_mm_rate"  # mm per px of the original image
SUBJECT_COLUMN = "SubjectID"
SUBJECT_IN_NAME = r"(.*\d+)_\d*HC\.\w+"  # 010_HC.png and 010_2HC.png show one subject
NOT_PX = "as if normalised (0 to 1); px of the original image are expected"
LEAVE_EMPTY = "where a landmark is not annotated, leave both cells empty"
# 0 to 1 are the image's borders, and an end may lie just outside. In px, no head is so near to the
# border with all its ends.
NORMALISED = (-0.1, 1.5)
NOT_KNOWN = ("", "na", "nan")
Problem = tuple[int, str]  # the row, from 0, and what is wrong with it


def read_cells(csv_path: str) -> pd.DataFrame:
    """Read a local UTF-8 file with commas and a header.

    Returns its cells as text, without the blanks around them: a row for each line below the header
    that is not empty, numbered from 0, and the columns under the names in the header, as they are
    there: one may be empty or stand there twice. Raises UserError for what is no such file.
    """
    try:
        content = Path(csv_path).read_bytes()
    except OSError as error:
        raise UserError(f"{csv_path}: cannot be read: {error.strerror}") from error
    try:
        # utf-8-sig also reads UTF-8 without the byte-order mark that spreadsheets write.
        text = content.decode("utf-8-sig").lstrip("\r\n")
        cells = pd.read_csv(
            io.StringIO(text), header=None, dtype=str, na_filter=False, skip_blank_lines=False
        )
    except ValueError as error:
        reason = " ".join(str(error).split())
        first = content.partition(b"\n")[0][:200].decode(errors="replace").strip()
        raise UserError(
            f"{csv_path}: not a CSV file with commas: {reason}; its first line is: {first}"
        ) from error
    cells = cells.fillna("").apply(lambda column: column.str.strip())  # NaN: rows that are short
    broken = cells.apply(lambda column: column.str.contains("[\r\n]")).any(axis=1)
    if broken.any():
        line = broken.idxmax() + 1
        raise UserError(f"{csv_path}: line {line}: a line break in a cell (a quote not closed?)")
    cells = cells[(cells != "").any(axis=1)]  # spreadsheets add lines of nothing but commas
    if len(cells) < 2:
        raise UserError(f"{csv_path}: no rows below the header")
    return cells.iloc[1:].set_axis(cells.iloc[0].tolist(), axis=1).reset_index(drop=True)


def plain_column(name: str) -> str:
    """Return the one spelling of a column's name: upper case, blanks, hyphens and underscores do
    not matter."""
    return re.sub(r"[\s_-]", "", name).lower()


def select_columns(
    cells: pd.DataFrame, known: Sequence[str], needed: Sequence[str], csv_path: str
) -> pd.DataFrame:
    """Return those of the known columns that a file has, in this order and under these names.
    Raises UserError where one that is needed is missing, or one stands there twice."""
    spelling = {plain_column(name): name for name in known}
    named = cells.rename(columns=lambda column: spelling.get(plain_column(column), column))
    missing = [name for name in needed if name not in named]
    if missing:
        raise UserError(
            f"{csv_path}: no column named {', '.join(missing)}; "
            f"its first line is: {','.join(cells.columns)[:200]}"
        )
    selected = named[[name for name in known if name in named]]
    repeated = selected.columns[selected.columns.duplicated()]
    if len(repeated):
        raise UserError(f"{csv_path}: more than one column named {repeated[0]}")
    return selected


def numbers(cells: pd.DataFrame) -> pd.DataFrame:
    """Return cells as numbers, float64; what is not known, and what is no number, is NaN."""
    return cells.apply(lambda column: pd.to_numeric(column, errors="coerce")).astype(np.float64)


def find_bad_cells(
    cells: pd.DataFrame, values: pd.DataFrame, names: pd.Series, above: float = -np.inf
) -> list[Problem]:
    """Return which cells are neither empty nor a finite number above a limit. values: numbers of
    the cells. names: of the images, to name the row."""
    is_bad = ~np.isfinite(values) | ~(values > above)
    is_bad &= ~cells.apply(lambda column: column.str.lower()).isin(NOT_KNOWN)
    rule = "a number" if np.isinf(above) else f"a number above {above:g}"
    return [
        (row, f"{names[row]}: {column} is '{cells[column][row]}', not {rule}")
        for column in cells
        for row in cells.index[is_bad[column]]
    ]


def read_ground_truth(csv_path: str) -> pd.DataFrame:
    """Read the landmarks of all images from a local UTF-8 file with commas.

    Returns one row per image in the order of the file: `image_name`; the eight coordinates
    `ofd_1_x … bpd_2_y` in pixels of the original image and `px_to_mm_rate`, float64; and
    `SubjectID`, text. What is not known (empty, `NA`, `nan`, no such column) is NaN or, for a
    subject, ""; the coordinates have all eight columns or none. Raises UserError, naming file, row
    and column, for everything that cannot be used, and for coordinates that are normalised.
    """
    return parse_ground_truth(read_cells(csv_path), csv_path)


def image_table(names: Sequence[str], source: str) -> pd.DataFrame:
    """Return a ground truth of images of these names without annotations. Raises UserError, naming
    the source, for bad names."""
    # As objects: pandas' text may be pyarrow's, which cannot hold a name that is not UTF-8.
    return parse_ground_truth(pd.DataFrame({NAME_COLUMN: names}, dtype=object), source)


def parse_ground_truth(cells: pd.DataFrame, source: str) -> pd.DataFrame:
    """Read the landmarks of all images from the cells of a file, or of a list of images, as
    read_ground_truth returns them. source: what it is called where it is refused."""
    # Images without annotations, unless a column looks like a coordinate (a number: no header).
    coordinate = r"^(ofd|bpd)|(ofd|bpd)[xy]?[12]|^[\d.]+$"
    is_list = not any(re.search(coordinate, plain_column(name)) for name in cells.columns)
    known, needed = [*COLUMNS, RATE_COLUMN, SUBJECT_COLUMN], [NAME_COLUMN] if is_list else COLUMNS
    cells = select_columns(cells, known, needed, source).reindex(columns=known, fill_value="")

    names, values = cells[NAME_COLUMN], numbers(cells[[*COORDINATES, RATE_COLUMN]])
    subjects = cells[SUBJECT_COLUMN].str.replace(r"\.0$", "", regex=True)  # 683.0 is 683
    subjects = subjects.mask(subjects.str.lower().isin(NOT_KNOWN), "")
    table = cells[[NAME_COLUMN]].join(values).join(subjects)
    _refuse_normalised(table, source)
    problems = find_name_problems(names)
    for columns, above in ((list(COORDINATES), -np.inf), ([RATE_COLUMN], 0)):
        problems += find_bad_cells(cells[columns], values[columns], names, above)
    problems = problems or _find_landmark_problems(table)
    if problems:
        raise RowErrors(source, problems)
    return table


def plain_name(name: str) -> str:
    """Return the one spelling under which an image of this name is found: `./a.png` is `a.png`,
    and "ä" is one character, which a Mac writes as two."""
    return unicodedata.normalize("NFC", os.path.normpath(name))


def has_landmarks(table: pd.DataFrame) -> np.ndarray:
    """Return which images have at least one annotated landmark: bool [N]."""
    return np.isfinite(landmark_values(table, "x", "y")).any(axis=(1, 2))


def landmark_values(table: pd.DataFrame, *columns: str) -> np.ndarray:
    """Return these columns of each landmark ("x" is `ofd_1_x` …): float64 [N, 4, len(columns)]."""
    names = [f"{landmark}_{column}" for landmark in LANDMARKS for column in columns]
    return table[names].to_numpy(np.float64).reshape(len(table), len(LANDMARKS), len(columns))


def landmark_columns(values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the columns of a table in which landmark_values finds these values, [N, 4] each."""
    return {
        f"{landmark}_{name}": of_all[:, i].astype(np.float64)
        for i, landmark in enumerate(LANDMARKS)
        for name, of_all in values.items()
    }


def find_subjects(table: pd.DataFrame) -> pd.Series | None:
    """Return the subject on each image, as text, under the name of the column that tells it.

    This is `SubjectID`, if any of its cells is filled in; an empty one is "". Otherwise it is
    `image_name`, if all names are like 010_HC.png or 010_2HC.png, which show one subject. Returns
    None where neither tells it.
    """
    if SUBJECT_COLUMN in table and (table[SUBJECT_COLUMN] != "").any():
        return table[SUBJECT_COLUMN]
    subjects = table[NAME_COLUMN].str.extract(f"^{SUBJECT_IN_NAME}$", expand=False)
    return None if subjects.isna().any() else subjects


def split_ground_truth(
    table: pd.DataFrame, split_by: str = "image", source: str = "the ground truth"
) -> dict[str, pd.DataFrame]:
    """Split the rows 80/10/10 into `train`, `val` and `test`, alike for every script and seed.

    622 rows give 497/62/63 (report, "Data Split Methodology"). The rows keep their index.
    split_by: "image", or "subject": 80/10/10 of the subjects, each with all images in one split.
    Raises UserError, naming the source, for too few rows or subjects, or unknown subjects.
    """
    # Not above: scikit-learn takes a second to import, and --help needs none of it.
    from sklearn.model_selection import GroupShuffleSplit, train_test_split

    subjects = pd.Series(table.index, table.index)  # each image is one
    if split_by == "subject":
        subjects = find_subjects(table)
        unknown = table.index if subjects is None else table.index[subjects == ""]
        if len(unknown):
            text = f"no {SUBJECT_COLUMN}, and not all names are like 010_HC.png or 010_2HC.png"
            raise RowErrors(source, [(row, text) for row in unknown])
    if subjects.nunique() < MIN_ROWS:
        raise UserError(
            f"{source}: has {subjects.nunique()} {split_by}s, and the split needs at least "
            f"{MIN_ROWS}; a tester takes any number with --split all"
        )

    def cut(some: pd.DataFrame, test_size: float) -> list[pd.DataFrame]:
        if split_by == "image":
            return train_test_split(some, test_size=test_size, random_state=SPLIT_SEED)
        splitter = GroupShuffleSplit(n_splits=1, test_size=test_size, random_state=SPLIT_SEED)
        return [some.iloc[i] for i in next(splitter.split(some, groups=subjects[some.index]))]

    train, held_out = cut(table, 0.2)
    val, test = cut(held_out, 0.5)
    return {"train": train, "val": val, "test": test}


def _refuse_normalised(table: pd.DataFrame, csv_path: str) -> None:
    """Raise UserError where there are coordinates and all of them are normalised. A file of nothing
    but zeros is left to the checks of its rows."""
    values = landmark_values(table, "x", "y")
    known = values[np.isfinite(values)]
    low, high = NORMALISED
    if known.any() and known.min() >= low and known.max() <= high:
        raise UserError(
            f"{csv_path}: all coordinates lie between {known.min():g} and {known.max():g}, so they "
            "are normalised (0 to 1); px of the original image are expected: multiply x by the "
            "width and y by the height of the image"
        )


def find_name_problems(names: pd.Series) -> list[Problem]:
    """Return what is wrong with the names of images."""
    problems = []
    seen = set()
    for row, name in names.items():
        path = plain_name(name)
        if not name:
            problems.append((row, "no image name"))
        elif re.search(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]", name):
            problems.append((row, f"{name!a}: the name holds control characters, or is not UTF-8"))
        elif Path(name).is_absolute() or ".." in Path(name).parts:
            problems.append((row, f"{name}: the name leads out of the image folder"))
        elif path in seen:
            problems.append((row, f"{name}: the name stands in an earlier row already"))
        seen.add(path)
    return problems


def _find_landmark_problems(table: pd.DataFrame) -> list[Problem]:
    """Return which landmarks of a table cannot be meant."""
    points = landmark_values(table, "x", "y")
    is_unknown = np.isnan(points)
    is_one_point = (points == points[:, [1, 0, 3, 2]]).all(axis=2) & [True, False, True, False]
    low, high = NORMALISED
    is_within = ((points >= low) & (points <= high)) | is_unknown
    # image, axis; one end tells nothing
    is_normalised = is_within.all(axis=1) & ((~is_unknown).sum(axis=1) >= 2)
    problems = []
    for found, names, text in (
        (is_unknown.sum(axis=2) == 1, LANDMARK_NAMES, f"has one coordinate only; {LEAVE_EMPTY}"),
        ((points == 0).all(axis=2), LANDMARK_NAMES, f"is (0, 0); {LEAVE_EMPTY}"),
        ((points < 0).all(axis=2), LANDMARK_NAMES, f"lies outside the image; {LEAVE_EMPTY}"),
        (is_one_point, LANDMARK_NAMES, "is where the other end of the diameter is"),
        (is_normalised, "xy", f"lies between {low:g} and {high:g} at every end, {NOT_PX}"),
    ):
        for position, i in np.argwhere(found):
            row = table.index[position]
            problems.append((row, f"{table[NAME_COLUMN][row]}: {names[i]} {text}"))
    return problems
