"""The picture of a comparison of tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from common.comparison import Comparison
from common.figures import BANDS
from common.ground_truth import LANDMARK_NAMES
from common.plots import new_figure, save, shorten

if TYPE_CHECKING:  # matplotlib takes a second to import, and --help needs none of it
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

# Told apart by colour-blind readers too (Okabe & Ito 2008); the lines differ where there are more
# tests than colours.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
LINES = ("-", "--", "-.", ":")
MARKERS = "osv"  # of the comparisons on all images, on the plausible ones, by the second reader
SMALLEST = 0.5  # px: where the axis of the errors begins; a pixel of the 256×256 image is 1


def comparison_picture(
    compared: list[Comparison], histories: dict[str, dict[str, Any]], path: str
) -> None:
    """Draw the share of landmarks within x px, the errors by landmark and the differences of means;
    with histories, those of read_training, the losses and the share within 10 px by epoch."""
    errors = compared[0].errors
    styles = {
        name: {"color": COLORS[i % len(COLORS)], "linestyle": LINES[i // len(COLORS)]}
        for i, name in enumerate(errors)
    }
    heights = [6.5, 2 + 0.6 * len(compared[0].differences), *([5] if histories else [])]
    figure = new_figure(16, sum(heights))
    rows = figure.subfigures(len(heights), 1, height_ratios=heights)
    left, right = rows[0].subplots(1, 2)
    _shares_within(left, errors, styles)
    _errors_by_landmark(right, errors, styles)
    _add_legend(rows[0], left)
    middle = rows[1].subplots()
    _differences(middle, compared)
    _add_legend(rows[1], middle)
    if histories:
        left, right = rows[2].subplots(1, 2)
        _losses(left, histories, styles)
        _shares_by_epoch(right, histories, styles)
        _add_legend(rows[2], right)
    save(figure, path)


def _shares_within(axis: Axes, errors: dict[str, np.ndarray], styles: dict[str, dict]) -> None:
    """Draw for every x the share of landmarks with an error of at most x px."""
    largest = max(SMALLEST, *(np.nanmax(values) for values in errors.values()))
    for name, values in errors.items():
        known = np.sort(values[np.isfinite(values)])
        shares = 100 * np.arange(1, len(known) + 1) / len(known)
        # From the left edge, where those that are smaller count, to the right one.
        x = [SMALLEST, *np.maximum(known, SMALLEST), largest]
        axis.step(x, [0, *shares, 100], where="post", label=shorten(name), **styles[name])
    for limit in BANDS:
        axis.axvline(limit, color="0.5", linewidth=0.8, linestyle=":")
        axis.annotate(f"{limit} px", (limit, 2), color="0.3", rotation=90, ha="right")
    axis.set(xscale="log", xlim=(SMALLEST, max(largest, 2 * BANDS[-1])), ylim=(0, 100))
    axis.xaxis.set_major_formatter("{x:g}")
    axis.set(title="Landmarks within x px", xlabel="x (px at 256×256)", ylabel="%")
    axis.grid(alpha=0.3)


def _errors_by_landmark(axis: Axes, errors: dict[str, np.ndarray], styles: dict[str, dict]) -> None:
    """Draw box plots of the tests side by side, for each landmark."""
    width = 0.8 / len(errors)
    for i, (name, values) in enumerate(errors.items()):
        by_landmark = [column[np.isfinite(column)] for column in values.T]
        positions = np.arange(4) + (i - (len(errors) - 1) / 2) * width
        boxes = axis.boxplot(
            [np.maximum(known, SMALLEST) for known in by_landmark],
            positions=positions,
            widths=0.85 * width,
            patch_artist=True,
            medianprops={"color": "black"},
            flierprops={"marker": ".", "markersize": 3, "markeredgecolor": "0.4"},
        )
        for box in boxes["boxes"]:
            box.set_facecolor(styles[name]["color"])
            box.set_alpha(0.7)
    axis.set_xticks(range(4), LANDMARK_NAMES)
    axis.set(title="Pixel error per landmark", yscale="log")
    axis.set_ylabel(f"pixel error (px at 256×256; from {SMALLEST:g} px on)")
    axis.set_ylim(SMALLEST, None)
    axis.yaxis.set_major_formatter("{x:g}")
    axis.grid(axis="y", alpha=0.3)


def _differences(axis: Axes, compared: list[Comparison]) -> None:
    """Draw the difference of means of each pair, with its 95 % interval, for each comparison."""
    for number, (each, marker) in enumerate(zip(compared, MARKERS)):
        pairs = each.differences
        y = np.arange(len(pairs)) + 0.2 * (number - (len(compared) - 1) / 2)
        ends = pairs[["low", "high"]].to_numpy().T
        widths = np.abs(ends - pairs["difference"].to_numpy())  # NaN where there are no intervals
        axis.errorbar(
            pairs["difference"],
            y,
            xerr=np.nan_to_num(widths),
            fmt=marker,
            capsize=3,
            color=str(0.25 * number),
            label=each.title or "All images",
        )
    pairs = compared[0].differences
    labels = [f"{shorten(p.first)}\nless {shorten(p.second)}" for p in pairs.itertuples()]
    axis.set_yticks(range(len(pairs)), labels, parse_math=False)
    axis.set_ylim(len(pairs) - 0.4, -0.6)  # the first pair on top
    axis.axvline(0, color="black", linewidth=0.8)
    axis.set_xlabel("difference of means (px at 256×256); below 0, the first one is better")
    intervals = ", with 95 % intervals" if pairs["low"].notna().all() else ""
    axis.set_title(f"Differences, paired by image{intervals}")
    axis.grid(axis="x", alpha=0.3)


def _losses(axis: Axes, histories: dict[str, dict], styles: dict[str, dict]) -> None:
    """Draw the losses by epoch: training thin, validation thick."""
    for name, history in histories.items():
        for split, width in (("train", 0.8), ("val", 2)):
            losses = history[f"{split}_losses"]
            epochs = np.arange(1, len(losses) + 1)
            axis.plot(epochs, losses, linewidth=width, **styles[name])
    axis.set(title="Loss: training (thin) and validation (thick)", yscale="log", xlabel="epoch")
    axis.set_ylabel("loss (log scale; different criteria are not comparable)")
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.grid(alpha=0.3)


def _shares_by_epoch(axis: Axes, histories: dict[str, dict], styles: dict[str, dict]) -> None:
    """Draw the share of validation landmarks within 10 px by epoch."""
    for name, history in histories.items():
        within = 100 * np.array(history["val_within_10_px"])
        epochs = np.arange(1, len(within) + 1)
        axis.plot(epochs, within, label=shorten(name), **styles[name])
    axis.set(title="Validation landmarks within 10 px", ylabel="%", xlabel="epoch")
    axis.set_ylim(-3, 103)  # lines at 0 and 100 % are not hidden by the frame
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.grid(alpha=0.3)


def _add_legend(figure: SubFigure, axis: Axes) -> None:
    """Add a legend of what is labelled on an axis below the figure, names as they are: $x$ is not
    read as mathematics."""
    handles, labels = axis.get_legend_handles_labels()
    legend = figure.legend(handles, labels, loc="outside lower center", ncols=3)
    for text in legend.get_texts():
        text.set_parse_math(False)
