"""Predictions, their pixel errors, and the table that holds all of it. Numbers only."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from tqdm import tqdm

from common import UserError
from common.biometry import DIAMETERS, diameters, measure_axes
from common.ground_truth import LANDMARKS, NAME_COLUMN, RATE_COLUMN, landmark_values
from common.heatmaps import argmax_landmarks, confidence
from common.images import IMAGE_SIZE, LandmarkImages

# Upper ends of the report's first three bands, in px of the 256×256 image ("Performance
# Distribution"); the fourth is open.
BANDS = (10, 20, 50)
# A landmark more than 20 px off is to be looked at again, and a diameter should be measured to
# 5 mm (report, "Clinical Relevance").
REVIEW_ERROR = 20  # px of the 256×256 image
CLINICAL_TARGET = 5  # mm
# An image with a landmark of less confidence than this is flagged. Chosen on validation images
# (ReadMe_Complete.txt, "Confidence and review").
REVIEW_CONFIDENCE = 0.8


@torch.inference_mode()
def predict(model: nn.Module, data: LandmarkImages, batch_size: int) -> tuple[Tensor, Tensor]:
    """The landmarks that the model finds, and how confident it is of each.

    Returns float32 [N, 4, 2], (x, y) in px of the 256×256 image, and float32 [N, 4] in [0, 1].
    `data` lies on the model's device; the results are on the CPU.
    Raises UserError, naming the image, for a heatmap that is not finite.
    """
    model.eval()
    predicted, confidences, is_finite = [], [], []
    starts = range(0, len(data), batch_size)
    for start in tqdm(starts, "Predicting", leave=False, unit="batch"):
        images, _ = data.batch(slice(start, start + batch_size))
        heatmaps = model(images)
        predicted.append(argmax_landmarks(heatmaps))
        confidences.append(confidence(heatmaps))
        is_finite.append(torch.isfinite(heatmaps).flatten(1).all(dim=1))
    bad = (~torch.cat(is_finite)).nonzero().flatten().tolist()
    if bad:
        raise UserError(
            f"{data.names[bad[0]]}: the model gives heatmaps that are not finite (NaN or "
            f"infinite), for {len(bad)} of {len(data)} images: its weights cannot be used"
        )
    return torch.cat(predicted).cpu(), torch.cat(confidences).cpu()


def pixel_errors(predicted: Tensor, ground_truth: Tensor) -> np.ndarray:
    """Euclidean distances in pixels: two tensors [N, 4, 2] on the CPU → array [N, 4]."""
    return torch.linalg.vector_norm(predicted - ground_truth, dim=-1).numpy()


def prediction_table(
    ground_truth: pd.DataFrame,
    data: LandmarkImages,
    predicted: Tensor,
    confidences: Tensor,
    *,
    split: str,
    model_sha256: str,
) -> pd.DataFrame:
    """Everything that is known of each image after a test, one row per image.

    ground_truth: the rows that `data` was loaded from. predicted: [N, 4, 2] in px of the 256×256
    image. confidences: [N, 4]. split and model_sha256 are put into every row.
    Columns: `image_name`, `split`, `annotation_plausible`, `review` (whether to look at the image
    again), `model_sha256`; for each landmark L, `L_x`, `L_y`, `L_pred_x`, `L_pred_y` in px of the
    original image, `L_error_px256` (the report's), `L_error_px` and `L_confidence`; for each
    diameter D, `D_px` and `D_pred_px`, and with `px_to_mm_rate` in the ground truth `D_mm` and
    `D_pred_mm`.
    """
    annotated = landmark_values(ground_truth, "x", "y")
    found = predicted.numpy().astype(np.float64) * data.sizes[:, None, :] / IMAGE_SIZE
    columns = {
        NAME_COLUMN: ground_truth[NAME_COLUMN].to_numpy(),
        "split": split,
        "annotation_plausible": measure_axes(annotated)["plausible"].to_numpy(),
        # What is not known to be good is flagged.
        "review": ~(confidences.numpy() >= REVIEW_CONFIDENCE).all(axis=1),
        "model_sha256": model_sha256,
    }
    by_landmark = {
        "x": annotated[..., 0],
        "y": annotated[..., 1],
        "pred_x": found[..., 0],
        "pred_y": found[..., 1],
        "error_px256": pixel_errors(predicted, data.landmarks.cpu()),
        "error_px": np.linalg.norm(found - annotated, axis=-1),
        "confidence": confidences.numpy(),
    }
    for i, landmark in enumerate(LANDMARKS):
        for name, values in by_landmark.items():
            columns[f"{landmark}_{name}"] = values[:, i].astype(np.float64)
    lengths = {"px": diameters(annotated), "pred_px": diameters(found)}
    if RATE_COLUMN in ground_truth:
        rate = ground_truth[[RATE_COLUMN]].to_numpy()
        lengths |= {"mm": rate * lengths["px"], "pred_mm": rate * lengths["pred_px"]}
    for i, diameter in enumerate(DIAMETERS):
        columns |= {f"{diameter}_{name}": values[:, i] for name, values in lengths.items()}
    return pd.DataFrame(columns)


def errors_of(table: pd.DataFrame) -> np.ndarray:
    """The pixel errors in a prediction_table: float64 [N, 4], in px of the 256×256 image."""
    return landmark_values(table, "error_px256")[..., 0]


def band_counts(errors: np.ndarray) -> np.ndarray:
    """How many errors, of any shape, fall into each of the report's four bands: int [4]."""
    return np.bincount(np.digitize(errors, BANDS, right=True).ravel(), minlength=len(BANDS) + 1)
