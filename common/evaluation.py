"""Predictions, their pixel errors, and what is said of them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from common.dataset import LANDMARK_NAMES, LandmarkImages
from common.heatmaps import argmax_landmarks

# Upper ends of the report's first three bands, in px of the 256×256 image ("Performance
# Distribution"); the fourth is open.
BANDS = (10, 20, 50)
BAND_NAMES = ("Excellent (≤10 px)", "Good (10-20 px)", "Poor (20-50 px)", "Failure (>50 px)")


@torch.inference_mode()
def predict(model: nn.Module, data: LandmarkImages, batch_size: int) -> Tensor:
    """The landmarks that the model finds: float32 [N, 4, 2], (x, y) in px of the 256×256 image.

    `data` lies on the model's device; the result is on the CPU.
    """
    model.eval()
    predicted = []
    starts = range(0, len(data), batch_size)
    for start in tqdm(starts, "Predicting", leave=False, unit="batch"):
        images, _ = data.batch(slice(start, start + batch_size))
        predicted.append(argmax_landmarks(model(images)))
    return torch.cat(predicted).cpu()


def pixel_errors(predicted: Tensor, true: Tensor) -> np.ndarray:
    """Euclidean distances in pixels: two [N, 4, 2] → [N, 4]."""
    return torch.linalg.vector_norm(predicted - true, dim=-1).numpy()


def band_counts(errors: np.ndarray) -> np.ndarray:
    """How many errors, of any shape, fall into each of the report's four bands: int [4]."""
    return np.bincount(np.digitize(errors, BANDS, right=True).ravel(), minlength=len(BAND_NAMES))


def error_summary(errors: np.ndarray) -> str:
    """The report's figures for errors [N, 4], as lines to print."""
    lines = [
        f"Pixel error of {errors.size} landmarks on {len(errors)} images (px at 256×256)",
        f"  Mean ± std       {errors.mean():7.2f} ± {errors.std():.2f}",
        f"  Median           {np.median(errors):7.2f}",
        f"  Min              {errors.min():7.2f}",
        f"  Max              {errors.max():7.2f}",
        f"  95th percentile  {np.percentile(errors, 95):7.2f}",
        "",
        "Landmark           mean  median",
    ]
    for name, column in zip(LANDMARK_NAMES, errors.T):
        lines.append(f"  {name:<14}{column.mean():7.2f} {np.median(column):7.2f}")
    lines += [
        "",
        f"{'Band':<22}{'landmarks':>14}{'images':>16}  (by the mean of their four errors)",
    ]
    by_landmark, by_image = band_counts(errors), band_counts(errors.mean(axis=1))
    for name, landmarks, images in zip(BAND_NAMES, by_landmark, by_image):
        lines.append(
            f"  {name:<20}{landmarks:>6} ({landmarks / errors.size:6.1%})"
            f"{images:>7} ({images / len(errors):6.1%})"
        )
    return "\n".join(lines)
