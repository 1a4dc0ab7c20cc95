"""The report's figures of an array of pixel errors: numbers, without words or files."""

from __future__ import annotations

import numpy as np

# Upper ends of the report's bands in px at 256×256 ("Performance Distribution"); the last is open.
BANDS = (10, 20, 50)
BAND_NAMES = ("Excellent (≤10 px)", "Good (10-20 px)", "Poor (20-50 px)", "Failure (>50 px)")


def error_figures(errors: np.ndarray) -> dict[str, float]:
    """Return the report's six figures of errors of any shape, in the unit of the errors. Errors
    that are NaN do not count. std is that of the population, as np.std gives it."""
    known = errors[np.isfinite(errors)]
    return {
        "mean": known.mean(),
        "std": known.std(),
        "median": np.median(known),
        "min": known.min(),
        "max": known.max(),
        "95th percentile": np.percentile(known, 95),
    }


def band_counts(errors: np.ndarray) -> np.ndarray:
    """Count the errors, of any shape, in each of the report's four bands: int [4]. Errors that are
    NaN do not count."""
    known = errors[np.isfinite(errors)]
    return np.bincount(np.digitize(known, BANDS, right=True), minlength=len(BANDS) + 1)


def agreement(errors: np.ndarray) -> tuple[float, float, float]:
    """Return the bias of errors (predicted less annotated), and its lower and upper 95 % limit of
    agreement: bias ± 1.96 sample standard deviations (Bland & Altman 1986). Errors that are NaN do
    not count; at least two must be known."""
    known = errors[np.isfinite(errors)]
    bias, spread = known.mean(), 1.96 * known.std(ddof=1)
    return bias, bias - spread, bias + spread
