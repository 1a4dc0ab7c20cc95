"""The six scripts from end to end, on six sample images.

Most tests here read what one run has printed and left: a run is a fixture that they share.
"""

import contextlib
import hashlib
import io
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from torchvision.models import resnet34

from common import UserError, evaluation
from common.augmentation import augment
from common.ground_truth import COORDINATES, landmark_values
from common.losses import AdaptiveWingLoss, HeatmapLoss
from common.models import ResNetUNet, UNet
from tests.conftest import (
    HYPOTHESES,
    ROOT,
    files_in,
    predictions_of,
    refused,
    script,
    single_spaced,
    use_small_images,
)

COORDINATES = list(COORDINATES)


def run_trainer(number, *arguments):
    """Train for one epoch, by default of two batches. Returns what was printed."""
    defaults = [*HYPOTHESES[number].arguments, "--epochs", "1", "--batch_size", "3"]
    defaults += ["--model_save_path", "model.pth", "--plot_save_path", "curves.png"]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        script("Trainer", number)([*defaults, *arguments])
    return printed.getvalue()


def run_tester(number, *arguments):
    """Returns what a tester printed, and its table."""
    defaults = ["--csv_save_path", "table.csv", "--pred_save_path", "predictions.png"]
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        script("Tester", number)([*defaults, "--error_save_path", "errors.png", *arguments])
    return printed.getvalue(), pd.read_csv("table.csv")


def handed_to_fit(number, *arguments):
    """What a trainer hands to the training loop, by name. Nothing is trained."""
    handed = {}

    def fit(model, loss, optimizer, scheduler, train_set, val_set, args, augment=None):
        handed.update(locals())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"Trainer_Hypothesis{number}.fit", fit)
        script("Trainer", number)([*HYPOTHESES[number].arguments, *arguments])
    return handed


def lines_of(text):
    """What was printed, without the progress bars."""
    lines = text.replace("\r", "\n").splitlines()
    return [line for line in lines if line.strip() and "%|" not in line]


def picture_size(path):
    image = cv2.imread(str(path))
    assert image is not None, path
    assert image.std() > 10  # something is drawn on it
    return image.shape[1], image.shape[0]


