"""The training loop, what comes before it, and the warm-up schedule."""

from __future__ import annotations

import math
import time
from argparse import Namespace

import pandas as pd
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, ReduceLROnPlateau
from tqdm import tqdm

from common import UserError, distributed
from common.augmentation import Augment
from common.checkpoint import Run
from common.devices import (
    autocast_dtype,
    check_precision,
    seed_everything,
    select_device,
    use_fast_memory_format,
)
from common.files import claim, outputs_of, protect_images
from common.ground_truth import NAME_COLUMN, read_ground_truth, split_ground_truth
from common.images import LandmarkImages, load_images
from common.models import count_parameters
from common.summary import describe_splits


def prepare(args: Namespace) -> tuple[LandmarkImages, LandmarkImages]:
    """Seed everything, join torchrun's other processes, and load the training and the validation
    set onto the device.

    args: a trainer's. Raises UserError for a device, rows and images that cannot be used, and
    where another run writes to the same files.
    """
    with claim(*outputs_of(args).values()):  # to fail early; `fit` claims them while it runs
        pass
    device = distributed.join(select_device(args.device), args.batch_size)
    check_precision(args.precision, device)
    seed_everything(args.seed)
    table = read_ground_truth(args.csv_path)
    protect_images(args, table[NAME_COLUMN])
    splits = split_ground_truth(table, args.split_by)
    print(describe_splits(splits))
    train = splits["train"]
    data = load_images(pd.concat([train, splits["val"]]), args.image_folder_path)
    print(f"In memory: {len(data)} images, {data.images.nbytes / 1e6:.1f} MB")
    data = data.to(device)
    return data[: len(train)], data[len(train) :]


