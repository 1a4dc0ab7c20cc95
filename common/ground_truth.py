"""Every CSV file is read here; the ground truth, with its checks, subjects and split. A landmark
that is not annotated is NaN."""

from __future__ import annotations

import io
import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
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
# Kept where they are present; named as in the public multi-centre fetal biometry data.
RATE_COLUMN = "px_to_mm_rate"  # mm per px of the original image
SUBJECT_COLUMN = "SubjectID"
SUBJECT_IN_NAME = r"(.*\d+)_\d*HC\.\w+"  # 010_HC.png and 010_2HC.png show one subject
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
    text = _read_text(csv_path)
    try:
        cells = pd.read_csv(
            io.StringIO(text), header=None, dtype=str, na_filter=False, skip_blank_lines=False
        )
    except ValueError as error:
        reason = f"{' '.join(str(error).split())}; {_describe_first(text.partition(chr(10))[0])}"
        raise UserError(f"{csv_path}: not a CSV file with commas: {reason}") from error
    cells = cells.fillna("").apply(lambda column: column.str.strip())  # NaN: rows that are short
    broken = cells.apply(lambda column: column.str.contains("[\r\n]")).any(axis=1)
    if broken.any():
        line = broken.idxmax() + 1
        raise UserError(f"{csv_path}: line {line}: a line break in a cell (a quote not closed?)")
    cells = cells[(cells != "").any(axis=1)]  # spreadsheets add lines of nothing but commas
    header = cells.head(1).to_numpy().flatten()
    if len(cells) == 1:
        first = ",".join(header)
        raise UserError(f"{csv_path}: no rows below the header; {_describe_first(first)}")
    return cells.iloc[1:].set_axis(header, axis=1).reset_index(drop=True)


def _read_text(csv_path: str) -> str:
    """Return the text of a file, without a byte-order mark and empty lines at its beginning."""
    try:
        # utf-8-sig also reads UTF-8 without the byte-order mark that spreadsheets write.
        return Path(csv_path).read_bytes().decode("utf-8-sig").lstrip("\r\n")
    except FileNotFoundError as error:
        raise UserError(f"{csv_path}: no such file") from error
    except OSError as error:
        raise UserError(f"{csv_path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{csv_path}: not a CSV file in UTF-8: {error}") from error


def _describe_first(line: str) -> str:
    return f"its first line is: {line[:200]}"


def plain_column(name: str) -> str:
    """Return the one spelling of a column's name: upper case, blanks, hyphens and underscores do
    not matter."""
    return re.sub(r"[\s_-]", "", name).lower()


def select_columns(
    cells: pd.DataFrame, known: Sequence[str], needed: Sequence[str], csv_path: str
) -> pd.DataFrame:
    """Return those of the known columns that a file has, in this order and under these names.
    Raises UserError where one that is needed is missing, or one stands there twice."""
    plain_header = [plain_column(name) for name in cells.columns]
    places = {
        name: [i for i, plain in enumerate(plain_header) if plain == plain_column(name)]
        for name in known
    }
    missing = [name for name in needed if not places[name]]
    if missing:
        raise UserError(
            f"{csv_path}: no column named {', '.join(missing)}; "
            f"{_describe_first(','.join(cells.columns))}"
        )
    repeated = [name for name, at in places.items() if len(at) > 1]
    if repeated:
        raise UserError(f"{csv_path}: more than one column named {', '.join(repeated)}")
    present = [name for name, at in places.items() if at]
    selected = cells.iloc[:, [places[name][0] for name in present]]
    return selected.set_axis(present, axis=1)


def numbers(cells: pd.DataFrame) -> pd.DataFrame:
    """Return cells as numbers, float64; what is not known, and what is no number, is NaN."""
    return cells.apply(lambda column: pd.to_numeric(column, errors="coerce")).astype(np.float64)


def find_bad_cells(
    cells: pd.DataFrame, values: pd.DataFrame, names: pd.Series, above: float = -np.inf
) -> list[Problem]:
    """Return which cells are neither empty nor a finite number above a limit. values: numbers of
    the cells. names: of the images, to name the row."""
    is_bad = ~np.isfinite(values) | ~(values > above)
    is_bad &= ~cells.apply(lambda column: column.str.lower().isin(NOT_KNOWN))
    rule = "a number" if np.isinf(above) else f"a number above {above:g}"
    return [
        (row, f"{names[row]}: {column} is '{cells[column][row]}', not {rule}")
        for column in cells
        for row in cells.index[is_bad[column]]
    ]