@contextlib.contextmanager
def small_images_in(folder):
    """In this folder, with small images, for a fixture that several tests share."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        use_small_images(patch)
        yield


# Trained for an epoch and tested, by each hypothesis


class Trained(NamedTuple):
    number: int
    folder: Path
    printed: str  # by the trainer
    tested: dict  # what the tester printed, and its table, of model.pth and of its checkpoint


@pytest.fixture(scope="module", params=HYPOTHESES)
def trained(request, data_arguments, tmp_path_factory):
    """Each hypothesis, trained for one epoch; its best model and its checkpoint, tested."""
    number, folder = request.param, tmp_path_factory.mktemp("trained")
    with small_images_in(folder):
        further = ["--augmentation_save_path", "examples.png"] if number == 2 else []
        printed = run_trainer(number, *data_arguments, *further)
        tested = {
            name: run_tester(number, *data_arguments, "--model_path", name)
            for name in ("model.pth", "model_checkpoint.pth")
        }
    return Trained(number, folder, printed, tested)


@pytest.fixture
def checkpoint(trained):
    return torch.load(trained.folder / "model_checkpoint.pth", weights_only=True)


def test_a_trainer_prints_the_split_the_plausible_annotations_and_the_parameters(trained):
    assert "Loaded 6 images\nTrain: 4 | Val: 1 | Test: 1\n" in trained.printed
    assert "6 of 6 annotations are plausible, 1 of 1 in test.\n" in trained.printed
    assert f"{HYPOTHESES[trained.number].parameters} parameters" in trained.printed


def test_a_trainer_prints_each_epoch_and_which_is_the_best_so_far(trained):
    assert re.search(r"Epoch 1/1 \| train loss .* \| best so far\n", trained.printed)


def test_a_trainer_leaves_its_curves(trained):
    assert picture_size(trained.folder / "curves.png") == (2160, 600)


def test_the_trainer_of_hypothesis_2_leaves_augmentation_examples(trained):
    if trained.number == 2:
        assert picture_size(trained.folder / "examples.png") == (1920, 1080)
    else:
        assert not (trained.folder / "examples.png").exists()


def test_the_model_file_holds_the_best_weights_which_after_one_epoch_are_the_last(
    trained, checkpoint
):
    best = torch.load(trained.folder / "model.pth", weights_only=True)
    assert best.keys() == HYPOTHESES[trained.number].network().state_dict().keys()
    assert all(torch.equal(best[key], checkpoint["model_state_dict"][key]) for key in best)


def test_the_checkpoint_holds_the_losses_and_the_learning_rate_of_the_epoch(trained, checkpoint):
    assert len(checkpoint["train_losses"]) == len(checkpoint["val_losses"]) == 1
    rate = 2e-4 if trained.number == 3 else 1e-3  # the first of five epochs of warm-up
    assert checkpoint["learning_rates"] == [pytest.approx(rate)]


def test_the_checkpoint_holds_the_states_of_optimiser_schedule_and_scaler(checkpoint):
    # FP16, of Hypothesis 3 on CUDA, skips its first steps, and lowers the scale each time.
    steps = checkpoint["optimizer_state_dict"]["state"]
    assert steps or checkpoint["scaler_state_dict"]["scale"] < 2**16
    assert checkpoint["scheduler_state_dict"]["last_epoch"] == 1
    assert "scaler_state_dict" in checkpoint


def test_the_checkpoint_holds_the_arguments_and_the_names_of_the_training_images(
    trained, checkpoint
):
    assert checkpoint["args"]["batch_size"] == 3
    assert checkpoint["args"]["hypothesis"] == trained.number
    assert sorted(checkpoint["train_images"]) == [f"{i:03d}_HC.png" for i in (2, 3, 4, 5)]


def test_a_tester_finds_the_same_with_a_model_file_and_with_its_checkpoint(trained):
    (printed, table), (of_checkpoint, table_of_checkpoint) = trained.tested.values()
    assert printed.split("Pixel error")[1] == of_checkpoint.split("Pixel error")[1]
    sha256 = "model_sha256"  # of the file: of the two, it differs
    assert table.drop(columns=sha256).equals(table_of_checkpoint.drop(columns=sha256))


def test_a_tester_prints_the_mean_deviation_and_median_of_the_errors_in_its_table(trained):
    printed, table = trained.tested["model.pth"]
    errors = landmark_values(table, "error_px256")
    assert (
        f"mean ± std {errors.mean():.2f} ± {errors.std():.2f} Median {np.median(errors):.2f} Min "
        in single_spaced(printed)
    )


def test_the_errors_in_a_testers_table_are_the_distances_of_its_landmarks(trained):
    """The images are of 800×540 px, and 64×64 px here."""
    _, table = trained.tested["model.pth"]
    off = landmark_values(table, "pred_x", "pred_y") - landmark_values(table, "x", "y")
    errors = landmark_values(table, "error_px", "error_px256")
    assert errors[..., 0] == pytest.approx(np.linalg.norm(off, axis=-1))
    at_64 = np.linalg.norm(off * [64 / 800, 64 / 540], axis=-1)
    assert errors[..., 1] == pytest.approx(at_64, abs=1e-3)


def test_the_landmarks_in_a_testers_table_are_those_of_the_ground_truth(trained, samples):
    _, table = trained.tested["model.pth"]
    ground_truth = pd.read_csv(samples / "ground_truth.csv")[1:2]  # row 1 is for the test
    columns = ["image_name", *COORDINATES]
    assert (table[columns].to_numpy() == ground_truth[columns].to_numpy()).all()


def test_a_tester_leaves_a_picture_of_its_predictions_and_of_its_errors(trained):
    assert picture_size(trained.folder / "predictions.png") == (1440, 510)  # one row: one image
    assert picture_size(trained.folder / "errors.png") == (1680, 600)


def test_a_recipe_learns_its_training_images_by_heart(
    data_arguments, weights, tmp_path, monkeypatch, small_images
):
    """On four images the loss falls, and so does the pixel error on them (of 64 px)."""
    monkeypatch.chdir(tmp_path)
    run_trainer(3, *data_arguments, "--epochs", "18", "--lr", "0.003", "--batch_size", "8")
    losses = torch.load("model_checkpoint.pth", weights_only=True)["train_losses"]
    assert losses[-1] < 0.1 * losses[0]
    errors = []
    for path in (str(weights[ResNetUNet]), "model_checkpoint.pth"):
        _, table = run_tester(3, *data_arguments, "--split", "train", "--model_path", path)
        errors.append(landmark_values(table, "error_px256").mean())
    assert errors[1] < 0.5 * errors[0]


# The recipes are the report's


@pytest.fixture(scope="module")
def recipes(data_arguments, tmp_path_factory):
    """What the trainers hand to the loop by default, by hypothesis, and the folder of each."""
    recipes = {}
    for number in HYPOTHESES:
        folder = tmp_path_factory.mktemp("recipe")
        with small_images_in(folder):
            recipes[number] = {**handed_to_fit(number, *data_arguments), "folder": folder}
    return recipes


@pytest.mark.parametrize("number", HYPOTHESES)
def test_a_recipe_has_the_reports_network_batch_size_epochs_and_seed(number, recipes):
    args = recipes[number]["args"]
    assert type(recipes[number]["model"]) is HYPOTHESES[number].network
    assert (args.batch_size, args.epochs, args.seed) == (8, 50, 42)


@pytest.mark.parametrize("number", HYPOTHESES)
def test_a_recipe_writes_the_files_of_the_reports_names(number, recipes):
    args = recipes[number]["args"]
    assert args.model_save_path == HYPOTHESES[number].model_save_path
    assert args.plot_save_path == f"hypothesis_{number}_training_curves.png"


@pytest.mark.parametrize("number", HYPOTHESES)
def test_an_optimiser_has_every_parameter_of_its_network(number, recipes):
    (group,) = recipes[number]["optimizer"].param_groups
    of_network = recipes[number]["model"].parameters()
    assert sum(p.numel() for p in group["params"]) == sum(p.numel() for p in of_network)


@pytest.mark.parametrize("number", HYPOTHESES)
def test_every_target_is_a_gaussian_of_sigma_10(number, recipes):
    assert type(recipes[number]["loss"]) is HeatmapLoss
    assert recipes[number]["loss"].sigma == 10


def test_hypothesis_3_alone_is_trained_in_mixed_precision_where_there_is_a_gpu(recipes):
    precisions = {number: recipe["args"].precision for number, recipe in recipes.items()}
    assert precisions == {1: "fp32", 2: "fp32", 3: "auto"}
    assert {recipe["args"].device for recipe in recipes.values()} == {"auto"}


def test_hypothesis_2_alone_augments_and_draws_examples(recipes):
    assert [recipes[number]["augment"] for number in (1, 2, 3)] == [None, augment, None]
    name = "hypothesis_2_augmentation_examples.png"
    assert [(recipes[i]["folder"] / name).exists() for i in (1, 2, 3)] == [False, True, False]


@pytest.mark.parametrize("more", [[], ["--resume"]], ids=["afresh", "resumed"])
def test_hypothesis_2_draws_its_examples_at_every_start(
    more, data_arguments, tmp_path, monkeypatch, small_images
):
    """Over an old picture too: it may be that of other data."""
    monkeypatch.chdir(tmp_path)
    Path("hypothesis_2_augmentation_examples.png").write_bytes(b"an old picture")
    Path("hypothesis_2_augmented_model_checkpoint.pth").touch()
    handed_to_fit(2, *data_arguments, *more)
    assert picture_size("hypothesis_2_augmentation_examples.png") == (1920, 1080)


@pytest.mark.parametrize("number", [1, 2])
def test_hypotheses_1_and_2_take_mse_and_adam_and_halve_the_rate_on_a_plateau(number, recipes):
    recipe = recipes[number]
    (group,) = recipe["optimizer"].param_groups
    assert type(recipe["loss"].criterion) is torch.nn.MSELoss
    assert type(recipe["optimizer"]) is torch.optim.Adam
    assert (group["lr"], group["weight_decay"]) == (1e-3, 0)
    scheduler = recipe["scheduler"]
    assert type(scheduler) is torch.optim.lr_scheduler.ReduceLROnPlateau
    assert (scheduler.mode, scheduler.patience, scheduler.factor) == ("min", 5, 0.5)


def test_hypothesis_3_takes_adaptive_wing_with_the_reports_parameters(recipes):
    criterion = recipes[3]["loss"].criterion
    assert type(criterion) is AdaptiveWingLoss
    parameters = (criterion.omega, criterion.theta, criterion.epsilon, criterion.alpha)
    assert parameters == (14, 0.5, 1, 2.1)


def test_hypothesis_3_takes_adamw_with_weight_decay(recipes):
    (group,) = recipes[3]["optimizer"].param_groups
    assert type(recipes[3]["optimizer"]) is torch.optim.AdamW
    assert (group["initial_lr"], group["weight_decay"]) == (1e-3, 1e-4)


def test_hypothesis_3_warms_up_for_five_epochs_and_follows_a_cosine_to_1e_6(recipes):
    optimizer, scheduler = recipes[3]["optimizer"], recipes[3]["scheduler"]
    rates = []
    for _ in range(50):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates[:5] == pytest.approx([2e-4, 4e-4, 6e-4, 8e-4, 1e-3])
    # A third and two thirds of the way, (1 + cos 60°)/2 = 3/4 and (1 + cos 120°)/2 = 1/4.
    assert rates[4 + 15] == pytest.approx(1e-6 + (1e-3 - 1e-6) * 0.75)
    assert rates[4 + 30] == pytest.approx(1e-6 + (1e-3 - 1e-6) * 0.25)
    assert rates[-1] == pytest.approx(1e-6)
    assert sorted(rates[4:], reverse=True) == rates[4:]


def test_the_encoder_of_hypothesis_3_starts_from_imagenet_by_default(capsys):
    with pytest.raises(SystemExit):
        script("Trainer", 3)(["--help"])
    assert "(default: imagenet)" in capsys.readouterr().out


def test_the_seed_decides_the_first_weights(data_arguments):
    first, again, other = (
        handed_to_fit(1, *data_arguments, "--seed", seed)["model"].dconv_down1[0].weight
        for seed in ("42", "42", "43")
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_trainer_says_where_ends_are_named_by_another_rule(
    data_arguments, samples, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    line = "OFD-1 is the upper end in 0 of 6 rows, and BPD-1 the left one in 6 of 6."
    handed_to_fit(1, *data_arguments)
    assert "is the upper end in" not in capsys.readouterr().out
    table = pd.read_csv(samples / "ground_truth.csv")
    names = [table.columns[i] for i in (0, 3, 4, 1, 2, 5, 6, 7, 8)]  # OFD's ends exchanged
    table.set_axis(names, axis=1).to_csv("exchanged.csv", index=False)
    handed_to_fit(1, *data_arguments, "--csv_path", "exchanged.csv")
    assert line in capsys.readouterr().out


def test_hypothesis_3_augments_where_it_is_asked_to(data_arguments):
    handed = handed_to_fit(3, *data_arguments, "--augment")
    assert handed["augment"] is augment
    assert handed["args"].augment is True


def test_who_starts_from_initial_weights_downloads_no_encoder(
    data_arguments, monkeypatch, tmp_path
):
    monkeypatch.delattr("torch.hub.load_state_dict_from_url")
    monkeypatch.delattr("torchvision.models._api.load_state_dict_from_url")
    (tmp_path / "model.pth").touch()
    options = ["--encoder_weights", "imagenet", "--initial_weights", str(tmp_path / "model.pth")]
    args = handed_to_fit(3, *data_arguments, *options)["args"]
    assert args.initial_weights == str(tmp_path / "model.pth")
    assert args.encoder_weights == "none"  # which the checkpoint keeps


def test_hypothesis_3_resumes_without_the_encoder_that_it_began_with(
    data_arguments, tmp_path, monkeypatch, capsys, small_images
):
    """Whatever it was: ImageNet's, which a disconnected machine cannot download, or a file."""
    monkeypatch.chdir(tmp_path)
    torch.save(resnet34().state_dict(), "encoder.pth")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))  # no cache

    def no_network(*_args, **_kwargs):
        raise AssertionError("ImageNet's weights are downloaded")

    monkeypatch.setattr("torch.hub.download_url_to_file", no_network)
    arguments = [*data_arguments, "--batch_size", "4", "--epochs", "1", "--resume"]
    # There is no checkpoint yet.
    missing = "the ImageNet weights of ResNet-34 are not available"
    refused(lambda: script("Trainer", 3)(arguments), capsys, missing)
    script("Trainer", 3)([*arguments, "--encoder_weights", "encoder.pth"])
    assert "no checkpoint there, so training starts at epoch 1" in capsys.readouterr().out
    path = Path("hypothesis_3_resnet_unet_checkpoint.pth")
    before = path.read_bytes()
    assert torch.load(path, weights_only=True)["args"]["encoder_weights"] == "encoder.pth"
    Path("encoder.pth").unlink()
    for weights in ([], ["--encoder_weights", "encoder.pth"]):
        script("Trainer", 3)([*arguments, *weights])
        assert "resuming from epoch 1\n" in capsys.readouterr().out
        assert path.read_bytes() == before


