"""What a tester does, from its arguments to its pictures."""

from __future__ import annotations

import hashlib
import time
from argparse import Namespace
from pathlib import Path
from typing import Any, Callable

import numpy as np
import pandas as pd
from torch import nn

from common import UserError, evaluation, ground_truth, plots, summary
from common.biometry import is_plausible, reorder
from common.devices import make_repeatable, select_device
from common.files import check_outputs, write_table
from common.ground_truth import NAME_COLUMN, plain_name
from common.images import LandmarkImages, load_images, read_second_reader
from common.models import count_parameters
from common.weights import load_weights


def run(network_class: Callable[[], nn.Module], args: Namespace) -> None:
    """Test one or several trainings of a network: write the table, draw the pictures, print the
    errors; only predict where nothing is annotated. Raises UserError for what cannot be used."""
    check_outputs(args)
    device = select_device(args.device)
    make_repeatable(0)  # nothing here is random; but the GPU is to repeat itself
    table, args.split = read_tested_rows(args)
    models, sha256 = load_models(network_class, args, table[NAME_COLUMN])
    data = load_images(table, args.image_folder_path)
    second = None
    if args.second_csv_path:
        second = read_second_reader(args.second_csv_path, data)
    models = [model.to(device) for model in models]
    started = time.monotonic()
    predictions = evaluation.predict(models, data.to(device), table, args.batch_size)
    milliseconds = 1000 * (time.monotonic() - started) / len(data)
    annotated, predicted = landmarks_at_256(data, predictions)
    columns = summary.prediction_table(predictions, args.split, sha256, args.review_confidence)
    texts = [
        summary.describe_test(predictions, args.split, args.review_confidence),
        summary.describe_names(*evaluation.compare_names(annotated, predicted)),
    ]
    flagged = evaluation.needs_review(predictions, args.review_confidence)
    if second is not None:
        comparison = evaluation.compare_readers(annotated, data.to_256(second), predicted)
        second = reorder(second, comparison.order)
        columns = columns.join(summary.reader_columns(second, comparison.distances))
        texts.append(describe_second_reader(comparison, predictions, flagged))
    written = []
    try:
        write_table(columns, args.csv_save_path)
        written.append(f"Table:       {args.csv_save_path}")
        plots.predictions(data, predictions, flagged, args.pred_save_path, second)
        written.append(f"Predictions: {args.pred_save_path}")
        if np.isfinite(predictions.errors).any():
            plots.error_distribution(predictions.errors, args.error_save_path)
            written.append(f"Errors:      {args.error_save_path}")
        else:
            written.append("Errors:      not drawn, as no landmark is annotated")
    finally:  # whatever happens to the files
        print(f"Predicted in {milliseconds:.1f} ms per image\n")
        print("\n\n".join(filter(None, [*texts, "\n".join(written)])))


def read_tested_rows(args: Namespace) -> tuple[pd.DataFrame, str]:
    """Read the ground truth. Returns the rows of the split that is to be tested, and its name: all
    rows where nothing is annotated, and all images of the folder where there is no ground truth.
    Raises UserError for a file, row or folder that cannot be used."""
    if args.csv_path is None:
        table = ground_truth.list_images(args.image_folder_path)
    else:
        table = ground_truth.read_ground_truth(args.csv_path)
    split = args.split
    if not ground_truth.has_landmarks(table).any():
        print("No landmark is annotated, so there is no split: all images are predicted")
        split = "all"
    splits = {"all": table}
    if split != "all":
        splits = ground_truth.split_ground_truth(table, args.split_by, args.csv_path)
    print(f"{summary.describe_splits(splits)}\n{summary.describe_annotations(splits)}".rstrip())
    return splits[split], split


def load_models(
    network_class: Callable[[], nn.Module], args: Namespace, names: pd.Series
) -> tuple[list[nn.Module], str]:
    """Load a network for each file at args.model_path, to test it on the images of these names.

    Returns the networks, on the CPU, and the SHA-256 of the files, joined by +. Raises UserError
    for a file that cannot be used, that is given twice, or that refuse_checkpoint refuses.
    """
    models, hashes = [], []
    for path in args.model_path:
        model = network_class()
        checkpoint = load_weights(model, path)
        refuse_checkpoint(checkpoint, args, names, path)
        for landmark in checkpoint.get("untrained_landmarks") or []:
            print(f"{path}: {landmark} was not trained: what is found for it means nothing")
        sha256 = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        if sha256 in hashes:
            raise UserError(f"{path}: these weights are given twice")
        models.append(model)
        hashes.append(sha256)
    number = f", {len(models)} models" if len(models) > 1 else ""
    print(f"{type(models[0]).__name__}: {count_parameters(models[0]):,} parameters{number}")
    return models, "+".join(hashes)


def refuse_checkpoint(
    checkpoint: dict[str, Any], args: Namespace, names: pd.Series, path: str
) -> None:
    """Raise UserError for another hypothesis's checkpoint, and for one that was trained on any of
    these images, unless args.split is train or all. A file of weights alone cannot tell."""
    run_args, train_images = checkpoint.get("args"), checkpoint.get("train_images")
    if not isinstance(run_args, dict):  # another package's
        run_args = {}
    hypothesis = run_args.get("hypothesis", args.hypothesis)
    if hypothesis != args.hypothesis:
        raise UserError(f"{path}: is a checkpoint of Hypothesis {hypothesis}")
    if not isinstance(train_images, list) or args.split in ("train", "all"):
        return
    initial = checkpoint.get("initial_train_images", [])  # earlier versions did not keep them
    seen = _describe_seen(names, [name for name in train_images if name not in initial])
    if seen:
        raise UserError(
            f"{path}: was trained on {seen}: another ground truth, or another --split_by. Test "
            "with those of the training, or with --split all"
        )
    seen = _describe_seen(names, initial)
    if seen:
        raise UserError(
            f"{path}: the weights that it started from were trained on images with the names of "
            f"{seen}. If these are the same images, test with the ground truth and --split_by of "
            "that training; if they are others, test the best weights, "
            f"{run_args.get('model_save_path')}, which have no record of names"
        )


def _describe_seen(names: pd.Series, trained_on: list[str]) -> str:
    """Say how many of these names are among those that were trained on; "" where none is."""
    trained_names = {plain_name(str(name)) for name in trained_on}
    seen = names[names.map(plain_name).isin(trained_names)]
    if seen.empty:
        return ""
    return f"{len(seen)} of the {len(names)} images of this split, {seen.iloc[0]} for one"


def landmarks_at_256(
    data: LandmarkImages, predictions: evaluation.Predictions
) -> tuple[np.ndarray, np.ndarray]:
    """Return the annotated and the predicted landmarks, [N, 4, 2], in px of the 256×256 images."""
    annotated = data.landmarks.cpu().numpy().astype(float)
    predicted = data.to_256(predictions.predicted).round()  # a heatmap's maximum is a whole px
    return annotated, predicted


def describe_second_reader(
    comparison: evaluation.ReaderComparison,
    predictions: evaluation.Predictions,
    flagged: np.ndarray,
) -> str:
    """Say how far annotations and predictions are from a second reader, in all images and in those
    with a plausible annotation, and what the review flag, bool [N], finds by the second reader."""
    groups = {
        "All images": np.ones(len(predictions), bool),
        "Plausible annotations": is_plausible(predictions.annotated),
    }
    distances = comparison.distances["predicted to second reader"]
    readers = summary.describe_readers(comparison, groups)
    return f"{readers}\n{summary.describe_review_by_reader(distances, flagged)}"
