"""The six scripts from end to end, on six sample images."""

import hashlib
import os
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from common import evaluation
from common.augmentation import augment
from common.biometry import normalised_errors
from common.evaluation import Prediction
from common.ground_truth import landmark_values, read_ground_truth, split_ground_truth
from common.losses import AdaptiveWingLoss, HeatmapLoss
from common.models import ResNetUNet, UNet
from tests.conftest import HYPOTHESES, ROOT, files_in, script


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
    assert picture_size("curves.png") == (2160, 600)
    if number == 2:
        assert picture_size("examples.png") == (1920, 1080)

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


def test_a_recipe_learns(data_arguments, weights, run_tester, small_images):
    """Four images by heart: the loss falls, and so does the pixel error on them (of 64 px)."""
    arguments = ["--epochs", "18", "--lr", "0.003", "--encoder_weights", "none"]
    arguments += ["--model_save_path", "model.pth"]
    script("Trainer", 3)([*data_arguments, *arguments])
    losses = torch.load("model_checkpoint.pth", weights_only=True)["train_losses"]
    assert losses[-1] < 0.1 * losses[0]
    errors = []
    for path in (str(weights[ResNetUNet]), "model_checkpoint.pth"):
        _, table = run_tester(3, *data_arguments, "--split", "train", "--model_path", path)
        errors.append(landmark_values(table, "error_px256").mean())
    assert errors[1] < 0.5 * errors[0]


def test_help_needs_neither_matplotlib_nor_scikit_learn():
    code = "import sys, Trainer_Hypothesis2, Tester_Hypothesis3; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", code], cwd=ROOT, text=True).split()
    assert "torch" in loaded
    assert not {"matplotlib", "sklearn"} & set(loaded)


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
def test_recipes_are_the_reports(number, handed_to_fit, capsys):
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
    assert args.device == "auto"
    assert args.model_save_path == HYPOTHESES[number].model_save_path
    assert args.plot_save_path == f"hypothesis_{number}_training_curves.png"
    assert (len(seen["train_set"]), len(seen["val_set"])) == (4, 1)
    assert seen["augment"] is (augment if number == 2 else None)
    assert Path("hypothesis_2_augmentation_examples.png").exists() is (number == 2)
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
        # A third and two thirds of the way, (1 + cos 60°)/2 = 3/4 and (1 + cos 120°)/2 = 1/4.
        assert rates[4 + 15] == pytest.approx(1e-6 + (1e-3 - 1e-6) * 0.75)
        assert rates[4 + 30] == pytest.approx(1e-6 + (1e-3 - 1e-6) * 0.25)
        assert rates[-1] == pytest.approx(1e-6)
        assert sorted(rates[4:], reverse=True) == rates[4:]
        with pytest.raises(SystemExit):
            script("Trainer", 3)(["--help"])
        assert "(default: imagenet)" in capsys.readouterr().out
    else:
        assert type(loss.criterion) is torch.nn.MSELoss
        assert type(optimizer) is torch.optim.Adam
        assert (group["lr"], group["weight_decay"]) == (1e-3, 0)
        assert type(scheduler) is torch.optim.lr_scheduler.ReduceLROnPlateau
        assert (scheduler.mode, scheduler.patience, scheduler.factor) == ("min", 5, 0.5)


