"""Two readers of one image: how their ends are matched, and how far they are apart.

Which diameter is called OFD and which end 1 are conventions, so the ends of each image are matched
in the way that gives the lowest mean distance. A network's predictions are matched in the same way.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
import pandas as pd

from common import UserError, ground_truth
from common.annotation_quality.biometry import circumference, diameters
from common.evaluation import BANDS
from common.ground_truth import NAME_COLUMN, landmark_columns, landmark_values, plain_name
from common.images import LandmarkImages, check_landmarks, to_256

UNLIKELY_SHARE = 0.9  # of the distances above 50 px: between two readers of one image they are few
SAME_PX = 1e-3  # at 256×256: float32 moves a landmark by less, and two readers are farther apart
# Who is compared, by the column of a table that holds their distances.
SECOND_ERROR = "second_error_px256"
PREDICTED_TO_SECOND = "pred_second_px256"
MATCHED = "matched_px256"
PAIRS = {
    SECOND_ERROR: "annotated to second reader",
    PREDICTED_TO_SECOND: "predicted to second reader",
    MATCHED: "predicted to annotated",
}
# The eight ways to name four ends that leave each diameter whole: OFD, BPD and the two ends of each
# may change places.
EIGHT_ORDERS = np.array(
    [ends for ends in itertools.permutations(range(4)) if set(ends[:2]) in ({0, 1}, {2, 3})]
)


def are_comparable(landmarks: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return in which images two readers' landmarks, [N, 4, 2] each, can be matched: bool [N]. One
    must know all four ends and the other at least three. With fewer, the ends that happen to be
    known decide which diameter is taken for which, and they cross."""
    is_known = np.isfinite([landmarks, reference]).all(axis=-1)  # reader, image, end
    return is_known.sum(axis=(0, 2)) >= 4 + 3


