"""Predictions, their pixel errors, and the table that holds all of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from tqdm import tqdm

from common import UserError
from common.biometry import DIAMETERS, diameters, in_best_order, measure_axes
from common.ground_truth import NAME_COLUMN, RATE_COLUMN, landmark_columns, landmark_values
from common.heatmaps import argmax_landmarks, confidence
from common.images import LandmarkImages

# Upper ends of the report's bands in px at 256×256 ("Performance Distribution"); the last is open.
BANDS = (10, 20, 50)
# What is to be looked at again, and how exact a length should be (report, "Clinical Relevance").
REVIEW_ERROR = 20  # px of the 256×256 image
REVIEW_TARGET = 0.8  # of the landmarks so far off: to be found by the review flag
CLINICAL_TARGET = 5  # mm


class Prediction(NamedTuple):
    """Hold what models find in N images, on the CPU, in px of the 256×256 image. landmarks: float32
    [N, 4, 2], (x, y). confidences: float32 [N, 4] in [0, 1]. spreads: float32 [N, 4], the largest
    distance of a member's landmark from the ensemble's; NaN for one model."""

    landmarks: Tensor
    confidences: Tensor
    spreads: Tensor


@torch.inference_mode()
def predict(models: Sequence[nn.Module], data: LandmarkImages, batch_size: int) -> Prediction:
    """Find the landmarks in the average of the models' heatmaps, on the device of `data`. Raises
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
    *found, is_finite = (torch.cat(parts).cpu() for parts in zip(*batches))
    bad = (~is_finite).nonzero().flatten().tolist()
    if bad:
        raise UserError(
            f"{data.names[bad[0]]}: the model gives heatmaps that are not finite (NaN or "
            f"infinite), for {len(bad)} of {len(data)} images: its weights cannot be used"
        )
    return Prediction(*found)


def pixel_errors(predicted: Tensor, annotated: Tensor) -> np.ndarray:
    """Return Euclidean distances in px: two [N, 4, 2] on the CPU → [N, 4], NaN where one is."""
    return torch.linalg.vector_norm(predicted - annotated, dim=-1).numpy()


def count_excellent(heatmaps: Tensor, landmarks: Tensor) -> Tensor:
    """Count the landmarks that are found within 10 px, the report's first band: heatmaps
    [B, 4, H, W] and landmarks [B, 4, 2] → float32 scalar. One that is NaN does not count."""
    errors = (argmax_landmarks(heatmaps) - landmarks).norm(dim=-1)
    return (errors <= BANDS[0]).sum(dtype=torch.float32)


def prediction_table(
    table: pd.DataFrame,
    data: LandmarkImages,
    prediction: Prediction,
    split: str,
    model_sha256: str,
    review_confidence: float,
) -> pd.DataFrame:
    """Return what is known of each image after a test, one row per image; the rest is NaN. The
    columns are explained in ReadMe_Complete.txt, section 10.

    table: the rows of the ground truth that `data` was loaded from.
    """
    annotated = landmark_values(table, "x", "y")
    found = data.to_original(prediction.landmarks.numpy().astype(np.float64))
    columns = {
        NAME_COLUMN: table[NAME_COLUMN].to_numpy(),
        "split": split,
        "annotation_plausible": measure_axes(annotated)["plausible"].array,
        "prediction_plausible": measure_axes(found)["plausible"].to_numpy(bool),
        "review_confidence": review_confidence,
        "model_sha256": model_sha256,
    }
    by_landmark = {
        "x": annotated[..., 0],
        "y": annotated[..., 1],
        "pred_x": found[..., 0],
        "pred_y": found[..., 1],
        "error_px256": pixel_errors(prediction.landmarks, data.landmarks.cpu()),
        "error_px": np.linalg.norm(found - annotated, axis=-1),
        "confidence": prediction.confidences.numpy(),
        "spread_px256": prediction.spreads.numpy(),
    }
    lengths = {"px": diameters(annotated), "pred_px": diameters(found)}
    if RATE_COLUMN in table:
        rate = table[[RATE_COLUMN]].to_numpy()
        by_landmark["error_mm"] = rate * by_landmark["error_px"]
        lengths |= {"mm": rate * lengths["px"], "pred_mm": rate * lengths["pred_px"]}
    columns |= landmark_columns(by_landmark)
    for i, diameter in enumerate(DIAMETERS):
        columns |= {f"{diameter}_{name}": values[:, i] for name, values in lengths.items()}
    predictions = pd.DataFrame(columns)
    flagged = np.any(list(review_rules(predictions).values()), axis=0)
    predictions.insert(predictions.columns.get_loc("review_confidence"), "review", flagged)
    return predictions


