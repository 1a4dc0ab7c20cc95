"""What a user can get wrong, one row each, through the main of every script that it concerns.

In all of these: exit status 2, a message that names the culprit, no traceback, and every file
that stood before unchanged.
"""

import importlib
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from common.models import ResNetUNet, UNet

ROOT = Path(__file__).parent.parent
TRAINERS = [f"Trainer_Hypothesis{i}" for i in (1, 2, 3)]
TESTERS = [f"Tester_Hypothesis{i}" for i in (1, 2, 3)]
NETWORKS = {"1": UNet, "2": UNet, "3": ResNetUNet}
HEADER = "image_name,ofd_1_x,ofd_1_y,ofd_2_x,ofd_2_y,bpd_1_x,bpd_1_y,bpd_2_x,bpd_2_y"
# Of six rows, the split makes row 0 the validation and row 1 the test row.
VALIDATION_ROW, TEST_ROW, TRAINING_ROW = 0, 1, 2


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory):
    """Six pictures of 24×32 px, and files that are no weights."""
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "images").mkdir()
    random = np.random.default_rng(0)
    for i in range(6):
        picture = random.integers(0, 256, (24, 32), dtype=np.uint8)
        cv2.imwrite(str(folder / "images" / f"{i}.png"), picture)
    rows = [f"{i}.png,16,4,16,20,6,12,26,12" for i in range(6)]
    (folder / "ground_truth.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    # What stood in the folder before.
    for name in ("model.pth", "model_checkpoint.pth", "curves.png", "predictions.png"):
        (folder / name).write_text(f"an earlier {name}")
    return folder


@pytest.fixture(scope="session")
def bad_weights(tmp_path_factory, weights):
    """Files that each tester must refuse: a dict from (name, network) to path."""
    folder = tmp_path_factory.mktemp("bad_weights")
    paths = {}
    for network, good in weights.items():
        state_dict = torch.load(good, weights_only=True)
        last = list(state_dict)[-2:]  # weight and bias of the last convolution
        contents = {
            "three landmarks": {**state_dict, **{key: state_dict[key][:3] for key in last}},
            "nan": {**state_dict, last[1]: torch.full((4,), torch.nan)},
            "key missing": {key: v for key, v in state_dict.items() if key != last[0]},
            "list": [1, 2],
            "wrapped list": {"model_state_dict": [1, 2]},
            "whole model": network(),
        }
        for name, content in contents.items():
            paths[name, network] = folder / f"{name} {network.__name__}.pth"
            torch.save(content, paths[name, network])
        for name, content in (
            ("empty", b""),
            ("text", b"no weights at all"),
            ("truncated", good.read_bytes()[:2_000_000]),
        ):
            paths[name, network] = folder / f"{name} {network.__name__}.pth"
            paths[name, network].write_bytes(content)
    return paths


class Case:
    """A copy of the tiny data, and ways to spoil it."""

    def __init__(self, folder):
        self.folder = folder
        self.csv = folder / "ground_truth.csv"
        self.images = folder / "images"

    def cell(self, row, column, value):
        lines = self.csv.read_text().splitlines()
        cells = lines[row + 1].split(",")
        cells[column] = value
        lines[row + 1] = ",".join(cells)
        self.csv.write_text("\n".join(lines) + "\n")

    def image(self, row, content):
        (self.images / f"{row}.png").write_bytes(content)

    def picture(self, row, size=(24, 32), ending=".png", keep=1.0):
        """A good picture in another format, whole or cut off."""
        random = np.random.default_rng(1)
        content = cv2.imencode(ending, random.integers(0, 256, size, dtype=np.uint8))[1].tobytes()
        self.image(row, content[: int(keep * len(content))])

    def rename_image(self, row, name):
        (self.images / f"{row}.png").rename(self.images / name)

    def without_column(self, column):
        lines = [line.split(",") for line in self.csv.read_text().splitlines()]
        for line in lines:
            del line[column]
        self.csv.write_text("\n".join(map(",".join, lines)) + "\n")

    def column(self, name, value):
        """A further column with the same cell in every row."""
        first, *others = self.csv.read_text().splitlines()
        lines = [f"{first},{name}", *(f"{line},{value}" for line in others)]
        self.csv.write_text("\n".join(lines) + "\n")

    def keep_rows(self, count):
        lines = self.csv.read_text().splitlines()
        self.csv.write_text("\n".join(lines[: count + 1]) + "\n")


def wrong_ground_truth():
    """(name, how to spoil the data, what the message must say): for all six scripts."""
    text = Path.write_text
    return [
        ("csv missing", lambda c: c.csv.unlink(), "ground_truth.csv"),
        ("csv empty", lambda c: text(c.csv, ""), "ground_truth.csv: the file is empty"),
        ("csv a folder", lambda c: (c.csv.unlink(), c.csv.mkdir()), "ground_truth.csv"),
        ("csv a picture", lambda c: shutil.copy(c.images / "0.png", c.csv), "ground_truth.csv"),
        ("csv a text", lambda c: text(c.csv, "Dear reader,\n\nhello"), "ground_truth.csv"),
        ("csv with a header only", lambda c: text(c.csv, HEADER), "no rows"),
        ("csv with a ragged row", lambda c: c.cell(2, 8, "12,99"), "line 4"),
        ("column missing", lambda c: c.without_column(3), "no column named ofd_2_x"),
        ("names missing", lambda c: c.without_column(0), "no column named image_name"),
        ("cell a word", lambda c: c.cell(2, 1, "left"), "row 3: 2.png: ofd_1_x is 'left'"),
        ("cell empty", lambda c: c.cell(2, 1, ""), "row 3: 2.png: ofd_1_x is ''"),
        ("cell NaN", lambda c: c.cell(2, 2, "nan"), "row 3: 2.png: ofd_1_y is 'nan'"),
        ("cell infinite", lambda c: c.cell(2, 3, "inf"), "row 3: 2.png: ofd_2_x is 'inf'"),
        ("cell negative", lambda c: c.cell(2, 4, "-1"), "row 3: 2.png: ofd_2_y is '-1'"),
        ("name twice", lambda c: c.cell(2, 0, "1.png"), "row 3: 1.png: the name stands"),
        ("name empty", lambda c: c.cell(2, 0, ""), "row 3: no image name"),
        ("name upwards", lambda c: c.cell(2, 0, "../images/2.png"), "row 3: ../images/2.png"),
        ("name absolute", lambda c: c.cell(2, 0, "/etc/passwd"), "row 3: /etc/passwd"),
        ("rate 0", lambda c: c.column("px_to_mm_rate", "0"), "px_to_mm_rate is '0', not a number"),
        ("rate a word", lambda c: c.column("px_to_mm_rate", "mm"), "row 1: 0.png: px_to_mm_rate"),
        ("five rows", lambda c: c.keep_rows(5), "5 rows"),
        ("image folder missing", lambda c: shutil.rmtree(c.images), "no such image folder"),
    ]


def wrong_images():
    """Likewise, of one image: it is spoilt in a row that the script reads."""
    return [
        ("image missing", lambda c, r: (c.images / f"{r}.png").unlink(), "no such image"),
        ("image .PNG", lambda c, r: c.rename_image(r, f"{r}.PNG"), "only the ending differs"),
        ("image .jpg", lambda c, r: c.rename_image(r, f"{r}.jpg"), "only the ending differs"),
        ("name too long", lambda c, r: c.cell(r, 0, f"{r}.png{'x' * 300}"), "no such image"),
        ("image empty", lambda c, r: c.image(r, b""), "not an image"),
        ("image a text", lambda c, r: c.image(r, b"no image"), "not an image"),
        ("PNG cut in half", lambda c, r: c.picture(r, keep=0.5), "truncated"),
        ("JPEG cut in half", lambda c, r: c.picture(r, ending=".jpg", keep=0.5), "truncated"),
        ("JPEG short of 10 %", lambda c, r: c.picture(r, ending=".jpg", keep=0.9), "truncated"),
        ("x outside", lambda c, r: c.cell(r, 7, "32"), "BPD-2 (32, 12) lies outside"),
        ("y outside", lambda c, r: c.cell(r, 8, "24"), "BPD-2 (26, 24) lies outside"),
        ("image smaller", lambda c, r: c.picture(r, size=(24, 20)), "of 20×24 px"),
    ]


def wrong_arguments():
    """(name, arguments, what the message must say): for all six scripts."""
    return [
        ("batch of 0", ["--batch_size", "0"], "--batch_size"),
        ("batch of a half", ["--batch_size", "0.5"], "--batch_size"),
        ("unknown device", ["--device", "tpu"], "--device"),
        ("unknown option", ["--batchsize", "8"], "--batchsize"),
        ("unknown way to split", ["--split_by", "hospital"], "--split_by"),
        ("subjects unknown", ["--split_by", "subject"], "nothing says who is on each image"),
    ]


def wrong_trainer_arguments():
    return [
        ("no epochs", ["--epochs", "0"], "--epochs"),
        ("negative rate", ["--lr", "-0.1"], "--lr"),
        ("rate 0", ["--lr", "0"], "--lr"),
        ("rate NaN", ["--lr", "nan"], "--lr"),
        ("unknown precision", ["--precision", "tf32"], "--precision"),
        ("FP16 on a CPU", ["--precision", "fp16", "--device", "cpu"], "--precision fp16 is for"),
        ("negative seed", ["--seed", "-1"], "--seed"),
        ("negative seconds", ["--checkpoint_seconds", "-1"], "--checkpoint_seconds"),
        ("folder of the model", ["--model_save_path", "no/m.pth"], "no/m.pth: the folder no"),
        ("folder of the curves", ["--plot_save_path", "no/c.png"], "no/c.png: the folder no"),
        ("model a folder", ["--model_save_path", "images"], "images: is a folder"),
        ("curves a folder", ["--plot_save_path", "images"], "images: is a folder"),
        ("curves no picture", ["--plot_save_path", "curves.doc"], "curves.doc: no picture format"),
        ("one name twice", ["--plot_save_path", "model.pth"], "model.pth: two of the files"),
        ("over the checkpoint", ["--plot_save_path", "model_checkpoint.pth"], "model_checkpoint"),
        ("over the input", ["--model_save_path", "ground_truth.csv"], "ground_truth.csv: two"),
        ("no checkpoint there", ["--resume"], "model_checkpoint.pth: no PyTorch weights file"),
    ]


def wrong_tester_arguments():
    return [
        ("folder of predictions", ["--pred_save_path", "no/p.png"], "no/p.png: the folder no"),
        ("errors a folder", ["--error_save_path", "images"], "images: is a folder"),
        ("folder of the table", ["--csv_save_path", "no/t.csv"], "no/t.csv: the folder no"),
        ("table a folder", ["--csv_save_path", "images"], "images: is a folder"),
        ("table over the input", ["--csv_save_path", "ground_truth.csv"], "ground_truth.csv: two"),
        ("table over a picture", ["--csv_save_path", "errors.png"], "errors.png: two"),
        ("unknown part", ["--split", "validation"], "--split"),
        ("one picture twice", ["--error_save_path", "predictions.png"], "predictions.png: two"),
        ("model missing", ["--model_path", "no.pth"], "no.pth: cannot be read"),
        ("model a folder", ["--model_path", "images"], "images: "),
    ]


WRONG_WEIGHTS = [
    ("empty", "no PyTorch weights file, or truncated"),
    ("text", "no PyTorch weights file, or truncated"),
    ("truncated", "no PyTorch weights file, or truncated"),
    ("list", "holds no state dict"),
    ("wrapped list", "holds no state dict"),
    ("whole model", "holds pickled Python objects"),
    ("three landmarks", "find 3 landmarks, not 4"),
    ("nan", "not finite"),
    ("key missing", "weight is missing"),
]


@pytest.fixture
def case(tiny_data, tmp_path, monkeypatch):
    folder = tmp_path / "case"
    shutil.copytree(tiny_data, folder)
    monkeypatch.chdir(folder)
    return Case(folder)


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def run(script, arguments, weights):
    """The script's main, with whatever the arguments leave open."""
    defaults = {"--csv_path": "ground_truth.csv", "--image_folder_path": "images"}
    if script in TRAINERS:
        defaults |= {"--model_save_path": "model.pth", "--plot_save_path": "curves.png"}
    else:
        defaults |= {"--model_path": str(weights[NETWORKS[script[-1]]])}
        defaults |= {"--pred_save_path": "predictions.png", "--error_save_path": "errors.png"}
    if script == TRAINERS[2]:
        defaults |= {"--encoder_weights": "none"}
    given = [word for pair in defaults.items() if pair[0] not in arguments for word in pair]
    importlib.import_module(script).main([*given, *arguments])


def check(script, arguments, message, case, weights, capsys):
    before = contents(case.folder)
    with pytest.raises(SystemExit) as stopped:
        run(script, arguments, weights)
    printed = capsys.readouterr().err
    assert stopped.value.code == 2
    assert message in printed
    assert "Traceback" not in printed
    assert contents(case.folder) == before
    return printed


def rows(table, scripts):
    return [
        pytest.param(script, *row[1:], id=f"{row[0]}-{script}")
        for row in table
        for script in scripts
    ]


@pytest.mark.parametrize(
    ("script", "spoil", "message"), rows(wrong_ground_truth(), TRAINERS + TESTERS)
)
def test_ground_truth(script, spoil, message, case, weights, capsys):
    spoil(case)
    check(script, [], message, case, weights, capsys)


@pytest.mark.parametrize(("script", "spoil", "message"), rows(wrong_images(), TRAINERS + TESTERS))
def test_images(script, spoil, message, case, weights, capsys):
    read = {TRAINERS[1]: VALIDATION_ROW, TRAINERS[2]: VALIDATION_ROW, TRAINERS[0]: TRAINING_ROW}
    row = read.get(script, TEST_ROW)
    spoil(case, row)
    printed = check(script, [], f"row {row + 1}: {row}.png", case, weights, capsys)
    assert message in printed


@pytest.mark.parametrize(
    ("script", "arguments", "message"),
    rows(wrong_arguments(), TRAINERS + TESTERS)
    + rows(wrong_trainer_arguments(), TRAINERS)
    + rows(wrong_tester_arguments(), TESTERS)
    + rows(
        [
            ("negative weight decay", ["--weight_decay", "-1"], "--weight_decay"),
            ("negative warm-up", ["--warmup_epochs", "-1"], "--warmup_epochs"),
            ("encoder missing", ["--encoder_weights", "no.pth"], "no.pth: cannot be read"),
            ("encoder no weights", ["--encoder_weights", "ground_truth.csv"], "ground_truth.csv"),
        ],
        TRAINERS[2:],
    )
    + rows(
        [("examples a folder", ["--augmentation_save_path", "images"], "images: is a folder")],
        TRAINERS[1:2],
    ),
)
def test_arguments(script, arguments, message, case, weights, capsys):
    check(script, arguments, message, case, weights, capsys)


@pytest.mark.parametrize(("name", "message"), WRONG_WEIGHTS, ids=[n for n, _ in WRONG_WEIGHTS])
@pytest.mark.parametrize("script", TESTERS)
def test_weights(script, name, message, case, weights, bad_weights, capsys):
    path = bad_weights[name, NETWORKS[script[-1]]]
    printed = check(script, ["--model_path", str(path)], f"{path}: ", case, weights, capsys)
    assert message in printed


@pytest.mark.parametrize(
    ("script", "network", "message"),
    [
        ("Tester_Hypothesis1", ResNetUNet, "belong to Hypothesis 3 (ResNetUNet)"),
        ("Tester_Hypothesis2", ResNetUNet, "belong to Hypothesis 3 (ResNetUNet)"),
        ("Tester_Hypothesis3", UNet, "belong to Hypotheses 1 and 2 (UNet)"),
    ],
)
def test_the_other_networks_weights(script, network, message, case, weights, capsys):
    check(script, ["--model_path", str(weights[network])], message, case, weights, capsys)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
@pytest.mark.parametrize("script", TRAINERS + TESTERS)
def test_cuda_without_cuda(script, case, weights, capsys):
    check(script, ["--device", "cuda"], "--device cuda: there is no", case, weights, capsys)


def test_problems_of_cells_and_images_come_in_one_report(case, weights, capsys):
    case.cell(4, 1, "left")
    case.cell(3, 7, "99")
    case.image(2, b"")
    with pytest.raises(SystemExit):
        run("Trainer_Hypothesis1", [], weights)
    lines = capsys.readouterr().err.strip().splitlines()[-4:]
    assert "ground_truth.csv and images: 3 problems" in lines[0]
    for line, start in zip(lines[1:], ("row 3: 2.png", "row 4: 3.png", "row 5: 4.png")):
        assert line.strip().startswith(start)


def test_a_spoilt_image_that_is_not_read_does_no_harm(case, weights, capsys):
    case.image(TRAINING_ROW, b"")
    run("Tester_Hypothesis1", [], weights)
    assert "Pixel error of 4 landmarks on 1 images" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("script", "arguments", "message"),
    [
        ("Trainer_Hypothesis1.py", ["--csv_path", "no.csv"], "no.csv"),
        ("Trainer_Hypothesis3.py", ["--encoder_weights", "no.pth"], "no.pth"),
        ("Tester_Hypothesis1.py", ["--model_path", "no.pth"], "no.pth"),
        ("Tester_Hypothesis2.py", ["--model_path", "ground_truth.csv"], "ground_truth.csv"),
        ("Tester_Hypothesis3.py", ["--image_folder_path", "no", "--model_path", ""], "no"),
        ("Tester_Hypothesis3.py", [], "--model_path"),
    ],
)
def test_as_commands(script, arguments, message, case):
    command = [sys.executable, str(ROOT / script), "--csv_path", "ground_truth.csv"]
    before = contents(case.folder)
    finished = subprocess.run(
        [*command, "--image_folder_path", "images", *arguments],
        cwd=case.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 2
    assert message in finished.stderr.splitlines()[-1]
    assert "Traceback" not in finished.stderr
    assert contents(case.folder) == before
