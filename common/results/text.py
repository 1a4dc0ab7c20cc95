"""The figures of a test as they are printed: a row for each figure, a column for each group."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from common.annotation_quality.biometry import DIAMETERS
from common.evaluation import BAND_NAMES
from common.ground_truth import LANDMARK_NAMES, NAME_COLUMN, landmark_values
from common.results.intervals import mean_interval
from common.results.metrics import ERROR, LENGTHS, TARGET, all_figures
from common.results.review import is_plausible_row

Row = tuple[str, str, list[str]]  # its label, its format, and the figures that are put into it


def _rows() -> dict[str, list[Row]]:
    """Return what is printed: the rows by the heading above them."""

    def absolute(length: str, unit: str) -> Row:
        name = f"{length} absolute error, {unit}"
        label, format_ = f"{length}, {unit}", "{:.2f} ± {:.2f}, {:.2f}"
        return label, format_, [name, f"{name}, std", f"{name}, median"]

    def within(name: str) -> Row:
        label = f"{name} within {TARGET} mm"
        return label, "{:.1f} % of {:.0f}", [f"{label}, %", f"{name} known in mm"]

    def bias(length: str, unit: str) -> Row:
        names = [f"{length} {what}, {unit}" for what in ("bias", "lower limit", "upper limit")]
        return f"{length}, {unit}", "{:.2f} ({:.2f} to {:.2f})", names

    def three(label: str, name: str, digits: int) -> Row:
        names = [f"{name}, {what}" for what in ("mean", "std", "median")]
        return label, f"{{:.{digits}f}} ± {{:.{digits}f}}, {{:.{digits}f}}", names

    lengths = [length.upper() for length in LENGTHS]
    return {
        "": [("Images", "{:.0f}", ["Images"]), ("Landmarks", "{:.0f}", ["Landmarks"])],
        "Pixel error (px at 256×256)": [
            ("Mean ± std", "{:.2f} ± {:.2f}", ["Mean", "Std"]),
            ("95 % interval of the mean", "{:.1f} to {:.1f}", ["Mean, low", "Mean, high"]),
            *((name, "{:.2f}", [name]) for name in ("Median", "Min", "Max", "95th percentile")),
            *(
                (f"{name} mean, median", "{:.2f}, {:.2f}", [f"{name} mean", f"{name} median"])
                for name in LANDMARK_NAMES
            ),
        ],
        "Share of the landmarks, and of the images (by their mean error)": [
            (band, "{:.1f} %, {:.1f} %", [f"{band}, %", f"Images: {band}, %"])
            for band in BAND_NAMES
        ],
        "Absolute error (mean ± std, median; px of the original image; HC: circumference)": [
            *(absolute(length, unit) for unit in ("px", "mm") for length in lengths),
            three("Landmarks, mm", "Landmark error, mm", 2),
            *map(within, (*lengths, "Landmarks")),
        ],
        "Normalised mean error: that of the ends over the length (mean ± std, median)": [
            three(name.upper(), f"{name.upper()} normalised error", 4) for name in DIAMETERS
        ],
        "Bias: predicted less annotated (95 % limits of agreement)": [
            bias(length, unit) for unit in ("px", "mm") for length in lengths
        ],
    }


def describe_test(table: pd.DataFrame) -> str:
    """Give all figures of a tester's table: of all images, of those that are not flagged for
    review, and of those with a plausible annotation. A group without an annotated image, or with
    all of them, is named below in place of a column."""
    groups = {
        "not flagged for review": ~table["review"].to_numpy(bool),
        "plausible annotation": is_plausible_row(table),
    }
    is_annotated = np.isfinite(landmark_values(table, ERROR)).any(axis=(1, 2))
    columns, remarks = {"all images": figures_with_interval(table)}, [""]
    for name, is_in in groups.items():
        number = (is_in & is_annotated).sum()
        if 0 < number < is_annotated.sum():
            columns[name] = figures_with_interval(table[is_in])
        else:
            remarks.append(f"{name.capitalize()}: {'all of them' if number else 'none'}")
    return "\n".join([*_lay_out(columns), *remarks]).rstrip()


def figures_with_interval(table: pd.DataFrame) -> dict[str, float]:
    """Return all_figures of a table, and the ends of the 95 % interval of the mean, NaN for fewer
    than ten images."""
    low, high = mean_interval(landmark_values(table, ERROR)[..., 0], table[NAME_COLUMN])
    return {**all_figures(table), "Mean, low": low, "Mean, high": high}


def _lay_out(columns: dict[str, dict[str, float]]) -> list[str]:
    """Return the lines of a table of figures, without the rows and headings of which nothing is
    known."""
    labels, cells = [""], {name: [name] for name in columns}
    for heading, rows in _rows().items():
        known = [row for row in rows if any(_cell(row, of_one) for of_one in columns.values())]
        above = ["", heading] if heading and known else []
        labels += [*above, *(("  " if heading else "") + label for label, _, _ in known)]
        for name, of_one in columns.items():
            cells[name] += [*("" for _ in above), *(_cell(row, of_one) or "-" for row in known)]
    aligned = list(map(_align, cells.values()))
    width = max(len(label) for label, cell in zip(labels, aligned[0]) if cell.strip())
    labels = [f"{label:<{width}}" for label in labels]
    return ["  ".join(line).rstrip() for line in zip(labels, *aligned)]


def _align(cells: list[str]) -> list[str]:
    """Return the cells of a column, a title first, as wide as one another; the first numbers below
    the title end at the same place."""
    firsts = [len(re.match("[^ ,]*", cell)[0]) for cell in cells[1:]]
    shifted = [" " * (max(firsts) - first) + cell for first, cell in zip(firsts, cells[1:])]
    width = max(map(len, (cells[0], *shifted)))
    return [f"{cell:<{width}}" for cell in (cells[0], *shifted)]


def _cell(row: Row, figures: dict[str, float]) -> str:
    """Return the figures of a row as text; "" where one of them is not known."""
    _, format_, names = row
    values = [figures.get(name, np.nan) for name in names]
    return format_.format(*values) if np.isfinite(values).all() else ""
