"""What a tester does, from its arguments to its pictures."""

import hashlib
import os
import time
from argparse import Namespace
from pathlib import Path
from typing import Any, Callable

import numpy as np
import pandas as pd
from torch import nn

from common import UserError, evaluation, ground_truth, plots, summary
from common.checkpoint import load_weights
from common.devices import seed_everything, select_device
from common.files import check_outputs, write_table
from common.images import load_images
from common.models import count_parameters


def run(network: Callable[[], nn.Module], args: Namespace) -> None:
    """Test the weights of a network, or of several trainings of it together: write the table, draw
    the two pictures, print the errors. Where nothing is annotated, predict only.

    args: a tester's. Raises UserError for outputs, weights, rows and images that cannot be used.
    """
    check_outputs(args)
    device = select_device(args.device)
    seed_everything(0)  # nothing here is random; but the GPU is to repeat itself
    if args.csv_path is None:
        table = ground_truth.list_images(args.image_folder_path)
    else:
        table = ground_truth.read_ground_truth(args.csv_path)
    if not ground_truth.has_landmarks(table).any():
        print("No landmark is annotated, so there is no split: all images are predicted")
        args.split = "all"
    if args.split == "all":
        splits = {"all": table}
    else:
        splits = ground_truth.split_ground_truth(table, args.split_by)
    rows = splits[args.split]
    print(summary.describe_splits(splits))
    models, sha256 = load_models(network, args, rows)
    number = f", {len(models)} models" if len(models) > 1 else ""
    print(f"{type(models[0]).__name__}: {count_parameters(models[0]):,} parameters{number}")
    data = load_images(rows, args.image_folder_path)

    models = [model.to(device) for model in models]
    started = time.monotonic()
    prediction = evaluation.predict(models, data.to(device), args.batch_size)
    milliseconds = 1000 * (time.monotonic() - started) / len(data)
    predictions = evaluation.prediction_table(
        rows, data, prediction, args.split, sha256, args.review_confidence
    )
    errors = evaluation.errors_of(predictions)
    error_picture = "not drawn, as no landmark is annotated"
    try:
        write_table(predictions, args.csv_save_path)
        plots.predictions(data, predictions, args.pred_save_path)
        if np.isfinite(errors).any():
            plots.error_distribution(errors, args.error_save_path)
            error_picture = args.error_save_path
    finally:  # whatever happens to the files
        print(f"Predicted in {milliseconds:.1f} ms per image\n")
        print(summary.describe_test(predictions))
    print(f"\nTable:       {args.csv_save_path}\nPredictions: {args.pred_save_path}")
    print(f"Errors:      {error_picture}")


def load_models(
    network: Callable[[], nn.Module], args: Namespace, rows: pd.DataFrame
) -> tuple[list[nn.Module], str]:
    """A network for each file at args.model_path, on the CPU, and the SHA-256 of the files, joined
    by +. Raises UserError for a file that cannot be used or is given twice (and see _refuse)."""
    models, hashes = [], []
    for path in args.model_path:
        models.append(network())
        _refuse(load_weights(models[-1], path), args, rows[ground_truth.NAME_COLUMN], path)
        hashes.append(hashlib.sha256(Path(path).read_bytes()).hexdigest())
        if hashes[-1] in hashes[:-1]:
            raise UserError(f"{path}: these weights are given twice")
    return models, "+".join(hashes)


def _refuse(checkpoint: dict[str, Any], args: Namespace, names: pd.Series, path: str) -> None:
    """Raise UserError for the checkpoint of another hypothesis, and for one that was trained on
    images of these names where args.split asks for others. Weights alone do not know."""
    run_args, train_images = checkpoint.get("args"), checkpoint.get("train_images")
    if isinstance(run_args, dict):  # else another package's
        hypothesis = run_args.get("hypothesis", args.hypothesis)
        if hypothesis != args.hypothesis:
            raise UserError(f"{path}: is a checkpoint of Hypothesis {hypothesis}")
    if isinstance(train_images, list) and args.split not in ("train", "all"):
        trained_on = {os.path.normpath(str(name)) for name in train_images}
        seen = names[names.map(os.path.normpath).isin(trained_on)]
        if len(seen):
            raise UserError(
                f"{path}: was trained on {len(seen)} of the {len(names)} images of this split, "
                f"{seen.iloc[0]} for one: another ground truth, or another --split_by. Test with "
                "those of the training, or with --split all"
            )
