"""How every file is written, and what must not be written over."""

from __future__ import annotations

import os
import secrets
import shutil
from argparse import Namespace
from pathlib import Path

import pandas as pd

from common import UserError
from common.basics import processes


def write_file(path: str, content: bytes | memoryview) -> None:
    """Write a file beside its target, flush it to the disk, and move it over the target.

    Whatever happens meanwhile, the target is the old file or the new one. A symbolic link is
    written through. Only rank 0 writes. Raises UserError when the file cannot be written.
    """
    if processes.rank() > 0:
        return
    target = Path(os.path.realpath(path))
    # A name of its own for each write: two runs on one path must not write into one file.
    temporary = target.with_name(f"{target.name[:40]}.{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("xb") as file:
            if target.exists():  # before there is anything to read
                shutil.copymode(target, temporary)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except OSError as error:
        raise UserError(f"{path}: could not be written: {error.strerror}") from error
    finally:  # it is still there where something failed
        temporary.unlink(missing_ok=True)


def write_table(table: pd.DataFrame, path: str) -> None:
    """Write a table as CSV, every digit kept, by way of write_file."""
    write_file(path, table.to_csv(index=False, lineterminator="\n").encode())


def check_outputs(args: Namespace, **more: str) -> None:
    """Raise UserError for an output that could not be written when the work is done, that lies in
    the image folder, or that is an input, another output, or no regular file.

    In args and more, an argument whose name ends in `_save_path` is an output, and any other whose
    value is the path of a file is an input (see arguments).
    """
    outputs, taken = {}, {}
    for name, value in {**vars(args), **more}.items():
        for path in value if isinstance(value, list) else [value]:
            if path == "":
                raise UserError(f"--{name}: is empty")
            if name.endswith("_save_path") and path is not None:
                outputs[name] = path
            elif isinstance(path, str) and os.path.isfile(path):
                taken[os.path.realpath(path)] = name
    image_folder = getattr(args, "image_folder_path", None)  # a command may need no images
    for name, path in outputs.items():
        _check_writable(path)
        target = os.path.realpath(path)
        if image_folder and Path(target).is_relative_to(os.path.realpath(image_folder)):
            raise UserError(f"{path}: lies in the image folder, where nothing is written")
        if target in taken:
            raise UserError(f"{path}: {taken[target]} and {name} are the same file")
        taken[target] = name


def _check_writable(path: str) -> None:
    """Raise UserError for a path where write_file could not write, or would replace what is no
    regular file."""
    target = os.path.realpath(path)
    folder = os.path.dirname(target)
    if path.endswith(("/", os.sep)) or (os.path.exists(target) and not os.path.isfile(target)):
        raise UserError(f"{path}: is a folder, or no regular file; give the name of a file")
    if not os.path.isdir(folder) or not os.access(folder, os.W_OK):
        raise UserError(f"{path}: its folder does not exist or cannot be written to")
    if os.path.exists(target) and not os.access(target, os.W_OK):
        raise UserError(f"{path}: is write-protected and will not be replaced")
    if len(os.fsencode(os.path.basename(target))) > 255:
        raise UserError(f"{path}: cannot be written: File name too long")
