"""The ground truth: file, checks, subjects, split. A landmark that is not annotated is NaN."""

from __future__ import annotations

import contextlib
import io
import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Callable

import numpy as np
import pandas as pd

from common import UserError, raise_problems

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
KNOWN_COLUMNS = (*COLUMNS, RATE_COLUMN, SUBJECT_COLUMN)
SUBJECT_IN_NAME = r"(.*\d+)_\d*HC\.\w+"  # 010_HC.png and 010_2HC.png show one subject
NOT_KNOWN = ("", "na", "nan")
IMAGE_ENDINGS = (".bmp", ".jpeg", ".jpg", ".jp2", ".pgm", ".png", ".tif", ".tiff", ".webp")
LEAVE_EMPTY = "where a landmark is not annotated, leave both cells empty"
MAX_NORMALISED = 1.5  # 0 to 1 are the image's borders, and an end may lie just outside
Problem = tuple[int, str]  # the row, from 0, and what is wrong with it


def read_ground_truth(csv_path: str, names: Sequence[str] | None = None) -> pd.DataFrame:
    """Read the landmarks of all images from a local UTF-8 file with commas.

    names: where given, those of images, and the rows of other images are left out unchecked.
    Returns one row per image in the order of the file: `image_name` and the eight coordinates
    `ofd_1_x … bpd_2_y`, float64, in pixels of the original image; then, where the file has them,
    `px_to_mm_rate`, float64, and `SubjectID`, text. What is not known (empty, `NA`, `nan`) is NaN
    or, for a subject, ""; a file that has none of the eight columns has no known coordinates.
    Raises UserError, naming file, row and column, for everything that cannot be used, and for a
    file whose coordinates are normalised.
    """
    cells = _read_cells(csv_path)
    if names is not None:
        cells = _rows_of(names, cells, csv_path)
    table = cells.reindex(columns=[*COLUMNS, *cells.columns.difference(COLUMNS, sort=False)])
    for column in table.columns.difference([NAME_COLUMN, SUBJECT_COLUMN]):
        table[column] = pd.to_numeric(table[column], errors="coerce").astype(np.float64)
    if SUBJECT_COLUMN in table:
        subjects = table[SUBJECT_COLUMN].str.replace(r"\.0$", "", regex=True)  # 683.0 is 683
        table[SUBJECT_COLUMN] = subjects.mask(subjects.str.lower().isin(NOT_KNOWN), "")
    _refuse_normalised(table, csv_path)
    raise_problems(csv_path, _find_problems(cells, table))
    return table


def plain_name(name: str) -> str:
    """Return the one spelling under which an image of this name is found: `./a.png` is `a.png`,
    and "ä" is one character, which a Mac writes as two."""
    return unicodedata.normalize("NFC", os.path.normpath(name))


def list_images(image_folder: str) -> pd.DataFrame:
    """Return a ground truth without annotations: a folder's images, in order, without HC18's masks.
    Raises UserError for a folder that cannot be read or holds no image files, and for bad names."""
    files = [name for name in list_folder(image_folder) if not name.startswith(".")]
    names = [name for name in files if _is_image(name)]
    masks = [name for name in files if name.lower().endswith(IMAGE_ENDINGS) and not _is_image(name)]
    if not names:
        reason = _describe_other_files(image_folder, files, masks)
        raise UserError(f"{image_folder}: holds no image files{reason}")
    if masks:
        print(f"Left out, as named *_Annotation.*: {len(masks)}")
    # Before pandas has them: with pyarrow it cannot hold a name that is not UTF-8.
    raise_problems(image_folder, _find_name_problems(enumerate(names)))
    return pd.DataFrame({NAME_COLUMN: names}).reindex(columns=list(COLUMNS))


def list_folder(folder: str) -> list[str]:
    """Return the names in a folder, in order. Raises UserError when it cannot be read."""
    try:
        return sorted(os.listdir(folder))
    except OSError as error:
        raise UserError(f"{folder}: cannot be read: {error.strerror}") from error


