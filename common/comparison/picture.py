"""The picture of a comparison of tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from common.basics.pictures import new_picture, save_picture, shorten
from common.comparison.frame import LESS, PAIRS, Recipes
from common.comparison.tables import errors_of
from common.evaluation import BANDS
from common.ground_truth import LANDMARK_NAMES
from common.results.metrics import ERROR

if TYPE_CHECKING:  # matplotlib takes a second to import, and --help needs none of it
    from matplotlib.axes import Axes

# Told apart by colour-blind readers too (Okabe & Ito 2008); lines and boxes differ otherwise where
# there are more recipes than colours.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
LINES, HATCHES = ("-", "--", "-.", ":"), ("", "//", "..", "xx")
MARKERS = "osv^"  # of the groups of images, and of the ways to judge
SMALLEST = 0.5  # px: where the axis of the errors begins; a pixel of the 256×256 image is 1
THIN, THICK = 0.8, 2
NARROWER = 0.6  # of several trainings of one recipe, whose lines cross

Trainings = dict[str, list[dict[str, Any]]]  # those of read_training by the name of the recipe
Styles = dict[str, dict[str, Any]]


def draw_comparison(frame: pd.DataFrame, recipes: Recipes, trainings: Trainings, path: str) -> None:
    """Draw the share of landmarks within x px, the errors by landmark and the differences of means
    of a comparison; with trainings, the losses and the share within 10 px by epoch. A recipe has
    one colour; where it has several trainings, these are thin lines."""
    errors = {name: [errors_of(t, ERROR) for t in tables] for name, tables in recipes.items()}
    pairs = frame[frame["figure"].str.startswith(LESS)]
    per_group = len(pairs) // max(pairs["images"].nunique(), 1)
    heights = [6.5]
    if len(pairs):
        heights.append(2 + 0.7 * per_group)
    if trainings:
        heights.append(5)
    picture = new_picture(16, sum(heights))
    parts = iter(np.atleast_1d(picture.subfigures(len(heights), 1, height_ratios=heights)))

    part = next(parts)
    left, right = part.subplots(1, 2)
    labels, styles = _labels(list(recipes)), _styles(list(recipes))
    _draw_shares(left, errors, labels, styles)
    _draw_boxes(right, errors, styles)
    _add_legend(part, left)
    if len(pairs):
        part = next(parts)
        axis = part.subplots()
        _draw_differences(axis, frame, labels)
        _add_legend(part, axis)
    if trainings:
        part = next(parts)
        left, right = part.subplots(1, 2)
        _draw_losses(left, trainings, styles)
        _draw_shares_by_epoch(right, trainings, labels, styles)
        _add_legend(part, right)
    save_picture(picture, path)


def _labels(names: list[str]) -> dict[str, str]:
    """Return what each recipe is called in the picture: without the middle of a long name, but
    never the same twice."""
    short = {name: shorten(name) for name in names}
    values = list(short.values())
    # matplotlib leaves labels that begin with "_" out of a legend.
    return {
        name: f"{' ' if text.startswith('_') else ''}{text}"
        + (f" ({i + 1})" if values.count(text) > 1 else "")
        for i, (name, text) in enumerate(short.items())
    }


def _styles(names: list[str]) -> Styles:
    """Return the colour and the line of each recipe."""
    return {
        name: {"color": COLORS[i % len(COLORS)], "linestyle": LINES[i // len(COLORS) % len(LINES)]}
        for i, name in enumerate(names)
    }


def _draw_shares(
    axis: Axes, errors: dict[str, list[np.ndarray]], labels: dict[str, str], styles: Styles
) -> None:
    """Draw for every x the share of landmarks with an error of at most x px."""
    largest = max(SMALLEST, *(np.nanmax(of_one) for of_one in errors.values()))
    for name, trainings in errors.items():
        if len(trainings) > 1:
            for of_one in trainings:
                _draw_share(axis, of_one, largest, linewidth=THIN, alpha=0.6, **styles[name])
        style = {"linewidth": THICK, "label": labels[name], **styles[name]}
        _draw_share(axis, np.stack(trainings), largest, **style)
    for limit in BANDS:
        axis.axvline(limit, color="0.5", linewidth=0.8, linestyle=":")
        place = {"xycoords": ("data", "axes fraction"), "ha": "center", "va": "bottom"}
        axis.annotate(f"{limit} px", (limit, 1.0), color="0.3", fontsize=8, **place)
    axis.set(xscale="log", xlim=(SMALLEST, max(largest, 2 * BANDS[-1])), ylim=(0, 101))
    axis.xaxis.set_major_formatter("{x:g}")
    axis.set(xlabel="x (px at 256×256)", ylabel="%")
    are_several = any(len(trainings) > 1 for trainings in errors.values())
    thin = " (thin: each training of several)" if are_several else ""
    axis.set_title(f"Landmarks within x px{thin}", pad=14)
    axis.grid(alpha=0.3)


def _draw_share(axis: Axes, errors: np.ndarray, largest: float, **style: Any) -> None:
    """Draw one line, from the left edge, where those that are smaller count, to the right one."""
    known = np.sort(errors[np.isfinite(errors)])
    shares = 100 * np.arange(1, len(known) + 1) / len(known)
    x = [SMALLEST, *np.maximum(known, SMALLEST), largest]
    axis.step(x, [0, *shares, 100], where="post", **style)


def _draw_boxes(axis: Axes, errors: dict[str, list[np.ndarray]], styles: Styles) -> None:
    """Draw box plots of the recipes side by side, for each landmark."""
    width = 0.8 / len(errors)
    for i, (name, trainings) in enumerate(errors.items()):
        by_landmark = [column[np.isfinite(column)] for column in np.concatenate(trainings).T]
        boxes = axis.boxplot(
            [np.maximum(known, SMALLEST) for known in by_landmark],
            positions=np.arange(4) + (i - (len(errors) - 1) / 2) * width,
            widths=0.85 * width,
            patch_artist=True,
            medianprops={"color": "black"},
            flierprops={"marker": ".", "markersize": 3, "markeredgecolor": "0.4"},
        )
        for box in boxes["boxes"]:
            box.set(facecolor=styles[name]["color"], alpha=0.7, hatch=HATCHES[i // len(COLORS) % 4])
    axis.set_xticks(range(4), LANDMARK_NAMES)
    axis.set(yscale="log", ylim=(0.9 * SMALLEST, None))
    axis.set_title("Pixel error per landmark", pad=14)
    axis.set_ylabel(f"pixel error (px at 256×256; from {SMALLEST:g} px on)")
    axis.yaxis.set_major_formatter("{x:g}")
    axis.grid(axis="y", alpha=0.3)


def _draw_differences(axis: Axes, frame: pd.DataFrame, labels: dict[str, str]) -> None:
    """Draw the difference of means of each pair, with its 95 % interval, for each group."""
    pairs = frame[frame["figure"].str.startswith(LESS)]
    groups = list(pairs.groupby("images", sort=False))
    for number, ((images, rows), marker) in enumerate(zip(groups, MARKERS)):
        y = np.arange(len(rows)) + 0.18 * (number - (len(groups) - 1) / 2)
        widths = (rows[["low", "high"]].sub(rows["value"], axis=0)).abs()  # NaN: no interval
        axis.errorbar(
            rows["value"],
            y,
            xerr=widths.fillna(0).to_numpy().T,
            fmt=marker,
            capsize=3,
            color=str(0.2 * number),
            label=images + ("" if rows["low"].notna().all() else " (no intervals)"),
        )
    rows = groups[0][1]
    names = [f"{labels[r.test]}\nless {labels[r.figure[len(LESS) :]]}" for r in rows.itertuples()]
    axis.set_yticks(range(len(rows)), names, parse_math=False)
    axis.set_ylim(len(rows) - 0.4, -0.6)  # the first pair on top
    axis.axvline(0, color="black", linewidth=0.8)
    axis.set_xlabel("difference of means (px at 256×256); below 0, the first one is better")
    axis.set_title(f"Differences, paired by image{_describe_intervals(frame, pairs)}")
    axis.grid(axis="x", alpha=0.3)


def _describe_intervals(frame: pd.DataFrame, pairs: pd.DataFrame) -> str:
    """Say what the intervals of the differences cover; "" where there are none."""
    if pairs["low"].isna().all():
        return ""
    of_several = frame["figure"].str.startswith(PAIRS).sum()
    trainings = " and trainings" if of_several else ""
    where = " (where both have several)" if 0 < of_several < len(pairs) else ""
    return f", with 95 % intervals over images{trainings}{where}"


def _draw_losses(axis: Axes, trainings: Trainings, styles: Styles) -> None:
    """Draw the losses by epoch: training thin, validation thick."""
    losses = []
    for name, of_recipe in trainings.items():
        narrower = 1 if len(of_recipe) == 1 else NARROWER
        for training in of_recipe:
            for split, width in (("train", THIN), ("val", THICK)):
                values = training[f"{split}_losses"]
                losses += values
                epochs = np.arange(1, len(values) + 1)
                axis.plot(epochs, values, linewidth=narrower * width, **styles[name])
    # A log axis has a tick at each power of ten: of one tick nobody reads a loss.
    with np.errstate(divide="ignore"):  # a loss of 0
        first, last = np.ceil(np.log10(min(losses))), np.floor(np.log10(max(losses)))
    is_wide = last > first
    axis.set(yscale="log" if is_wide else "linear", xlabel="epoch")
    axis.set_title("Loss: training (thin) and validation (thick)")
    scale = "log scale; " if is_wide else ""
    axis.set_ylabel(f"loss ({scale}different criteria are not comparable)")
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.grid(alpha=0.3)


def _draw_shares_by_epoch(
    axis: Axes, trainings: Trainings, labels: dict[str, str], styles: Styles
) -> None:
    """Draw the share of validation landmarks within 10 px by epoch."""
    for name, of_recipe in trainings.items():
        for number, training in enumerate(of_recipe):
            within = 100 * np.array(training["val_within_10_px"])
            label = labels[name] if number == 0 else None
            epochs = np.arange(1, len(within) + 1)
            width = THICK if len(of_recipe) == 1 else THIN
            axis.plot(epochs, within, label=label, linewidth=width, **styles[name])
    axis.set(title="Validation landmarks within 10 px", ylabel="%", xlabel="epoch")
    axis.set_ylim(-3, 103)  # lines at 0 and 100 % are not hidden by the frame
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.grid(alpha=0.3)


def _add_legend(part: Any, axis: Axes) -> None:
    """Add a legend of what is labelled on an axis below, names as they are: $x$ is not read as
    mathematics."""
    handles, labels = axis.get_legend_handles_labels()
    legend = part.legend(handles, labels, loc="outside lower center", ncols=3)
    for text in legend.get_texts():
        text.set_parse_math(False)
    for line in legend.get_lines():
        line.set_linewidth(THICK)  # the colour of a thin one is hard to see
