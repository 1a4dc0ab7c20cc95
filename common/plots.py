"""Every picture that the scripts draw. No display is needed."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Callable

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from common.biometry import LIMITS, is_within
from common.files import write_file
from common.ground_truth import LANDMARK_NAMES, landmark_values
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


def training_curves(history: dict[str, Any], path: str) -> None:
    """Draw by epoch the losses, the share of validation landmarks within 10 px, and the learning
    rate, the best epoch marked. history: that of checkpoint.begin_or_resume."""
    epochs = np.arange(1, len(history["train_losses"]) + 1)
    within = 100 * np.array(history["val_within_10_px"])
    figure = _new_figure(18, 5)
    left, middle, right = axes = figure.subplots(1, 3)
    left.plot(epochs, history["train_losses"], ".-", label="training")
    left.plot(epochs, history["val_losses"], ".-", label="validation")
    left.set(title="Loss", ylabel="loss (log scale)", yscale="log")
    middle.plot(epochs, within, ".-", color="tab:orange", label="validation")
    middle.set(title="Landmarks within 10 px", ylabel="%", ylim=(0, 100))
    right.plot(epochs, history["learning_rates"], ".-", color="tab:green")
    right.set(title="Learning rate", ylabel="learning rate", ylim=(0, None))
    best = int(np.argmin(history["val_losses"]))
    best_loss, name = history["val_losses"][best], f"in epoch {epochs[best]}"
    left.plot(epochs[best], best_loss, "k*", ms=11, label=f"best: {best_loss:.5f} {name}")
    middle.plot(epochs[best], within[best], "k*", ms=11, label=f"{within[best]:.1f} % {name}")
    for axis in axes:
        axis.set(xlabel="epoch", xlim=(0.5, max(len(epochs), 2) + 0.5))
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
    left.legend()
    middle.legend()
    _save(figure, path)


def augmentation_examples(data: LandmarkImages, augment: Callable, seed: int, path: str) -> None:
    """Draw eight augmented versions of the first image with its landmarks."""
    device = data.images.device
    eight_times = data.batch(torch.zeros(8, dtype=torch.long, device=device))
    changed = augment(*eight_times, torch.Generator(device).manual_seed(seed))
    images, landmarks = (part.cpu() for part in changed)
    figure = _new_figure(16, 9)
    figure.suptitle("Augmented versions of one training image")
    for number, axis in enumerate(figure.subplots(2, 4).flat):
        _show_image(axis, images[number])
        _mark(axis, landmarks[number], "ground truth")
        axis.set_title(f"version {number + 1}")
    _add_legend(figure, figure.axes)
    _save(figure, path)


def predictions(data: LandmarkImages, table: pd.DataFrame, path: str) -> None:
    """Draw six images, evenly spaced over the data, a row each: ground truth, prediction, and both;
    or, where nothing is annotated, image and prediction. A PDF has all images, six a page, with
    both. table: the prediction_table of data."""
    if not path.lower().endswith(".pdf"):
        chosen = np.unique(np.linspace(0, len(data) - 1, 6).round().astype(int))
        columns = 3 if np.isfinite(landmark_values(table, "error_px256")).any() else 2
        _save(_prediction_page(data, table, chosen, (len(chosen), columns), columns), path)
        return
    from matplotlib.backends.backend_pdf import PdfPages

    pdf = io.BytesIO()
    with PdfPages(pdf) as pages:  # it keeps the pixels of all pages until its end, so they are few
        for start in tqdm(range(0, len(data), 6), "Drawing", leave=False, unit="page"):
            chosen = np.arange(start, min(start + 6, len(data)))
            pages.savefig(_prediction_page(data, table, chosen, (3, 2), 1), dpi=72)
    write_file(path, pdf.getvalue())


def _prediction_page(
    data: LandmarkImages, table: pd.DataFrame, chosen: np.ndarray, shape: tuple, columns: int
) -> Figure:
    """Draw some images, each in one to three columns of a figure of this shape, the last with all
    that is known. Images that are flagged for review get a red frame."""
    predicted = data.to_256(landmark_values(table, "pred_x", "pred_y"))
    second, errors = _second_reader(data, table), landmark_values(table, "error_px256")[..., 0]
    figure = _new_figure(4 * shape[1], 4.25 * shape[0])
    grid = figure.subplots(*shape, squeeze=False).reshape(-1, columns)
    for axis in grid[len(chosen) :].flat:
        axis.set_axis_off()
    for axes, index in zip(grid, chosen):
        (image,), (landmarks,) = (part.cpu() for part in data.batch(slice(index, index + 1)))
        name, known = _shorten(data.names[index]), errors[index][np.isfinite(errors[index])]
        error = f"mean error {known.mean():.1f} px" if known.size else "not annotated"
        titles = [f"{name}: ground truth", "prediction", f"overlay, {error}"]
        titles = {1: [f"{name}\n{error}"], 2: [name, "prediction"], 3: titles}[columns]
        for axis, title in zip(axes, titles):
            _show_image(axis, image)
            axis.set_title(title, parse_math=False)
        if columns == 3:
            _mark(axes[0], landmarks, "ground truth")
            _mark(axes[1], predicted[index], "predicted")
        _mark(axes[-1], landmarks, "ground truth")
        _mark(axes[-1], predicted[index], "predicted")
        _mark(axes[-1], second[index], "second reader")
        for color, *pair in zip(COLORS, landmarks, predicted[index]):
            axes[-1].plot(*np.transpose(pair), "-", color=color, linewidth=1)
        if table["review"].iloc[index]:
            title = f"{titles[:2][-1]}: TO BE REVIEWED"
            axes[:2][-1].set_title(title, color=REVIEW_COLOR, weight="bold", parse_math=False)
            for axis in axes:
                axis.spines[:].set(color=REVIEW_COLOR, linewidth=4)
    _add_legend(figure, grid.flat)
    return figure


def error_distribution(errors: np.ndarray, path: str) -> None:
    """Draw the histogram of all pixel errors and a box plot per landmark. errors: [N, 4] in px, NaN
    where they are not known."""
    known, images = errors[np.isfinite(errors)], np.isfinite(errors).any(axis=1)
    figure = _new_figure(14, 5)
    left, right = figure.subplots(1, 2)
    left.hist(known, bins=40, color="0.6", edgecolor="white")
    for value, name, style in ((known.mean(), "mean", "-"), (np.median(known), "median", "--")):
        left.axvline(value, color="crimson", linestyle=style, label=f"{name} {value:.2f} px")
    title = f"Pixel errors of {known.size} landmarks on {images.sum()} images"
    left.set(title=title, xlabel="pixel error (px at 256×256)", ylabel="landmarks", xlim=(0, None))
    left.yaxis.get_major_locator().set_params(integer=True)
    left.legend()

    by_landmark = [column[np.isfinite(column)] for column in errors.T]
    boxes = right.boxplot(by_landmark, patch_artist=True, medianprops={"color": "black"})
    labels = list(LANDMARK_NAMES)
    for i, values in enumerate(by_landmark):
        boxes["boxes"][i].set_facecolor(COLORS[i])
        if len(values):
            labels[i] += f"\nmean {values.mean():.1f}\nmedian {np.median(values):.1f}"
    right.set_xticks(range(1, 5), labels)
    right.set(title="Pixel error per landmark", ylabel="pixel error (px at 256×256)")
    right.set_ylim(0, None)
    right.grid(axis="y", alpha=0.3)
    _save(figure, path)


def audit_picture(
    table: pd.DataFrame, shares: tuple, data: LandmarkImages, worst: pd.Index, path: str
) -> None:
    """Draw the three measures of an audit_table with their limits, its plausible_shares along the
    rows, and the worst images, by their indices, nine at most, with the landmarks of one or both
    readers."""
    figure = _new_figure(18, 17)
    top, bottom = figure.subfigures(2, 1, height_ratios=(1, 3))
    count, plausible = table["plausible"].count(), table["plausible"].sum()
    figure.suptitle(f"Audit of {count} annotations: {plausible} plausible", fontsize=16)
    *axes, last = top.subplots(1, 4)
    labels = {
        "angle": "angle between the diameters (°)",
        "midpoint_distance": "distance of their midpoints / longer one (last bar: and more)",
        "ratio": "shorter / longer one",
    }
    for axis, (measure, label) in zip(axes, labels.items()):
        _audit_measure(axis, measure, table[measure].dropna())
        axis.set(xlabel=label, ylabel="images")
    bounds, heights = shares
    last.stairs(100 * heights, bounds, fill=True, color="0.65")
    last.set(title="Plausible annotations along the rows", xlabel="row", ylabel="%")
    last.set(xlim=(0, bounds[-1]), ylim=(0, 100))

    bottom.suptitle("The least plausible" if len(worst) else "None is implausible")
    grid, second = bottom.subplots(3, 3).flat, _second_reader(data, table)
    for axis in grid[len(worst) :]:
        axis.set_axis_off()
    for axis, index in zip(grid, worst):
        (image,), (landmarks,) = (part.cpu() for part in data.batch(slice(index, index + 1)))
        _show_image(axis, image)
        width, height = data.sizes[index]
        axis.set_aspect(height / width)  # as the original, of which these are the pixels
        _mark(axis, landmarks, "ground truth")
        _mark(axis, second[index], "second reader")
        angle, distance, ratio = table.loc[index, list(LIMITS)]
        measures = f"{angle:.0f}°, midpoints {distance:.2f}, ratio {ratio:.2f}"
        axis.set_title(f"{_shorten(data.names[index])}\n{measures}", parse_math=False)
    _add_legend(bottom, grid)
    _save(figure, path)


def _audit_measure(axis: Axes, measure: str, values: pd.Series) -> None:
    """Draw how a measure is distributed, and its limit."""
    (side, limit), end = LIMITS[measure], 90 if measure == "angle" else 1
    passed, shown = is_within(measure, values), values.clip(upper=end)
    parts, edges = [shown[passed], shown[~passed]], np.linspace(0, end, 46)  # one is the limit
    axis.hist(parts, edges, stacked=True, color=["0.65", REVIEW_COLOR], edgecolor="white")
    axis.axvline(limit, color="black", linestyle="--", label=f"limit {limit:g}")
    axis.set(title=f"{passed.sum()} of {len(values)} {side} {limit:g}", xlim=(0, end))
    axis.yaxis.get_major_locator().set_params(integer=True)
    axis.legend()


def _shorten(name: str) -> str:
    """Long names would run into the next picture's."""
    return name if len(name) <= 40 else f"{name[:19]}…{name[-20:]}"


