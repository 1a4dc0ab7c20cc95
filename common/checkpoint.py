"""The checkpoint of a run: how it is saved and resumed, and how an earlier run's files are kept."""

from __future__ import annotations

import io
import os
from argparse import Namespace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from common import UserError, distributed
from common.files import write_file
from common.weights import fill, load_weights, read_file

NOT_OURS = "not a checkpoint of this package"
HISTORY = ("train_losses", "val_losses", "val_within_10_px", "learning_rates")
# What may differ when a run is resumed, besides paths: another device only rounds differently, and
# the weights to start from do not matter, since the checkpoint has its own.
MAY_CHANGE = ("device", "resume", "checkpoint_seconds", "encoder_weights", "initial_weights")
# What a checkpoint says of its run: `args`, the arguments of the command; `parameters`, their
# number; `dataset_fingerprint`, of images and landmarks; `train_images`, the names of all images
# that it was trained on; `initial_train_images`, the names of those that only its initial weights
# were trained on; `untrained_landmarks`, the names of those that no training image has.
Run = dict[str, Any]
# What a run has come to: for each name in HISTORY and for `epoch_seconds` a list with a value for
# each epoch; `best_model_state_dict`, the weights of the epoch with the lowest validation loss.
History = dict[str, Any]


def checkpoint_path(model_path: str) -> str:
    """Return the path of the checkpoint that belongs to a model file, beside it."""
    stem, ending = os.path.splitext(model_path)
    return f"{stem}_checkpoint{ending}"


def is_resumed(args: Namespace) -> bool:
    """Return whether a run resumes, which takes --resume and a checkpoint. Rank 0 looks for it, and
    every process gets the same answer."""
    path = checkpoint_path(args.model_save_path)
    return distributed.broadcast(args.resume and os.path.exists(path))


def check_processes(run: Run) -> None:
    """Raise UserError where the processes do not have the same arguments and data."""
    identity = (_settings(run["args"]), run["dataset_fingerprint"])
    if distributed.broadcast(identity) != identity:
        raise UserError("the arguments, images or landmarks differ between the processes")


def begin(model: nn.Module, run: Run) -> tuple[Run, History]:
    """Begin a run: load --initial_weights, if any, and move an earlier run's files aside.

    Returns the run, with what the initial weights were trained on, and an empty history. Raises
    UserError for weights that cannot be used, and a file that cannot be moved.
    """
    args = run["args"]
    path = checkpoint_path(args["model_save_path"])
    if args["resume"]:
        print(f"{path}: no checkpoint there, so training starts at epoch 1")
    if args["initial_weights"]:
        run = _inherit(run, load_weights(model, args["initial_weights"]), "train_images")
        print(f"{args['initial_weights']}: training starts from these weights")
    if distributed.rank() == 0:
        _move_aside(args["model_save_path"], [path, args["model_save_path"]])
    history = {name: [] for name in (*HISTORY, "epoch_seconds")}
    return run, {**history, "best_model_state_dict": {}}


def resume(parts: dict[str, Any], run: Run) -> tuple[Run, History]:
    """Resume a run from its checkpoint, and write its model file again where that is gone.

    parts: model, optimizer, scheduler and scaler by name; their states are restored. Returns the
    run, with the weights it began with and all it was trained on, and its history. Raises UserError
    for a file that is no checkpoint, and for the checkpoint of a run with other data or other
    arguments. May differ: paths, MAY_CHANGE and, under ReduceLROnPlateau, `epochs`.
    """
    model_path = run["args"]["model_save_path"]
    path = checkpoint_path(model_path)
    checkpoint = distributed.broadcast(read_file(path) if distributed.rank() == 0 else None)
    if not _is_complete(checkpoint):
        raise UserError(f"{path}: {NOT_OURS}")
    differences = _differences(parts["scheduler"], run, checkpoint)
    if differences:
        raise UserError(
            f"{path}: the checkpoint of another run: {', '.join(differences)}. Resume with "
            "the same settings, or start afresh without --resume"
        )
    _restore(parts, checkpoint, path)
    run = _inherit(run, checkpoint, "initial_train_images")
    began_with = {
        name: value for name, value in checkpoint["args"].items() if name.endswith("_weights")
    }
    run["args"] = {**run["args"], **began_with}
    history = {name: checkpoint[name] for name in (*HISTORY, "best_model_state_dict")}
    history["epoch_seconds"] = checkpoint.get("epoch_seconds", [])  # an older version kept none
    print(f"{path}: resuming from epoch {len(history['val_losses'])}")

    best = history["best_model_state_dict"]
    if distributed.rank() == 0 and not _holds(model_path, best):  # it is gone, or another's
        _move_aside(model_path, [model_path])
        save_file(best, model_path)
    return run, history


def save_run(parts: dict[str, Any], run: Run, history: History) -> None:
    """Write the best weights, and the checkpoint with all that resume needs."""
    val_losses = history["val_losses"]
    checkpoint = {
        "epoch": len(val_losses),
        **{f"{name}_state_dict": part.state_dict() for name, part in parts.items()},
        **history,
        "best_val_loss": min(val_losses),
        "best_epoch": val_losses.index(min(val_losses)) + 1,
        **run,
    }
    model_path = run["args"]["model_save_path"]
    save_file(history["best_model_state_dict"], model_path)
    save_file(checkpoint, checkpoint_path(model_path))


