"""The checkpoint of a run: how it is saved and resumed, and how an earlier run's files are kept."""

import hashlib
import io
import itertools
import os
from argparse import Namespace
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from common import UserError
from common.basics import processes
from common.basics.files import write_file
from common.ground_truth import LANDMARK_NAMES
from common.images import LandmarkImages, dataset_fingerprint
from common.models import count_parameters
from common.runs.weights import fill, load_weights, read_file

NOT_OURS = "not a checkpoint of this package"
# What a run has come to: a list with a value for each epoch, by name.
EPOCH_VALUES = ("train_losses", "val_losses", "val_within_10_px", "learning_rates", "epoch_seconds")
# What may differ when a run is resumed, besides paths and the weights to start from, since the
# checkpoint has its own: another device rounds differently, and may have another --precision auto.
MAY_CHANGE = ("device", "resume", "checkpoint_seconds")
Run = dict[str, Any]  # see new_run


def checkpoint_path(model_path: str) -> str:
    """Return the path of the checkpoint that belongs to a model file, beside it."""
    stem, ending = os.path.splitext(model_path)
    return f"{stem}_checkpoint{ending}"


def will_resume(args: Namespace) -> bool:
    """Return whether a run resumes, which takes --resume and a checkpoint. Rank 0 looks for it, and
    every process gets the same answer."""
    path = checkpoint_path(args.model_save_path)
    return processes.broadcast(args.resume and os.path.exists(path))


def new_run(
    args: Namespace, model: nn.Module, train_set: LandmarkImages, val_set: LandmarkImages
) -> Run:
    """Return what a checkpoint says of a run besides the states of its parts, before it begins.
    Raises UserError where the processes do not have the same arguments and data."""
    is_trained = torch.isfinite(train_set.landmarks).all(dim=-1).any(dim=0).tolist()
    run = {
        "args": vars(args),
        "parameters": count_parameters(model),
        "dataset_fingerprint": dataset_fingerprint(train_set, val_set),
        # The names of all images that it is trained on, those of its initial weights too.
        "train_images": train_set.names,
        "untrained_landmarks": [n for n, trained in zip(LANDMARK_NAMES, is_trained) if not trained],
        **{name: [] for name in EPOCH_VALUES},
        # The weights of the epoch with the lowest validation loss. They are not on the GPU, so that
        # their file is the same to the byte when a resumed run writes it.
        "best_model_state_dict": {},
    }
    identity = (_settings(run["args"]), run["dataset_fingerprint"])
    if processes.broadcast(identity) != identity:
        raise UserError("the arguments, images or landmarks differ between the processes")
    return run


def training_figures(run: Run) -> dict[str, float]:
    """Return what a run, or its checkpoint, has come to after one epoch or more, by name. A gap is
    the validation loss less the training loss."""
    of_epochs = [run[name] for name in ("train_losses", "val_losses", "epoch_seconds")]
    train, val, seconds = np.array(of_epochs, dtype=np.float64)
    gaps, best = val - train, val.argmin()
    return {
        "Parameters": float(run["parameters"]),
        "Epochs": float(len(val)),
        "Minutes": seconds.sum() / 60,
        "Lowest validation loss": val[best],
        "in epoch": best + 1.0,
        "Last training loss": train[-1],
        "Gap in the best epoch": gaps[best],
        "Gap in the last epoch": gaps[-1],
    }


def begin(model: nn.Module, run: Run) -> None:
    """Begin a run: load --initial_weights, if any, and move an earlier run's files aside.

    What the initial weights were trained on is noted in the run. Raises UserError for weights that
    cannot be used, and a file that cannot be moved.
    """
    args = run["args"]
    if args["resume"]:
        path = checkpoint_path(args["model_save_path"])
        print(f"{path}: no checkpoint there, so training starts at epoch 1")
    if args["initial_weights"]:
        earlier = load_weights(model, args["initial_weights"])
        images = [*run["train_images"], *earlier.get("train_images", [])]
        run["train_images"] = list(dict.fromkeys(images))  # each once, in order
        # A landmark that the earlier run learned, or may have learned, is not untrained.
        both = set(run["untrained_landmarks"]) & set(earlier.get("untrained_landmarks") or [])
        run["untrained_landmarks"] = [name for name in LANDMARK_NAMES if name in both]
        print(f"{args['initial_weights']}: training starts from these weights")
    if processes.rank() == 0:
        _move_aside(args["model_save_path"])


