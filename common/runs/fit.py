"""A run of a trainer: what comes before the loop over the epochs, the loop, and what is printed."""

from __future__ import annotations

import copy
import math
import os
import time
from argparse import Namespace

import pandas as pd
import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from tqdm import tqdm

from common import UserError, ground_truth
from common.annotation_quality.biometry import describe_data
from common.annotation_quality.end_names import describe_end_names
from common.augmentation import Augment
from common.basics import processes
from common.basics.files import check_outputs
from common.ground_truth import has_landmarks, plain_name
from common.images import LandmarkImages, load_images
from common.models import count_parameters
from common.runs import checkpoint, devices
from common.runs.checkpoint import Run, checkpoint_path
from common.runs.curves import draw_curves
from common.training import train_one_epoch, training_batches, validate, validation_batches


def set_up(args: Namespace) -> torch.device:
    """Check that the outputs can be written, select the device and join torchrun's other processes.

    Returns the device of this process. Raises UserError for an output that could not be written,
    for initial weights that are missing, and for a device or a precision that is not available.
    """
    check_outputs(args, checkpoint_save_path=checkpoint_path(args.model_save_path))
    device = processes.init_process_group(devices.select_device(args.device))
    if args.precision == "fp16" and device.type == "cpu":
        raise UserError("--precision fp16 is for CUDA devices; on a CPU use bf16 or fp32")
    is_fresh = not checkpoint.will_resume(args)
    if is_fresh and args.initial_weights and not os.path.exists(args.initial_weights):
        raise UserError(f"{args.initial_weights}: no such file of weights")
    return device


def load_data(args: Namespace, device: torch.device) -> tuple[LandmarkImages, LandmarkImages]:
    """Read the ground truth, split it, and load the training and the validation set onto a device.

    Images without an annotated landmark are left out. Raises UserError for a row or an image that
    cannot be used, and where no image is left in one of the two sets.
    """
    table = ground_truth.read_ground_truth(args.csv_path)
    splits = ground_truth.split_ground_truth(table, args.split_by, args.csv_path)
    print(describe_data(splits))
    print(describe_end_names(table), end="")

    train, val = (splits[name][has_landmarks(splits[name])] for name in ("train", "val"))
    left_out = len(splits["train"]) + len(splits["val"]) - len(train) - len(val)
    if left_out:
        print(f"{left_out} images without a landmark stay out of training and validation")
    for rows, purpose in ((train, "training"), (val, "validation")):
        if rows.empty:
            raise UserError(f"{args.csv_path}: no image for {purpose} has an annotated landmark")

    data = load_images(pd.concat([train, val]), args.image_folder_path).to(device)
    print(f"In memory: {len(data)} images, {data.images.nbytes / 1e6:.1f} MB")
    return data[: len(train)], data[len(train) :]


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
    is a mean over the batch; a landmark that is NaN adds 0 to it. Raises UserError for another
    run's checkpoint, an unwritable file and a loss that is not finite."""
    device = train_set.images.device
    dtype = devices.autocast_dtype(args.precision, device)
    model.to(device)
    if dtype != torch.float32:
        # Channels last is faster in float32 too. But on a CPU batch normalisation then errs by 2e-4
        # and not by 1e-6, and float32 is to give the numbers of the published scripts.
        model.to(memory_format=torch.channels_last)
    scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
    replica = processes.data_parallel(model)
    print(f"{type(model).__name__}: {count_parameters(model):,} parameters")
    parts = {"model": model, "optimizer": optimizer, "scheduler": scheduler, "scaler": scaler}
    run = checkpoint.new_run(args, model, train_set, val_set)
    if checkpoint.will_resume(args):
        checkpoint.resume(parts, run)
    else:
        checkpoint.begin(model, run)
    _warn(run, val_set.names)
    first_epoch = len(run["val_losses"]) + 1
    last_saved, steps = time.monotonic(), math.ceil(len(train_set) / args.batch_size)
    for epoch in range(first_epoch, args.epochs + 1):
        epoch_started = time.monotonic()
        learning_rate = optimizer.param_groups[0]["lr"]
        name = f"Epoch {epoch:>{len(str(args.epochs))}}/{args.epochs}"
        # Each epoch has its own random stream: a resumed run draws what one without a stop draws.
        seed = args.seed + 1_000_003 * epoch
        own = processes.own_shares(training_batches(train_set, args.batch_size, seed, augment))
        batches = tqdm(own, name, steps, leave=False, unit="batch")
        totals = train_one_epoch(replica, loss, optimizer, scaler, batches, dtype=dtype)
        (train_loss,) = processes.means(totals)
        own = processes.own_shares(validation_batches(val_set, args.batch_size))
        val_loss, within = processes.means(validate(replica, loss, own, dtype))
        _check_finite(train_loss, val_loss, name)
        if isinstance(scheduler, ReduceLROnPlateau):
            scheduler.step(val_loss)
        else:
            scheduler.step()
        is_best = val_loss < min(run["val_losses"], default=math.inf)
        if is_best:
            run["best_model_state_dict"] = copy.deepcopy(model).cpu().state_dict()
        run["train_losses"].append(train_loss)
        run["val_losses"].append(val_loss)
        run["val_within_10_px"].append(within)
        run["learning_rates"].append(learning_rate)
        run["epoch_seconds"].append(time.monotonic() - epoch_started)
        is_due = epoch == args.epochs or time.monotonic() - last_saved >= args.checkpoint_seconds
        if is_due and processes.rank() == 0:
            checkpoint.save_run(parts, run)
            draw_curves(run, args.plot_save_path)
            last_saved = time.monotonic()
        print(
            f"{name} | train loss {train_loss:.6f} | val loss {val_loss:.6f} | "
            f"{within:.1%} within 10 px | lr {learning_rate:.2e} | "
            f"{run['epoch_seconds'][-1]:.1f} s{' | best so far' if is_best else ''}"
        )
    processes.destroy_process_group()
    _report(run, first_epoch, args)


