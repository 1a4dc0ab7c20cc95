"""What a tester does, from its arguments to its pictures."""

import hashlib
import os
import time
from argparse import Namespace
from pathlib import Path
from typing import Any, Callable

import numpy as np
import pandas as pd
import torch
from torch import nn

from common import UserError, evaluation, ground_truth, images
from common.annotation_quality import second_reader
from common.annotation_quality.biometry import describe_data
from common.annotation_quality.end_names import describe_other_rule
from common.basics.drawing import save_picture
from common.basics.files import check_outputs, write_table
from common.ground_truth import LANDMARK_NAMES, NAME_COLUMN, has_landmarks, plain_name
from common.models import count_parameters
from common.results import review
from common.results.pictures import draw_all_predictions, draw_errors, draw_predictions
from common.results.table import prediction_table
from common.results.text import describe_test
from common.runs.devices import make_repeatable, select_device
from common.runs.weights import load_weights


def run_test(network_class: Callable[[], nn.Module], args: Namespace) -> None:
    """Test one or several trainings of a network: write the table, draw the pictures, print the
    errors; only predict where nothing is annotated. Raises UserError for what cannot be used."""
    check_outputs(args)
    device = select_device(args.device)
    make_repeatable(0)  # nothing here is random; but the GPU is to repeat itself
    rows, split = read_tested_rows(args)
    models, sha256, untrained = load_models(network_class, args, split, rows[NAME_COLUMN])
    data = images.load_images(rows, args.image_folder_path)
    second = None
    if args.second_csv_path:
        second = second_reader.read_second_reader(args.second_csv_path, data)
    models = [model.to(device) for model in models]
    started = time.monotonic()
    predictions = evaluation.predict(models, data.to(device), args.batch_size)
    milliseconds = 1000 * (time.monotonic() - started) / len(data)

    is_annotated = has_landmarks(rows).any()
    limit, trusted = args.review_confidence, find_trusted(predictions.errors, untrained)
    table = prediction_table(predictions, split, sha256, limit, trusted)
    texts = [f"Predicted in {milliseconds:.1f} ms per image"]
    if is_annotated:
        texts.append(describe_test(table))
        texts.append(describe_other_rule(predictions.annotated, predictions.predicted))
    texts.append(review.describe_review(table, trusted))
    if second is not None:
        predicted = predictions.predicted
        table = table.join(second_reader.reader_columns(second, data, predicted))
        texts.append(describe_by_reader(table))
    written = []
    try:  # before anything is printed: a reader may leave (`| head`)
        write_table(table, args.csv_save_path)
        written.append(f"Table:       {args.csv_save_path}")
        is_pdf = args.pred_save_path.lower().endswith(".pdf")
        draw = draw_all_predictions if is_pdf else draw_predictions
        pictures = [
            ("Predictions: ", draw(data, predictions.predicted, table), args.pred_save_path)
        ]
        if is_annotated:
            errors = draw_errors(predictions.errors)
            pictures.append(("Errors:      ", errors, args.error_save_path))
        for label, picture, path in pictures:
            save_picture(picture, path)
            written.append(label + path)
        if not is_annotated:
            written.append("Errors:      not drawn, as no landmark is annotated")
    finally:  # whatever happens to the files
        print("\n\n".join(filter(None, [*texts, "\n".join(written)])))


def describe_by_reader(table: pd.DataFrame) -> str:
    """Say how far apart annotations, predictions and a second reader are, from a tester's table
    with reader_columns, and what the review flag finds by this reader."""
    flagged = table["review"].to_numpy(bool)
    groups = {"all images": np.ones(len(table), bool), **review.groups(table)}
    distances = ground_truth.landmark_values(table, second_reader.PREDICTED_TO_SECOND)
    is_far = distances > review.REVIEW_ERROR
    return (
        f"{second_reader.describe_readers(table, groups)}\n"
        f"Review: {flagged.sum()} flagged images have {is_far[flagged].sum()} of the "
        f"{is_far.sum()} landmarks\n  more than {review.REVIEW_ERROR} px from the second reader"
    )


