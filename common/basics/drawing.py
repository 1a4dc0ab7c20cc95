"""What every picture begins and ends with: an empty figure, an image with marks on it, a file. No
display is needed."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from common import UserError
from common.basics.files import write_file
from common.ground_truth import LANDMARK_NAMES

if TYPE_CHECKING:  # matplotlib takes a second to import, and --help needs none of it
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

# Of the ends of OFD and of BPD, told apart by colour-blind readers too.
COLORS = ("#ffb000", "#ffb000", "#00c8ff", "#00c8ff")
# The markers of the four landmarks, the line between the ends of a diameter, and the style. OFD-1
# points up, OFD-2 down, BPD-1 left, BPD-2 right: as filled triangles in the ground truth, as
# three-pointed stars in a prediction. A second reader's are rings.
MARKS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "ground truth": ("^v<>", ":", {"markersize": 8, "markeredgecolor": "black"}),
    "predicted": ("2134", "", {"markersize": 14, "markeredgewidth": 2.5}),
    "second reader": ("oooo", "--", {"markersize": 9, "markeredgewidth": 1.5, "mfc": "none"}),
}
REVIEW_COLOR = "crimson"
DPI = 120


def shorten(name: str) -> str:
    """Return a name without its middle if it has more than 40 characters: it would run into the
    next picture's."""
    return name if len(name) <= 40 else f"{name[:19]}…{name[-20:]}"


def new_picture(width: float, height: float) -> Figure:
    """Return an empty figure of this size, in inches, drawn with matplotlib's own settings."""
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcdefaults()  # the user's own settings may need LaTeX
    warnings.filterwarnings("ignore", "Glyph")  # its font lacks the letters of many names
    return Figure(figsize=(width, height), layout="constrained")


def show_image(axis: Axes, image: Tensor) -> None:
    """Show a float [3, H, W] image in [0, 1], whole, without ticks."""
    height, width = image.shape[1:]
    axis.imshow(image.permute(1, 2, 0).numpy())
    axis.set(xticks=[], yticks=[], xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))


def mark_landmarks(axis: Axes, landmarks: Tensor | np.ndarray, kind: str) -> None:
    """Mark those of the landmarks [4, 2] that are known, annotated diameters with the line between
    their ends."""
    points = np.asarray(landmarks)
    if np.isnan(points).all():
        return
    markers, line, style = MARKS[kind]
    for i in (0, 2) if line else ():
        axis.plot(*points[i : i + 2].T, line, color=COLORS[i], linewidth=1)
    for name, color, marker, point in zip(LANDMARK_NAMES, COLORS, markers, points):
        label = f"{name} {kind}"
        axis.plot(*point, marker, color=color, label=label, linestyle="none", **style)


def add_legend(picture: Figure | SubFigure, axes: Iterable[Axes]) -> None:
    """One legend below for what is labelled on some axes, each label once."""
    handles = {h.get_label(): h for axis in axes for h in axis.get_legend_handles_labels()[0]}
    place, columns = "outside lower center", 3 if len(handles) > 8 else 4
    picture.legend(handles.values(), handles.keys(), loc=place, ncols=columns, facecolor="0.75")


def save_picture(picture: Figure | Iterator[Figure], path: str) -> None:
    """Write a picture in the format that the file's ending names; without one, PNG. Several
    pictures become the pages of a PDF."""
    from matplotlib.backends.backend_pdf import PdfPages

    content = io.BytesIO()
    if isinstance(picture, Iterator):
        with PdfPages(content) as pages:  # it keeps all pixels until its end, so they are few
            for page in picture:
                pages.savefig(page, dpi=72)
    else:
        ending = os.path.splitext(path)[1][1:].lower()
        try:
            picture.savefig(content, dpi=DPI, format=ending or "png")
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: cannot be drawn in this format: {error}") from error
    write_file(path, content.getvalue())
