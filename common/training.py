"""The training loop, what comes before it, and the warm-up schedule."""

from __future__ import annotations

import copy
import math
import time
from argparse import Namespace
from collections.abc import Iterator
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, ReduceLROnPlateau
from tqdm import tqdm

from common import UserError, devices, distributed, ground_truth, plots
from common.augmentation import Augment
from common.checkpoint import (
    begin,
    check_processes,
    checkpoint_path,
    is_resumed,
    resume,
    save_run,
)
from common.evaluation import count_excellent
from common.files import check_outputs
from common.images import LandmarkImages, dataset_fingerprint, load_images
from common.models import count_parameters
from common.summary import describe_annotations, describe_splits

MIN_NAMED_BY_DIRECTION = 0.75  # of the rows: 0.5 is chance, the report's file has 0.94 and 0.96


def set_up(args: Namespace) -> torch.device:
    """Check that the outputs can be written, select the device and join torchrun's other processes.

    Returns the device of this process. Raises UserError for an output that could not be written,
    and for a device or a precision that is not available.
    """
    check_outputs(args, checkpoint_save_path=checkpoint_path(args.model_save_path))
    device = distributed.init_process_group(devices.select_device(args.device))
    if args.precision == "fp16" and device.type == "cpu":
        raise UserError("--precision fp16 is for CUDA devices; on a CPU use bf16 or fp32")
    return device


def load_data(args: Namespace, device: torch.device) -> tuple[LandmarkImages, LandmarkImages]:
    """Read the ground truth, split it, and load the training and the validation set onto a device.

    Images without an annotated landmark are left out. Raises UserError for a row or an image that
    cannot be used, and where no image is left in one of the two sets.
    """
    table = ground_truth.read_ground_truth(args.csv_path)
    splits = ground_truth.split_ground_truth(table, args.split_by, args.csv_path)
    print(describe_splits(splits))
    print(describe_annotations(splits))
    print(describe_end_names(table), end="")

    train = splits["train"][ground_truth.has_landmarks(splits["train"])]
    val = splits["val"][ground_truth.has_landmarks(splits["val"])]
    left_out = len(splits["train"]) + len(splits["val"]) - len(train) - len(val)
    if left_out:
        print(f"{left_out} images without a landmark stay out of training and validation")
    for rows, purpose in ((train, "training"), (val, "validation")):
        if rows.empty:
            raise UserError(f"{args.csv_path}: no image for {purpose} has an annotated landmark")

    data = load_images(pd.concat([train, val]), args.image_folder_path).to(device)
    print(f"In memory: {len(data)} images, {data.images.nbytes / 1e6:.1f} MB")
    return data[: len(train)], data[len(train) :]


def describe_end_names(table: pd.DataFrame) -> str:
    """Return a line for a whole ground truth whose ends are not named by their direction, else "".

    That is where OFD-1 is the upper end, or BPD-1 the left one, in less than MIN_NAMED_BY_DIRECTION
    of the rows that have both ends.
    """
    counts = ground_truth.count_named_by_direction(table)
    if all(named >= MIN_NAMED_BY_DIRECTION * known for named, known in counts.values()):
        return ""
    (upper, ofd_known), (left, bpd_known) = counts["OFD-1"], counts["BPD-1"]
    return (
        f"OFD-1 is the upper end in {upper} of {ofd_known} rows, and BPD-1 the left one in {left} "
        f"of {bpd_known}. A network learns names that the direction gives, and Hypothesis 2's flip "
        "relies on them. python -m common.name_ends names ends so: see DATA, YOUR OWN IMAGES, "
        "PYTHON in ReadMe_Complete.txt\n"
    )


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
    run = _describe_run(args, model, train_set, val_set)
    if is_resumed(args):
        run, history = resume(parts, run)
    else:
        run, history = begin(model, run)
    _warn(run, val_set.names)
    first_epoch = len(history["val_losses"]) + 1
    last_saved = time.monotonic()
    for epoch in range(first_epoch, args.epochs + 1):
        epoch_started = time.monotonic()
        learning_rate = optimizer.param_groups[0]["lr"]
        name = f"Epoch {epoch}/{args.epochs}"
        # Each epoch has its own random stream: a resumed run draws what one without a stop draws.
        seed = args.seed + 1_000_003 * epoch
        batches = epoch_batches(train_set, args.batch_size, seed, augment, name)
        train_loss = train_one_epoch(replica, loss, optimizer, scaler, batches, dtype=dtype)
        val_loss, within = validate(replica, loss, val_set, args.batch_size, dtype)
        _check_finite(train_loss, val_loss, name)
        if isinstance(scheduler, ReduceLROnPlateau):
            scheduler.step(val_loss)
        else:
            scheduler.step()
        is_best = val_loss < min(history["val_losses"], default=math.inf)
        if is_best:
            history["best_model_state_dict"] = copy.deepcopy(model.state_dict())
        history["train_losses"].append(train_loss)
        history["val_losses"].append(val_loss)
        history["val_within_10_px"].append(within)
        history["learning_rates"].append(learning_rate)
        history["epoch_seconds"].append(time.monotonic() - epoch_started)
        is_due = epoch == args.epochs or time.monotonic() - last_saved >= args.checkpoint_seconds
        if is_due and distributed.rank() == 0:
            save_run(parts, run, history)
            plots.training_curves(history, args.plot_save_path)
            last_saved = time.monotonic()
        print(_describe_epoch(history, args.epochs, is_best))

    distributed.destroy_process_group()
    _report(history, first_epoch, args)


