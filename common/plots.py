"""Every picture that the scripts draw. No display is needed."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from common.biometry import MAX_MIDPOINT_DISTANCE, MIN_ANGLE, MIN_RATIO, within_limits
from common.evaluation import Predictions
from common.figures import error_figures
from common.files import write_file
from common.ground_truth import LANDMARK_NAMES
from common.images import IMAGE_SIZE, LandmarkImages

if TYPE_CHECKING:  # matplotlib takes a second to import, and --help needs none of it
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

OFD_COLOR, BPD_COLOR = "#ffb000", "#00c8ff"  # told apart by colour-blind readers too
COLORS = (OFD_COLOR, OFD_COLOR, BPD_COLOR, BPD_COLOR)
# OFD-1 points up, OFD-2 down, BPD-1 left, BPD-2 right: as filled triangles in the ground truth,
# as three-pointed stars in a prediction. A second reader's are rings.
MARKERS = {"ground truth": "^v<>", "predicted": "2134", "second reader": "oooo"}
LINES = {"ground truth": ":", "second reader": "--"}  # between the ends of a diameter
STYLES: dict[str, dict[str, Any]] = {
    "ground truth": {"markersize": 8, "markeredgecolor": "black"},
    "predicted": {"markersize": 14, "markeredgewidth": 2.5},
    "second reader": {"markersize": 9, "markeredgewidth": 1.5, "markerfacecolor": "none"},
}
REVIEW_COLOR = "crimson"
DPI = 120
MARGIN = 3  # % beside the curves, so that the frame cuts off no line and no star


def training_curves(history: dict[str, Any], path: str) -> None:
    """Draw by epoch the losses, the share of validation landmarks within 10 px, and the learning
    rate, the best epoch marked. history: that of checkpoint.begin."""
    epochs = np.arange(1, len(history["train_losses"]) + 1)
    within = 100 * np.array(history["val_within_10_px"])
    figure = new_figure(18, 5)
    left, middle, right = axes = figure.subplots(1, 3)
    left.plot(epochs, history["train_losses"], ".-", label="training")
    left.plot(epochs, history["val_losses"], ".-", label="validation")
    left.set(title="Loss", ylabel="loss (log scale)", yscale="log")
    middle.plot(epochs, within, ".-", color="tab:orange", label="validation")
    middle.set(title="Landmarks within 10 px", ylabel="%", ylim=(-MARGIN, 100 + MARGIN))
    right.plot(epochs, history["learning_rates"], ".-", color="tab:green")
    highest = max(history["learning_rates"]) / 100
    right.set(title="Learning rate", ylabel="learning rate", ylim=(-MARGIN * highest, None))
    best = int(np.argmin(history["val_losses"]))
    best_loss, name = history["val_losses"][best], f"in epoch {epochs[best]}"
    left.plot(epochs[best], best_loss, "k*", ms=11, label=f"best: {best_loss:.5f} {name}")
    middle.plot(epochs[best], within[best], "k*", ms=11, label=f"{within[best]:.1f} % {name}")
    last = max(len(epochs), 2)
    margin = max(0.5, MARGIN / 100 * last)
    for axis in axes:
        axis.set(xlabel="epoch", xlim=(1 - margin, last + margin))
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
    left.legend()
    middle.legend()
    save(figure, path)


def augmentation_examples(data: LandmarkImages, augment: Callable, seed: int, path: str) -> None:
    """Draw eight augmented versions of the first image with its landmarks."""
    device = data.images.device
    eight_times = data.batch(torch.zeros(8, dtype=torch.long, device=device))
    changed = augment(*eight_times, torch.Generator(device).manual_seed(seed))
    images, landmarks = (part.cpu() for part in changed)
    figure = new_figure(16, 9)
    figure.suptitle("Augmented versions of one training image")
    for number, axis in enumerate(figure.subplots(2, 4).flat):
        _show_image(axis, images[number])
        _mark(axis, landmarks[number], "ground truth")
        axis.set_title(f"version {number + 1}")
    _add_legend(figure, figure.axes)
    save(figure, path)


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


def predictions(
    data: LandmarkImages,
    predictions: Predictions,
    flagged: np.ndarray,
    path: str,
    second: np.ndarray | None = None,
) -> None:
    """Draw six images, evenly spaced over the data, a row each: ground truth, prediction, and both;
    or, where nothing is annotated, image and prediction. A PDF has all images, six a page, with
    both. Images that are flagged for review, bool [N], get a red frame.

    second: a second reader's landmarks [N, 4, 2] in px of the original images, if there are any.
    """

    def case(index: int) -> _Case:
        return _case(data, predictions, flagged, second, index)

    if path.lower().endswith(".pdf"):
        write_file(path, _predictions_pdf(case, len(data)))
        return
    chosen = np.unique(np.linspace(0, len(data) - 1, 6).round().astype(int))
    columns = 3 if np.isfinite(predictions.errors).any() else 2
    figure = new_figure(4 * columns, 4.25 * len(chosen))
    rows = figure.subplots(len(chosen), columns, squeeze=False)
    for axes, index in zip(rows, chosen):
        if columns == 3:
            _draw_three_panels(axes, case(index))
        else:
            _draw_two_panels(axes, case(index))
    _add_legend(figure, rows.flat)
    save(figure, path)


def _predictions_pdf(case: Callable[[int], _Case], count: int) -> bytes:
    """A PDF of all images, six a page, each in one panel."""
    from matplotlib.backends.backend_pdf import PdfPages

    pdf = io.BytesIO()
    with PdfPages(pdf) as pages:  # it keeps the pixels of all pages until its end, so they are few
        for start in tqdm(range(0, count, 6), "Drawing", leave=False, unit="page"):
            figure = new_figure(8, 12.75)
            axes = list(figure.subplots(3, 2).flat)
            for axis, index in zip(axes, range(start, start + 6)):
                if index < count:
                    _draw_one_panel(axis, case(index))
                else:
                    axis.set_axis_off()
            _add_legend(figure, axes)
            pages.savefig(figure, dpi=72)
    return pdf.getvalue()


def _case(
    data: LandmarkImages,
    predictions: Predictions,
    flagged: np.ndarray,
    second: np.ndarray | None,
    index: int,
) -> _Case:
    """What is drawn of the image of this index."""
    one = slice(index, index + 1)
    (image,), (annotated,) = (part.cpu() for part in data.batch(one))
    known = predictions.errors[index][np.isfinite(predictions.errors[index])]
    return _Case(
        name=shorten(data.names[index]),
        image=image,
        annotated=annotated.numpy(),
        predicted=data[one].to_256(predictions.predicted[one])[0],
        second=np.full((4, 2), np.nan) if second is None else data[one].to_256(second[one])[0],
        error=f"mean error {known.mean():.1f} px" if known.size else "not annotated",
        is_flagged=bool(flagged[index]),
    )


def _draw_three_panels(axes: np.ndarray, case: _Case) -> None:
    """The ground truth, the prediction, and both."""
    left, middle, right = axes
    for axis in axes:
        _show_image(axis, case.image)
    left.set_title(f"{case.name}: ground truth", parse_math=False)
    middle.set_title("prediction")
    right.set_title(f"overlay, {case.error}")
    _mark(left, case.annotated, "ground truth")
    _mark(middle, case.predicted, "predicted")
    _mark_all(right, case)
    if case.is_flagged:
        _frame(axes, titled=middle)


def _draw_two_panels(axes: np.ndarray, case: _Case) -> None:
    """The image without and with the prediction."""
    left, right = axes
    for axis in axes:
        _show_image(axis, case.image)
    left.set_title(case.name, parse_math=False)
    right.set_title("prediction")
    _mark_all(right, case)
    if case.is_flagged:
        _frame(axes, titled=right)


def _draw_one_panel(axis: Axes, case: _Case) -> None:
    """The image with all that is known of it."""
    _show_image(axis, case.image)
    axis.set_title(f"{case.name}\n{case.error}", parse_math=False)
    _mark_all(axis, case)
    if case.is_flagged:
        _frame([axis], titled=axis)


def _mark_all(axis: Axes, case: _Case) -> None:
    """Mark what was annotated and what was found, and join the two of each landmark by a line."""
    _mark(axis, case.annotated, "ground truth")
    _mark(axis, case.predicted, "predicted")
    _mark(axis, case.second, "second reader")
    for color, *pair in zip(COLORS, case.annotated, case.predicted):
        axis.plot(*np.transpose(pair), "-", color=color, linewidth=1)


def _frame(axes: Iterable[Axes], titled: Axes) -> None:
    """Say in the title of one of the panels that the image is to be reviewed; frame all in red."""
    title = f"{titled.get_title()}: TO BE REVIEWED"
    titled.set_title(title, color=REVIEW_COLOR, weight="bold", parse_math=False)
    for axis in axes:
        axis.spines[:].set(color=REVIEW_COLOR, linewidth=4)


def error_distribution(errors: np.ndarray, path: str) -> None:
    """Draw the histogram of all pixel errors and a box plot per landmark. errors: [N, 4] in px, NaN
    where they are not known."""
    is_known = np.isfinite(errors)
    known, figures = errors[is_known], error_figures(errors)
    figure = new_figure(14, 5)
    left, right = figure.subplots(1, 2)
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
    save(figure, path)


def audit_picture(
    table: pd.DataFrame,
    shares: tuple[np.ndarray, np.ndarray] | None,
    data: LandmarkImages,
    worst: pd.Index,
    path: str,
    second: np.ndarray | None = None,
) -> None:
    """Draw the three measures of an audit_table with their limits, its plausible_shares along the
    rows (None: too few rows), and the worst images, by their indices, nine at most, with the
    landmarks of one or both readers. second: those of the second reader [N, 4, 2], in px of the
    original images."""
    figure = new_figure(18, 17)
    top, bottom = figure.subfigures(2, 1, height_ratios=(1, 3))
    count, plausible = table["plausible"].count(), table["plausible"].sum()
    figure.suptitle(f"Audit of {count} annotations: {plausible} plausible", fontsize=16)
    _draw_audit_measures(top.subplots(1, 4), table, shares)
    bottom.suptitle("The least plausible" if len(worst) else "None is implausible")
    grid = list(bottom.subplots(3, 3).flat)
    for axis in grid[len(worst) :]:
        axis.set_axis_off()
    for axis, index in zip(grid, worst):
        one = slice(index, index + 1)
        (image,), (landmarks,) = (part.cpu() for part in data.batch(one))
        _show_image(axis, image)
        width, height = data.sizes[index]
        axis.set_aspect(height / width)  # as the original, of which these are the pixels
        _mark(axis, landmarks, "ground truth")
        if second is not None:
            _mark(axis, data[one].to_256(second[one])[0], "second reader")
        row = table.loc[index]
        measures = f"{row['angle']:.0f}°, midpoints {row['midpoint_distance']:.2f}"
        title = f"{shorten(data.names[index])}\n{measures}, ratio {row['ratio']:.2f}"
        axis.set_title(title, parse_math=False)
    _add_legend(bottom, grid)
    save(figure, path)


def _draw_audit_measures(
    axes: np.ndarray, table: pd.DataFrame, shares: tuple[np.ndarray, np.ndarray] | None
) -> None:
    """Draw how the three measures are distributed, and the plausible shares along the rows."""
    angle, midpoint_distance, ratio, along_the_rows = axes
    _draw_audit_measure(angle, table, "angle", MIN_ANGLE, end=90)
    _draw_audit_measure(midpoint_distance, table, "midpoint_distance", MAX_MIDPOINT_DISTANCE, 1)
    _draw_audit_measure(ratio, table, "ratio", MIN_RATIO, end=1)
    angle.set(xlabel="angle between the diameters (°)", ylabel="images")
    label = "distance of their midpoints / longer one (last bar: and more)"
    midpoint_distance.set(xlabel=label, ylabel="images")
    ratio.set(xlabel="shorter / longer one", ylabel="images")
    if shares is None:
        along_the_rows.set_axis_off()
    else:
        _draw_shares(along_the_rows, *shares)


def _draw_shares(axis: Axes, bounds: np.ndarray, heights: np.ndarray) -> None:
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


def _draw_audit_measure(
    axis: Axes, table: pd.DataFrame, measure: str, limit: float, end: float
) -> None:
    """Draw how a measure is distributed, and its limit."""
    is_known = table[measure].notna()
    values, passed = table[measure][is_known], within_limits(table)[measure][is_known]
    shown, edges = values.clip(upper=end), np.linspace(0, end, 46)  # one edge is the limit
    colors = ["0.65", REVIEW_COLOR]
    axis.hist([shown[passed], shown[~passed]], edges, stacked=True, color=colors, edgecolor="white")
    axis.axvline(limit, color="black", linestyle="--", label=f"limit {limit:g}")
    side = "below" if measure == "midpoint_distance" else "above"
    axis.set(title=f"{passed.sum()} of {len(values)} {side} {limit:g}", xlim=(0, end))
    axis.yaxis.get_major_locator().set_params(integer=True)
    axis.legend()


def shorten(name: str) -> str:
    """Return a name without its middle if it has more than 40 characters: it would run into the
    next picture's."""
    return name if len(name) <= 40 else f"{name[:19]}…{name[-20:]}"


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of this size, in inches, drawn with matplotlib's own settings."""
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcdefaults()  # the user's own settings may need LaTeX
    warnings.filterwarnings("ignore", "Glyph")  # its font lacks the letters of many names
    return Figure(figsize=(width, height), layout="constrained")


