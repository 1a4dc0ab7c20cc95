"""The six scripts from end to end, on six sample images, and what they say of bad arguments."""

import hashlib
import importlib
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from common import plots
from common.augmentation import augment
from common.biometry import normalised_errors
from common.dataset import load_images, read_ground_truth, split_ground_truth
from common.evaluation import LANDMARKS, REVIEW_CONFIDENCE
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
        "Audit: 6 of 6 annotations plausible, 1 of 1 in test; ",
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


def test_hypothesis_3_with_the_augmentation_of_hypothesis_2(data_arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = {}
    monkeypatch.setattr("common.training.fit", lambda *_, **given: options.update(given))
    script("Trainer", 3)([*data_arguments, "--encoder_weights", "none", "--augment"])
    assert options["augment"] is augment
    assert options["settings"]["augment"] is True


def run_tester(number, data_arguments, weights, capsys, *arguments):
    """What a tester printed, with its table (of strings and numbers)."""
    model = str(weights[NETWORKS[number]])
    script("Tester", number)(
        [*data_arguments, "--model_path", model, "--csv_save_path", "table.csv", *arguments]
    )
    return capsys.readouterr().out, pd.read_csv("table.csv")


@pytest.mark.parametrize(
    ("number", "split"),
    [(1, "test"), (2, "val"), (3, "train"), (3, "val"), (3, "test"), (3, "all")],
)
def test_the_table_adds_up_to_what_the_screen_says(
    number, split, data_arguments, weights, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    ground_truth = read_ground_truth(data_arguments[1])
    parts = dict(zip(("train", "val", "test"), split_ground_truth(ground_truth)))
    expected = {**parts, "all": ground_truth}[split]
    printed, table = run_tester(number, data_arguments, weights, capsys, "--split", split)

    assert table["image_name"].tolist() == expected["image_name"].tolist()
    assert set(table["split"]) == {split}
    assert table["annotation_plausible"].all()  # drawn heads
    sha256 = hashlib.sha256(weights[NETWORKS[number]].read_bytes()).hexdigest()
    assert set(table["model_sha256"]) == {sha256}

    def points(infix):
        names = [f"{name}{infix}_{axis}" for name in LANDMARKS for axis in "xy"]
        return table[names].to_numpy().reshape(-1, 4, 2)

    assert (points("").reshape(-1, 8) == expected.iloc[:, 1:].to_numpy()).all()
    # The errors follow from the coordinates, whose images are of 800×540 px.
    off = points("_pred") - points("")
    errors_px = table[[f"{name}_error_px" for name in LANDMARKS]].to_numpy()
    errors = table[[f"{name}_error_px256" for name in LANDMARKS]].to_numpy()
    assert np.allclose(np.linalg.norm(off, axis=-1), errors_px)
    assert np.allclose(np.linalg.norm(off * [256 / 800, 256 / 540], axis=-1), errors, atol=1e-3)
    confidence = table[[f"{name}_confidence" for name in LANDMARKS]].to_numpy()
    assert ((confidence >= 0) & (confidence <= 1)).all()
    assert (table["review"] == (confidence < REVIEW_CONFIDENCE).any(axis=1)).all()

    words = " ".join(printed.split())
    assert (
        f"Mean ± std {errors.mean():.2f} ± {errors.std():.2f} Median {np.median(errors):.2f}"
        in words
    )
    assert f"Review: {table['review'].sum()} of {len(table)} images flagged" in words
    normalised = normalised_errors(points("_pred"), points(""))
    for i, name in enumerate(["OFD", "BPD"]):
        ends = points("_pred")[:, 2 * i : 2 * i + 2]
        length = np.linalg.norm(ends[:, 1] - ends[:, 0], axis=-1)
        assert np.allclose(length, table[f"{name.lower()}_pred_px"])
        error = (length - table[f"{name.lower()}_px"]).abs()
        assert f"{name} absolute error, px {error.mean():.2f} ± {error.std(ddof=0):.2f}" in words
        assert f"{name} normalised mean error {normalised[:, i].mean():.4f} ± " in words


def test_one_row_of_another_hospital_with_millimetres(
    data_arguments, weights, samples, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    ground_truth = pd.read_csv(samples / "ground_truth.csv")[2:3].assign(px_to_mm_rate=0.25)
    ground_truth.to_csv("theirs.csv", index=False)
    arguments = ["--csv_path", "theirs.csv", *data_arguments[2:]]
    printed, table = run_tester(3, arguments, weights, capsys, "--split", "all")
    assert len(table) == 1
    for name in ("ofd", "bpd"):
        assert table[f"{name}_mm"][0] == pytest.approx(table[f"{name}_px"][0] / 4)
        assert table[f"{name}_pred_mm"][0] == pytest.approx(table[f"{name}_pred_px"][0] / 4)
        error = abs(table[f"{name}_pred_mm"][0] - table[f"{name}_mm"][0])
        within = f"{error <= 5:.1%} of 1 within 5 mm"
        expected = f"{name.upper()} absolute error, mm {error:.2f} ± 0.00 {error:.2f} {within}"
        assert expected in " ".join(printed.split())
    with pytest.raises(SystemExit):
        run_tester(3, arguments, weights, capsys, "--split", "test")
    assert "needs at least 6" in capsys.readouterr().err


@pytest.mark.parametrize("number", [1, 2, 3])
def test_split_by_subject(number, data_arguments, weights, samples, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # Twelve images of six subjects.
    table = pd.read_csv(samples / "ground_truth.csv")
    subjects = [f"S{i % 6}" for i in range(12)]
    table = pd.concat([table, table], ignore_index=True).assign(SubjectID=subjects)
    (tmp_path / "images").mkdir()
    for i, name in enumerate(table["image_name"]):
        (tmp_path / "images" / f"{i}.png").symlink_to(samples / "images" / name)
    table["image_name"] = [f"{i}.png" for i in range(12)]
    table.to_csv("subjects.csv", index=False)
    arguments = ["--csv_path", "subjects.csv", "--image_folder_path", "images"]
    arguments += ["--split_by", "subject"]

    seen = {}

    def fit(model, criterion, optimizer, scheduler, train_set, val_set, settings, **_):
        seen.update(train=train_set.names, val=val_set.names, settings=settings)

    monkeypatch.setattr("common.training.fit", fit)
    script("Trainer", number)([*arguments, *RANDOM_ENCODER[number]])
    assert seen["settings"]["split_by"] == "subject"
    assert "subjects of training in 0 of 2 val and 0 of 2 test images" in capsys.readouterr().out
    _, tested = run_tester(number, arguments, weights, capsys)
    of = dict(zip(table["image_name"], subjects))
    sides = [{of[name] for name in names} for names in (seen["train"], seen["val"])]
    sides.append({of[name] for name in tested["image_name"]})
    assert [len(side) for side in sides] == [4, 1, 1]
    assert set.union(*sides) == set(subjects)


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize(
    ("settings", "split_by"),
    [({"split_by": "subject"}, "subject"), ({"split_by": "image"}, "image"), ({}, "image")],
    ids=["subject", "image", "from before this was a choice"],
)
def test_a_checkpoint_remembers_how_its_run_was_split(
    number, settings, split_by, data_arguments, weights, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    state_dict = torch.load(weights[NETWORKS[number]], weights_only=True)
    settings = {"hypothesis": number, **settings}
    torch.save({"model_state_dict": state_dict, "args": settings}, "checkpoint.pth")
    arguments = [*data_arguments, "--model_path", "checkpoint.pth", "--split_by"]
    other = {"image": "subject", "subject": "image"}[split_by]
    with pytest.raises(SystemExit) as stopped:
        script("Tester", number)([*arguments, other])
    assert stopped.value.code == 2
    expected = f"checkpoint.pth: was trained with --split_by {split_by}"
    assert expected in capsys.readouterr().err
    script("Tester", number)([*arguments, split_by])
    if number == 3:
        script("Tester", number)([*arguments, other, "--split", "all"])  # where nothing is split


def test_flagged_images_have_a_red_frame(samples, tmp_path):
    table = read_ground_truth(str(samples / "ground_truth.csv"))
    data = load_images(table[:2], str(samples / "images"))
    red = []
    for flagged in ([False, False], [True, False], [False, True], [True, True]):
        path = str(tmp_path / "predictions.png")
        plots.predictions(data, data.landmarks, np.zeros((2, 4)), np.array(flagged), path)
        blue, green, red_channel = cv2.imread(path).astype(int).transpose(2, 0, 1)
        is_red = (red_channel > 200) & (green < 60) & (blue < 90)
        first, _, _, second = np.array_split(is_red, 4)  # one image above the other
        red.append([bool(first.sum() > 1000), bool(second.sum() > 1000)])
    assert red == [[False, False], [True, False], [False, True], [True, True]]


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
