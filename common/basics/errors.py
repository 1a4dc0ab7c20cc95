"""How a command ends when something is wrong: one line that says what to do, and no traceback."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import sys
import traceback
from collections.abc import Iterator

from common import UserError
from common.basics import processes

# What a user can do about an error that is not of this package, by what it says.
ADVICE = {
    # The last two, of CUDA's libraries, cannot begin where the GPU's memory is full.
    "MemoryError|out of memory|allocate memory|Insufficient memory|Failed to allocate|"
    "CU(BLAS|DNN)_STATUS_(ALLOC_FAILED|NOT_INITIALIZED)": (
        "out of memory: close other programs and notebooks, which may hold the memory (of a GPU "
        "too); give a trainer or a tester half the --batch_size, or --device cpu"
    ),
    "no kernel image is available": (
        "this PyTorch is not built for this GPU: use --device cpu, or another build of PyTorch"
    ),
    "busy or unavailable": (
        "the GPU is in use by another process, or reserved for one: end it, or use --device cpu"
    ),
    "driver .*too old|driver version is insufficient": (
        "the NVIDIA driver is too old for this build of PyTorch: update it, or use --device cpu"
    ),
    "can't start new thread": "no more threads are allowed: close programs, or see ulimit -u",
    # Behind `>`; where another file cannot be written, it is named in a UserError.
    "No space left on device": "what is printed cannot be written: no space left on the disk",
}


@contextlib.contextmanager
def reports_errors(*, resumable: bool = False) -> Iterator[None]:
    """Decorate a script's main: user errors end in one line, not a traceback.

    The exit status is 2, also for lack of memory and a full disk behind `>`; 130 for Ctrl-C, whose
    line has the command that resumes, if the script can; 1, without a line, where a reader has left
    (`| head`). Only rank 0 of several processes prints; a script that cannot resume refuses them.
    """
    # A notebook names a backend of its own, without which matplotlib cannot be imported here.
    os.environ["MPLBACKEND"] = "agg"
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a notebook's has no such method
            # Printed at once, and without an end where a terminal lacks "≤".
            stream.reconfigure(line_buffering=True, errors="replace")
    try:
        with processes.only_rank_0_prints():
            if processes.world_size() > 1 and not resumable:
                raise UserError("this command needs one process, not torchrun")
            yield
    except BrokenPipeError as error:
        _discard_stdout()
        raise SystemExit(1) from error
    except KeyboardInterrupt as error:
        # Progress bars end here, before the last line; one just being made would add a traceback.
        sys.unraisablehook = lambda _: None
        traceback.clear_frames(error.__traceback__)
        print(f"\nInterrupted.{_how_to_resume() if resumable else ''}", file=sys.stderr)
        raise SystemExit(130) from error
    except Exception as error:
        message = _describe_error(error)
        if message is None:
            raise
        if isinstance(error, OSError):
            _discard_stdout()
        print(f"error: {message}", file=sys.stderr)
        raise SystemExit(2) from error


def _how_to_resume() -> str:
    """Say what Ctrl-C has cost, and give the command that resumes."""
    command = "the same command with --resume"  # whose beginning torchrun does not pass on
    if processes.world_size() == 1:
        words = [word for word in sys.argv if word != "--resume"]
        command = shlex.join([sys.executable, *words, "--resume"])
    return (
        " Epochs since the last save are lost. To resume, run (in a notebook, run the cell again "
        f"with --resume): {command}"
    )


def _discard_stdout() -> None:
    """Discard what is left in stdout's buffer, which Python could not write as it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _describe_error(error: Exception) -> str | None:
    """Say what a user can do about an error; None where it is a fault of this package."""
    if isinstance(error, UserError):
        return str(error)
    return next((advice for said, advice in ADVICE.items() if re.search(said, repr(error))), None)
