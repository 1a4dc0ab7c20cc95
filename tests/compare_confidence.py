"""Which measure of a heatmap best tells a wrong landmark, and where to set the review flag.

    python -m tests.compare_confidence --csv_path ground_truth.csv --image_folder_path images \\
        --model_path hypothesis_3_resnet_unet.pth

This is how common.heatmaps.confidence and common.evaluation.REVIEW_CONFIDENCE were chosen. It
looks at validation images with a plausible annotation and at no others.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from common import UserError, cli
from common.biometry import measure_axes
from common.checkpoint import load_weights
from common.evaluation import REVIEW_ERROR, pixel_errors
from common.ground_truth import landmark_values, read_ground_truth, split_ground_truth
from common.heatmaps import argmax_landmarks, confidence
from common.images import load_images
from common.models import ResNetUNet, UNet
from common.testing import refuse_training_images

NETWORKS = {"1": UNet, "2": UNet, "3": ResNetUNet}
SIGMA = 10  # px, of the heatmaps that all three are trained towards
RESAMPLES = 2000
THRESHOLDS = np.arange(0.1, 1, 0.1)


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
    parser.add_argument("--model_path", required=True, help="trained weights")
    parser.add_argument("--hypothesis", choices=NETWORKS, default="3", help="whose weights")
    parser.add_argument("--split_by", choices=("image", "subject"), default="image")
    args = parser.parse_args(argv)
    rows = split_ground_truth(read_ground_truth(args.csv_path), args.split_by)["val"]
    rows = rows[measure_axes(landmark_values(rows, "x", "y"), rows.index)["plausible"]]
    if rows.empty:
        raise UserError(f"{args.csv_path}: no validation image has a plausible annotation")
    model = NETWORKS[args.hypothesis]().eval()
    checkpoint = load_weights(model, args.model_path)
    refuse_training_images(checkpoint, rows, args.model_path)
    data = load_images(rows, args.image_folder_path)
    starts = range(0, len(data), 8)
    heatmaps = torch.cat([model(data.batch(slice(i, i + 8))[0]) for i in starts])

    wrong = pixel_errors(argmax_landmarks(heatmaps), data.landmarks) > REVIEW_ERROR
    if not 0 < wrong.sum() < wrong.size:
        raise UserError(f"{wrong.sum()} of {wrong.size} landmarks are wrong: nothing to compare")
    print(f"{wrong.sum()} of {wrong.size} landmarks on {len(wrong)} images are wrong")
    print(f"\n{'AUROC':<24}95 % interval")
    for name, measure in MEASURES.items():
        value, low, high = auroc(measure(heatmaps).numpy(), wrong)
        print(f"{name:<24}{value:.3f} ({low:.3f} to {high:.3f})")
    print("\nBy peak value        images flagged   wrong landmarks in them")
    lowest = confidence(heatmaps).numpy().min(axis=1)
    for threshold in THRESHOLDS:
        flagged = lowest < threshold
        found = wrong[flagged].sum()
        print(
            f"  below {threshold:<11.1f}{flagged.sum():5d} ({flagged.mean():5.1%})"
            f"    {found:5d} ({found / wrong.sum():.1%})"
        )


if __name__ == "__main__":
    main()