# Splits, and images that a model was trained on


def test_all_trainers_and_testers_split_alike_whatever_the_seed(
    data_arguments, weights, monkeypatch, tmp_path, small_images
):
    monkeypatch.chdir(tmp_path)
    splits = []
    for number, hypothesis in HYPOTHESES.items():
        handed = handed_to_fit(number, *data_arguments, "--seed", str(number))
        path = str(weights[hypothesis.network])
        _, table = run_tester(number, *data_arguments, "--model_path", path)
        names = handed["train_set"].names, handed["val_set"].names, table["image_name"].tolist()
        splits.append(names)
    assert splits[0] == splits[1] == splits[2]
    assert sorted(name for split in splits[0] for name in split) == [
        f"{i:03d}_HC.png" for i in range(6)
    ]


def test_a_split_by_subject_has_no_subject_in_two_splits(
    samples, weights, capsys, monkeypatch, tmp_path, small_images
):
    """Twelve images of six subjects."""
    monkeypatch.chdir(tmp_path)
    table = pd.read_csv(samples / "ground_truth.csv")
    subjects = [f"S{i % 6}" for i in range(12)]
    table = pd.concat([table, table], ignore_index=True).assign(SubjectID=subjects)
    Path("images").mkdir()
    for i, name in enumerate(table["image_name"]):
        Path("images", f"{i}.png").symlink_to(samples / "images" / name)
    table["image_name"] = [f"{i}.png" for i in range(12)]
    table.to_csv("subjects.csv", index=False)
    arguments = ["--csv_path", "subjects.csv", "--image_folder_path", "images"]
    arguments += ["--split_by", "subject"]
    handed = handed_to_fit(1, *arguments)
    assert handed["args"].split_by == "subject"
    sentence = "0 of 2 validation and 0 of 2 test images show a subject of training."
    assert sentence in capsys.readouterr().out
    _, tested = run_tester(3, *arguments, "--model_path", str(weights[ResNetUNet]))
    subject_of = dict(zip(table["image_name"], subjects))
    names = (handed["train_set"].names, handed["val_set"].names, tested["image_name"])
    in_splits = [{subject_of[name] for name in split} for split in names]
    assert [len(split) for split in in_splits] == [4, 1, 1]
    assert set.union(*in_splits) == set(subjects)


