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
# What may differ when a run is resumed, besides every path. (Another device rounds differently;
# the weights come from the checkpoint.)
MAY_CHANGE = ("device", "resume", "checkpoint_seconds", "encoder_weights", "initial_weights")


def checkpoint_path(model_path: str) -> str:
    """Return the path of the checkpoint that belongs to a model file, beside it."""
    stem, ending = os.path.splitext(model_path)
    return f"{stem}_checkpoint{ending}"


def begin_or_resume(parts: dict[str, Any], run: dict[str, Any]) -> dict[str, Any]:
    """Restore a run from its checkpoint (--resume), or begin one: load --initial_weights, if any,
    and move an earlier run's files aside.

    parts: model, optimizer, scheduler and scaler by name, to be restored. run: the `args`, the
    `dataset_fingerprint`, the names of the `train_images` and the `untrained_landmarks`, changed by
    what the restored or initial weights were trained on.
    Returns the history: HISTORY, one value per epoch, and `best_model_state_dict`; empty where a
    run begins. Raises UserError for a file that is not a checkpoint, or that of a run with another
    fingerprint or other arguments, but for paths, MAY_CHANGE and, where the schedule does not
    depend on it, `epochs`.
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
        run["args"] = {**run["args"], "initial_weights": checkpoint["args"]["initial_weights"]}
        # The best weights only to check them; training goes on from the last ones.
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
    names = [*run["train_images"], *checkpoint.get("train_images", [])]
    run["train_images"] = list(dict.fromkeys(names))
    untrained = checkpoint.get("untrained_landmarks", [])
    run["untrained_landmarks"] = [n for n in run["untrained_landmarks"] if n in untrained]


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
        moves = []
        for path in filter(os.path.exists, paths):
            name = previous if path == model_path else checkpoint_path(previous)
            old = Path(os.path.realpath(path))  # what a link points to is moved, in its own folder
            moves.append((old, old.with_name(os.path.basename(name))))
        if not any(os.path.lexists(new) for _, new in moves):
            break
    for old, new in moves:
        try:
            os.rename(old, new)
        except OSError as error:
            raise UserError(f"{old}: cannot be moved aside: {error.strerror}") from error
    if moves:
        text = ", ".join(f"{old.name} is now {new.name}" for old, new in moves)
        print(f"The files of an earlier run were moved aside: {text}")
