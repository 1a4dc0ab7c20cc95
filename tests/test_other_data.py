"""Data that are not the report's: landmarks that are not annotated, or lie just outside."""

import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from common.augmentation import augment
from common.evaluation import choose_review_confidence, errors_of, review_rules
from common.ground_truth import LANDMARKS, landmark_values
from common.heatmaps import gaussian_heatmaps
from common.losses import AdaptiveWingLoss, HeatmapLoss
from common.models import ResNetUNet
from common.summary import describe_biometry, describe_errors, describe_review, describe_test
from tests.conftest import HYPOTHESES, script

SOME = torch.tensor([[[20.0, 30.0]] * 4, [[40.0, 10.0]] * 4])


@pytest.mark.parametrize("criterion", [torch.nn.MSELoss(), AdaptiveWingLoss()])
def test_a_landmark_that_is_not_annotated_has_no_gradient_and_the_others_keep_theirs(criterion):
    loss = HeatmapLoss(criterion, sigma=4)
    values = torch.rand(2, 4, 64, 64, generator=torch.Generator().manual_seed(0))

    def gradient(landmarks):
        heatmaps = values.clone().requires_grad_()
        loss(heatmaps, landmarks).backward()
        return heatmaps.grad

    partly = SOME.clone()
    partly[0, 1] = partly[1, 3] = torch.nan
    ours, full = gradient(partly), gradient(SOME)
    known = torch.isfinite(partly).all(dim=-1)
    assert (ours[~known] == 0).all()
    assert torch.equal(ours[known], full[known])
    assert (full[~known] != 0).any()
    target = gaussian_heatmaps(SOME, (64, 64), sigma=4)
    assert torch.equal(loss(values, SOME), criterion(values, target))  # to the bit


def test_the_augmentation_moves_the_others_as_before():
    partly = SOME.clone()
    partly[:, 2] = torch.nan  # BPD-1; after a flip it is BPD-2 that is not known
    pictures = torch.rand(2, 1, 64, 64)
    for seed in range(4):
        same, moved = augment(pictures, SOME, torch.Generator().manual_seed(seed))
        picture, ours = augment(pictures, partly, torch.Generator().manual_seed(seed))
        assert torch.equal(picture, same)
        is_known = torch.isfinite(ours).all(dim=-1)
        assert is_known.sum(dim=1).tolist() == [3, 3]
        assert is_known[:, :2].all()
        assert torch.equal(ours[is_known], moved[is_known])


