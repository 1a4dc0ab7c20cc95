"""The training loop, what comes before it, and the warm-up schedule."""

from __future__ import annotations

import copy
import math
import os
import time
from argparse import Namespace
from typing import Any

import pandas as pd
import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, ReduceLROnPlateau
from tqdm import tqdm

from common import UserError, devices, distributed, ground_truth, plots
from common.augmentation import Augment
from common.checkpoint import HISTORY, begin_or_resume, checkpoint_path, save_run
from common.evaluation import count_excellent
from common.files import check_outputs
from common.images import LandmarkImages, dataset_fingerprint, load_images
from common.models import count_parameters
from common.summary import describe_annotations, describe_splits


def prepare(args: Namespace) -> tuple[LandmarkImages, LandmarkImages]:
    """Seed everything, join torchrun's other processes, and load the training and validation sets
    onto the device. Raises UserError for an output, device, row or image that cannot be used."""
    check_outputs(args, checkpoint_save_path=checkpoint_path(args.model_save_path))
    device = distributed.init_process_group(devices.select_device(args.device))
    if args.precision == "fp16" and device.type == "cpu":
        raise UserError("--precision fp16 is for CUDA devices; on a CPU use bf16 or fp32")
    devices.make_repeatable(args.seed)
    table = ground_truth.read_ground_truth(args.csv_path)
    splits = ground_truth.split_ground_truth(table, args.split_by, args.csv_path)
    print(f"{describe_splits(splits)}\n{describe_annotations(splits)}")
    train, val = (splits[n][ground_truth.has_landmarks(splits[n])] for n in ("train", "val"))
    left_out = len(splits["train"]) + len(splits["val"]) - len(train) - len(val)
    if left_out:
        print(f"{left_out} images without a landmark stay out of training and validation")
    if train.empty or val.empty:
        name = "training" if train.empty else "validation"
        raise UserError(f"{args.csv_path}: no image for {name} has an annotated landmark")
    data = load_images(pd.concat([train, val]), args.image_folder_path).to(device)
    print(f"In memory: {len(data)} images, {data.images.nbytes / 1e6:.1f} MB")
    return data[: len(train)], data[len(train) :]


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
    """Train on the device of the two sets, from epoch 1 or where a checkpoint ends (--resume), and
    save the last state and the weights with the lowest validation loss. loss(heatmaps, landmarks)
    is a mean over the batch; a landmark that is NaN adds 0 to it.

    Raises UserError for another run's checkpoint, an unwritable file and a loss that is not finite.
    """
    device = train_set.images.device
    dtype = devices.autocast_dtype(args.precision, device)
    model.to(device)
    if dtype != torch.float32:
        # Channels last is faster in float32 too. But on a CPU batch normalisation then errs by 2e-4
        # and not by 1e-6, and float32 is to give the numbers of the published scripts.
        model.to(memory_format=torch.channels_last)
    scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
    replica = distributed.data_parallel(model)
    print(f"{type(model).__name__}: {count_parameters(model):,} parameters")
    parts = {"model": model, "optimizer": optimizer, "scheduler": scheduler, "scaler": scaler}
    run = _describe_run(args, train_set, val_set)
    history = begin_or_resume(parts, run)  # fills the parts, and adds earlier trainings to run
    _warn(run, val_set.names)
    first_epoch = len(history["val_losses"]) + 1
    started = last_saved = time.monotonic()
    for epoch in range(first_epoch, args.epochs + 1):
        name, epoch_started = f"Epoch {epoch}/{args.epochs}", time.monotonic()
        learning_rate = optimizer.param_groups[0]["lr"]
        # Each epoch has its own random stream: a resumed run draws what one without a stop draws.
        seed = args.seed + 1_000_003 * epoch
        train_loss = train_one_epoch(
            replica, loss, optimizer, scaler, train_set, args.batch_size, seed, dtype, augment, name
        )
        val_loss, within = validate(replica, loss, val_set, args.batch_size, dtype)
        if not math.isfinite(train_loss + val_loss):
            which = "validation" if math.isfinite(train_loss) else "training"
            advice = "Epochs since the last save are lost; what was saved is good. Try a lower --lr"
            raise UserError(f"{name}: the {which} loss is not finite. {advice}")
        if isinstance(scheduler, ReduceLROnPlateau):
            scheduler.step(val_loss)
        else:
            scheduler.step()
        is_best = val_loss < min(history["val_losses"], default=math.inf)
        if is_best:
            history["best_model_state_dict"] = copy.deepcopy(model.state_dict())
        for key, value in zip(HISTORY, (train_loss, val_loss, within, learning_rate)):
            history[key].append(value)
        seconds = time.monotonic() - epoch_started
        is_due = epoch == args.epochs or time.monotonic() - last_saved >= args.checkpoint_seconds
        if is_due and distributed.rank() == 0:
            save_run(parts, run, history)
            plots.training_curves(history, args.plot_save_path)
            last_saved = time.monotonic()
        print(
            f"Epoch {epoch:>{len(str(args.epochs))}}/{args.epochs} | train loss {train_loss:.6f} | "
            f"val loss {val_loss:.6f} | {within:.1%} within 10 px | lr {learning_rate:.2e} | "
            f"{seconds:.1f} s{' | best so far' if is_best else ''}"
        )

    distributed.destroy_process_group()
    _report(history, first_epoch, (time.monotonic() - started) / 60, args)


