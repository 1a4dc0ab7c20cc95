"""All figures of a test, by name, from the table that a tester writes: numbers only."""

from __future__ import annotations

import numpy as np
import pandas as pd

from common.annotation_quality.biometry import DIAMETERS, normalised_errors
from common.annotation_quality.second_reader import PREDICTED_TO_SECOND
from common.evaluation import band_shares, error_figures, report_figures
from common.ground_truth import LANDMARKS, landmark_values

ERROR = "error_px256"  # the column of the report's pixel errors
TARGET = 5  # mm, how exact a landmark or a length should be (report, "Clinical Relevance")
LENGTHS = (*DIAMETERS, "hc")  # the two diameters and the circumference of the head, as in columns


def all_figures(table: pd.DataFrame, column: str = ERROR) -> dict[str, float]:
    """Return every figure of a tester's table, or of some of its rows, by name: the report's, the
    shares of the images in each band by their mean error, and the lengths. What is not known is
    NaN. column: of each landmark, the errors by which the test is judged."""
    errors = landmark_values(table, column)[..., 0]
    is_annotated = np.isfinite(errors).any(axis=1)
    of_images = np.nanmean(errors[is_annotated], axis=1)
    figures = {"Images": float(is_annotated.sum()), "Landmarks": float(np.isfinite(errors).sum())}
    figures |= report_figures(errors)
    figures |= {f"Images: {name}": share for name, share in band_shares(of_images).items()}
    if column == ERROR:
        return figures | length_figures(table) | landmark_figures_mm(table)
    if column == PREDICTED_TO_SECOND and {"hc_pred_mm", "second_hc_mm"} <= set(table):
        return figures | _error_figures("HC", "mm", table["hc_pred_mm"] - table["second_hc_mm"])
    return figures


def length_figures(table: pd.DataFrame) -> dict[str, float]:
    """Return the figures of the errors of the two diameters and the circumference, and the
    normalised mean error of the diameters."""
    figures = {}
    for unit in ("px", "mm"):
        for length in LENGTHS:
            columns = [f"{length}_pred_{unit}", f"{length}_{unit}"]
            predicted, annotated = table.reindex(columns=columns).to_numpy(np.float64).T
            figures |= _error_figures(length.upper(), unit, predicted - annotated)
    coordinates = [f"{landmark}_{end}" for landmark in LANDMARKS for end in ("x", "pred_x")]
    if set(coordinates) <= set(table):
        predicted, annotated = (landmark_values(table, f"{p}x", f"{p}y") for p in ("pred_", ""))
        normalised = normalised_errors(predicted, annotated)
        for diameter, values in zip(DIAMETERS, normalised.T):
            of_diameter = error_figures(values)
            for name in ("mean", "std", "median"):
                figures[f"{diameter.upper()} normalised error, {name}"] = of_diameter[name]
    return figures


def _error_figures(length: str, unit: str, errors: np.ndarray | pd.Series) -> dict[str, float]:
    """Return the figures of the errors of a length, predicted less annotated: [N]."""
    errors = np.asarray(errors, np.float64)
    absolute = error_figures(np.abs(errors))
    figures = {f"{length} absolute error, {unit}": absolute["mean"]}
    figures |= {f"{length} absolute error, {unit}, {n}": absolute[n] for n in ("std", "median")}
    bias = zip(("bias", "lower limit", "upper limit"), agreement(errors))
    figures |= {f"{length} {name}, {unit}": value for name, value in bias}
    if unit == "mm":
        figures[f"{length} within {TARGET} mm, %"] = share_within_target(errors)
        figures[f"{length} known in mm"] = float(np.isfinite(errors).sum())
    return figures


def landmark_figures_mm(table: pd.DataFrame) -> dict[str, float]:
    """Return the figures of the distances of the landmarks in mm."""
    columns = [f"{landmark}_error_mm" for landmark in LANDMARKS]
    errors = table.reindex(columns=columns).to_numpy(np.float64)
    figures = {f"Landmark error, mm, {n}": error_figures(errors)[n] for n in ("mean", "std")}
    figures["Landmark error, mm, median"] = error_figures(errors)["median"]
    figures[f"Landmarks within {TARGET} mm, %"] = share_within_target(errors)
    figures["Landmarks known in mm"] = float(np.isfinite(errors).sum())
    return figures


def share_within_target(errors: np.ndarray) -> float:
    """Return the share of the errors, in mm, that are as small as the report asks for, in %."""
    known = np.abs(errors[np.isfinite(errors)])
    return 100 * (known <= TARGET).mean() if known.size else np.nan


def agreement(errors: np.ndarray) -> tuple[float, float, float]:
    """Return the bias of errors (predicted less annotated), and its lower and upper 95 % limit of
    agreement: bias ± 1.96 sample standard deviations (Bland & Altman 1986). Errors that are NaN do
    not count; with fewer than two others, all three are NaN."""
    known = errors[np.isfinite(errors)]
    if known.size < 2:
        return np.nan, np.nan, np.nan
    bias, spread = known.mean(), 1.96 * known.std(ddof=1)
    return bias, bias - spread, bias + spread
