"""All figures of a test, by name, from the table that a tester writes: numbers only."""

import numpy as np
import pandas as pd

from common.annotation_quality.biometry import DIAMETERS
from common.annotation_quality.second_reader import PREDICTED_TO_SECOND
from common.evaluation import band_shares, error_figures, report_figures
from common.ground_truth import LANDMARKS, landmark_values

ERROR = "error_px256"  # the column of the report's pixel errors
TARGET_MM = 5  # how exact a landmark or a length should be (report, "Clinical Relevance")
LENGTHS = (*DIAMETERS, "hc")  # the two diameters and the circumference of the head, as in columns


def errors_of(table: pd.DataFrame, column: str = ERROR) -> np.ndarray:
    """Return these errors of each landmark: [N, 4] in px of the 256×256 image."""
    return landmark_values(table, column)[..., 0]


def all_figures(table: pd.DataFrame, column: str = ERROR) -> dict[str, float]:
    """Return every figure of a tester's table, or of some of its rows, by name: the report's, the
    shares of the images in each band by their mean error, and the errors of the lengths. What is
    not known is NaN. column: of each landmark, the errors by which the test is judged."""
    errors = errors_of(table, column)
    is_annotated = np.isfinite(errors).any(axis=1)
    of_images = np.nanmean(errors[is_annotated], axis=1)
    figures = {"Images": float(is_annotated.sum()), "Landmarks": float(np.isfinite(errors).sum())}
    figures |= report_figures(errors)
    figures |= {f"{name} of images": share for name, share in band_shares(of_images).items()}
    if column == ERROR:
        for unit in ("px", "mm"):
            for length in LENGTHS:
                columns = [f"{length}_pred_{unit}", f"{length}_{unit}"]
                predicted, annotated = table.reindex(columns=columns).to_numpy(np.float64).T
                figures |= _length_figures(length.upper(), unit, predicted - annotated)
        distances = table.reindex(columns=[f"{landmark}_error_mm" for landmark in LANDMARKS])
        figures |= _absolute_figures("Landmarks", "mm", distances.to_numpy(np.float64))
    elif column == PREDICTED_TO_SECOND and {"hc_pred_mm", "second_hc_mm"} <= set(table):
        off = table["hc_pred_mm"] - table["second_hc_mm"]
        figures |= _length_figures("HC", "mm", off.to_numpy(np.float64))
    return figures


def _length_figures(length: str, unit: str, errors: np.ndarray) -> dict[str, float]:
    """Return the figures of the errors of a length, [N], predicted less annotated."""
    bias, low, high = agreement(errors)
    return _absolute_figures(length, unit, np.abs(errors)) | {
        f"{length} bias, {unit}": bias,
        f"{length} lower limit, {unit}": low,
        f"{length} upper limit, {unit}": high,
    }


def _absolute_figures(what: str, unit: str, errors: np.ndarray) -> dict[str, float]:
    """Return the figures of errors of any shape, none below 0: mean, std and median; in mm also
    the share that is as small as the report asks for, and the number of those that are known."""
    six = error_figures(errors)
    name = f"{what} absolute error, {unit}"
    figures = {name: six["Mean"], f"{name}, std": six["Std"], f"{name}, median": six["Median"]}
    if unit == "mm":
        known = errors[np.isfinite(errors)]
        share = 100 * (known <= TARGET_MM).mean() if known.size else np.nan
        figures |= {f"{what} within {TARGET_MM} mm, %": share, f"{what} known in mm": known.size}
    return figures


def agreement(errors: np.ndarray) -> tuple[float, float, float]:
    """Return the bias of errors (predicted less annotated), and its lower and upper 95 % limit of
    agreement: bias ± 1.96 sample standard deviations (Bland & Altman 1986). Errors that are NaN do
    not count; with fewer than two others, all three are NaN."""
    known = errors[np.isfinite(errors)]
    if known.size < 2:
        return np.nan, np.nan, np.nan
    bias, spread = known.mean(), 1.96 * known.std(ddof=1)
    return bias, bias - spread, bias + spread
