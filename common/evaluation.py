"""Predictions, their pixel errors, and what is said of them."""

from __future__ import annotations

import textwrap

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from tqdm import tqdm

from common.biometry import audit_annotations, diameters, normalised_errors
from common.dataset import (
    IMAGE_SIZE,
    LANDMARK_NAMES,
    NAME_COLUMN,
    RATE_COLUMN,
    LandmarkImages,
    coordinates,
)
from common.heatmaps import argmax_landmarks, confidence

# Upper ends of the report's first three bands, in px of the 256×256 image ("Performance
# Distribution"); the fourth is open.
BANDS = (10, 20, 50)
BAND_NAMES = ("Excellent (≤10 px)", "Good (10-20 px)", "Poor (20-50 px)", "Failure (>50 px)")

# A landmark more than 20 px off is to be looked at again, and a diameter should be measured to
# 5 mm (report, "Clinical Relevance").
REVIEW_ERROR = 20  # px of the 256×256 image
CLINICAL_TARGET = 5  # mm
# An image with a landmark of less confidence than this is flagged. Chosen on validation images
# (ReadMe_Complete.txt, "Confidence and review").
REVIEW_CONFIDENCE = 0.8
MAX_NAMES_SHOWN = 20

LANDMARKS = tuple(name.lower().replace("-", "_") for name in LANDMARK_NAMES)  # as in columns
DIAMETERS = ("ofd", "bpd")


@torch.inference_mode()
def predict(model: nn.Module, data: LandmarkImages, batch_size: int) -> tuple[Tensor, Tensor]:
    """The landmarks that the model finds, and how confident it is of each.

    Returns float32 [N, 4, 2], (x, y) in px of the 256×256 image, and float32 [N, 4] in [0, 1].
    `data` lies on the model's device; the results are on the CPU.
    """
    model.eval()
    predicted, confidences = [], []
    starts = range(0, len(data), batch_size)
    for start in tqdm(starts, "Predicting", leave=False, unit="batch"):
        images, _ = data.batch(slice(start, start + batch_size))
        heatmaps = model(images)
        predicted.append(argmax_landmarks(heatmaps))
        confidences.append(confidence(heatmaps))
    return torch.cat(predicted).cpu(), torch.cat(confidences).cpu()


def pixel_errors(predicted: Tensor, true: Tensor) -> np.ndarray:
    """Euclidean distances in pixels: two [N, 4, 2] → [N, 4]."""
    return torch.linalg.vector_norm(predicted - true, dim=-1).numpy()


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
    true = coordinates(ground_truth)
    found = predicted.numpy().astype(np.float64) * data.sizes[:, None, :] / IMAGE_SIZE
    errors_px256 = pixel_errors(predicted, data.landmarks.cpu()).astype(np.float64)
    errors_px = np.linalg.norm(found - true, axis=-1)
    trust = confidences.numpy().astype(np.float64)
    columns = {
        NAME_COLUMN: ground_truth[NAME_COLUMN].to_numpy(),
        "split": split,
        "annotation_plausible": audit_annotations(ground_truth)["plausible"].to_numpy(),
        "review": (trust < REVIEW_CONFIDENCE).any(axis=1),
        "model_sha256": model_sha256,
    }
    for i, name in enumerate(LANDMARKS):
        columns[f"{name}_x"], columns[f"{name}_y"] = true[:, i].T
        columns[f"{name}_pred_x"], columns[f"{name}_pred_y"] = found[:, i].T
        columns[f"{name}_error_px256"] = errors_px256[:, i]
        columns[f"{name}_error_px"] = errors_px[:, i]
        columns[f"{name}_confidence"] = trust[:, i]
    for name, length, found_length in zip(DIAMETERS, diameters(true).T, diameters(found).T):
        columns[f"{name}_px"], columns[f"{name}_pred_px"] = length, found_length
        if RATE_COLUMN in ground_truth:
            rate = ground_truth[RATE_COLUMN].to_numpy()
            columns[f"{name}_mm"], columns[f"{name}_pred_mm"] = rate * length, rate * found_length
    return pd.DataFrame(columns)