def resume(parts: dict[str, Any], run: Run) -> None:
    """Resume a run from its checkpoint, and write its model file again where that is gone.

    parts: model, optimizer, scheduler and scaler by name; their states are restored. The run
    becomes that which was saved, but for its arguments, which are those of now. Raises UserError
    for a file that is no checkpoint, and for the checkpoint of a run with other data or other
    arguments. May differ: paths, weights, MAY_CHANGE and, under ReduceLROnPlateau, `epochs`.
    """
    model_path = run["args"]["model_save_path"]
    path = checkpoint_path(model_path)
    checkpoint = processes.broadcast(read_file(path) if processes.rank() == 0 else None)
    needed = {*run, *(f"{name}_state_dict" for name in parts)}
    is_ours = isinstance(checkpoint, dict) and needed <= checkpoint.keys()
    if not is_ours or not isinstance(checkpoint["args"], dict):
        raise UserError(f"{path}: {NOT_OURS}")
    _check_same_run(parts["scheduler"], run, checkpoint, path)
    # Both are checked; the second fill stays, as training goes on from the last weights.
    fill(parts["model"], checkpoint["best_model_state_dict"], path)
    fill(parts["model"], checkpoint["model_state_dict"], path)
    try:
        parts["optimizer"].load_state_dict(checkpoint["optimizer_state_dict"])
        parts["scheduler"].load_state_dict(checkpoint["scheduler_state_dict"])
        if checkpoint["scaler_state_dict"]:  # it is empty where the scaler was not in use
            parts["scaler"].load_state_dict(checkpoint["scaler_state_dict"])
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise UserError(f"{path}: {NOT_OURS}") from error
    # The arguments are those of now, but for the weights that the run began with.
    before = checkpoint["args"]
    began_with = {name: before[name] for name in before if name.endswith("_weights")}
    run.update({name: checkpoint[name] for name in run}, args={**run["args"], **began_with})
    print(f"{path}: resuming from epoch {len(run['val_losses'])}")
    if processes.rank() == 0 and not os.path.exists(model_path):
        save_file(run["best_model_state_dict"], model_path)


def save_run(parts: dict[str, Any], run: Run) -> None:
    """Write the best weights, and the checkpoint with all that resume needs."""
    model_path = run["args"]["model_save_path"]
    sha256 = save_file(run["best_model_state_dict"], model_path)
    states = {f"{name}_state_dict": part.state_dict() for name, part in parts.items()}
    save_file({**run, **states, "model_sha256": sha256}, checkpoint_path(model_path))


def _settings(args: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments that a resumed run must have in common with the one that stopped."""
    return {
        name: value
        for name, value in args.items()
        if not name.endswith(("_path", "_weights")) and name not in MAY_CHANGE
    }


def _check_same_run(scheduler: LRScheduler, run: Run, checkpoint: Run, path: str) -> None:
    """Raise UserError where a run differs from that of a checkpoint, though it must not."""
    before, now = checkpoint["args"], _settings(run["args"])
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
    if differences:
        raise UserError(
            f"{path}: the checkpoint of another run: {', '.join(differences)}. Resume with "
            "the same settings, or start afresh without --resume"
        )


def save_file(content: dict[str, Any], path: str) -> str:
    """Save with torch.save, by way of write_file. Returns the SHA-256 of the file."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    # Let go of at once: held by the traceback of a full disk, it can crash Python as it ends.
    with buffer.getbuffer() as view:
        write_file(path, view)
        return hashlib.sha256(view).hexdigest()


def _move_aside(model_path: str) -> None:
    """Rename a model file and its checkpoint, where they exist, before a run writes its own: to
    `<stem>_previous.pth` and `<stem>_previous_checkpoint.pth`, or `_previous2` and so on, where
    neither of the two exists."""
    stem, ending = os.path.splitext(model_path)
    for number in itertools.count(1):
        previous = f"{stem}_previous{number if number > 1 else ''}{ending}"
        if not any(map(os.path.lexists, (previous, checkpoint_path(previous)))):
            break
    pairs = ((model_path, previous), (checkpoint_path(model_path), checkpoint_path(previous)))
    for path, new_path in pairs:
        if os.path.exists(path):
            try:
                os.rename(path, new_path)
            except OSError as error:
                raise UserError(f"{path}: cannot be moved aside: {error.strerror}") from error
            print(f"Moved aside: {path} is now {os.path.basename(new_path)}")