TRAINED_ON = "it, or the weights that it started from, was trained on"


@pytest.fixture(scope="module")
def trained_on_four(samples, weights, tmp_path_factory):
    """A folder with a checkpoint that was trained on all images but the first two, without OFD-2,
    and three ground truths whose split makes other rows the test rows."""
    folder = tmp_path_factory.mktemp("trained on four")
    table = pd.read_csv(samples / "ground_truth.csv")
    table[::-1].to_csv(folder / "reversed.csv", index=False)
    dots = table.assign(image_name="./" + table["image_name"])
    dots[::-1].to_csv(folder / "dots.csv", index=False)
    table.assign(SubjectID=list("FEDCBA")).to_csv(folder / "subjects.csv", index=False)
    state_dict = torch.load(weights[ResNetUNet], weights_only=True)
    names = table["image_name"][2:].tolist()
    record = {"args": {"hypothesis": 3}, "train_images": names, "untrained_landmarks": ["OFD-2"]}
    torch.save({"model_state_dict": state_dict, **record}, folder / "trained.pth")
    return folder


@pytest.mark.parametrize(
    "arguments",
    [
        ["--csv_path", "dots.csv"],
        ["--csv_path", "reversed.csv", "--split", "val"],
        ["--csv_path", "subjects.csv", "--split_by", "subject"],
    ],
    ids=["names with dots", "another order", "split by subject"],
)
def test_a_checkpoint_is_not_tested_on_its_training_images(
    arguments, trained_on_four, samples, capsys, monkeypatch, small_images
):
    monkeypatch.chdir(trained_on_four)
    names = sorted(os.listdir())
    given = ["--image_folder_path", str(samples / "images"), "--model_path", "trained.pth"]
    which = f"trained.pth: {TRAINED_ON} 1 of the 1 images of this split, "
    refused(lambda: run_tester(3, *given, *arguments), capsys, which)
    assert sorted(os.listdir()) == names


@pytest.mark.parametrize(("split", "count"), [("train", 4), ("all", 6)])
def test_training_images_are_tested_where_they_are_asked_for(
    split, count, trained_on_four, samples, monkeypatch, tmp_path, small_images
):
    monkeypatch.chdir(tmp_path)
    given = ["--image_folder_path", str(samples / "images"), "--split", split]
    given += ["--csv_path", str(trained_on_four / "reversed.csv")]
    printed, table = run_tester(3, *given, "--model_path", str(trained_on_four / "trained.pth"))
    assert len(table) == count
    assert "The review flag leaves out OFD-2: not trained, or annotated in no tested" in printed


@pytest.mark.parametrize(
    "content",
    [
        {"args": {"hypothesis": 1}, "train_images": [1, 2]},
        {"args": ["--lr", "1"], "train_images": 5},
    ],
    ids=["names that are no text", "another package's"],
)
def test_a_checkpoint_whose_record_cannot_be_read_is_tested(
    content, data_arguments, weights, monkeypatch, tmp_path, small_images
):
    monkeypatch.chdir(tmp_path)
    state_dict = torch.load(weights[UNet], weights_only=True)
    torch.save({"model_state_dict": state_dict, **content}, "model.pth")
    printed, table = run_tester(1, *data_arguments, "--model_path", "model.pth")
    assert len(table) == 1
    assert "not trained" not in printed


