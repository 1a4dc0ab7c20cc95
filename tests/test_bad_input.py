"""What a user can get wrong, one row each, through the one script that stands for all it concerns.

In all of these: exit status 2, one line that names the culprit, and every file that stood before
unchanged. What is wrong with single cells and images is told in the tests of their rooms.
"""

import os
import shutil

import cv2
import numpy as np
import pytest
import torch

from common.ground_truth import COLUMNS
from common.models import ResNetUNet, UNet
from tests.conftest import HYPOTHESES, files_in, script

UMLAUTS = "ä" * 114  # 228 bytes


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory):
    """Six pictures of 24×32 px."""
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "images").mkdir()
    random = np.random.default_rng(0)
    for i in range(6):
        picture = random.integers(0, 256, (24, 32), dtype=np.uint8)
        cv2.imwrite(str(folder / "images" / f"{i}.png"), picture)
    rows = [f"{i}.png,16,4,16,20,6,12,26,12" for i in range(6)]
    (folder / "ground_truth.csv").write_text("\n".join([",".join(COLUMNS), *rows]) + "\n")
    return folder


class Case:
    """A copy of the tiny data, and ways to spoil it."""

    def __init__(self, folder):
        self.folder = folder
        self.csv = folder / "ground_truth.csv"
        self.images = folder / "images"
        # What stood in the folder before.
        for name in ("model.pth", "model_checkpoint.pth", "curves.png", "predictions.png"):
            (folder / name).write_text(f"an earlier {name}")
        os.mkfifo(folder / "pipe")
        for name, target in (
            ("to_pipe.png", "pipe"),
            ("to_image.png", "images/2.png"),
            ("to_errors.csv", "errors.png"),
            ("to_nowhere.pth", "nowhere/model.pth"),
        ):
            (folder / name).symlink_to(target)

    def cell(self, row, column, value):
        lines = self.csv.read_text().splitlines()
        cells = lines[row + 1].split(",")
        cells[column] = value
        lines[row + 1] = ",".join(cells)
        self.csv.write_text("\n".join(lines) + "\n")

    def column(self, name, value):
        """A further column with the same cell in every row."""
        first, *others = self.csv.read_text().splitlines()
        lines = [f"{first},{name}", *(f"{line},{value}" for line in others)]
        self.csv.write_text("\n".join(lines) + "\n")

    def keep_rows(self, count):
        lines = self.csv.read_text().splitlines()
        self.csv.write_text("\n".join(lines[: count + 1]) + "\n")


@pytest.fixture
def case(tiny_data, tmp_path, monkeypatch):
    folder = tmp_path / "case"
    shutil.copytree(tiny_data, folder)
    monkeypatch.chdir(folder)
    monkeypatch.delattr("common.training.train_one_epoch")  # nothing here is to come so far
    return Case(folder)


def run(kind, number, arguments, weights):
    """The script's main, with whatever the arguments leave open."""
    defaults = {"--csv_path": "ground_truth.csv", "--image_folder_path": "images"}
    if kind == "Trainer":
        defaults |= {"--model_save_path": "model.pth", "--plot_save_path": "curves.png"}
    else:
        defaults |= {"--model_path": str(weights[HYPOTHESES[number].network])}
        defaults |= {"--pred_save_path": "predictions.png", "--error_save_path": "errors.png"}
    if (kind, number) == ("Trainer", 3):
        defaults |= {"--encoder_weights": "none"}
    given = [word for pair in defaults.items() if pair[0] not in arguments for word in pair]
    script(kind, number)([*given, *arguments])


@pytest.fixture
def check(case, weights, capsys):
    """check(message, kind, number, arguments): it is refused; returns what was printed before."""

    def check(message, kind="Trainer", number=1, arguments=()):
        before = files_in(case.folder)
        with pytest.raises(SystemExit) as stopped:
            run(kind, number, arguments, weights)
        printed = capsys.readouterr()
        assert stopped.value.code == 2
        lines = [line for line in printed.err.replace("\r", "\n").splitlines() if line.strip()]
        (line,) = [line for line in lines if "%|" not in line]  # no progress bar
        assert message in line
        assert files_in(case.folder) == before
        assert (case.folder / "pipe").is_fifo()
        return printed.out

    return check


def rows(table):
    return [pytest.param(*row[1:], id=row[0]) for row in table]


def spoil_rate(case):
    case.column("px_to_mm_rate", "0.1")
    case.cell(2, 9, "mm")


