"""Hypothesis 2's random transforms of a batch: images and landmarks move together."""

import math
from typing import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

# Report, "Hypothesis 2", augmentation strategy.
FLIP_PROBABILITY = 0.5
MAX_ROTATION = math.radians(15)
MAX_PHOTOMETRIC_CHANGE = 0.2  # brightness and contrast: factors in 0.8 … 1.2
ELASTIC_ALPHA = 50.0  # px
ELASTIC_SIGMA = 5.0  # px
NOISE_SIGMA = 0.02

# BPD-1 is the left end and BPD-2 the right end; a mirrored head has them the other way round.
# OFD-1 is the upper end, which a horizontal flip leaves where it is.
FLIPPED_ORDER = (0, 1, 3, 2)
INVERSION_STEPS = 20

Augment = Callable[[Tensor, Tensor, torch.Generator], tuple[Tensor, Tensor]]  # like augment


@torch.no_grad()
def augment(images: Tensor, landmarks: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Flip, rotate, deform, brighten, and add noise to each image of a batch, each differently.

    images: float [B, C, H, W] in [0, 1]. landmarks: float [B, 4, 2], (x, y) in pixels or NaN.
    generator: the only source of randomness; it may live on any device.
    Returns new tensors of the same shapes; the landmarks mark the same pixels as before, and may
    have left the frame. What comes in from outside the frame is 0.

    The three geometric transforms are one: an output pixel q takes its value from the input at
    flip(rotate(q + displacement(q))), so the image is interpolated once. No tensor is made from
    Python's numbers on the way: on a GPU that would wait for all the work before it.
    """
    batch, _, height, width = images.shape

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        draw = torch.rand(batch, *shape, generator=generator, device=generator.device)
        return low + (high - low) * draw.to(images)

    flip = uniform(0, 1, 1, 1) < FLIP_PROBABILITY
    angle = uniform(-MAX_ROTATION, MAX_ROTATION, 1, 1)
    change = MAX_PHOTOMETRIC_CHANGE
    brightness = uniform(1 - change, 1 + change, 1, 1, 1)
    contrast = uniform(1 - change, 1 + change, 1, 1, 1)
    displacement = _smooth(uniform(-1, 1, 2, height, width)) * ELASTIC_ALPHA
    noise_shape = (batch, 1, height, width)  # one for all channels: a grey image stays grey
    noise = torch.randn(noise_shape, generator=generator, device=generator.device).to(images)

    # Photometric changes come first, about the mean of the image itself, without the black corners
    # that a rotation brings in.
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    images = brightness * (mean + contrast * (images - mean))

    like = {"dtype": images.dtype, "device": images.device}
    y, x = torch.meshgrid(torch.arange(height, **like), torch.arange(width, **like), indexing="ij")
    target = torch.stack([x, y], dim=-1) + displacement.permute(0, 2, 3, 1)
    source = _rotate(target.flatten(1, 2), angle, height, width)
    source = torch.where(flip, _mirror(source, width), source).unflatten(1, (height, width))
    grid = _to_grid(source, height, width)
    images = F.grid_sample(images, grid, padding_mode="zeros", align_corners=True)
    inside = (grid.abs() <= 1).all(dim=-1)[:, None]
    images = (images + NOISE_SIGMA * noise).clamp(0, 1) * inside
    # From input to output: the inverse of each, in the opposite order.
    reordered = torch.stack([landmarks[:, i] for i in FLIPPED_ORDER], dim=1)
    moved = torch.where(flip, _mirror(reordered, width), landmarks)
    moved = _rotate(moved, -angle, height, width)
    return images, _undo_displacement(moved, displacement)


def _rotate(points: Tensor, angle: Tensor, height: int, width: int) -> Tensor:
    """Turn points [B, N, 2] about the image centre by angle [B, 1, 1], in radians."""
    center_x, center_y = (width - 1) / 2, (height - 1) / 2
    x, y = points[..., :1] - center_x, points[..., 1:] - center_y
    cos, sin = angle.cos(), angle.sin()
    return torch.cat([center_x + (cos * x - sin * y), center_y + (sin * x + cos * y)], dim=-1)


def _mirror(points: Tensor, width: int) -> Tensor:
    """Exchange left and right."""
    return torch.stack([width - 1 - points[..., 0], points[..., 1]], dim=-1)


def _to_grid(points: Tensor, height: int, width: int) -> Tensor:
    """(x, y) in pixels → the −1 … 1 of torch's grid_sample with align_corners=True."""
    x, y = points.unbind(dim=-1)
    return torch.stack([x * (2 / (width - 1)), y * (2 / (height - 1))], dim=-1) - 1


def _smooth(field: Tensor) -> Tensor:
    """Smooth the last two dimensions by a Gaussian, sigma 5 px, zero outside the frame (Simard et
    al. 2003, section 2): one matrix for the columns and one for the rows, which is fast and
    deterministic on every device."""

    def gaussian(length: int) -> Tensor:
        pixels = torch.arange(length, dtype=field.dtype, device=field.device)
        distance = pixels[:, None] - pixels
        density = torch.exp(-(distance**2) / (2 * ELASTIC_SIGMA**2))
        return density / (ELASTIC_SIGMA * math.sqrt(2 * math.pi))

    height, width = field.shape[-2:]
    return gaussian(height) @ field @ gaussian(width)


def _undo_displacement(points: Tensor, displacement: Tensor) -> Tensor:
    """Find q with q + displacement(q) = p for points p [B, N, 2], displacement [B, 2, H, W], by a
    damped fixed-point iteration: it converges wherever the elastic field does not fold."""
    q = points
    for _ in range(INVERSION_STEPS):
        grid = _to_grid(q, *displacement.shape[-2:])[:, None]
        shift = F.grid_sample(displacement, grid, padding_mode="border", align_corners=True)
        q = q + 0.5 * (points - q - shift[:, :, 0].transpose(1, 2))
    return q