def compare_readers(
    data: LandmarkImages, second: np.ndarray, predicted: np.ndarray | None = None
) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """Measure how far annotations, a second reader's landmarks ([N, 4, 2] in px of the original
    images) and predictions ([N, 4, 2], 256×256 px) lie apart, the ends named in_best_order.

    Returns columns for a table (ReadMe_Complete.txt, section 10), and the distances by name,
    float64 [N, 4] in px of the 256×256 image, NaN where one of the two is.
    """
    annotated, second_256 = data.landmarks.cpu().numpy().astype(float), data.to_256(second)

    def distance(points: np.ndarray, reference: np.ndarray) -> np.ndarray:
        order = in_best_order(points, reference)[..., None]
        return np.linalg.norm(np.take_along_axis(points, order, 1) - reference, axis=-1)

    # An incomplete annotation cannot name the ends; the prediction does.
    is_incomplete = np.isnan(annotated).any(axis=(1, 2), keepdims=True)
    naming = annotated if predicted is None else np.where(is_incomplete, predicted, annotated)
    order = in_best_order(second_256, naming)[..., None]
    error = np.linalg.norm(np.take_along_axis(second_256, order, 1) - annotated, axis=-1)
    named = np.take_along_axis(second, order, 1)
    distances = {"annotated to second reader": error}
    values = {"second_x": named[..., 0], "second_y": named[..., 1], "second_error_px256": error}
    if predicted is not None:
        distances["predicted to second reader"] = distance(second_256, predicted)
        distances["predicted to annotated"] = distance(annotated, predicted)
        values["pred_second_px256"] = distances["predicted to second reader"]
    return pd.DataFrame(landmark_columns(values)), distances


def review_rules(table: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return which images of a prediction_table each rule flags for review: name → bool [N]."""
    spreads = landmark_values(table, "spread_px256")
    limit = table["review_confidence"].iloc[0]  # one for all rows
    is_sure = landmark_values(table, "confidence") >= limit  # NaN is flagged too
    rules = {"implausible prediction": ~table["prediction_plausible"].to_numpy()}
    if not np.isnan(spreads).all():  # a single model has none
        rules[f"spread above {REVIEW_ERROR} px"] = (spreads > REVIEW_ERROR).any(axis=(1, 2))
    return rules | {f"confidence below {limit:g}": ~is_sure.all(axis=(1, 2))}


def choose_review_confidence(table: pd.DataFrame) -> float | None:
    """Return the lowest limit of the confidence, in steps of 0.05, at which review_rules together
    flag the images of at least 80 % of the landmarks more than 20 px off; None where no limit does.

    table: a prediction_table of validation images; those with a plausible annotation count.
    """
    table = table[table["annotation_plausible"].fillna(False)]
    wrong = errors_of(table) > REVIEW_ERROR
    for limit in np.arange(0, 1.05, 0.05).round(2) if wrong.any() else ():
        rules = review_rules(table.assign(review_confidence=limit))
        flagged = np.any(list(rules.values()), axis=0)
        if wrong[flagged].sum() >= REVIEW_TARGET * wrong.sum():
            return limit
    return None


def errors_of(table: pd.DataFrame) -> np.ndarray:
    """Return a prediction_table's pixel errors: float64 [N, 4], in px of the 256×256 image."""
    return landmark_values(table, "error_px256")[..., 0]


def band_counts(errors: np.ndarray) -> np.ndarray:
    """Count the errors [N] in each of the report's four bands: int [4]."""
    return np.bincount(np.digitize(errors, BANDS, right=True), minlength=len(BANDS) + 1)
