"""The pictures of a test: predictions beside what is annotated, and the distribution of errors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from tqdm import tqdm

from common.basics import drawing
from common.ground_truth import LANDMARK_NAMES, landmark_values
from common.images import LandmarkImages, to_256
from common.results.metrics import errors_of


def draw_predictions(
    data: LandmarkImages, predicted: np.ndarray, table: pd.DataFrame
) -> drawing.Figure:
    """Draw six images, evenly spaced over a tester's table of the data, a row each: ground truth,
    prediction, and both; or, where nothing is annotated, image and prediction. A second reader's
    landmarks, if the table has any, are drawn too. What is flagged for review gets a red frame.
    predicted: [N, 4, 2] in px of the 256×256 images."""
    chosen = np.unique(np.linspace(0, len(data) - 1, 6).round().astype(int))
    columns = 3 if np.isfinite(errors_of(table)).any() else 2
    picture = drawing.new_picture(4 * columns, 4.25 * len(chosen))
    rows = picture.subplots(len(chosen), columns, squeeze=False)
    for axes, index in zip(rows, chosen):
        _draw_image(axes, data, predicted, table, index)
    drawing.add_legend(picture, rows.flat)
    return picture


def draw_all_predictions(
    data: LandmarkImages, predicted: np.ndarray, table: pd.DataFrame
) -> Iterator[drawing.Figure]:
    """Draw pages with all images, six a page, each in one panel with all landmarks; otherwise as
    draw_predictions does."""
    for start in tqdm(range(0, len(data), 6), "Drawing", leave=False, unit="page"):
        picture = drawing.new_picture(8, 12.75)
        axes = list(picture.subplots(3, 2).flat)
        for axis, index in zip(axes, range(start, start + 6)):
            if index < len(data):
                _draw_image([axis], data, predicted, table, index)
            else:
                axis.set_axis_off()
        drawing.add_legend(picture, axes)
        yield picture


def _draw_image(
    axes: Sequence[drawing.Axes],
    data: LandmarkImages,
    predicted: np.ndarray,
    table: pd.DataFrame,
    index: int,
) -> None:
    """Draw an image with its landmarks: in three panels the ground truth, the prediction, and all;
    in two, none and all; in one, all. The last one joins what was annotated and what was found of
    each landmark by a line."""
    one, row = data[index : index + 1], table[index : index + 1]
    landmarks = {"ground truth": one.landmarks[0].numpy(), "predicted": predicted[index]}
    if "ofd_1_second_x" in table:
        second = landmark_values(row, "second_x", "second_y")
        landmarks["second reader"] = to_256(second, one.sizes)[0]
    errors = errors_of(row)
    is_known = np.isfinite(errors)
    error = f"mean error {errors[is_known].mean():.1f} px" if is_known.any() else "not annotated"
    name, everything = drawing.shorten(one.names[0]), tuple(landmarks)
    panels = {
        1: [(f"{name}\n{error}", everything)],
        2: [(name, ()), ("prediction", everything)],
        3: [
            (f"{name}: ground truth", ("ground truth",)),
            ("prediction", ("predicted",)),
            (f"overlay, {error}", everything),
        ],
    }
    (image,), _ = one.batch(slice(1))
    for axis, (title, kinds) in zip(axes, panels[len(axes)]):
        drawing.show_image(axis, image)
        axis.set_title(title, parse_math=False)
        for kind in kinds:
            drawing.mark_landmarks(axis, landmarks[kind], kind)
    for color, *pair in zip(drawing.COLORS, landmarks["ground truth"], landmarks["predicted"]):
        axes[-1].plot(*np.transpose(pair), "-", color=color, linewidth=1)
    if row["review"].all():
        _frame(axes)


def _frame(axes: Sequence[drawing.Axes]) -> None:
    """Frame an image in red, and say in the title of the prediction that it is to be reviewed."""
    titled = axes[len(axes) // 2]  # of three the middle one, of two the right one
    title = f"{titled.get_title()}: TO BE REVIEWED"
    titled.set_title(title, color=drawing.REVIEW_COLOR, weight="bold", parse_math=False)
    for axis in axes:
        axis.spines[:].set(color=drawing.REVIEW_COLOR, linewidth=4)


def draw_errors(errors: np.ndarray) -> drawing.Figure:
    """Draw the histogram of all pixel errors and a box plot per landmark. errors: [N, 4] in px, NaN
    where they are not known."""
    is_known = np.isfinite(errors)
    known = errors[is_known]
    picture = drawing.new_picture(14, 5)
    left, right = picture.subplots(1, 2)
    left.hist(known, bins=40, color="0.6", edgecolor="white")
    for name, value, style in (("mean", known.mean(), "-"), ("median", np.median(known), "--")):
        label = f"{name} {value:.2f} px"
        left.axvline(value, color="crimson", linestyle=style, label=label)
    title = f"Pixel errors of {known.size} landmarks on {is_known.any(axis=1).sum()} images"
    left.set(title=title, xlabel="pixel error (px at 256×256)", ylabel="landmarks", xlim=(0, None))
    left.yaxis.get_major_locator().set_params(integer=True)
    left.legend()

    by_landmark = [column[np.isfinite(column)] for column in errors.T]
    boxes = right.boxplot(by_landmark, patch_artist=True, medianprops={"color": "black"})
    labels = list(LANDMARK_NAMES)
    for i, values in enumerate(by_landmark):
        boxes["boxes"][i].set_facecolor(drawing.COLORS[i])
        if len(values):
            labels[i] += f"\nmean {values.mean():.1f}\nmedian {np.median(values):.1f}"
    right.set_xticks(range(1, 5), labels)
    right.set(title="Pixel error per landmark", ylabel="pixel error (px at 256×256)")
    right.set_ylim(0, None)
    right.grid(axis="y", alpha=0.3)
    return picture
