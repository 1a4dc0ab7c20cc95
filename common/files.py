"""How every file is written."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd

from common import UserError


def write_file(path: str, content: bytes | memoryview) -> None:
    """Write a file beside its target, flush it to the disk, and move it over the target.

    Whatever happens meanwhile, a kill or a full disk, the target is the old file or the new one.
    Raises UserError, naming the file, when it cannot be written.
    """
    temporary = Path(f"{path}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(f"{path}: could not be written: {error.strerror}") from error
    finally:
        temporary.unlink(missing_ok=True)  # there is one only if something went wrong


def write_table(table: pd.DataFrame, path: str) -> None:
    """Write a table as CSV, every digit kept, by way of write_file."""
    write_file(path, table.to_csv(index=False, lineterminator="\n").encode())