@pytest.mark.parametrize(
    ("spoil", "message"),
    rows(
        [
            ("csv missing", lambda c: c.csv.unlink(), "ground_truth.csv: no such ground-truth"),
            ("csv a folder", lambda c: (c.csv.unlink(), c.csv.mkdir()), "ground_truth.csv: cannot"),
            ("cell a word", lambda c: c.cell(2, 1, "left"), "row 3: 2.png: ofd_1_x is 'left'"),
            ("rate a word", spoil_rate, "row 3: 2.png: px_to_mm_rate is 'mm', not a number"),
            ("five rows", lambda c: c.keep_rows(5), "5 rows"),
            ("image folder missing", lambda c: shutil.rmtree(c.images), "no such image folder"),
            ("image missing", lambda c: (c.images / "2.png").unlink(), "row 3: 2.png: no such"),
            ("landmark outside", lambda c: c.cell(2, 7, "32"), "BPD-2 (32, 12) lies outside"),
        ]
    ),
)
def test_data(spoil, message, case, check):
    spoil(case)
    check(message)


def test_a_tester_reads_only_what_it_tests(case, check, weights, capsys):
    """Of six rows, the split makes row 1 the test row."""
    (case.images / "2.png").write_bytes(b"")
    run("Tester", 3, [], weights)
    assert "Pixel error of 4 landmarks on 1 images" in capsys.readouterr().out
    (case.images / "1.png").write_bytes(b"")
    check("row 2: 1.png: not an image", "Tester", 3)


TRAINER_ARGUMENTS = [
    ("batch of 0", ["--batch_size", "0"], "--batch_size"),
    ("batch beyond any", ["--batch_size", "1" + 23 * "0"], "--batch_size: 1000"),
    ("no epochs", ["--epochs", "0"], "--epochs"),
    ("negative rate", ["--lr", "-1"], "--lr"),
    ("rate beyond any", ["--lr", "1e300"], "--lr: 1e300: must be a number"),
    ("rate NaN", ["--lr", "nan"], "--lr: nan: must be a number"),
    ("negative seed", ["--seed", "-1"], "--seed"),
    ("negative seconds", ["--checkpoint_seconds", "-1"], "--checkpoint_seconds"),
    ("unknown device", ["--device", "tpu"], "--device"),
    ("unknown precision", ["--precision", "tf32"], "--precision"),
    ("unknown way to split", ["--split_by", "hospital"], "--split_by"),
    ("unknown option", ["--batchsize", "8"], "--batchsize"),
    ("option cut short", ["--batch", "8"], "--batch 8"),
    ("folder missing", ["--model_save_path", "no/m.pth"], "no/m.pth: the folder no does not"),
    ("a folder", ["--model_save_path", "images"], "images: is a folder"),
    ("a folder to be", ["--model_save_path", "new/"], "new/: is a folder"),
    ("curves a folder to be", ["--plot_save_path", "new.png/"], "new.png/: is a folder"),
    ("name too long", ["--plot_save_path", f"{UMLAUTS}.png"], "is longer than 230 bytes"),
    ("checkpoint too long", ["--model_save_path", f"{UMLAUTS[:111]}.pth"], "longer than 230"),
    ("no picture", ["--plot_save_path", "curves.doc"], "curves.doc: not a picture format"),
    ("needs LaTeX", ["--plot_save_path", "curves.pgf"], "curves.pgf: not a picture format"),
    ("a pipe", ["--model_save_path", "pipe"], "pipe: is not a regular file"),
    ("link to a pipe", ["--plot_save_path", "to_pipe.png"], "to_pipe.png: is not a regular file"),
    ("link into no folder", ["--model_save_path", "to_nowhere.pth"], "does not exist"),
    ("model over its curves", ["--model_save_path", "curves.png"], "model_save_path and plot_save"),
    (
        "model over the input",
        ["--model_save_path", "ground_truth.csv"],
        "ground_truth.csv: csv_path and model_save_path are the same file",
    ),
]
TRAINER_2_ARGUMENTS = [
    ("examples a folder", ["--augmentation_save_path", "images"], "images: is a folder"),
    ("examples over curves", ["--augmentation_save_path", "curves.png"], "plot_save_path and aug"),
]
TRAINER_3_ARGUMENTS = [
    ("negative weight decay", ["--weight_decay", "-1"], "--weight_decay"),
    ("negative warm-up", ["--warmup_epochs", "-1"], "--warmup_epochs"),
    ("model over the encoder", ["--encoder_weights", "model.pth"], "encoder_weights and model_"),
]
TESTER_ARGUMENTS = [
    ("half a batch", ["--batch_size", "0.5"], "--batch_size"),
    ("unknown split", ["--split", "validation"], "--split"),
    ("option cut short", ["--csv_save", "table.csv"], "--csv_save table.csv"),
    ("folder missing", ["--pred_save_path", "no/p.png"], "no/p.png: the folder no does not"),
    ("errors a folder", ["--error_save_path", "images"], "images: is a folder"),
    ("table a folder", ["--csv_save_path", "images"], "images: is a folder"),
    ("table a pipe", ["--csv_save_path", "pipe"], "pipe: is not a regular file"),
    ("no picture", ["--pred_save_path", "p.txt"], "p.txt: not a picture format"),
    (
        "table over the input",
        ["--csv_save_path", "./images/../ground_truth.csv"],
        "csv_path and csv_save_path are the same file",
    ),
    (
        "table over a picture",
        ["--csv_save_path", "errors.png"],
        "error_save_path and csv_save_path",
    ),
    ("over a link's target", ["--csv_save_path", "to_errors.csv"], "error_save_path and csv_save_"),
    (
        "one picture twice",
        ["--error_save_path", "predictions.png"],
        "predictions.png: pred_save_path and error_save_path are the same file",
    ),
    (
        "over the weights",
        ["--model_path", "model.pth", "--csv_save_path", "model.pth"],
        "model.pth: model_path and csv_save_path are the same file",
    ),
]


