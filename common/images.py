"""The images: found, read and checked once, and kept in memory beside their landmarks."""

from __future__ import annotations

import hashlib
import os
import re
import threading
import unicodedata
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Callable

import cv2
import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from common import RowErrors, UserError
from common.ground_truth import LANDMARK_NAMES, NAME_COLUMN, RATE_COLUMN, landmark_values

IMAGE_ENDINGS = (".bmp", ".jpeg", ".jpg", ".jp2", ".pgm", ".png", ".tif", ".tiff", ".webp")
IMAGE_SIZE = 256  # px, height and width of what the networks see
MAX_OUTSIDE = 0.05  # of a side: where the skull is cut off, its end is marked beyond the border
# Most of the time of a read is waiting where a folder is mounted from Google Drive: 160 images, at
# 0.2 s for each access, took 32.9 s with 2 threads, one for each of Colab's cores, and 4.2 s with
# 16. From a local disk 16 are no slower. Decoding takes memory, and is as fast with one a core.
READING_THREADS = 16
DECODING = threading.Semaphore(os.cpu_count() or 1)
# What the files of this kind have in common, and those with another unit have not. The heads of the
# report's file and of HC18's lie at 0.49 of the width, those of the multi-centre benchmark at 0.48
# or more; px of an image resized to 512 px would lie at 0.32. The public images are 92 to 379 mm
# wide, and none of them is square.
MIN_CENTER = 0.35  # of the width
IMAGE_WIDTHS = (40, 400)  # mm
MIN_ROWS_ASKED = 3
# Of a single image: the head nearest to a border has its centre at 0.27 of the side, and the public
# images are 39 to 379 mm wide.
NEAREST_CENTER = 0.2  # of the width, from the left; of the height, from above
EXTREME_WIDTHS = (30, 500)  # mm
Decoded = tuple[np.ndarray, tuple[int, int]]  # an image, and its (width, height) before


@dataclass
class LandmarkImages:
    """Decoded images and their landmarks, all in memory, on one device.

    names: N file names. images: uint8 [N, C, 256, 256], C = 1 where every image is grey, else 3
    (RGB). landmarks: float32 [N, 4, 2], (x, y) in px of the 256×256 image, NaN where they are not
    annotated. sizes: float64 [N, 2], (width, height) of the original images. landmarks_px: float64
    [N, 4, 2], in px of the original images. rate: float64 [N], mm per px of the original image, NaN
    where it is not known.
    """

    names: list[str]
    images: Tensor
    landmarks: Tensor
    sizes: np.ndarray
    landmarks_px: np.ndarray
    rate: np.ndarray

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, indices: slice) -> LandmarkImages:
        return LandmarkImages(*(getattr(self, field.name)[indices] for field in fields(self)))

    def to(self, device: torch.device) -> LandmarkImages:
        return replace(self, images=self.images.to(device), landmarks=self.landmarks.to(device))

    def batch(self, indices: Tensor | slice) -> tuple[Tensor, Tensor]:
        """Return some images, float32 [B, 3, 256, 256] in [0, 1], and their landmarks [B, 4, 2]."""
        images = self.images[indices].float().div_(255)
        return images.expand(-1, 3, -1, -1), self.landmarks[indices]


