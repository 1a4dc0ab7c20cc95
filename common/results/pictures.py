"""The pictures of a test: predictions beside what is annotated, and the distribution of errors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Callable

import numpy as np
from torch import Tensor
from tqdm import tqdm

from common.basics.pictures import (
    COLORS,
    REVIEW_COLOR,
    add_legend,
    mark_landmarks,
    new_picture,
    shorten,
    show_image,
)
from common.evaluation import Predictions, error_figures
from common.ground_truth import LANDMARK_NAMES
from common.images import LandmarkImages

if TYPE_CHECKING:  # matplotlib takes a second to import, and --help needs none of it
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass
class _Case:
    """One image of a test as it is drawn. annotated, predicted, second: landmarks [4, 2] in px of
    the 256×256 image, NaN where there are none."""

    name: str
    image: Tensor
    annotated: np.ndarray
    predicted: np.ndarray
    second: np.ndarray
    error: str
    is_flagged: bool


def draw_predictions(
    data: LandmarkImages,
    predictions: Predictions,
    flagged: np.ndarray,
    second: np.ndarray | None = None,
    all_images: bool = False,
) -> Figure | Iterator[Figure]:
    """Draw six images, evenly spaced over the data, a row each: ground truth, prediction, and both;
    or, where nothing is annotated, image and prediction. Or draw pages with all images, six a page,
    with both. Images that are flagged for review, bool [N], get a red frame.

    second: a second reader's landmarks [N, 4, 2] in px of the 256×256 image, if there are any.
    """
    if second is None:
        second = np.full_like(predictions.annotated, np.nan)

    def case(index: int) -> _Case:
        known = predictions.errors[index][np.isfinite(predictions.errors[index])]
        return _Case(
            name=shorten(predictions.names[index]),
            image=data.batch(slice(index, index + 1))[0][0].cpu(),
            annotated=predictions.annotated[index],
            predicted=predictions.predicted[index],
            second=second[index],
            error=f"mean error {known.mean():.1f} px" if known.size else "not annotated",
            is_flagged=bool(flagged[index]),
        )

    if all_images:
        return _pages(case, len(predictions))
    chosen = np.unique(np.linspace(0, len(predictions) - 1, 6).round().astype(int))
    columns = 3 if np.isfinite(predictions.errors).any() else 2
    picture = new_picture(4 * columns, 4.25 * len(chosen))
    rows = picture.subplots(len(chosen), columns, squeeze=False)
    draw = _draw_three_panels if columns == 3 else _draw_two_panels
    for axes, index in zip(rows, chosen):
        draw(axes, case(index))
    add_legend(picture, rows.flat)
    return picture


def _pages(case: Callable[[int], _Case], count: int) -> Iterator[Figure]:
    """Yield pages with all images, six a page, each in one panel."""
    for start in tqdm(range(0, count, 6), "Drawing", leave=False, unit="page"):
        picture = new_picture(8, 12.75)
        axes = list(picture.subplots(3, 2).flat)
        for axis, index in zip(axes, range(start, start + 6)):
            if index < count:
                _draw_one_panel(axis, case(index))
            else:
                axis.set_axis_off()
        add_legend(picture, axes)
        yield picture


def _draw_three_panels(axes: np.ndarray, case: _Case) -> None:
    """The ground truth, the prediction, and both."""
    left, middle, right = axes
    for axis in axes:
        show_image(axis, case.image)
    left.set_title(f"{case.name}: ground truth", parse_math=False)
    middle.set_title("prediction")
    right.set_title(f"overlay, {case.error}")
    mark_landmarks(left, case.annotated, "ground truth")
    mark_landmarks(middle, case.predicted, "predicted")
    _mark_all(right, case)
    if case.is_flagged:
        _frame(axes, titled=middle)


def _draw_two_panels(axes: np.ndarray, case: _Case) -> None:
    """The image without and with the prediction."""
    left, right = axes
    for axis in axes:
        show_image(axis, case.image)
    left.set_title(case.name, parse_math=False)
    right.set_title("prediction")
    _mark_all(right, case)
    if case.is_flagged:
        _frame(axes, titled=right)


def _draw_one_panel(axis: Axes, case: _Case) -> None:
    """The image with all that is known of it."""
    show_image(axis, case.image)
    axis.set_title(f"{case.name}\n{case.error}", parse_math=False)
    _mark_all(axis, case)
    if case.is_flagged:
        _frame([axis], titled=axis)


def _mark_all(axis: Axes, case: _Case) -> None:
    """Mark what was annotated and what was found, and join the two of each landmark by a line."""
    mark_landmarks(axis, case.annotated, "ground truth")
    mark_landmarks(axis, case.predicted, "predicted")
    mark_landmarks(axis, case.second, "second reader")
    for color, *pair in zip(COLORS, case.annotated, case.predicted):
        axis.plot(*np.transpose(pair), "-", color=color, linewidth=1)


def _frame(axes: Iterable[Axes], titled: Axes) -> None:
    """Say in the title of one of the panels that the image is to be reviewed; frame all in red."""
    title = f"{titled.get_title()}: TO BE REVIEWED"
    titled.set_title(title, color=REVIEW_COLOR, weight="bold", parse_math=False)
    for axis in axes:
        axis.spines[:].set(color=REVIEW_COLOR, linewidth=4)


def draw_errors(errors: np.ndarray) -> Figure:
    """Draw the histogram of all pixel errors and a box plot per landmark. errors: [N, 4] in px, NaN
    where they are not known."""
    is_known = np.isfinite(errors)
    known, figures = errors[is_known], error_figures(errors)
    picture = new_picture(14, 5)
    left, right = picture.subplots(1, 2)
    left.hist(known, bins=40, color="0.6", edgecolor="white")
    for name, style in (("mean", "-"), ("median", "--")):
        label = f"{name} {figures[name]:.2f} px"
        left.axvline(figures[name], color="crimson", linestyle=style, label=label)
    title = f"Pixel errors of {known.size} landmarks on {is_known.any(axis=1).sum()} images"
    left.set(title=title, xlabel="pixel error (px at 256×256)", ylabel="landmarks", xlim=(0, None))
    left.yaxis.get_major_locator().set_params(integer=True)
    left.legend()

    by_landmark = [column[np.isfinite(column)] for column in errors.T]
    boxes = right.boxplot(by_landmark, patch_artist=True, medianprops={"color": "black"})
    labels = list(LANDMARK_NAMES)
    for i, values in enumerate(by_landmark):
        boxes["boxes"][i].set_facecolor(COLORS[i])
        if len(values):
            figures = error_figures(values)
            labels[i] += f"\nmean {figures['mean']:.1f}\nmedian {figures['median']:.1f}"
    right.set_xticks(range(1, 5), labels)
    right.set(title="Pixel error per landmark", ylabel="pixel error (px at 256×256)")
    right.set_ylim(0, None)
    right.grid(axis="y", alpha=0.3)
    return picture
