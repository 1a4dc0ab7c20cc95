"""The images: read and checked once, and kept in memory beside their landmarks."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import unicodedata
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path, PureWindowsPath

import cv2
import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from common import UserError, ground_truth, raise_problems

IMAGE_SIZE = 256  # px, height and width of what the networks see
MAX_OUTSIDE = 0.05  # of a side: where the skull is cut off, its end is marked beyond the border
# Most of the time of a read is waiting where a folder is mounted from Google Drive: 160 images, at
# 0.2 s for each access, took 32.9 s with 2 threads, one for each of Colab's cores, and 4.2 s with
# 16. From a local disk 16 are no slower.
READING_THREADS = 16
Decoded = tuple[np.ndarray, tuple[int, int], int]  # an image, its (width, height) before, its bits


@dataclass
class LandmarkImages:
    """Decoded images and their landmarks, all in memory, on one device.

    names: N file names. images: uint8 [N, C, 256, 256], C = 1 where every image is grey, else 3
    (RGB). landmarks: float32 [N, 4, 2], (x, y) in pixels of the 256×256 image, NaN where they are
    not annotated. sizes: float64 [N, 2], (width, height) of the original images.
    """

    names: list[str]
    images: Tensor
    landmarks: Tensor
    sizes: np.ndarray

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, indices: slice) -> LandmarkImages:
        images, landmarks = self.images[indices], self.landmarks[indices]
        return LandmarkImages(self.names[indices], images, landmarks, self.sizes[indices])

    def to(self, device: torch.device) -> LandmarkImages:
        return replace(self, images=self.images.to(device), landmarks=self.landmarks.to(device))

    def batch(self, indices: Tensor | slice) -> tuple[Tensor, Tensor]:
        """Return some images, float32 [B, 3, 256, 256] in [0, 1], and their landmarks [B, 4, 2]."""
        images = self.images[indices].float().div_(255)
        return images.expand(-1, 3, -1, -1), self.landmarks[indices]

    def to_256(self, points: np.ndarray) -> np.ndarray:
        """Convert points [N, 4, 2] from px of the original images to px of the 256×256 images."""
        return scale_to_256(points, self.sizes)

    def to_original(self, points: np.ndarray) -> np.ndarray:
        """Convert points [N, 4, 2] from px of the 256×256 images to px of the original images."""
        return points * self.sizes[:, None] / IMAGE_SIZE


def scale_to_256(points: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Convert points [N, 4, 2] from px of images of these sizes, [N, 2], (width, height), to px of
    the 256×256 images."""
    return points * (IMAGE_SIZE / sizes)[:, None]


def dataset_fingerprint(*sets: LandmarkImages) -> str:
    """Return the SHA-256 of all pixels and landmarks, whatever the files are called."""
    sha256 = hashlib.sha256()
    for data in sets:
        sha256.update(data.images.cpu().numpy().tobytes())
        sha256.update(data.landmarks.cpu().numpy().tobytes())
    return sha256.hexdigest()


def load_images(table: pd.DataFrame, image_folder: str) -> LandmarkImages:
    """Read, check and resize the images of a ground truth's rows, once, in threads. Raises
    UserError with every image that is missing or unreadable, or with the sub-folder that they are
    in, else as find_outside does."""
    folder = Path(image_folder)
    names = table[ground_truth.NAME_COLUMN].tolist()
    files = {_stem(name): name for name in ground_truth.list_folder(image_folder)}

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
    raise_problems(image_folder, problems)
    images, sizes, bits = zip(*loaded)
    sizes = np.array(sizes, float)
    outside = find_outside(table, sizes, image_folder)
    if outside.any():
        print(f"{outside.sum()} landmarks lie just outside their image, where the skull is cut off")
    print(_describe_deep([of_one for of_one in bits if of_one > 8]), end="")
    points = scale_to_256(ground_truth.landmark_values(table, "x", "y"), sizes)
    return LandmarkImages(names, _stack(images), torch.tensor(points, dtype=torch.float32), sizes)


def _refuse_parent(image_folder: str, names: list[str]) -> None:
    """Raise UserError where a sub-folder of a folder without these images holds them."""
    subfolder = ground_truth.find_subfolder(image_folder, set(names).__contains__)
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


def find_outside(table: pd.DataFrame, sizes: np.ndarray, source: str) -> np.ndarray:
    """Return which landmarks lie just outside their image, by one coordinate and MAX_OUTSIDE at
    most: bool [N, 4]. sizes: [N, 2], (width, height). Raises UserError, naming the source and the
    rows, for those that lie further out."""
    points = ground_truth.landmark_values(table, "x", "y")
    names = table[ground_truth.NAME_COLUMN]
    beyond = np.maximum(-points, points - sizes[:, None]) / sizes[:, None]  # of the side
    outside = (points < 0) | (points >= sizes[:, None])
    refused = outside.all(axis=2) | (beyond > MAX_OUTSIDE + 1e-9).any(axis=2)  # or by rounding
    problems = []
    for i, j in np.argwhere(refused):
        (x, y), (width, height) = points[i, j], sizes[i]
        landmark = f"{names.iloc[i]}: {ground_truth.LANDMARK_NAMES[j]} ({x:g}, {y:g})"
        where = f"lies outside the image of {width:g}×{height:g} px"
        rule = f"one coordinate may, by {MAX_OUTSIDE:.0%} of the side; {ground_truth.LEAVE_EMPTY}"
        problems.append((table.index[i], f"{landmark} {where} ({rule})"))
    raise_problems(source, problems)
    return outside.any(axis=2)


def read_second_reader(csv_path: str, data: LandmarkImages) -> np.ndarray:
    """Read another reader's landmarks of the images of these names: float64 [N, 4, 2], px of the
    original images, NaN where there is none. Rows of other images are left out unchecked.

    Raises UserError for a bad row, if no landmark is known, and for a tester's own table, which
    holds the landmarks of the ground truth again.
    """
    table = ground_truth.read_ground_truth(csv_path, data.names)
    if "ofd_1_pred_x" in pd.read_csv(csv_path, nrows=0).columns:
        raise UserError(
            f"{csv_path}: is a tester's table: its landmarks are those of the ground truth again, "
            "and not another reader's"
        )
    known = pd.Index([ground_truth.plain_name(name) for name in data.names])
    names = table[ground_truth.NAME_COLUMN].map(ground_truth.plain_name)
    indices = known.get_indexer(names)
    find_outside(table, data.sizes[indices], csv_path)
    points = np.full((len(data), 4, 2), np.nan)
    points[indices] = ground_truth.landmark_values(table, "x", "y")
    if np.isnan(points).all():
        raise UserError(f"{csv_path}: no landmark of these images ({data.names[0]}, …) is in it")
    count = ground_truth.has_landmarks(table).sum()
    print(f"{csv_path}: another reader's landmarks of {count} of the {len(data)} images")
    found = set(names)
    absent = [name for name, plain in zip(data.names, known) if plain not in found]
    if absent:
        print(f"{csv_path}: has no row of {len(absent)} of these images, {absent[0]} for one")
    return points


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
        flags = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
        image = cv2.imdecode(content, flags)
    except OSError as error:
        raise UserError(f"{name}: cannot be read: {error.strerror}") from error
    except cv2.error:  # an empty file, or a header that claims an impossible size
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
