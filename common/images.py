"""The images: read and checked once, and kept in memory beside their landmarks."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
import struct
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from common import UserError
from common.ground_truth import LANDMARK_NAMES, NAME_COLUMN, landmark_values, raise_problems

IMAGE_SIZE = 256  # px, height and width of what the networks see


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


def dataset_fingerprint(*sets: LandmarkImages) -> str:
    """SHA-256 of all pixels and landmarks, whatever the files are called."""
    sha256 = hashlib.sha256()
    for data in sets:
        sha256.update(data.images.cpu().numpy().tobytes())
        sha256.update(data.landmarks.cpu().numpy().tobytes())
    return sha256.hexdigest()


def load_images(table: pd.DataFrame, image_folder: str) -> LandmarkImages:
    """Read, check and resize the images of a ground truth's rows, once, in threads.

    Raises UserError with every image that is missing or unreadable and every landmark that lies
    outside its image.
    """
    folder = Path(image_folder)
    if not folder.is_dir():
        raise UserError(f"{image_folder}: no such image folder")

    def load(name: str) -> tuple[np.ndarray, tuple[int, int], int] | UserError:
        try:
            return read_image(folder, name)
        except UserError as error:
            return error

    names = table[NAME_COLUMN].tolist()
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        loading = threads.map(load, names)
        loaded = list(tqdm(loading, "Reading images", len(names), leave=False, unit="image"))

    points = landmark_values(table, "x", "y")
    problems = []
    for row, name, result, landmarks in zip(table.index, names, loaded, points):
        if isinstance(result, UserError):
            problems.append((row, str(result)))
            continue
        _, (width, height), _ = result
        for label, (x, y) in zip(LANDMARK_NAMES, landmarks):
            if x >= width or y >= height:
                where = f"({x:g}, {y:g}) lies outside the image of {width}×{height} px"
                problems.append((row, f"{name}: {label} {where}"))
    raise_problems(image_folder, problems)

    images, sizes, bits = zip(*loaded)
    deep = [b for b in bits if b > 8]
    if deep:
        print(f"{len(deep)} images of {min(deep)} to {max(deep)} bits, each scaled to 8 on its own")
    channels = max(image.shape[2] for image in images)
    stacked = [np.broadcast_to(image, (*image.shape[:2], channels)) for image in images]
    sizes = np.array(sizes, dtype=np.float64)
    scaled = points * (IMAGE_SIZE / sizes)[:, None, :]
    return LandmarkImages(
        names,
        torch.from_numpy(np.stack(stacked)).permute(0, 3, 1, 2).contiguous(),
        torch.from_numpy(scaled.astype(np.float32)),
        sizes,
    )


def read_image(folder: Path, name: str) -> tuple[np.ndarray, tuple[int, int], int]:
    """One image, resized bilinearly, its original (width, height), and its bits per channel.

    uint8 [256, 256, C], C = 1 where it is grey, else 3 (RGB). Pixels are taken as they are stored,
    whatever orientation the file asks for, and transparency is left out. 16-bit images are brought
    to 8 bits by the fewest bits that hold their largest value, so that a 12-bit image keeps its
    brightness.
    Raises UserError when the file is missing, no image, truncated, or of one value throughout.
    """
    path = folder / name
    if not os.path.isfile(path):  # unlike Path.is_file, it takes names of any length
        raise UserError(f"{name}: {_why_missing(folder, name)}")
    try:
        # The bytes go through NumPy because cv2.imread cannot open every path on Windows.
        content = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise UserError(f"{name}: cannot be read: {error.strerror}") from error
    if content[:4].tobytes() in (b"II+\0", b"MM\0+"):
        raise UserError(f"{name}: is a BigTIFF, whose orientation is not known; save it as TIFF")
    _forget_tiff_orientation(content)
    flags = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(content, flags) if content.size else None
    except cv2.error:  # a header that claims an impossible size, say
        image = None
    if image is None:
        raise UserError(f"{name}: not an image, truncated, or too large")
    if _is_truncated_jpeg(content.tobytes()):
        raise UserError(f"{name}: truncated")
    if image.dtype not in (np.uint8, np.uint16):
        raise UserError(f"{name}: its pixels are {image.dtype}, neither 8- nor 16-bit integers")
    if (image == image[0, 0]).all():
        raise UserError(f"{name}: every pixel has the same value")
    bits = max(int(image.max()).bit_length(), 8)
    height, width = image.shape[:2]
    image = cv2.resize(image, (IMAGE_SIZE, IMAGE_SIZE), interpolation=cv2.INTER_LINEAR)
    if image.dtype == np.uint16:
        image = np.round(image * (255 / (2**bits - 1))).astype(np.uint8)
    if image.ndim == 2:
        image = image[..., None]
    elif (image[..., :1] == image[..., 1:]).all():  # a grey image saved as a coloured one
        image = image[..., :1].copy()
    else:
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    return image, (width, height), bits


def _why_missing(folder: Path, name: str) -> str:
    """What stands in place of an image: a folder, a link to nothing, or another ending."""
    path = folder / name
    if os.path.isdir(path):
        return "a folder, not an image"
    if os.path.islink(path):
        return "a link to a file that does not exist"
    pattern = f"{glob.escape(os.path.splitext(name)[0])}.*"
    others = [other.relative_to(folder) for other in sorted(folder.glob(pattern)) if other != path]
    return "no such image" + (f"; there is {others[0]}, another ending" if others else "")


def _forget_tiff_orientation(content: np.ndarray) -> None:
    """Set the orientation in a TIFF's first directory to 1, as stored: OpenCV turns the pixels of
    a TIFF whatever its flags say."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(content[:4].tobytes())
    if order is None:
        return
    with contextlib.suppress(struct.error):  # a damaged file: OpenCV refuses it
        (start,) = struct.unpack_from(f"{order}I", content, 4)
        (count,) = struct.unpack_from(f"{order}H", content, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            if struct.unpack_from(f"{order}H", content, entry) == (274,):
                struct.pack_into(f"{order}H", content, entry + 8, 1)


def _is_truncated_jpeg(content: bytes) -> bool:
    """Whether a JPEG breaks off: OpenCV fills the rest with grey and says nothing.

    The end marker FF D9 must follow the last start of a scan, FF DA; in the scan's own data an FF
    is always followed by 00 or a restart marker.
    """
    return content[:2] == b"\xff\xd8" and content.rfind(b"\xff\xd9") < content.rfind(b"\xff\xda")
