"""The command line that the six scripts share, and how a script ends when something is wrong."""

from __future__ import annotations

import argparse
import functools
import math
import os
import shlex
import sys
from typing import Any, Callable, NoReturn, TextIO

import torch

from common import UserError, distributed, plots
from common.devices import PRECISIONS
from common.files import check_outputs
from common.ground_truth import SPLITS

MAX_NUMBER = 2**32 - 1  # the largest seed of NumPy, and more than anyone needs elsewhere


class Parser(argparse.ArgumentParser):
    """argparse with its defaults in --help, a bad argument reported in one line, and outputs that
    are checked before any work."""

    def __init__(self, description: str) -> None:
        super().__init__(
            description=description,
            formatter_class=argparse.ArgumentDefaultsHelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}\n")

    def parse_args(self, args: list[str] | None = None) -> argparse.Namespace:
        """Raises UserError when an output cannot be written (files.check_outputs)."""
        parsed = super().parse_args(args)
        if "model_save_path" in parsed:  # a trainer's checkpoint lies beside its model
            stem, _ = os.path.splitext(parsed.model_save_path)
            parsed.checkpoint_save_path = f"{stem}_checkpoint.pth"
        check_outputs(parsed)
        return parsed


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
    """The arguments that every trainer takes, with the defaults of its recipe."""
    parser = Parser(description)
    parser.set_defaults(hypothesis=hypothesis)  # kept in the checkpoint: no other may resume it
    add_data_arguments(parser)
    add = parser.add_argument
    add("--model_save_path", default=model_save_path, help="the best model so far")
    add_picture(parser, "--plot_save_path", hypothesis, "training_curves", "the training curves")
    add("--batch_size", type=number(int, above=0), default=batch_size, help="images per step")
    add(
        "--epochs",
        type=number(int, above=0),
        default=epochs,
        help="passes over the training images",
    )
    add("--lr", type=number(float, above=0), default=lr, help="learning rate")
    add(
        "--seed",
        type=number(int, at_least=0),
        default=42,
        help="random seed (the split has its own)",
    )
    add(
        "--precision",
        choices=PRECISIONS,
        default=precision,
        help="of the training; auto is fp16 on CUDA and fp32 elsewhere",
    )
    add("--resume", action="store_true", help="resume from the checkpoint beside the model")
    add(
        "--checkpoint_seconds",
        type=number(float, at_least=0),
        default=60,
        help="save after an epoch once so many seconds have passed since the last time",
    )
    add_shared_arguments(parser)
    return parser


def tester_parser(description: str, *, hypothesis: int) -> Parser:
    """The arguments that every tester takes."""
    parser = Parser(description)
    add_data_arguments(parser)
    add = parser.add_argument
    add(
        "--model_path",
        required=True,
        default=argparse.SUPPRESS,
        nargs="+",
        help="weights to test; of several files, the heatmaps are averaged",
    )
    add_picture(
        parser, "--pred_save_path", hypothesis, "predictions_visualization", "six predictions"
    )
    add_picture(parser, "--error_save_path", hypothesis, "error_distribution", "the pixel errors")
    add("--csv_save_path", help="table of all predictions, one row per image")
    add(
        "--split",
        choices=(*SPLITS, "all"),
        default="test",
        help="which images; all: every row of the ground truth, which may be a single one",
    )
    add("--batch_size", type=number(int, above=0), default=8, help="images per step")
    add_shared_arguments(parser)
    return parser


def add_data_arguments(parser: Parser) -> None:
    """Where the ground truth and the images are."""
    add = functools.partial(parser.add_argument, required=True, default=argparse.SUPPRESS)
    add("--csv_path", help="the ground truth: a name and eight coordinates per image")
    add("--image_folder_path", help="the folder that holds the images")


def add_shared_arguments(parser: Parser) -> None:
    """How the data are split, and on what device to compute."""
    parser.add_argument(
        "--split_by",
        choices=("image", "subject"),
        default="image",
        help="subject: no subject is in two splits; use the same to train and to test",
    )
    parser.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="auto uses a GPU if there is one",
    )


