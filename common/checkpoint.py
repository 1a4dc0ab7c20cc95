"""The state of a run: what it saves, what it resumes from, and what becomes of an earlier run's."""

from __future__ import annotations

import io
import itertools
import os
from pathlib import Path
from typing import Any

import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau

from common import UserError, distributed
from common.files import write_file
from common.weights import fill, load_weights, read_file

HISTORY = ("train_losses", "val_losses", "val_within_10_px", "learning_rates")
# What may differ when a run is resumed, besides paths: another device only rounds differently, and
# the weights to start from do not matter, since the checkpoint has its own.
MAY_CHANGE = ("device", "resume", "checkpoint_seconds", "encoder_weights", "initial_weights")


def checkpoint_path(model_path: str) -> str:
    """Return the path of the checkpoint that belongs to a model file, beside it."""
    stem, ending = os.path.splitext(model_path)
    return f"{stem}_checkpoint{ending}"


def begin_or_resume(parts: dict[str, Any], run: dict[str, Any]) -> dict[str, Any]:
    """Restore a run from its checkpoint (--resume), or begin one: load --initial_weights, if any,
    and move an earlier run's files aside.

    parts: model, optimizer, scheduler and scaler by name; they are filled. run: its `args`,
    `dataset_fingerprint`, `train_images` and `untrained_landmarks`; what the restored or initial
    weights were trained on is added. Returns the history: a list per name in HISTORY with a value
    per epoch, empty in a new run, and `best_model_state_dict`. Raises UserError for a file that is
    no checkpoint, or that of a run with another fingerprint or other arguments. May differ: paths,
    MAY_CHANGE and, under ReduceLROnPlateau, `epochs`.
    """
    args = run["args"]
    model_path, path = args["model_save_path"], checkpoint_path(args["model_save_path"])
    identity = (_settings(run), run["dataset_fingerprint"])
    if distributed.broadcast(identity) != identity:
        raise UserError("the arguments, images or landmarks differ between the processes")
    if distributed.broadcast(args["resume"] and os.path.exists(path)):
        checkpoint = distributed.broadcast(read_file(path) if distributed.rank() == 0 else None)
        history = _restore(parts, run, checkpoint, path)
        print(f"{path}: resuming from epoch {len(history['val_losses'])}")
        best = history["best_model_state_dict"]
        if distributed.rank() == 0 and not _holds(model_path, best):  # it is gone, or another's
            _move_aside(model_path, [model_path])
            save_file(best, model_path)
        return history
    if args["resume"]:
        print(f"{path}: no checkpoint there, so training starts at epoch 1")
    if args["initial_weights"]:
        _inherit(run, load_weights(parts["model"], args["initial_weights"]))
        print(f"{args['initial_weights']}: training starts from these weights")
    if distributed.rank() == 0:
        _move_aside(model_path, [path, model_path])
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
    model_path = run["args"]["model_save_path"]
    save_file(history["best_model_state_dict"], model_path)
    save_file(checkpoint, checkpoint_path(model_path))


def _settings(run: dict[str, Any]) -> dict[str, Any]:
    """The arguments that a resumed run must have in common with the one that was stopped."""
    return {k: v for k, v in run["args"].items() if not (k.endswith("_path") or k in MAY_CHANGE)}


def _restore(
    parts: dict[str, Any], run: dict[str, Any], checkpoint: dict[str, Any], path: str
) -> dict[str, Any]:
    """Fill the parts from a checkpoint; returns its history."""
    try:
        before, now = _settings(checkpoint), _settings(run)
        if isinstance(parts["scheduler"], ReduceLROnPlateau):
            # It does not know how many epochs there will be, so a run may get more of them.
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
        _inherit(run, checkpoint)
        began_with = {k: v for k, v in checkpoint["args"].items() if k.endswith("_weights")}
        run["args"] = {**run["args"], **began_with}
        # Both are checked; the second fill stays, as training goes on from the last weights.
        for weights in (history["best_model_state_dict"], checkpoint["model_state_dict"]):
            fill(parts["model"], weights, path)
        for name in ("optimizer", "scheduler", "scaler"):
            state_dict = checkpoint[f"{name}_state_dict"]
            if state_dict or name != "scaler":  # empty: a scaler that was not in use
                parts[name].load_state_dict(state_dict)
    except torch.cuda.OutOfMemoryError:  # a RuntimeError, but not the checkpoint's fault
        raise
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"{path}: not a checkpoint of this package") from error
    return history


def _inherit(run: dict[str, Any], checkpoint: dict[str, Any]) -> None:
    """Add to a run the images that a checkpoint was trained on: no later test may be on one of
    them. A landmark that the checkpoint learned, or may have learned, is not untrained."""
    images, landmarks = checkpoint.get("train_images"), checkpoint.get("untrained_landmarks")
    images = map(str, images) if isinstance(images, list) else []  # else another package's
    run["train_images"] = list(dict.fromkeys([*run["train_images"], *images]))
    run["untrained_landmarks"] = [n for n in run["untrained_landmarks"] if n in (landmarks or [])]


def _holds(path: str, weights: dict[str, torch.Tensor]) -> bool:
    """Whether a file holds these weights and nothing else."""
    try:
        content = read_file(path)
        same = [torch.equal(content.pop(key), value) for key, value in weights.items()]
        return all(same) and not content
    except (UserError, AttributeError, LookupError, RuntimeError, TypeError):  # none, or another
        return False


def save_file(content: dict[str, Any], path: str) -> None:
    """torch.save by way of write_file."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    # Let go of at once: held by the traceback of a full disk, it can crash Python as it ends.
    with buffer.getbuffer() as view:
        write_file(path, view)


def _move_aside(model_path: str, paths: list[str]) -> None:
    """Rename those of the paths that exist, before a run writes its own: the model file to
    `<stem>_previous.pth`, or `_previous2` and so on, and the checkpoint as belongs to that."""
    stem, ending = os.path.splitext(model_path)
    for number in itertools.count(1):
        previous = f"{stem}_previous{number if number > 1 else ''}{ending}"
        names = {model_path: previous, checkpoint_path(model_path): checkpoint_path(previous)}
        # What a link points to is moved, in its own folder.
        targets = {
            old: Path(os.path.realpath(old)).with_name(Path(names[old]).name) for old in names
        }
        if not any(map(os.path.lexists, targets.values())):
            break
    for path in filter(os.path.exists, paths):
        try:
            os.rename(os.path.realpath(path), targets[path])
        except OSError as error:
            raise UserError(f"{path}: cannot be moved aside: {error.strerror}") from error
        print(f"Moved aside: {path} is now {targets[path].name}")
