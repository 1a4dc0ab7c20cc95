"""The ground truth, its checks, the split, and the decoded images."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
from sklearn.model_selection import GroupShuffleSplit, train_test_split
from torch import Tensor
from tqdm import tqdm

from common import UserError

IMAGE_SIZE = 256  # px, height and width of what the networks see
SPLIT_SEED = 42  # the report's; --seed does not touch it, or runs could not be compared
LANDMARK_NAMES = ("OFD-1", "OFD-2", "BPD-1", "BPD-2")
NAME_COLUMN = "image_name"
COORDINATE_COLUMNS = tuple(
    f"{name.lower().replace('-', '_')}_{axis}" for name in LANDMARK_NAMES for axis in "xy"
)
COLUMNS = (NAME_COLUMN, *COORDINATE_COLUMNS)
# Kept where they are there. Their names are those of the public multi-centre fetal biometry data.
RATE_COLUMN = "px_to_mm_rate"  # mm per px of the original image
SUBJECT_COLUMN = "SubjectID"
SUBJECT_IN_NAME = r"(.*\d+)_\d*HC\.\w+"  # 010_HC.png and 010_2HC.png show one subject
MIN_ROWS = 6  # fewer cannot be split into three parts
MAX_PROBLEMS_SHOWN = 20

Problem = tuple[int, str]  # the row, from 0, and what is wrong with it


def read_ground_truth(csv_path: str) -> pd.DataFrame:
    """Read the landmarks of all images.

    Returns one row per image in the order of the file: `image_name` and the eight coordinates
    `ofd_1_x … bpd_2_y`, float64, in pixels of the original image; then, where the file has them,
    `px_to_mm_rate`, float64, NaN where the cell is empty, and `SubjectID`, text. Columns are found
    by name, in any order, and others are left out. A file that has none of the first nine names
    but exactly nine columns, the last eight numeric, is read by position (with or without a header
    line).
    Raises UserError, naming file, row and column, for anything that cannot be used.
    """
    table, problems = parse_ground_truth(csv_path)
    raise_problems(csv_path, problems)
    return table


def parse_ground_truth(csv_path: str) -> tuple[pd.DataFrame, list[Problem]]:
    """Like read_ground_truth, but the problems of single rows are returned, not raised, so that
    they can be told together with those of the images."""
    cells = _read_cells(csv_path)
    header = [str(name).strip() for name in cells.iloc[0]]
    if set(header) & set(COLUMNS):
        missing = [name for name in COLUMNS if name not in header]
        if missing:
            raise UserError(f"{csv_path}: no column named {', '.join(missing)}")
        used = [*COLUMNS, *(name for name in (RATE_COLUMN, SUBJECT_COLUMN) if name in header)]
        repeated = [name for name in used if header.count(name) > 1]
        if repeated:
            raise UserError(f"{csv_path}: more than one column named {', '.join(repeated)}")
        rows = cells.iloc[1:, [header.index(name) for name in used]]
    else:
        used = list(COLUMNS)
        has_header = _to_numbers(cells.iloc[:1, 1:]).isna().any(axis=None)
        rows = cells.iloc[1:] if has_header else cells
        if cells.shape[1] != len(COLUMNS) or _to_numbers(rows.iloc[:, 1:]).isna().any(axis=None):
            raise UserError(
                f"{csv_path}: none of the columns {', '.join(COLUMNS)} is there, and the file is "
                "not nine columns of which the last eight are numbers"
            )
        print(f"{csv_path}: no known column names, read by position as {', '.join(COLUMNS)}")
    if rows.empty:
        raise UserError(f"{csv_path}: no rows")

    rows = rows.set_axis(used, axis=1).reset_index(drop=True)
    is_text = rows.columns.isin([NAME_COLUMN, SUBJECT_COLUMN])
    text = rows.loc[:, is_text].apply(lambda column: column.str.strip())
    table = pd.concat([text, _to_numbers(rows.loc[:, ~is_text])], axis=1)[used]
    return table, _table_problems(rows, table)


def coordinates(table: pd.DataFrame) -> np.ndarray:
    """The landmarks of a ground truth: float64 [N, 4, 2], (x, y) in px of the original images."""
    return table[list(COORDINATE_COLUMNS)].to_numpy(np.float64).reshape(-1, 4, 2)


def find_subjects(table: pd.DataFrame) -> pd.Series | None:
    """Who is on each image of a ground truth, as text: what `SubjectID` says where it is filled in
    every row, else what names like 010_HC.png and 010_2HC.png say, else None."""
    if SUBJECT_COLUMN in table and (table[SUBJECT_COLUMN] != "").all():
        return table[SUBJECT_COLUMN]
    subjects = table[NAME_COLUMN].str.extract(f"^{SUBJECT_IN_NAME}$", expand=False)
    return None if subjects.isna().any() else subjects


def split_ground_truth(
    table: pd.DataFrame, by_subject: bool = False
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Split the rows 80/10/10 into (train, val, test), the same for every script and every seed.

    622 rows give 497/62/63 (report, "Data Split Methodology"). The rows keep their index.
    by_subject: the parts are 80/10/10 of the subjects, each with all of its images in one part.
    Raises UserError when there are too few rows or subjects for three parts, and by_subject when
    nothing says who is on an image.
    """
    if not by_subject:
        if len(table) < MIN_ROWS:
            raise UserError(
                f"{len(table)} rows in the ground truth: the split needs at least {MIN_ROWS}"
            )
        train, held_out = train_test_split(table, test_size=0.2, random_state=SPLIT_SEED)
        val, test = train_test_split(held_out, test_size=0.5, random_state=SPLIT_SEED)
        return train, val, test

    subjects = find_subjects(table)
    if subjects is None:
        raise UserError(
            f"--split_by subject: nothing says who is on each image: {SUBJECT_COLUMN} is not "
            "filled in every row, and not all names are like 010_HC.png or 010_2HC.png"
        )
    if subjects.nunique() < MIN_ROWS:
        raise UserError(
            f"--split_by subject: {subjects.nunique()} subjects in the ground truth: the split "
            f"needs at least {MIN_ROWS}"
        )

    def split(rows: pd.DataFrame, test_size: float) -> tuple[pd.DataFrame, pd.DataFrame]:
        splitter = GroupShuffleSplit(n_splits=1, test_size=test_size, random_state=SPLIT_SEED)
        first, second = next(splitter.split(rows, groups=subjects[rows.index]))
        return rows.iloc[first], rows.iloc[second]

    train, held_out = split(table, 0.2)
    val, test = split(held_out, 0.5)
    return train, val, test


