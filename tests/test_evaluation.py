"""From models and images to the arrays of a test, and the rules of the review flag."""

import numpy as np
import pytest
import torch

from common import UserError
from common.biometry import EIGHT_ORDERS, is_plausible, reorder
from common.evaluation import (
    Predictions,
    choose_review_confidence,
    compare_names,
    compare_readers,
    count_excellent,
    needs_review,
    pixel_errors,
    predict,
    review_rules,
)
from common.images import LandmarkImages
from tests.conftest import ellipse, table_of


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
    """Five images with one dot each, of value 51, 102, … 255."""
    images = torch.zeros(5, 1, 256, 256, dtype=torch.uint8)
    for i in range(5):
        images[i, 0, 10 * i, 7 * i + 1] = 51 * (i + 1)
    return LandmarkImages(list("abcde"), images, torch.zeros(5, 4, 2), np.full((5, 2), 256.0))


@pytest.fixture
def rows(dots):
    """The ground truth of the dots: each landmark of each image is at (0, 0)."""
    return table_of(*np.zeros((5, 4, 2)), names=dots.names)


def test_predictions_come_in_the_order_of_the_images(dots, rows):
    found = predict([Brightest()], dots, rows, batch_size=2)
    assert found.names.tolist() == list("abcde")
    assert found.predicted[:, 0].tolist() == [[1, 0], [8, 10], [15, 20], [22, 30], [29, 40]]
    assert found.confidences.shape == (5, 4)
    assert found.confidences[:, 3].tolist() == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert np.isnan(found.spreads).all()  # a single model cannot disagree with itself


def test_predictions_are_in_px_of_the_original_and_errors_in_px_at_256(dots, rows):
    """The third dot, at (15, 20), of an image of 512×768 px; its landmark is at (24, 24)."""
    dots.sizes[:] = [512, 768]
    rows.iloc[:, 1:] = 24.0
    dots.landmarks = torch.tensor([12.0, 8.0]).expand(5, 4, 2)
    found = predict([Brightest()], dots, rows.assign(px_to_mm_rate=0.5), batch_size=8)[2:3]
    assert found.predicted[0].tolist() == [[30, 60]] * 4
    assert found.annotated[0].tolist() == [[24, 24]] * 4
    assert found.errors[0] == pytest.approx([np.hypot(3, 12)] * 4)
    assert found.errors_px()[0] == pytest.approx([np.hypot(6, 36)] * 4)
    assert found.errors_mm()[0] == pytest.approx([np.hypot(6, 36) / 2] * 4)


def test_indexing_predictions_chooses_the_same_images_in_every_array(predictions):
    one = predictions[np.array([False, True])]
    assert len(one) == 1
    assert one.names.tolist() == ["1.png"]
    assert one.annotated.tolist() == one.predicted.tolist() == predictions.annotated[1:].tolist()
    assert one.spreads.tolist() == [[0, 0, 20.5, 0]]
    assert predictions[:1].rate.tolist() == [0.2]


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


def test_an_ensemble_averages_heatmaps_and_not_landmarks(dots, rows):
    """Two of three see a low peak at (30, 40), which wins over each one's own."""
    models = [
        Always((30, 40, 0.6), (33, 44, 0.9)),  # 5 px from it
        Always((30, 40, 0.6), (30, 100, 0.9)),  # 60 px
        Always((0, 0, 0.3)),  # 50 px
    ]
    found = predict(models, dots, rows, batch_size=2)
    assert (found.predicted == [30, 40]).all()
    assert found.confidences == pytest.approx(np.full((5, 4), 0.4))  # (0.6 + 0.6 + 0) / 3
    assert found.spreads.tolist() == [[60.0] * 4] * 5
    assert predict(models[:1], dots, rows, batch_size=2).predicted[0, 0].tolist() == [33, 44]


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_heatmaps_that_are_not_finite_are_refused(dots, rows, value):
    dots.images[[2, 3]] = dots.images[0].clone()
    with pytest.raises(UserError, match=r"^c: .*not finite.* for 2 of 4 images"):
        predict([Brightest(value), Always()], dots[1:], rows[1:], batch_size=2)


def test_landmarks_within_10_px_are_counted_and_those_that_are_nan_are_not():
    """Peaks at (30, 40); the landmarks lie 9.9, 10 and 10.1 px from it, and one is not known."""
    heatmaps = Always((30, 40, 1.0))(torch.zeros(1))
    landmarks = torch.tensor([[[39.9, 40.0], [36.0, 48.0], [30.0, 50.1], [torch.nan] * 2]])
    assert count_excellent(heatmaps, landmarks).item() == 2


def test_the_error_of_a_length_is_predicted_less_annotated(predictions):
    assert predictions.length_errors().tolist() == [[-30, 0], [0, 0]]


def test_each_rule_flags_its_images(predictions):
    assert {name: rows.tolist() for name, rows in review_rules(predictions, 0.7).items()} == {
        "implausible prediction": [False, True],
        "spread above 20 px": [False, True],
        "confidence below 0.7": [True, False],
    }
    assert needs_review(predictions, 0.7).tolist() == [True, True]
    assert needs_review(predictions, 0.01).tolist() == [False, True]