def read_ground_truth(csv_path: str) -> pd.DataFrame:
    """Read the landmarks of all images from a local UTF-8 file with commas.

    Returns one row per image in the order of the file: `image_name` and the eight coordinates
    `ofd_1_x … bpd_2_y`, float64, in pixels of the original image; then, where the file has them,
    `px_to_mm_rate`, float64, and `SubjectID`, text. What is not known (empty, `NA`, `nan`) is NaN
    or, for a subject, ""; a file that has none of the eight columns has no known coordinates.
    Raises UserError, naming file, row and column, for everything that cannot be used, and for
    coordinates that are normalised.
    """
    return parse_ground_truth(read_cells(csv_path), csv_path)


def parse_ground_truth(
    cells: pd.DataFrame, csv_path: str, names: Sequence[str] | None = None
) -> pd.DataFrame:
    """Read the landmarks of all images from the cells of a file, as read_ground_truth returns them.
    names: where given, those of images, and the rows of other images are left out unchecked."""
    plain_header = list(map(plain_column, cells.columns))
    # Images without annotations, unless a column looks like a coordinate (a number: no header).
    coordinate = r"^(ofd|bpd)|(ofd|bpd)[xy]?[12]|^[\d.]+$"
    is_list = not any(re.search(coordinate, column) for column in plain_header)
    known = (*COLUMNS, RATE_COLUMN, SUBJECT_COLUMN)
    cells = select_columns(cells, known, [NAME_COLUMN] if is_list else COLUMNS, csv_path)
    if is_list:
        print(f"{csv_path}: holds no landmarks: no column named {', '.join(COORDINATES)}")
    if "pixelsize(mm)" in plain_header:  # HC18's
        print(f"{csv_path}: pixel size(mm) is not used; {RATE_COLUMN} is read, in mm per px")
    if names is not None:
        cells = _rows_of(names, cells, csv_path)

    measures = cells[cells.columns.intersection([*COORDINATES, RATE_COLUMN], sort=False)]
    values = numbers(measures)
    table = cells[[NAME_COLUMN]].join(values.reindex(columns=list(COORDINATES)))
    if RATE_COLUMN in values:
        table[RATE_COLUMN] = values[RATE_COLUMN]
    if SUBJECT_COLUMN in cells:
        subjects = cells[SUBJECT_COLUMN].str.replace(r"\.0$", "", regex=True)  # 683.0 is 683
        table[SUBJECT_COLUMN] = subjects.mask(subjects.str.lower().isin(NOT_KNOWN), "")
    problems = find_name_problems(cells[NAME_COLUMN].items())
    for columns, above in ((list(COORDINATES), -np.inf), ([RATE_COLUMN], 0)):
        some = measures[measures.columns.intersection(columns, sort=False)]
        problems += find_bad_cells(some, values[some.columns], cells[NAME_COLUMN], above)
    _refuse_normalised(table, csv_path)
    problems = problems or _find_landmark_problems(table)
    if problems:
        raise RowErrors(csv_path, problems)
    return table


def image_table(names: Sequence[str], source: str) -> pd.DataFrame:
    """Return a ground truth of images of these names without annotations. Raises UserError, naming
    the source, for bad names."""
    # Before pandas has them: with pyarrow it cannot hold a name that is not UTF-8.
    problems = find_name_problems(enumerate(names))
    if problems:
        raise RowErrors(source, problems)
    return pd.DataFrame({NAME_COLUMN: names}).reindex(columns=list(COLUMNS))


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


