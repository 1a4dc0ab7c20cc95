"""What a tester does, from its arguments to its pictures."""

from __future__ import annotations

import hashlib
import os
import time
from argparse import Namespace
from pathlib import Path
from typing import Any, Callable

import pandas as pd
from torch import nn

from common import UserError, evaluation, plots, summary
from common.checkpoint import load_weights
from common.devices import seed_everything, select_device
from common.files import claim, outputs_of, protect_images, write_table
from common.ground_truth import NAME_COLUMN, SPLIT_SEED, read_ground_truth, split_ground_truth
from common.images import load_images
from common.models import count_parameters


def run(network: Callable[[], nn.Module], args: Namespace, review_confidence: float) -> None:
    """Test the weights of a network, or of several trainings of it together: draw the two pictures,
    write the table, print what the errors are.

    args: a tester's. review_confidence: an image with a landmark of less confidence is flagged.
    Raises UserError for weights, rows and images that cannot be used.
    """
    with claim(*outputs_of(args).values()):  # no trainer that is running writes to them
        pass
    device = select_device(args.device)
    seed_everything(SPLIT_SEED)  # nothing here is random; but the GPU is to repeat itself
    table = read_ground_truth(args.csv_path)
    splits = {"all": table} if args.split == "all" else split_ground_truth(table, args.split_by)
    rows = splits[args.split]
    protect_images(args, table[NAME_COLUMN])
    print(summary.describe_splits(splits))

    models, hashes = [], []
    for path in args.model_path:
        models.append(network().to(device))
        checkpoint = load_weights(models[-1], path)
        if args.split not in ("train", "all"):
            refuse_training_images(checkpoint, rows, path)
        sha256 = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        if sha256 in hashes:
            raise UserError(f"{path}: these weights are given twice")
        hashes.append(sha256)
    name, parameters = type(models[0]).__name__, count_parameters(models[0])
    number = f", {len(models)} models" if len(models) > 1 else ""
    print(f"{name}: {parameters:,} parameters{number}")
    data = load_images(rows, args.image_folder_path)

    started = time.monotonic()
    prediction = evaluation.predict(models, data.to(device), args.batch_size)
    milliseconds = 1000 * (time.monotonic() - started) / len(data)

    predictions = evaluation.prediction_table(
        rows,
        data,
        prediction,
        split=args.split,
        model_sha256="+".join(hashes),
        review_confidence=review_confidence,
    )
    plots.predictions(data, predictions, args.pred_save_path)
    plots.error_distribution(evaluation.errors_of(predictions), args.error_save_path)
    if args.csv_save_path:
        write_table(predictions, args.csv_save_path)

    print(f"Predicted in {milliseconds:.1f} ms per image\n")
    print(summary.describe_test(predictions))
    print(f"\nPredictions: {args.pred_save_path}\nErrors:      {args.error_save_path}")
    if args.csv_save_path:
        print(f"Table:       {args.csv_save_path}")


def refuse_training_images(checkpoint: dict[str, Any], rows: pd.DataFrame, path: str) -> None:
    """Raise UserError where the checkpoint in a file was trained on some of these rows."""
    names = checkpoint.get("train_images")
    names = names if isinstance(names, list) else []  # weights alone, or another's checkpoint
    train_images = {os.path.normpath(str(name)) for name in names}
    trained_on = rows[NAME_COLUMN].map(os.path.normpath).isin(train_images)
    if trained_on.any():
        raise UserError(
            f"{path}: was trained on {trained_on.sum()} of the {len(rows)} images of "
            f"this split, {rows[NAME_COLUMN][trained_on].iloc[0]} for one: another ground truth, "
            "or another --split_by. Test with those of the training, or with --split all"
        )
