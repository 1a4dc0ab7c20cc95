"""The figures of a test as they are printed: a row for each figure, a column for each group."""

from __future__ import annotations

import numpy as np
import pandas as pd

from common.evaluation import BAND_NAMES
from common.ground_truth import LANDMARK_NAMES, NAME_COLUMN, landmark_values
from common.results.figures import ERROR, LENGTHS, TARGET, all_figures
from common.results.intervals import interval, resampled_figures
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
        "Share of the landmarks, of the images (by their mean error)": [
            (band, "{:.1f} %, {:.1f} %", [f"{band}, %", f"Images: {band}, %"])
            for band in BAND_NAMES
        ],
        "Absolute error (mean ± std, median; px of the original image; HC: circumference)": [
            *(absolute(length, unit) for unit in ("px", "mm") for length in lengths),
            three("Landmarks, mm", "Landmark error, mm", 2),
            *map(within, (*lengths, "Landmarks")),
        ],
        "Error of the ends over the length (mean ± std, median)": [
            three(length, f"{length} normalised error", 4) for length in lengths
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
        "not flagged": ~table["review"].to_numpy(bool),
        "plausible": is_plausible_row(table),
    }
    is_annotated = np.isfinite(landmark_values(table, ERROR)).any(axis=(1, 2))
    columns, remarks = {"all": figures_with_interval(table)}, []
    for name, is_in in groups.items():
        number = (is_in & is_annotated).sum()
        if 0 < number < is_annotated.sum():
            columns[name] = figures_with_interval(table[is_in])
        else:
            which = "not flagged for review" if name == "not flagged" else "plausible annotation"
            remarks.append(f"{which.capitalize()}: {'all of them' if number else 'none'}")
    return "\n".join([*_lay_out(columns), *remarks])


def figures_with_interval(table: pd.DataFrame) -> dict[str, float]:
    """Return all_figures of a table, and the ends of the 95 % interval of the mean, NaN for fewer
    than ten images."""
    resampled = resampled_figures(landmark_values(table, ERROR)[..., 0], table[NAME_COLUMN])
    low, high = (np.nan, np.nan) if resampled is None else interval(resampled["Mean"])
    return {**all_figures(table), "Mean, low": low, "Mean, high": high}


def _lay_out(columns: dict[str, dict[str, float]]) -> list[str]:
    """Return the lines of a table of figures, without the rows and headings of which nothing is
    known."""
    cells = [["", *columns]]
    for heading, rows in _rows().items():
        known = [row for row in rows if any(_cell(row, of_one) for of_one in columns.values())]
        if heading and known:
            cells += [["", *[""] * len(columns)], [heading, *[""] * len(columns)]]
        for row in known:
            indent = "  " if heading else ""
            of_groups = [_cell(row, of_one) or "-" for of_one in columns.values()]
            cells.append([indent + row[0], *of_groups])
    labels = max(len(line[0]) for line in cells if line[1])
    widths = [max(map(len, column)) for column in list(zip(*cells))[1:]]
    return [
        "  ".join([f"{label:<{labels}}", *(f"{c:>{w}}" for c, w in zip(line, widths))]).rstrip()
        for label, *line in cells
    ]


def _cell(row: Row, figures: dict[str, float]) -> str:
    """Return the figures of a row as text; "" where one of them is not known."""
    _, format_, names = row
    values = [figures.get(name, np.nan) for name in names]
    return format_.format(*values) if np.isfinite(values).all() else ""
