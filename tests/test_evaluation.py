"""From networks and images to the arrays of a test, and the report's figures of pixel errors."""

import math
import warnings

import numpy as np
import pytest
import torch

from common import UserError
from common.evaluation import (
    band_shares,
    count_excellent,
    error_figures,
    pixel_errors,
    predict,
    report_figures,
)
from tests.conftest import images_of


def test_pixel_error_is_the_euclidean_distance():
    true = torch.tensor([[[0.0, 0.0], [10.0, 10.0], [5.0, 5.0], [1.0, 2.0]]])
    predicted = torch.tensor([[[3.0, 4.0], [10.0, 10.0], [0.0, 17.0], [2.0, 2.0]]])
    assert pixel_errors(predicted, true).tolist() == [[5, 0, 13, 1]]


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
    """Five images with one dot each, of value 51, 102, … 255; all landmarks are at (0, 0)."""
    images = torch.zeros(5, 1, 256, 256, dtype=torch.uint8)
    for i in range(5):
        images[i, 0, 10 * i, 7 * i + 1] = 51 * (i + 1)
    return images_of("abcde", images, torch.zeros(5, 4, 2), np.full((5, 2), 256.0))


def test_predictions_come_in_the_order_of_the_images(dots):
    found = predict([Brightest()], dots, batch_size=2)
    assert found.names.tolist() == list("abcde")
    assert found.predicted[:, 0].tolist() == [[1, 0], [8, 10], [15, 20], [22, 30], [29, 40]]
    assert found.confidences.shape == (5, 4)
    assert found.confidences[:, 3].tolist() == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert np.isnan(found.spreads).all()  # a single model cannot disagree with itself


def test_predictions_are_in_px_at_256_and_of_the_original_and_errors_in_px_at_256(dots):
    """The third dot, at (15, 20), of an image of 512×768 px; its landmark is at (12, 8)."""
    sizes, landmarks = np.full((5, 2), [512.0, 768]), torch.tensor([12.0, 8]).repeat(5, 4, 1)
    landmarks[2, 3] = torch.nan
    dots = images_of(dots.names, dots.images, landmarks, sizes, rate=0.5)
    found = predict([Brightest()], dots, batch_size=8)
    assert found.sizes.tolist() == [[512, 768]] * 5
    assert found.rate.tolist() == [0.5] * 5
    assert found.predicted[2].tolist() == [[15, 20]] * 4
    assert found.predicted_px[2].tolist() == [[30, 60]] * 4
    assert found.annotated[2, :3].tolist() == [[12, 8]] * 3
    assert found.annotated_px[2, :3].tolist() == [[24, 24]] * 3
    assert found.errors[2, :3] == pytest.approx([np.hypot(3, 12)] * 3)
    for values in (found.annotated, found.annotated_px, found.errors):
        assert np.isnan(values[2, 3]).all()
        assert np.isfinite(values[:2]).all()
    for name, values in vars(found).items():
        assert len(values) == 5
        assert values.dtype == np.float64 or name == "names"


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
    found = predict(models, dots, batch_size=2)
    assert (found.predicted == [30, 40]).all()
    assert found.confidences == pytest.approx(np.full((5, 4), 0.4))  # (0.6 + 0.6 + 0) / 3
    assert found.spreads.tolist() == [[60.0] * 4] * 5
    assert predict(models[:1], dots, batch_size=2).predicted[0, 0].tolist() == [33, 44]


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_heatmaps_that_are_not_finite_are_refused(dots, value):
    dots.images[[2, 3]] = dots.images[0].clone()
    with pytest.raises(UserError, match=r"^c: .*not finite.* for 2 of 4 images"):
        predict([Brightest(value), Always()], dots[1:], batch_size=2)


def test_landmarks_within_10_px_are_counted_and_those_that_are_nan_are_not():
    """Peaks at (30, 40); the landmarks lie 9.9, 10 and 10.1 px from it, and one is not known."""
    heatmaps = Always((30, 40, 1.0))(torch.zeros(1))
    landmarks = torch.tensor([[[39.9, 40.0], [36.0, 48.0], [30.0, 50.1], [torch.nan] * 2]])
    assert count_excellent(heatmaps, landmarks).item() == 2


# 1, 3, 5, 7, 11, 13, 15 and 105 in two images; a third is not annotated.
ERRORS = np.array([[1.0, 3, 5, 7], [11, 13, 15, 105], [np.nan] * 4])


def test_the_six_figures_of_eight_errors_are_those_by_hand():
    """The standard deviation is that of the population, and the 95th percentile lies 0.65 of the
    way from 15 to 105."""
    six = {"Mean": 20, "Median": 9, "Min": 1, "Max": 105}
    six |= {"Std": math.sqrt(8424 / 8), "95th percentile": 15 + 0.65 * 90}
    assert error_figures(ERRORS) == pytest.approx(six)
    assert error_figures(np.array([2, np.nan, 2])) == pytest.approx(
        {"Mean": 2, "Std": 0, "Median": 2, "Min": 2, "Max": 2, "95th percentile": 2}
    )


def test_the_bands_are_closed_above():
    errors = np.array([0, 10, 10.01, 20, 20.01, 50, 50.01, 300, 51, 52, np.nan])
    assert band_shares(errors) == pytest.approx(
        {
            "Excellent (≤10 px), %": 20,
            "Good (10-20 px), %": 20,
            "Poor (20-50 px), %": 20,
            "Failure (>50 px), %": 40,
        }
    )
    assert list(band_shares(np.array([1.0])).values()) == [100, 0, 0, 0]


def test_the_report_gives_the_six_figures_each_landmark_and_the_bands_in_this_order():
    figures = report_figures(ERRORS)
    assert list(figures.items()) == [
        ("Mean", 20),
        ("Std", pytest.approx(32.4499615)),
        ("Median", 9),
        ("Min", 1),
        ("Max", 105),
        ("95th percentile", pytest.approx(73.5)),
        *[("OFD-1 mean", 6), ("OFD-1 median", 6), ("OFD-2 mean", 8), ("OFD-2 median", 8)],
        *[("BPD-1 mean", 10), ("BPD-1 median", 10), ("BPD-2 mean", 56), ("BPD-2 median", 56)],
        ("Excellent (≤10 px), %", 50),
        ("Good (10-20 px), %", 37.5),
        ("Poor (20-50 px), %", 0),
        ("Failure (>50 px), %", 12.5),
    ]
    median = report_figures(np.array([[1.0, 0, 0, 0], [2, 0, 0, 0], [9, 0, 0, 0]]))
    assert (median["OFD-1 mean"], median["OFD-1 median"]) == (4, 2)


def test_what_has_no_error_has_figures_that_are_not_known_and_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        none = report_figures(np.full((3, 4), np.nan))
        only_ofd_1 = report_figures(np.array([[4.0, np.nan, np.nan, np.nan]]))
    assert none.keys() == report_figures(ERRORS).keys()
    assert np.isnan(list(none.values())).all()
    assert only_ofd_1["Mean"] == only_ofd_1["OFD-1 mean"] == 4
    assert np.isnan(only_ofd_1["BPD-2 median"])
    assert only_ofd_1["Excellent (≤10 px), %"] == 100