def find_subfolder(folder: str, is_sought: Callable[[str], bool]) -> str:
    """Return the path of the sub-folder with the most names that are sought, "" where none has any:
    the folder above that of the images is easily given in its place."""
    most, found = 0, ""
    for name in list_folder(folder):
        path = os.path.join(folder, name)
        with contextlib.suppress(OSError):  # it is no folder, or cannot be read
            number = sum(map(is_sought, os.listdir(path)))
            if number > most:
                most, found = number, path
    return found


def _is_image(name: str) -> bool:
    """Return whether a name is that of an image file, but not of one of HC18's masks."""
    is_mask = re.search(r"_annotation\.\w+$", name.lower())
    return name.lower().endswith(IMAGE_ENDINGS) and not name.startswith(".") and not is_mask


def _describe_other_files(image_folder: str, files: list[str], masks: list[str]) -> str:
    """Say what a folder without images holds instead, and what to do."""
    subfolder = find_subfolder(image_folder, _is_image)
    if subfolder:
        return f", but its sub-folder {os.path.basename(subfolder)} does: give {subfolder}"
    if masks:
        return " but masks, *_Annotation.*: give the folder of the images that they belong to"
    endings = sorted(set(re.findall(r"(?m)(?:\.nii)?\.[a-z]\w*$", "\n".join(files).lower())))
    there = f"; there are {', '.join(endings)} files: convert them first" if endings else ""
    return f" ({', '.join(IMAGE_ENDINGS)}){there}"


def has_landmarks(table: pd.DataFrame) -> np.ndarray:
    """Return which images have at least one annotated landmark: bool [N]."""
    return np.isfinite(landmark_values(table, "x", "y")).any(axis=(1, 2))


def count_named_by_direction(table: pd.DataFrame) -> dict[str, tuple[int, int]]:
    """Return, for OFD-1 and BPD-1, in how many rows it is the upper or the left end of its
    diameter, and in how many rows both ends are annotated."""
    points = landmark_values(table, "x", "y")
    counts = {}
    for first, axis in (("OFD-1", 1), ("BPD-1", 0)):
        i = LANDMARK_NAMES.index(first)
        difference = points[:, i + 1, axis] - points[:, i, axis]  # NaN where one is not annotated
        counts[first] = (int((difference > 0).sum()), int(np.isfinite(difference).sum()))
    return counts


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
        empty = np.flatnonzero(subjects == "")
        raise_problems(source, [(row, f"no {SUBJECT_COLUMN}") for row in empty])
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


def _read_cells(csv_path: str) -> pd.DataFrame:
    """Return the columns that are used, as text under their names, one row per image."""
    text = _read_text(csv_path)
    first_line = "its first line is: " + text.partition("\n")[0][:200]
    cells = _parse_cells(text, csv_path, first_line)
    header = _match_header(cells.head(1).to_numpy().flatten(), csv_path, first_line)
    if len(cells) == 1:
        raise UserError(f"{csv_path}: no rows")
    cells = cells.iloc[1:].set_axis(header, axis=1)
    used = [name for name in KNOWN_COLUMNS if name in header]
    return cells[used].reset_index(drop=True)


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


def _read_text(csv_path: str) -> str:
    """Return the text of a file, without a byte-order mark and empty lines at its beginning."""
    try:
        # utf-8-sig also reads UTF-8 without the byte-order mark that spreadsheets write.
        return Path(csv_path).read_bytes().decode("utf-8-sig").lstrip("\r\n")
    except FileNotFoundError as error:
        raise UserError(f"{csv_path}: no such ground-truth file") from error
    except OSError as error:
        raise UserError(f"{csv_path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{csv_path}: not a CSV file in UTF-8: {error}") from error


def _parse_cells(text: str, csv_path: str, first_line: str) -> pd.DataFrame:
    """Return the cells of a CSV file as text, the header being the first row, no row empty."""
    try:
        cells = pd.read_csv(
            io.StringIO(text), header=None, dtype=str, na_filter=False, skip_blank_lines=False
        )
    except ValueError as error:
        reason = f"{' '.join(str(error).split())}; {first_line}"
        raise UserError(f"{csv_path}: not a CSV file with commas: {reason}") from error
    cells = cells.fillna("").apply(lambda column: column.str.strip())  # NaN: rows that are short
    broken = cells.apply(lambda column: column.str.contains("[\r\n]")).any(axis=1)
    if broken.any():
        line = broken.idxmax() + 1
        raise UserError(f"{csv_path}: line {line}: a line break in a cell (a quote not closed?)")
    return cells[(cells != "").any(axis=1)]  # spreadsheets add lines of nothing but commas