def add_picture(parser: Parser, option: str, hypothesis: int, name: str, shows: str) -> None:
    """An option for a picture that is always drawn, named after the hypothesis by default."""
    default = f"hypothesis_{hypothesis}_{name}.png"
    parser.add_argument(option, type=picture_path, default=default, help=f"picture of {shows}")


def picture_path(text: str) -> str:
    """An argparse type: a path whose ending names a picture format."""
    if plots.picture_format(text) not in plots.PICTURE_FORMATS:
        formats = ", ".join(plots.PICTURE_FORMATS)
        raise argparse.ArgumentTypeError(f"{text}: not a picture format; use one of {formats}")
    return text


def number(
    kind: type[int] | type[float],
    *,
    above: float = -math.inf,
    at_least: float = -math.inf,
) -> Callable[[str], float]:
    """An argparse type: a whole (int) or any (float) number within limits."""

    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not (value > above and at_least <= value <= MAX_NUMBER):
            name = "a whole number" if kind is int else "a number"
            low = f"above {above:g}" if above > -math.inf else f"from {at_least:g}"
            raise argparse.ArgumentTypeError(
                f"{text}: must be {name} {low} and not above {MAX_NUMBER}"
            )
        return value

    return parse


def reports_errors(*, resumable: bool = False) -> Callable[..., Any]:
    """Decorate a script's main: no traceback for what its user can fix.

    A UserError becomes its message and exit status 2, Ctrl-C becomes one line (with the command
    that resumes, if the script can) and exit status 130. Of several processes the first alone
    speaks, and a script that is not resumable refuses them. A reader that leaves (`| head`) does
    not end the work.
    """

    def decorate(main: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(main)
        def wrapper(argv: list[str] | None = None) -> Any:
            speaks = distributed.rank() == 0
            sys.stdout = _tolerate_closed_pipe(sys.stdout if speaks else None)
            sys.stderr = _tolerate_closed_pipe(sys.stderr if speaks else None)
            try:
                with distributed.reports_last():
                    if distributed.processes() > 1 and not resumable:
                        raise UserError("this command needs one process, not torchrun")
                    return main(argv)
            except (UserError, torch.cuda.OutOfMemoryError) as error:
                out_of_memory = "CUDA is out of memory: try half the --batch_size, or --device cpu"
                message = error if isinstance(error, UserError) else out_of_memory
                print(f"error: {message}", file=sys.stderr)
                raise SystemExit(2) from error
            except KeyboardInterrupt as error:
                message = "Interrupted."
                if resumable and distributed.processes() > 1:
                    message += " To resume: the same command again with --resume"
                elif resumable:
                    arguments = [word for word in sys.argv if word != "--resume"]
                    message += f" To resume: {shlex.join(['python', *arguments, '--resume'])}"
                print(f"\n{message}", file=sys.stderr)
                raise SystemExit(130) from error

        return wrapper

    return decorate


def _tolerate_closed_pipe(stream: TextIO | None) -> TextIO:
    """Keep running when a stream is closed, its reader is gone (`| head`) or its disk is full. What
    a full disk does not take goes to standard error.

    What is printed is shown at once, in a notebook too, and is no error where a terminal lacks "≤".
    """
    if stream is None:  # closed by >&-, or not to be heard
        return open(os.devnull, "w", errors="replace")
    if "write" in vars(stream):  # wrapped by an earlier call
        return stream
    if hasattr(stream, "reconfigure"):  # a notebook's stream has no such method
        stream.reconfigure(line_buffering=True, errors="replace")
    write = stream.write

    def write_if_read(text: str) -> int:
        try:
            return write(text)
        except OSError as error:  # the text waits in the stream's buffer, if it has one
            nobody_reads = isinstance(error, BrokenPipeError) or stream.fileno() == 2
            os.dup2(os.open(os.devnull, os.O_WRONLY) if nobody_reads else 2, stream.fileno())
            return len(text)

    stream.write = write_if_read
    return stream
