"""Every .pth file: how it is read and checked, and what a run saves and resumes from."""

from __future__ import annotations

import copy
import io
import itertools
import math
import os
import pickle
import time
import zipfile
from argparse import Namespace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torchvision.models import ResNet, ResNet34_Weights, resnet34

from common import UserError, plots
from common.distributed import from_first, rank
from common.files import write_file
from common.images import LandmarkImages, dataset_fingerprint

# What may differ when a run is resumed, beside every path: it changes nothing that is computed.
MAY_CHANGE = ("device", "resume", "checkpoint_seconds", "encoder_weights")


def load_weights(model: nn.Module, path: str) -> dict[str, Any]:
    """Fill a network from a file: a state dict, or a checkpoint with one at `model_state_dict`.

    Returns the checkpoint, or {} where the file holds the weights alone.
    Raises UserError, naming the file, when it cannot be read, belongs to another network, or
    holds values that are not finite.
    """
    content = read_file(path)
    _load_state_dict(model, _state_dict_in(content, path), path)
    return content if "model_state_dict" in content else {}


def load_resnet34(source: str) -> ResNet:
    """torchvision's ResNet-34, the encoder of Hypothesis 3.

    source: "imagenet" (downloaded by torchvision, kept in torch's cache), "none" (random weights),
    or the path of a file with torchvision's ResNet-34 state dict.
    Raises UserError when these weights are not available.
    """
    encoder = resnet34()
    if source == "none":
        return encoder
    if source == "imagenet":
        weights = ResNet34_Weights.IMAGENET1K_V1
        source = f"{torch.hub.get_dir()}/checkpoints/{weights.url.rsplit('/', 1)[1]}"
        try:
            state_dict = weights.get_state_dict(check_hash=True, weights_only=True)
        except Exception as error:  # no network, a proxy's page, a full disk, a damaged cache
            raise UserError(
                f"the ImageNet weights of ResNet-34 are not available "
                f"({' '.join(str(error).split())[:100]}). Three ways out: run where {weights.url} "
                f"can be reached; put that file at {source} by hand; or start from random weights "
                "with --encoder_weights none"
            ) from error
    else:
        state_dict = _state_dict_in(read_file(source), source)
    # The classification head is not used here, so a file may lack it.
    head = {f"fc.{key}": value for key, value in encoder.fc.state_dict().items()}
    _load_state_dict(encoder, {**state_dict, **head}, source)
    return encoder


def read_file(path: str) -> Any:
    """What torch.save put into a file, on the CPU, without running code that may be in it.

    Raises UserError, naming the file, when it is missing or damaged, or holds more than tensors
    and plain values.
    """
    try:
        if zipfile.is_zipfile(path):  # torch.load does not verify its checksums
            with zipfile.ZipFile(path) as archive:
                damaged = archive.testzip()
            if damaged:
                raise UserError(f"{path}: damaged: the checksum of {damaged} does not match")
        return torch.load(path, map_location="cpu", weights_only=True)
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except Exception as error:  # torch raises another type for each way a file can be broken
        if isinstance(error, pickle.UnpicklingError) and zipfile.is_zipfile(path):
            raise UserError(
                f"{path}: holds pickled Python objects (a whole model?), which could run any code "
                "and are not loaded; save its state_dict() instead"
            ) from error
        raise UserError(f"{path}: no PyTorch weights file, or truncated") from error


def _state_dict_in(content: Any, path: str) -> dict[str, Tensor]:
    """The state dict that a file's content is, or holds at `model_state_dict`."""

    def is_plain(value: Any) -> bool:
        return (
            torch.is_tensor(value)
            and value.layout == torch.strided
            and not (value.is_meta or value.is_quantized or value.is_complex() or value.is_nested)
        )

    if isinstance(content, dict):
        content = content.get("model_state_dict", content)
    if not (
        isinstance(content, dict)
        and content
        and all(isinstance(key, str) and is_plain(value) for key, value in content.items())
    ):
        raise UserError(f"{path}: holds no state dict")
    return content