def in_best_order(landmarks: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Match the ends of each image's two diameters with those of a reference: which diameter is
    called OFD, and which end 1, are conventions. Of the EIGHT_ORDERS, the lowest mean distance
    decides.

    landmarks, reference: [N, 4, 2]; where they are not comparable, the image keeps its names.
    Returns the order [N, 4]: landmarks[n, order[n, i]] is matched with reference[n, i].
    """
    every_way = landmarks[:, EIGHT_ORDERS]  # image, way, end, (x, y)
    distances = np.linalg.norm(every_way - reference[:, None], axis=-1)
    # Of an end that one of the two does not know there is no distance, whichever the way. So every
    # way has as many, and the lowest sum is that with the lowest mean.
    best = EIGHT_ORDERS[np.nansum(distances, axis=-1).argmin(axis=-1)]
    is_comparable = are_comparable(landmarks, reference)[:, None]
    return np.where(is_comparable, best, EIGHT_ORDERS[0])


class Distances(NamedTuple):
    """How far two readers are apart, their ends matched. px: float64 [N, 4], in px of the
    256×256 image, NaN where one of the two does not know the landmark, and in images that are not
    comparable. left_out: the images in which both know landmarks and are not comparable, bool [N].
    """

    px: np.ndarray
    left_out: np.ndarray


def matched_distances(landmarks: np.ndarray, reference: np.ndarray) -> Distances:
    """Compare two readers of the same images, [N, 4, 2] each, in px of the 256×256 image."""
    order = in_best_order(landmarks, reference)
    matched = np.take_along_axis(landmarks, order[..., None], axis=1)
    is_comparable = are_comparable(landmarks, reference)
    values = np.linalg.norm(matched - reference, axis=-1)
    both_know = np.isfinite(landmarks).any(axis=(1, 2)) & np.isfinite(reference).any(axis=(1, 2))
    return Distances(np.where(is_comparable[:, None], values, np.nan), both_know & ~is_comparable)


def compare_readers(
    annotated: np.ndarray, second: np.ndarray, predicted: np.ndarray | None = None
) -> dict[str, Distances]:
    """Compare annotations, a second reader's landmarks and, where there are any, predictions, two
    by two: column of PAIRS → Distances. annotated, second, predicted: [N, 4, 2] in px of the
    256×256 image, NaN where not known."""
    compared = {SECOND_ERROR: matched_distances(second, annotated)}
    if predicted is not None:
        compared[PREDICTED_TO_SECOND] = matched_distances(second, predicted)
        compared[MATCHED] = matched_distances(annotated, predicted)
    return compared


def reader_columns(
    second: np.ndarray, compared: dict[str, Distances], rate: np.ndarray | float = np.nan
) -> pd.DataFrame:
    """Return the columns of a second reader for a table: its landmarks in px of the original
    images, [N, 4, 2], the distances of compare_readers and, where the pixel size of any image is
    known, the circumference of the head in mm. rate: [N], mm per px of the original images."""
    columns = {"second_x": second[..., 0], "second_y": second[..., 1]}
    columns |= {name: distances.px for name, distances in compared.items()}
    table = pd.DataFrame(landmark_columns(columns))
    if np.isfinite(rate).any():
        table["second_hc_mm"] = rate * circumference(diameters(second))
    return table


def read_second_reader(csv_path: str, data: LandmarkImages) -> np.ndarray:
    """Read another reader's landmarks of the images of these names: float64 [N, 4, 2] in px of the
    original images, NaN where there is none, the ends matched with annotated ones at 256×256. Rows
    of other images are left out unchecked.

    Raises UserError for a bad row, if no landmark is known, and for a tester's own table, which
    holds the landmarks of the ground truth again.
    """
    cells = ground_truth.read_cells(csv_path)
    if ground_truth.plain_column("ofd_1_pred_x") in map(ground_truth.plain_column, cells.columns):
        raise UserError(f"{csv_path}: is a tester's table, and not another reader's landmarks")
    names = ground_truth.select_columns(cells, [NAME_COLUMN], [NAME_COLUMN], csv_path)[NAME_COLUMN]
    indices = pd.Index(map(plain_name, data.names)).get_indexer(names.map(plain_name))
    table = ground_truth.parse_ground_truth(cells[indices >= 0], csv_path)
    indices = indices[indices >= 0]
    count = ground_truth.has_landmarks(table).sum()
    if not count:
        raise UserError(
            f"{csv_path}: holds no landmark of these images ({data.names[0]}, …); its first row is "
            f"that of {names[0]}"
        )
    print(f"{csv_path}: another reader's landmarks of {count} of the {len(data)} images")
    points, rate = landmark_values(table, "x", "y"), table[ground_truth.RATE_COLUMN].to_numpy()
    check_landmarks(points, data.sizes[indices], rate, table[NAME_COLUMN], csv_path)
    second = np.full((len(data), 4, 2), np.nan)
    second[indices] = points
    annotated = data.landmarks.numpy().astype(float)
    order = in_best_order(to_256(second, data.sizes), annotated)
    return np.take_along_axis(second, order[..., None], axis=1)


def describe_readers(compared: dict[str, Distances], groups: dict[str, np.ndarray]) -> str:
    """Give the distances of compare_readers in groups of images, bool [N] by name; then what is
    left out of them, and a question where the second file can hardly be another reader's."""
    title = "Second reader (px at 256×256; the four ends are named as it suits each image best)"
    lines = [title, f"{'':<36}landmarks    mean  median  ≤10 px  >50 px"]
    for group, is_in in groups.items():
        lines.append(group)
        for column, distances in compared.items():
            known = distances.px[is_in]
            known = known[np.isfinite(known)]
            line = f"  {PAIRS[column]:<34}{known.size:>9}"
            if known.size:
                shares = f"{(known <= BANDS[0]).mean():8.1%}{(known > BANDS[2]).mean():8.1%}"
                line += f"{known.mean():8.2f}{np.median(known):8.2f}{shares}"
            lines.append(line)
    for column, distances in compared.items():
        if distances.left_out.any():
            lines.append(
                f"Images left out of {PAIRS[column]}: {distances.left_out.sum()} (one must know "
                "all four ends, the other at least three)"
            )
    return "\n".join([*lines, *ask_about_second_reader(compared)])


def ask_about_second_reader(compared: dict[str, Distances]) -> list[str]:
    """Return a question where a second reader is so far from the annotations (or the predictions,
    where nothing is annotated) that its landmarks are likely to have another unit or other images,
    and where it is the ground truth once more."""
    px = compared[SECOND_ERROR].px
    if np.isnan(px).all() and PREDICTED_TO_SECOND in compared:
        px = compared[PREDICTED_TO_SECOND].px
    known = px[np.isfinite(px)]
    if known.size and (known > BANDS[2]).mean() >= UNLIKELY_SHARE:
        return [
            f"Of the distances to the second reader {UNLIKELY_SHARE:.0%} or more are above "
            f"{BANDS[2]} px. Are its landmarks in px of the same original images?"
        ]
    if known.size and known.max() < SAME_PX:
        return ["Every distance to the second reader is 0. Is it the ground truth itself?"]
    return []


def describe_circumference(table: pd.DataFrame, groups: dict[str, np.ndarray]) -> str:
    """Say how far the circumferences of the head in a tester's table are from a second reader's, in
    groups of images, bool [N] by name; "" where none is known."""
    lines = []
    for group, is_in in groups.items():
        for label, column in (("annotated", "hc_mm"), ("predicted", "hc_pred_mm")):
            lengths = table.reindex(columns=[column, "second_hc_mm"])[is_in].dropna()
            off = lengths[column] - lengths["second_hc_mm"]
            if len(off):
                figures = f"{off.abs().mean():8.2f}{off.mean():8.2f}"
                lines.append(f"  {f'{group}, {label}':<34}{len(off):>5} images{figures}")
    title = "Circumference of the head less the second reader's, mm (mean absolute error, bias)"
    return "\n".join([title, *lines]) if lines else ""