def _warn(run: Run, val_names: list[str]) -> None:
    """Print which landmarks are not learned, and how many validation images may not be new."""
    for landmark in run["untrained_landmarks"]:
        print(f"{landmark} is annotated in no training image: what is found for it means nothing")
    seen = set(map(plain_name, run["train_images"])) & set(map(plain_name, val_names))
    if seen:
        which = f"{len(seen)} of {len(val_names)} validation images"
        print(f"Initial weights were trained on images of the same names as {which}")


def _check_finite(train_loss: float, val_loss: float, epoch: str) -> None:
    """Raise UserError for a loss that is not finite, before anything of this epoch is kept."""
    if not math.isfinite(train_loss + val_loss):
        raise UserError(
            f"{epoch}: a loss is not finite ({train_loss} in training, {val_loss} in validation): "
            "epochs since the last save are lost; start afresh with a lower --lr"
        )


def _report(run: Run, first_epoch: int, args: Namespace) -> None:
    """Print what the run has come to, and where its files are."""
    if first_epoch > args.epochs:
        print("All epochs are done already; nothing is left to train")
        draw_curves(run, args.plot_save_path)  # it may have been killed before
    figures, within = checkpoint.training_figures(run), run["val_within_10_px"]
    best = int(figures["in epoch"])
    print(
        f"Epochs:          {figures['Epochs']:.0f} in {figures['Minutes']:.1f} minutes\n"
        f"Validation loss: {figures['Lowest validation loss']:.6f} in epoch {best}, the lowest\n"
        f"Train-val gap:   {figures['Gap in the best epoch']:.6f} in epoch {best}, "
        f"{figures['Gap in the last epoch']:.6f} in the last\n"
        f"Within 10 px:    {within[best - 1]:.1%} in epoch {best}, {within[-1]:.1%} in the last, "
        "of the validation landmarks\n"
        f"Best model:      {args.model_save_path}\n"
        f"Checkpoint:      {checkpoint_path(args.model_save_path)}\n"
        f"Training curves: {args.plot_save_path}"
    )
