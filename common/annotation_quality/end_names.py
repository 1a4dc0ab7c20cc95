"""By which rule the four ends of an image are named, and how they are named by their direction.

HC18's own annotations follow another rule than the report's file: OFD is the longer diameter,
whichever way it points. The augmentation relies on names by direction, since its flip exchanges the
left and the right end of BPD; and a network learns best what it can see.
"""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from common import UserError
from common.ground_truth import LANDMARK_NAMES, LANDMARKS, landmark_values, plain_column

MIN_NAMED_BY_DIRECTION = 0.75  # of the rows: 0.5 is chance, the report's file has 0.94 and 0.96


def order_by_direction(landmarks: np.ndarray) -> np.ndarray:
    """Return which end is to have each of the four names, by its direction: int [N, 4]. OFD is the
    more upright diameter and OFD-1 its upper end; BPD is the other one and BPD-1 its left end.

    landmarks: [N, 4, 2], (x, y) in px, y downwards. An image of which an end is NaN keeps its
    names: the direction of one diameter, at least, is not known.
    """
    diameters = landmarks.reshape(-1, 2, 2, 2)  # image, diameter, end, (x, y)
    across, down = np.moveaxis(np.abs(diameters[:, :, 1] - diameters[:, :, 0]), -1, 0)
    steepness = np.arctan2(down, across)  # [N, 2]: 0 is level, π/2 upright
    is_exchanged = (steepness[:, 1] > steepness[:, 0]).astype(int)
    images = np.arange(len(landmarks))
    ofd, bpd = diameters[images, is_exchanged], diameters[images, 1 - is_exchanged]
    starts_below = (ofd[:, 0, 1] > ofd[:, 1, 1]).astype(int)
    starts_right = (bpd[:, 0, 0] > bpd[:, 1, 0]).astype(int)
    first_of_ofd, first_of_bpd = 2 * is_exchanged, 2 * (1 - is_exchanged)
    order = np.stack(
        [
            first_of_ofd + starts_below,
            first_of_ofd + 1 - starts_below,
            first_of_bpd + starts_right,
            first_of_bpd + 1 - starts_right,
        ],
        axis=1,
    )
    is_complete = np.isfinite(landmarks).all(axis=(1, 2))
    return np.where(is_complete[:, None], order, np.arange(4))


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


def count_named_by_direction(table: pd.DataFrame) -> dict[str, tuple[int, int]]:
    """Return, for OFD-1 and BPD-1, in how many rows it is the upper or the left end of its
    diameter, and in how many rows both ends are annotated."""
    points = landmark_values(table, "x", "y")
    counts = {}
    for first, axis in (("OFD-1", 1), ("BPD-1", 0)):
        i = LANDMARK_NAMES.index(first)
        difference = points[:, i + 1, axis] - points[:, i, axis]  # NaN where one is not annotated
        counts[first] = (int((difference > 0).sum()), int(np.isfinite(difference).sum()))
    return counts


def describe_end_names(table: pd.DataFrame) -> str:
    """Return a line for a whole ground truth whose ends are not named by their direction, else "".

    That is where OFD-1 is the upper end, or BPD-1 the left one, in less than MIN_NAMED_BY_DIRECTION
    of the rows that have both ends.
    """
    counts = count_named_by_direction(table)
    if all(named >= MIN_NAMED_BY_DIRECTION * known for named, known in counts.values()):
        return ""
    (upper, ofd_known), (left, bpd_known) = counts["OFD-1"], counts["BPD-1"]
    return (
        f"OFD-1 is the upper end in {upper} of {ofd_known} rows, and BPD-1 the left one in {left} "
        f"of {bpd_known}. A network learns names that the direction gives, and Hypothesis 2's flip "
        "relies on them. python -m common.name_ends names ends so (ReadMe_Complete.txt, DATA "
        "FORMAT)\n"
    )


def describe_other_rule(errors: np.ndarray, matched: np.ndarray) -> str:
    """Return a question where the mean error of the images with four annotated ends falls below
    half once their ends are matched, else "". errors, matched: [N, 4] in px of the 256×256 image,
    by name and with the ends matched; NaN where a landmark is not annotated."""
    is_complete = np.isfinite(errors).all(axis=1)
    if not is_complete.any():
        return ""
    by_name, best = errors[is_complete].mean(), matched[is_complete].mean()
    if not best < by_name / 2:
        return ""
    return (
        f"The mean error of images with four ends is {by_name:.2f} px by name and {best:.2f} px "
        "with the ends\nnamed as it suits each image best. Are they named by another rule than in "
        "training\n(ReadMe_Complete.txt, DATA FORMAT)?"
    )
