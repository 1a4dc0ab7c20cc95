"""From networks and images to pixel errors and the report's figures: numbers only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from common import UserError
from common.ground_truth import LANDMARK_NAMES
from common.heatmaps import argmax_landmarks, confidence
from common.images import LandmarkImages, to_original

# Upper ends of the report's bands in px at 256×256 ("Performance Distribution"); the last is open.
BANDS = (10, 20, 50)
BAND_NAMES = ("Excellent (≤10 px)", "Good (10-20 px)", "Poor (20-50 px)", "Failure (>50 px)")


@dataclass
class Predictions:
    """Hold what networks find in N images beside what is annotated there; what is not known is NaN.

    names: N file names. sizes: float64 [N, 2], (width, height) of the original images. rate:
    float64 [N], mm per px of the original image. annotated, predicted: float64 [N, 4, 2], (x, y) in
    px of the 256×256 image. annotated_px, predicted_px: the same in px of the original image.
    errors: float64 [N, 4], in px of the 256×256 image. confidences: float64 [N, 4], in [0, 1].
    spreads: float64 [N, 4], the largest distance of a member's landmark from the ensemble's, in px
    of the 256×256 image; NaN for one network.
    """

    names: np.ndarray
    sizes: np.ndarray
    rate: np.ndarray
    annotated: np.ndarray
    predicted: np.ndarray
    annotated_px: np.ndarray
    predicted_px: np.ndarray
    errors: np.ndarray
    confidences: np.ndarray
    spreads: np.ndarray


@torch.inference_mode()
def predict(models: Sequence[nn.Module], data: LandmarkImages, batch_size: int) -> Predictions:
    """Find the landmarks in the average of the networks' heatmaps, on the device of `data`. Raises
    UserError, naming the image, for a heatmap that is not finite."""
    for model in models:
        model.eval()
    batches = []
    for start in tqdm(range(0, len(data), batch_size), "Predicting", leave=False, unit="batch"):
        images, _ = data.batch(slice(start, start + batch_size))
        members = torch.stack([model(images) for model in models])
        heatmaps = members.mean(dim=0)
        landmarks = argmax_landmarks(heatmaps)
        spreads = (argmax_landmarks(members) - landmarks).norm(dim=-1).amax(dim=0)
        if len(models) == 1:
            spreads.fill_(torch.nan)  # it has no other to differ from
        is_finite = torch.isfinite(heatmaps).flatten(1).all(dim=1)
        batches.append((landmarks, confidence(heatmaps), spreads, is_finite))
    landmarks, confidences, spreads, is_finite = (torch.cat(parts).cpu() for parts in zip(*batches))
    bad = (~is_finite).nonzero().flatten().tolist()
    if bad:
        raise UserError(
            f"{data.names[bad[0]]}: the model gives heatmaps that are not finite (NaN or "
            f"infinite), for {len(bad)} of {len(data)} images: its weights cannot be used"
        )
    annotated, predicted = data.landmarks.cpu(), landmarks.numpy().astype(np.float64)
    return Predictions(
        names=np.array(data.names),
        sizes=data.sizes,
        rate=data.rate,
        annotated=annotated.numpy().astype(np.float64),
        predicted=predicted,
        annotated_px=data.landmarks_px,
        predicted_px=to_original(predicted, data.sizes),
        errors=pixel_errors(landmarks, annotated).astype(np.float64),
        confidences=confidences.numpy().astype(np.float64),
        spreads=spreads.numpy().astype(np.float64),
    )


def pixel_errors(predicted: Tensor, annotated: Tensor) -> np.ndarray:
    """Return Euclidean distances in px: two [N, 4, 2] on the CPU → [N, 4], NaN where one is."""
    return torch.linalg.vector_norm(predicted - annotated, dim=-1).numpy()


def count_excellent(heatmaps: Tensor, landmarks: Tensor) -> Tensor:
    """Count the landmarks that are found within 10 px, the report's first band: heatmaps
    [B, 4, H, W] and landmarks [B, 4, 2] → float32 scalar. One that is NaN does not count."""
    errors = (argmax_landmarks(heatmaps) - landmarks).norm(dim=-1)
    return (errors <= BANDS[0]).sum(dtype=torch.float32)


def error_figures(errors: np.ndarray) -> dict[str, float]:
    """Return the report's six figures of errors of any shape, in the unit of the errors. Errors
    that are NaN do not count; without any other, every figure is NaN. "Std" is that of the
    population, as np.std gives it."""
    known = errors[np.isfinite(errors)]
    if not known.size:
        known = np.array([np.nan])
    return {
        "Mean": known.mean(),
        "Std": known.std(),
        "Median": np.median(known),
        "Min": known.min(),
        "Max": known.max(),
        "95th percentile": np.percentile(known, 95),
    }


def band_shares(errors: np.ndarray) -> dict[str, float]:
    """Return, in %, the share of the errors, of any shape, in each of the report's four bands.
    Errors that are NaN do not count; without any other, every share is NaN."""
    known = errors[np.isfinite(errors)]
    counts = np.bincount(np.digitize(known, BANDS, right=True), minlength=len(BAND_NAMES))
    shares = 100 * counts / known.size if known.size else np.full(len(BAND_NAMES), np.nan)
    return {f"{name}, %": share for name, share in zip(BAND_NAMES, shares)}


def report_figures(errors: np.ndarray) -> dict[str, float]:
    """Return the figures that the report gives of a test, by name: the six, the mean and median of
    each landmark, and the share of the landmarks in each band. errors: [N, 4] in px of the 256×256
    image, NaN where a landmark is not annotated."""
    figures = error_figures(errors)
    for landmark, column in zip(LANDMARK_NAMES, errors.T):
        of_landmark = error_figures(column)
        figures[f"{landmark} mean"] = of_landmark["Mean"]
        figures[f"{landmark} median"] = of_landmark["Median"]
    return figures | band_shares(errors)