@pytest.fixture
def data(samples, tmp_path, monkeypatch):
    """The six sample images, and a ground truth with the multi-centre benchmark's columns."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(samples / "images", "images")
    table = pd.read_csv(samples / "ground_truth.csv").astype({f"{i}_x": float for i in LANDMARKS})
    table.insert(0, "SubjectID", [f"S{i}" for i in range(6)])
    return table.assign(Plane="TT", px_to_mm_rate=0.2, Train="")


def train(number, *arguments):
    arguments = [*arguments, *HYPOTHESES[number].arguments, "--epochs", "1"]
    arguments += ["--csv_path", "theirs.csv", "--image_folder_path", "images"]
    script("Trainer", number)([*arguments, "--model_save_path", "model.pth"])


def run_tester(*arguments):
    arguments = ["--image_folder_path", "images", "--pred_save_path", "p.png", *arguments]
    script("Tester", 3)(arguments)
    return pd.read_csv("hypothesis_3_predictions.csv")


def test_a_half_annotated_table_from_end_to_end(data, small_images, capsys):
    """Of six rows, 0 is for validation, 1 for the test, and the others are for training."""
    data.loc[3, ["ofd_1_x", "ofd_1_y"]] = np.nan  # one landmark, of training
    data.loc[4, list(data.filter(like="d_"))] = np.nan  # a whole image of training
    data.loc[1, ["bpd_1_x", "bpd_2_x", "bpd_2_y"]] = [-20, np.nan, np.nan]  # of 800 px, in the test
    data.to_csv("theirs.csv", index=False)
    train(3, "--augment")
    checkpoint = torch.load("model_checkpoint.pth", weights_only=True)
    assert len(checkpoint["train_images"]) == 3
    assert np.isfinite(checkpoint["train_losses"] + checkpoint["val_losses"]).all()
    printed = capsys.readouterr().out
    assert "\nAudit: 3 of 3 annotations plausible, 0 of 0 in test" in printed
    assert "1 images without a landmark stay out of training and validation\n" in printed
    arguments = ["--csv_path", "theirs.csv", "--second_csv_path", "theirs.csv"]
    table = run_tester(*arguments, "--model_path", "model_checkpoint.pth")
    printed = " ".join(capsys.readouterr().out.split())
    assert "annotated to second reader 3 0.00 0.00 100.0% 0.0% predicted to second" in printed
    assert "Plausible annotations annotated to second reader 0 predicted to second" in printed
    assert "1 landmarks lie just outside their image" in printed
    assert "Pixel error of 3 landmarks on 1 images" in printed
    errors = landmark_values(table, "error_px")[0, :, 0]
    assert np.isnan(errors).tolist() == [False, False, False, True]
    off = table.loc[0, ["bpd_1_pred_x", "bpd_1_pred_y"]] - [-20, data.loc[1, "bpd_1_y"]]
    assert errors[2] == pytest.approx(np.hypot(*off))  # to where it is, not the border
    assert table[["annotation_plausible", "bpd_px", "bpd_mm"]].isna().all(axis=None)
    assert table[["ofd_mm", "bpd_pred_mm", "prediction_plausible"]].notna().all(axis=None)
    assert "OFD absolute error, mm" in printed
    assert "BPD absolute error" not in printed
    assert "Errors: hypothesis_3_error_distribution.png" in printed


def test_nothing_left_to_train_or_validate_on_is_said(data, capsys):
    for row, name in ((0, "validation"), ([2, 3, 4, 5], "training")):
        table = data.copy()
        table.loc[row, list(data.filter(like="d_"))] = np.nan
        table.to_csv("theirs.csv", index=False)
        with pytest.raises(SystemExit) as stopped:
            train(1)
        assert stopped.value.code == 2
        message = f"theirs.csv: no image for {name} has an annotated landmark"
        assert message in capsys.readouterr().err


@pytest.mark.parametrize("csv", [None, "theirs.csv"])
def test_a_folder_is_predicted_without_annotations(csv, data, weights, small_images, capsys):
    """Grey and coloured pictures, PNG and JPEG."""
    names = data["image_name"].tolist()
    for name, ending in ((names[1], ".jpg"), (names[3], ".JPEG"), (names[4], ".png")):
        picture = cv2.imread(f"images/{name}")
        picture[..., 2] = 255 - picture[..., 2]
        cv2.imwrite(f"images/{name[:3]}{ending}", picture)
        if ending != ".png":
            Path("images", name).unlink()
    expected = sorted(path.name for path in Path("images").iterdir())
    arguments = ["--model_path", str(weights[ResNetUNet])]
    if csv:
        table = pd.DataFrame({"image_name": expected, "px_to_mm_rate": 0.5})
        table.reindex(columns=[*table, *data.filter(like="d_")]).to_csv(csv, index=False)
        arguments += ["--csv_path", csv]
    found = run_tester(*arguments)
    printed = capsys.readouterr().out
    assert found["image_name"].tolist() == expected
    assert len(expected) == 7
    assert set(found["split"]) == {"all"}
    predicted = landmark_values(found, "pred_x", "pred_y")
    assert np.isfinite(predicted).all()
    assert np.isnan(landmark_values(found, "x", "y", "error_px256", "error_px")).all()
    assert found[["review", "prediction_plausible", "ofd_1_confidence"]].notna().all(axis=None)
    length = np.linalg.norm(predicted[:, 1] - predicted[:, 0], axis=-1)
    assert found["ofd_pred_px"].to_numpy() == pytest.approx(length)
    if csv:
        assert found["ofd_pred_mm"].to_numpy() == pytest.approx(length / 2)
    assert "Loaded 7 images\nResNetUNet" in printed
    assert re.search(r"Review: \d of 7 images flagged", printed)
    assert "Errors:      not drawn, as no landmark is annotated\n" in printed
    assert not Path("hypothesis_3_error_distribution.png").exists()
    assert cv2.imread("p.png").shape[:2] == (6 * 510, 960)  # image and prediction
    assert not re.search("nan|Pixel error", printed)


def test_errors_of_a_half_annotated_table_are_those_of_its_annotated_half(table):
    half = table.copy()
    of_bpd = [name for name in table if re.match(r"bpd_(\d_(x|y|error.*)|px|mm)$", name)]
    half[of_bpd] = np.nan
    half["annotation_plausible"] = pd.array([pd.NA, pd.NA], dtype="boolean")
    ofd = errors_of(table)[:, :2]
    lines = describe_errors(errors_of(half)).splitlines()
    assert lines[0].startswith("Pixel error of 4 landmarks on 2 images")
    assert re.findall(r"[\d.]+", lines[1]) == [f"{ofd.mean():.2f}", f"{ofd.std():.2f}"]
    assert not any("BPD" in line for line in lines)
    ours, whole = (describe_biometry(t).splitlines() for t in (half, table))
    assert [line for line in ours if "Landmark" not in line] == [
        line for line in whole if "BPD" not in line and "Landmark" not in line
    ]
    assert "more than" not in describe_review(half)  # the wrong landmarks were those of BPD
    assert "The 0 of 2 images with a plausible annotation: none" in describe_test(half)


def test_the_limit_of_the_review_flag_by_hand(table):
    """Of five images with one wrong landmark each, 80 % are four: those below 0.4."""
    five = pd.concat([table[:1]] * 5, ignore_index=True).assign(prediction_plausible=True)
    for name in LANDMARKS:
        five[f"{name}_spread_px256"], five[f"{name}_confidence"] = 0.0, 1.0
        five[f"{name}_error_px256"] = 1.0
    five["bpd_1_error_px256"], five["bpd_1_confidence"] = 21.0, [0.1, 0.2, 0.3, 0.36, 0.9]
    assert choose_review_confidence(five) == 0.4
    found = review_rules(five.assign(review_confidence=0.4))["confidence below 0.4"]
    assert found.tolist() == [True] * 4 + [False]
    five.loc[4, "prediction_plausible"] = False  # the whole flag finds it, so three are enough
    assert choose_review_confidence(five) == 0.35
    assert choose_review_confidence(five.assign(bpd_1_error_px256=20.0)) is None


def test_a_tester_names_the_limit_for_validation_images(data, weights, small_images, capsys):
    data.to_csv("theirs.csv", index=False)
    arguments = ["--csv_path", "theirs.csv", "--model_path", str(weights[ResNetUNet])]
    for split in ("val", "test"):
        run_tester(*arguments, "--split", split)
        says = "Lowest --review_confidence that finds 80% of" in capsys.readouterr().out
        assert says is (split == "val")
    table = run_tester(*arguments, "--review_confidence", "0.35")
    assert set(table["review_confidence"]) == {0.35}
