"""The command line that the six scripts share, and how a script ends when something is wrong."""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import re
import shlex
import sys
from argparse import SUPPRESS, ArgumentTypeError
from collections.abc import Iterator
from typing import Any, Callable, NoReturn

from common import UserError, distributed
from common.devices import PRECISIONS
from common.ground_truth import SPLITS

LARGEST = 2**32 - 1  # seed of NumPy, and more than anyone needs elsewhere
PICTURES = ("", ".png", ".jpg", ".jpeg", ".pdf", ".svg", ".eps", ".ps", ".tif", ".tiff", ".webp")
REQUIRED = {"required": True, "default": SUPPRESS}  # --help would show a default of None


class Parser(argparse.ArgumentParser):
    """argparse with its defaults in --help, and a bad argument reported in one line."""

    def __init__(self, description: str) -> None:
        formatter = argparse.ArgumentDefaultsHelpFormatter
        super().__init__(description=description, formatter_class=formatter, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}\n")


def trainer_parser(description: str, *, hypothesis: int, **recipe: Any) -> Parser:
    """Return a parser of the arguments that every trainer takes. recipe: the defaults of
    model_save_path, batch_size, epochs, lr and precision."""
    parser = Parser(description)
    add_data_arguments(parser)
    add = parser.add_argument
    add("--model_save_path", type=ending_in(".pth", ".pt"), help="the best model so far")
    add_picture(parser, "--plot_save_path", hypothesis, "training_curves", "the training curves")
    add("--batch_size", type=whole_number(1), help="images per step")
    add("--epochs", type=whole_number(1), help="passes over the training images")
    add("--lr", type=number(1e-30), help="learning rate")
    add("--seed", type=whole_number(0), default=42, help="random seed (the split has its own)")
    add("--initial_weights", metavar="PATH", help="weights to start from: a model or a checkpoint")
    add("--precision", choices=PRECISIONS, help="auto is fp16 on CUDA and fp32 elsewhere")
    add("--resume", action="store_true", help="resume from the checkpoint beside the model")
    add("--checkpoint_seconds", type=number(0), default=60, help="least time between two saves")
    add_shared_arguments(parser)
    # The hypothesis is kept in the checkpoint: no other may resume or test it.
    parser.set_defaults(hypothesis=hypothesis, **recipe)
    return parser


def tester_parser(description: str, *, hypothesis: int, review_confidence: float) -> Parser:
    """Return a parser of the arguments that every tester takes."""
    parser = Parser(description)
    parser.set_defaults(hypothesis=hypothesis, review_confidence=review_confidence)
    add_data_arguments(parser, csv_is_optional=True)
    add = parser.add_argument
    add("--second_csv_path", help="another reader's landmarks, to be compared")
    add("--model_path", nargs="+", **REQUIRED, help="weights; of several, heatmaps are averaged")
    add_picture(parser, "--pred_save_path", hypothesis, "predictions_visualization", "predictions")
    add_picture(parser, "--error_save_path", hypothesis, "error_distribution", "the pixel errors")
    name = f"hypothesis_{hypothesis}_predictions.csv"
    add("--csv_save_path", type=ending_in(".csv"), default=name, help="table of all predictions")
    add("--split", choices=(*SPLITS, "all"), default="test", help="all: every row (even just one)")
    add("--review_confidence", type=number(0, 1), help="flag images with a landmark below this")
    add("--batch_size", type=whole_number(1), default=8, help="images per step")
    add_shared_arguments(parser)
    return parser


def add_data_arguments(parser: Parser, csv_is_optional: bool = False) -> None:
    """Add where the ground truth and the images are."""
    add = parser.add_argument
    if csv_is_optional:
        add("--csv_path", help="the ground truth; without it, all images are predicted")
    else:
        add("--csv_path", **REQUIRED, help="the ground truth: name and eight coordinates per image")
    add("--image_folder_path", **REQUIRED, help="the folder that holds the images")


def add_shared_arguments(parser: Parser) -> None:
    """Add how the data are split, and on what device to compute."""
    add = parser.add_argument
    meaning = "subject: no subject is in two splits; use the same to train and to test"
    add("--split_by", choices=("image", "subject"), default="image", help=meaning)
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


def whole_number(at_least: int) -> Callable[[str], int]:
    """Return an argparse type: a whole number that is not less than this."""

    def parse(text: str) -> int:
        if not text.isdecimal() or not at_least <= float(text) <= LARGEST:
            raise ArgumentTypeError(f"{text}: must be a whole number from {at_least} to {LARGEST}")
        return int(text)

    return parse


def number(at_least: float, at_most: float = LARGEST) -> Callable[[str], float]:
    """Return an argparse type: a number between these two."""

    def number(text: str) -> float:  # argparse names it where float raises ValueError
        if not at_least <= float(text) <= at_most:
            raise ArgumentTypeError(f"{text}: must be a number from {at_least} to {at_most}")
        return float(text)

    return number


@contextlib.contextmanager
def reports_errors(*, resumable: bool = False) -> Iterator[None]:
    """Decorate a script's main: user errors end in one line, not a traceback.

    The exit status is 2, also for lack of memory and a full disk behind `>`; 130 for Ctrl-C, whose
    line has the command that resumes, if the script can; 1, without a line, where a reader has left
    (`| head`). Only rank 0 of several processes prints; a script that cannot resume refuses them.
    """
    # A notebook names a backend of its own, without which matplotlib cannot be imported here.
    os.environ["MPLBACKEND"] = "agg"
    if sys.stderr is None:  # closed by 2>&-; tqdm needs one
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a notebook's has no such method
            stream.reconfigure(line_buffering=True, errors="replace")  # a terminal may lack "≤"
    try:
        with distributed.only_rank_0_prints():
            if distributed.world_size() > 1 and not resumable:
                raise UserError("this command needs one process, not torchrun")
            yield
    except BrokenPipeError as error:
        # What is left in the buffer has nowhere to go when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from error
    except KeyboardInterrupt as error:
        message = "Interrupted."
        if resumable:
            arguments = [word for word in sys.argv if word != "--resume"]
            command = shlex.join([sys.executable, *arguments, "--resume"])
            if distributed.world_size() > 1:
                command = "the same command again with --resume"
            message += f" Any epochs since the last save are lost. To resume: {command}"
        print(f"\n{message}", file=sys.stderr)
        raise SystemExit(130) from error
    except Exception as error:
        out_of_memory = re.search("out of memory|allocate memory", str(error))
        disk_full = isinstance(error, OSError) and error.errno == errno.ENOSPC
        if not (isinstance(error, (UserError, MemoryError)) or out_of_memory or disk_full):
            raise
        advice = "out of memory: try half the --batch_size, or --device cpu"
        if disk_full:  # that of stdout: a file's is a UserError
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            advice = f"what is printed cannot be written: {error.strerror}"
        print(f"error: {error if isinstance(error, UserError) else advice}", file=sys.stderr)
        raise SystemExit(2) from error