@dataclass
class LandmarkImages:
    """Decoded images and their landmarks, all in memory, on one device.

    names: N file names. images: uint8 [N, C, 256, 256], C = 1 where every image is grey, else 3
    (RGB). landmarks: float32 [N, 4, 2], (x, y) in pixels of the 256×256 image. sizes: float64
    [N, 2], (width, height) of the original images.
    """

    names: list[str]
    images: Tensor
    landmarks: Tensor
    sizes: np.ndarray

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, rows: slice) -> LandmarkImages:
        return LandmarkImages(
            self.names[rows], self.images[rows], self.landmarks[rows], self.sizes[rows]
        )

    def to(self, device: torch.device) -> LandmarkImages:
        images, landmarks = self.images.to(device), self.landmarks.to(device)
        return LandmarkImages(self.names, images, landmarks, self.sizes)

    def batch(self, rows: Tensor | slice) -> tuple[Tensor, Tensor]:
        """Images as float32 [B, 3, 256, 256] in [0, 1] and landmarks [B, 4, 2] of some rows."""
        images = self.images[rows].float().div_(255)
        return images.expand(-1, 3, -1, -1), self.landmarks[rows]


def load_images(
    table: pd.DataFrame,
    image_folder: str,
    csv_path: str = "",
    earlier_problems: Sequence[Problem] = (),
) -> LandmarkImages:
    """Read, check and resize the images of a table's rows, once, in threads.

    Raises UserError with every image that is missing or unreadable and every landmark that lies
    outside its image, along with the problems that parse_ground_truth found in csv_path.
    """
    folder = Path(image_folder)
    if not folder.is_dir():
        raise UserError(f"{image_folder}: no such image folder")

    def load(name: str) -> tuple[np.ndarray, tuple[int, int]] | UserError:
        try:
            return read_image(folder / name)
        except UserError as error:
            return error

    problems = list(earlier_problems)
    bad_rows = {row for row, _ in problems}
    table = table[~table.index.isin(bad_rows)]  # where a row is bad, its image is not the point
    names = table[NAME_COLUMN].tolist()
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        progress = tqdm(
            threads.map(load, names), "Reading images", len(names), leave=False, unit="image"
        )
        loaded = list(progress)

    points = coordinates(table)
    for row, name, result, landmarks in zip(table.index, names, loaded, points):
        if isinstance(result, UserError):
            problems.append((row, str(result)))
            continue
        width, height = result[1]
        for label, (x, y) in zip(LANDMARK_NAMES, landmarks):
            if x >= width or y >= height:
                problems.append(
                    (
                        row,
                        f"{name}: {label} ({x:g}, {y:g}) lies outside the image "
                        f"of {width}×{height} px",
                    )
                )
    raise_problems(" and ".join(filter(None, [csv_path, image_folder])), problems)

    images = np.stack(_with_equal_channels([image for image, _ in loaded]))
    sizes = np.array([size for _, size in loaded], dtype=np.float64)
    scaled = points * (IMAGE_SIZE / sizes)[:, None, :]
    return LandmarkImages(
        names,
        torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(),
        torch.from_numpy(scaled.astype(np.float32)),
        sizes,
    )


