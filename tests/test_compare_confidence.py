"""The two tools: what compare_confidence measures, and what both say of bad arguments."""

import numpy as np
import pandas as pd
import pytest
import torch

from common.evaluation import Prediction
from common.ground_truth import read_ground_truth, split_ground_truth
from common.heatmaps import gaussian_heatmaps
from common.models import ResNetUNet
from tests import benchmark, compare_confidence
from tests.compare_confidence import auroc, lead, narrowness


def gaussian(x, y, sigma=10.0):
    return gaussian_heatmaps(torch.tensor([[x, y]] * 4), (256, 256), sigma)


def test_narrowness_is_that_of_a_gaussian():
    heatmaps = torch.stack([gaussian(100.0, 120.0, sigma) for sigma in (5.0, 10.0, 20.0)])
    expected = [1, 1, 0.5]  # 10 / sigma, at most 1
    assert narrowness(heatmaps)[:, 0].tolist() == pytest.approx(expected, rel=0.02)
    assert narrowness(0.3 * heatmaps).equal(narrowness(heatmaps))


def test_lead_over_a_second_mode():
    two = gaussian(60.0, 60.0) + 0.4 * gaussian(180.0, 100.0)
    assert lead(two[None])[0].tolist() == pytest.approx([0.6] * 4, abs=1e-4)
    # Within 3 sigma it belongs to the peak: what is left is the foot of the Gaussian.
    one = gaussian(60.0, 60.0)
    assert (lead(one[None]) > 0.985).all()


def test_auroc(monkeypatch):
    monkeypatch.setattr(compare_confidence, "RESAMPLES", 100)
    wrong = np.array([[1, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0]], dtype=bool)
    assert auroc(1.0 - wrong, wrong) == (1, 1, 1)
    assert auroc(wrong.astype(float), wrong) == (0, 0, 0)
    confidences = np.arange(12).reshape(3, 4) / 12
    value, low, high = auroc(confidences, wrong)
    # Wrong are ranks 0, 6 and 9 of 12: of the 27 pairs with a right one, 9 + 4 + 2 are in order.
    assert value == pytest.approx(15 / 27)
    assert low <= value <= high


def test_a_limit_flags_what_is_below_it(samples, weights, monkeypatch, capsys):
    """BPD-1 is 25 px off along its diameter, at a confidence of 0.5; all else is right."""

    def predict(models, data, batch_size):
        found = data.landmarks.clone()
        found[:, 2, 0] -= 25
        confidences = torch.ones(found.shape[:2])
        confidences[:, 2] = 0.5
        return Prediction(found, confidences, torch.full(found.shape[:2], torch.nan))

    monkeypatch.setattr(compare_confidence, "predict", predict)
    monkeypatch.setattr(compare_confidence, "RESAMPLES", 10)
    arguments = ["--csv_path", str(samples / "ground_truth.csv"), "--image_folder_path"]
    arguments += [str(samples / "images"), "--model_path", str(weights[ResNetUNet])]
    compare_confidence.main(arguments)
    printed = " ".join(capsys.readouterr().out.split())
    assert "1 of 4 landmarks on 1 images are wrong" in printed
    assert "below 0.45 0 images ( 0.0%) 0 wrong landmarks (0.0%)" in printed
    assert "below 0.55 1 images (100.0%) 1 wrong landmarks (100.0%)" in printed
    assert "sigma 4 px" in printed


def refusal(main, arguments, capsys):
    """The one line that a tool ends with."""
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_no_plausible_validation_image(samples, weights, tmp_path, capsys):
    table = pd.read_csv(samples / "ground_truth.csv")
    table["ofd_2_x"], table["ofd_2_y"] = table["bpd_1_x"], table["bpd_1_y"]
    table.to_csv(tmp_path / "askew.csv", index=False)
    arguments = ["--csv_path", str(tmp_path / "askew.csv"), "--image_folder_path"]
    arguments += [str(samples / "images"), "--model_path", str(weights[ResNetUNet])]
    line = refusal(compare_confidence.main, arguments, capsys)
    assert line.endswith("askew.csv: no validation image has a plausible annotation")


def test_a_checkpoint_that_was_trained_on_validation_images(
    data_arguments, weights, tmp_path, capsys
):
    val = split_ground_truth(read_ground_truth(data_arguments[1]))["val"]
    state_dict = torch.load(weights[ResNetUNet], weights_only=True)
    checkpoint = {"model_state_dict": state_dict, "train_images": val["image_name"].tolist()}
    torch.save(checkpoint, tmp_path / "checkpoint.pth")
    arguments = [*data_arguments, "--model_path", str(tmp_path / "checkpoint.pth")]
    line = refusal(compare_confidence.main, arguments, capsys)
    assert "was trained on 1 of the 1 images of this split" in line


@pytest.mark.parametrize("half", [slice(0, 2), slice(2, 4)])
def test_the_benchmark_wants_both_paths_or_neither(half, data_arguments, capsys):
    line = refusal(benchmark.main, data_arguments[half], capsys)
    assert line.endswith("--csv_path and --image_folder_path go together")