def _describe_run(args: Namespace, train: LandmarkImages, val: LandmarkImages) -> dict[str, Any]:
    """Return what a checkpoint says of the run itself."""
    is_annotated = torch.isfinite(train.landmarks).all(dim=-1).any(dim=0)
    landmarks = zip(ground_truth.LANDMARK_NAMES, is_annotated)
    return {
        "args": vars(args),
        "dataset_fingerprint": dataset_fingerprint(train, val),
        "train_images": train.names,
        "untrained_landmarks": [name for name, is_known in landmarks if not is_known],
    }


def _warn(run: dict[str, Any], val_names: list[str]) -> None:
    for landmark in run["untrained_landmarks"]:
        print(f"{landmark} is annotated in no training image: what is found for it means nothing")
    trained, validated = (set(map(os.path.normpath, n)) for n in (run["train_images"], val_names))
    if seen := len(trained & validated):
        print(f"Initial weights were trained on {seen} of {len(val_names)} validation images")


def train_one_epoch(
    model: nn.Module,
    loss: nn.Module,
    optimizer: Optimizer,
    scaler: torch.amp.GradScaler,
    data: LandmarkImages,
    batch_size: int,
    seed: int,
    dtype: torch.dtype = torch.float32,
    augment: Augment | None = None,
    label: str = "Epoch",
) -> float:
    """Make one pass over the data in an order drawn from `seed`. Returns the mean loss of the
    annotated landmarks, which is not finite as soon as that of one batch is not."""
    device = data.images.device
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed)).to(device)
    rng = torch.Generator(device).manual_seed(seed)
    annotated = data.annotated_shares()
    model.train()
    total, seen = torch.zeros((), device=device), 0
    last_shown = time.monotonic()
    bar = tqdm(order.split(batch_size), label, leave=False, unit="batch")
    for indices in bar:
        images, landmarks = data.batch(indices)
        if augment is not None:
            images, landmarks = augment(images, landmarks, rng)
        images, landmarks, weight = distributed.shard(images, landmarks)
        with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
            batch_loss = weight * loss(model(images), landmarks)
        optimizer.zero_grad()
        scaler.scale(batch_loss).backward()
        scaler.step(optimizer)
        scaler.update()
        # A missing landmark has a loss of 0, so the sum is that of the annotated ones.
        total += batch_loss.detach() * len(indices)
        seen += len(indices)
        # Reading a number from the GPU waits for it, so the bar does so about once a second.
        if time.monotonic() - last_shown > 1:
            mean = (total / annotated[order[:seen]].sum()).item()
            if not math.isfinite(mean) and distributed.world_size() == 1:
                break  # in a run of several processes, the others would wait for this one
            bar.set_postfix(loss=f"{mean:.6f}")
            last_shown = time.monotonic()
    return distributed.mean(total).item() / annotated.sum().item()


@torch.inference_mode()
def validate(
    model: nn.Module,
    loss: nn.Module,
    data: LandmarkImages,
    batch_size: int,
    dtype: torch.dtype = torch.float32,
) -> tuple[float, float]:
    """Return, without training, the mean loss of the annotated landmarks and the share of them that
    is found within 10 px (the report's "Excellent")."""
    model.eval()
    annotated = data.annotated_shares().sum().item()  # a quarter of the landmarks
    totals = torch.zeros(2, device=data.images.device)
    for start in range(0, len(data), batch_size):
        batch = data.batch(slice(start, start + batch_size))
        images, landmarks, weight = distributed.shard(*batch)
        with torch.autocast(images.device.type, dtype=dtype, enabled=dtype != torch.float32):
            heatmaps = model(images)
            batch_loss = weight * loss(heatmaps, landmarks)
        excellent = count_excellent(heatmaps, landmarks) * (weight > 0)
        totals += torch.stack([batch_loss * len(batch[0]), excellent])
    total, excellent = distributed.mean(totals).tolist()
    return total / annotated, excellent * distributed.world_size() / (4 * annotated)


def _report(history: dict[str, Any], first_epoch: int, minutes: float, args: Namespace) -> None:
    if first_epoch > args.epochs:
        print(f"All {args.epochs} epochs are done already; nothing is left to train")
        plots.training_curves(history, args.plot_save_path)  # it may have been killed before
        return
    train_losses, val_losses, within, _ = (history[name] for name in HISTORY)
    best = val_losses.index(min(val_losses))
    gaps = [val_loss - train_loss for val_loss, train_loss in zip(val_losses, train_losses)]
    print(
        f"Trained {args.epochs + 1 - first_epoch} epochs in {minutes:.1f} minutes; best "
        f"validation loss {val_losses[best]:.6f} in epoch {best + 1}\n"
        f"Train-val gap:   {gaps[best]:.6f} in epoch {best + 1}, {gaps[-1]:.6f} in the last\n"
        f"Within 10 px:    {within[best]:.1%} in epoch {best + 1}, {within[-1]:.1%} in the last, "
        "of the validation landmarks\n"
        f"Best model:      {args.model_save_path}\n"
        f"Checkpoint:      {checkpoint_path(args.model_save_path)}\n"
        f"Training curves: {args.plot_save_path}"
    )
