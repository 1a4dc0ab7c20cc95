"""Every .pth file: how it is read and checked, and what a run saves and resumes from."""

from __future__ import annotations

import io
import itertools
import os
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torchvision.models import ResNet, ResNet34_Weights, resnet34

from common import UserError, distributed
from common.files import write_file

HISTORY = ("train_losses", "val_losses", "learning_rates")
# What may differ when a run is resumed, besides every path. (Another device rounds differently;
# the encoder's weights come from the checkpoint.)
MAY_CHANGE = ("device", "resume", "checkpoint_seconds", "encoder_weights")


def load_weights(model: nn.Module, path: str) -> dict[str, Any]:
    """Fill a network from a file: a state dict, or a checkpoint (its last weights).

    Returns the checkpoint, or {} where the file holds the weights alone.
    Raises UserError, naming the file, when it cannot be read, belongs to another network, or
    holds values that are not finite.
    """
    content = read_file(path)
    _fill(model, content, path)
    return content if "model_state_dict" in content else {}


def load_resnet34(source: str) -> ResNet:
    """torchvision's ResNet-34, the encoder of Hypothesis 3.

    source: "imagenet" (downloaded by torchvision, kept in torch's cache), "none" (random weights),
    or the path of a file with torchvision's ResNet-34 state dict.
    Raises UserError when these weights are not available.
    """
    encoder = resnet34()
    encoder.fc = nn.Identity()
    if source == "imagenet":
        weights = ResNet34_Weights.IMAGENET1K_V1
        cached = f"{torch.hub.get_dir()}/checkpoints/{os.path.basename(weights.url)}"
        try:
            _fill(encoder, weights.get_state_dict(check_hash=True, weights_only=True), cached)
        except Exception as error:  # no network, a proxy's page, a full disk, a damaged cache
            raise UserError(
                "the ImageNet weights of ResNet-34 are not available "
                f"({' '.join(str(error).split())[:100]}). If there is a file {cached}, delete it: "
                f"it is damaged. Else run where {weights.url} can be reached; or put that file "
                "there by hand; or start from random weights with --encoder_weights none"
            ) from error
    elif source != "none":
        _fill(encoder, read_file(source), source)
    return encoder


def read_file(path: str) -> Any:
    """Load what torch.save wrote, to the CPU, without running code that may be in the file.

    Raises UserError, naming the file, when it is missing or damaged, or holds more than tensors
    and plain values.
    """
    try:
        if zipfile.is_zipfile(path):  # torch.load does not verify its checksums
            with zipfile.ZipFile(path) as archive:
                if archive.testzip():
                    raise UserError(f"{path}: damaged: a checksum in it does not match")
        return torch.load(path, map_location="cpu", weights_only=True)
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except Exception as error:  # torch raises another type for each way a file can be broken
        reason = "not a PyTorch weights file, or truncated"
        if "Unsupported global" in str(error):
            reason = (
                "holds pickled Python objects (a whole model?), which could run any code and are "
                "not loaded; save its state_dict() instead"
            )
        raise UserError(f"{path}: {reason}") from error


def _fill(model: nn.Module, content: Any, path: str) -> None:
    """Fill a model from a file's content: a state dict, or one under one of the usual names.

    Raises UserError, naming the file and the first thing wrong.
    """
    for name in ("model_state_dict", "state_dict"):
        content = content.get(name, content) if isinstance(content, dict) else None
    if not (content and all(map(torch.is_tensor, content.values()))):
        raise UserError(f"{path}: holds no state dict")
    weights = {str(key): value for key, value in content.items()}
    consume_prefix_in_state_dict_if_present(weights, "module.")  # of DataParallel
    for key in ("fc.weight", "fc.bias"):  # a ResNet's head, which is not used here
        weights.pop(key, None)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        # One key is enough to tell the two networks apart.
        for key, owner in (
            ("dconv_down1.0.weight", "Hypotheses 1 and 2 (UNet)"),
            ("firstconv.weight", "Hypothesis 3 (ResNetUNet)"),
        ):
            if key in weights and key not in model.state_dict():
                raise UserError(f"{path}: these weights belong to {owner}") from error
        first = str(error).split("\n", 1)[-1].strip().split("\n")[0]
        raise UserError(f"{path}: not weights of {type(model).__name__}: {first[:200]}") from error
    # After the conversion to the model's type: what float64 holds may overflow float32.
    for key, value in model.state_dict().items():
        if not torch.isfinite(value).all():
            raise UserError(f"{path}: {key} holds values that are not finite (NaN or infinite)")


