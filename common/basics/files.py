"""How every file is written, and what must not be written over."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from argparse import Namespace
from pathlib import Path
from typing import Any

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
        with contextlib.suppress(OSError):
            temporary.unlink()


def write_table(table: pd.DataFrame, path: str) -> None:
    """Write a table as CSV, every digit kept, by way of write_file."""
    write_file(path, table.to_csv(index=False, lineterminator="\n").encode())


def check_outputs(args: Namespace, **more: str) -> None:
    """Raise UserError for an output that could not be written when the work is done, that lies in
    the image folder, or that is an input, another output, or no regular file.

    In args and more, an argument whose name ends in `_save_path` is an output, and any other whose
    value is the path of a file is an input (see arguments).
    """
    outputs, inputs = _outputs_and_inputs({**vars(args), **more})
    image_folder = getattr(args, "image_folder_path", None)  # a command may need no images
    taken = {os.path.realpath(path): name for path, name in inputs.items()}
    for name, path in outputs.items():
        _check_writable(path)
        target = os.path.realpath(path)
        if image_folder and Path(target).is_relative_to(os.path.realpath(image_folder)):
            raise UserError(
                f"{path}: lies in the image folder, where nothing is written: give a path elsewhere"
            )
        if target in taken:
            raise UserError(f"{path}: {taken[target]} and {name} are the same file")
        taken[target] = name


def _outputs_and_inputs(arguments: dict[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
    """Return the paths of the outputs by the names of their arguments, and the names of the
    arguments by the paths of the inputs, of which an argument may have several."""
    outputs, inputs = {}, {}
    for name, value in arguments.items():
        values = value if isinstance(value, list) else [value]
        if "" in values:
            raise UserError(f"--{name}: is empty")
        if name.endswith("_save_path"):
            if value is not None:
                outputs[name] = value
        else:
            files = [path for path in values if isinstance(path, str) and os.path.isfile(path)]
            inputs.update(dict.fromkeys(files, name))
    return outputs, inputs


def _check_writable(path: str) -> None:
    """Raise UserError for a path where write_file could not write, or would replace what is no
    regular file."""
    target = os.path.realpath(path)
    folder = os.path.dirname(target)
    if os.path.isdir(target) or path.endswith(("/", os.sep)):
        raise UserError(f"{path}: is a folder; give the name of a file")
    if os.path.exists(target) and not os.path.isfile(target):
        raise UserError(f"{path}: is not a regular file and will not be replaced")
    if not os.path.isdir(folder):
        raise UserError(f"{path}: the folder {os.path.dirname(path) or folder} does not exist")
    if not os.access(folder, os.W_OK):
        raise UserError(f"{path}: the folder {folder} cannot be written to")
    if os.path.exists(target) and not os.access(target, os.W_OK):
        raise UserError(f"{path}: is write-protected and will not be replaced")
    if len(os.fsencode(os.path.basename(target))) > 255:
        raise UserError(f"{path}: cannot be written: File name too long")