def _show_image(axis: Axes, image: Tensor) -> None:
    """Show a float [3, H, W] image in [0, 1], whole, without ticks."""
    axis.imshow(image.permute(1, 2, 0).numpy())
    axis.set(xticks=[], yticks=[], xlim=(-0.5, IMAGE_SIZE - 0.5), ylim=(IMAGE_SIZE - 0.5, -0.5))


def _mark(axis: Axes, landmarks: Tensor | np.ndarray, kind: str) -> None:
    """Mark those of the landmarks [4, 2] that are known, annotated diameters with the line between
    their ends."""
    points = np.asarray(landmarks)
    if np.isnan(points).all():
        return
    for i in (0, 2) if kind in LINES else ():
        axis.plot(*points[i : i + 2].T, LINES[kind], color=COLORS[i], linewidth=1)
    for name, color, marker, point in zip(LANDMARK_NAMES, COLORS, MARKERS[kind], points):
        style = {"color": color, "label": f"{name} {kind}", "linestyle": "none"}
        axis.plot(*point, marker, **style, **STYLES[kind])


def _add_legend(figure: Figure | SubFigure, axes: Iterable[Axes]) -> None:
    """One legend below for what is labelled on some axes, each label once."""
    handles = {h.get_label(): h for axis in axes for h in axis.get_legend_handles_labels()[0]}
    place, columns = "outside lower center", 3 if len(handles) > 8 else 4
    figure.legend(handles.values(), handles.keys(), loc=place, ncols=columns, facecolor="0.75")


def save(figure: Figure, path: str) -> None:
    """Write the figure in the format that the file's ending names; without one, PNG."""
    picture = io.BytesIO()
    figure.savefig(picture, dpi=DPI, format=os.path.splitext(path)[1][1:].lower() or "png")
    write_file(path, picture.getvalue())
