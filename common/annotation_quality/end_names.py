"""By which rule the four ends of an image are named, and how they are named by their direction.

HC18's own annotations follow another rule than the report's file: OFD is the longer diameter,
whichever way it points. The augmentation relies on names by direction, since its flip exchanges the
left and the right end of BPD; and a network learns best what it can see.
"""

import re

import numpy as np
import pandas as pd

from common import UserError
from common.annotation_quality.second_reader import EIGHT_ORDERS, match_ends
from common.ground_truth import LANDMARKS, landmark_values, plain_column

MIN_NAMED_BY_DIRECTION = 0.75  # of the rows: 0.5 is chance, the report's file has 0.94 and 0.96


def order_by_direction(landmarks: np.ndarray) -> np.ndarray:
    """Return which end is to have each of the four names, by its direction: int [N, 4]. OFD is the
    more upright diameter and OFD-1 its upper end; BPD is the other one and BPD-1 its left end.

    landmarks: [N, 4, 2], (x, y) in px, y downwards. An image of which an end is NaN keeps its
    names: the direction of one diameter, at least, is not known.
    """
    x, y = np.moveaxis(landmarks[:, EIGHT_ORDERS], -1, 0)  # image, way to name the ends, end
    across, down = (np.abs(axis[..., 1::2] - axis[..., ::2]) for axis in (x, y))
    steepness = np.arctan2(down, across)  # image, way, diameter: 0 is level, π/2 upright
    ofd_is_upright = steepness[..., 0] >= steepness[..., 1]
    is_right = ofd_is_upright & (y[..., 0] <= y[..., 1]) & (x[..., 2] <= x[..., 3])
    # The first way that is right; where none is, the first of all, which keeps the names.
    return EIGHT_ORDERS[is_right.argmax(axis=1)]


def rename_ends(cells: pd.DataFrame, order: np.ndarray, csv_path: str) -> pd.DataFrame:
    """Return the cells of a file in which the ends have the names of an order [N, 4]: every column
    in whose name that of an end stands moves along; all else stays as it is. Raises UserError for a
    column that cannot move along: one that the other ends lack, or one of a whole diameter."""
    plain_header = list(map(plain_column, cells.columns))
    renamed = cells.to_numpy(dtype=object, copy=True)
    for column, plain in zip(cells.columns, plain_header):
        match = re.fullmatch("(.*)(?:ofd|bpd)[12](.*)", plain)
        # Not in the middle of a word: a date of delivery is of no diameter.
        if not match and not re.search("^(ofd|bpd)|(?<![a-z])(ofd|bpd)(?![a-z])", column.lower()):
            continue
        of_ends = [match.expand(rf"\1{plain_column(end)}\2") for end in LANDMARKS] if match else []
        if not match or any(plain_header.count(name) != 1 for name in of_ends):
            raise UserError(
                f"{csv_path}: {column}: not every end has one column like it, so it cannot move "
                "along with the name of its end: leave it out"
            )
        if plain == of_ends[0]:
            places = [plain_header.index(name) for name in of_ends]
            renamed[:, places] = np.take_along_axis(renamed[:, places], order, axis=1)
    return pd.DataFrame(renamed, columns=cells.columns)


def describe_end_names(table: pd.DataFrame) -> str:
    """Return a line for a whole ground truth whose ends are not named by their direction, else "".

    That is where OFD-1 is the upper end, or BPD-1 the left one, in less than MIN_NAMED_BY_DIRECTION
    of the rows that have both ends.
    """
    ofd_1, ofd_2, bpd_1, bpd_2 = landmark_values(table, "x", "y").transpose(1, 2, 0)  # (x, y), N
    down, right = ofd_2[1] - ofd_1[1], bpd_2[0] - bpd_1[0]  # NaN where an end is not annotated
    upper, ofd_known = (down > 0).sum(), np.isfinite(down).sum()
    left, bpd_known = (right > 0).sum(), np.isfinite(right).sum()
    is_named = upper >= MIN_NAMED_BY_DIRECTION * ofd_known
    if is_named and left >= MIN_NAMED_BY_DIRECTION * bpd_known:
        return ""
    return (
        f"OFD-1 is the upper end in {upper} of {ofd_known} rows, and BPD-1 the left one in {left} "
        f"of {bpd_known}. A network learns names that the direction gives, and Hypothesis 2's flip "
        "relies on them. python -m common.name_ends names ends so (ReadMe_Complete.txt, DATA "
        "FORMAT)\n"
    )


def describe_other_rule(annotated: np.ndarray, predicted: np.ndarray) -> str:
    """Return a question where the mean error of the images with four annotated ends falls below
    half once their ends are matched, else "". annotated, predicted: [N, 4, 2] in px of the 256×256
    image."""
    is_complete = np.isfinite(annotated).all(axis=(1, 2))
    annotated, predicted = annotated[is_complete], predicted[is_complete]
    by_name = np.linalg.norm(predicted - annotated, axis=-1)
    _, best = match_ends(annotated, predicted)
    if best.sum() >= by_name.sum() / 2:  # or there is none
        return ""
    return (
        f"The mean error of images with four ends is {by_name.mean():.2f} px by name and "
        f"{best.mean():.2f} px with the ends\nnamed as it suits each image best. Are they named "
        "by another rule than in training\n(ReadMe_Complete.txt, DATA FORMAT)?"
    )
