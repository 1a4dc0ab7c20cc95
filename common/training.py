"""The one training loop, the warm-up schedule, and what a run saves."""

from __future__ import annotations

import math
import os
import random
import time
from pathlib import Path
from typing import Any, Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, ReduceLROnPlateau
from tqdm import tqdm

from common import plots
from common.dataset import LandmarkImages
from common.heatmaps import gaussian_heatmaps

Augment = Callable[[Tensor, Tensor, torch.Generator], "tuple[Tensor, Tensor]"]


def seed_everything(seed: int) -> None:
    """Seed torch, NumPy and Python, and hold cuDNN to repeatable algorithms (report,
    "Reproducibility")."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 -- the global generator is what the report seeds
    torch.manual_seed(seed)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False


def warmup_cosine(
    optimizer: Optimizer, epochs: int, warmup_epochs: int, final_lr: float
) -> LambdaLR:
    """Linear warm-up to the optimiser's learning rate, then a cosine to `final_lr` at the last
    epoch (Loshchilov & Hutter 2017, eq. 5, one period). It is stepped once an epoch.

    Epoch 1 trains at lr / warmup_epochs and epoch `warmup_epochs` at lr. With no more epochs than
    warm-up there is warm-up only.
    """
    lr = optimizer.param_groups[0]["lr"]
    warmup_epochs = max(warmup_epochs, 1)  # without warm-up, the first epoch trains at lr

    def factor(finished_epochs: int) -> float:
        epoch = finished_epochs + 1
        if epoch <= warmup_epochs:
            return epoch / warmup_epochs
        progress = min((epoch - warmup_epochs) / max(epochs - warmup_epochs, 1), 1.0)
        return (final_lr + (lr - final_lr) * (1 + math.cos(math.pi * progress)) / 2) / lr

    return LambdaLR(optimizer, factor)


def fit(
    model: nn.Module,
    criterion: nn.Module,
    optimizer: Optimizer,
    scheduler: LRScheduler,
    train_set: LandmarkImages,
    val_set: LandmarkImages,
    *,
    epochs: int,
    batch_size: int,
    seed: int,
    model_save_path: str,
    plot_save_path: str,
    augment: Augment | None = None,
    mixed_precision: bool = False,
    plot_learning_rate: bool = False,
    settings: dict[str, Any] | None = None,
) -> None:
    """Train a model and keep the state with the lowest validation loss.

    model, train_set and val_set lie on one device. criterion(heatmaps, target heatmaps) is a mean.
    augment changes the training batches. mixed_precision: FP16 with gradient scaling on CUDA,
    float32 elsewhere. settings: what the checkpoint is to remember of the command line.

    After each epoch it writes the model (if it is the best so far), `<stem>_checkpoint.pth` beside
    it with all that is needed to go on, and the curves.
    """
    device = next(model.parameters()).device
    mixed_precision = mixed_precision and device.type == "cuda"
    scaler = torch.amp.GradScaler(device.type, enabled=mixed_precision)
    checkpoint_path = checkpoint_path_of(model_save_path)
    history: dict[str, list[float]] = {"train_losses": [], "val_losses": [], "learning_rates": []}
    best_loss, best_epoch = math.inf, 0
    started = time.perf_counter()

    for epoch in range(1, epochs + 1):
        epoch_started = time.perf_counter()
        learning_rate = optimizer.param_groups[0]["lr"]
        train_loss = train_one_epoch(
            model,
            criterion,
            optimizer,
            scaler,
            train_set,
            batch_size=batch_size,
            # Each epoch has its own stream of random numbers, which depends on nothing before it.
            seed=seed + 1_000_003 * epoch,
            augment=augment,
            description=f"Epoch {epoch}/{epochs}",
        )
        val_loss = validate(model, criterion, val_set, batch_size, mixed_precision)
        if isinstance(scheduler, ReduceLROnPlateau):
            scheduler.step(val_loss)
        else:
            scheduler.step()
        history["train_losses"].append(train_loss)
        history["val_losses"].append(val_loss)
        history["learning_rates"].append(learning_rate)
        is_best = val_loss < best_loss
        if is_best:
            best_loss, best_epoch = val_loss, epoch
            save(model.state_dict(), model_save_path)
        save(
            {
                "epoch": epoch,
                "model_state_dict": model.state_dict(),
                "optimizer_state_dict": optimizer.state_dict(),
                "scheduler_state_dict": scheduler.state_dict(),
                "scaler_state_dict": scaler.state_dict(),
                **history,
                "best_val_loss": best_loss,
                "best_epoch": best_epoch,
                "args": settings or {},
            },
            checkpoint_path,
        )
        plots.training_curves(history, plot_save_path, with_learning_rate=plot_learning_rate)
        print(
            f"Epoch {epoch:>{len(str(epochs))}}/{epochs} | train loss {train_loss:.6f} | "
            f"val loss {val_loss:.6f} | lr {learning_rate:.2e} | "
            f"{time.perf_counter() - epoch_started:.1f} s" + (" | best so far" if is_best else ""),
            flush=True,
        )

    print(
        f"Trained {epochs} epochs in {(time.perf_counter() - started) / 60:.1f} minutes; "
        f"best validation loss {best_loss:.6f} in epoch {best_epoch}\n"
        f"Best model:      {model_save_path}\n"
        f"Checkpoint:      {checkpoint_path}\n"
        f"Training curves: {plot_save_path}"
    )


def train_one_epoch(
    model: nn.Module,
    criterion: nn.Module,
    optimizer: Optimizer,
    scaler: torch.amp.GradScaler,
    data: LandmarkImages,
    *,
    batch_size: int,
    seed: int,
    augment: Augment | None = None,
    description: str = "",
) -> float:
    """One pass over the data in an order drawn from `seed`; returns the mean loss per image."""
    device = data.images.device
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed)).to(device)
    generator = torch.Generator(device).manual_seed(seed)
    model.train()
    total = torch.zeros((), device=device)
    bar = tqdm(order.split(batch_size), description, leave=False, unit="batch")
    shown, seen = time.monotonic(), 0
    for rows in bar:
        images, landmarks = data.batch(rows)
        if augment is not None:
            images, landmarks = augment(images, landmarks, generator)
        target = gaussian_heatmaps(landmarks, images.shape[-2:])
        with torch.autocast(device.type, dtype=torch.float16, enabled=scaler.is_enabled()):
            loss = criterion(model(images), target)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        total += loss.detach() * len(rows)
        seen += len(rows)
        # Reading a number from the GPU waits for it, so the bar does so once in a while only.
        if time.monotonic() - shown > 1:
            bar.set_postfix(loss=f"{total.item() / seen:.6f}")
            shown = time.monotonic()
    return total.item() / len(data)


@torch.inference_mode()
def validate(
    model: nn.Module,
    criterion: nn.Module,
    data: LandmarkImages,
    batch_size: int,
    mixed_precision: bool = False,
) -> float:
    """The mean loss per image, without training."""
    device = data.images.device
    model.eval()
    total = torch.zeros((), device=device)
    for start in range(0, len(data), batch_size):
        images, landmarks = data.batch(slice(start, start + batch_size))
        target = gaussian_heatmaps(landmarks, images.shape[-2:])
        with torch.autocast(device.type, dtype=torch.float16, enabled=mixed_precision):
            total += criterion(model(images), target) * len(images)
    return total.item() / len(data)


def checkpoint_path_of(model_save_path: str) -> str:
    """`<stem>_checkpoint.pth` beside the model file."""
    path = Path(model_save_path)
    return str(path.with_name(f"{path.stem}_checkpoint.pth"))


def save(content: dict[str, Any], path: str) -> None:
    """torch.save beside the target, then moved over it: a kill leaves the old file or the new."""
    temporary = f"{path}.tmp"
    torch.save(content, temporary)
    os.replace(temporary, path)