def warmup_cosine(optimizer: Optimizer, epochs: int, warmup_epochs: int, min_lr: float) -> LambdaLR:
    """Linear warm-up to the optimiser's learning rate, then a cosine to `min_lr` at the last
    epoch (Loshchilov & Hutter 2017, eq. 5, one period). It is stepped once an epoch.

    Epoch 1 trains at lr / warmup_epochs and epoch `warmup_epochs` at lr. With no more epochs than
    warm-up there is warm-up only. A learning rate below min_lr stays where it is.
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


def fit(
    model: nn.Module,
    loss: nn.Module,
    optimizer: Optimizer,
    scheduler: LRScheduler,
    train_set: LandmarkImages,
    val_set: LandmarkImages,
    args: Namespace,
    augment: Augment | None = None,
) -> None:
    """Train a model, keep the state with the lowest validation loss, and part from the other
    processes.

    train_set and val_set lie on one device, and the model is moved there. loss(heatmaps,
    landmarks) is a mean over the batch. args: a trainer's. augment changes the training batches.
    See `Run` for what is written and when.
    Raises UserError when the checkpoint does not belong to this run, another run writes to its
    files, a file cannot be written, or a loss is not finite.
    """
    device = train_set.images.device
    dtype = autocast_dtype(args.precision, device)
    use_fast_memory_format(model.to(device), dtype)
    scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
    network = distributed.wrap(model)
    parts = {"model": model, "optimizer": optimizer, "scheduler": scheduler, "scaler": scaler}
    print(f"{type(model).__name__}: {count_parameters(model):,} parameters")
    started = time.monotonic()

    with claim(*outputs_of(args).values()), Run(parts, train_set, val_set, args) as run:
        first_epoch = run.checkpoint["epoch"] + 1
        for epoch in range(first_epoch, args.epochs + 1):
            description = f"Epoch {epoch}/{args.epochs}"
            epoch_started = time.monotonic()
            learning_rate = optimizer.param_groups[0]["lr"]
            train_loss = train_one_epoch(
                network,
                loss,
                optimizer,
                scaler,
                train_set,
                args.batch_size,
                # Each epoch has its own stream of random numbers, which depends on nothing before
                # it: a resumed run draws what the uninterrupted one would have drawn.
                seed=args.seed + 1_000_003 * epoch,
                dtype=dtype,
                augment=augment,
                description=description,
            )
            val_loss = validate(network, loss, val_set, args.batch_size, dtype, description)
            if isinstance(scheduler, ReduceLROnPlateau):
                scheduler.step(val_loss)
            else:
                scheduler.step()
            seconds = time.monotonic() - epoch_started
            is_best = run.end_epoch(train_loss, val_loss, learning_rate)
            print(
                f"Epoch {epoch:>{len(str(args.epochs))}}/{args.epochs} | train loss "
                f"{train_loss:.6f} | val loss {val_loss:.6f} | lr {learning_rate:.2e} | "
                f"{seconds:.1f} s{' | best so far' if is_best else ''}"
            )

    distributed.leave()
    if first_epoch > args.epochs:
        print(f"All {args.epochs} epochs are done already; nothing is left to train")
        return
    best = run.checkpoint["best_epoch"]
    losses = zip(run.checkpoint["val_losses"], run.checkpoint["train_losses"])
    gaps = [val_loss - train_loss for val_loss, train_loss in losses]
    print(
        f"Trained {args.epochs + 1 - first_epoch} epochs in "
        f"{(time.monotonic() - started) / 60:.1f} minutes; best validation loss "
        f"{run.checkpoint['best_val_loss']:.6f} in epoch {best}\n"
        f"Train-val gap:   {gaps[best - 1]:.6f} in epoch {best}, {gaps[-1]:.6f} in the last\n"
        f"Best model:      {args.model_save_path}\n"
        f"Checkpoint:      {args.checkpoint_save_path}\n"
        f"Training curves: {args.plot_save_path}"
    )


def train_one_epoch(
    model: nn.Module,
    loss: nn.Module,
    optimizer: Optimizer,
    scaler: torch.amp.GradScaler,
    data: LandmarkImages,
    batch_size: int,
    *,
    seed: int,
    dtype: torch.dtype = torch.float32,
    augment: Augment | None = None,
    description: str = "Epoch",
) -> float:
    """One pass over the data in an order drawn from `seed`; returns the mean loss per image.

    Raises UserError, naming the first such batch, if a loss is not finite.
    """
    device = data.images.device
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed)).to(device)
    generator = torch.Generator(device).manual_seed(seed)
    model.train()
    losses: list[Tensor] = []  # summed over a batch each
    shown = time.monotonic()
    bar = tqdm(order.split(batch_size), description, leave=False, unit="batch")
    for rows in bar:
        images, landmarks = data.batch(rows)
        if augment is not None:
            images, landmarks = augment(images, landmarks, generator)
        own, weight = distributed.share(len(rows))
        with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
            batch_loss = loss(model(images[own]), landmarks[own]) * weight
        optimizer.zero_grad()
        # The processes' gradients are averaged, and those of their shares are to be added up.
        scaler.scale(batch_loss * distributed.processes()).backward()
        scaler.step(optimizer)
        scaler.update()
        losses.append(batch_loss.detach() * len(rows))
        # Reading a number from the GPU waits for it, so the bar does so once in a while only.
        if time.monotonic() - shown > 1:
            seen = min(len(losses) * batch_size, len(data)) / distributed.processes()
            mean = sum(losses).item() / seen
            if not math.isfinite(mean) and distributed.processes() == 1:
                break
            bar.set_postfix(loss=f"{mean:.6f}")
            shown = time.monotonic()
    return _mean(losses, len(data), f"{description}: the training loss")


@torch.inference_mode()
def validate(
    model: nn.Module,
    loss: nn.Module,
    data: LandmarkImages,
    batch_size: int,
    dtype: torch.dtype = torch.float32,
    description: str = "Epoch",
) -> float:
    """The mean loss per image, without training. Raises UserError if it is not finite."""
    model.eval()
    losses = []
    for start in range(0, len(data), batch_size):
        images, landmarks = data.batch(slice(start, start + batch_size))
        with torch.autocast(images.device.type, dtype=dtype, enabled=dtype != torch.float32):
            own, weight = distributed.share(len(images))
            losses.append(loss(model(images[own]), landmarks[own]) * weight * len(images))
    return _mean(losses, len(data), f"{description}: the validation loss")


def _mean(losses: list[Tensor], count: int, name: str) -> float:
    """The sum of the losses of all batches over the number of images.

    Raises UserError, naming the first such batch, if one is not finite.
    """
    totals = distributed.total(torch.stack(losses))
    bad = (~torch.isfinite(totals)).nonzero()
    if len(bad):
        raise UserError(
            f"{name} of batch {bad[0].item() + 1} is not finite. Nothing of this epoch is saved; "
            "what was saved before it, if anything, is good. Try a lower --lr"
        )
    return sum(totals).item() / count  # batch after batch; Tensor.sum would round differently