def read_image(path: Path) -> tuple[np.ndarray, tuple[int, int]]:
    """One image, resized bilinearly, and its original (width, height).

    uint8 [256, 256, C], C = 1 where it is grey, else 3 (RGB). 16-bit images are brought to 8 bits,
    transparency is left out.
    Raises UserError when the file is missing, no image or truncated.
    """
    if not os.path.isfile(path):  # unlike Path.is_file, it takes names of any length
        others = sorted(other.name for other in path.parent.glob(f"{glob.escape(path.stem)}.*"))
        hint = f"; there is {others[0]}: only the ending differs" if others else ""
        raise UserError(f"{path.name}: no such image{hint}")
    try:
        # The bytes go through NumPy because cv2.imread cannot open every path on Windows.
        content = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise UserError(f"{path.name}: cannot be read: {error.strerror}") from error
    try:
        image = cv2.imdecode(content, cv2.IMREAD_ANYCOLOR) if content.size else None
    except cv2.error:  # a header that claims an impossible size, say
        image = None
    if image is None:
        raise UserError(f"{path.name}: not an image, or truncated")
    if _is_truncated_jpeg(content.tobytes()):
        raise UserError(f"{path.name}: truncated")
    height, width = image.shape[:2]
    image = cv2.resize(image, (IMAGE_SIZE, IMAGE_SIZE), interpolation=cv2.INTER_LINEAR)
    if image.ndim == 2:
        image = image[..., None]
    elif (image[..., :1] == image[..., 1:]).all():  # a grey image saved as a coloured one
        image = image[..., :1].copy()
    else:
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    return image, (width, height)


def _is_truncated_jpeg(content: bytes) -> bool:
    """Whether a JPEG breaks off: OpenCV fills the rest with grey and says nothing.

    The end marker FF D9 must follow the last start of a scan, FF DA; in the scan's own data an FF
    is always followed by 00 or a restart marker.
    """
    return content[:2] == b"\xff\xd8" and content.rfind(b"\xff\xd9") < content.rfind(b"\xff\xda")


def _with_equal_channels(images: list[np.ndarray]) -> list[np.ndarray]:
    """Grey images with three channels, too, if there is a coloured one among them."""
    channels = max((image.shape[2] for image in images), default=1)
    return [np.broadcast_to(image, (IMAGE_SIZE, IMAGE_SIZE, channels)) for image in images]


def raise_problems(source: str, problems: Sequence[Problem]) -> None:
    """Raise one UserError for all problems of a source in the order of rows, if there are any."""
    lines = [f"row {row + 1}: {text}" for row, text in sorted(problems)]
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
        # utf-8-sig also reads UTF-8 without the byte-order mark that spreadsheets write.
        cells = pd.read_csv(csv_path, header=None, dtype=str, encoding="utf-8-sig", na_filter=False)
        return cells.fillna("")  # the ends of rows that are too short
    except FileNotFoundError as error:
        raise UserError(f"{csv_path}: no such ground-truth file") from error
    except pd.errors.EmptyDataError as error:
        raise UserError(f"{csv_path}: the file is empty") from error
    except OSError as error:
        raise UserError(f"{csv_path}: cannot be read: {error.strerror}") from error
    except (pd.errors.ParserError, UnicodeDecodeError) as error:
        raise UserError(f"{csv_path}: not a CSV file: {' '.join(str(error).split())}") from error


def _to_numbers(cells: pd.DataFrame) -> pd.DataFrame:
    """Text to float64; what is not a number becomes NaN."""
    return cells.apply(pd.to_numeric, errors="coerce").astype(np.float64)


def _table_problems(cells: pd.DataFrame, table: pd.DataFrame) -> list[Problem]:
    """What is wrong with the rows themselves, before any image is opened."""
    problems = []
    names = table[NAME_COLUMN]
    for row, (name, repeated) in enumerate(zip(names, names.duplicated())):
        if not name:
            problems.append((row, "no image name"))
        elif Path(name).is_absolute() or ".." in Path(name).parts:
            problems.append((row, f"{name}: the name leads out of the image folder"))
        elif repeated:
            problems.append((row, f"{name}: the name stands in an earlier row already"))
    for column in COORDINATE_COLUMNS:
        values = table[column]
        # not (x ≥ 0): NaN, all that is left of a cell that holds no number, compares as False
        for row in np.flatnonzero(~(np.isfinite(values) & (values >= 0))).tolist():
            wrong = "below 0" if values[row] < 0 else "not a number"
            problems.append((row, f"{names[row]}: {column} is '{cells.at[row, column]}', {wrong}"))
    if RATE_COLUMN in table:
        rates, given = table[RATE_COLUMN], cells[RATE_COLUMN].str.strip() != ""
        for row in np.flatnonzero(given & ~(np.isfinite(rates) & (rates > 0))).tolist():
            cell = cells.at[row, RATE_COLUMN]
            problems.append(
                (row, f"{names[row]}: {RATE_COLUMN} is '{cell}', not a number above 0 (or empty)")
            )
    return problems
