"""What the six scripts of the three hypotheses share."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

# OpenCV reads this when it is imported. Without it, a file of 1 MB may claim 30,000 × 30,000 px
# and take gigabytes; no ultrasound image is larger than 2²⁶ px (8192 × 8192).
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(2**26))
# A bad image ends in a line of ours, without OpenCV's before it.
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")

MAX_PROBLEMS_SHOWN = 20


class UserError(Exception):
    """Something a user can fix: the message says what is wrong, where, and what to do."""

    def __init__(self, message: str) -> None:
        # A name may hold control characters, which would be commands to the terminal.
        super().__init__(re.sub(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", "?", message))


def raise_problems(source: str, problems: Sequence[tuple[int, str]]) -> None:
    """Raise one UserError for all problems of a source, if there are any: each is a row, from 0,
    and what is wrong with it. They are shown in the order of the rows."""
    if not problems:
        return
    ordered = sorted(problems, key=lambda problem: problem[0])
    lines = [f"row {row + 1}: {what}" for row, what in ordered[:MAX_PROBLEMS_SHOWN]]
    if len(ordered) > len(lines):
        lines.append(f"… and {len(ordered) - len(lines)} more")
    if len(lines) > 1:
        lines = [f"{len(ordered)} problems", *lines]
    raise UserError(f"{source}: " + "\n  ".join(lines))
