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
    column, row = profile(landmarks[..., 1], height), profile(landmarks[..., 0], width)
    return F.threshold_(column[..., :, None] * row[..., None, :], CUTOFF, 0)


def argmax_landmarks(heatmaps: Tensor) -> Tensor:
    """Find each heatmap's maximum: [..., 4, H, W] → [..., 4, 2], (x, y) in whole px, float32."""
    width = heatmaps.shape[-1]
    index = heatmaps.flatten(-2).argmax(dim=-1)
    return torch.stack([index % width, index // width], dim=-1).float()


def confidence(heatmaps: Tensor) -> Tensor:
    """Return each heatmap's peak value, clamped to [0, 1]: [..., 4, H, W] → float32 [..., 4]. A
    network trained towards a peak of 1 gives lower ones, an average, where it is unsure."""
    return heatmaps.float().amax(dim=(-2, -1)).clamp(0, 1)