def _load_state_dict(model: nn.Module, state_dict: dict[str, Tensor], path: str) -> None:
    """model.load_state_dict, with a UserError that names the file and the first thing wrong."""
    try:
        model.load_state_dict(state_dict)
    except RuntimeError as error:
        # One key is enough to tell the two networks apart.
        for key, owner in (
            ("dconv_down1.0.weight", "Hypotheses 1 and 2 (UNet)"),
            ("firstconv.weight", "Hypothesis 3 (ResNetUNet)"),
        ):
            if key in state_dict and key not in model.state_dict():
                raise UserError(f"{path}: these weights belong to {owner}") from error
        first = str(error).split("\n", 1)[-1].strip().split("\n")[0]
        raise UserError(f"{path}: not weights of {type(model).__name__}: {first[:200]}") from error
    # After the conversion to the network's type: what float64 holds may be too much for float32.
    for key, value in model.state_dict().items():
        if not torch.isfinite(value).all():
            raise UserError(f"{path}: {key} holds values that are not finite (NaN or infinite)")


class Run:
    """What a training run keeps on the disk: its best weights, its checkpoint, its curves.

    Entering the block resumes from the checkpoint (args.resume), or moves the files of an earlier
    run aside. Leaving it, in whatever way, saves what is not saved yet.

    parts: what a checkpoint restores: model, optimizer, scheduler and scaler by name. args: the
    arguments of the run, kept in the checkpoint; a resumed run must have the same, but for paths,
    MAY_CHANGE, and `epochs` where the schedule does not depend on their number.
    Entering raises UserError when the checkpoint does not belong to this run.
    """

    def __init__(
        self,
        parts: dict[str, Any],
        train_set: LandmarkImages,
        val_set: LandmarkImages,
        args: Namespace,
    ) -> None:
        self.parts, self.args = parts, args
        self.constants = {
            "args": vars(args),
            "dataset_fingerprint": dataset_fingerprint(train_set, val_set),
            "train_images": train_set.names,
        }
        self.settings = {
            name: value
            for name, value in vars(args).items()
            if not (name.endswith("_path") or name in MAY_CHANGE)
        }
        self.checkpoint: dict[str, Any] = {  # of the last finished epoch
            "epoch": 0,
            **{"train_losses": [], "val_losses": [], "learning_rates": []},
            **{"best_val_loss": math.inf, "best_epoch": 0, "best_model_state_dict": {}},
        }
        self.saved_epoch = 0

    def __enter__(self) -> Run:
        path = self.args.checkpoint_save_path
        ours = (self.settings, self.constants["dataset_fingerprint"])
        if from_first(lambda: ours) != ours:
            raise UserError("the arguments, images or landmarks differ between the processes")
        if from_first(lambda: self.args.resume and os.path.exists(path)):
            self._resume(from_first(lambda: read_file(path)))
            print(f"{path}: resuming from epoch {self.checkpoint['epoch']}")
        else:
            if self.args.resume:
                print(f"{path}: no checkpoint there, so training starts at epoch 1")
            if rank() == 0:
                _move_aside(path, self.args.model_save_path)
        self.saved_at = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        if self.checkpoint["epoch"] != self.saved_epoch:
            self._save()

    def end_epoch(self, train_loss: float, val_loss: float, learning_rate: float) -> bool:
        """Note a finished epoch, and save where args.checkpoint_seconds have passed since the last
        time. Returns whether it is the best so far."""
        last = self.checkpoint
        is_best = val_loss < last["best_val_loss"]
        checkpoint = {
            "epoch": last["epoch"] + 1,
            # Copies: training goes on while they wait in memory.
            **{
                f"{name}_state_dict": copy.deepcopy(part.state_dict())
                for name, part in self.parts.items()
                if rank() == 0  # the only process that saves
            },
            "train_losses": [*last["train_losses"], train_loss],
            "val_losses": [*last["val_losses"], val_loss],
            "learning_rates": [*last["learning_rates"], learning_rate],
            "best_val_loss": val_loss if is_best else last["best_val_loss"],
            "best_epoch": last["epoch"] + 1 if is_best else last["best_epoch"],
            "best_model_state_dict": last["best_model_state_dict"],
            **self.constants,
        }
        if is_best:
            checkpoint["best_model_state_dict"] = checkpoint.get("model_state_dict")
        # Ctrl-C may come between any two lines, so the new state is there at once or not at all.
        self.checkpoint = checkpoint
        if time.monotonic() - self.saved_at >= self.args.checkpoint_seconds:
            self._save()
        return is_best

    def _save(self) -> None:
        if rank() > 0:
            return
        checkpoint = self.checkpoint
        save(checkpoint["best_model_state_dict"], self.args.model_save_path)
        save(checkpoint, self.args.checkpoint_save_path)
        plots.training_curves(checkpoint, self.args.plot_save_path)
        self.saved_epoch, self.saved_at = checkpoint["epoch"], time.monotonic()

    def _resume(self, checkpoint: dict[str, Any]) -> None:
        path = self.args.checkpoint_save_path
        try:
            self._check_settings(checkpoint)
            epoch, best_epoch = checkpoint["epoch"], checkpoint["best_epoch"]
            losses = [checkpoint[name] for name in ("train_losses", "val_losses", "learning_rates")]
            is_whole = type(epoch) is int and all(len(values) == epoch for values in losses)
            if not (is_whole and checkpoint["best_val_loss"] == losses[1][best_epoch - 1]):
                raise ValueError("not as end_epoch makes it")
            for name, part in self.parts.items():
                state_dict = checkpoint[f"{name}_state_dict"]
                if name == "model":
                    for weights in (checkpoint["best_model_state_dict"], state_dict):
                        _load_state_dict(part, _state_dict_in(weights, path), path)
                elif state_dict or name != "scaler":  # empty: a scaler that was not in use
                    part.load_state_dict(state_dict)
        except torch.cuda.OutOfMemoryError:  # a RuntimeError, but not the checkpoint's fault
            raise
        except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            raise UserError(f"{path}: no checkpoint of this package") from error
        self.checkpoint = checkpoint
        # Where the model file is gone, it is written again on exit.
        self.saved_epoch = epoch if os.path.exists(self.args.model_save_path) else 0

    def _check_settings(self, checkpoint: dict[str, Any]) -> None:
        """Raise UserError for a checkpoint of other data, or of a run with other arguments."""
        differences = [
            f"{name} was {checkpoint['args'].get(name)} and is now {value}"
            for name, value in self.settings.items()
            if checkpoint["args"].get(name) != value
            and not (name == "epochs" and isinstance(self.parts["scheduler"], ReduceLROnPlateau))
        ]
        if checkpoint["dataset_fingerprint"] != self.constants["dataset_fingerprint"]:
            differences.append("the images or landmarks are not the same")
        if differences:
            raise UserError(
                f"{self.args.checkpoint_save_path}: the checkpoint of another run: "
                f"{', '.join(differences)}. Resume with the same settings, or start afresh "
                "without --resume"
            )


def save(content: dict[str, Any], path: str) -> None:
    """torch.save by way of write_file."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_file(path, buffer.getbuffer())


def _move_aside(*paths: str) -> None:
    """Rename an earlier run's files to `<stem>_previous.pth`, or `_previous2` and so on, before
    this run writes its own."""
    there = [Path(os.path.realpath(path)) for path in paths if os.path.exists(path)]
    for number in itertools.count(1):
        mark = f"_previous{number if number > 1 else ''}"
        kept = [path.with_name(f"{path.stem}{mark}{path.suffix}") for path in there]
        if not any(map(os.path.lexists, kept)):
            break
    for path, previous in zip(there, kept):
        os.rename(path, previous)
    if there:
        moves = ", ".join(f"{old.name} is now {new.name}" for old, new in zip(there, kept))
        print(f"The files of an earlier run were moved aside: {moves}")
