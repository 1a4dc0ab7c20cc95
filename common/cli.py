"""The command line that the six scripts share, and how a bad one is reported."""

from __future__ import annotations

import argparse
import functools
import hashlib
import math
import os
import shlex
import sys
import time
from pathlib import Path
from typing import Any, Callable, NoReturn

import pandas as pd
import torch
from torch import nn

from common import UserError, evaluation, plots
from common.biometry import audit_line
from common.dataset import (
    SPLIT_SEED,
    LandmarkImages,
    Problem,
    load_images,
    parse_ground_truth,
    raise_problems,
    split_ground_truth,
)
from common.files import write_table
from common.models import count_parameters, load_weights
from common.training import (
    LATER_SETTINGS,
    PRECISIONS,
    check_precision,
    checkpoint_path_of,
    out_of_memory,
    seed_everything,
)

PARTS = ("train", "val", "test")


class Parser(argparse.ArgumentParser):
    """argparse with its defaults in --help and a bad argument reported in one line."""

    def __init__(self, description: str) -> None:
        super().__init__(
            description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
        )

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}\n")


def trainer_parser(
    description: str,
    *,
    model_save_path: str,
    plot_save_path: str,
    batch_size: int,
    epochs: int,
    lr: float,
    precision: str,
) -> Parser:
    """The arguments that every trainer takes, with the defaults of its recipe."""
    parser = Parser(description)
    add_data_arguments(parser)
    _add_split_argument(parser)
    add = parser.add_argument
    add("--model_save_path", default=model_save_path, help="the best model so far")
    add("--plot_save_path", default=plot_save_path, help="picture of the training curves")
    add("--batch_size", type=positive_int, default=batch_size, help="images per step")
    add("--epochs", type=positive_int, default=epochs, help="passes over the training images")
    add("--lr", type=positive_float, default=lr, help="learning rate")
    add("--seed", type=natural_number, default=42, help="of everything random but the split")
    _add_device_argument(parser)
    add(
        "--precision",
        choices=PRECISIONS,
        default=precision,
        help="of the training; auto is fp16 on CUDA and fp32 elsewhere",
    )
    add("--resume", action="store_true", help="go on from the checkpoint beside the model")
    add(
        "--checkpoint_seconds",
        type=natural_float,
        default=60,
        help="save after an epoch when so long has passed since the last time; 0: each epoch",
    )
    return parser


def tester_parser(description: str, *, pred_save_path: str, error_save_path: str) -> Parser:
    """The arguments that every tester takes."""
    parser = Parser(description)
    add_data_arguments(parser)
    _add_split_argument(parser)
    add = parser.add_argument
    add("--model_path", required=True, default=argparse.SUPPRESS, help="weights to test")
    add("--pred_save_path", default=pred_save_path, help="picture of six predictions")
    add("--error_save_path", default=error_save_path, help="picture of the pixel errors")
    add("--csv_save_path", help="table of all predictions, one row per image")
    add(
        "--split",
        choices=(*PARTS, "all"),
        default="test",
        help="which images; all: every row of the ground truth, which may be a single one",
    )
    add("--batch_size", type=positive_int, default=8, help="images per step")
    _add_device_argument(parser)
    return parser


def start_training(
    args: argparse.Namespace, *more_pictures: str
) -> tuple[torch.device, LandmarkImages, LandmarkImages]:
    """Check the arguments, seed everything, and load the images.

    more_pictures: what this trainer draws beside the curves.
    Returns the device and, on it, the training and the validation set.
    """
    check_outputs(
        args,
        files=[args.model_save_path, checkpoint_path_of(args.model_save_path)],
        pictures=[args.plot_save_path, *more_pictures],
    )
    device = select_device(args.device)
    check_precision(args.precision, device)
    seed_everything(args.seed)
    parts, problems = _read_split(args)
    train, val = parts["train"], parts["val"]
    data = load_images(pd.concat([train, val]), args.image_folder_path, args.csv_path, problems)
    print(f"In memory: {len(data)} images, {data.images.nbytes / 1e6:.1f} MB")
    print(audit_line(parts))
    data = data.to(device)
    return device, data[: len(train)], data[len(train) :]


def announce(model: nn.Module) -> None:
    """Print what is trained or tested."""
    print(f"{type(model).__name__}: {count_parameters(model):,} parameters")


def run_tester(args: argparse.Namespace, network: type[nn.Module]) -> None:
    """Test a network: print what its errors come to, draw the two pictures, write the table."""
    csv_files = [args.csv_save_path] if args.csv_save_path else []
    check_outputs(args, files=csv_files, pictures=[args.pred_save_path, args.error_save_path])
    device = select_device(args.device)
    seed_everything(SPLIT_SEED)  # nothing here is random; but the GPU is to repeat itself
    parts, problems = _read_split(args)
    model = network()
    settings = load_weights(model, args.model_path)
    model_sha256 = hashlib.sha256(Path(args.model_path).read_bytes()).hexdigest()
    announce(model)
    _check_split(args, settings)
    rows = parts[args.split]
    data = load_images(rows, args.image_folder_path, args.csv_path, problems)
    print(audit_line(parts))
    model = model.to(device)
    started = time.monotonic()
    try:
        predicted, confidences = evaluation.predict(model, data.to(device), args.batch_size)
    except torch.cuda.OutOfMemoryError as error:
        raise out_of_memory(args.batch_size) from error
    seconds = time.monotonic() - started
    table = evaluation.prediction_table(
        rows, data, predicted, confidences, split=args.split, model_sha256=model_sha256
    )
    errors = evaluation.errors_of(table)
    plots.predictions(data, predicted, errors, table["review"].to_numpy(), args.pred_save_path)
    plots.error_distribution(errors, args.error_save_path)
    if args.csv_save_path:
        write_table(table, args.csv_save_path)
    print(f"Predicted in {1000 * seconds / len(data):.1f} ms per image\n")
    print(evaluation.report(table))
    print(f"\nPredictions: {args.pred_save_path}\nErrors:      {args.error_save_path}")
    if args.csv_save_path:
        print(f"Table:       {args.csv_save_path}")