def epoch_batches(
    data: LandmarkImages,
    batch_size: int,
    seed: int,
    augment: Augment | None = None,
    label: str = "Epoch",
) -> tqdm:
    """Return the batches of one epoch, in a progress bar: images, float32 [B, 3, 256, 256], and
    landmarks, [B, 4, 2]. The order and the augmentation are drawn from `seed`."""
    device = data.images.device
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed)).to(device)
    rng = torch.Generator(device).manual_seed(seed)

    def draw() -> Iterator[tuple[Tensor, Tensor]]:
        for indices in order.split(batch_size):
            images, landmarks = data.batch(indices)
            if augment is not None:
                images, landmarks = augment(images, landmarks, rng)
            yield images, landmarks

    number = math.ceil(len(data) / batch_size)
    return tqdm(draw(), label, number, leave=False, unit="batch")


def train_one_epoch(
    model: nn.Module,
    loss: nn.Module,
    optimizer: Optimizer,
    scaler: torch.amp.GradScaler,
    batches: tqdm,
    dtype: torch.dtype = torch.float32,
) -> float:
    """Train on each batch of epoch_batches once. Returns the mean loss of the annotated landmarks,
    which is not finite as soon as that of one batch is not."""
    device = next(model.parameters()).device
    totals = torch.zeros(2, device=device)  # the sum of the landmarks' losses, and their number
    last_shown = time.monotonic()
    model.train()
    for images, landmarks in batches:
        own_images, own_landmarks, share = distributed.shard(images, landmarks)
        with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
            batch_loss = share * loss(model(own_images), own_landmarks)
        optimizer.zero_grad()
        # The loss of the batch is a sum over the processes, but their gradients are averaged.
        scaler.scale(distributed.world_size() * batch_loss).backward()
        scaler.step(optimizer)
        scaler.update()
        # A missing landmark has a loss of 0, so the sum over all is that of the annotated ones.
        loss_sum = batch_loss.detach() * landmarks.shape[:2].numel()
        totals += torch.stack([loss_sum, _count_annotated(own_landmarks)])
        # Reading a number from the GPU waits for it, so the bar does so about once a second.
        if time.monotonic() - last_shown > 1:
            mean = (totals[0] / totals[1]).item()
            if not math.isfinite(mean) and distributed.world_size() == 1:
                break  # in a run of several processes, the others would wait for this one
            batches.set_postfix(loss=f"{mean:.6f}")
            last_shown = time.monotonic()
    loss_sum, annotated = distributed.sum_over_processes(totals).tolist()
    return loss_sum / annotated


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
    device = data.images.device
    totals = torch.zeros(3, device=device)  # as in train_one_epoch, and how many are excellent
    model.eval()
    for start in range(0, len(data), batch_size):
        images, landmarks = data.batch(slice(start, start + batch_size))
        own_images, own_landmarks, share = distributed.shard(images, landmarks)
        with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
            heatmaps = model(own_images)
            batch_loss = share * loss(heatmaps, own_landmarks)
        loss_sum = batch_loss * landmarks.shape[:2].numel()
        excellent = count_excellent(heatmaps, own_landmarks)
        totals += torch.stack([loss_sum, _count_annotated(own_landmarks), excellent])
    loss_sum, annotated, excellent = distributed.sum_over_processes(totals).tolist()
    return loss_sum / annotated, excellent / annotated


