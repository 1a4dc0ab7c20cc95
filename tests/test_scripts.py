"""The six scripts from end to end, on six sample images."""

import hashlib
import os
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from common import evaluation, images, plots
from common.augmentation import augment
from common.biometry import normalised_errors
from common.evaluation import Prediction, prediction_table
from common.files import claim
from common.ground_truth import landmark_values, read_ground_truth, split_ground_truth
from common.images import load_images
from common.losses import AdaptiveWingLoss, HeatmapLoss
from common.models import ResNetUNet, UNet
from tests.conftest import HYPOTHESES, ROOT, files_in, run_command, script


@pytest.fixture
def small_images(monkeypatch):
    """64×64 px instead of 256×256: the U-Net's way through them is 16 times shorter."""
    for room in (images, evaluation, plots):
        monkeypatch.setattr(room, "IMAGE_SIZE", 64)


def picture_size(path):
    image = cv2.imread(str(path))
    assert image is not None, path
    assert image.std() > 10  # something is drawn on it
    return image.shape[1], image.shape[0]


def lines_of(text):
    """What was printed, without the progress bars."""
    lines = text.replace("\r", "\n").splitlines()
    return [line for line in lines if line.strip() and "%|" not in line]


def train(number, *arguments):
    """Train for one epoch of two batches."""
    script("Trainer", number)(
        [
            *(*arguments, *HYPOTHESES[number].arguments, "--epochs", "1", "--batch_size", "3"),
            *("--model_save_path", "model.pth", "--plot_save_path", "curves.png"),
        ]
    )


