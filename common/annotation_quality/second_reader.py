"""Two readers of one image: how their ends are matched, and how far they are apart.

Which diameter is called OFD and which end 1 are conventions, so the ends of each image are matched
in the way that gives the lowest mean distance. A network's predictions are matched in the same way.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from common import UserError
from common.annotation_quality.biometry import circumference, diameters
from common.evaluation import BANDS, error_figures
from common.ground_truth import (
    NAME_COLUMN,
    RATE_COLUMN,
    has_landmarks,
    landmark_columns,
    landmark_values,
    parse_ground_truth,
    plain_column,
    plain_name,
    read_cells,
)
from common.images import LandmarkImages, place_landmarks

UNLIKELY_SHARE = 0.9  # of the distances above 50 px: between two readers of one image they are few
SAME_PX = 1e-3  # at 256×256: float32 moves a landmark by less, and two readers are farther apart
# Who is compared, by the column of a table that holds their distances.
SECOND_ERROR, PREDICTED_TO_SECOND, MATCHED = (
    "second_error_px256",
    "pred_second_px256",
    "matched_px256",
)
PAIRS = {
    SECOND_ERROR: "annotated to second reader",
    PREDICTED_TO_SECOND: "predicted to second reader",
    MATCHED: "predicted to annotated",
}
# The eight ways to name four ends that leave each diameter whole: OFD, BPD and the two ends of each
# may change places.
EIGHT_ORDERS = np.array(
    [
        [0, 1, 2, 3],
        [0, 1, 3, 2],
        [1, 0, 2, 3],
        [1, 0, 3, 2],
        [2, 3, 0, 1],
        [2, 3, 1, 0],
        [3, 2, 0, 1],
        [3, 2, 1, 0],
    ]
)


def are_comparable(landmarks: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return in which images two readers' landmarks, [N, 4, 2] each, can be matched: bool [N]. One
    must know all four ends and the other at least three. With fewer, the ends that happen to be
    known decide which diameter is taken for which, and they cross."""
    known = np.isfinite(landmarks).all(axis=-1).sum(axis=1)
    known_reference = np.isfinite(reference).all(axis=-1).sum(axis=1)
    fewer, more = np.minimum(known, known_reference), np.maximum(known, known_reference)
    return (more == 4) & (fewer >= 3)


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


def reorder(landmarks: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Return each image's landmarks [N, 4, 2] in the order [N, 4] that in_best_order found."""
    return np.take_along_axis(landmarks, order[..., None], axis=1)


class SecondReader(NamedTuple):
    """Another reader's landmarks, float64 [N, 4, 2], NaN where there is none: in px of the original
    images and in px of the 256×256 images."""

    original: np.ndarray
    at_256: np.ndarray

    def matched_with(self, annotated: np.ndarray) -> SecondReader:
        """Return the same with the ends matched with annotated ones, in px of the 256×256 image."""
        order = in_best_order(self.at_256, annotated)
        return SecondReader(reorder(self.original, order), reorder(self.at_256, order))


class Distances(NamedTuple):
    """How far two readers are apart, their ends matched. px: float64 [N, 4], in px of the
    256×256 image, NaN where one of the two does not know the landmark, and in images that are not
    comparable. left_out: the images in which both know landmarks and are not comparable, bool [N].
    """

    px: np.ndarray
    left_out: np.ndarray


def matched_distances(landmarks: np.ndarray, reference: np.ndarray) -> Distances:
    """Compare two readers of the same images, [N, 4, 2] each, in px of the 256×256 image."""
    matched = reorder(landmarks, in_best_order(landmarks, reference))
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
    second: SecondReader, compared: dict[str, Distances], rate: np.ndarray | None = None
) -> pd.DataFrame:
    """Return the columns of a second reader for a table: its landmarks in px of the original
    images, the distances of compare_readers and, where the pixel size of any image is known, the
    circumference of the head in mm. rate: [N], mm per px of the original images."""
    columns = {"second_x": second.original[..., 0], "second_y": second.original[..., 1]}
    columns |= {name: distances.px for name, distances in compared.items()}
    table = pd.DataFrame(landmark_columns(columns))
    if rate is not None and np.isfinite(rate).any():
        table["second_hc_mm"] = rate * circumference(diameters(second.original))
    return table


def read_second_reader(csv_path: str, data: LandmarkImages) -> SecondReader:
    """Read another reader's landmarks of the images of these names. Rows of other images are left
    out unchecked.

    Raises UserError for a bad row, if no landmark is known, and for a tester's own table, which
    holds the landmarks of the ground truth again.
    """
    cells = read_cells(csv_path)
    if plain_column("ofd_1_pred_x") in map(plain_column, cells.columns):
        raise UserError(
            f"{csv_path}: is a tester's table: its landmarks are those of the ground truth again, "
            "and not another reader's"
        )
    table = parse_ground_truth(cells, csv_path, data.names)
    known = pd.Index([plain_name(name) for name in data.names])
    indices = known.get_indexer(table[NAME_COLUMN].map(plain_name))
    points, rate = np.full((len(data), 4, 2), np.nan), np.full(len(data), np.nan)
    points[indices] = landmark_values(table, "x", "y")
    rate[indices] = table.get(RATE_COLUMN, np.nan)
    row = np.zeros(len(data), int)
    row[indices] = table.index
    if np.isnan(points).all():
        raise UserError(f"{csv_path}: no landmark of these images ({data.names[0]}, …) is in it")
    count = has_landmarks(table).sum()
    print(f"{csv_path}: another reader's landmarks of {count} of the {len(data)} images")
    found = set(indices)
    absent = [name for i, name in enumerate(data.names) if i not in found]
    if absent:
        print(f"{csv_path}: has no row of {len(absent)} of these images, {absent[0]} for one")
    names = pd.Series(data.names, row)
    return SecondReader(points, place_landmarks(points, data.sizes, rate, names, csv_path))


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
                figures = error_figures(known)
                shares = f"{(known <= BANDS[0]).mean():8.1%}{(known > BANDS[2]).mean():8.1%}"
                line += f"{figures['Mean']:8.2f}{figures['Median']:8.2f}{shares}"
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
    for column in (SECOND_ERROR, PREDICTED_TO_SECOND):
        if column in compared and np.isfinite(compared[column].px).any():
            px = compared[column].px
            known = px[np.isfinite(px)]
            if (known > BANDS[2]).mean() >= UNLIKELY_SHARE:
                return [
                    f"Of the distances to the second reader {UNLIKELY_SHARE:.0%} or more are above "
                    f"{BANDS[2]} px. Are its landmarks in px of the same original images?"
                ]
            if column == SECOND_ERROR and known.max() < SAME_PX:
                return ["Every distance to the second reader is 0. Is it the ground truth itself?"]
            break
    return []