def find_subjects(table: pd.DataFrame) -> tuple[pd.Series | None, str]:
    """Return the subject on each image, as text, and the column that tells it.

    This is `SubjectID`, if any of its cells is filled in; an empty one is "". Otherwise it is
    `image_name`, if all names are like 010_HC.png or 010_2HC.png, which show one subject. Returns
    None and "" where neither tells it.
    """
    if SUBJECT_COLUMN in table and (table[SUBJECT_COLUMN] != "").any():
        return table[SUBJECT_COLUMN], SUBJECT_COLUMN
    subjects = table[NAME_COLUMN].str.extract(f"^{SUBJECT_IN_NAME}$", expand=False)
    if subjects.isna().any():
        return None, ""
    return subjects, NAME_COLUMN


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
        subjects, _ = find_subjects(table)
        if subjects is None:
            raise UserError(
                f"--split_by subject: nothing says who is on each image: {SUBJECT_COLUMN} is not "
                "filled in, and not all names are like 010_HC.png or 010_2HC.png"
            )
        empty = [(row, f"no {SUBJECT_COLUMN}") for row in np.flatnonzero(subjects == "")]
        if empty:
            raise RowErrors(source, empty)
    if subjects.nunique() < MIN_ROWS:
        number = f"{subjects.nunique()} {'rows' if split_by == 'image' else 'subjects'}"
        raise UserError(
            f"{source}: {number}, and the split needs at least {MIN_ROWS}; a tester takes any "
            "number with --split all"
        )

    def cut(some: pd.DataFrame, test_size: float) -> list[pd.DataFrame]:
        if split_by == "image":
            return train_test_split(some, test_size=test_size, random_state=SPLIT_SEED)
        splitter = GroupShuffleSplit(n_splits=1, test_size=test_size, random_state=SPLIT_SEED)
        return [some.iloc[i] for i in next(splitter.split(some, groups=subjects[some.index]))]

    train, held_out = cut(table, 0.2)
    val, test = cut(held_out, 0.5)
    return {"train": train, "val": val, "test": test}


def subjects_in_training(splits: dict[str, pd.DataFrame]) -> dict[str, pd.Series]:
    """Return which images of `val` and `test` show a subject of `train`: bool. Empty where there
    are no such splits or the subjects are not known."""
    subjects, _ = find_subjects(pd.concat(splits.values()))
    if subjects is None or "train" not in splits:
        return {}
    in_training = subjects.isin(subjects[splits["train"].index]) & (subjects != "")
    return {name: in_training[splits[name].index] for name in ("val", "test")}


def _rows_of(names: Sequence[str], cells: pd.DataFrame, csv_path: str) -> pd.DataFrame:
    """Return the rows of the images of these names. Raises UserError where there is none."""
    wanted = {plain_name(name) for name in names}
    rows = cells[cells[NAME_COLUMN].map(plain_name).isin(wanted)]
    if rows.empty:
        raise UserError(
            f"{csv_path}: has no row of these images: the first of them is {names[0]}, and the "
            f"first row is that of {cells[NAME_COLUMN].iloc[0]}"
        )
    return rows


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


def find_name_problems(rows: Iterable[tuple[int, str]]) -> list[Problem]:
    """Return what is wrong with the names of images, given with the number of their row."""
    problems = []
    seen = set()
    for row, name in rows:
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
    ofd_1, ofd_2, bpd_1, bpd_2 = points.transpose(1, 0, 2)
    is_one_point = np.zeros(points.shape[:2], bool)  # it is said of the first end
    is_one_point[:, LANDMARK_NAMES.index("OFD-1")] = (ofd_1 == ofd_2).all(axis=1)
    is_one_point[:, LANDMARK_NAMES.index("BPD-1")] = (bpd_1 == bpd_2).all(axis=1)
    names = table[NAME_COLUMN]
    problems = []
    for found, text in (
        (np.isnan(points).sum(axis=2) == 1, f"has one coordinate only; {LEAVE_EMPTY}"),
        ((points == 0).all(axis=2), f"is (0, 0); {LEAVE_EMPTY}"),
        ((points < 0).all(axis=2), f"lies outside the image; {LEAVE_EMPTY}"),
        (is_one_point, "is where the other end of the diameter is"),
    ):
        for position, i in np.argwhere(found).tolist():
            row = table.index[position]
            problems.append((row, f"{names[row]}: {LANDMARK_NAMES[i]} {text}"))
    if problems:
        return problems
    low, high = NORMALISED
    is_known = np.isfinite(points).all(axis=2)  # image, end
    is_within = ((points >= low) & (points <= high)) | ~is_known[..., None]
    is_normalised = is_within.all(axis=1) & (is_known.sum(axis=1) >= 2)[:, None]  # image, axis
    for position, axis in np.argwhere(is_normalised).tolist():
        row = table.index[position]
        text = f"{names[row]}: {'xy'[axis]} lies between {low:g} and {high:g} at every end, as if "
        problems.append((row, text + "normalised (0 to 1); px of the original image are expected"))
    return problems