def test_a_checkpoint_of_another_hypothesis_is_refused(
    data_arguments, weights, capsys, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    state_dict = torch.load(weights[UNet], weights_only=True)
    checkpoint = {"args": {"hypothesis": 2}, "train_images": [], "untrained_landmarks": []}
    torch.save({"model_state_dict": state_dict, **checkpoint}, "model.pth")
    arguments = [*data_arguments, "--model_path", "model.pth"]
    refused(lambda: run_tester(1, *arguments), capsys, "model.pth: is a checkpoint of Hypothesis 2")


# The review flag, and several models


@pytest.mark.parametrize("number", HYPOTHESES)
def test_each_tester_flags_images_below_its_own_limit_of_the_confidence(
    number, data_arguments, weights, monkeypatch, tmp_path, small_images
):
    """Of predictions that are right, with a confidence just below and just above the limit."""
    monkeypatch.chdir(tmp_path)
    limit = HYPOTHESES[number].review_confidence

    def predict(models, data, batch_size):
        confidences = np.full((6, 4), limit + 0.01)
        confidences[2:4] = limit - 0.01
        return predictions_of(
            data.landmarks_px, data.landmarks_px, data.sizes, confidences=confidences
        )

    monkeypatch.setattr(evaluation, "predict", predict)
    path = str(weights[HYPOTHESES[number].network])
    printed, table = run_tester(number, *data_arguments, "--split", "all", "--model_path", path)
    assert table["review"].tolist() == [False, False, True, True, False, False]
    assert set(table["review_confidence"]) == {limit}
    assert f"confidence below {limit:g} 2 images" in single_spaced(printed)


def test_a_tester_takes_another_limit_of_the_confidence(
    data_arguments, weights, monkeypatch, tmp_path, small_images
):
    monkeypatch.chdir(tmp_path)
    path = str(weights[ResNetUNet])
    options = ["--model_path", path, "--review_confidence", "0.35"]
    _, table = run_tester(3, *data_arguments, *options)
    assert set(table["review_confidence"]) == {0.35}


@pytest.mark.parametrize(("split", "is_named"), [("val", True), ("test", False)])
def test_a_tester_proposes_a_limit_for_validation_images_only(
    split, is_named, data_arguments, weights, monkeypatch, tmp_path, small_images
):
    monkeypatch.chdir(tmp_path)
    options = ["--model_path", str(weights[ResNetUNet]), "--split", split]
    printed, _ = run_tester(3, *data_arguments, *options)
    assert ("Lowest --review_confidence that finds 80% of" in printed) is is_named


class Ensemble(NamedTuple):
    paths: list
    printed: str
    table: pd.DataFrame
    alone: list  # the table of each network by itself


@pytest.fixture(scope="module")
def ensemble(data_arguments, weights, tmp_path_factory):
    """A network and its negative: the average of their heatmaps is 0, decoded as (0, 0)."""
    folder = tmp_path_factory.mktemp("ensemble")
    state_dict = torch.load(weights[ResNetUNet], weights_only=True)
    for name in ("final_conv.3.weight", "final_conv.3.bias"):
        state_dict[name] = -state_dict[name]
    torch.save(state_dict, folder / "negative.pth")
    paths = [str(weights[ResNetUNet]), str(folder / "negative.pth")]
    with small_images_in(folder):
        printed, table = run_tester(3, *data_arguments, "--model_path", *paths)
        alone = [run_tester(3, *data_arguments, "--model_path", path)[1] for path in paths]
    return Ensemble(paths, printed, table, alone)


def test_an_ensemble_finds_landmarks_in_the_average_of_the_heatmaps(ensemble):
    assert (landmark_values(ensemble.table, "pred_x", "pred_y") == 0).all()


def test_an_ensemble_whose_average_is_no_head_is_flagged(ensemble):
    assert not ensemble.table["prediction_plausible"].any()
    assert ensemble.table["review"].all()


def test_an_ensemble_is_named_by_the_sha256_of_its_files(ensemble):
    hashes = [hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in ensemble.paths]
    assert set(ensemble.table["model_sha256"]) == {"+".join(hashes)}
    assert "24,118,918 parameters, 2 models\n" in ensemble.printed


def test_the_spread_of_an_ensemble_is_the_largest_distance_of_a_members_landmark(ensemble):
    """From (0, 0), in px of the 64×64 image; the original is of 800×540 px."""
    predicted = [landmark_values(table, "pred_x", "pred_y") for table in ensemble.alone]
    spreads = np.linalg.norm(predicted * np.array([64 / 800, 64 / 540]), axis=-1).max(axis=0)
    assert landmark_values(ensemble.table, "spread_px256")[..., 0] == pytest.approx(spreads)
    assert np.isnan(landmark_values(ensemble.alone[0], "spread_px256")).all()


def test_weights_that_are_given_twice_are_refused(
    ensemble, data_arguments, capsys, monkeypatch, tmp_path, small_images
):
    monkeypatch.chdir(tmp_path)
    arguments = [*data_arguments, "--model_path", *ensemble.paths, ensemble.paths[0]]
    message = f"{ensemble.paths[0]}: these weights are given twice"
    refused(lambda: run_tester(3, *arguments), capsys, message)


def test_a_model_and_its_checkpoint_with_the_same_weights_are_no_ensemble_of_two(
    trained, data_arguments, capsys, monkeypatch, tmp_path, small_images
):
    """After one epoch the best weights are the last; of the two files nothing else is alike."""
    monkeypatch.chdir(tmp_path)
    paths = [str(trained.folder / name) for name in ("model.pth", "model_checkpoint.pth")]
    message = "model_checkpoint.pth: these weights are given twice"
    arguments = [*data_arguments, "--model_path", *paths]
    refused(lambda: run_tester(trained.number, *arguments), capsys, message)
    assert files_in(tmp_path) == {}


def test_weights_that_differ_in_one_number_are_two_models(
    weights, data_arguments, monkeypatch, tmp_path, small_images
):
    """Of the last that the network has, and by the least that float32 can tell apart."""
    monkeypatch.chdir(tmp_path)
    state_dict = torch.load(weights[UNet], weights_only=True)
    last = list(state_dict.values())[-1]
    last[-1] = torch.nextafter(last[-1], torch.tensor(9.0))
    torch.save(state_dict, "other.pth")
    paths = [str(weights[UNet]), "other.pth"]
    printed, _ = run_tester(1, *data_arguments, "--model_path", *paths)
    assert "parameters, 2 models\n" in printed


# Landmarks that are not annotated


@pytest.fixture
def sample_table(samples):
    """The ground truth of the sample images, with the multi-centre benchmark's columns. Of its six
    rows, 0 is for validation, 1 for the test, and the others are for training."""
    table = pd.read_csv(samples / "ground_truth.csv").astype(dict.fromkeys(COORDINATES, float))
    table.insert(0, "SubjectID", [f"S{i}" for i in range(6)])
    return table.assign(Plane="TT", px_to_mm_rate=0.2, Train="")


@pytest.fixture
def half_annotated(sample_table):
    """The same, where landmarks are missing, and one lies outside its image of 800×540 px."""
    sample_table.loc[3, ["ofd_1_x", "ofd_1_y"]] = np.nan  # one landmark, of training
    sample_table.loc[4, COORDINATES] = np.nan  # a whole image of training
    sample_table.loc[1, ["bpd_1_x", "bpd_2_x", "bpd_2_y"]] = [-20, np.nan, np.nan]  # of the test
    return sample_table


@pytest.fixture
def folder_arguments(samples, tmp_path, monkeypatch):
    """In a folder of its own, the arguments for a ground truth mine.csv of the sample images."""
    monkeypatch.chdir(tmp_path)
    return ["--csv_path", "mine.csv", "--image_folder_path", str(samples / "images")]


def test_half_annotated_data_are_trained_on_without_the_images_that_have_no_landmark(
    half_annotated, folder_arguments, small_images
):
    half_annotated.to_csv("mine.csv", index=False)
    printed = run_trainer(3, *folder_arguments, "--augment")
    assert "\n3 of 3 annotations are plausible, 0 of 0 in test.\n" in printed
    assert "1 images without a landmark stay out of training and validation\n" in printed
    checkpoint = torch.load("model_checkpoint.pth", weights_only=True)
    assert len(checkpoint["train_images"]) == 3
    assert np.isfinite(checkpoint["train_losses"] + checkpoint["val_losses"]).all()


def test_a_model_is_not_tested_on_images_of_its_initial_weights_and_its_best_weights_may_be(
    data_arguments, weights, tmp_path, monkeypatch, capsys, small_images
):
    """001_HC.png is the test image, and one of this name may be on everyone's machine."""
    monkeypatch.chdir(tmp_path)
    state_dict = torch.load(weights[UNet], weights_only=True)
    torch.save({"model_state_dict": state_dict, "train_images": ["./001_HC.png"]}, "initial.pth")
    run_trainer(1, *data_arguments, "--initial_weights", "initial.pth")
    arguments = [*data_arguments, "--model_path", "model_checkpoint.pth"]
    which = "1 of the 1 images of this split, 001_HC.png for one: another ground truth, or another"
    with pytest.raises(SystemExit):
        run_tester(1, *arguments)
    (line,) = lines_of(capsys.readouterr().err)
    assert line.startswith(f"error: model_checkpoint.pth: {TRAINED_ON} {which} --split_by. Test")
    assert line.endswith("test the file of the best weights, which has no record of names")
    _, table = run_tester(1, *data_arguments, "--model_path", "model.pth")
    assert table["image_name"].tolist() == ["001_HC.png"]


def test_a_half_annotated_image_is_tested_by_what_is_annotated(
    half_annotated, folder_arguments, weights, small_images
):
    half_annotated.to_csv("mine.csv", index=False)
    arguments = [*folder_arguments, "--model_path", str(weights[ResNetUNet])]
    printed, table = run_tester(3, *arguments, "--second_csv_path", "mine.csv")
    printed = single_spaced(printed)
    assert "1 landmarks lie just outside their image" in printed
    assert "all images Images 1 Landmarks 3 Pixel error" in printed
    assert "OFD error, mm" in printed
    assert "BPD error, mm" not in printed
    assert "BPD-2 mean" not in printed
    assert "The review flag leaves out BPD-2: not trained, or annotated in no tested" in printed
    # Three ends of one reader and three of another cannot be matched; a prediction has all four.
    nothing = "annotated to second reader 0 0 - - - -"
    assert f"all images {nothing} 0 - - predicted to second reader 1 3 " in printed
    assert f"plausible annotation {nothing} 0 - - predicted to second" in printed
    errors = landmark_values(table, "error_px")[0, :, 0]
    assert np.isnan(errors).tolist() == [False, False, False, True]
    off = table.loc[0, ["bpd_1_pred_x", "bpd_1_pred_y"]] - [-20, half_annotated.loc[1, "bpd_1_y"]]
    assert errors[2] == pytest.approx(np.hypot(*off))  # to where it is, not the border
    assert table[["annotation_plausible", "bpd_px", "bpd_mm"]].isna().all(axis=None)
    assert table[["ofd_mm", "bpd_pred_mm", "hc_pred_mm"]].notna().all(axis=None)
    # Without BPD-2, which no tested image has.
    assert table[["prediction_plausible", "hc_mm"]].isna().all(axis=None)
    assert picture_size("errors.png") == (1680, 600)


@pytest.mark.parametrize(("rows", "split"), [([0], "validation"), ([2, 3, 4, 5], "training")])
def test_training_is_refused_where_a_split_has_no_annotated_landmark(
    rows, split, sample_table, folder_arguments, capsys
):
    sample_table.loc[rows, COORDINATES] = np.nan
    sample_table.to_csv("mine.csv", index=False)
    message = f"mine.csv: no image for {split} has an annotated landmark"
    refused(lambda: run_trainer(1, *folder_arguments), capsys, message)


class OnlyBpd(NamedTuple):
    folder: Path
    trained: str  # what the trainer printed
    tested: dict  # what the tester printed, and its table, by data and model


@pytest.fixture(scope="module")
def only_bpd(samples, tmp_path_factory):
    """Hypothesis 3 trained for an epoch on data of which only BPD is annotated, and tested on all
    images of such data and of the complete ones: its model file, which does not know what was
    trained, and its checkpoint, which does."""
    folder = tmp_path_factory.mktemp("only BPD")
    table = pd.read_csv(samples / "ground_truth.csv")
    table[[name for name in table if name.startswith("ofd")]] = np.nan
    table.to_csv(folder / "bpd.csv", index=False)
    csv_paths = {"bpd": str(folder / "bpd.csv"), "all": str(samples / "ground_truth.csv")}
    folder_argument = ["--image_folder_path", str(samples / "images")]
    tested = {}
    with small_images_in(folder):
        printed = run_trainer(3, *folder_argument, "--csv_path", csv_paths["bpd"])
        for data, name in (("bpd", "model"), ("all", "model"), ("all", "model_checkpoint")):
            options = ["--csv_path", csv_paths[data], "--split", "all", "--review_confidence", "0"]
            model = ["--model_path", f"{name}.pth"]
            tested[data, name] = run_tester(3, *folder_argument, *options, *model)
    return OnlyBpd(folder, printed, tested)


def test_a_trainer_names_the_landmarks_that_no_training_image_has(only_bpd):
    assert "annotations are plausible" not in only_bpd.trained  # 0 of 0 would say nothing
    for name in ("OFD-1", "OFD-2"):
        assert f"{name} is annotated in no training image: what is found for" in only_bpd.trained
    assert "BPD-1 is annotated" not in only_bpd.trained
    checkpoint = torch.load(only_bpd.folder / "model_checkpoint.pth", weights_only=True)
    assert checkpoint["untrained_landmarks"] == ["OFD-1", "OFD-2"]


@pytest.mark.parametrize(
    ("data", "model"),
    [("bpd", "model"), ("all", "model_checkpoint")],
    ids=["annotated nowhere", "not trained"],
)
def test_a_landmark_that_was_not_trained_or_is_annotated_nowhere_flags_no_image(
    data, model, only_bpd
):
    """Its peak is anywhere, so that the axes of a head it finds would be none."""
    printed, table = only_bpd.tested[data, model]
    assert printed.count("The review flag leaves out OFD-1, OFD-2: not trained, or annotated") == 1
    assert table["prediction_plausible"].isna().all()
    assert not table["review"].any()
    assert "Review: 0 of 6 images flagged" in printed
    assert "implausible" not in printed
    assert np.isfinite(landmark_values(table, "pred_x", "pred_y")).all()  # but it is written


def test_what_a_model_file_cannot_know_is_judged_where_it_is_annotated(only_bpd):
    """Without its record, the random peaks of OFD are implausible heads."""
    printed, table = only_bpd.tested["all", "model"]
    assert "leaves out" not in printed
    is_implausible = table["prediction_plausible"].eq(False)
    assert is_implausible.any()
    assert (table["review"] == is_implausible).all()


@pytest.mark.parametrize("folder", ["scans", ""])
def test_one_image_is_predicted_where_its_path_stands_for_the_folder(
    folder, data_arguments, samples, weights, tmp_path, monkeypatch, small_images
):
    """And no other that lies beside it, where the files that are written may lie too."""
    monkeypatch.chdir(tmp_path)
    Path(folder).mkdir(exist_ok=True)
    for name, other in (("scan.png", "001_HC.png"), ("another.png", "002_HC.png")):
        shutil.copy(samples / "images" / other, Path(folder, name))
    model = ["--model_path", str(weights[ResNetUNet])]
    outputs = ["--csv_save_path", os.path.join(folder, "beside.csv")]
    script("Tester", 3)(["--image_folder_path", os.path.join(folder, "scan.png"), *model, *outputs])
    table = pd.read_csv(Path(folder, "beside.csv"))
    assert table["image_name"].tolist() == ["scan.png"]
    assert table["split"].tolist() == ["all"]
    _, expected = run_tester(3, *data_arguments, *model)  # the image of the test is the same
    columns = [f"{name}_pred_{axis}" for name in ("ofd_1", "bpd_2") for axis in "xy"]
    assert (table[columns].to_numpy() == expected[columns].to_numpy()).all()


@pytest.mark.parametrize("output", ["--pred_save_path", "--error_save_path"])
def test_the_one_image_is_not_written_over(output, samples, weights, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copy(samples / "images" / "001_HC.png", "scan.png")
    before = files_in(tmp_path)
    arguments = ["--image_folder_path", "scan.png", "--model_path", str(weights[ResNetUNet])]
    message = "error: scan.png: lies in the image folder, where nothing is written"
    refused(lambda: script("Tester", 3)([*arguments, output, "scan.png"]), capsys, message)
    assert files_in(tmp_path) == before


class Predicted(NamedTuple):
    folder: Path
    names: list  # of the images, in alphabetical order
    has_scale: bool  # 0.5 mm per px
    printed: str
    table: pd.DataFrame


@pytest.fixture(scope="module", params=[False, True], ids=["no CSV", "a CSV without landmarks"])
def predicted(request, samples, weights, tmp_path_factory):
    """A tester on seven images without annotations: grey and coloured, PNG and JPEG."""
    folder = tmp_path_factory.mktemp("predicted")
    shutil.copytree(samples / "images", folder / "images")
    with small_images_in(folder):
        for name, renamed in (
            ("001_HC.png", "001.jpg"),
            ("003_HC.png", "003.JPEG"),
            ("004_HC.png", "004.png"),
        ):
            picture = cv2.imread(f"images/{name}")
            picture[..., 2] = 255 - picture[..., 2]
            cv2.imwrite(f"images/{renamed}", picture)
        for name in ("001_HC.png", "003_HC.png"):
            Path("images", name).unlink()
        names = sorted(os.listdir("images"))
        arguments = ["--image_folder_path", "images", "--model_path", str(weights[ResNetUNet])]
        if request.param:
            table = pd.DataFrame({"image_name": names, "px_to_mm_rate": 0.5})
            table.reindex(columns=[*table, *COORDINATES]).to_csv("mine.csv", index=False)
            arguments += ["--csv_path", "mine.csv"]
        return Predicted(folder, names, request.param, *run_tester(3, *arguments))


def test_every_image_of_a_folder_is_predicted_in_the_order_of_the_names(predicted):
    assert len(predicted.names) == 7
    assert "Loaded 7 images\nResNetUNet" in predicted.printed
    assert predicted.table["image_name"].tolist() == predicted.names
    assert set(predicted.table["split"]) == {"all"}


def test_without_annotations_the_table_has_predictions_and_no_errors(predicted):
    table = predicted.table
    assert np.isfinite(landmark_values(table, "pred_x", "pred_y")).all()
    assert np.isnan(landmark_values(table, "x", "y", "error_px256", "error_px")).all()
    assert table[["review", "prediction_plausible", "ofd_1_confidence"]].notna().all(axis=None)


def test_without_annotations_the_predicted_diameters_are_measured(predicted):
    ends = landmark_values(predicted.table, "pred_x", "pred_y")
    length = np.linalg.norm(ends[:, 1] - ends[:, 0], axis=-1)
    assert predicted.table["ofd_pred_px"].to_numpy() == pytest.approx(length)
    if predicted.has_scale:
        assert predicted.table["ofd_pred_mm"].to_numpy() == pytest.approx(length / 2)
    else:
        assert "ofd_pred_mm" not in predicted.table


def test_without_annotations_the_review_flag_is_printed_and_no_error(predicted):
    assert re.search(r"Review: \d of 7 images flagged", predicted.printed)
    assert not re.search("nan|Pixel error", predicted.printed)


def test_without_annotations_only_the_predictions_are_drawn(predicted):
    assert "Errors:      not drawn, as no landmark is annotated\n" in predicted.printed
    assert not (predicted.folder / "errors.png").exists()
    # Image and prediction, and at most six images.
    assert cv2.imread(str(predicted.folder / "predictions.png")).shape[:2] == (6 * 510, 960)


# How a script starts and ends


def test_help_needs_neither_matplotlib_nor_scikit_learn():
    code = "import sys, Trainer_Hypothesis2, Tester_Hypothesis3; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True).split()
    assert "torch" in loaded
    assert not {"matplotlib", "sklearn"} & set(loaded)


@pytest.mark.parametrize("stopped_by", [KeyboardInterrupt(), UserError("no space left")])
def test_a_tester_that_is_stopped_while_it_draws_says_where_its_table_is(
    stopped_by, data_arguments, weights, tmp_path, monkeypatch, capsys, small_images
):
    monkeypatch.chdir(tmp_path)

    def stop(*_):
        raise stopped_by

    monkeypatch.setattr("common.results.testing.draw_predictions", stop)
    with pytest.raises(SystemExit):
        script("Tester", 3)([*data_arguments, "--model_path", str(weights[ResNetUNet])])
    printed = capsys.readouterr().out
    assert printed.endswith("\nTable:       hypothesis_3_predictions.csv\n")
    assert Path("hypothesis_3_predictions.csv").exists()
    assert "Predictions:" not in printed


def test_a_tester_says_that_ends_may_be_named_by_another_rule(
    data_arguments, weights, tmp_path, monkeypatch, small_images
):
    """Of predictions that are right but for the names: 1 is 2 and 2 is 1."""
    monkeypatch.chdir(tmp_path)

    def predict(models, data, batch_size):
        return predictions_of(data.landmarks_px, data.landmarks_px[:, [1, 0, 3, 2]], data.sizes)

    monkeypatch.setattr(evaluation, "predict", predict)
    arguments = [*data_arguments, "--model_path", str(weights[ResNetUNet]), "--split", "all"]
    printed, _ = run_tester(3, *arguments)
    assert re.search(r"is \d+\.\d\d px by name and 0\.00 px with the ends", printed)


@pytest.mark.parametrize("kind", ["Trainer", "Tester"])
@pytest.mark.parametrize("number", HYPOTHESES)
def test_each_script_is_a_command(kind, number, data_arguments, tmp_path, monkeypatch, capsys):
    path = ROOT / f"{kind}_Hypothesis{number}.py"
    arguments = [*data_arguments, "--csv_path", "no.csv"]
    if kind == "Tester":
        arguments += ["--model_path", "no.pth"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", [str(path), *arguments])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(path), run_name="__main__")
    assert stopped.value.code == 2
    assert capsys.readouterr().err == "error: no.csv: cannot be read: No such file or directory\n"


def test_the_errors_are_printed_even_where_no_file_can_be_written(
    data_arguments, weights, monkeypatch, capsys, tmp_path, small_images
):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.fsync", full)
    arguments = [*data_arguments, "--model_path", str(weights[ResNetUNet])]
    message = "error: hypothesis_3_predictions.csv: could not be written: No space left on device"
    printed = refused(lambda: script("Tester", 3)(arguments), capsys, message)
    assert "mean ± std" in printed
    assert "Review: " in printed


class Ended(NamedTuple):
    folder: Path
    status: int
    output: str
    errors: list  # lines


@pytest.fixture(scope="module")
def in_an_odd_environment(data_arguments, weights, tmp_path_factory):
    """A tester as a command where matplotlib has settings of its own, which no test machine could
    follow, by what follows the command: a stream that is closed, or a reader that leaves."""
    command = [sys.executable, str(ROOT / "Tester_Hypothesis3.py"), *data_arguments]
    command += ["--model_path", str(weights[ResNetUNet]), "--device", "cpu"]
    environment = {**os.environ, "MPLBACKEND": "nonsense"}
    started = {}
    for end in (">&-", "| head -1"):  # both at once: most of the time is the start
        folder = tmp_path_factory.mktemp("odd")
        (folder / "matplotlibrc").write_text("text.usetex: True\nfont.size: 40\n")
        shell = ["bash", "-o", "pipefail", "-c", f"{shlex.join(command)} {end}"]
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        process = subprocess.Popen(shell, cwd=folder, env=environment, **streams)
        started[end] = folder, process
    ended = {}
    for end, (folder, process) in started.items():
        output, errors = process.communicate()
        ended[end] = Ended(folder, process.returncode, output, lines_of(errors))
    return ended


def test_a_tester_whose_output_is_closed_writes_its_files(in_an_odd_environment):
    folder, status, _, errors = in_an_odd_environment[">&-"]
    assert errors == []
    assert status == 0
    assert len(files_in(folder)) == 1 + 3


def test_matplotlibs_own_settings_and_backend_do_not_count(in_an_odd_environment):
    folder, *_ = in_an_odd_environment[">&-"]
    picture = folder / "hypothesis_3_predictions_visualization.png"
    assert picture_size(picture) == (1440, 510)


def test_a_reader_that_leaves_ends_the_tester_quietly(in_an_odd_environment):
    folder, status, output, errors = in_an_odd_environment["| head -1"]
    assert output == "Device: CPU\n"
    assert errors == []
    assert status == 1
    assert len(files_in(folder)) == 1  # its settings


def test_a_training_image_is_known_however_its_name_is_spelt(
    samples, weights, tmp_path, monkeypatch, capsys, small_images
):
    """A Mac writes "ä" as two characters; the weights were trained on an image of this name."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(samples / "images", "images")
    Path("images/001_HC.png").rename("images/\u00e4.png")  # the image of the test
    table = pd.read_csv(samples / "ground_truth.csv")
    table.replace("001_HC.png", "\u00e4.png").to_csv("mine.csv", index=False)
    state_dict = torch.load(weights[ResNetUNet], weights_only=True)
    torch.save({"model_state_dict": state_dict, "train_images": ["a\u0308.png"]}, "trained.pth")
    arguments = ["--csv_path", "mine.csv", "--image_folder_path", "images"]
    message = f"trained.pth: {TRAINED_ON} 1 of the 1 images"
    refused(lambda: run_tester(3, *arguments, "--model_path", "trained.pth"), capsys, message)
