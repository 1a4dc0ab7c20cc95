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
from common.cli import Parser, number, reports_errors
from common.files import write_file
from common.ground_truth import COLUMNS

HEIGHT, WIDTH = 540, 800  # px, of 608 of the 622 real images


def synthetic_head(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw one head: uint8 grey image [540, 800] and its landmarks [4, 2], (x, y) in px.

    The names follow the real ground truth, where OFD is the upright and BPD the level diameter,
    OFD-1 the upper and BPD-1 the left end, whichever of the two is the longer. Most heads lie on
    their side, so here too the diameter named OFD is mostly the shorter.
    """
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)

    # The head, in coordinates along its level (u) and its upright (v) axis. A head of one in
    # six is seen turned by a right angle, its long axis upright.
    long_axis = random.uniform(120, 270)
    short_axis = long_axis * random.uniform(0.72, 0.86)
    if random.random() < 1 / 6:
        long_axis = min(long_axis, 200)
        level, upright = long_axis * random.uniform(0.72, 0.86), long_axis
    else:
        level, upright = long_axis, short_axis
    angle = math.radians(random.uniform(-25, 25))
    reach_x = math.hypot(level * math.cos(angle), upright * math.sin(angle))
    reach_y = math.hypot(level * math.sin(angle), upright * math.cos(angle))
    margin = 15
    slack_x = max(min(WIDTH / 2 - margin - reach_x, 90), 0)
    slack_y = max(min(HEIGHT / 2 - margin - reach_y, 60), 0)
    center_x = WIDTH / 2 + random.uniform(-slack_x, slack_x)
    center_y = HEIGHT / 2 + random.uniform(-slack_y, slack_y)
    cos, sin = math.cos(angle), math.sin(angle)
    u = ((x - center_x) * cos + (y - center_y) * sin) / level
    v = (-(x - center_x) * sin + (y - center_y) * cos) / upright
    radius = np.hypot(u, v)
    around = np.arctan2(v, u)
    landmarks = np.array(
        [
            (center_x + upright * sin, center_y - upright * cos),
            (center_x - upright * sin, center_y + upright * cos),
            (center_x - level * cos, center_y - level * sin),
            (center_x + level * cos, center_y + level * sin),
        ]
    )

    # Tissue in layers of uneven brightness, fluid around the head, the dark brain in it.
    tissue = 0.45 * _clouds(random, 200, 120) ** 2 + 0.22 * _clouds(random, 70, 22)
    tissue += 0.10 * _clouds(random, 25, 9)
    fluid_edge = 1.05 + 0.5 * (_clouds(random, 300, 200) - 0.4) + random.uniform(0, 0.3)
    fluid = _smooth_step(radius, fluid_edge + 0.04, fluid_edge - 0.04)
    brain = 0.10 + 0.30 * _clouds(random, 22, 14) * _clouds(random, 60, 60)
    inside = _smooth_step(radius, 1.0, 0.96)
    scene = tissue * (1 - fluid) + 0.06 * fluid
    scene = scene * (1 - inside) + brain * inside

    # Midline along the longer axis, and two ventricle walls beside it.
    along, across = (u, v) if level >= upright else (v, u)
    for offset, reach, strength in ((0, 0.85, 0.45), (0.28, 0.35, 0.4), (-0.28, 0.35, 0.4)):
        bend = 0.03 * np.sin(4 * along) + 0.05 * (_clouds(random, 60, 60) - 0.5)
        line = np.exp(-(((across - offset - bend) / random.uniform(0.02, 0.035)) ** 2))
        broken = np.clip(3 * _clouds(random, 28, 28) - 1.1, 0, 1)
        scene += strength * line * broken * (np.abs(along) < reach)

    # The skull reflects most where the beam, coming from above, meets it head on; at the sides
    # it fades into gaps.
    facing = np.abs(np.sin(around + angle))
    echo = np.clip(facing**1.5 * 1.3 - 0.18, 0, 1) * np.clip(2.2 * _clouds(random, 60, 60), 0.5, 1)
    thickness = random.uniform(7, 11) / math.sqrt(level * upright)
    skull = np.exp(-(((radius - 1) / thickness) ** 2))
    scene += random.uniform(1.2, 1.6) * skull * echo

    # Behind the steep sides little sound is left: a shadow falls down from them.
    side = np.abs(x - center_x) / reach_x
    below = _smooth_step(y, center_y, center_y + 0.8 * reach_y)
    scene *= 1 - 0.65 * np.exp(-(((side - 0.97) / 0.12) ** 2)) * below

    # Speckle: Rayleigh noise, coarser across the beam than along it; then gain and compression.
    speckle = random.rayleigh(1.0, (HEIGHT, WIDTH)).astype(np.float32)
    speckle = cv2.GaussianBlur(speckle, (0, 0), sigmaX=2.0, sigmaY=1.1)
    speckle = np.clip(1 + 1.6 * (speckle / speckle.mean() - 1), 0, None)
    scene *= speckle * (1 - 0.35 * y / HEIGHT)
    scene = 255 * random.uniform(0.75, 1.15) * np.clip(scene, 0, None) ** 0.85

    # The sector that the probe sees, its apex above the picture; the grey scale; a blanked label.
    apex_y = -random.uniform(250, 500)
    half_angle = math.radians(random.uniform(30, 45))
    depth = np.hypot(x - WIDTH / 2, y - apex_y)
    sector = (np.abs(np.arctan2(x - WIDTH / 2, y - apex_y)) < half_angle) & (
        depth < HEIGHT - apex_y + random.uniform(-5, 20)
    )
    scene *= sector
    scene[20:185, 0:9] = np.linspace(255, 0, 165)[:, None]
    if random.random() < 0.7:
        scene[random.integers(430, 470) :, random.integers(570, 640) :] = 0
    return np.clip(scene, 0, 255).astype(np.uint8), landmarks


def _clouds(random: np.random.Generator, scale_x: float, scale_y: float) -> np.ndarray:
    """Smooth random brightness [540, 800] in 0 … 1 with structures of the given size in px."""
    small = random.random((round(HEIGHT / scale_y) + 3, round(WIDTH / scale_x) + 3))
    return cv2.resize(small.astype(np.float32), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)


def _smooth_step(values: np.ndarray, zero_at: float, one_at: float) -> np.ndarray:
    """A soft threshold: 0 beyond `zero_at`, 1 beyond `one_at`, smooth between."""
    t = np.clip((values - zero_at) / (one_at - zero_at), 0, 1)
    return t * t * (3 - 2 * t)


@reports_errors()
def main(argv: list[str] | None = None) -> None:
    """Write `images/NNN_HC.png` and `ground_truth.csv` into a folder."""
    parser = Parser("Make a synthetic data set in the format of the real one.")
    parser.add_argument("--output_dir", default="sample_data", help="folder to write into")
    parser.add_argument("--images", type=number(int, above=0), default=40, help="how many")
    parser.add_argument("--seed", type=number(int, at_least=0), default=42, help="of the drawing")
    args = parser.parse_args(argv)

    folder = Path(args.output_dir)
    rows, contents = [], {}
    for index in tqdm(range(args.images), "Drawing", leave=False, unit="image"):
        # A seed of its own for each image: the first ten are the same however many are made.
        image, landmarks = synthetic_head(np.random.default_rng([args.seed, index]))
        name = f"{index:03d}_HC.png"
        contents[folder / "images" / name] = cv2.imencode(".png", image)[1].tobytes()
        rows.append([name, *landmarks.round().astype(int).ravel()])
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    csv = table.to_csv(index=False, lineterminator="\n")
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
