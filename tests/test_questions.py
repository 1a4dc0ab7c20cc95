"""Wrong units: what one command asks about or refuses, every other one asks about or refuses."""

import cv2
import numpy as np
import pytest

from common import audit
from tests.conftest import HYPOTHESES, ellipse, refused, script, table_of

SIZE, SQUARE = (400, 270), (128, 128)  # half of the report's images, and of 256×256 px
RATE = 0.23  # mm per px: the images are 92 mm wide
PERCENT, RESIZED = (100 / 400, 100 / 270), (128 / 400, 128 / 270)
COMMANDS = ("trainer", "tester", "audit", "tester's second reader", "audit's second reader")
CENTER = (
    "the centres of the heads lie at {0} of the width in the median, one of them at {0}. "
    "Are these px of the original images?"
)
WIDTH = (
    "by px_to_mm_rate the images are {0} to {0} mm wide, {0} in the median, and {1} of them are "
    "square. Does it belong to these image files?"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six pictures, and the same resized to a square."""
    folder = tmp_path_factory.mktemp("questions")
    random = np.random.default_rng(0)
    for name, (width, height) in (("images", SIZE), ("squares", SQUARE)):
        (folder / name).mkdir()
        for i in range(6):
            picture = random.integers(0, 256, (height, width), dtype=np.uint8)
            cv2.imwrite(str(folder / name / f"{i}.png"), picture)
    return folder


def write_heads(name, scale, rate, shift=0):
    """Six heads in the middle of the pictures, OFD upright and BPD-1 on the left, times a scale,
    (x, y), for all rows or for each."""
    heads = [ellipse(150, 120, 90, (197 + shift, 135), -90)] * 6
    landmarks = heads * np.broadcast_to(scale, (6, 2))[:, None]
    table = table_of(*landmarks, names=[f"{i}.png" for i in range(6)])
    table.assign(px_to_mm_rate=rate).to_csv(name, index=False)


@pytest.fixture
def run(folder, tmp_path, monkeypatch, small_images, weights):
    """run(command, scale, rate, images): give it heads that are the ground truth's, or a second
    reader's. Returns what a line about them begins with."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", None)  # nothing waits for an answer
    reached = []
    monkeypatch.setattr("Trainer_Hypothesis1.fit", lambda *_: reached.append("training"))

    def run(command, scale, rate=np.nan, images="images"):
        kind, _, is_second = command.partition("'s ")
        ground_truth = "given.csv"
        second = []
        if is_second:
            ground_truth, second = "good.csv", ["--second_csv_path", "given.csv"]
            write_heads(ground_truth, RESIZED if images == "squares" else 1, np.nan)
        write_heads("given.csv", scale, rate, shift=1 if is_second else 0)
        arguments = ["--csv_path", ground_truth, "--image_folder_path", str(folder / images)]
        arguments += second
        if kind == "trainer":
            script("Trainer", 1)(arguments)
            assert reached == ["training"]
        elif kind == "tester":
            model = ["--model_path", str(weights[HYPOTHESES[1].network]), "--split", "all"]
            script("Tester", 1)([*arguments, *model])
        else:
            audit.main(arguments)
        return "given.csv" if is_second else str(folder / images)

    return run


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("scale", "rate", "images", "questions"),
    [
        (PERCENT, np.nan, "images", [CENTER.format("0.12")]),
        ((256 / 800, 256 / 540), np.nan, "images", [CENTER.format("0.16")]),
        (RESIZED, RATE, "squares", [WIDTH.format("29.44", "100%")]),
        (PERCENT, 1 / RATE, "images", [CENTER.format("0.12"), WIDTH.format("1739", "0%")]),
    ],
    ids=["percent", "256 px", "mm of others", "percent and px per mm"],
)
def test_every_command_asks_about_the_same(run, capsys, command, scale, rate, images, questions):
    start = run(command, scale, rate, images)
    asked = [line for line in capsys.readouterr().out.splitlines() if line.startswith(f"{start}: ")]
    asked = [line for line in asked if line.endswith("?")]
    assert asked == [f"{start}: {question}" for question in questions]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("scale", "rate", "images"), [(1, RATE, "images"), (RESIZED, np.nan, "squares")]
)
def test_no_command_asks_about_data_of_the_reports_kind(run, capsys, command, scale, rate, images):
    run(command, scale, rate, images)
    assert "?" not in capsys.readouterr().out


NORMALISED = 1 / np.array(SIZE)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("scale", "message"),
    [
        (NORMALISED, "given.csv: all coordinates lie between "),
        (
            np.where(np.arange(6)[:, None] == 3, (NORMALISED[0], 1), 1),
            "given.csv: row 4: 3.png: x lies between -0.1 and 1.5 at every end, as if normalised",
        ),
        (
            np.where(np.arange(6)[:, None] == 3, (1, NORMALISED[1]), 1),
            "given.csv: row 4: 3.png: y lies between -0.1 and 1.5 at every end, as if normalised",
        ),
    ],
    ids=["throughout", "one row's x", "one row's y"],
)
def test_every_command_refuses_what_is_normalised(run, capsys, command, scale, message):
    refused(lambda: run(command, scale), capsys, message)