def test_a_single_model_has_no_rule_about_its_spread(predictions):
    predictions.spreads[:] = np.nan
    assert list(review_rules(predictions, 0.5)) == [
        "implausible prediction",
        "confidence below 0.5",
    ]


@pytest.mark.parametrize(
    ("value", "flagged"), [(0.5, False), (0.4999999, True), (0.0, True), (float("nan"), True)]
)
def test_an_image_is_flagged_for_a_confidence_below_the_limit_or_unknown(value, flagged):
    found = heads(1)
    found.confidences[0, 2] = value
    assert needs_review(found, 0.5).tolist() == [flagged]


def heads(count):
    """Predictions of this many heads, all of them right and sure."""
    return Predictions(
        names=np.array([f"{i}.png" for i in range(count)]),
        annotated=np.array([ellipse()] * count),
        predicted=np.array([ellipse()] * count),
        errors=np.ones((count, 4)),
        confidences=np.ones((count, 4)),
        spreads=np.full((count, 4), np.nan),
        rate=np.full(count, np.nan),
    )


def test_the_limit_of_the_review_flag_by_hand():
    """Of five images with one wrong landmark each, 80 % are four: those below 0.4."""
    found = heads(5)
    found.errors[:, 2] = 21
    found.confidences[:, 2] = [0.1, 0.2, 0.3, 0.36, 0.9]
    assert choose_review_confidence(found) == 0.4
    found.predicted[4] = ellipse(angle=20)  # the whole flag finds it, so three others are enough
    assert choose_review_confidence(found) == 0.35


def test_there_is_no_limit_where_nothing_is_more_than_20_px_off():
    found = heads(5)
    found.errors[:, 2] = 20
    assert choose_review_confidence(found) is None


def test_images_without_a_plausible_annotation_do_not_decide_the_limit():
    found = heads(3)
    found.errors[:, 0] = 21
    found.confidences[:, 0] = [0.1, 0.1, 0.9]
    found.annotated[2] = ellipse(angle=20)
    assert is_plausible(found.annotated).tolist() == [True, True, False]
    assert choose_review_confidence(found) == 0.15


def readers(count=40, share=0.25, seed=0):
    """Heads, and the same heads by a second reader, 5 px away, the ends named at random; then both
    with landmarks missing at random."""
    rng = np.random.default_rng(seed)
    annotated = np.array([ellipse(turn=turn) for turn in rng.uniform(0, 180, count)])
    orders = EIGHT_ORDERS[rng.integers(0, 8, count)]
    second = reorder(annotated + np.array([3.0, 4.0]), orders)
    partly_annotated, partly_second = annotated.copy(), second.copy()
    partly_annotated[rng.random((count, 4)) < share] = np.nan
    partly_second[rng.random((count, 4)) < share] = np.nan
    return annotated, second, partly_annotated, partly_second


def test_missing_landmarks_change_no_distance_between_readers():
    """Those that are still known have the distance that they have in the complete files, 5 px."""
    annotated, second, partly_annotated, partly_second = readers()
    whole = compare_readers(annotated, second, annotated)
    partly = compare_readers(partly_annotated, partly_second, annotated)
    for name, distances in partly.distances.items():
        known = np.isfinite(distances)
        assert known.any()
        assert (distances[known] == whole.distances[name][known]).all()


def test_images_that_cannot_be_compared_are_counted():
    annotated, _, partly_annotated, partly_second = readers()
    partly = compare_readers(partly_annotated, partly_second, annotated)
    ours = np.isfinite(partly_annotated).all(axis=-1).sum(axis=1)
    theirs = np.isfinite(partly_second).all(axis=-1).sum(axis=1)
    few = np.array([sorted(pair) not in ([3, 4], [4, 4]) for pair in zip(ours, theirs)])
    expected = few & (ours > 0) & (theirs > 0)
    assert 0 < expected.sum() < 40
    assert partly.left_out["annotated to second reader"].tolist() == expected.tolist()
    distances = partly.distances["annotated to second reader"]
    assert np.isnan(distances[few]).all()
    assert np.isfinite(distances[~few]).any(axis=1).all()
    assert (partly.order[few] == [0, 1, 2, 3]).all()


def test_a_tester_and_an_audit_measure_the_same_distance_between_readers():
    annotated, _, partly_annotated, partly_second = readers()
    audit = compare_readers(partly_annotated, partly_second)
    tester = compare_readers(partly_annotated, partly_second, annotated + 50)
    assert list(audit.distances) == ["annotated to second reader"]
    for kind in ("distances", "left_out"):
        ours, theirs = (
            getattr(part, kind)["annotated to second reader"] for part in (audit, tester)
        )
        assert np.array_equal(ours, theirs, equal_nan=True)
    assert (audit.order == tester.order).all()


def test_ends_that_are_named_by_another_rule_are_found():
    """1 and 2 exchanged: by name each end is a diameter away (100 and 80 px), matched nothing."""
    annotated = np.array([ellipse(100, 80), ellipse(100, 80, turn=70), ellipse()])
    predicted = annotated[:, [1, 0, 3, 2]]
    annotated[2, 1] = np.nan  # an incomplete image is left out
    assert compare_names(annotated, predicted) == pytest.approx((90, 0))
    assert compare_names(annotated, annotated + np.array([3, 4]))[0] == pytest.approx(5)
    assert np.isnan(compare_names(annotated[2:], predicted[2:])).all()
