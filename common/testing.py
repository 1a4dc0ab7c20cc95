"""What a tester does, from its arguments to its pictures."""

import time
from argparse import Namespace
from typing import Callable

import numpy as np
from torch import nn

from common import evaluation, ground_truth, plots, summary
from common.devices import make_repeatable, select_device
from common.files import check_outputs, write_table
from common.images import load_images, read_second_reader
from common.models import count_parameters
from common.weights import load_models


def run(network_class: Callable[[], nn.Module], args: Namespace) -> None:
    """Test one or several trainings of a network: write the table, draw the pictures, print the
    errors; only predict where nothing is annotated. Raises UserError for what cannot be used."""
    check_outputs(args)
    device = select_device(args.device)
    make_repeatable(0)  # nothing here is random; but the GPU is to repeat itself
    if args.csv_path is None:
        table = ground_truth.list_images(args.image_folder_path)
    else:
        table = ground_truth.read_ground_truth(args.csv_path)
    if not ground_truth.has_landmarks(table).any():
        print("No landmark is annotated, so there is no split: all images are predicted")
        args.split = "all"
    splits = {"all": table}
    if args.split != "all":
        splits = ground_truth.split_ground_truth(table, args.split_by, args.csv_path)
    tested = splits[args.split]
    print(f"{summary.describe_splits(splits)}\n{summary.describe_annotations(splits)}".rstrip())
    models, sha256 = load_models(network_class, args, tested[ground_truth.NAME_COLUMN])
    number = f", {len(models)} models" if len(models) > 1 else ""
    print(f"{type(models[0]).__name__}: {count_parameters(models[0]):,} parameters{number}")
    data = load_images(tested, args.image_folder_path)
    if args.second_csv_path:
        second = read_second_reader(args.second_csv_path, data)
    models = [model.to(device) for model in models]
    started = time.monotonic()
    prediction = evaluation.predict(models, data.to(device), args.batch_size)
    milliseconds = 1000 * (time.monotonic() - started) / len(data)
    predictions = evaluation.prediction_table(
        tested, data, prediction, args.split, sha256, args.review_confidence
    )
    readers = ""
    if args.second_csv_path:
        found = prediction.landmarks.numpy().astype(float)
        columns, distances = evaluation.compare_readers(data, second, found)
        predictions = predictions.join(columns)
        plausible = predictions["annotation_plausible"].fillna(False).to_numpy(bool)
        groups = {"All images": np.ones(len(data), bool), "Plausible annotations": plausible}
        flagged = predictions["review"].to_numpy()
        readers = f"\n\n{summary.describe_readers(distances, groups, flagged)}"
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
        print(summary.describe_test(predictions) + readers)
    print(f"\nTable:       {args.csv_save_path}\nPredictions: {args.pred_save_path}")
    print(f"Errors:      {error_picture}")
