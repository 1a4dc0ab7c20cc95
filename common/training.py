"""The one training loop, the warm-up schedule, and what a run saves."""

from __future__ import annotations

import copy
import hashlib
import io
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

from common import UserError, plots
from common.dataset import LandmarkImages
from common.files import write_file
from common.heatmaps import gaussian_heatmaps
from common.models import read_file, read_state_dict

Augment = Callable[[Tensor, Tensor, torch.Generator], "tuple[Tensor, Tensor]"]

PRECISIONS = ("auto", "fp32", "fp16", "bf16")

# Arguments that change nothing in what a run computes: where things lie, and on what it runs.
# (Whether the data are the same is told by their content.)
MAY_CHANGE_ON_RESUME = (
    "csv_path",
    "image_folder_path",
    "model_save_path",
    "plot_save_path",
    "augmentation_save_path",
    "device",
    "resume",
    "checkpoint_seconds",
)

# What a run did before these settings existed, whose names its checkpoint therefore lacks.
LATER_SETTINGS = {"split_by": "image", "augment": False}


def seed_everything(seed: int) -> None:
    """Seed torch, NumPy and Python, and hold torch and cuDNN to repeatable algorithms (report,
    "Reproducibility")."""
    # cuBLAS reads this when CUDA starts, and without it torch refuses matrix products there.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # nothing here reads such memory
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 -- the global generator is what the report seeds
    torch.manual_seed(seed)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    # TF32 has ten bits where float32 has 23: an H100 is to give a T4's numbers.
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def autocast_dtype(precision: str, device: torch.device) -> torch.dtype:
    """What a precision means on a device: auto is FP16 on CUDA and float32 elsewhere."""
    if precision == "auto":
        precision = "fp16" if device.type == "cuda" else "fp32"
    return {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[precision]


def use_fast_memory_format(model: nn.Module, dtype: torch.dtype) -> None:
    """Lay the channels last in memory where the precision is reduced.

    It is faster in float32 too. But on a CPU, PyTorch's batch normalisation then errs by 2e-4
    where it otherwise errs by 1e-6 (measured on [8, 64, 256, 256]), and a float32 run is to give
    the numbers of the published way.
    """
    if dtype != torch.float32:
        model.to(memory_format=torch.channels_last)


def check_precision(precision: str, device: torch.device) -> None:
    """Raise UserError for a precision that the device cannot do; say so if it is only slow."""
    if precision == "fp16" and device.type != "cuda":
        raise UserError("--precision fp16 is for CUDA devices; on a CPU use bf16 or fp32")
    if precision == "bf16":
        if device.type == "cuda":
            fast = torch.cuda.is_bf16_supported(including_emulation=False)
        else:
            fast = torch.ops.mkldnn._is_mkldnn_bf16_supported()
        if not fast:
            print("This device has no bf16 arithmetic of its own: bf16 will be slow")


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
    settings: dict[str, Any],
    epochs_may_change: bool = False,
    resume: bool = False,
    checkpoint_seconds: float = 60,
    augment: Augment | None = None,
    precision: str = "fp32",
    plot_learning_rate: bool = False,
) -> None:
    """Train a model and keep the state with the lowest validation loss.

    model, train_set and val_set lie on one device. criterion(heatmaps, target heatmaps) is a mean.
    augment changes the training batches. precision: one of PRECISIONS. settings: the arguments of
    the run, kept in the checkpoint; a resumed run must have the same, those in
    MAY_CHANGE_ON_RESUME apart, and `epochs` where epochs_may_change (where the schedule does not
    depend on their number).

    Three files are written after an epoch when checkpoint_seconds have passed since the last time,
    and whenever the training ends, in whatever way: the best model so far, then
    `<stem>_checkpoint.pth` with all that is needed to go on, and the curves. What stood there
    before a fresh start is moved aside.
    Raises UserError when the checkpoint does not belong to this run, or a loss is not finite.
    """
    device = next(model.parameters()).device
    dtype = autocast_dtype(precision, device)
    scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
    use_fast_memory_format(model, dtype)
    checkpoint_path = checkpoint_path_of(model_save_path)
    settings = {**settings, "data_sha256": content_hash(train_set, val_set)}
    history: dict[str, list[float]] = {"train_losses": [], "val_losses": [], "learning_rates": []}
    finished, best_epoch, best_loss = 0, 0, math.inf
    best_weights = None

    if resume and Path(checkpoint_path).exists():
        checkpoint = _read_checkpoint(checkpoint_path, settings, epochs_may_change)
        best_weights = _read_best_weights(checkpoint, model_save_path)
        model.load_state_dict(checkpoint["model_state_dict"])
        optimizer.load_state_dict(checkpoint["optimizer_state_dict"])
        scheduler.load_state_dict(checkpoint["scheduler_state_dict"])
        if scaler.is_enabled() and checkpoint["scaler_state_dict"]:
            scaler.load_state_dict(checkpoint["scaler_state_dict"])
        history = {key: checkpoint[key] for key in history}
        finished, best_epoch = checkpoint["epoch"], checkpoint["best_epoch"]
        best_loss = checkpoint["best_val_loss"]
        print(f"Going on after epoch {finished} of {checkpoint_path}")
        if finished >= epochs:
            print(f"All {epochs} epochs are done already; nothing is left to train")
            return
    else:
        if resume:
            print(f"{checkpoint_path}: no checkpoint there, so training starts at epoch 1")
        _move_aside(model_save_path, checkpoint_path)

    def save_all(checkpoint: dict[str, Any]) -> None:
        # The model goes first: a kill between the two leaves a checkpoint that will find the same
        # best model again.
        save(best_weights, model_save_path)
        save(checkpoint, checkpoint_path)
        plots.training_curves(checkpoint, plot_save_path, with_learning_rate=plot_learning_rate)

    unsaved = None  # the checkpoint of the last finished epoch while it waits in memory
    started = saved = time.monotonic()
    try:
        for epoch in range(finished + 1, epochs + 1):
            description = f"Epoch {epoch}/{epochs}"
            epoch_started = time.monotonic()
            learning_rate = optimizer.param_groups[0]["lr"]
            train_loss = train_one_epoch(
                model,
                criterion,
                optimizer,
                scaler,
                train_set,
                batch_size=batch_size,
                dtype=dtype,
                # Each epoch has its own stream of random numbers, which depends on nothing before
                # it: a resumed run draws what the uninterrupted one would have drawn.
                seed=seed + 1_000_003 * epoch,
                augment=augment,
                description=description,
            )
            val_loss = validate(model, criterion, val_set, batch_size, dtype, description)
            if isinstance(scheduler, ReduceLROnPlateau):
                scheduler.step(val_loss)
            else:
                scheduler.step()
            is_best = val_loss < best_loss

            history["train_losses"].append(train_loss)
            history["val_losses"].append(val_loss)
            history["learning_rates"].append(learning_rate)
            if is_best:
                best_loss, best_epoch = val_loss, epoch
                best_weights = copy.deepcopy(model.state_dict())
            unsaved = copy.deepcopy(
                {
                    "epoch": epoch,
                    "model_state_dict": model.state_dict(),
                    "optimizer_state_dict": optimizer.state_dict(),
                    "scheduler_state_dict": scheduler.state_dict(),
                    "scaler_state_dict": scaler.state_dict(),
                    **history,
                    "best_val_loss": best_loss,
                    "best_epoch": best_epoch,
                    "args": settings,
                }
            )
            print(
                f"Epoch {epoch:>{len(str(epochs))}}/{epochs} | train loss {train_loss:.6f} | "
                f"val loss {val_loss:.6f} | lr {learning_rate:.2e} | "
                f"{time.monotonic() - epoch_started:.1f} s" + " | best so far" * is_best
            )
            if time.monotonic() - saved >= checkpoint_seconds:
                save_all(unsaved)
                unsaved, saved = None, time.monotonic()
    except torch.cuda.OutOfMemoryError as error:
        raise out_of_memory(batch_size) from error
    finally:
        # The end, Ctrl-C, a loss that is not finite: no finished epoch is lost.
        if unsaved is not None:
            save_all(unsaved)

    print(
        f"Trained {epochs - finished} epochs in {(time.monotonic() - started) / 60:.1f} minutes; "
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
    dtype: torch.dtype = torch.float32,
    augment: Augment | None = None,
    description: str = "",
) -> float:
    """One pass over the data in an order drawn from `seed`; returns the mean loss per image.

    Raises UserError, naming the first such batch, if a loss is not finite.
    """
    device = data.images.device
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed)).to(device)
    generator = torch.Generator(device).manual_seed(seed)
    model.train()
    total = torch.zeros((), device=device)
    bar = tqdm(order.split(batch_size), description, leave=False, unit="batch")
    # The number of the first batch whose loss is not finite; 0 if there is none. It stays on the
    # device: looking at every loss would make every step wait for the GPU.
    first_bad = torch.zeros((), dtype=torch.long, device=device)
    shown, seen = time.monotonic(), 0
    for number, rows in enumerate(bar, start=1):
        images, landmarks = data.batch(rows)
        if augment is not None:
            images, landmarks = augment(images, landmarks, generator)
        target = gaussian_heatmaps(landmarks, images.shape[-2:])
        with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
            loss = criterion(model(images), target)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        is_bad = ~torch.isfinite(loss.detach())
        first_bad = torch.where((first_bad == 0) & is_bad, number, first_bad)
        total += loss.detach() * len(rows)
        seen += len(rows)
        # Reading a number from the GPU waits for it, so the bar does so once in a while only.
        if time.monotonic() - shown > 1:
            mean_loss = total.item() / seen
            if not math.isfinite(mean_loss):
                break
            bar.set_postfix(loss=f"{mean_loss:.6f}")
            shown = time.monotonic()
    if first_bad.item():
        raise UserError(
            f"{description}: the loss of batch {first_bad.item()} is not finite. Nothing of this "
            "epoch is saved; what was saved before it is good. Try a lower --lr"
        )
    return total.item() / len(data)


