"""The report's figures of an array of pixel errors: numbers, without words or files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Callable

import numpy as np

# Upper ends of the report's bands in px at 256×256 ("Performance Distribution"); the last is open.
BANDS = (10, 20, 50)
BAND_NAMES = ("Excellent (≤10 px)", "Good (10-20 px)", "Poor (20-50 px)", "Failure (>50 px)")
CLINICAL_TARGET = 5  # mm, how exact a landmark or a length should be (report, "Clinical Relevance")
# 95 % intervals: how often images are drawn anew, and from how many images on. With fewer, such an
# interval is too narrow: in simulations with the errors of three trainings, that of the mean holds
# the true one in 61 to 67 % of the cases with 3 images, in 74 to 80 % with 5, in 87 to 89 % with 10
# and in 94 to 96 % with 63.
DRAWS, DRAW_SEED = 10_000, 42
MIN_IMAGES = 10
NUMBERS_PER_BLOCK = 1_000_000  # drawn at a time: with what is computed of them, about 100 MB


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


def drawn_figures(
    errors: np.ndarray, names: Sequence[str], figures: Sequence[str] = ("mean",)
) -> dict[str, np.ndarray] | None:
    """Draw as many images as there are, with replacement, 10,000 times, and return figures of the
    errors in each draw: name → [10,000]. This is the bootstrap (Efron 1979).

    errors: [N, 4], NaN where a landmark is not annotated; an image without any is left out. names:
    of the N images. figures: of FIGURES_OF_DRAWS; shares are between 0 and 1. Returns None for
    fewer than MIN_IMAGES images.

    An image is drawn with all its landmarks, since their errors are not independent. The images
    are put in the order of their names and the seed is fixed. So tests of the same images get the
    same draws, and the difference of two models in each draw is that of the same images.
    """
    errors = errors[np.argsort(np.asarray(names, dtype=str), kind="stable")]
    errors = errors[np.isfinite(errors).any(axis=1)]
    if len(errors) < MIN_IMAGES:
        return None
    blocks = [
        [FIGURES_OF_DRAWS[figure](errors, times) for figure in figures]
        for times in _draw_images(len(errors))
    ]
    return dict(zip(figures, np.concatenate(blocks, axis=1)))


def interval(drawn: np.ndarray) -> tuple[float, float]:
    """Return the ends of the 95 % interval of a figure, or of a difference of two, from its values
    in all draws: the percentiles 2.5 and 97.5. For medians, other forms of the bootstrap are known
    to fail (André et al. 2025, "Some Hidden Traps of Confidence Intervals in Medical Image
    Segmentation")."""
    low, high = np.percentile(drawn, (2.5, 97.5))
    return float(low), float(high)


def mean_interval(errors: np.ndarray, names: Sequence[str]) -> tuple[float, float] | None:
    """Return the 95 % interval of the mean error, or None for fewer than MIN_IMAGES images. errors
    and names as for drawn_figures."""
    drawn = drawn_figures(errors, names)
    return None if drawn is None else interval(drawn["mean"])


def _draw_images(count: int) -> Iterator[np.ndarray]:
    """Yield how many times each of these images is drawn: float64 [draws, images], in blocks, as
    all draws of 20,000 images would take gigabytes. How large a block is does not matter to what
    is drawn."""
    random = np.random.default_rng(DRAW_SEED)
    draws_per_block = max(NUMBERS_PER_BLOCK // count, 1)
    for start in range(0, DRAWS, draws_per_block):
        draws = min(draws_per_block, DRAWS - start)
        drawn = random.integers(count, size=(draws, count))
        yield np.array([np.bincount(images, minlength=count) for images in drawn], dtype=float)


def _mean_of_draws(errors: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return the mean of the errors [N, 4] in draws with each image so many times [draws, N]."""
    known = np.isfinite(errors)
    sums = np.where(known, errors, 0).sum(axis=1)
    return (times @ sums) / (times @ known.sum(axis=1))


def _share_of_draws(is_in: np.ndarray, errors: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return the share of the errors for which is_in, bool [N, 4], is true, in each draw."""
    return (times @ is_in.sum(axis=1)) / (times @ np.isfinite(errors).sum(axis=1))


def _median_of_draws(errors: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return the median of the errors in each draw, as np.median gives it."""
    known = np.isfinite(errors)
    order = np.argsort(errors[known])
    values, image = errors[known][order], np.nonzero(known)[0][order]
    up_to = times[:, image].cumsum(axis=1)  # how many errors of a draw are at most each value
    total = up_to[:, -1:]
    # The two in the middle; the same one twice where their number is odd.
    lower = (up_to < (total + 1) // 2).sum(axis=1)
    upper = (up_to < total // 2 + 1).sum(axis=1)
    return (values[lower] + values[upper]) / 2


# What is computed of a draw: from errors [N, 4] and times [draws, N] to [draws].
FIGURES_OF_DRAWS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "mean": _mean_of_draws,
    "median": _median_of_draws,
    "within 10 px": lambda errors, times: _share_of_draws(errors <= BANDS[0], errors, times),
    "above 50 px": lambda errors, times: _share_of_draws(errors > BANDS[2], errors, times),
}
