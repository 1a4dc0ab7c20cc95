"""The picture of a comparison of tests."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pandas as pd

from common.basics import drawing
from common.comparison.frame import DIFFERENCE, OF_PAIRS, Recipes
from common.evaluation import BANDS
from common.ground_truth import LANDMARK_NAMES
from common.results.metrics import errors_of

# Told apart by colour-blind readers too (Okabe & Ito 2008); lines and boxes differ otherwise where
# there are more recipes than colours.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
LINES, HATCHES = ("-", "--", "-.", ":"), ("", "//", "..", "xx")
MARKERS = "osv^"  # of the groups of images, and of the ways to judge
SMALLEST = 0.5  # px: where the axis of the errors begins; a pixel of the 256×256 image is 1
THIN, THICK = 0.8, 2

Errors = dict[str, np.ndarray]  # [trainings, images, 4] by the name of the recipe
Styles = dict[str, dict[str, Any]]


def draw_comparison(frame: pd.DataFrame, recipes: Recipes, path: str) -> None:
    """Draw the share of landmarks within x px, the errors by landmark and the differences of means
    of a comparison. A recipe has one colour; where it has several trainings, these are thin lines.
    """
    errors = {name: np.stack([errors_of(t) for t in tables]) for name, tables in recipes.items()}
    labels = _labels(list(recipes))
    styles = {
        name: {"color": color, "linestyle": line}
        for name, (line, color) in zip(recipes, itertools.cycle(itertools.product(LINES, COLORS)))
    }
    pairs = frame[frame["figure"] == DIFFERENCE]
    heights = [6.5]
    if len(pairs):
        heights.append(2 + 0.7 * len(pairs) / pairs["images"].nunique())
    picture = drawing.new_picture(16, sum(heights))
    above, *below = picture.subfigures(len(heights), 1, height_ratios=heights, squeeze=False).flat
    left, right = above.subplots(1, 2)
    _draw_shares(left, errors, labels, styles)
    _draw_boxes(right, errors, styles)
    _add_legend(above, left)
    for part in below:
        axis = part.subplots()
        _draw_differences(axis, pairs, labels, (frame["figure"] == OF_PAIRS).sum())
        _add_legend(part, axis)
    drawing.save_picture(picture, path)


def _labels(names: list[str]) -> dict[str, str]:
    """Return what each recipe is called in the picture: without the middle of a long name, and with
    a number where others are the same without it."""
    short = list(map(drawing.shorten, names))
    labels = {}
    for number, (name, text) in enumerate(zip(names, short), start=1):
        # matplotlib leaves labels that begin with "_" out of a legend.
        labels[name] = f" {text}" if text.startswith("_") else text
        if short.count(text) > 1:
            labels[name] += f" ({number})"
    return labels


def _draw_shares(
    axis: drawing.Axes, errors: Errors, labels: dict[str, str], styles: Styles
) -> None:
    """Draw for every x the share of landmarks with an error of at most x px, from the left edge,
    where those that are smaller count, to the right one."""
    largest = max(SMALLEST, *map(np.nanmax, errors.values()))
    thin = ""
    for name, of_recipe in errors.items():
        lines = [(of_recipe, {"linewidth": THICK, "label": labels[name]})]
        if len(of_recipe) > 1:
            thin = " (thin: each training of several)"
            lines = [(of_one, {"linewidth": THIN, "alpha": 0.6}) for of_one in of_recipe] + lines
        for values, style in lines:
            known = np.sort(values[np.isfinite(values)])
            shares = 100 * np.arange(1, len(known) + 1) / len(known)
            x = [SMALLEST, *np.maximum(known, SMALLEST), largest]
            axis.step(x, [0, *shares, 100], where="post", **style, **styles[name])
    for limit in BANDS:
        axis.axvline(limit, color="0.5", linewidth=0.8, linestyle=":")
        place = {"xycoords": ("data", "axes fraction"), "ha": "center", "va": "bottom"}
        axis.annotate(f"{limit} px", (limit, 1.0), color="0.3", fontsize=8, **place)
    axis.set(xscale="log", xlim=(SMALLEST, max(largest, 2 * BANDS[-1])), ylim=(0, 101))
    axis.xaxis.set_major_formatter("{x:g}")
    axis.set(xlabel="x (px at 256×256)", ylabel="%")
    axis.set_title(f"Landmarks within x px{thin}", pad=14)
    axis.grid(alpha=0.3)


def _draw_boxes(axis: drawing.Axes, errors: Errors, styles: Styles) -> None:
    """Draw box plots of the recipes side by side, for each landmark."""
    width = 0.8 / len(errors)
    for i, (name, of_recipe) in enumerate(errors.items()):
        by_landmark = [column[np.isfinite(column)] for column in of_recipe.reshape(-1, 4).T]
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


def _draw_differences(
    axis: drawing.Axes, pairs: pd.DataFrame, labels: dict[str, str], of_several: int
) -> None:
    """Draw the difference of means of each pair, with its 95 % interval, for each group. pairs: a
    row for each. of_several: in how many of them both recipes have several trainings."""
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
    names = [f"{a}\nless {b}" for a, b in itertools.combinations(labels.values(), 2)]
    axis.set_yticks(range(len(names)), names, parse_math=False)
    axis.set_ylim(len(names) - 0.4, -0.6)  # the first pair on top
    axis.axvline(0, color="black", linewidth=0.8)
    axis.set_xlabel("difference of means (px at 256×256); below 0, the first one is better")
    title = "Differences, paired by image"
    if pairs["low"].notna().any():
        title += ", with 95 % intervals over images"
        title += " and trainings" if of_several else ""
        title += " (where both have several)" if 0 < of_several < len(pairs) else ""
    axis.set_title(title)
    axis.grid(axis="x", alpha=0.3)


def _add_legend(part: Any, axis: drawing.Axes) -> None:
    """Add a legend of what is labelled on an axis below, names as they are: $x$ is not read as
    mathematics."""
    labelled = axis.get_legend_handles_labels()
    legend = part.legend(*labelled, loc="outside lower center", ncols=3)
    for text in legend.get_texts():
        text.set_parse_math(False)
    for line in legend.get_lines():
        line.set_linewidth(THICK)  # the colour of a thin one is hard to see
