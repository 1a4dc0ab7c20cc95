"""The picture of an audit."""

from __future__ import annotations

import numpy as np
import pandas as pd

from common.annotation_quality.audit_table import implausibility, plausible_shares
from common.annotation_quality.biometry import LIMITS, within_limits
from common.basics import drawing
from common.ground_truth import landmark_values
from common.images import LandmarkImages, to_256

WORST_SHOWN = 9
# Of each measure, the end of its axis and its label.
SHOWN = {
    "angle": (90, "angle between the diameters (°)"),
    "midpoint_distance": (1, "distance of their midpoints / longer one (last bar: and more)"),
    "ratio": (1, "shorter / longer one"),
}


def draw_audit(table: pd.DataFrame, data: LandmarkImages, path: str) -> None:
    """Draw the three measures of an audit_table with their limits, the plausible_shares along the
    rows, and the worst images, nine at most, with the landmarks of one or, if the table has those
    of a second, of both readers."""
    beyond = implausibility(table)
    worst = beyond[beyond > 0].nlargest(WORST_SHOWN).index
    picture = drawing.new_picture(18, 17)
    top, bottom = picture.subfigures(2, 1, height_ratios=(1, 3))
    count, plausible = table["plausible"].count(), table["plausible"].sum()
    picture.suptitle(f"Audit of {count} annotations: {plausible} plausible", fontsize=16)
    *of_measures, along_the_rows = top.subplots(1, 4)
    for axis, measure in zip(of_measures, LIMITS):
        _draw_measure(axis, table, measure)
    _draw_shares(along_the_rows, *plausible_shares(table))
    bottom.suptitle("The least plausible" if len(worst) else "None is implausible")
    grid = list(bottom.subplots(3, 3).flat)
    for axis in grid[len(worst) :]:
        axis.set_axis_off()
    readers = {"ground truth": data.landmarks.numpy()}
    if "ofd_1_second_x" in table:
        second = landmark_values(table, "second_x", "second_y")
        readers["second reader"] = to_256(second, data.sizes)
    for axis, index in zip(grid, worst):
        (image,), _ = data.batch(slice(index, index + 1))
        drawing.show_image(axis, image)
        width, height = data.sizes[index]
        axis.set_aspect(height / width)  # as the original, of which these are the pixels
        for reader, landmarks in readers.items():
            drawing.mark_landmarks(axis, landmarks[index], reader)
        row = table.loc[index]
        measures = f"{row['angle']:.0f}°, midpoints {row['midpoint_distance']:.2f}"
        title = f"{drawing.shorten(data.names[index])}\n{measures}, ratio {row['ratio']:.2f}"
        axis.set_title(title, parse_math=False)
    if len(worst):
        drawing.add_legend(bottom, grid)
    drawing.save_picture(picture, path)


def _draw_measure(axis: drawing.Axes, table: pd.DataFrame, measure: str) -> None:
    """Draw how a measure is distributed, and its limit."""
    (limit, side), (end, label) = LIMITS[measure], SHOWN[measure]
    is_known = table[measure].notna()
    values, passed = table[measure][is_known], within_limits(table)[measure][is_known]
    shown, edges = values.clip(upper=end), np.linspace(0, end, 46)  # one edge is the limit
    colors = ["0.65", drawing.REVIEW_COLOR]
    axis.hist([shown[passed], shown[~passed]], edges, stacked=True, color=colors, edgecolor="white")
    axis.axvline(limit, color="black", linestyle="--", label=f"limit {limit:g}")
    axis.set(title=f"{passed.sum()} of {len(values)} {side} {limit:g}", xlim=(0, end))
    axis.set(xlabel=label, ylabel="images")
    axis.yaxis.get_major_locator().set_params(integer=True)
    axis.legend()


def _draw_shares(axis: drawing.Axes, bounds: np.ndarray, heights: np.ndarray) -> None:
    """Draw the share of plausible annotations between bounds along the rows; where nothing is
    annotated it is NaN, and the part is hatched."""
    axis.stairs(100 * heights, bounds, fill=True, color="0.65")
    unknown = np.isnan(heights)
    if unknown.any():
        hatched = np.where(unknown, 100.0, np.nan)
        style = {"facecolor": "none", "edgecolor": "0.6", "hatch": "//"}
        axis.stairs(hatched, bounds, fill=True, label="not annotated", **style)
        axis.legend(loc="upper left")
    axis.set(title="Plausible annotations along the rows", xlabel="row", ylabel="%")
    axis.set(xlim=(0, bounds[-1]), ylim=(0, 100))
