"""What a comparison takes from the checkpoints of the trainings."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from common import UserError

HISTORY = ("train_losses", "val_losses", "val_within_10_px", "epoch_seconds")


def read_training(path: str) -> dict[str, Any]:
    """Read what is compared of a training from its checkpoint: HISTORY, lists with a value for each
    epoch; `parameters`, their number; `sha256`, those of the file of the best weights and of the
    checkpoint itself. Raises UserError for a file that is no checkpoint."""
    # Not above: torchvision takes more than a second to import, and most comparisons need none.
    from common.runs.weights import read_file

    checkpoint = read_file(path)
    try:
        training = {name: list(map(float, checkpoint[name])) for name in HISTORY}
        lengths = {len(values) for values in training.values()}
        if len(lengths) > 1 or 0 in lengths:
            raise ValueError
        training["parameters"] = float(checkpoint["parameters"])
        own = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        training["sha256"] = [str(checkpoint["model_sha256"]), own]
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise UserError(f"{path}: not a checkpoint of this package") from error
    return training


def training_figures(training: dict[str, Any]) -> dict[str, float]:
    """Return the figures on a training of read_training. A gap is the validation loss less the
    training loss."""
    train, val = np.array(training["train_losses"]), np.array(training["val_losses"])
    best = int(val.argmin())
    return {
        "Parameters": training["parameters"],
        "Epochs": float(len(val)),
        "Minutes": sum(training["epoch_seconds"]) / 60,
        "Lowest validation loss": val[best],
        "in epoch": best + 1.0,
        "Last training loss": train[-1],
        "Gap in the best epoch": val[best] - train[best],
        "Gap in the last epoch": val[-1] - train[-1],
    }


def describe_stale(path: str, sha256: str, training: dict[str, Any]) -> str:
    """Say that a table was not made with the weights of a training: "" where it was. sha256: of the
    file of weights, as the table gives it; the checkpoint's own counts as well."""
    if not sha256 or sha256 in training["sha256"]:
        return ""
    return (
        f"{path}: not a test of the best weights of its checkpoint:\n"
        "test again, or leave the checkpoint out"
    )
