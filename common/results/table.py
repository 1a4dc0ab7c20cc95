"""A test is a table: one row per image, as a tester writes it."""

import numpy as np
import pandas as pd

from common.annotation_quality.biometry import circumference, diameters, measure_axes
from common.evaluation import Predictions
from common.ground_truth import NAME_COLUMN, RATE_COLUMN, landmark_columns
from common.results.metrics import ERROR, LENGTHS
from common.results.review import needs_review


def prediction_table(
    predictions: Predictions,
    split: str,
    model_sha256: str,
    review_confidence: float,
    trusted: np.ndarray,
) -> pd.DataFrame:
    """Return what is known of each image after a test; the rest is NaN. The columns are explained
    in ReadMe_Complete.txt, FILES AND COLUMNS. trusted: bool [4], the landmarks whose predictions
    mean something; without the others, whether a prediction is plausible is not known."""
    annotated, predicted = predictions.annotated_px, predictions.predicted_px
    errors_px = np.linalg.norm(predicted - annotated, axis=-1)
    meant = np.where(trusted[:, None], predicted, np.nan)
    columns = {
        NAME_COLUMN: predictions.names,
        "split": split,
        "annotation_plausible": measure_axes(annotated)["plausible"],
        "prediction_plausible": measure_axes(meant)["plausible"],
        "review_confidence": review_confidence,
        "model_sha256": model_sha256,
    }
    by_landmark = {
        "x": annotated[..., 0],
        "y": annotated[..., 1],
        "pred_x": predicted[..., 0],
        "pred_y": predicted[..., 1],
        ERROR: predictions.errors,
        "error_px": errors_px,
        "confidence": predictions.confidences,
        "spread_px256": predictions.spreads,
    }
    has_rate = np.isfinite(predictions.rate).any()
    if has_rate:
        columns[RATE_COLUMN] = predictions.rate
        by_landmark["error_mm"] = predictions.rate[:, None] * errors_px
    columns |= landmark_columns(by_landmark)
    lengths = zip(LENGTHS, _lengths(annotated), _lengths(predicted))
    for length, in_annotation, in_prediction in lengths:
        columns |= {f"{length}_px": in_annotation, f"{length}_pred_px": in_prediction}
        if has_rate:
            columns[f"{length}_mm"] = predictions.rate * in_annotation
            columns[f"{length}_pred_mm"] = predictions.rate * in_prediction
    table = pd.DataFrame(columns)
    table.insert(4, "review", needs_review(table, review_confidence, trusted))
    return table


def _lengths(landmarks: np.ndarray) -> np.ndarray:
    """Measure the LENGTHS, OFD, BPD and the circumference: [N, 4, 2] → [3, N]."""
    of_both = diameters(landmarks)
    return np.array([*of_both.T, circumference(of_both)])
