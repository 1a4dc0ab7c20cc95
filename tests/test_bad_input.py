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
from common.models import UNet
from tests.conftest import HYPOTHESES, files_in, refused, script


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


@pytest.fixture
def case(tiny_data, tmp_path, monkeypatch):
    """A folder with a copy of the tiny data, an earlier run's files, and traps."""
    folder = tmp_path / "case"
    shutil.copytree(tiny_data, folder)
    monkeypatch.chdir(folder)
    monkeypatch.delattr("common.runs.fit.train_one_epoch")  # nothing here is to come so far
    for name in ("model.pth", "model_checkpoint.pth", "curves.png", "predictions.png"):
        (folder / name).write_text(f"an earlier {name}")
    os.mkfifo(folder / "pipe")
    for name, target in (
        ("to_pipe.png", "pipe"),
        ("to_image.png", "images/2.png"),
        ("to_errors.csv", "errors.png"),
        ("to_model.png", "model.pth"),
        ("to_nowhere.pth", "nowhere/model.pth"),
    ):
        (folder / name).symlink_to(target)
    return folder


def run_script(kind, number, arguments, weights):
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
        before = files_in(case)
        printed = refused(lambda: run_script(kind, number, arguments, weights), capsys, message)
        assert files_in(case) == before
        assert (case / "pipe").is_fifo()
        return printed

    return check