@torch.inference_mode()
def validate(
    model: nn.Module,
    criterion: nn.Module,
    data: LandmarkImages,
    batch_size: int,
    dtype: torch.dtype = torch.float32,
    description: str = "",
) -> float:
    """The mean loss per image, without training. Raises UserError if it is not finite."""
    device = data.images.device
    model.eval()
    total = torch.zeros((), device=device)
    for start in range(0, len(data), batch_size):
        images, landmarks = data.batch(slice(start, start + batch_size))
        target = gaussian_heatmaps(landmarks, images.shape[-2:])
        with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
            total += criterion(model(images), target) * len(images)
    if not math.isfinite(total.item()):
        raise UserError(
            f"{description}: the validation loss is not finite. Nothing of this epoch is saved; "
            "what was saved before it is good. Try a lower --lr"
        )
    return total.item() / len(data)


def checkpoint_path_of(model_save_path: str) -> str:
    """`<stem>_checkpoint.pth` beside the model file."""
    path = Path(model_save_path)
    return str(path.with_name(f"{path.stem}_checkpoint.pth"))


def save(content: dict[str, Any], path: str) -> None:
    """torch.save by way of write_file."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_file(path, buffer.getbuffer())


def content_hash(*parts: LandmarkImages) -> str:
    """SHA-256 of the pixels and landmarks, whatever the files are called."""
    sha256 = hashlib.sha256()
    for part in parts:
        sha256.update(part.images.cpu().numpy().tobytes())
        sha256.update(part.landmarks.cpu().numpy().tobytes())
    return sha256.hexdigest()


def out_of_memory(batch_size: int) -> UserError:
    """What to say when the GPU's memory does not hold a batch."""
    advice = f"--batch_size {batch_size // 2}" if batch_size > 1 else "--device cpu"
    return UserError(f"CUDA is out of memory with --batch_size {batch_size}: try {advice}")


