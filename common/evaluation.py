"""From models and images to the arrays of a test, and what they say: numbers only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from tqdm import tqdm

from common import UserError
from common.biometry import are_comparable, diameters, in_best_order, is_plausible, reorder
from common.figures import BANDS
from common.ground_truth import RATE_COLUMN, landmark_values
from common.heatmaps import argmax_landmarks, confidence
from common.images import LandmarkImages

# What is to be looked at again (report, "Recommendations for clinical use").
REVIEW_ERROR = 20  # px of the 256×256 image
REVIEW_TARGET = 0.8  # of the landmarks so far off: to be found by the review flag


@dataclass
class Predictions:
    """Hold what models find in N images beside what is annotated there; what is not known is NaN.

    names: N file names. annotated, predicted: float64 [N, 4, 2], (x, y) in px of the original
    images. errors: float64 [N, 4], in px of the 256×256 image. confidences: float64 [N, 4], in
    [0, 1]. spreads: float64 [N, 4], the largest distance of a member's landmark from the
    ensemble's, in px of the 256×256 image; NaN for one model. rate: float64 [N], mm per px of the
    original image.
    """

    names: np.ndarray
    annotated: np.ndarray
    predicted: np.ndarray
    errors: np.ndarray
    confidences: np.ndarray
    spreads: np.ndarray
    rate: np.ndarray

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, indices: np.ndarray | slice) -> Predictions:
        return Predictions(*(getattr(self, field.name)[indices] for field in fields(self)))

    def errors_px(self) -> np.ndarray:
        """Return the distances of predicted and annotated landmarks in px of the original images:
        [N, 4]."""
        return np.linalg.norm(self.predicted - self.annotated, axis=-1)

    def errors_mm(self) -> np.ndarray:
        """Return the same distances in mm: [N, 4]."""
        return self.rate[:, None] * self.errors_px()

    def length_errors(self) -> np.ndarray:
        """Return by how much the predicted (OFD, BPD) are longer than the annotated ones, in px of
        the original images: [N, 2]."""
        return diameters(self.predicted) - diameters(self.annotated)


@torch.inference_mode()
def predict(
    models: Sequence[nn.Module], data: LandmarkImages, table: pd.DataFrame, batch_size: int
) -> Predictions:
    """Find the landmarks in the average of the models' heatmaps, on the device of `data`.

    table: the rows of the ground truth that `data` was loaded from. Raises UserError, naming the
    image, for a heatmap that is not finite.
    """
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
    return Predictions(
        names=np.array(data.names),
        annotated=landmark_values(table, "x", "y"),
        predicted=data.to_original(landmarks.numpy().astype(np.float64)),
        errors=pixel_errors(landmarks, data.landmarks.cpu()).astype(np.float64),
        confidences=confidences.numpy().astype(np.float64),
        spreads=spreads.numpy().astype(np.float64),
        rate=table.get(RATE_COLUMN, pd.Series(np.nan, table.index)).to_numpy(),
    )


def pixel_errors(predicted: Tensor, annotated: Tensor) -> np.ndarray:
    """Return Euclidean distances in px: two [N, 4, 2] on the CPU → [N, 4], NaN where one is."""
    return torch.linalg.vector_norm(predicted - annotated, dim=-1).numpy()


def count_excellent(heatmaps: Tensor, landmarks: Tensor) -> Tensor:
    """Count the landmarks that are found within 10 px, the report's first band: heatmaps
    [B, 4, H, W] and landmarks [B, 4, 2] → float32 scalar. One that is NaN does not count."""
    errors = (argmax_landmarks(heatmaps) - landmarks).norm(dim=-1)
    return (errors <= BANDS[0]).sum(dtype=torch.float32)


def review_rules(predictions: Predictions, limit: float) -> dict[str, np.ndarray]:
    """Return which images each rule flags for review: name → bool [N]. limit: the confidence that
    every landmark of an image must reach."""
    rules = {"implausible prediction": ~is_plausible(predictions.predicted)}
    if not np.isnan(predictions.spreads).all():  # a single model has none
        is_split = (predictions.spreads > REVIEW_ERROR).any(axis=1)
        rules[f"spread above {REVIEW_ERROR} px"] = is_split
    is_sure = (predictions.confidences >= limit).all(axis=1)  # NaN is flagged too
    rules[f"confidence below {limit:g}"] = ~is_sure
    return rules


def needs_review(predictions: Predictions, limit: float) -> np.ndarray:
    """Return which images are flagged for review by any of the review_rules: bool [N]."""
    return np.any(list(review_rules(predictions, limit).values()), axis=0)


def choose_review_confidence(predictions: Predictions) -> float | None:
    """Return the lowest limit of the confidence, in steps of 0.05, at which review_rules together
    flag the images of at least 80 % of the landmarks more than 20 px off; None where no limit does.

    predictions: of validation images; those with a plausible annotation count.
    """
    predictions = predictions[is_plausible(predictions.annotated)]
    wrong = predictions.errors > REVIEW_ERROR
    if not wrong.any():
        return None
    for limit in np.arange(0, 1.05, 0.05).round(2):
        found = wrong[needs_review(predictions, limit)].sum()
        if found >= REVIEW_TARGET * wrong.sum():
            return limit
    return None


@dataclass
class ReaderComparison:
    """How far annotations, a second reader's landmarks and predictions lie apart.

    order: [N, 4], in which the second reader's ends match the annotated ones, as in_best_order
    finds it. distances: by what is compared, float64 [N, 4] in px of the 256×256 image; NaN where
    one of the two does not know the landmark, or the two are not comparable. left_out: by what is
    compared, the images in which both know landmarks, and are not comparable: bool [N].
    """

    order: np.ndarray
    distances: dict[str, np.ndarray]
    left_out: dict[str, np.ndarray]


def compare_readers(
    annotated: np.ndarray, second: np.ndarray, predicted: np.ndarray | None = None
) -> ReaderComparison:
    """Compare annotations, a second reader's landmarks and, where there are any, predictions, each
    pair with the ends matched as in_best_order does it.

    annotated, second, predicted: [N, 4, 2] in px of the 256×256 image, NaN where not known.
    """
    pairs = {"annotated to second reader": (second, annotated)}
    if predicted is not None:
        pairs["predicted to second reader"] = (second, predicted)
        pairs["predicted to annotated"] = (annotated, predicted)
    distances, left_out = {}, {}
    for name, (points, reference) in pairs.items():
        distances[name] = distances_in_best_order(points, reference)
        both_know = has_known(points) & has_known(reference)
        left_out[name] = both_know & ~are_comparable(points, reference)
    return ReaderComparison(in_best_order(second, annotated), distances, left_out)


def distances_in_best_order(landmarks: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return the distances of two readers' landmarks, [N, 4, 2] each, with the ends matched:
    [N, 4], NaN where a landmark is not known, and in images that are not comparable."""
    matched = reorder(landmarks, in_best_order(landmarks, reference))
    distances = np.linalg.norm(matched - reference, axis=-1)
    return np.where(are_comparable(landmarks, reference)[:, None], distances, np.nan)


def has_known(landmarks: np.ndarray) -> np.ndarray:
    """Return in which images any of the landmarks [N, 4, 2] is known: bool [N]."""
    return np.isfinite(landmarks).any(axis=(1, 2))


def compare_names(annotated: np.ndarray, predicted: np.ndarray) -> tuple[float, float]:
    """Return the mean error of the images with four annotated ends, as the ends are named and with
    the ends matched: a much lower second one says that they are named by another rule.

    annotated, predicted: [N, 4, 2] in px of the 256×256 image. Both are NaN without such images.
    """
    is_complete = np.isfinite(annotated).all(axis=(1, 2))
    if not is_complete.any():
        return np.nan, np.nan
    annotated, predicted = annotated[is_complete], predicted[is_complete]
    by_name = np.linalg.norm(predicted - annotated, axis=-1).mean()
    return by_name, distances_in_best_order(annotated, predicted).mean()