def begin_or_resume(parts: dict[str, Any], run: dict[str, Any]) -> dict[str, Any]:
    """Restore a run from its checkpoint (--resume), or move an earlier run's files aside.

    parts: model, optimizer, scheduler and scaler by name, to be restored; the model file is written
    again, too. run: `args` and `dataset_fingerprint`, which must be those of the checkpoint. Paths,
    MAY_CHANGE, and `epochs` where the schedule does not depend on their number may differ.
    Returns the history: `train_losses`, `val_losses` and `learning_rates`, one value per epoch, and
    `best_model_state_dict`; empty without --resume or without a checkpoint.
    Raises UserError for the checkpoint of another run, or a file that is not a checkpoint.
    """
    args = run["args"]
    path = args["checkpoint_save_path"]
    identity = (_settings(run), run["dataset_fingerprint"])
    if distributed.broadcast(identity) != identity:
        raise UserError("the arguments, images or landmarks differ between the processes")
    if distributed.broadcast(args["resume"] and os.path.exists(path)):
        checkpoint = distributed.broadcast(read_file(path) if distributed.rank() == 0 else None)
        history = _restore(parts, run, checkpoint, path)
        print(f"{path}: resuming from epoch {len(history['val_losses'])}")
        # The model file may be gone, or another run's.
        save_file(history["best_model_state_dict"], args["model_save_path"])
        return history
    if args["resume"]:
        print(f"{path}: no checkpoint there, so training starts at epoch 1")
    if distributed.rank() == 0:
        _move_aside(path, args["model_save_path"])
    return {name: [] for name in HISTORY} | {"best_model_state_dict": {}}


def save_run(parts: dict[str, Any], run: dict[str, Any], history: dict[str, Any]) -> None:
    """Write the best weights, and the checkpoint with all that begin_or_resume needs."""
    val_losses = history["val_losses"]
    checkpoint = {
        "epoch": len(val_losses),
        **{f"{name}_state_dict": part.state_dict() for name, part in parts.items()},
        **history,
        "best_val_loss": min(val_losses),
        "best_epoch": val_losses.index(min(val_losses)) + 1,
        **run,
    }
    save_file(history["best_model_state_dict"], run["args"]["model_save_path"])
    save_file(checkpoint, run["args"]["checkpoint_save_path"])


def _settings(run: dict[str, Any]) -> dict[str, Any]:
    """The arguments that a resumed run must have in common with the one that was stopped."""
    return {
        name: value
        for name, value in run["args"].items()
        if not (name.endswith("_path") or name in MAY_CHANGE)
    }


def _restore(
    parts: dict[str, Any], run: dict[str, Any], checkpoint: dict[str, Any], path: str
) -> dict[str, Any]:
    """Fill the parts from a checkpoint; returns its history."""
    try:
        before, now = _settings(checkpoint), _settings(run)
        if isinstance(parts["scheduler"], ReduceLROnPlateau):
            before["epochs"] = now["epochs"]
        differences = [
            f"{name} was {before.get(name)} and is now {value}"
            for name, value in now.items()
            if before.get(name) != value
        ]
        if checkpoint["dataset_fingerprint"] != run["dataset_fingerprint"]:
            differences.append("the images or landmarks are not the same")
        if differences:
            raise UserError(
                f"{path}: the checkpoint of another run: {', '.join(differences)}. Resume with "
                "the same settings, or start afresh without --resume"
            )
        history = {name: checkpoint[name] for name in (*HISTORY, "best_model_state_dict")}
        # The best weights only to check them; training goes on from the last ones.
        for weights in (history["best_model_state_dict"], checkpoint["model_state_dict"]):
            _fill(parts["model"], weights, path)
        for name in ("optimizer", "scheduler", "scaler"):
            state_dict = checkpoint[f"{name}_state_dict"]
            if state_dict or name != "scaler":  # empty: a scaler that was not in use
                parts[name].load_state_dict(state_dict)
    except torch.cuda.OutOfMemoryError:  # a RuntimeError, but not the checkpoint's fault
        raise
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"{path}: not a checkpoint of this package") from error
    return history


def save_file(content: dict[str, Any], path: str) -> None:
    """torch.save by way of write_file."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    # Let go of at once: held by the traceback of a full disk, it can crash Python as it ends.
    with buffer.getbuffer() as view:
        write_file(path, view)


def _move_aside(*paths: str) -> None:
    """Rename an earlier run's files to `<stem>_previous.pth`, or `_previous2` and so on, before
    this run writes its own."""
    there = [Path(os.path.realpath(path)) for path in paths if os.path.exists(path)]
    for number in itertools.count(1):
        mark = f"_previous{number if number > 1 else ''}"
        kept = [path.with_name(f"{path.stem}{mark}{path.suffix}") for path in there]
        if not any(map(os.path.lexists, kept)):
            break
    try:
        for path, previous in zip(there, kept):
            os.rename(path, previous)
    except OSError as error:
        raise UserError(f"{path}: cannot be moved aside: {error.strerror}") from error
    if there:
        moves = ", ".join(f"{old.name} is now {new.name}" for old, new in zip(there, kept))
        print(f"The files of an earlier run were moved aside: {moves}")