def test_a_tester_reads_only_what_it_tests(case, check, weights):
    """Of six rows, the split makes row 1 the test row."""
    (case / "images" / "2.png").write_bytes(b"")
    run_script("Tester", 3, [], weights)
    _, *rows = (case / "hypothesis_3_predictions.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["1.png"]
    (case / "images" / "1.png").write_bytes(b"")
    check("row 2: 1.png: not an image", "Tester", 3)


@pytest.mark.parametrize(
    ("kind", "number", "arguments", "message"),
    [
        # Each number has its own limits.
        ("Trainer", 1, ["--batch_size", "0"], "--batch_size: 0: must be a whole number from 1"),
        ("Trainer", 1, ["--epochs", "0"], "--epochs: 0: must be a whole number from 1"),
        ("Trainer", 1, ["--lr", "0"], "--lr: 0: must be a number from 1e-30 to"),
        ("Trainer", 1, ["--seed", "-1"], "--seed: -1: must be a whole number from 0"),
        ("Trainer", 1, ["--checkpoint_seconds", "-1"], "--checkpoint_seconds: -1: must be a n"),
        ("Trainer", 3, ["--weight_decay", "-1"], "--weight_decay: -1: must be a number from 0"),
        ("Trainer", 3, ["--warmup_epochs", "-1"], "--warmup_epochs: -1: must be a whole number"),
        ("Tester", 1, ["--batch_size", "0.5"], "--batch_size: 0.5: must be a whole number from 1"),
        ("Tester", 1, ["--review_confidence", "1.1"], "--review_confidence: 1.1: must be a number"),
        ("Trainer", 1, ["--precision", "fp8"], "--precision: invalid choice: 'fp8'"),
        ("Trainer", 1, ["--device", "gpu"], "--device: invalid choice: 'gpu'"),
        ("Trainer", 1, ["--split_by", "name"], "--split_by: invalid choice: 'name'"),
        ("Tester", 1, ["--split", "tests"], "--split: invalid choice: 'tests'"),
        # What stands there is not written over, nor is what a link leads to.
        ("Trainer", 1, ["--plot_save_path", "to_image.png"], "lies in the image folder"),
        (
            "Trainer",
            1,
            ["--plot_save_path", "to_pipe.png"],
            "to_pipe.png: is a folder, or no reg",
        ),
        ("Trainer", 1, ["--plot_save_path", "to_model.png"], "model_save_path and plot_save_path"),
        ("Trainer", 2, ["--augmentation_save_path", "curves.png"], "plot_save_path and augmenta"),
        ("Trainer", 3, ["--encoder_weights", "model.pth"], "encoder_weights and model_save_path"),
        (
            *("Trainer", 3, ["--initial_weights", "model.pth", "--encoder_weights", "gone.pth"]),
            "give --initial_weights or --encoder_weights PATH",
        ),
        ("Tester", 1, ["--csv_save_path", "to_errors.csv"], "error_save_path and csv_save_path"),
        ("Tester", 1, ["--csv_save_path", "images/../ground_truth.csv"], "csv_path and csv_save_"),
        ("Tester", 1, ["--csv_save_path", "model_checkpoint.pth"], "must end in .csv"),
        # Of two runs, lr0.001 and lr0.01, the checkpoint would have one name.
        ("Trainer", 1, ["--model_save_path", "lr0.001"], "lr0.001: must end in .pth, .pt"),
        ("Trainer", 1, ["--plot_save_path", "curves.pgf"], "curves.pgf: must end in .png, .jpg"),
        ("Tester", 1, ["--pred_save_path", "p.txt"], "p.txt: must end in .png, .jpg"),
        ("Trainer", 1, ["--plot_save_path", "new.png/"], "new.png/: is a folder"),
        ("Tester", 1, ["--error_save_path", "images"], "images: is a folder"),
        ("Trainer", 1, ["--model_save_path", "no/m.pth"], "no/m.pth: its folder does not exist"),
        ("Trainer", 1, ["--model_save_path", "to_nowhere.pth"], "does not exist"),
        # The name of its checkpoint would have more than 255 letters.
        ("Trainer", 1, ["--model_save_path", f"{'m' * 245}.pth"], "m_checkpoint.pth: cannot be wr"),
        ("Tester", 1, ["--csv_save_path", f"{'c' * 252}.csv"], ".csv: cannot be written: File na"),
        ("Trainer", 1, ["--plot_save_path", ""], "--plot_save_path: is empty"),
        ("Trainer", 1, ["--image_folder_path", ""], "--image_folder_path: is empty"),
        ("Tester", 1, ["--model_path", ""], "--model_path: is empty"),
        ("Trainer", 1, ["--batch", "8"], "--batch 8"),  # no option is cut short
    ],
)
def test_arguments_are_refused_before_any_work(kind, number, arguments, message, check):
    assert check(message, kind, number, arguments) == ""


@pytest.mark.parametrize(
    ("kind", "number", "arguments", "message"),
    [
        ("Trainer", 1, ["--precision", "fp16", "--device", "cpu"], "--precision fp16 is for CUDA"),
        ("Trainer", 1, ["--image_folder_path", "no"], "no: cannot be read: No such file"),
        ("Trainer", 1, ["--resume"], "model_checkpoint.pth: not a PyTorch weights file"),
        # What resumes needs the weights no more that it began with.
        ("Trainer", 1, ["--resume", "--initial_weights", "gone.pth"], "model_checkpoint.pth: not"),
        ("Trainer", 3, ["--encoder_weights", "ground_truth.csv"], "csv: not a PyTorch weights"),
        ("Trainer", 1, ["--initial_weights", "ground_truth.csv"], "csv: not a PyTorch weights"),
        ("Tester", 1, ["--model_path", "ground_truth.csv"], "csv: not a PyTorch weights"),
        ("Tester", 1, ["--second_csv_path", "no.csv"], "error: no.csv: cannot be read: No such"),
    ],
)
def test_files_and_devices_that_cannot_be_used_are_refused_before_any_training(
    kind, number, arguments, message, check
):
    check(message, kind, number, arguments)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_initial_weights_that_are_missing_are_named_before_an_image_is_read(
    number, check, monkeypatch
):
    monkeypatch.delattr("common.runs.fit.load_images")
    message = "error: gone.pth: no such file of weights"
    check(message, "Trainer", number, ["--initial_weights", "gone.pth"])


def test_initial_weights_of_another_network_are_refused(check, weights):
    message = "UNet.pth: not weights of this network: Error(s) in loading state_dict for ResNetUNet"
    check(message, "Trainer", 3, ["--initial_weights", str(weights[UNet])])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
@pytest.mark.parametrize("kind", ["Trainer", "Tester"])
def test_cuda_is_refused_where_there_is_no_cuda_device(kind, check):
    message = "--device cuda: no CUDA device (in Colab: Runtime > Change runtime type)"
    assert check(message, kind, 1, ["--device", "cuda"]) == ""