def to_256(points: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Convert points [N, 4, 2] from px of images of these sizes, [N, 2], (width, height), to px of
    the 256×256 images."""
    return points * (IMAGE_SIZE / sizes)[:, None]


def to_original(points: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Convert points [N, 4, 2] from px of the 256×256 images to px of images of these sizes."""
    return points * sizes[:, None] / IMAGE_SIZE


def dataset_fingerprint(*sets: LandmarkImages) -> str:
    """Return the SHA-256 of all pixels and landmarks, whatever the files are called."""
    sha256 = hashlib.sha256()
    for data in sets:
        sha256.update(data.images.cpu().numpy().tobytes())
        sha256.update(data.landmarks.cpu().numpy().tobytes())
    return sha256.hexdigest()


def list_images(image_folder: str) -> list[str]:
    """Return the names of a folder's images, in order, without HC18's masks. Raises UserError for a
    folder that cannot be read or holds no image files."""
    names = list(filter(_is_image, list_folder(image_folder)))
    if not names:
        hint = _name_subfolder(image_folder, _is_image)
        raise UserError(f"{image_folder}: holds no images ({', '.join(IMAGE_ENDINGS)}){hint}")
    return names


def list_folder(folder: str) -> list[str]:
    """Return the names in a folder, in order. Raises UserError when it cannot be read."""
    try:
        return sorted(os.listdir(folder))
    except OSError as error:
        raise UserError(f"{folder}: cannot be read: {error.strerror}") from error


def _is_image(name: str) -> bool:
    """Return whether a name is that of an image file, but not of one of HC18's masks."""
    is_mask = re.search(r"_annotation\.\w+$", name.lower())
    return name.lower().endswith(IMAGE_ENDINGS) and not name.startswith(".") and not is_mask


def _name_subfolder(folder: str, is_sought: Callable[[str], bool]) -> str:
    """Return a hint to the sub-folder with the most names that are sought, "" where none has any:
    the folder above that of the images is easily given in its place."""
    counts = Counter(path.parent for path in Path(folder).glob("*/*") if is_sought(path.name))
    if not counts:
        return ""
    subfolder = max(counts, key=counts.get)
    return f", but its sub-folder {subfolder.name} does: give {subfolder}"


def load_images(table: pd.DataFrame, image_folder: str) -> LandmarkImages:
    """Read, check and resize the images of a ground truth's rows, once, in threads. Raises
    UserError with every image that is missing or unreadable, or with the sub-folder that they are
    in, else as check_landmarks does."""
    names, points = table[NAME_COLUMN].tolist(), landmark_values(table, "x", "y")
    rate = table.reindex(columns=[RATE_COLUMN]).to_numpy(np.float64)[:, 0]
    if set(names).isdisjoint(list_folder(image_folder)):
        hint = _name_subfolder(image_folder, set(names).__contains__)
        if hint:
            raise UserError(f"{image_folder}: holds none of the images{hint}")

    def load(name: str) -> Decoded | str:
        try:
            return read_image(Path(image_folder), name)
        except UserError as error:
            return str(error)

    with ThreadPoolExecutor(READING_THREADS) as threads:
        loading = threads.map(load, names)
        loaded = list(tqdm(loading, "Reading images", len(names), leave=False, unit="image"))
    problems = [(row, text) for row, text in zip(table.index, loaded) if isinstance(text, str)]
    if problems:
        raise RowErrors(image_folder, problems)
    images, sizes = zip(*loaded)
    sizes = np.array(sizes, float)
    check_landmarks(points, sizes, rate, table[NAME_COLUMN], image_folder)
    landmarks = torch.tensor(to_256(points, sizes), dtype=torch.float32)
    return LandmarkImages(names, _stack(images), landmarks, sizes, points, rate)


def _stack(images: Sequence[np.ndarray]) -> Tensor:
    """Stack images [256, 256, 1 or 3] to [N, C, 256, 256]; C = 1 where all are grey, else 3."""
    shape = (IMAGE_SIZE, IMAGE_SIZE, max(image.shape[2] for image in images))
    stacked = np.stack([np.broadcast_to(image, shape) for image in images])
    return torch.from_numpy(stacked).permute(0, 3, 1, 2).contiguous()


def check_landmarks(
    points: np.ndarray, sizes: np.ndarray, rate: np.ndarray, names: pd.Series, source: str
) -> None:
    """Check landmarks [N, 4, 2] in px of images of these sizes, [N, 2], (width, height).

    Prints how many lie just outside, by one coordinate and MAX_OUTSIDE at most, and a question
    where they, or the pixel sizes, seem to have another unit. rate: [N], mm per px. names: of the
    images, by rows. Raises UserError, naming the source and the rows, for landmarks that lie
    further out.
    """
    beyond = np.maximum(-points, points - sizes[:, None]) / sizes[:, None]  # of the side
    outside = (points < 0) | (points >= sizes[:, None])
    refused = outside.all(axis=2) | (beyond > MAX_OUTSIDE + 1e-9).any(axis=2)  # or by rounding
    problems = []
    for i, j in np.argwhere(refused):
        (x, y), (width, height) = points[i, j], sizes[i]
        where = f"({x:g}, {y:g}) lies outside the image of {width:g}×{height:g} px"
        problems.append((names.index[i], f"{names.iloc[i]}: {LANDMARK_NAMES[j]} {where}"))
    if problems:
        raise RowErrors(source, problems)
    count = outside.any(axis=2).sum()
    if count:
        print(f"{count} landmarks lie just outside their image, where the skull is cut off")
    for question in ask_about_units(points, sizes, rate):
        print(f"{source}: {question}")


def ask_about_units(points: np.ndarray, sizes: np.ndarray, rate: np.ndarray) -> list[str]:
    """Return a question for each unit that is unlikely for images of this kind: of landmarks
    [N, 4, 2], where the heads lie too far to the left in the median, or one near to the left or
    upper border; and of pixel sizes, [N], in mm per px, where the images are too narrow or too wide
    in the median, or one by far, or most of them square."""
    questions = []
    middles = points.reshape(-1, 2, 2, 2).mean(axis=2)  # of the diameters: image, diameter, (x, y)
    has_middle = np.isfinite(middles).all(axis=2).any(axis=1)
    centers = np.nanmean(middles[has_middle], axis=1) / sizes[has_middle]
    is_asked = len(centers) >= MIN_ROWS_ASKED and np.median(centers[:, 0]) < MIN_CENTER
    if is_asked or (centers < NEAREST_CENTER).any():
        questions.append(
            f"the centres of the heads lie at {np.median(centers[:, 0]):.2f} of the width in the "
            f"median, one of them at {centers.min():.2f}. Are these px of the original images?"
        )
    is_known = np.isfinite(rate)
    widths, is_square = (rate * sizes[:, 0])[is_known], (sizes[:, 0] == sizes[:, 1])[is_known]
    (low, high), (lowest, highest) = IMAGE_WIDTHS, EXTREME_WIDTHS
    is_asked = len(widths) >= MIN_ROWS_ASKED and (
        is_square.mean() > 0.5 or not low <= np.median(widths) <= high
    )
    if is_asked or ((widths < lowest) | (widths > highest)).any():
        questions.append(
            f"by {RATE_COLUMN} the images are {widths.min():.4g} to {widths.max():.4g} mm wide, "
            f"{np.median(widths):.4g} in the median, and {is_square.mean():.0%} of them "
            "are square. Does it belong to these image files?"
        )
    return questions


def read_image(folder: Path, name: str) -> Decoded:
    """Return one image, resized bilinearly, and its original (width, height).

    uint8 [256, 256, C], C = 1 where it is grey, else 3 (RGB). EXIF's orientation (but not a TIFF's)
    and transparency are left out. 16-bit images are brought to 8 bits by the fewest bits that hold
    their largest value, so that a 12-bit image keeps its brightness.
    Raises UserError when the file is missing, no image, truncated, or of one value throughout.
    """
    # A Mac writes "ä" as two characters, in names of files or in the ground truth.
    spellings = (name, *(unicodedata.normalize(form, name) for form in ("NFC", "NFD")))
    path = next(filter(os.path.isfile, (folder / spelling for spelling in spellings)), None)
    if path is None:
        raise UserError(f"{name}: no such file, or it cannot be read")
    try:
        # The bytes go through NumPy because cv2.imread cannot open every path on Windows.
        content = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise UserError(f"{name}: cannot be read: {error.strerror}") from error
    with DECODING:
        return _decode(content, name)


def _decode(content: np.ndarray, name: str) -> Decoded:
    """Decode the bytes of a file to what read_image returns."""
    flags = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(content, flags)
    except cv2.error as error:  # an empty file, or a header that claims an impossible size
        if error.code == cv2.Error.StsNoMem:  # which is not the file's fault
            raise
        image = None
    # OpenCV silently fills the rest of a JPEG that breaks off with grey. The end marker FF D9 must
    # follow the last start of a scan, FF DA; in its data FF stands before 00 or a restart marker.
    raw = content.tobytes()
    breaks_off = raw[:2] == b"\xff\xd8" and raw.rfind(b"\xff\xd9") < raw.rfind(b"\xff\xda")
    if image is None or breaks_off:
        raise UserError(f"{name}: not an image, truncated, or too large")
    if image.dtype not in (np.uint8, np.uint16):
        raise UserError(f"{name}: its pixels are {image.dtype}, neither 8- nor 16-bit integers")
    if (image == image[0, 0]).all():
        raise UserError(f"{name}: every pixel has the same value")
    bits = max(int(image.max()).bit_length(), 8)
    height, width = image.shape[:2]
    image = cv2.resize(image, (IMAGE_SIZE, IMAGE_SIZE), interpolation=cv2.INTER_LINEAR)
    image = np.round(image * (255 / (2**bits - 1))).astype(np.uint8)  # 8 bits: as it is
    image = np.atleast_3d(image)[..., ::-1]  # OpenCV's colours are BGR
    if (image == image[..., :1]).all():  # also a grey image saved as a coloured one
        image = image[..., :1].copy()
    return image, (width, height)
