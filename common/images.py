"""The images: found, read and checked once, and kept in memory beside their landmarks."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
import threading
import unicodedata
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from pathlib import Path, PureWindowsPath
from typing import Callable

import cv2
import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from common import RowErrors, UserError
from common.ground_truth import (
    LANDMARK_NAMES,
    LEAVE_EMPTY,
    NAME_COLUMN,
    RATE_COLUMN,
    landmark_values,
)

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
Decoded = tuple[np.ndarray, tuple[int, int], int]  # an image, its (width, height) before, its bits


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
    files = [name for name in list_folder(image_folder) if not name.startswith(".")]
    names = [name for name in files if _is_image(name)]
    masks = [name for name in files if name.lower().endswith(IMAGE_ENDINGS) and not _is_image(name)]
    if not names:
        reason = _describe_other_files(image_folder, files, masks)
        raise UserError(f"{image_folder}: holds no image files{reason}")
    if masks:
        print(f"Left out, as named *_Annotation.*: {len(masks)}")
    return names


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


def load_images(table: pd.DataFrame, image_folder: str) -> LandmarkImages:
    """Read, check and resize the images of a ground truth's rows, once, in threads. Raises
    UserError with every image that is missing or unreadable, or with the sub-folder that they are
    in, else as place_landmarks does."""
    names, points = table[NAME_COLUMN].tolist(), landmark_values(table, "x", "y")
    rate = table.get(RATE_COLUMN, pd.Series(np.nan, table.index)).to_numpy(np.float64)
    folder = Path(image_folder)
    files = {_stem(name): name for name in list_folder(image_folder)}

    def load(name: str) -> Decoded | str:
        try:
            return read_image(folder, name, files)
        except UserError as error:
            return str(error)

    with ThreadPoolExecutor(READING_THREADS) as threads:
        loading = threads.map(load, names)
        loaded = list(tqdm(loading, "Reading images", len(names), leave=False, unit="image"))
    problems = [(row, text) for row, text in zip(table.index, loaded) if isinstance(text, str)]
    if len(problems) == len(names):
        _refuse_parent(image_folder, names)
    if problems:
        raise RowErrors(image_folder, problems)
    images, sizes, bits = zip(*loaded)
    sizes = np.array(sizes, float)
    at_256 = place_landmarks(points, sizes, rate, table[NAME_COLUMN], image_folder)
    print(_describe_deep([of_one for of_one in bits if of_one > 8]), end="")
    landmarks = torch.tensor(at_256, dtype=torch.float32)
    return LandmarkImages(names, _stack(images), landmarks, sizes, points, rate)


def _refuse_parent(image_folder: str, names: list[str]) -> None:
    """Raise UserError where a sub-folder of a folder without these images holds them."""
    subfolder = find_subfolder(image_folder, set(names).__contains__)
    if subfolder:
        raise UserError(
            f"{image_folder}: holds none of the images, but its sub-folder "
            f"{os.path.basename(subfolder)} does: give {subfolder}"
        )


def _describe_deep(bits: list[int]) -> str:
    """Say how images of so many bits, above 8, were scaled; nothing where there is none."""
    if not bits:
        return ""
    depths = f"{min(bits)} to {max(bits)}" if min(bits) < max(bits) else f"{bits[0]}"
    if len(bits) == 1:
        return f"1 image of {depths} bits, scaled to 8\n"
    return f"{len(bits)} images of {depths} bits, each scaled to 8 on its own\n"


def _stack(images: Sequence[np.ndarray]) -> Tensor:
    """Stack images [256, 256, 1 or 3] to [N, C, 256, 256]; C = 1 where all are grey, else 3."""
    shape = (IMAGE_SIZE, IMAGE_SIZE, max(image.shape[2] for image in images))
    stacked = np.stack([np.broadcast_to(image, shape) for image in images])
    return torch.from_numpy(stacked).permute(0, 3, 1, 2).contiguous()


def place_landmarks(
    points: np.ndarray, sizes: np.ndarray, rate: np.ndarray, names: pd.Series, source: str
) -> np.ndarray:
    """Return landmarks [N, 4, 2] in px of images of these sizes, [N, 2], (width, height), in px of
    the 256×256 images. Print how many lie just outside, by one coordinate and MAX_OUTSIDE at most,
    and a question where they, or the pixel sizes, seem to have another unit. rate: [N], mm per px.
    names: of the images, by rows. Raises UserError, naming the source and the rows, for landmarks
    that lie further out."""
    beyond = np.maximum(-points, points - sizes[:, None]) / sizes[:, None]  # of the side
    outside = (points < 0) | (points >= sizes[:, None])
    refused = outside.all(axis=2) | (beyond > MAX_OUTSIDE + 1e-9).any(axis=2)  # or by rounding
    problems = []
    for i, j in np.argwhere(refused):
        (x, y), (width, height) = points[i, j], sizes[i]
        landmark = f"{names.iloc[i]}: {LANDMARK_NAMES[j]} ({x:g}, {y:g})"
        where = f"lies outside the image of {width:g}×{height:g} px"
        rule = f"one coordinate may, by {MAX_OUTSIDE:.0%} of the side; {LEAVE_EMPTY}"
        problems.append((names.index[i], f"{landmark} {where} ({rule})"))
    if problems:
        raise RowErrors(source, problems)
    count = outside.any(axis=2).sum()
    if count:
        print(f"{count} landmarks lie just outside their image, where the skull is cut off")
    for question in ask_about_units(points, sizes, rate):
        print(f"{source}: {question}")
    return to_256(points, sizes)


def ask_about_units(points: np.ndarray, sizes: np.ndarray, rate: np.ndarray) -> list[str]:
    """Return a question for each unit that is unlikely for images of this kind: of landmarks
    [N, 4, 2], and of pixel sizes, [N], in mm per px."""
    return [*_ask_about_landmarks(points, sizes), *_ask_about_pixel_sizes(sizes, rate)]


def _ask_about_landmarks(points: np.ndarray, sizes: np.ndarray) -> list[str]:
    """Ask where the heads lie too far to the left in the median, or one near to a border."""
    middles = points.reshape(-1, 2, 2, 2).mean(axis=2)  # of the diameters: image, diameter, (x, y)
    has_middle = np.isfinite(middles).all(axis=2).any(axis=1)
    centers = np.nanmean(middles[has_middle], axis=1) / sizes[has_middle]
    if len(centers) >= MIN_ROWS_ASKED and np.median(centers[:, 0]) < MIN_CENTER:
        share = f"{np.median(centers[:, 0]):.2f}"
        where = f"half of the heads have their centre left of {share} of the width"
    elif (centers < NEAREST_CENTER).any():
        near = (centers < NEAREST_CENTER).any(axis=1).sum()
        where = f"{near} of {len(centers)} heads have their centre within a fifth of a border"
    else:
        return []
    return [f"{where}. Are these px of the original images?"]


def _ask_about_pixel_sizes(sizes: np.ndarray, rate: np.ndarray) -> list[str]:
    """Ask where the images are too narrow or too wide in the median, or one by far, or square."""
    is_known = np.isfinite(rate)
    if not is_known.any():
        return []
    widths, is_square = (rate * sizes[:, 0])[is_known], sizes[is_known, 0] == sizes[is_known, 1]
    width, (low, high), (lowest, highest) = np.median(widths), IMAGE_WIDTHS, EXTREME_WIDTHS
    is_asked = len(widths) >= MIN_ROWS_ASKED
    if is_asked and (is_square.mean() > 0.5 or not low <= width <= high):
        shape = ", most of them square" if is_square.mean() > 0.5 else ""
        what = f"the images are {width:.4g} mm wide in the median{shape}"
    elif widths.min() < lowest or widths.max() > highest:
        number = ((widths < lowest) | (widths > highest)).sum()
        what = f"{number} of {len(widths)} images are not {lowest} to {highest} mm wide"
    else:
        return []
    return [f"by {RATE_COLUMN} {what}. Does it belong to these image files?"]


def read_image(folder: Path, name: str, files: Mapping[str, str]) -> Decoded:
    """Return one image, resized bilinearly, its original (width, height), and its bits per channel.

    uint8 [256, 256, C], C = 1 where it is grey, else 3 (RGB). EXIF's orientation (but not a TIFF's)
    and transparency are left out. 16-bit images are brought to 8 bits by the fewest bits that hold
    their largest value, so that a 12-bit image keeps its brightness.
    files: the names in the folder by their stems, to name the one that may be meant.
    Raises UserError when the file is missing, no image, truncated, or of one value throughout.
    """
    try:
        # The bytes go through NumPy because cv2.imread cannot open every path on Windows.
        content = np.fromfile(_find(folder, name, files), dtype=np.uint8)
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
    return image, (width, height), bits


def _stem(name: str) -> str:
    """Return the name of a file without its ending and the folders before it, which a table that
    was made on Windows has with backslashes."""
    return PureWindowsPath(name).stem


def _find(folder: Path, name: str, files: Mapping[str, str]) -> Path:
    """Return an image's path. Raises UserError if there is none, OSError if that cannot be seen."""
    # A Mac writes "ä" as two characters, in names of files or in the ground truth.
    for spelling in (name, *(unicodedata.normalize(form, name) for form in ("NFC", "NFD"))):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            if not stat.S_ISREG(os.stat(folder / spelling).st_mode):  # a pipe would be waited for
                raise UserError(f"{name}: is not a regular file")
            return folder / spelling
    other = files.get(_stem(name))
    hint = f"; there is {other}" if other and other != name else ""  # its own: a link to nothing
    raise UserError(f"{name}: no such image{hint}")
