"""The arguments that the scripts share, and the types of arguments.

The end of an argument's name decides what it is, here and in every script:
    ..._save_path   an output: files.check_outputs refuses one that could not be written
    ..._path        any other path: an input, which no output may replace (as whatever else names a
                    file that exists)
    ..._weights     what a run begins with: an input too; a resumed run keeps what its checkpoint
                    says of it
A run that is resumed may have other paths and weights. All else is a setting, which must be that
of its beginning, but for those in checkpoint.MAY_CHANGE.
"""

from __future__ import annotations

import argparse
import math
import os
from argparse import ArgumentTypeError
from typing import Callable, NoReturn

from common.ground_truth import SPLITS

SMALLEST = 1e-30  # of what must be above 0
LARGEST = 2**32 - 1  # seed of NumPy, and more than anyone needs elsewhere
WEIGHTS = (".pth", ".pt")
PICTURES = ("", ".png", ".jpg", ".jpeg", ".pdf", ".svg", ".eps", ".ps", ".tif", ".tiff", ".webp")
PRECISIONS = ("auto", "fp32", "fp16", "bf16")


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Adds to each help text its default, unless that is None."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default is None else super()._get_help_string(action)


class Parser(argparse.ArgumentParser):
    """argparse with its defaults in --help, and a bad argument reported in one line."""

    def __init__(self, description: str) -> None:
        super().__init__(description=description, formatter_class=HelpFormatter, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}\n")


def trainer_parser(
    description: str,
    *,
    hypothesis: int,
    model_save_path: str,
    batch_size: int,
    epochs: int,
    lr: float,
    precision: str,
) -> Parser:
    """Return a parser of the arguments that every trainer takes. From model_save_path on, ours are
    the defaults of a hypothesis's recipe."""
    parser = Parser(description)
    # The hypothesis is kept in the checkpoint: no other may resume or test it.
    parser.set_defaults(hypothesis=hypothesis)
    add_data_arguments(parser)
    add = parser.add_argument
    add("--model_save_path", type=ending_in(*WEIGHTS), default=model_save_path, help="best weights")
    add_picture(parser, "--plot_save_path", hypothesis, "training_curves", "the training curves")
    add("--batch_size", type=number(int, 1), default=batch_size, help="images per step")
    add("--epochs", type=number(int, 1), default=epochs, help="passes over the training images")
    add("--lr", type=number(float, SMALLEST), default=lr, help="learning rate")
    add("--seed", type=number(int, 0), default=42, help="random seed (the split has its own)")
    start = "a model or a checkpoint to start from; excludes --encoder_weights PATH"
    add("--initial_weights", metavar="PATH", help=start)
    types = "auto: fp16 on CUDA, else fp32; fp16 is refused on a CPU"
    add("--precision", choices=PRECISIONS, default=precision, help=types)
    add("--resume", action="store_true", help="resume from the checkpoint beside the model")
    add("--checkpoint_seconds", type=number(float, 0), default=60, help="time between two saves")
    add_shared_arguments(parser)
    return parser


def tester_parser(description: str, *, hypothesis: int, review_confidence: float) -> Parser:
    """Return a parser of the arguments that every tester takes."""
    parser = Parser(description)
    parser.set_defaults(hypothesis=hypothesis)
    add_data_arguments(parser, csv_is_optional=True)
    add = parser.add_argument
    add("--second_csv_path", help="another reader's landmarks, to be compared")
    add("--model_path", nargs="+", required=True, help="weights; of several, heatmaps are averaged")
    add_picture(parser, "--pred_save_path", hypothesis, "predictions_visualization", "predictions")
    add_picture(parser, "--error_save_path", hypothesis, "error_distribution", "the pixel errors")
    table = f"hypothesis_{hypothesis}_predictions.csv"
    add("--csv_save_path", type=ending_in(".csv"), default=table, help="table of all predictions")
    add("--split", choices=(*SPLITS, "all"), default="test", help="all: every row or image")
    add(
        "--review_confidence",
        type=number(float, 0, 1),
        default=review_confidence,
        help="flag images with a landmark below this confidence",
    )
    add("--batch_size", type=number(int, 1), default=8, help="images per step")
    add_shared_arguments(parser)
    return parser


def add_data_arguments(parser: Parser, csv_is_optional: bool = False) -> None:
    """Add where the ground truth and the images are."""
    add = parser.add_argument
    ground_truth = "the ground truth: name and eight coordinates per image"
    if csv_is_optional:
        ground_truth += "; without it, all images of the folder are predicted, or the one image"
    add("--csv_path", required=not csv_is_optional, help=ground_truth)
    add("--image_folder_path", required=True, help="the folder that holds the images")


def add_shared_arguments(parser: Parser) -> None:
    """Add how the data are split, and on what device to compute."""
    add = parser.add_argument
    by = "subject: no one is in two splits; train and test by the same"
    add("--split_by", choices=("image", "subject"), default="image", help=by)
    add("--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto: GPU if available")


def add_picture(parser: Parser, option: str, hypothesis: int, name: str, shows: str) -> None:
    """Add an option for a picture, named after the hypothesis by default."""
    name = f"hypothesis_{hypothesis}_{name}.png"
    parser.add_argument(option, type=ending_in(*PICTURES), default=name, help=f"picture of {shows}")


def ending_in(*endings: str) -> Callable[[str], str]:
    """Return an argparse type: a path with one of these endings."""

    def parse(text: str) -> str:
        if os.path.splitext(text)[1].lower() not in endings:
            raise ArgumentTypeError(f"{text}: must end in {', '.join(filter(None, endings))}")
        return text

    return parse


def number(kind: type, at_least: float, at_most: float = LARGEST) -> Callable[[str], float]:
    """Return an argparse type: an int or a float, whichever `kind` is, between these two."""

    def parse(text: str) -> float:
        try:
            value = kind(text) if kind is float or text.isdecimal() else math.nan
        except ValueError:
            value = math.nan
        if not at_least <= value <= at_most:  # which NaN is not
            name = "whole number" if kind is int else "number"
            raise ArgumentTypeError(f"{text}: must be a {name} from {at_least} to {at_most}")
        return value

    return parse