@pytest.mark.parametrize(
    ("kind", "number", "arguments", "message"),
    [
        pytest.param(kind, number, arguments, message, id=f"{kind} {number} {name}")
        for kind, number, table in (
            ("Trainer", 1, TRAINER_ARGUMENTS),
            ("Trainer", 2, TRAINER_2_ARGUMENTS),
            ("Trainer", 3, TRAINER_3_ARGUMENTS),
            ("Tester", 1, TESTER_ARGUMENTS),
        )
        for name, arguments, message in table
    ],
)
def test_arguments_are_refused_before_any_work(kind, number, arguments, message, check):
    assert check(message, kind, number, arguments) == ""


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        ("Trainer", ["--plot_save_path", "images/0.png"]),  # the validation image
        ("Trainer", ["--plot_save_path", "images/1.png"]),  # the test image
        ("Trainer", ["--plot_save_path", "to_image.png"]),
        ("Tester", ["--pred_save_path", "images/1.png"]),
        ("Tester", ["--pred_save_path", "images/2.png"]),  # which this test does not read
        ("Tester", ["--split", "train", "--error_save_path", "to_image.png"]),
    ],
)
def test_no_image_is_written_over(kind, arguments, check):
    number = {"Trainer": 1, "Tester": 3}[kind]
    check(f"{arguments[-1]}: is one of the images", kind, number, arguments)


@pytest.mark.parametrize(
    ("kind", "number", "arguments", "message"),
    [
        ("Trainer", 1, ["--precision", "fp16", "--device", "cpu"], "--precision fp16 is for CUDA"),
        ("Trainer", 1, ["--split_by", "subject"], "nothing says who is on each image"),
        ("Trainer", 1, ["--resume"], "model_checkpoint.pth: no PyTorch weights file"),
        ("Trainer", 3, ["--encoder_weights", "no.pth"], "no.pth: cannot be read"),
        ("Trainer", 3, ["--encoder_weights", "ground_truth.csv"], "ground_truth.csv: no PyTorch"),
        ("Tester", 1, ["--split_by", "subject"], "nothing says who is on each image"),
        ("Tester", 1, ["--model_path", "no.pth"], "no.pth: cannot be read"),
        ("Tester", 1, ["--model_path", "images"], "images: cannot be read"),
        ("Tester", 1, ["--model_path", "ground_truth.csv"], "ground_truth.csv: no PyTorch weights"),
    ],
)
def test_what_is_found_later(kind, number, arguments, message, check):
    check(message, kind, number, arguments)


@pytest.mark.parametrize(
    ("number", "network", "message"),
    [
        (1, ResNetUNet, "belong to Hypothesis 3 (ResNetUNet)"),
        (3, UNet, "belong to Hypotheses 1 and 2 (UNet)"),
    ],
)
def test_weights_of_the_other_network(number, network, message, check, weights):
    path = str(weights[network])
    check(f"{path}: these weights {message}", "Tester", number, ["--model_path", path])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
@pytest.mark.parametrize("kind", ["Trainer", "Tester"])
def test_cuda_without_cuda(kind, check):
    assert check("--device cuda: there is no CUDA device", kind, 1, ["--device", "cuda"]) == ""


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        ("Trainer", ["--model_save_path", "."]),
        ("Trainer", ["--model_save_path", ""]),
        ("Trainer", ["--plot_save_path", ""]),
        ("Tester", ["--pred_save_path", ""]),
    ],
)
def test_outputs_without_a_name(kind, arguments, check, monkeypatch):
    for work in ("training.prepare", "testing.run"):
        monkeypatch.delattr(f"common.{work}")
    assert check("folder", kind, 1, arguments) == ""
