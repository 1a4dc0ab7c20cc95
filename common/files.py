"""How every file is written, and what must not be written over."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import socket
import sys
from argparse import Namespace
from collections.abc import Iterable, Iterator
from pathlib import Path

import pandas as pd

from common import UserError, distributed

MAX_NAME = 230  # bytes; file systems allow 255, and `_previous` or `.tmp` may be added


def write_file(path: str, content: bytes | memoryview) -> None:
    """Write a file beside its target, flush it to the disk, and move it over the target.

    Whatever happens meanwhile, a kill or a full disk, the target is the old file or the new one.
    A symbolic link is written through.
    Raises UserError, naming the file, when it cannot be written.
    """
    if distributed.rank() > 0:
        return
    target = Path(os.path.realpath(path))
    # A name of its own for each write: two runs on one path must not write into one file.
    temporary = target.with_name(f"{target.name[:40]}.{secrets.token_hex(8)}.tmp")
    try:
        try:
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, target)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
    except OSError as error:
        raise UserError(f"{path}: could not be written: {error.strerror}") from error


def write_table(table: pd.DataFrame, path: str) -> None:
    """Write a table as CSV, every digit kept, by way of write_file."""
    write_file(path, table.to_csv(index=False, lineterminator="\n").encode())


def check_outputs(args: Namespace) -> None:
    """Raise UserError for an output that could not be written when the work is done, that would
    be written over an input or another output, or over what is not a regular file.

    An output is an argument whose name ends in `_save_path`; every other one that names a file is
    an input.
    """
    outputs = outputs_of(args)
    taken = {
        os.path.realpath(path): name
        for name, value in vars(args).items()
        for path in (value if isinstance(value, list) else [value])
        if name not in outputs and isinstance(path, str) and os.path.isfile(path)
    }
    for name, path in outputs.items():
        target = os.path.realpath(path)
        folder = os.path.dirname(target)
        if os.path.isdir(target) or path.endswith(("/", os.sep)):
            raise UserError(f"{path or name}: is a folder; give the name of a file")
        if len(os.fsencode(os.path.basename(target))) > MAX_NAME:
            raise UserError(f"{path}: the name is longer than {MAX_NAME} bytes")
        if os.path.exists(target) and not os.path.isfile(target):
            raise UserError(f"{path}: is not a regular file and will not be replaced")
        if not os.path.isdir(folder):
            raise UserError(f"{path}: the folder {os.path.dirname(path) or folder} does not exist")
        if not os.access(folder, os.W_OK):
            raise UserError(f"{path}: the folder {folder} cannot be written to")
        if target in taken:
            raise UserError(f"{path}: {taken[target]} and {name} are the same file")
        taken[target] = name


@contextlib.contextmanager
def claim(*paths: str) -> Iterator[None]:
    """Raise UserError where a run that still lives writes to one of the same files.

    The name of a Linux socket belongs to one process, leaves no file, and is free again however
    the process ends. Other systems have nothing of the kind, and no check.
    """
    with contextlib.ExitStack() as held:
        for path in paths if sys.platform == "linux" and distributed.rank() == 0 else ():
            holder = held.enter_context(socket.socket(socket.AF_UNIX))
            try:
                holder.bind("\0" + hashlib.sha256(os.path.realpath(path).encode()).hexdigest())
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    raise UserError(f"{path}: another run is still writing to it") from error
        yield


def protect_images(args: Namespace, names: Iterable[str]) -> None:
    """Raise UserError for an output that would be written over one of these images."""
    outputs = {os.path.realpath(path): path for path in outputs_of(args).values()}
    for name in names:
        target = os.path.realpath(os.path.join(args.image_folder_path, name))
        if target in outputs:
            raise UserError(f"{outputs[target]}: is one of the images, and is not written over")


def outputs_of(args: Namespace) -> dict[str, str]:
    """The paths that a command writes to, by the name of their argument."""
    return {
        name: path
        for name, path in vars(args).items()
        if name.endswith("_save_path") and path is not None
    }
