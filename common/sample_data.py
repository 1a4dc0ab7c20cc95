"""A synthetic data set in the format of the real one, to run everything without it.

    python -m common.sample_data --output_dir sample_data

The pictures look like fetal heads at first glance, and no more: they are for trying the scripts,
not for judging a method.
"""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from tqdm import tqdm

from common import UserError
from common.basics.arguments import Parser, number
from common.basics.errors import reports_errors
from common.basics.files import write_file
from common.ground_truth import COLUMNS

HEIGHT, WIDTH = 540, 800  # px, of 608 of the 622 real images


def synthetic_head(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw one head: uint8 grey image [540, 800] and its landmarks [4, 2], (x, y) in px.

    As in the real ground truth, OFD is the upright and BPD the level diameter, whichever is longer
    (mostly BPD, since most heads lie on their side); OFD-1 is the upper and BPD-1 the left end.
    """
    # An ellipse with half axes `level` and `upright`; one in six has its long axis upright.
    level = rng.uniform(120, 270)
    upright = level * rng.uniform(0.72, 0.86)
    if rng.random() < 1 / 6:
        level, upright = upright, min(level, 200)
    angle = math.radians(rng.uniform(-25, 25))
    axes = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    half_level, half_upright = level * axes[0], upright * axes[1]
    center = np.array([WIDTH, HEIGHT]) / 2
    reach = np.hypot(half_level, half_upright)  # of the ellipse, along x and y
    slack = np.clip(center - 15 - reach, 0, (90, 60))
    center = center + rng.uniform(-slack, slack)
    landmarks = center + np.array([-half_upright, half_upright, -half_level, half_level])
    # In the head's own coordinates the skull is where the radius is 1.
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    u = ((x - center[0]) * axes[0, 0] + (y - center[1]) * axes[0, 1]) / level
    v = ((x - center[0]) * axes[1, 0] + (y - center[1]) * axes[1, 1]) / upright
    radius = np.hypot(u, v)
    tissue = 0.45 * _clouds(rng, 200, 120) ** 2 + 0.3 * _clouds(rng, 60, 20)
    brain = 0.10 + 0.30 * _clouds(rng, 22, 14) * _clouds(rng, 60, 60)
    scene = np.where(radius < 1, brain, tissue * (radius > rng.uniform(1.05, 1.3)))  # dark fluid
    # The midline lies along the longer axis. The skull reflects most where the beam, coming from
    # above, meets it head on; at the sides it fades into gaps.
    along, across = (u, v) if level >= upright else (v, u)
    scene += 0.45 * np.exp(-((across / 0.03) ** 2)) * (np.abs(along) < 0.85) * _clouds(rng, 28, 28)
    facing = np.abs(np.sin(np.arctan2(v, u) + angle)) ** 1.5
    echo = np.clip(1.3 * facing - 0.18, 0, 1) * np.clip(2.2 * _clouds(rng, 60, 60), 0.5, 1)
    thickness = rng.uniform(7, 11) / math.sqrt(level * upright)
    scene += rng.uniform(1.2, 1.6) * np.exp(-(((radius - 1) / thickness) ** 2)) * echo
    # Speckle: Rayleigh noise, coarser across the beam than along it; then gain and compression.
    speckle = rng.rayleigh(1.0, (HEIGHT, WIDTH)).astype(np.float32)
    speckle = cv2.GaussianBlur(speckle, (0, 0), sigmaX=2.0, sigmaY=1.1)
    scene *= np.clip(1 + 1.6 * (speckle / speckle.mean() - 1), 0, None) * (1 - 0.35 * y / HEIGHT)
    scene = 255 * rng.uniform(0.75, 1.15) * np.clip(scene, 0, None) ** 0.85
    # The sector that the probe sees, its apex above the picture.
    apex_y, half_angle = -rng.uniform(250, 500), math.radians(rng.uniform(30, 45))
    scene *= np.abs(np.arctan2(x - WIDTH / 2, y - apex_y)) < half_angle
    return np.clip(scene, 0, 255).astype(np.uint8), landmarks


def _clouds(rng: np.random.Generator, scale_x: float, scale_y: float) -> np.ndarray:
    """Smooth random brightness [540, 800] in 0 … 1 with structures of the given size in px."""
    small = rng.random((round(HEIGHT / scale_y) + 3, round(WIDTH / scale_x) + 3))
    return cv2.resize(small.astype(np.float32), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)


@reports_errors()
def main(argv: list[str] | None = None) -> None:
    """Write `images/NNN_HC.png` and `ground_truth.csv` into a folder."""
    parser = Parser("Make a synthetic data set in the format of the real one.")
    parser.add_argument("--output_dir", default="sample_data", help="folder to write into")
    parser.add_argument("--images", type=number(int, 1), default=40, help="how many")
    parser.add_argument("--seed", type=number(int, 0), default=42, help="of the drawing")
    args = parser.parse_args(argv)
    folder = Path(args.output_dir)
    rows, contents = [], {}
    for index in tqdm(range(args.images), "Drawing", leave=False, unit="image"):
        # A seed of its own for each image: the first ten are the same however many are made.
        image, landmarks = synthetic_head(np.random.default_rng([args.seed, index]))
        name = f"{index:03d}_HC.png"
        contents[folder / "images" / name] = cv2.imencode(".png", image)[1].tobytes()
        rows.append([name, *landmarks.round().astype(int).ravel()])
    csv = pd.DataFrame(rows, columns=list(COLUMNS)).to_csv(index=False, lineterminator="\n")
    contents[folder / "ground_truth.csv"] = csv.encode()
    try:
        (folder / "images").mkdir(parents=True, exist_ok=True)
        # Whoever names the folder of the real data by mistake keeps the real data.
        for path, content in contents.items():
            if path.exists() and path.read_bytes() != content:
                raise UserError(f"{path}: another data set is there; choose another --output_dir")
    except OSError as error:
        raise UserError(f"{folder}: cannot be used: {error.strerror}") from error
    for path, content in contents.items():
        write_file(str(path), content)
    print(f"{args.images} images and ground_truth.csv are in {args.output_dir}")


if __name__ == "__main__":
    main()
