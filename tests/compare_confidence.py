"""Which measure of a heatmap best tells a wrong landmark, where to set the limit of the review
flag, and whether a Gaussian filter of the heatmaps helps.

    python -m tests.compare_confidence --csv_path ground_truth.csv --image_folder_path images \\
        --model_path hypothesis_3_resnet_unet.pth

This is how common.heatmaps.confidence and the limits in the testers were chosen
(ReadMe_Complete.txt, section 11). It looks at validation images with a plausible annotation and at
no others.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from common import UserError, cli
from common.biometry import measure_axes
from common.checkpoint import load_weights
from common.evaluation import (
    REVIEW_ERROR,
    errors_of,
    pixel_errors,
    predict,
    prediction_table,
    review_rules,
)
from common.ground_truth import landmark_values, read_ground_truth, split_ground_truth
from common.heatmaps import argmax_landmarks, confidence
from common.images import load_images
from common.models import ResNetUNet, UNet
from common.testing import refuse_training_images

NETWORKS = {"1": UNet, "2": UNet, "3": ResNetUNet}
SIGMA = 10  # px, of the heatmaps that all three are trained towards
RESAMPLES = 2000
LIMITS = np.arange(0, 1, 0.05)


def narrowness(heatmaps: Tensor) -> Tensor:
    """Sigma over the spread of what is at least half the peak value, 1 where it is narrower.

    [..., 4, H, W] → [..., 4]. The spread is the sigma of the Gaussian that has as large an area
    above half its peak value: 2π ln 2 sigma².
    """
    peak = heatmaps.amax(dim=(-2, -1), keepdim=True)
    area = (heatmaps >= peak / 2).sum(dim=(-2, -1))
    spread = (area / (2 * math.pi * math.log(2))).sqrt()
    return (SIGMA / spread).clamp(max=1)


def lead(heatmaps: Tensor) -> Tensor:
    """1 − the highest value more than 3 sigma from the peak, over the peak value.

    [..., 4, H, W] → [..., 4].
    """
    height, width = heatmaps.shape[-2:]
    x, y = argmax_landmarks(heatmaps).split(1, dim=-1)
    dx, dy = torch.arange(width) - x, torch.arange(height) - y
    is_far = dx[..., None, :] ** 2 + dy[..., :, None] ** 2 > (3 * SIGMA) ** 2
    second = heatmaps.masked_fill(~is_far, -math.inf).amax(dim=(-2, -1))
    return (1 - second / heatmaps.amax(dim=(-2, -1)).clamp(min=1e-6)).clamp(0, 1)


MEASURES = {"peak value": confidence, "narrowness": narrowness, "lead over second mode": lead}


def auroc(confidences: np.ndarray, wrong: np.ndarray) -> tuple[float, float, float]:
    """AUROC and its 95 % bootstrap interval over images, as the four landmarks of one image are
    not independent: [N, 4]."""
    random = np.random.default_rng(0)
    values = []
    while len(values) < RESAMPLES:
        rows = random.integers(0, len(wrong), len(wrong))
        if 0 < wrong[rows].sum() < wrong.size:
            values.append(roc_auc_score(wrong[rows].ravel(), -confidences[rows].ravel()))
    return roc_auc_score(wrong.ravel(), -confidences.ravel()), *np.percentile(values, [2.5, 97.5])


@cli.reports_errors()
@torch.inference_mode()
def main(argv: list[str] | None = None) -> None:
    parser = cli.Parser("Compare measures of confidence on plausible validation images.")
    cli.add_data_arguments(parser)
    parser.add_argument("--model_path", required=True, nargs="+", help="trained weights")
    parser.add_argument("--hypothesis", choices=NETWORKS, default="3", help="whose weights")
    parser.add_argument("--split_by", choices=("image", "subject"), default="image")
    args = parser.parse_args(argv)
    rows = split_ground_truth(read_ground_truth(args.csv_path), args.split_by)["val"]
    rows = rows[measure_axes(landmark_values(rows, "x", "y"), rows.index)["plausible"]]
    if rows.empty:
        raise UserError(f"{args.csv_path}: no validation image has a plausible annotation")
    models = []
    for path in args.model_path:
        models.append(NETWORKS[args.hypothesis]().eval())
        refuse_training_images(load_weights(models[-1], path), rows, path)
    data = load_images(rows, args.image_folder_path)
    prediction = predict(models, data, 8)
    table = prediction_table(
        rows, data, prediction, split="val", model_sha256="", review_confidence=0
    )
    wrong = errors_of(table) > REVIEW_ERROR
    if not 0 < wrong.sum() < wrong.size:
        raise UserError(f"{wrong.sum()} of {wrong.size} landmarks are wrong: nothing to compare")
    print(f"{wrong.sum()} of {wrong.size} landmarks on {len(wrong)} images are wrong")
    batches = [data.batch(slice(i, i + 8))[0] for i in range(0, len(data), 8)]
    heatmaps = torch.cat([sum(model(batch) for model in models) / len(models) for batch in batches])

    print(f"\n{'AUROC':<24}95 % interval")
    for name, measure in MEASURES.items():
        value, low, high = auroc(measure(heatmaps).numpy(), wrong)
        print(f"{name:<24}{value:.3f} ({low:.3f} to {high:.3f})")

    print("\nThe review flag, by the limit of its confidence")
    for limit in LIMITS:
        flagged = np.any(list(review_rules(table.assign(review_confidence=limit)).values()), axis=0)
        found = wrong[flagged].sum()
        print(
            f"  below {limit:<6.2f}{flagged.sum():5d} images ({flagged.mean():5.1%})"
            f"{found:5d} wrong landmarks ({found / wrong.sum():.1%})"
        )

    print("\nHeatmaps refined by a Gaussian filter: mean and median error")
    for sigma in (0, 1, 2, 3, 4):
        refined = gaussian_blur(heatmaps, 8 * sigma + 1, sigma) if sigma else heatmaps
        errors = pixel_errors(argmax_landmarks(refined), data.landmarks)
        print(f"  sigma {sigma} px{errors.mean():9.2f}{np.median(errors):7.2f}")


if __name__ == "__main__":
    main()