def _read_checkpoint(
    path: str, settings: dict[str, Any], epochs_may_change: bool
) -> dict[str, Any]:
    """Read a checkpoint, and refuse one that was trained in another way than `settings`."""
    checkpoint = read_file(path)
    if not (isinstance(checkpoint, dict) and "optimizer_state_dict" in checkpoint):
        raise UserError(f"{path}: no checkpoint of this package")
    theirs = {**LATER_SETTINGS, **checkpoint["args"]}
    differences = [
        "the images or landmarks are not the same"
        if key == "data_sha256"
        else f"{key} was {theirs.get(key)} and is now {value}"
        for key, value in settings.items()
        if theirs.get(key) != value
        and key not in MAY_CHANGE_ON_RESUME
        and not (key == "epochs" and epochs_may_change)
    ]
    if differences:
        raise UserError(
            f"{path}: another run's checkpoint: {', '.join(differences)}. Resume with the same "
            "settings, or start afresh without --resume"
        )
    return checkpoint


def _read_best_weights(checkpoint: dict[str, Any], model_save_path: str) -> dict[str, Tensor]:
    """The weights of the best epoch up to a checkpoint."""
    if checkpoint["best_epoch"] == checkpoint["epoch"]:
        return checkpoint["model_state_dict"]
    if not Path(model_save_path).exists():
        raise UserError(
            f"{model_save_path}: is missing, and with it the best weights so far (of epoch "
            f"{checkpoint['best_epoch']}); put it back, or start afresh without --resume"
        )
    return read_state_dict(model_save_path)


def _move_aside(*paths: str) -> None:
    """Rename another run's files to `<stem>_previous.pth` before this run writes its own."""
    moved = []
    for path in map(Path, paths):
        if path.exists():
            previous = path.with_name(f"{path.stem}_previous{path.suffix}")
            os.replace(path, previous)
            moved.append(f"{path} is now {previous.name}")
    if moved:
        print(f"An earlier run was moved aside: {', '.join(moved)}")