def _match_header(first_row: Iterable[str], csv_path: str, first_line: str) -> list[str | None]:
    """Return for each cell of a header which of KNOWN_COLUMNS it names, or None."""
    known = {name.replace("_", "").lower(): name for name in KNOWN_COLUMNS}
    plain_header = [re.sub(r"[\s_-]", "", cell).lower() for cell in first_row]
    header = [known.get(cell) for cell in plain_header]
    # Images without annotations, unless a column looks like a coordinate (a number: no header).
    is_list = not any(re.search(r"ofd|bpd|^[\d.]+$", cell) for cell in plain_header)
    needed = [NAME_COLUMN] if is_list else COLUMNS
    missing = [name for name in needed if name not in header]
    if missing:
        raise UserError(f"{csv_path}: no column named {', '.join(missing)}; {first_line}")
    repeated = [name for name in KNOWN_COLUMNS if header.count(name) > 1]
    if repeated:
        raise UserError(f"{csv_path}: more than one column named {', '.join(repeated)}")
    if is_list:
        print(f"{csv_path}: holds no landmarks: no column named {', '.join(COLUMNS[1:])}")
    if "pixelsize(mm)" in plain_header:  # HC18's
        print(f"{csv_path}: pixel size(mm) is not used; {RATE_COLUMN} is read, in mm per px")
    return header


def _refuse_normalised(table: pd.DataFrame, csv_path: str) -> None:
    """Raise UserError where there are coordinates and all of them lie within 0 … MAX_NORMALISED. A
    file of nothing but zeros is left to the checks of its rows."""
    values = landmark_values(table, "x", "y")
    known = values[np.isfinite(values)]
    if known.any() and known.min() >= 0 and known.max() <= MAX_NORMALISED:
        raise UserError(
            f"{csv_path}: all coordinates lie between {known.min():g} and {known.max():g}, so they "
            "are normalised (0 to 1); px of the original image are expected: multiply x by the "
            "width and y by the height of the image"
        )


def _find_name_problems(rows: Iterable[tuple[int, str]]) -> list[Problem]:
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


def _find_problems(cells: pd.DataFrame, table: pd.DataFrame) -> list[Problem]:
    """Return what is wrong with the rows of a table, given with its cells as text."""
    names = table[NAME_COLUMN]
    problems = _find_name_problems(names.items())
    for column in cells.columns.difference([NAME_COLUMN, SUBJECT_COLUMN], sort=False):
        values = table[column]
        texts = cells[column]
        rule = "a number above 0" if column == RATE_COLUMN else "a number"
        is_good = np.isfinite(values) & ((values > 0) | (column != RATE_COLUMN))
        for row in table.index[~is_good & ~texts.str.lower().isin(NOT_KNOWN)]:
            problems.append((row, f"{names[row]}: {column} is '{texts[row]}', not {rule}"))
    if problems:
        return problems
    points = landmark_values(table, "x", "y")
    ofd_1, ofd_2, bpd_1, bpd_2 = points.transpose(1, 0, 2)
    is_one_point = np.zeros(points.shape[:2], bool)  # it is said of the first end
    is_one_point[:, LANDMARK_NAMES.index("OFD-1")] = (ofd_1 == ofd_2).all(axis=1)
    is_one_point[:, LANDMARK_NAMES.index("BPD-1")] = (bpd_1 == bpd_2).all(axis=1)
    for found, text in (
        (np.isnan(points).sum(axis=2) == 1, f"has one coordinate only; {LEAVE_EMPTY}"),
        ((points == 0).all(axis=2), f"is (0, 0); {LEAVE_EMPTY}"),
        ((points < 0).all(axis=2), f"lies outside the image; {LEAVE_EMPTY}"),
        (is_one_point, "is where the other end of the diameter is"),
    ):
        for position, i in np.argwhere(found).tolist():
            row = table.index[position]
            problems.append((row, f"{names[row]}: {LANDMARK_NAMES[i]} {text}"))
    return problems
