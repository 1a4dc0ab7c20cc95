"""One epoch of training, one of validation, and the warm-up schedule."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from tqdm import tqdm

from common.augmentation import Augment
from common.evaluation import count_excellent
from common.images import LandmarkImages

# Images [B, 3, 256, 256], landmarks [B, 4, 2], and the weight of their loss: 1, but where several
# processes share a batch unevenly.
Batch = tuple[Tensor, Tensor, float]


def training_batches(
    data: LandmarkImages, batch_size: int, seed: int, augment: Augment | None = None
) -> Iterator[Batch]:
    """Yield the batches of one epoch. Their order and the augmentation are drawn from `seed`."""
    device = data.images.device
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed)).to(device)
    generator = torch.Generator(device).manual_seed(seed)
    for indices in order.split(batch_size):
        images, landmarks = data.batch(indices)
        if augment is not None:
            images, landmarks = augment(images, landmarks, generator)
        yield images, landmarks, 1.0


def validation_batches(data: LandmarkImages, batch_size: int) -> Iterator[Batch]:
    """Yield all images, in their order."""
    for start in range(0, len(data), batch_size):
        yield *data.batch(slice(start, start + batch_size)), 1.0


def train_one_epoch(
    model: nn.Module,
    loss: nn.Module,
    optimizer: Optimizer,
    scaler: torch.amp.GradScaler,
    batches: tqdm,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Train on each of the training_batches once, given with a progress bar. Returns the number of
    annotated landmarks and the sum of their losses: float32 [2]."""
    device = next(model.parameters()).device
    totals = torch.zeros(2, device=device)
    last_shown = time.monotonic()
    model.train()
    for images, landmarks, weight in batches:
        with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
            batch_loss = loss(model(images), landmarks)
        optimizer.zero_grad()
        scaler.scale(weight * batch_loss).backward()
        scaler.step(optimizer)
        scaler.update()
        totals += torch.stack(_number_and_loss(batch_loss, landmarks))
        # Reading a number from the GPU waits for it, so the bar does so about once a second.
        if time.monotonic() - last_shown > 1:
            batches.set_postfix(loss=f"{(totals[1] / totals[0]).item():.6f}")
            last_shown = time.monotonic()
    return totals


@torch.inference_mode()
def validate(
    model: nn.Module, loss: nn.Module, batches: Iterable[Batch], dtype: torch.dtype = torch.float32
) -> Tensor:
    """Return, without training, the same two as train_one_epoch, and how many of these landmarks
    are found within 10 px (the report's "Excellent"): float32 [3]."""
    device = next(model.parameters()).device
    totals = torch.zeros(3, device=device)
    model.eval()
    for images, landmarks, _ in batches:
        with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
            heatmaps = model(images)
            batch_loss = loss(heatmaps, landmarks)
        excellent = count_excellent(heatmaps, landmarks)
        totals += torch.stack([*_number_and_loss(batch_loss, landmarks), excellent])
    return totals


def _number_and_loss(batch_loss: Tensor, landmarks: Tensor) -> tuple[Tensor, Tensor]:
    """Return how many of the landmarks [B, 4, 2] are annotated, and the sum of their losses from
    the mean over the batch, in which the others are 0: float32 scalars."""
    number = torch.isfinite(landmarks).all(dim=-1).sum(dtype=torch.float32)
    return number, batch_loss.detach() * landmarks.shape[:2].numel()


def warmup_cosine(optimizer: Optimizer, epochs: int, warmup_epochs: int, min_lr: float) -> LambdaLR:
    """Warm up linearly to the optimiser's learning rate, from lr / warmup_epochs in epoch 1; then
    follow a cosine to `min_lr` at the last epoch (Loshchilov & Hutter 2017, eq. 5, one period).
    """
    lr = optimizer.param_groups[0]["lr"]
    min_lr = min(min_lr, lr)
    warmup_epochs = max(warmup_epochs, 1)  # without warm-up, the first epoch trains at lr

    def factor(finished_epochs: int) -> float:
        epoch = finished_epochs + 1
        if epoch <= warmup_epochs:
            return epoch / warmup_epochs
        progress = min((epoch - warmup_epochs) / max(epochs - warmup_epochs, 1), 1.0)
        return (min_lr + (lr - min_lr) * (1 + math.cos(math.pi * progress)) / 2) / lr

    return LambdaLR(optimizer, factor)