def _count_annotated(landmarks: Tensor) -> Tensor:
    """Count the landmarks, [B, 4, 2], that are annotated: float32 scalar."""
    return torch.isfinite(landmarks).all(dim=-1).sum(dtype=torch.float32)


def _describe_run(
    args: Namespace, model: nn.Module, train_set: LandmarkImages, val_set: LandmarkImages
) -> dict[str, Any]:
    """Return what a checkpoint says of the run itself. Raises UserError where that is not the same
    in every process."""
    annotated_images = torch.isfinite(train_set.landmarks).all(dim=-1).sum(dim=0)
    run = {
        "args": vars(args),
        "parameters": count_parameters(model),
        "dataset_fingerprint": dataset_fingerprint(train_set, val_set),
        "train_images": train_set.names,
        "initial_train_images": [],
        "untrained_landmarks": [
            name
            for name, images in zip(ground_truth.LANDMARK_NAMES, annotated_images.tolist())
            if images == 0
        ],
    }
    check_processes(run)
    return run


def _warn(run: dict[str, Any], val_names: list[str]) -> None:
    """Print which landmarks are not learned, and how many validation images may not be new."""
    for landmark in run["untrained_landmarks"]:
        print(f"{landmark} is annotated in no training image: what is found for it means nothing")
    trained_on = {ground_truth.plain_name(name) for name in run["train_images"]}
    seen = trained_on.intersection(map(ground_truth.plain_name, val_names))
    if seen:
        print(
            "Initial weights were trained on images of the same names as "
            f"{len(seen)} of {len(val_names)} validation images"
        )


def _check_finite(train_loss: float, val_loss: float, epoch: str) -> None:
    """Raise UserError for a loss that is not finite, before anything of this epoch is kept."""
    for name, loss in (("training", train_loss), ("validation", val_loss)):
        if not math.isfinite(loss):
            raise UserError(
                f"{epoch}: the {name} loss is not finite. Epochs since the last save are lost; "
                "what was saved is good. Start afresh with a lower --lr"
            )


def _describe_epoch(history: dict[str, Any], epochs: int, is_best: bool) -> str:
    """Return the line of the epoch that is the last one of the history."""
    return (
        f"Epoch {len(history['val_losses']):>{len(str(epochs))}}/{epochs} | "
        f"train loss {history['train_losses'][-1]:.6f} | "
        f"val loss {history['val_losses'][-1]:.6f} | "
        f"{history['val_within_10_px'][-1]:.1%} within 10 px | "
        f"lr {history['learning_rates'][-1]:.2e} | "
        f"{history['epoch_seconds'][-1]:.1f} s{' | best so far' if is_best else ''}"
    )


def _report(history: dict[str, Any], first_epoch: int, args: Namespace) -> None:
    """Print what the run has come to, and where its files are."""
    if first_epoch > args.epochs:
        print(f"All {args.epochs} epochs are done already; nothing is left to train")
        plots.training_curves(history, args.plot_save_path)  # it may have been killed before
        return
    train_losses = history["train_losses"]
    val_losses = history["val_losses"]
    within = history["val_within_10_px"]
    best = val_losses.index(min(val_losses))
    gap_of_best = val_losses[best] - train_losses[best]
    gap_of_last = val_losses[-1] - train_losses[-1]
    seconds = history["epoch_seconds"]  # of all epochs, but for those that an older version trained
    print(
        f"Trained {len(seconds)} epochs in {sum(seconds) / 60:.1f} minutes; best "
        f"validation loss {val_losses[best]:.6f} in epoch {best + 1}\n"
        f"Train-val gap:   {gap_of_best:.6f} in epoch {best + 1}, {gap_of_last:.6f} in the last\n"
        f"Within 10 px:    {within[best]:.1%} in epoch {best + 1}, {within[-1]:.1%} in the last, "
        "of the validation landmarks\n"
        f"Best model:      {args.model_save_path}\n"
        f"Checkpoint:      {checkpoint_path(args.model_save_path)}\n"
        f"Training curves: {args.plot_save_path}"
    )
