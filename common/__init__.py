"""What the six scripts of the three hypotheses share."""

import os
import re

# OpenCV reads this when it is imported. Without it, a file of 1 MB may claim 30,000 × 30,000 px
# and take gigabytes; no ultrasound image is larger than 2²⁶ px (8192 × 8192).
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(2**26))
# A bad image ends in a line of ours, without OpenCV's before it.
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")


class UserError(Exception):
    """Something a user can fix: the message says what is wrong, where, and what to do."""

    def __init__(self, message: str) -> None:
        # A name may hold control characters, which would be commands to the terminal.
        super().__init__(re.sub(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", "?", message))