def _new_figure(width: float, height: float) -> Figure:
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcdefaults()  # the user's own settings may need LaTeX
    warnings.filterwarnings("ignore", "Glyph")  # its font lacks the letters of many names
    return Figure(figsize=(width, height), layout="constrained")


def _show_image(axis: Axes, image: Tensor) -> None:
    """Show a float [3, H, W] image in [0, 1], whole, without ticks."""
    axis.imshow(image.permute(1, 2, 0).numpy())
    axis.set(xticks=[], yticks=[], xlim=(-0.5, IMAGE_SIZE - 0.5), ylim=(IMAGE_SIZE - 0.5, -0.5))


def _second_reader(data: LandmarkImages, table: pd.DataFrame) -> np.ndarray:
    """Return the second reader's landmarks [N, 4, 2] in px at 256×256, NaN where there are none."""
    if "ofd_1_second_x" not in table:
        return np.full((len(data), 4, 2), np.nan)
    return data.to_256(landmark_values(table, "second_x", "second_y"))


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


def _save(figure: Figure, path: str) -> None:
    """Write the figure in the format that the file's ending names; without one, PNG."""
    picture = io.BytesIO()
    figure.savefig(picture, dpi=DPI, format=os.path.splitext(path)[1][1:].lower() or "png")
    write_file(path, picture.getvalue())