def _settings(args: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments that a resumed run must have in common with the one that stopped."""
    return {
        name: value
        for name, value in args.items()
        if not name.endswith("_path") and name not in MAY_CHANGE
    }


def _is_complete(checkpoint: Any) -> bool:
    """Return whether a file's content has everything that is read of a checkpoint."""
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("args"), dict):
        return False
    states = (f"{part}_state_dict" for part in ("model", "optimizer", "scheduler", "scaler"))
    needed = {"dataset_fingerprint", "best_model_state_dict", *states}
    has_history = all(isinstance(checkpoint.get(name), list) for name in HISTORY)
    return has_history and needed <= checkpoint.keys()


def _differences(scheduler: LRScheduler, run: Run, checkpoint: dict[str, Any]) -> list[str]:
    """Say in what a run differs from that of a checkpoint, though it must not."""
    before, now = _settings(checkpoint["args"]), _settings(run["args"])
    if isinstance(scheduler, ReduceLROnPlateau):
        # It does not know how many epochs there will be, so that may change.
        del now["epochs"]
    differences = [
        f"{name} was {before.get(name)} and is now {value}"
        for name, value in now.items()
        if before.get(name) != value
    ]
    if checkpoint["dataset_fingerprint"] != run["dataset_fingerprint"]:
        differences.append("the images or landmarks are not the same")
    return differences


def _restore(parts: dict[str, Any], checkpoint: dict[str, Any], path: str) -> None:
    """Fill the parts of a run from a checkpoint."""
    # Both are checked; the second fill stays, as training goes on from the last weights.
    fill(parts["model"], checkpoint["best_model_state_dict"], path)
    fill(parts["model"], checkpoint["model_state_dict"], path)
    try:
        parts["optimizer"].load_state_dict(checkpoint["optimizer_state_dict"])
        parts["scheduler"].load_state_dict(checkpoint["scheduler_state_dict"])
        if checkpoint["scaler_state_dict"]:  # it is empty where the scaler was not in use
            parts["scaler"].load_state_dict(checkpoint["scaler_state_dict"])
    except torch.cuda.OutOfMemoryError:  # a RuntimeError, but not the checkpoint's fault
        raise
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"{path}: {NOT_OURS}") from error


def _inherit(run: Run, checkpoint: dict[str, Any], initial: str) -> Run:
    """Return a run that is trained on a checkpoint's images too: no later test may be on one of
    them. A landmark that the checkpoint learned, or may have learned, is not untrained.

    initial: which entry of the checkpoint has the images that only initial weights were trained on.
    """
    own = run["train_images"]
    images, initial_images, landmarks = (
        _names_in(checkpoint, entry) for entry in ("train_images", initial, "untrained_landmarks")
    )
    return {
        **run,
        "train_images": list(dict.fromkeys([*own, *images])),  # each once, in order
        "initial_train_images": [name for name in initial_images if name not in set(own)],
        "untrained_landmarks": [name for name in run["untrained_landmarks"] if name in landmarks],
    }


def _names_in(checkpoint: dict[str, Any], entry: str) -> list[str]:
    """Return the names that a checkpoint lists, none where it does not or is another package's."""
    names = checkpoint.get(entry)
    return list(map(str, names)) if isinstance(names, list) else []


def _holds(path: str, weights: dict[str, Tensor]) -> bool:
    """Return whether a file holds these weights and nothing else."""
    try:
        content = read_file(path)
    except UserError:  # there is none, or it is damaged
        return False
    if not isinstance(content, dict) or content.keys() != weights.keys():
        return False
    return all(
        torch.is_tensor(content[key])
        and content[key].dtype == value.dtype
        and torch.equal(content[key], value)
        for key, value in weights.items()
    )


def save_file(content: dict[str, Any], path: str) -> None:
    """Save with torch.save, by way of write_file."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    # Let go of at once: held by the traceback of a full disk, it can crash Python as it ends.
    with buffer.getbuffer() as view:
        write_file(path, view)


def _move_aside(model_path: str, paths: list[str]) -> None:
    """Rename those of the paths that exist, before a run writes its own. The paths are those of a
    model file and of its checkpoint, or one of them."""
    new_paths = _previous_paths(model_path)
    for path in paths:
        if not os.path.exists(path):
            continue
        try:
            os.rename(os.path.realpath(path), new_paths[path])
        except OSError as error:
            raise UserError(f"{path}: cannot be moved aside: {error.strerror}") from error
        print(f"Moved aside: {path} is now {new_paths[path].name}")


def _previous_paths(model_path: str) -> dict[str, Path]:
    """Return where a model file and its checkpoint are to be moved: to `<stem>_previous.pth` and
    `<stem>_previous_checkpoint.pth`, or `_previous2` and so on, where neither of the two exists."""
    stem, ending = os.path.splitext(model_path)
    number = 1
    while True:
        previous = f"{stem}_previous{number if number > 1 else ''}{ending}"
        new_paths = {
            model_path: _renamed(model_path, previous),
            checkpoint_path(model_path): _renamed(
                checkpoint_path(model_path), checkpoint_path(previous)
            ),
        }
        if not any(os.path.lexists(path) for path in new_paths.values()):
            return new_paths
        number += 1


def _renamed(path: str, new_path: str) -> Path:
    """Return the path of a file under the name of another. Where the path is that of a link, the
    file that it leads to is meant, and stays in its folder."""
    return Path(os.path.realpath(path)).with_name(os.path.basename(new_path))
