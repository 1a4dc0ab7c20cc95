"""Landmarks → Gaussian heatmaps, and back."""

import torch
import torch.nn.functional as F
from torch import Tensor

CUTOFF = 0.01  # values below are set to 0


def gaussian_heatmaps(landmarks: Tensor, size: tuple[int, int], sigma: float) -> Tensor:
    """Return a heatmap exp(−d²/2σ²) per landmark, d the distance to it; values below 0.01 are 0.

    landmarks: [..., 4, 2], (x, y) in pixels of the image; one that lies outside the frame is drawn
    at the nearest border pixel. size: (height, width). sigma: in pixels. Returns [..., 4, H, W] in
    the dtype of the landmarks and on their device.
    """
    height, width = size

    def profile(center: Tensor, length: int) -> Tensor:
        pixels = torch.arange(length, dtype=center.dtype, device=center.device)
        distance = pixels - center.clamp(0, length - 1)[..., None]
        return torch.exp(-(distance**2) / (2 * sigma**2))

    # exp(−(dx² + dy²)/2σ²) is a product of a row and a column: H + W exponentials, not H × W.
    column = profile(landmarks[..., 1], height)
    row = profile(landmarks[..., 0], width)
    heatmaps = column[..., :, None] * row[..., None, :]
    return F.threshold_(heatmaps, CUTOFF, 0)


def argmax_landmarks(heatmaps: Tensor) -> Tensor:
    """Return the (x, y) of each heatmap's maximum: [..., 4, H, W] → [..., 4, 2], float32 whole
    pixels."""
    width = heatmaps.shape[-1]
    index = heatmaps.flatten(-2).argmax(dim=-1)
    return torch.stack([index % width, index // width], dim=-1).float()


def confidence(heatmaps: Tensor) -> Tensor:
    """Return the confidence in a heatmap: its peak value, clamped to [0, 1].

    [..., 4, H, W] → float32 [..., 4].

    A network is trained towards a peak of 1. Unsure between places, it gives their average, whose
    peaks are lower.
    """
    return heatmaps.float().amax(dim=(-2, -1)).clamp(0, 1)
