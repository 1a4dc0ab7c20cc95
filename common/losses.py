"""From heatmaps and landmarks to a loss, and the Adaptive Wing loss of Hypothesis 3."""

import torch
from torch import Tensor, nn

from common.heatmaps import gaussian_heatmaps


class HeatmapLoss(nn.Module):
    """Apply criterion(heatmaps, target heatmaps), a mean over all elements, to heatmaps and the
    Gaussians of sigma px that the landmarks call for."""

    def __init__(self, criterion: nn.Module, sigma: float) -> None:
        super().__init__()
        self.criterion, self.sigma = criterion, sigma

    def forward(self, heatmaps: Tensor, landmarks: Tensor) -> Tensor:
        """heatmaps [B, 4, H, W], landmarks [B, 4, 2] in (x, y) px → scalar. Where a landmark is
        NaN, heatmap and target count as equal."""
        target = gaussian_heatmaps(landmarks, heatmaps.shape[-2:], self.sigma)
        is_annotated = torch.isfinite(landmarks).all(dim=-1)[..., None, None]
        heatmaps = torch.where(is_annotated, heatmaps, 0)
        return self.criterion(heatmaps, torch.where(is_annotated, target, 0))


class AdaptiveWingLoss(nn.Module):
    """Adaptive Wing loss for heatmap regression (Wang et al. 2019, eq. 3), mean over all elements.

    With d = |target − pred| and p = alpha − target,

        d < theta:   omega · ln(1 + (d / epsilon)^p)
        d ≥ theta:   A · d − C

    where A and C make the value and the slope continuous at d = theta. Close to a landmark
    (target → 1) the exponent p is small and small errors count; on the background (target → 0) p
    is large and they hardly do. The defaults are the paper's values.
    """

    def __init__(
        self, omega: float = 14, theta: float = 0.5, epsilon: float = 1, alpha: float = 2.1
    ) -> None:
        super().__init__()
        self.omega, self.theta, self.epsilon, self.alpha = omega, theta, epsilon, alpha

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """pred, target: heatmaps of one shape, target in [0, 1] → scalar, float32 or wider."""
        # FP16 ends at 65,504 and has three digits: half-precision heatmaps are widened first.
        dtype = torch.promote_types(torch.promote_types(pred.dtype, target.dtype), torch.float32)
        pred, target = pred.to(dtype), target.to(dtype)

        difference = (target - pred).abs()
        exponent = self.alpha - target
        ratio = self.theta / self.epsilon
        slope = self.omega * exponent * ratio ** (exponent - 1) / (1 + ratio**exponent)
        slope = slope / self.epsilon  # A in the paper
        offset = self.theta * slope - self.omega * torch.log1p(ratio**exponent)  # C

        # torch.where also differentiates the branch that it does not take. Held at theta, the
        # logarithm cannot overflow there and turn the other branch's gradient into NaN.
        near = (difference.clamp(max=self.theta) / self.epsilon) ** exponent
        far = slope * difference - offset
        return torch.where(difference < self.theta, self.omega * torch.log1p(near), far).mean()