def report(table: pd.DataFrame) -> str:
    """What a prediction_table comes to, as lines to print: the pixel errors and the biometry of
    all rows, what the review flag finds, and the errors where the annotation is plausible."""
    plausible = table[table["annotation_plausible"]]
    parts = [_figures(table), review_summary(table)]
    if len(plausible) == len(table):
        parts.append("All these annotations are plausible.")
    elif plausible.empty:
        parts.append("None of these annotations is plausible.")
    else:
        title = f"The {len(plausible)} of {len(table)} images with a plausible annotation"
        parts += [f"{title}\n{'-' * len(title)}", _figures(plausible)]
    return "\n\n".join(parts)


def errors_of(table: pd.DataFrame) -> np.ndarray:
    """The pixel errors in a prediction_table: float64 [N, 4], in px of the 256×256 image."""
    return table[[f"{name}_error_px256" for name in LANDMARKS]].to_numpy()


def _figures(table: pd.DataFrame) -> str:
    return f"{error_summary(errors_of(table))}\n\n{biometry_summary(table)}"


def biometry_summary(table: pd.DataFrame) -> str:
    """How well the diameters of a prediction_table are measured, as lines to print."""

    def points(suffix: str) -> np.ndarray:
        names = [f"{name}{suffix}_{axis}" for name in LANDMARKS for axis in "xy"]
        return table[names].to_numpy().reshape(-1, 4, 2)

    normalised = normalised_errors(points("_pred"), points(""))
    lines = [f"{'Biometry (px of the original image)':<37}mean ± std      median"]
    for unit in ("px", "mm"):
        if f"ofd_{unit}" not in table:
            continue
        for name in DIAMETERS:
            error = (table[f"{name}_pred_{unit}"] - table[f"{name}_{unit}"]).abs().dropna()
            if error.empty:
                continue
            line = (
                f"  {name.upper()} absolute error, {unit:<14}"
                f"{error.mean():7.2f} ± {error.std(ddof=0):<8.2f}{error.median():7.2f}"
            )
            if unit == "mm":
                within = (error <= CLINICAL_TARGET).mean()
                line += f"   {within:.1%} of {len(error)} within {CLINICAL_TARGET} mm"
            lines.append(line)
    for name, error in zip(DIAMETERS, normalised.T):
        error = error[np.isfinite(error)]
        if error.size:
            lines.append(
                f"  {name.upper()} normalised mean error     {error.mean():9.4f} ± "
                f"{error.std():<8.4f}{np.median(error):7.4f}"
            )
    return "\n".join(lines)


def review_summary(table: pd.DataFrame) -> str:
    """Which images of a prediction_table are flagged, and what that finds, as lines to print."""
    flagged = table["review"].to_numpy()
    lines = [
        f"Review: {flagged.sum()} of {len(table)} images flagged, for a confidence below "
        f"{REVIEW_CONFIDENCE:g}"
    ]
    wrong = errors_of(table) > REVIEW_ERROR
    if wrong.any():
        lines.append(
            f"  They hold {wrong[flagged].sum()} of the {wrong.sum()} landmarks more than "
            f"{REVIEW_ERROR} px off"
        )
    if flagged.any():
        lowest = table.loc[flagged, [f"{name}_confidence" for name in LANDMARKS]].min(axis=1)
        names = table.loc[lowest.sort_values(kind="stable").index, NAME_COLUMN].tolist()
        shown = names[:MAX_NAMES_SHOWN]
        if len(names) > len(shown):
            shown.append(f"… and {len(names) - len(shown)} more (--csv_save_path names all)")
        text = f"Least confident first: {', '.join(shown)}"
        lines += textwrap.wrap(text, 78, initial_indent="  ", subsequent_indent="  ")
    return "\n".join(lines)


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