def test_the_seed_decides_the_first_weights(handed_to_fit):
    first, again, other = (
        handed_to_fit(1, "--seed", seed)["model"].state_dict()["dconv_down1.0.weight"]
        for seed in ("42", "42", "43")
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_hypothesis_3_with_the_augmentation_or_from_weights(handed_to_fit, monkeypatch):
    seen = handed_to_fit(3, "--augment")
    assert seen["augment"] is augment
    assert seen["args"].augment is True

    # Whoever starts from weights downloads none.
    monkeypatch.delattr("torch.hub.load_state_dict_from_url")
    monkeypatch.delattr("torchvision.models._api.load_state_dict_from_url")
    seen = handed_to_fit(3, "--encoder_weights", "imagenet", "--initial_weights", "model.pth")
    assert seen["args"].initial_weights == "model.pth"


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


@pytest.mark.parametrize(
    ("number", "count", "split"), [(1, 6, "test"), (3, 6, "all"), (3, 1, "all")]
)
def test_the_table_adds_up_to_what_the_screen_says(
    number, count, split, data_arguments, weights, run_tester
):
    ground_truth = read_ground_truth(data_arguments[1])[:count]
    ground_truth.assign(px_to_mm_rate=0.25).to_csv("theirs.csv", index=False)
    expected = ground_truth if split == "all" else split_ground_truth(ground_truth)[split]
    arguments = ["--csv_path", "theirs.csv", *data_arguments[2:], "--split", split]
    # The second reader marks the same ends, under other names.
    names = [ground_truth.columns[i] for i in (0, 5, 6, 7, 8, 3, 4, 1, 2)]
    ground_truth[::-1].set_axis(names, axis=1).to_csv("second.csv", index=False)
    printed, table = run_tester(number, *arguments, "--second_csv_path", "second.csv")
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
    assert (landmark_values(table, "second_x", "second_y") == annotated).all()
    assert landmark_values(table, "second_error_px256") == pytest.approx(0, abs=1e-4)
    second = landmark_values(table, "pred_second_px256")[..., 0]
    assert (second.mean(axis=1) < errors.mean(axis=1) + 1e-4).all()  # in the best order
    line = f"{second.size} {second.mean():.2f} {np.median(second):.2f} "
    line += f"{(second <= 10).mean():.1%} {(second > 50).mean():.1%}"
    assert f"predicted to second reader {line} predicted to annotated {line}" in words
    wrong, review = second > 20, table["review"].to_numpy()
    found = f"have {wrong[review].sum()} of the {wrong.sum()} landmarks more than 20 px from"
    assert f"Review: {review.sum()} flagged images {found} the second reader" in words
    errors_mm = landmark_values(table, "error_mm")
    assert errors_mm == pytest.approx(landmark_values(table, "error_px") / 4)
    assert f"{(errors_mm <= 5).mean():.1%} of {errors_mm.size} within 5 mm" in words
    assert f"Review: {table['review'].sum()} of {len(table)} images flagged" in words
    normalised = normalised_errors(predicted, annotated)
    for i, name in enumerate(["OFD", "BPD"]):
        ends = predicted[:, 2 * i : 2 * i + 2]
        length = np.linalg.norm(ends[:, 1] - ends[:, 0], axis=-1)
        assert np.allclose(length, table[f"{name.lower()}_pred_px"])
        error = (length - table[f"{name.lower()}_px"]).abs()
        assert f"{name} absolute error, px {error.mean():.2f} ± {error.std(ddof=0):.2f}" in words
        assert np.allclose(length / 4, table[f"{name.lower()}_pred_mm"])
        error /= 4
        assert f"{name} absolute error, mm {error.mean():.2f} ± {error.std(ddof=0):.2f}" in words
        assert f"{(error <= 5).mean():.1%} of {len(error)} within 5 mm" in words
        assert f"{name} normalised mean error {normalised[:, i].mean():.4f} ± " in words


@pytest.mark.parametrize("number", HYPOTHESES)
def test_each_tester_has_its_own_limit(
    number, data_arguments, run_tester, monkeypatch, small_images
):
    """Of predictions that are right, with a confidence just below and just above the limit."""
    limit = HYPOTHESES[number].review_confidence

    def predict(models, data, batch_size):
        found = data.landmarks.cpu()
        confidences = torch.full(found.shape[:2], limit + 0.01)
        confidences[2:4] = limit - 0.01
        return Prediction(found, confidences, torch.full(found.shape[:2], torch.nan))

    monkeypatch.setattr(evaluation, "predict", predict)
    printed, table = run_tester(number, *data_arguments, "--split", "all")
    assert table["review"].tolist() == [False, False, True, True, False, False]
    assert set(table["review_confidence"]) == {limit}
    assert f"confidence below {limit:g} 2 images" in " ".join(printed.split())


def test_an_ensemble_of_two(data_arguments, weights, run_tester, capsys, small_images):
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
    found = [landmark_values(one, "pred_x", "pred_y") * [64 / 800, 64 / 540] for one in alone]
    spreads = np.linalg.norm(found, axis=-1).max(axis=0)
    assert landmark_values(table, "spread_px256")[..., 0] == pytest.approx(spreads)
    with pytest.raises(SystemExit):
        run_tester(3, *data_arguments, "--model_path", *paths, paths[0])
    assert "these weights are given twice" in capsys.readouterr().err


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
    assert (
        "subjects of training (by SubjectID) in 0 of 2 val and 0 of 2 test"
        in capsys.readouterr().out
    )
    _, tested = run_tester(3, *arguments)
    of = dict(zip(table["image_name"], subjects))
    names = (seen["train_set"].names, seen["val_set"].names, tested["image_name"])
    sides = [{of[name] for name in side} for side in names]
    assert [len(side) for side in sides] == [4, 1, 1]
    assert set.union(*sides) == set(subjects)


def test_a_checkpoint_is_not_tested_on_its_training_images(
    samples, weights, run_tester, tmp_path, capsys, small_images
):
    table = pd.read_csv(samples / "ground_truth.csv")
    # Of the rows in another order, the split makes other ones the test rows.
    table[::-1].to_csv("reversed.csv", index=False)
    table.assign(image_name="./" + table["image_name"])[::-1].to_csv("dots.csv", index=False)
    table.assign(SubjectID=list("FEDCBA")).to_csv("subjects.csv", index=False)
    state_dict = torch.load(weights[ResNetUNet], weights_only=True)
    checkpoint = {"model_state_dict": state_dict, "train_images": table["image_name"][2:].tolist()}
    checkpoint["untrained_landmarks"] = ["OFD-2"]
    torch.save(checkpoint, "trained.pth")
    given = ["--image_folder_path", str(samples / "images"), "--model_path", "trained.pth"]
    before = files_in(tmp_path)
    for csv, *further in (
        ["dots.csv"],
        ["reversed.csv", "--split", "val"],
        ["subjects.csv", "--split_by", "subject"],
    ):
        with pytest.raises(SystemExit) as stopped:
            run_tester(3, *given, "--csv_path", csv, *further)
        assert stopped.value.code == 2
        (line,) = lines_of(capsys.readouterr().err)
        assert "trained.pth: was trained on 1 of the 1 images of this split" in line
    assert files_in(tmp_path) == before
    for split, count in (("train", 4), ("all", 6)):
        printed, tested = run_tester(3, *given, "--csv_path", "reversed.csv", "--split", split)
        assert len(tested) == count
    assert "trained.pth: OFD-2 was not trained: what is found for it means nothing\n" in printed


def test_a_checkpoint_of_another_hypothesis_is_refused_but_not_what_another_package_wrote(
    data_arguments, run_tester, weights, capsys, small_images
):
    state_dict = torch.load(weights[UNet], weights_only=True)
    for name, content in {
        "refused": {"args": {"hypothesis": 2}},
        "ours": {
            **{"args": {"hypothesis": 1}, "train_images": [1, 2]},
            "untrained_landmarks": ["OFD-2"],
        },
        "theirs": {"args": ["--lr", "1"], "train_images": 5},
    }.items():
        torch.save({"model_state_dict": state_dict, **content}, f"{name}.pth")
    with pytest.raises(SystemExit) as stopped:
        run_tester(1, *data_arguments, "--model_path", "refused.pth")
    assert stopped.value.code == 2
    assert "refused.pth: is a checkpoint of Hypothesis 2\n" in capsys.readouterr().err
    for name in ("ours", "theirs"):
        printed, table = run_tester(1, *data_arguments, "--model_path", f"{name}.pth")
        assert len(table) == 1
        assert ("ours.pth: OFD-2 was not trained: " in printed) is (name == "ours")


def test_what_was_found_is_printed_whatever_happens_to_the_files(
    data_arguments, run_tester, monkeypatch, capsys, small_images
):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(SystemExit) as stopped:
        run_tester(3, *data_arguments)
    printed = capsys.readouterr()
    assert stopped.value.code == 2
    assert "Mean ± std" in printed.out
    assert "Review: " in printed.out
    assert lines_of(printed.err) == [
        "error: table.csv: could not be written: No space left on device"
    ]


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


def test_a_tester_in_an_odd_environment(data_arguments, weights, tmp_path):
    """A stream that is closed is no error, a reader that leaves ends the tester quietly, and no
    setting of matplotlib's counts: neither a file nor what a notebook hands to a command."""
    command = [sys.executable, str(ROOT / "Tester_Hypothesis3.py"), *data_arguments]
    command += ["--model_path", str(weights[ResNetUNet]), "--device", "cpu"]
    environment = {**os.environ, "MPLBACKEND": "module://no_such_package.backend"}
    processes = {}
    for end, status, printed in ((">&-", 0, ""), ("| head -1", 1, "Device: CPU\n")):
        folder = tmp_path / end.strip("| ")
        folder.mkdir()
        (folder / "matplotlibrc").write_text("text.usetex: True\nfont.size: 40\n")
        shell = ["bash", "-o", "pipefail", "-c", f"{shlex.join(command)} {end}"]
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        # Both at once: most of the time is the start.
        process = subprocess.Popen(shell, cwd=folder, env=environment, **streams)
        processes[folder] = status, printed, process
    for folder, (status, printed, process) in processes.items():
        output, errors = process.communicate()
        assert process.returncode == status, errors
        assert output == printed
        assert lines_of(errors) == []
        assert len(files_in(folder)) == (1 if status else 4)
    picture = tmp_path / ">&-" / "hypothesis_3_predictions_visualization.png"
    assert picture_size(picture) == (1440, 510)