def reports_errors(main: Callable[..., Any] | None = None, *, resumable: bool = False) -> Any:
    """Decorate a script's main: no traceback for what its user can mend.

    A UserError becomes its message and exit status 2, Ctrl-C becomes one line (with the command
    to go on, if the script is resumable) and exit status 130.
    """
    if main is None:
        return functools.partial(reports_errors, resumable=resumable)

    @functools.wraps(main)
    def wrapper(argv: list[str] | None = None) -> Any:
        # Shown at once in a notebook too, and no error where a terminal lacks "≤" or "±".
        sys.stdout.reconfigure(line_buffering=True, errors="replace")
        try:
            return main(argv)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            raise SystemExit(2) from error
        except KeyboardInterrupt as error:
            message = "Interrupted."
            if resumable:
                arguments = [a for a in (sys.argv[1:] if argv is None else argv) if a != "--resume"]
                command = ["python", Path(main.__globals__["__file__"]).name, *arguments]
                message += f" To go on: {shlex.join([*command, '--resume'])}"
            print(f"\n{message}", file=sys.stderr)
            raise SystemExit(130) from error

    return wrapper


def select_device(name: str) -> torch.device:
    """auto, cpu or cuda → the device, which is also printed. Raises UserError without CUDA."""
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: there is no CUDA device here; use --device cpu or auto")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    print(f"Device: {torch.cuda.get_device_name(device) if name == 'cuda' else 'CPU'}")
    return device


def positive_int(text: str) -> int:
    """A whole number from 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return value


def natural_number(text: str) -> int:
    """A whole number from 0 to 2³² − 1, which is what NumPy takes as a seed."""
    value = int(text)
    if not 0 <= value < 2**32:
        raise argparse.ArgumentTypeError(f"{text} is not in 0 … {2**32 - 1}")
    return value


def positive_float(text: str) -> float:
    """A finite number above 0."""
    value = float(text)
    if not (value > 0 and math.isfinite(value)):
        raise argparse.ArgumentTypeError(f"{text} is not a finite number above 0")
    return value


def natural_float(text: str) -> float:
    """A finite number from 0."""
    value = float(text)
    if not (value >= 0 and math.isfinite(value)):
        raise argparse.ArgumentTypeError(f"{text} is not a finite number from 0")
    return value


def add_data_arguments(parser: Parser) -> None:
    """Where the ground truth and the images are."""
    add = functools.partial(parser.add_argument, required=True, default=argparse.SUPPRESS)
    add("--csv_path", help="the ground truth: a name and eight coordinates per image")
    add("--image_folder_path", help="the folder that holds the images")


def _add_split_argument(parser: Parser) -> None:
    parser.add_argument(
        "--split_by",
        choices=("image", "subject"),
        default="image",
        help="subject: no one is on the images of two parts; test with what was trained with",
    )


def _add_device_argument(parser: Parser) -> None:
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto takes a GPU if any"
    )


def check_outputs(args: argparse.Namespace, files: list[str], pictures: list[str]) -> None:
    """Raise UserError for an output that could not be written when the work is done, or that
    would be written over an input."""
    inputs = [args.csv_path, vars(args).get("model_path"), vars(args).get("encoder_weights")]
    taken = {Path(path).resolve() for path in inputs if path}
    for path in map(Path, [*files, *pictures]):
        if path.is_dir():
            raise UserError(f"{path}: is a folder, and a file is to be written there")
        if not path.parent.is_dir():
            raise UserError(f"{path}: the folder {path.parent} does not exist")
        if not os.access(path.parent, os.W_OK):
            raise UserError(f"{path}: the folder {path.parent} cannot be written to")
        if path.resolve() in taken:
            raise UserError(f"{path}: two of the files given have this name")
        taken.add(path.resolve())
    for path in pictures:
        plots.check_picture_path(path)


def _check_split(args: argparse.Namespace, settings: dict[str, Any]) -> None:
    """Raise UserError for a checkpoint that was trained on another split than is to be tested.

    settings: those of its run; none where the file holds the weights alone.
    """
    split_by = {**LATER_SETTINGS, **settings}["split_by"]
    if settings and args.split != "all" and args.split_by != split_by:
        raise UserError(
            f"{args.model_path}: was trained with --split_by {split_by}, so that is how to test "
            f"it: by {args.split_by}, images of its training would be among those tested"
        )


def _read_split(args: argparse.Namespace) -> tuple[dict[str, pd.DataFrame], list[Problem]]:
    """The parts of the ground truth by name, and what is wrong with single rows of it."""
    table, problems = parse_ground_truth(args.csv_path)
    print(f"Loaded {len(table)} images")
    if vars(args).get("split") == "all":
        return {"all": table}, problems
    by_subject = args.split_by == "subject"
    if by_subject:  # the names, too, may say who is on an image
        raise_problems(args.csv_path, problems)
    parts = dict(zip(PARTS, split_ground_truth(table, by_subject)))
    print(" | ".join(f"{name.capitalize()}: {len(part)}" for name, part in parts.items()))
    return parts, problems
