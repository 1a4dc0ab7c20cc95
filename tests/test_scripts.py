"""The six scripts from end to end, on six sample images, and what they say of bad arguments."""

import importlib
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
import torch

from common.models import ResNetUNet, UNet

ROOT = Path(__file__).parent.parent
NETWORKS = {1: UNet, 2: UNet, 3: ResNetUNet}
PARAMETERS = {1: "7,788,740", 2: "7,788,740", 3: "24,118,918"}
RANDOM_ENCODER = {1: [], 2: [], 3: ["--encoder_weights", "none"]}


def script(kind, number):
    return importlib.import_module(f"{kind}_Hypothesis{number}").main


def picture_size(path):
    image = cv2.imread(str(path))
    assert image is not None, path
    assert image.std() > 10  # something is drawn on it
    return image.shape[1], image.shape[0]


@pytest.mark.parametrize("number", [1, 2, 3])
def test_train_and_test(number, data_arguments, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    augmentation = ["--augmentation_save_path", "examples.png"] if number == 2 else []
    script("Trainer", number)(
        [
            *data_arguments,
            *RANDOM_ENCODER[number],
            *augmentation,
            *("--epochs", "1", "--batch_size", "3"),
            *("--model_save_path", "model.pth", "--plot_save_path", "curves.png"),
        ]
    )
    printed = capsys.readouterr().out
    for expected in (
        "Loaded 6 images\nTrain: 4 | Val: 1 | Test: 1\n",
        f"{PARAMETERS[number]} parameters",
        "Epoch 1/1 | train loss ",
        " | best so far\n",
    ):
        assert expected in printed
    assert picture_size("curves.png") == ((1680, 600) if number == 3 else (960, 600))
    if number == 2:
        assert picture_size("examples.png") == (1920, 1032)

    best = torch.load("model.pth", weights_only=True)
    checkpoint = torch.load("model_checkpoint.pth", weights_only=True)
    assert best.keys() == NETWORKS[number]().state_dict().keys()
    assert all(torch.equal(best[key], checkpoint["model_state_dict"][key]) for key in best)
    assert checkpoint["epoch"] == 1
    assert checkpoint["best_val_loss"] == checkpoint["val_losses"][0]
    assert len(checkpoint["train_losses"]) == 1
    assert checkpoint["learning_rates"] == [pytest.approx(2e-4 if number == 3 else 1e-3)]
    assert checkpoint["optimizer_state_dict"]["state"]
    assert checkpoint["scheduler_state_dict"]["last_epoch"] == 1
    assert "scaler_state_dict" in checkpoint
    assert checkpoint["args"]["batch_size"] == 3

    # Both forms of --model_path, and here both hold the same weights.
    summaries = []
    for path in ("model.pth", "model_checkpoint.pth"):
        script("Tester", number)(
            [
                *data_arguments,
                *("--model_path", path),
                *("--pred_save_path", "predictions.png", "--error_save_path", "errors.png"),
            ]
        )
        summaries.append(capsys.readouterr().out)
        assert picture_size("predictions.png") == (1440, 510)  # one row: one test image
        assert picture_size("errors.png") == (1680, 600)
        Path("predictions.png").unlink()
    assert "ms per image" in summaries[0]
    assert summaries[0].split("Pixel error")[1] == summaries[1].split("Pixel error")[1]
    for expected in ("Mean ± std", "Median", "95th percentile", "BPD-2", "Failure (>50 px)"):
        assert expected in summaries[0]


@pytest.mark.parametrize("number", [1, 2, 3])
def test_defaults_are_the_reports(number, capsys):
    with pytest.raises(SystemExit) as stopped:
        script("Trainer", number)(["--help"])
    assert stopped.value.code == 0
    help_text = " ".join(capsys.readouterr().out.split())
    stem = {1: "full_saved_model", 2: "augmented_model", 3: "resnet_unet"}[number]
    for expected in (
        f"(default: hypothesis_{number}_{stem}.pth)",
        f"(default: hypothesis_{number}_training_curves.png)",
        "images per step (default: 8)",
        "passes over the training images (default: 50)",
        "learning rate (default: 0.001)",
        "(default: 42)",
        "(default: auto)",
    ):
        assert expected in help_text
    if number == 3:
        for expected in ("(default: 0.0001)", "(default: 5)", "(default: imagenet)"):
            assert expected in help_text
    if number == 2:
        assert "(default: hypothesis_2_augmentation_examples.png)" in help_text


@pytest.mark.parametrize("number", [1, 2, 3])
def test_recipes_are_the_reports(number, data_arguments, tmp_path, monkeypatch):
    """What each trainer hands to the loop."""
    monkeypatch.chdir(tmp_path)
    seen = {}

    def fit(model, criterion, optimizer, scheduler, train_set, val_set, **options):
        seen.update(locals())

    monkeypatch.setattr("common.training.fit", fit)
    script("Trainer", number)([*data_arguments, *RANDOM_ENCODER[number]])
    group = seen["optimizer"].param_groups[0]
    scheduler = seen["scheduler"]
    options = seen["options"]
    assert type(seen["model"]) is NETWORKS[number]
    assert (options["batch_size"], options["epochs"], options["seed"]) == (8, 50, 42)
    assert (len(seen["train_set"]), len(seen["val_set"])) == (4, 1)
    if number == 3:
        loss = seen["criterion"]
        assert type(loss).__name__ == "AdaptiveWingLoss"
        assert (loss.omega, loss.theta, loss.epsilon, loss.alpha) == (14, 0.5, 1, 2.1)
        assert type(seen["optimizer"]) is torch.optim.AdamW
        assert group["weight_decay"] == 1e-4
        assert group["initial_lr"] == 1e-3
        assert group["lr"] == pytest.approx(2e-4)
    else:
        assert type(seen["criterion"]) is torch.nn.MSELoss
        assert type(seen["optimizer"]) is torch.optim.Adam
        assert (group["lr"], group["weight_decay"]) == (1e-3, 0)
        assert type(scheduler) is torch.optim.lr_scheduler.ReduceLROnPlateau
        assert (scheduler.mode, scheduler.patience, scheduler.factor) == ("min", 5, 0.5)
    assert bool(options.get("augment")) is (number == 2)
    assert options["precision"] == ("auto" if number == 3 else "fp32")


def test_the_six_split_alike(data_arguments, tmp_path, monkeypatch, weights):
    monkeypatch.chdir(tmp_path)
    names = {}

    def fit(model, criterion, optimizer, scheduler, train_set, val_set, **_):
        names.update(train=train_set.names, val=val_set.names)

    def predictions(data, *_):
        names.update(test=data.names)

    monkeypatch.setattr("common.training.fit", fit)
    monkeypatch.setattr("common.plots.predictions", predictions)
    splits = []
    for number in (1, 2, 3):
        script("Trainer", number)([*data_arguments, "--seed", "7", *RANDOM_ENCODER[number]])
        script("Tester", number)([*data_arguments, "--model_path", str(weights[NETWORKS[number]])])
        splits.append(dict(names))
    assert splits[0] == splits[1] == splits[2]
    assert sorted(name for part in splits[0].values() for name in part) == [
        f"{i:03d}_HC.png" for i in range(6)
    ]


BAD_ARGUMENTS = [
    (["--epochs", "0"], "--epochs"),
    (["--batch_size", "0"], "--batch_size"),
    (["--lr", "-1"], "--lr"),
    (["--lr", "nan"], "--lr"),
    (["--seed", "-1"], "--seed"),
    (["--epochs", "many"], "--epochs"),
    (["--device", "tpu"], "--device"),
    (["--csv_path", "nowhere.csv"], "nowhere.csv"),
    (["--image_folder_path", "nowhere"], "nowhere"),
    (["--model_save_path", "nowhere/model.pth"], "nowhere"),
    (["--plot_save_path", "."], "folder"),
    (["--plot_save_path", "same.pth", "--model_save_path", "same.pth"], "same.pth"),
    (["--plot_save_path", "x_checkpoint.pth", "--model_save_path", "x.pth"], "x_checkpoint.pth"),
]


@pytest.mark.parametrize(("arguments", "culprit"), BAD_ARGUMENTS)
def test_bad_arguments_end_in_one_line(
    arguments, culprit, data_arguments, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        script("Trainer", 1)([*data_arguments, *arguments])
    assert stopped.value.code == 2
    message = capsys.readouterr().err
    assert culprit in message
    assert len(message.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_without_cuda_ends_in_one_line(data_arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        script("Trainer", 1)([*data_arguments, "--device", "cuda"])
    assert stopped.value.code == 2
    assert "--device cuda" in capsys.readouterr().err


def test_as_a_command_with_no_display(data_arguments, weights, tmp_path):
    command = [sys.executable, str(ROOT / "Tester_Hypothesis3.py"), *data_arguments]
    finished = subprocess.run(
        [*command, "--model_path", str(weights[ResNetUNet]), "--batch_size", "2"],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    assert "Pixel error of 4 landmarks on 1 images" in finished.stdout
    assert picture_size(tmp_path / "hypothesis_3_predictions_visualization.png")
    assert picture_size(tmp_path / "hypothesis_3_error_distribution.png")

    finished = subprocess.run(
        [*command, "--model_path", "nowhere.pth"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 2
    assert finished.stderr.splitlines()[-1].startswith("error: nowhere.pth")
    assert "Traceback" not in finished.stderr
