"""The pictures of a test: predictions beside what is annotated, and the distribution of errors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Callable

import numpy as np
from torch import Tensor
from tqdm import tqdm

from common.basics import drawing
from common.evaluation import Predictions
from common.ground_truth import LANDMARK_NAMES
from common.images import LandmarkImages


def draw_predictions(
    data: LandmarkImages,
    predictions: Predictions,
    flagged: np.ndarray,
    second: np.ndarray | None = None,
    all_images: bool = False,
) -> drawing.Figure | Iterator[drawing.Figure]:
    """Draw six images, evenly spaced over the data, a row each: ground truth, prediction, and both;
    or, where nothing is annotated, image and prediction. Or draw pages with all images, six a page,
    with both. Images that are flagged for review, bool [N], get a red frame.

    second: a second reader's landmarks [N, 4, 2] in px of the 256×256 image, if there are any.
    """
    landmarks = {"ground truth": predictions.annotated, "predicted": predictions.predicted}
    if second is not None:
        landmarks["second reader"] = second

    def draw(axes: Sequence[drawing.Axes], index: int) -> None:
        image = data.batch(slice(index, index + 1))[0][0].cpu()
        of_image = {kind: of_all[index] for kind, of_all in landmarks.items()}
        errors = predictions.errors[index]
        is_known = np.isfinite(errors)
        error = (
            f"mean error {errors[is_known].mean():.1f} px" if is_known.any() else "not annotated"
        )
        _draw_image(axes, drawing.shorten(predictions.names[index]), image, of_image, error)
        if flagged[index]:
            _frame(axes)

    if all_images:
        return _pages(draw, len(predictions))
    chosen = np.unique(np.linspace(0, len(predictions) - 1, 6).round().astype(int))
    columns = 3 if np.isfinite(predictions.errors).any() else 2
    picture = drawing.new_picture(4 * columns, 4.25 * len(chosen))
    rows = picture.subplots(len(chosen), columns, squeeze=False)
    for axes, index in zip(rows, chosen):
        draw(axes, index)
    drawing.add_legend(picture, rows.flat)
    return picture


def _pages(draw: Callable[..., None], count: int) -> Iterator[drawing.Figure]:
    """Yield pages with all images, six a page, each in one panel."""
    for start in tqdm(range(0, count, 6), "Drawing", leave=False, unit="page"):
        picture = drawing.new_picture(8, 12.75)
        axes = list(picture.subplots(3, 2).flat)
        for axis, index in zip(axes, range(start, start + 6)):
            if index < count:
                draw([axis], index)
            else:
                axis.set_axis_off()
        drawing.add_legend(picture, axes)
        yield picture


def _draw_image(
    axes: Sequence[drawing.Axes],
    name: str,
    image: Tensor,
    landmarks: dict[str, np.ndarray],
    error: str,
) -> None:
    """Draw an image with its landmarks by kind, [4, 2] each: in three panels the ground truth, the
    prediction, and all; in two, none and all; in one, all. The last one joins what was annotated
    and what was found of each landmark by a line."""
    everything = tuple(landmarks)
    panels = {
        1: [(f"{name}\n{error}", everything)],
        2: [(name, ()), ("prediction", everything)],
        3: [
            (f"{name}: ground truth", ("ground truth",)),
            ("prediction", ("predicted",)),
            (f"overlay, {error}", everything),
        ],
    }
    for axis, (title, kinds) in zip(axes, panels[len(axes)]):
        drawing.show_image(axis, image)
        axis.set_title(title, parse_math=False)
        for kind in kinds:
            drawing.mark_landmarks(axis, landmarks[kind], kind)
    for color, *pair in zip(drawing.COLORS, landmarks["ground truth"], landmarks["predicted"]):
        axes[-1].plot(*np.transpose(pair), "-", color=color, linewidth=1)


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
