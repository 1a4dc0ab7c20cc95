"""The command line that the six scripts share, and how a script ends when something is wrong.

The end of an argument's name decides what it is, here and in every script:
    ..._save_path   an output: files.check_outputs refuses one that could not be written
    ..._path        any other path: an input, which no output may replace (as whatever else names a
                    file that exists)
    ..._weights     what a run begins with: an input too; a resumed run keeps what its checkpoint
                    says of it
A run that is resumed may have other paths. All else is a setting, which must be that of its
beginning, but for those in checkpoint.MAY_CHANGE.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import math
import os
import re
import shlex
import sys
from argparse import ArgumentTypeError
from collections.abc import Iterator
from typing import Callable, NoReturn

from common import UserError, distributed
from common.devices import PRECISIONS
from common.ground_truth import SPLITS

LARGEST = 2**32 - 1  # seed of NumPy, and more than anyone needs elsewhere
PICTURES = ("", ".png", ".jpg", ".jpeg", ".pdf", ".svg", ".eps", ".ps", ".tif", ".tiff", ".webp")

# How PyTorch, CUDA and its libraries say it; these two cannot begin where the GPU's memory is full.
NO_MEMORY = "out of memory|allocate memory|CU(BLAS|DNN)_STATUS_(ALLOC_FAILED|NOT_INITIALIZED)"


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
    add(
        "--model_save_path",
        type=ending_in(".pth", ".pt"),
        default=model_save_path,
        help="the best model so far",
    )
    add_picture(parser, "--plot_save_path", hypothesis, "training_curves", "the training curves")
    add("--batch_size", type=whole_number(1), default=batch_size, help="images per step")
    add("--epochs", type=whole_number(1), default=epochs, help="passes over the training images")
    add("--lr", type=positive_number, default=lr, help="learning rate")
    add("--seed", type=whole_number(0), default=42, help="random seed (the split has its own)")
    add("--initial_weights", metavar="PATH", help="weights to start from: a model or a checkpoint")
    add(
        "--precision",
        choices=PRECISIONS,
        default=precision,
        help="auto is fp16 on CUDA and fp32 elsewhere",
    )
    add("--resume", action="store_true", help="resume from the checkpoint beside the model")
    add("--checkpoint_seconds", type=number(0), default=60, help="least time between two saves")
    add_shared_arguments(parser)
    return parser


def tester_parser(description: str, *, hypothesis: int, review_confidence: float) -> Parser:
    """Return a parser of the arguments that every tester takes."""
    parser = Parser(description)
    parser.set_defaults(hypothesis=hypothesis, review_confidence=review_confidence)
    add_data_arguments(parser, csv_is_optional=True)
    add = parser.add_argument
    add("--second_csv_path", help="another reader's landmarks, to be compared")
    add("--model_path", nargs="+", required=True, help="weights; of several, heatmaps are averaged")
    add_picture(parser, "--pred_save_path", hypothesis, "predictions_visualization", "predictions")
    add_picture(parser, "--error_save_path", hypothesis, "error_distribution", "the pixel errors")
    add(
        "--csv_save_path",
        type=ending_in(".csv"),
        default=f"hypothesis_{hypothesis}_predictions.csv",
        help="table of all predictions",
    )
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
        add(
            "--csv_path",
            required=True,
            help="the ground truth: name and eight coordinates per image",
        )
    add("--image_folder_path", required=True, help="the folder that holds the images")


def add_shared_arguments(parser: Parser) -> None:
    """Add how the data are split, and on what device to compute."""
    add = parser.add_argument
    add(
        "--split_by",
        choices=("image", "subject"),
        default="image",
        help="subject: no subject is in two splits; use the same to train and to test",
    )
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


def positive_number(text: str) -> float:
    """An argparse type: a number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not value > 0:  # also NaN
        raise ArgumentTypeError(f"{text}: must be a number above 0")
    if value > LARGEST:
        raise ArgumentTypeError(f"{text}: must be at most {LARGEST}")
    return value


@contextlib.contextmanager
def reports_errors(*, resumable: bool = False) -> Iterator[None]:
    """Decorate a script's main: user errors end in one line, not a traceback.

    The exit status is 2, also for lack of memory and a full disk behind `>`; 130 for Ctrl-C, whose
    line has the command that resumes, if the script can; 1, without a line, where a reader has left
    (`| head`). Only rank 0 of several processes prints; a script that cannot resume refuses them.
    """
    # A notebook names a backend of its own, without which matplotlib cannot be imported here.
    os.environ["MPLBACKEND"] = "agg"
    _set_up_streams()
    try:
        with distributed.only_rank_0_prints():
            if distributed.world_size() > 1 and not resumable:
                raise UserError("this command needs one process, not torchrun")
            yield
    except BrokenPipeError as error:
        _discard_stdout()
        raise SystemExit(1) from error
    except KeyboardInterrupt as error:
        print(f"\n{_describe_interruption(resumable)}", file=sys.stderr)
        raise SystemExit(130) from error
    except Exception as error:
        message = _describe_error(error)
        if message is None:
            raise
        if _is_disk_full(error):
            _discard_stdout()
        print(f"error: {message}", file=sys.stderr)
        raise SystemExit(2) from error


def _set_up_streams() -> None:
    """Let what is printed be seen at once, and let no character end a script."""
    if sys.stderr is None:  # closed by 2>&-; tqdm needs one
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a notebook's has no such method
            stream.reconfigure(line_buffering=True, errors="replace")  # a terminal may lack "≤"


def _discard_stdout() -> None:
    """Discard what is left in stdout's buffer, which Python could not write as it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _describe_interruption(resumable: bool) -> str:
    """Say what Ctrl-C has done, and how to resume."""
    if not resumable:
        return "Interrupted."
    if distributed.world_size() > 1:
        command = "the same command again with --resume"
    else:
        arguments = [word for word in sys.argv if word != "--resume"]
        command = shlex.join([sys.executable, *arguments, "--resume"])
    return f"Interrupted. Any epochs since the last save are lost. To resume: {command}"


def _describe_error(error: Exception) -> str | None:
    """Say what a user can do about an error; None where it is a fault of this package."""
    if isinstance(error, UserError):
        return str(error)
    if _is_disk_full(error):
        return f"what is printed cannot be written: {error.strerror}"
    if "no kernel image is available" in str(error):
        return (
            "this PyTorch is not built for this GPU, which is too old for it (or too new): use "
            "--device cpu, or another build of PyTorch"
        )
    if isinstance(error, MemoryError) or re.search(NO_MEMORY, str(error)):
        advice = "out of memory: try half the --batch_size, or --device cpu"
        if re.search("CU(DA|BLAS|DNN)", str(error)):
            advice += "; another notebook may hold the GPU's memory"
        return advice
    return None


def _is_disk_full(error: Exception) -> bool:
    """Return whether the disk behind stdout is full (that of a file is a UserError)."""
    return isinstance(error, OSError) and error.errno == errno.ENOSPC
