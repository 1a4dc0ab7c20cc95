"""Two readers of one image: how their ends are matched, and how far they are apart.

Which diameter is called OFD and which end 1 are conventions, so the ends of each image are matched
in the way that gives the lowest mean distance. A network's predictions are matched in the same way.
"""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd

from common import UserError, ground_truth
from common.annotation_quality.biometry import circumference, diameters
from common.evaluation import BANDS, band_shares, error_figures
from common.ground_truth import NAME_COLUMN, landmark_columns, landmark_values, plain_name
from common.images import LandmarkImages, check_landmarks, to_256

UNLIKELY_SHARE = 0.9  # of the distances above 50 px: between two readers of one image they are few
SAME_PX = 1e-3  # at 256×256: float32 moves a landmark by less, and two readers are farther apart
SECOND_ERROR = "second_error_px256"
PREDICTED_TO_SECOND = "pred_second_px256"
MATCHED = "matched_px256"
# Who is compared, by the column of a table that holds their distances, and the columns of the head
# circumference that each of the two measures.
PAIRS = {
    SECOND_ERROR: ("annotated to second reader", "hc_mm", "second_hc_mm"),
    PREDICTED_TO_SECOND: ("predicted to second reader", "hc_pred_mm", "second_hc_mm"),
    MATCHED: ("predicted to annotated", "hc_pred_mm", "hc_mm"),
}
# The eight ways to name four ends that leave each diameter whole: OFD, BPD and the two ends of each
# may change places.
EIGHT_ORDERS = np.array(
    [ends for ends in itertools.permutations(range(4)) if set(ends[:2]) in ({0, 1}, {2, 3})]
)


def match_ends(landmarks: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Match the ends of each image's two diameters with those of a reference: of the EIGHT_ORDERS,
    the one with the lowest mean distance.

    landmarks, reference: [N, 4, 2]; one of the two must know all four ends of the image, and the
    other at least three. With fewer, the ends that happen to be known decide which diameter is
    taken for which, and they cross; the image keeps its names then, and has no distances.

    Returns the order [N, 4], landmarks[n, order[n, i]] being matched with reference[n, i]; and
    their distances [N, 4], NaN where one of the two does not know the landmark.
    """
    every_way = landmarks[:, EIGHT_ORDERS]  # image, way, end, (x, y)
    distances = np.linalg.norm(every_way - reference[:, None], axis=-1)
    # Of an end that one of the two does not know there is no distance, whichever the way. So every
    # way has as many, and the lowest sum is that with the lowest mean.
    best = np.nansum(distances, axis=-1).argmin(axis=-1)
    is_known = np.isfinite([landmarks, reference]).all(axis=-1)  # reader, image, end
    is_comparable = is_known.sum(axis=(0, 2)) >= 4 + 3
    best[~is_comparable] = 0  # the names as they are
    of_best = distances[np.arange(len(best)), best]
    return EIGHT_ORDERS[best], np.where(is_comparable[:, None], of_best, np.nan)


def reader_columns(
    second: np.ndarray, data: LandmarkImages, predicted: np.ndarray | None = None
) -> pd.DataFrame:
    """Return the columns of a second reader for a table: its landmarks in px of the original
    images, under the names of the annotated ones that they are matched with; and the distances of
    PAIRS in px of the 256×256 image, those to predictions under the names of the predicted ones.
    Beside predictions, and where the pixel size of any image is known, also the circumference of
    the head in mm.

    second: [N, 4, 2] in px of the original images. predicted: the same in px of the 256×256 images.
    """
    at_256, annotated = to_256(second, data.sizes), data.landmarks.numpy().astype(np.float64)
    order, to_annotated = match_ends(at_256, annotated)
    second = np.take_along_axis(second, order[..., None], axis=1)
    columns = {"second_x": second[..., 0], "second_y": second[..., 1], SECOND_ERROR: to_annotated}
    if predicted is not None:
        _, columns[PREDICTED_TO_SECOND] = match_ends(at_256, predicted)
        _, columns[MATCHED] = match_ends(annotated, predicted)
    table = pd.DataFrame(landmark_columns(columns))
    if predicted is not None and np.isfinite(data.rate).any():
        table["second_hc_mm"] = data.rate * circumference(diameters(second))
    return table


def read_second_reader(csv_path: str, data: LandmarkImages) -> np.ndarray:
    """Read another reader's landmarks of the images of these names: float64 [N, 4, 2] in px of the
    original images, NaN where there is none. Rows of other images are left out unchecked.

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
    return second


def describe_readers(table: pd.DataFrame, groups: dict[str, np.ndarray]) -> str:
    """Say how far apart the readers in a table with reader_columns are, and the circumferences that
    they measure, in groups of images, bool [N] by name; and ask_about_second_reader."""
    rows = {}
    for group, is_in in groups.items():
        for column, (pair, length, reference) in PAIRS.items():
            if f"ofd_1_{column}" not in table:  # an audit's, without predictions
                continue
            px = landmark_values(table[is_in], column)[..., 0]
            six, shares = error_figures(px), list(band_shares(px).values())
            rows[group, pair] = {
                "images": np.isfinite(px).any(axis=1).sum(),
                "landmarks": np.isfinite(px).sum(),
                "mean": six["Mean"],
                "median": six["Median"],
                "≤10 px, %": shares[0],
                ">50 px, %": shares[-1],
            }
            if "second_hc_mm" in table:
                off = (table[length] - table[reference])[is_in]
                rows[group, pair]["HC known"] = off.count()
                rows[group, pair]["HC error, mm"] = off.abs().mean()
                rows[group, pair]["HC bias, mm"] = off.mean()
    title = "Second reader (px at 256×256; the ends are named as it suits each image best)"
    figures = pd.DataFrame.from_dict(rows, orient="index")
    text = figures.to_string(float_format="{:.2f}".format, na_rep="-")
    return "\n".join([title, text, *ask_about_second_reader(table)])


def ask_about_second_reader(table: pd.DataFrame) -> list[str]:
    """Return a question where a second reader is so far from the annotations (or the predictions,
    where nothing is annotated) that its landmarks are likely to have another unit or other images,
    and where it is the ground truth once more. table: with reader_columns."""
    px = landmark_values(table, SECOND_ERROR)
    if np.isnan(px).all() and f"ofd_1_{PREDICTED_TO_SECOND}" in table:
        px = landmark_values(table, PREDICTED_TO_SECOND)
    known = px[np.isfinite(px)]
    if known.size and (known > BANDS[2]).mean() >= UNLIKELY_SHARE:
        return [
            f"Of the distances to the second reader {UNLIKELY_SHARE:.0%} or more are above "
            f"{BANDS[2]} px. Are its landmarks in px of the same original images?"
        ]
    if known.size and known.max() < SAME_PX:
        return ["Every distance to the second reader is 0. Is it the ground truth itself?"]
    return []
