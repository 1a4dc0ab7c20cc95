import numpy as np
import pytest
import torch

from common import UserError
from common.evaluation import (
    Prediction,
    band_counts,
    errors_of,
    pixel_errors,
    predict,
    prediction_table,
    review_rules,
)
from common.ground_truth import LANDMARKS
from common.images import LandmarkImages
from tests.conftest import ellipse, table_of


def test_pixel_error_is_the_euclidean_distance():
    true = torch.tensor([[[0.0, 0.0], [10.0, 10.0], [5.0, 5.0], [1.0, 2.0]]])
    predicted = torch.tensor([[[3.0, 4.0], [10.0, 10.0], [0.0, 17.0], [2.0, 2.0]]])
    assert pixel_errors(predicted, true).tolist() == [[5, 0, 13, 1]]


def test_bands_are_closed_above():
    errors = np.array([0, 10, 10.01, 20, 20.01, 50, 50.01, 300])
    assert band_counts(errors).tolist() == [2, 2, 2, 2]
    assert band_counts(np.array([1.0])).tolist() == [1, 0, 0, 0]


class Brightest(torch.nn.Module):
    """Its heatmaps are the image, with something instead of the value 51."""

    def __init__(self, instead=0.2):
        super().__init__()
        self.instead = instead

    def forward(self, images):
        assert not self.training  # batch normalisation would look at the batch
        heatmaps = images[:, :1].expand(-1, 4, -1, -1)
        return torch.where(heatmaps == 0.2, self.instead, heatmaps)


@pytest.fixture
def dots():
    """Five images with one dot each, of value 51, 102, … 255."""
    images = torch.zeros(5, 1, 256, 256, dtype=torch.uint8)
    for i in range(5):
        images[i, 0, 10 * i, 7 * i + 1] = 51 * (i + 1)
    return LandmarkImages(list("abcde"), images, torch.zeros(5, 4, 2), np.full((5, 2), 256.0))


def test_predictions_come_in_the_order_of_the_images(dots):
    landmarks, confidences, spreads = predict([Brightest()], dots, batch_size=2)
    assert landmarks[:, 0].tolist() == [[1, 0], [8, 10], [15, 20], [22, 30], [29, 40]]
    assert confidences.shape == (5, 4)
    assert confidences[:, 3].tolist() == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert spreads.isnan().all()  # a single model cannot disagree with itself


class Always(torch.nn.Module):
    """Peaks of known values at known places, whatever the image."""

    def __init__(self, *peaks):
        super().__init__()
        self.peaks = peaks  # x, y, value

    def forward(self, images):
        heatmaps = torch.zeros(len(images), 4, 256, 256)
        for x, y, value in self.peaks:
            heatmaps[..., y, x] = value
        return heatmaps


def test_an_ensemble_averages_heatmaps_and_not_landmarks(dots):
    """Two of three see a low peak at (30, 40), which wins over each one's own."""
    models = [
        Always((30, 40, 0.6), (33, 44, 0.9)),  # 5 px from it
        Always((30, 40, 0.6), (30, 100, 0.9)),  # 60 px
        Always((0, 0, 0.3)),  # 50 px
    ]
    landmarks, confidences, spreads = predict(models, dots, batch_size=2)
    assert (landmarks == torch.tensor([30.0, 40.0])).all()
    assert confidences.flatten().tolist() == pytest.approx([0.4] * 20)  # (0.6 + 0.6 + 0) / 3
    assert spreads.tolist() == [[60.0] * 4] * 5
    assert predict(models[:1], dots, batch_size=2).landmarks[0, 0].tolist() == [33, 44]


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_heatmaps_that_are_not_finite_are_refused(dots, value):
    dots.images[[2, 3]] = dots.images[0].clone()
    with pytest.raises(UserError, match=r"^c: .*not finite.* for 2 of 4 images"):
        predict([Brightest(value), Always()], dots[1:], batch_size=2)


def test_prediction_table(table):
    per_landmark = ["x", "y", "pred_x", "pred_y", "error_px256", "error_px", "confidence"]
    per_landmark += ["spread_px256", "error_mm"]
    assert table.columns.tolist() == [
        *("image_name", "split", "annotation_plausible", "prediction_plausible", "review"),
        *("review_confidence", "model_sha256"),
        *(f"{name}_{what}" for name in LANDMARKS for what in per_landmark),
        *("ofd_px", "ofd_pred_px", "ofd_mm", "ofd_pred_mm"),
        *("bpd_px", "bpd_pred_px", "bpd_mm", "bpd_pred_mm"),
    ]
    first, second = table.to_dict("records")
    for column, expected in {
        "image_name": "0.png",
        "split": "val",
        "annotation_plausible": True,
        "review": True,
        "review_confidence": 0.7,
        "model_sha256": "abc",
        "ofd_1_y": 240,
        "ofd_1_pred_y": 255,
        "ofd_1_error_px": 15,
        "ofd_1_error_px256": 5,  # a third: along the height, of 768 px
        "bpd_1_error_px": 90,
        "bpd_1_error_px256": 45,  # half: along the width, of 512 px
        "bpd_1_confidence": 0.01,
        "bpd_1_spread_px256": 20,
        "bpd_1_error_mm": 18,
        "ofd_px": 120,
        "ofd_pred_px": 90,
        "ofd_mm": 24,
        "bpd_px": 90,
        "bpd_pred_px": 90,
        "bpd_pred_mm": 18,
    }.items():
        expected = expected if isinstance(expected, (str, bool)) else pytest.approx(expected)
        assert first[column] == expected, column
    assert (second["annotation_plausible"], second["prediction_plausible"]) == (False, False)
    assert {name: rows.tolist() for name, rows in review_rules(table).items()} == {
        "implausible prediction": [False, True],
        "spread above 20 px": [False, True],
        "confidence below 0.7": [True, False],
    }
    assert second["review"]
    assert np.isnan(second["ofd_mm"])
    assert errors_of(table) == pytest.approx(np.array([[5, 5, 45, 45], [0, 0, 0, 0]]))


@pytest.mark.parametrize(
    ("value", "flagged"), [(0.5, False), (0.4999999, True), (0.0, True), (float("nan"), True)]
)
def test_what_is_not_known_to_be_good_is_flagged(value, flagged):
    landmarks = torch.tensor(ellipse(), dtype=torch.float32)[None]
    table = prediction_table(
        table_of(range(8)),
        LandmarkImages(["a"], torch.zeros(1), landmarks, np.full((1, 2), 256.0)),
        Prediction(landmarks, torch.tensor([[1, 1, value, 1]]), torch.full((1, 4), torch.nan)),
        split="test",
        model_sha256="abc",
        review_confidence=0.5,
    )
    assert table["review"].tolist() == [flagged]
    assert not [name for name in table if name.endswith("_mm")]  # no rate, no mm