@pytest.mark.parametrize("number", HYPOTHESES)
def test_train_and_test(number, data_arguments, tmp_path, capsys, monkeypatch, small_images):
    monkeypatch.chdir(tmp_path)
    hypothesis = HYPOTHESES[number]
    augmentation = ["--augmentation_save_path", "examples.png"] if number == 2 else []
    train(number, *data_arguments, *augmentation)
    printed = capsys.readouterr().out
    for expected in (
        "Loaded 6 images\nTrain: 4 | Val: 1 | Test: 1\n",
        "Audit: 6 of 6 annotations plausible, 1 of 1 in test; ",
        f"{hypothesis.parameters} parameters",
        "Epoch 1/1 | train loss ",
        " | best so far\n",
    ):
        assert expected in printed
    assert picture_size("curves.png") == (1680, 600)
    if number == 2:
        assert picture_size("examples.png") == (1920, 1032)

    best = torch.load("model.pth", weights_only=True)
    checkpoint = torch.load("model_checkpoint.pth", weights_only=True)
    assert best.keys() == hypothesis.network().state_dict().keys()
    assert all(torch.equal(best[key], checkpoint["model_state_dict"][key]) for key in best)
    assert checkpoint["epoch"] == 1
    assert checkpoint["best_val_loss"] == checkpoint["val_losses"][0]
    assert len(checkpoint["train_losses"]) == 1
    assert checkpoint["learning_rates"] == [pytest.approx(2e-4 if number == 3 else 1e-3)]
    # FP16, of Hypothesis 3 on CUDA, skips its first steps, and lowers the scale each time.
    steps = checkpoint["optimizer_state_dict"]["state"]
    assert steps or checkpoint["scaler_state_dict"]["scale"] < 2**16
    assert checkpoint["scheduler_state_dict"]["last_epoch"] == 1
    assert "scaler_state_dict" in checkpoint
    assert checkpoint["args"]["batch_size"] == 3
    assert checkpoint["args"]["hypothesis"] == number
    assert sorted(checkpoint["train_images"]) == [f"{i:03d}_HC.png" for i in (2, 3, 4, 5)]

    # Both forms of --model_path, and here both hold the same weights.
    summaries = []
    for path in ("model.pth", "model_checkpoint.pth"):
        script("Tester", number)(
            [
                *(*data_arguments, "--model_path", path),
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


@pytest.mark.parametrize("number", HYPOTHESES)
def test_defaults_are_the_reports(number, capsys):
    with pytest.raises(SystemExit) as stopped:
        script("Trainer", number)(["--help"])
    assert stopped.value.code == 0
    help_text = " ".join(capsys.readouterr().out.split())
    further = {
        1: [],
        2: ["(default: hypothesis_2_augmentation_examples.png)"],
        3: ["(default: 0.0001)", "(default: 5)", "(default: imagenet)"],
    }
    for expected in (
        f"(default: {HYPOTHESES[number].model_save_path})",
        f"(default: hypothesis_{number}_training_curves.png)",
        "images per step (default: 8)",
        "passes over the training images (default: 50)",
        "learning rate (default: 0.001)",
        "(default: 42)",
        "(default: auto)",
        *further[number],
    ):
        assert expected in help_text


@pytest.fixture
def handed_to_fit(monkeypatch, data_arguments, tmp_path):
    """handed_to_fit(number, *arguments): what a trainer hands to the loop, by name."""
    monkeypatch.chdir(tmp_path)
    seen = {}

    def fit(model, loss, optimizer, scheduler, train_set, val_set, args, augment=None):
        seen.update(locals())

    monkeypatch.setattr("common.training.fit", fit)

    def run(number, *arguments):
        script("Trainer", number)([*data_arguments, *HYPOTHESES[number].arguments, *arguments])
        return dict(seen)

    return run


@pytest.mark.parametrize("number", HYPOTHESES)
def test_recipes_are_the_reports(number, handed_to_fit):
    seen = handed_to_fit(number)
    args, loss, optimizer = seen["args"], seen["loss"], seen["optimizer"]
    (group,) = optimizer.param_groups
    scheduler = seen["scheduler"]
    assert type(seen["model"]) is HYPOTHESES[number].network
    assert sum(p.numel() for p in group["params"]) == sum(
        p.numel() for p in seen["model"].parameters()
    )
    assert (args.batch_size, args.epochs, args.seed) == (8, 50, 42)
    assert args.precision == ("auto" if number == 3 else "fp32")
    assert (len(seen["train_set"]), len(seen["val_set"])) == (4, 1)
    assert seen["augment"] is (augment if number == 2 else None)
    assert type(loss) is HeatmapLoss
    assert loss.sigma == 10
    if number == 3:
        criterion = loss.criterion
        assert type(criterion) is AdaptiveWingLoss
        assert (criterion.omega, criterion.theta, criterion.epsilon, criterion.alpha) == (
            *(14, 0.5, 1, 2.1),
        )
        assert type(optimizer) is torch.optim.AdamW
        assert (group["initial_lr"], group["weight_decay"]) == (1e-3, 1e-4)
        rates = []
        for _ in range(50):
            rates.append(group["lr"])
            optimizer.step()
            scheduler.step()
        assert rates[:5] == pytest.approx([2e-4, 4e-4, 6e-4, 8e-4, 1e-3])
        assert rates[4 + 15] == pytest.approx(1e-6 + (1e-3 - 1e-6) * 0.75)
        assert rates[-1] == pytest.approx(1e-6)
    else:
        assert type(loss.criterion) is torch.nn.MSELoss
        assert type(optimizer) is torch.optim.Adam
        assert (group["lr"], group["weight_decay"]) == (1e-3, 0)
        assert type(scheduler) is torch.optim.lr_scheduler.ReduceLROnPlateau
        assert (scheduler.mode, scheduler.patience, scheduler.factor) == ("min", 5, 0.5)


def test_hypothesis_3_with_the_augmentation_of_hypothesis_2(handed_to_fit):
    seen = handed_to_fit(3, "--augment")
    assert seen["augment"] is augment
    assert seen["args"].augment is True


def test_the_six_split_alike(handed_to_fit, data_arguments, weights, monkeypatch, small_images):
    monkeypatch.setattr("common.plots.predictions", lambda data, *_: tested.extend(data.names))
    splits = []
    for number, hypothesis in HYPOTHESES.items():
        tested = []
        seen = handed_to_fit(number, "--seed", str(number))
        path = str(weights[hypothesis.network])
        script("Tester", number)([*data_arguments, "--model_path", path])
        splits.append([seen["train_set"].names, seen["val_set"].names, tested])
    assert splits[0] == splits[1] == splits[2]
    assert sorted(name for split in splits[0] for name in split) == [
        f"{i:03d}_HC.png" for i in range(6)
    ]


@pytest.fixture
def run_tester(weights, tmp_path, capsys, monkeypatch):
    """run_tester(number, *arguments): what a tester printed, and its table."""
    monkeypatch.chdir(tmp_path)

    def run(number, *arguments):
        model = str(weights[HYPOTHESES[number].network])
        arguments = ["--model_path", model, "--csv_save_path", "table.csv", *arguments]
        script("Tester", number)(arguments)
        return capsys.readouterr().out, pd.read_csv("table.csv")

    return run


@pytest.mark.parametrize(("number", "split"), [(1, "test"), (3, "val"), (3, "train"), (3, "all")])
def test_the_table_adds_up_to_what_the_screen_says(
    number, split, data_arguments, weights, run_tester
):
    ground_truth = read_ground_truth(data_arguments[1])
    expected = {**split_ground_truth(ground_truth), "all": ground_truth}[split]
    printed, table = run_tester(number, *data_arguments, "--split", split)

    assert table["image_name"].tolist() == expected["image_name"].tolist()
    assert set(table["split"]) == {split}
    assert table["annotation_plausible"].all()  # drawn heads
    sha256 = hashlib.sha256(weights[HYPOTHESES[number].network].read_bytes()).hexdigest()
    assert set(table["model_sha256"]) == {sha256}

    annotated = landmark_values(table, "x", "y")
    predicted = landmark_values(table, "pred_x", "pred_y")
    assert (annotated.reshape(-1, 8) == expected.iloc[:, 1:].to_numpy()).all()
    # The errors follow from the coordinates, whose images are of 800×540 px.
    off = predicted - annotated
    errors = landmark_values(table, "error_px256")[..., 0]
    assert np.allclose(np.linalg.norm(off, axis=-1), landmark_values(table, "error_px")[..., 0])
    assert np.allclose(np.linalg.norm(off * [256 / 800, 256 / 540], axis=-1), errors, atol=1e-3)
    confidence = landmark_values(table, "confidence")[..., 0]
    assert ((confidence >= 0) & (confidence <= 1)).all()
    unsure = (confidence < HYPOTHESES[number].review_confidence).any(axis=1)
    assert (table["review"] == unsure | ~table["prediction_plausible"]).all()

    words = " ".join(printed.split())
    assert (
        f"Mean ± std {errors.mean():.2f} ± {errors.std():.2f} Median {np.median(errors):.2f}"
        in words
    )
    assert f"Review: {table['review'].sum()} of {len(table)} images flagged" in words
    normalised = normalised_errors(predicted, annotated)
    for i, name in enumerate(["OFD", "BPD"]):
        ends = predicted[:, 2 * i : 2 * i + 2]
        length = np.linalg.norm(ends[:, 1] - ends[:, 0], axis=-1)
        assert np.allclose(length, table[f"{name.lower()}_pred_px"])
        error = (length - table[f"{name.lower()}_px"]).abs()
        assert f"{name} absolute error, px {error.mean():.2f} ± {error.std(ddof=0):.2f}" in words
        assert f"{name} normalised mean error {normalised[:, i].mean():.4f} ± " in words


@pytest.mark.parametrize("number", HYPOTHESES)
@pytest.mark.parametrize(("step", "flagged"), [(-0.01, True), (0.01, False)])
def test_each_tester_has_its_own_limit(
    number, step, flagged, data_arguments, run_tester, monkeypatch, small_images
):
    """Of predictions that are right, with a confidence just below or above the limit."""
    limit = HYPOTHESES[number].review_confidence

    def predict(models, data, batch_size):
        found = data.landmarks.cpu()
        confidences = torch.full(found.shape[:2], limit + step)
        return Prediction(found, confidences, torch.full(found.shape[:2], torch.nan))

    monkeypatch.setattr(evaluation, "predict", predict)
    printed, table = run_tester(number, *data_arguments)
    assert table["review"].tolist() == [flagged]
    assert table["review_confidence"].tolist() == [limit]
    assert f"confidence below {limit:g} {flagged:d} images" in " ".join(printed.split())


@pytest.mark.parametrize("names", [None, 5, [1, 2], {"a": 1}])
def test_training_images_of_another_make_are_none(names, data_arguments, weights, run_tester):
    state_dict = torch.load(weights[ResNetUNet], weights_only=True)
    torch.save({"model_state_dict": state_dict, "train_images": names}, "foreign.pth")
    _, table = run_tester(3, *data_arguments, "--model_path", "foreign.pth")
    assert len(table) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="the check needs Linux")
def test_a_tester_does_not_write_over_what_a_trainer_is_writing(data_arguments, run_tester, capsys):
    with claim("errors.png"), pytest.raises(SystemExit) as stopped:
        run_tester(3, *data_arguments, "--error_save_path", "errors.png")
    assert stopped.value.code == 2
    assert "errors.png: another run is still writing to it" in capsys.readouterr().err


def test_an_ensemble_of_two(data_arguments, weights, run_tester, capsys):
    """The average of a network's heatmaps and those of its negative is 0: decoded as (0, 0)."""
    state_dict = torch.load(weights[ResNetUNet], weights_only=True)
    for name in ("final_conv.3.weight", "final_conv.3.bias"):
        state_dict[name] = -state_dict[name]
    torch.save(state_dict, "negative.pth")
    paths = [str(weights[ResNetUNet]), "negative.pth"]
    printed, table = run_tester(3, *data_arguments, "--model_path", *paths)
    assert "24,118,918 parameters, 2 models\n" in printed
    hashes = [hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in paths]
    assert set(table["model_sha256"]) == {"+".join(hashes)}
    assert (landmark_values(table, "pred_x", "pred_y") == 0).all()
    assert not table["prediction_plausible"].any()
    assert table["review"].all()
    alone = [run_tester(3, *data_arguments, "--model_path", path)[1] for path in paths]
    assert np.isnan(landmark_values(alone[0], "spread_px256")).all()
    found = [landmark_values(one, "pred_x", "pred_y") * [256 / 800, 256 / 540] for one in alone]
    spreads = np.linalg.norm(found, axis=-1).max(axis=0)
    assert landmark_values(table, "spread_px256")[..., 0] == pytest.approx(spreads)
    for second, message in (
        (paths[0], "these weights are given twice"),
        (str(weights[UNet]), "these weights belong to Hypotheses 1 and 2"),
    ):
        with pytest.raises(SystemExit):
            run_tester(3, *data_arguments, "--model_path", paths[0], second)
        assert message in capsys.readouterr().err


def test_one_row_of_another_hospital_with_millimetres(data_arguments, samples, run_tester, capsys):
    ground_truth = pd.read_csv(samples / "ground_truth.csv")[2:3].assign(px_to_mm_rate=0.25)
    ground_truth.to_csv("theirs.csv", index=False)
    arguments = ["--csv_path", "theirs.csv", *data_arguments[2:]]
    printed, table = run_tester(3, *arguments, "--split", "all")
    assert len(table) == 1
    for name in ("ofd", "bpd"):
        assert table[f"{name}_mm"][0] == pytest.approx(table[f"{name}_px"][0] / 4)
        assert table[f"{name}_pred_mm"][0] == pytest.approx(table[f"{name}_pred_px"][0] / 4)
        error = abs(table[f"{name}_pred_mm"][0] - table[f"{name}_mm"][0])
        within = f"{error <= 5:.1%} of 1 within 5 mm"
        expected = f"{name.upper()} absolute error, mm {error:.2f} ± 0.00 {error:.2f} {within}"
        assert expected in " ".join(printed.split())
    errors_mm = landmark_values(table, "error_mm")
    assert errors_mm == pytest.approx(landmark_values(table, "error_px") / 4)
    assert f"{(errors_mm <= 5).mean():.1%} of 4 within 5 mm" in printed
    with pytest.raises(SystemExit):
        run_tester(3, *arguments, "--split", "test")
    assert "needs at least 6" in capsys.readouterr().err


def test_split_by_subject(handed_to_fit, samples, run_tester, capsys, small_images):
    # Twelve images of six subjects.
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

    seen = handed_to_fit(1, *arguments)
    assert seen["args"].split_by == "subject"
    assert "subjects of training in 0 of 2 val and 0 of 2 test images" in capsys.readouterr().out
    _, tested = run_tester(3, *arguments)
    of = dict(zip(table["image_name"], subjects))
    names = (seen["train_set"].names, seen["val_set"].names, tested["image_name"])
    sides = [{of[name] for name in side} for side in names]
    assert [len(side) for side in sides] == [4, 1, 1]
    assert set.union(*sides) == set(subjects)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, samples, data_arguments):
    """A folder with a run of Hypothesis 3, and with the same rows in other orders."""
    folder = tmp_path_factory.mktemp("trained")
    table = pd.read_csv(samples / "ground_truth.csv")
    # Of the rows in another order, the split makes other ones the test rows.
    table[::-1].to_csv(folder / "reversed.csv", index=False)
    table.assign(image_name="./" + table["image_name"])[::-1].to_csv(
        folder / "dots.csv", index=False
    )
    table.assign(SubjectID=list("FEDCBA")).to_csv(folder / "subjects.csv", index=False)
    table.to_csv(folder / "same.csv", index=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(images, "IMAGE_SIZE", 64)
        patch.chdir(folder)
        train(3, *data_arguments)
    return folder


def run_trained(arguments, model, folder, samples):
    name, *further = arguments.split()
    script("Tester", 3)(
        [
            *("--csv_path", str(folder / name), "--image_folder_path", str(samples / "images")),
            *("--model_path", str(folder / model), "--csv_save_path", "table.csv", *further),
        ]
    )


@pytest.mark.parametrize(
    "arguments",
    [
        "reversed.csv",
        "reversed.csv --split val",
        "subjects.csv --split_by subject",
        "dots.csv",
    ],
)
def test_a_checkpoint_is_not_tested_on_its_training_images(
    arguments, trained, samples, tmp_path, monkeypatch, capsys, small_images
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        run_trained(arguments, "model_checkpoint.pth", trained, samples)
    assert stopped.value.code == 2
    (line,) = lines_of(capsys.readouterr().err)
    assert "model_checkpoint.pth: was trained on 1 of the 1 images of this split" in line
    assert not files_in(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "model"),
    [
        ("same.csv", "model_checkpoint.pth"),
        ("reversed.csv --split train", "model_checkpoint.pth"),
        ("reversed.csv --split all", "model_checkpoint.pth"),
        ("reversed.csv", "model.pth"),  # weights alone do not tell what they were trained on
    ],
)
def test_a_checkpoint_is_tested_on_other_images_or_where_asked_for(
    arguments, model, trained, samples, tmp_path, monkeypatch, small_images
):
    monkeypatch.chdir(tmp_path)
    run_trained(arguments, model, trained, samples)
    assert (tmp_path / "table.csv").exists()


def test_images_may_have_any_name(samples, run_tester, tmp_path, small_images):
    names = ["a$_$b.png", "Schädel [1] (2).png", "sub/of sub/c d.png", "%s {0}.png", "=1+1.png"]
    table = pd.read_csv(samples / "ground_truth.csv")[: len(names)]
    for source, name in zip(table["image_name"], names):
        target = tmp_path / "my images" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(samples / "images" / source, target)
    table.assign(image_name=names).to_csv("ground truth.csv", index=False)
    _, tested = run_tester(
        3,
        *("--csv_path", "ground truth.csv", "--image_folder_path", "my images", "--split", "all"),
        *("--pred_save_path", "Vorhersagen [ä].png"),
    )
    assert tested["image_name"].tolist() == names
    assert picture_size("Vorhersagen [ä].png") == (1440, 510 * len(names))


def test_flagged_images_have_a_red_frame(samples, tmp_path):
    table = read_ground_truth(str(samples / "ground_truth.csv"))[:2]
    data = load_images(table, str(samples / "images"))
    red = []
    for flagged in ([False, False], [True, False], [False, True], [True, True]):
        confidences = torch.tensor(flagged)[:, None].logical_not().float().expand(-1, 4)
        prediction = Prediction(data.landmarks, confidences, torch.full((2, 4), torch.nan))
        found = prediction_table(
            table, data, prediction, split="all", model_sha256="", review_confidence=0.7
        )
        path = str(tmp_path / "predictions.png")
        plots.predictions(data, found, path)
        blue, green, red_channel = cv2.imread(path).astype(int).transpose(2, 0, 1)
        is_red = (red_channel > 200) & (green < 60) & (blue < 90)
        first, _, _, second = np.array_split(is_red, 4)  # one image above the other
        red.append([bool(first.sum() > 1000), bool(second.sum() > 1000)])
    assert red == [[False, False], [True, False], [False, True], [True, True]]


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
    assert capsys.readouterr().err == "error: no.csv: no such ground-truth file\n"


def test_a_bad_argument_of_a_real_command(data_arguments, tmp_path):
    arguments = ["Trainer_Hypothesis1.py", *data_arguments, "--lr", "1e300"]
    finished = run_command(arguments, tmp_path)
    assert finished.returncode == 2
    assert finished.stdout == ""
    expected = "Trainer_Hypothesis1.py: error: argument --lr: 1e300: must be a number above 0 and "
    assert finished.stderr == f"{expected}not above 4294967295\n"


def test_a_tester_without_a_reader(data_arguments, weights, tmp_path):
    """All outputs are there, nothing is said of the closed stream, and the exit status is 0."""
    command = [sys.executable, str(ROOT / "Tester_Hypothesis3.py"), *data_arguments]
    command += ["--model_path", str(weights[ResNetUNet]), "--csv_save_path", "table.csv"]
    command += ["--device", "cpu"]
    processes = {}
    for end, printed in ((">&-", ""), ("| head -1", "Device: CPU\n")):
        folder = tmp_path / end.strip("| ")
        folder.mkdir()
        shell = ["bash", "-o", "pipefail", "-c", f"{shlex.join(command)} {end}"]
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        # Both at once: most of the time is the start.
        processes[folder] = printed, subprocess.Popen(shell, cwd=folder, **streams)
    for folder, (printed, process) in processes.items():
        output, errors = process.communicate()
        assert process.returncode == 0, errors
        assert output == printed
        assert lines_of(errors) == []
        assert len(files_in(folder)) == 3


def test_a_tester_where_the_package_is_read_only_and_there_is_no_display(
    data_arguments, samples, weights, tmp_path
):
    """On one row, too. Root may write anywhere, so it is also seen that nothing is written."""
    package = tmp_path / "package"
    shutil.copytree(ROOT / "common", package / "common", ignore=lambda *_: ["__pycache__"])
    shutil.copy(ROOT / "Tester_Hypothesis3.py", package)
    before = files_in(package)
    for path in [package, *package.rglob("*")]:
        path.chmod(0o555)
    (tmp_path / "results").mkdir()
    pd.read_csv(samples / "ground_truth.csv")[:1].to_csv(tmp_path / "one.csv", index=False)
    finished = run_command(
        [
            *(package / "Tester_Hypothesis3.py", "--csv_path", "../one.csv", *data_arguments[2:]),
            *("--model_path", str(weights[ResNetUNet]), "--split", "all"),
        ],
        tmp_path / "results",
        env={"PATH": os.defpath, "HOME": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    package.chmod(0o755)
    (package / "common").chmod(0o755)
    assert finished.returncode == 0, finished.stderr
    assert "Pixel error of 4 landmarks on 1 images" in finished.stdout
    assert picture_size(tmp_path / "results/hypothesis_3_predictions_visualization.png")
    assert picture_size(tmp_path / "results/hypothesis_3_error_distribution.png")
    assert files_in(package) == before
