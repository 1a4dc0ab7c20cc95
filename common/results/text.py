"""The figures of a test as they are printed: a row for each figure, a column for each group."""

import numpy as np
import pandas as pd

from common.evaluation import BAND_NAMES
from common.ground_truth import LANDMARK_NAMES, NAME_COLUMN
from common.results.intervals import interval, resampled_figures
from common.results.metrics import LENGTHS, TARGET_MM, all_figures, errors_of
from common.results.review import groups

LEGEND = """\
Errors of landmarks are in px of the 256×256 image, those of lengths in px of the original image
(HC: circumference of the head); mean ± std, median. A bias is predicted less annotated, with its
95 % limits of agreement. Shares are of the landmarks, and of the images by their mean error."""

UNKNOWN = "      -"


def _rows() -> dict[str, tuple[str, list[str]]]:
    """Return the rows of the printed table by their labels: a format, and the names of the figures
    that are put into it. All first numbers have one width, so that they end below one another."""
    rows = {
        "Images": ("{:7.0f}", ["Images"]),
        "Landmarks": ("{:7.0f}", ["Landmarks"]),
        "Pixel error, mean ± std": ("{:7.2f} ± {:.2f}", ["Mean", "Std"]),
        "95 % interval of the mean": ("{:7.1f} to {:.1f}", ["Mean, low", "Mean, high"]),
    }
    for name in ("Median", "Min", "Max", "95th percentile"):
        rows[name] = ("{:7.2f}", [name])
    for name in LANDMARK_NAMES:
        rows[f"{name} mean, median"] = ("{:7.2f}, {:.2f}", [f"{name} mean", f"{name} median"])
    for band in BAND_NAMES:
        rows[band] = ("{:7.1f} %, {:.1f} %", [f"{band}, %", f"{band}, % of images"])
    lengths = [length.upper() for length in LENGTHS]
    for unit, measured in (("px", lengths), ("mm", [*lengths, "Landmarks"])):
        for what in measured:
            name = f"{what} absolute error, {unit}"
            names = [name, f"{name}, std", f"{name}, median"]
            rows[f"{what} error, {unit}"] = ("{:7.2f} ± {:.2f}, {:.2f}", names)
    for what in (*lengths, "Landmarks"):
        label = f"{what} within {TARGET_MM} mm"
        rows[label] = ("{:7.1f} % of {:.0f}", [f"{label}, %", f"{what} known in mm"])
    for unit in ("px", "mm"):
        for what in lengths:
            names = [f"{what} {end}, {unit}" for end in ("bias", "lower limit", "upper limit")]
            rows[f"{what} bias, {unit}"] = ("{:7.2f} ({:.2f} to {:.2f})", names)
    return rows


def describe_test(table: pd.DataFrame) -> str:
    """Give all figures of a tester's table: of all images, of those that are not flagged for
    review, and of those with a plausible annotation. A group without an annotated image, or with
    all of them, is named below in place of a column; a row of which nothing is known is left out.
    """
    is_annotated = np.isfinite(errors_of(table)).any(axis=1)
    columns, remarks = {"all images": _cells(table)}, []
    for name, is_in in groups(table).items():
        number = (is_in & is_annotated).sum()
        if 0 < number < is_annotated.sum():
            columns[name] = _cells(table[is_in])
        else:
            remarks.append(f"{name.capitalize()}: {'all of them' if number else 'none'}")
    cells = pd.DataFrame(columns)
    is_known = (cells != UNKNOWN).any(axis=1)
    for name in cells:
        width = max(len(name), cells[name].str.len().max())
        cells[name] = cells[name].str.ljust(width + 1)
    lines = cells[is_known].to_string(justify="left").split("\n")
    return "\n".join([*(line.rstrip() for line in lines), LEGEND, *remarks])


def _cells(table: pd.DataFrame) -> dict[str, str]:
    """Return the rows of the printed table for some images; UNKNOWN where a figure is."""
    figures = {**all_figures(table), "Mean, low": np.nan, "Mean, high": np.nan}
    resampled = resampled_figures(errors_of(table), table[NAME_COLUMN])
    if resampled is not None:
        figures["Mean, low"], figures["Mean, high"] = interval(resampled["Mean"])
    texts = {}
    for label, (format_, names) in _rows().items():
        text = format_.format(*(figures[name] for name in names))
        texts[label] = UNKNOWN if "nan" in text else text
    return texts
