"""Every picture that the scripts draw. No display is needed."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from torch import Tensor

from common.augmentation import Augment
from common.biometry import MAX_MIDPOINT_DISTANCE, MIN_ANGLE, MIN_RATIO
from common.files import write_file
from common.ground_truth import LANDMARK_NAMES, landmark_values
from common.images import IMAGE_SIZE, LandmarkImages

PICTURE_FORMATS = sorted(set(Figure().canvas.get_supported_filetypes()) - {"pgf"})  # needs LaTeX
OFD_COLOR, BPD_COLOR = "#ffb000", "#00c8ff"  # told apart by colour-blind readers too
COLORS = (OFD_COLOR, OFD_COLOR, BPD_COLOR, BPD_COLOR)
# OFD-1 points up, OFD-2 down, BPD-1 left, BPD-2 right: as filled triangles in the ground truth,
# as three-pointed stars in a prediction.
GROUND_TRUTH_MARKERS = ("^", "v", "<", ">")
PREDICTED_MARKERS = ("2", "1", "3", "4")
REVIEW_COLOR = "crimson"
DPI = 120


def training_curves(history: dict[str, Any], path: str) -> None:
    """Draw training and validation loss by epoch, the best epoch marked, and the learning rate.

    history: `train_losses`, `val_losses` and `learning_rates`, one value per epoch.
    """
    epochs = np.arange(1, len(history["train_losses"]) + 1)
    best = int(np.argmin(history["val_losses"]))
    best_loss = history["val_losses"][best]
    figure = Figure(figsize=(14, 5), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(epochs, history["train_losses"], marker=".", label="training")
    left.plot(epochs, history["val_losses"], marker=".", label="validation")
    label = f"best: {best_loss:.5f} in epoch {epochs[best]}"
    left.plot(epochs[best], best_loss, "k*", markersize=11, label=label)
    left.set(title="Loss", ylabel="loss (log scale)", yscale="log")
    left.legend()
    right.plot(epochs, history["learning_rates"], marker=".", color="tab:green")
    right.set(title="Learning rate", ylabel="learning rate", ylim=(0, None))
    for axis in (left, right):
        axis.set(xlabel="epoch", xlim=(0.5, max(len(epochs), 2) + 0.5))
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
    _save(figure, path)


def augmentation_examples(
    data: LandmarkImages,
    augment: Augment,
    seed: int,
    path: str,
) -> None:
    """Draw eight augmented versions of the first image, landmarks marked and named."""
    device = data.images.device
    eight_times = data.batch(torch.zeros(8, dtype=torch.long, device=device))
    images, landmarks = augment(*eight_times, torch.Generator(device).manual_seed(seed))
    figure = Figure(figsize=(16, 8.6), layout="constrained")
    for number, axis in enumerate(figure.subplots(2, 4).flat):
        _show_image(axis, images[number])
        _mark_ground_truth(axis, landmarks[number])
        for name, color, (x, y) in zip(LANDMARK_NAMES, COLORS, landmarks[number].tolist()):
            axis.annotate(
                name,
                (min(max(x, 24), IMAGE_SIZE - 24), min(max(y, 12), IMAGE_SIZE - 12)),
                xytext=(0, 9),
                textcoords="offset points",
                ha="center",
                color=color,
                weight="bold",
            )
        axis.set_title(f"version {number + 1}")
    figure.suptitle("Augmented versions of one training image")
    _save(figure, path)


def predictions(data: LandmarkImages, table: pd.DataFrame, path: str) -> None:
    """Draw six images, evenly spaced over the data: ground truth, prediction, both with the error.

    table: the prediction_table of data. Images that are flagged for review get a red frame.
    """
    predicted = landmark_values(table, "pred_x", "pred_y") * IMAGE_SIZE / data.sizes[:, None, :]
    mean_errors = landmark_values(table, "error_px256").mean(axis=(1, 2))
    chosen = np.unique(np.linspace(0, len(data) - 1, 6).round().astype(int))
    figure = Figure(figsize=(12, 4.25 * len(chosen)), layout="constrained")
    grid = figure.subplots(len(chosen), 3, squeeze=False)
    for axes, index in zip(grid, chosen):
        (image,), (landmarks,) = data.batch(slice(index, index + 1))
        for axis in axes:
            _show_image(axis, image)
        _mark_ground_truth(axes[0], landmarks)
        _mark_predicted(axes[1], predicted[index])
        _mark_ground_truth(axes[2], landmarks)
        _mark_predicted(axes[2], predicted[index])
        for color, start, end in zip(COLORS, landmarks.cpu(), predicted[index]):
            axes[2].plot([start[0], end[0]], [start[1], end[1]], "-", color=color, linewidth=1)
        axes[0].set_title(f"{data.names[index]}: ground truth", parse_math=False)
        axes[1].set_title("prediction")
        axes[2].set_title(f"overlay, mean error {mean_errors[index]:.1f} px")
        if table["review"].iloc[index]:
            axes[1].set_title("prediction: TO BE REVIEWED", color=REVIEW_COLOR, weight="bold")
            for axis in axes:
                axis.spines[:].set(color=REVIEW_COLOR, linewidth=4)
    _add_legend(figure, grid[0])
    _save(figure, path)


def error_distribution(errors: np.ndarray, path: str) -> None:
    """Draw the histogram of all pixel errors and a box plot per landmark. errors: [N, 4] in px."""
    figure = Figure(figsize=(14, 5), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.hist(errors.ravel(), bins=40, color="0.6", edgecolor="white")
    for value, name, style in (
        (errors.mean(), "mean", "-"),
        (np.median(errors), "median", "--"),
    ):
        left.axvline(value, color="crimson", linestyle=style, label=f"{name} {value:.2f} px")
    left.set(
        title=f"Pixel errors of {errors.size} landmarks on {len(errors)} images",
        xlabel="pixel error (px at 256×256)",
        ylabel="landmarks",
        xlim=(0, None),
    )
    left.yaxis.get_major_locator().set_params(integer=True)
    left.legend()

    boxes = right.boxplot(list(errors.T), patch_artist=True, medianprops={"color": "black"})
    for box, color in zip(boxes["boxes"], COLORS):
        box.set_facecolor(color)
    labels = [
        f"{name}\nmean {e.mean():.1f}\nmedian {np.median(e):.1f}"
        for name, e in zip(LANDMARK_NAMES, errors.T)
    ]
    right.set_xticks(range(1, len(labels) + 1), labels)
    right.set(
        title="Pixel error per landmark", ylabel="pixel error (px at 256×256)", ylim=(0, None)
    )
    right.grid(axis="y", alpha=0.3)
    _save(figure, path)


def audit(table: pd.DataFrame, data: LandmarkImages, worst: np.ndarray, path: str) -> None:
    """Draw the three measures of an audit with their limits, and some images with their landmarks.

    table: an audit_table, one row per image of data. worst: the indices of nine of them at most.
    """
    figure = Figure(figsize=(15, 16), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=(1, 3))
    measures = (
        ("angle", "angle between the diameters (°)", MIN_ANGLE, "above", 90),
        (
            "midpoint_distance",
            "distance of their midpoints / longer one (last bar: and more)",
            MAX_MIDPOINT_DISTANCE,
            "below",
            1,
        ),
        ("ratio", "shorter / longer one", MIN_RATIO, "above", 1),
    )
    for axis, (column, label, limit, side, end) in zip(top.subplots(1, 3), measures):
        values = table[column].dropna()
        passed = values > limit if side == "above" else values < limit
        shown = values.clip(upper=end)
        axis.hist(
            [shown[passed], shown[~passed]],
            np.linspace(0, end, 46),  # each limit is the edge of a bar
            stacked=True,
            color=["0.65", REVIEW_COLOR],
            edgecolor="white",
        )
        axis.axvline(limit, color="black", linestyle="--", label=f"limit {limit:g}")
        axis.set(title=f"{passed.sum()} of {len(table)} {side} {limit:g}", xlabel=label)
        axis.set(ylabel="images", xlim=(0, end))
        axis.legend()
    figure.suptitle(
        f"Audit of {len(table)} annotations: {table['plausible'].sum()} plausible", fontsize=16
    )

    bottom.suptitle("The least plausible")
    grid = bottom.subplots(3, 3)
    for axis in grid.flat:
        axis.set_axis_off()
    for axis, index in zip(grid.flat, worst):
        (image,), (landmarks,) = data.batch(slice(index, index + 1))
        row = table.iloc[index]
        axis.set_axis_on()
        _show_image(axis, image)
        width, height = data.sizes[index]
        axis.set_aspect(height / width)  # as the original, of which these are the pixels
        _mark_ground_truth(axis, landmarks)
        axis.set_title(
            f"{data.names[index]}\n{row['angle']:.0f}°, midpoints {row['midpoint_distance']:.2f}, "
            f"ratio {row['ratio']:.2f}",
            parse_math=False,
        )
    _add_legend(bottom, grid.flat[:1])
    _save(figure, path)


def picture_format(path: str) -> str:
    """The format that the ending of a file names; without one, PNG."""
    return Path(path).suffix[1:].lower() or "png"


def _show_image(axis: Axes, image: Tensor) -> None:
    """Show a float [3, H, W] image in [0, 1], whole, without ticks."""
    axis.imshow(image.permute(1, 2, 0).cpu().numpy())
    axis.set(xticks=[], yticks=[], xlim=(-0.5, IMAGE_SIZE - 0.5), ylim=(IMAGE_SIZE - 0.5, -0.5))


def _mark_ground_truth(axis: Axes, landmarks: Tensor) -> None:
    """Mark landmarks [4, 2] by filled triangles, OFD and BPD each with the line between."""
    points = landmarks.cpu().numpy()
    for pair in (slice(0, 2), slice(2, 4)):
        axis.plot(*points[pair].T, ":", color=COLORS[pair.start], linewidth=1)
    style = {"markersize": 8, "markeredgecolor": "black"}
    _mark(axis, points, GROUND_TRUTH_MARKERS, "ground truth", style)


def _mark_predicted(axis: Axes, points: np.ndarray) -> None:
    """Mark predicted landmarks [4, 2] by three-pointed stars."""
    style = {"markersize": 14, "markeredgewidth": 2.5}
    _mark(axis, points, PREDICTED_MARKERS, "predicted", style)


def _mark(
    axis: Axes, points: np.ndarray, markers: Iterable[str], kind: str, style: dict[str, Any]
) -> None:
    for name, color, marker, point in zip(LANDMARK_NAMES, COLORS, markers, points):
        label = f"{name} {kind}"
        axis.plot(*point, marker, color=color, label=label, linestyle="none", **style)


def _add_legend(figure: Figure | SubFigure, axes: Iterable[Axes]) -> None:
    """One legend below for what is labelled on some axes, each label once."""
    handles = {h.get_label(): h for axis in axes for h in axis.get_legend_handles_labels()[0]}
    figure.legend(
        handles.values(), handles.keys(), loc="outside lower center", ncols=4, facecolor="0.75"
    )


def _save(figure: Figure, path: str) -> None:
    """Write the figure in the format that the file's ending names."""
    picture = io.BytesIO()
    figure.savefig(picture, dpi=DPI, format=picture_format(path))
    write_file(path, picture.getbuffer())