def read_tested_rows(args: Namespace) -> tuple[pd.DataFrame, str]:
    """Read the ground truth, without which there is a row for each image of the folder, or for the
    one image. Returns the rows of the split that is to be tested, and its name; all rows where
    nothing is annotated. Where one image is given, its folder replaces args.image_folder_path.
    Raises UserError for a file, row or folder that cannot be used."""
    name = None
    if os.path.isfile(args.image_folder_path):
        folder, name = os.path.split(args.image_folder_path)
        args.image_folder_path = folder or "."
    if args.csv_path is None:
        names = [name] if name else images.list_images(args.image_folder_path)
        rows = ground_truth.image_table(names, args.image_folder_path)
    else:
        rows = ground_truth.read_ground_truth(args.csv_path)
        if name:
            rows = rows[rows[NAME_COLUMN].map(plain_name) == plain_name(name)]
            if rows.empty:
                raise UserError(f"{args.csv_path}: has no row for {name}")
    split = args.split
    if not has_landmarks(rows).any():
        print("No landmark is annotated, so there is no split: all images are predicted")
        split = "all"
    splits = {"all": rows}
    if split != "all":
        splits = ground_truth.split_ground_truth(rows, args.split_by, args.csv_path)
    print(describe_data(splits))
    return splits[split], split


def load_models(
    network_class: Callable[[], nn.Module], args: Namespace, split: str, names: pd.Series
) -> tuple[list[nn.Module], str, set[str]]:
    """Load a network for each file at args.model_path, to test it on the images of these names.

    Returns the networks, on the CPU, the SHA-256 of the files, joined by +, and the names of the
    landmarks that one of their trainings did not have. Raises UserError for a file that cannot be
    used, for weights that are given twice, and for what refuse_checkpoint refuses.
    """
    models, hashes, untrained = [], [], set()
    for path in args.model_path:
        model = network_class()
        checkpoint = load_weights(model, path)
        refuse_checkpoint(checkpoint, args, split, names, path)
        weights = model.state_dict().values()
        if any(all(map(torch.equal, weights, other.state_dict().values())) for other in models):
            raise UserError(f"{path}: these weights are given twice")
        models.append(model)
        untrained.update(checkpoint.get("untrained_landmarks") or [])
        hashes.append(hashlib.sha256(Path(path).read_bytes()).hexdigest())
    number = f", {len(models)} models" if len(models) > 1 else ""
    print(f"{type(models[0]).__name__}: {count_parameters(models[0]):,} parameters{number}")
    return models, "+".join(hashes), untrained


def refuse_checkpoint(
    checkpoint: dict[str, Any], args: Namespace, split: str, names: pd.Series, path: str
) -> None:
    """Raise UserError for another hypothesis's checkpoint, and for one that was trained on any of
    these images, unless the split is train or all. A file of weights alone cannot tell."""
    run_args = checkpoint.get("args")
    if isinstance(run_args, dict) and run_args.get("hypothesis") != args.hypothesis:
        raise UserError(f"{path}: is a checkpoint of Hypothesis {run_args.get('hypothesis')}")
    if split in ("train", "all"):
        return
    trained_names = {plain_name(str(name)) for name in checkpoint.get("train_images", [])}
    seen = names[names.map(plain_name).isin(trained_names)]
    if len(seen):
        raise UserError(
            f"{path}: it, or the weights that it started from, was trained on {len(seen)} of the "
            f"{len(names)} images of this split, {seen.iloc[0]} for one: another ground truth, or "
            "another --split_by. Test with those of the training, or with --split all. If they "
            "only share their names, test the file of the best weights, which has no record of "
            "names"
        )


def find_trusted(errors: np.ndarray, untrained: set[str]) -> np.ndarray:
    """Return the landmarks whose predictions mean something, by which an image is flagged, bool
    [4]. Print which are left out: those that no training image had, and those that no tested image
    has although it has others. errors: [N, 4], NaN where a landmark is not annotated."""
    is_known = np.isfinite(errors).any(axis=0)
    is_left_out = np.isin(LANDMARK_NAMES, list(untrained)) | (~is_known & is_known.any())
    if is_left_out.any():
        names = ", ".join(np.array(LANDMARK_NAMES)[is_left_out])
        print(f"The review flag leaves out {names}: not trained, or annotated in no tested image")
    return ~is_left_out
