"""Fetal head landmarks: what the six scripts of the three hypotheses share.

The files directly in this folder are the report: the ground truth and its images, heatmaps,
augmentation, networks, losses, one epoch of training, and evaluation; and the commands
`python -m common.NAME`. What makes commands of these stands in the folders, each of which says what
it is for: the loop over the epochs in runs/fit.py, what a tester does in results/testing.py.
"""

import os
import re

# OpenCV reads this when it is imported. Without it, a file of 1 MB may claim 30,000 × 30,000 px
# and take gigabytes; no ultrasound image is larger than 2²⁶ px (8192 × 8192).
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(2**26))
# A bad image ends in a line of ours, without OpenCV's before it.
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")

MAX_PROBLEMS_SHOWN = 20


class UserError(Exception):
    """Something a user can fix: the message says what is wrong, where, and what to do."""

    def __str__(self) -> str:
        # A name may hold control characters, which would be commands to the terminal.
        return re.sub(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", "?", self.message())

    def message(self) -> str:
        return str(self.args[0])


class RowErrors(UserError):
    """All problems of a source, RowErrors(source, problems): each is a row, from 0, and what is
    wrong with it. They are shown in the order of the rows."""

    def message(self) -> str:
        source, problems = self.args
        lines = [f"row {row + 1}: {what}" for row, what in sorted(problems)]
        if len(lines) > MAX_PROBLEMS_SHOWN:
            lines[MAX_PROBLEMS_SHOWN:] = [f"… and {len(problems) - MAX_PROBLEMS_SHOWN} more"]
        if len(lines) > 1:
            lines = [f"{len(problems)} problems", *lines]
        return f"{source}: " + "\n  ".join(lines)
