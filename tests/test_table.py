"""The table of a test: what stands in which column, one row for each image."""

import math

import numpy as np
import pytest

from common.ground_truth import LANDMARKS, landmark_values
from tests.conftest import arc_length, ellipse, predictions_of, table_of_test


def test_the_table_has_these_columns(predictions):
    per_landmark = ["x", "y", "pred_x", "pred_y", "error_px256", "error_px", "confidence"]
    per_landmark += ["spread_px256", "error_mm"]
    assert table_of_test(predictions).columns.tolist() == [
        *("image_name", "split", "annotation_plausible", "prediction_plausible", "review"),
        *("review_confidence", "model_sha256", "px_to_mm_rate"),
        *(f"{name}_{what}" for name in LANDMARKS for what in per_landmark),
        *("ofd_px", "ofd_pred_px", "ofd_mm", "ofd_pred_mm"),
        *("bpd_px", "bpd_pred_px", "bpd_mm", "bpd_pred_mm"),
        *("hc_px", "hc_pred_px", "hc_mm", "hc_pred_mm"),
    ]


def test_the_table_has_a_row_for_each_image_with_all_that_is_known_of_it(predictions):
    first, second = table_of_test(predictions, "val").to_dict("records")
    for column, expected in {
        "image_name": "0.png",
        "split": "val",
        "annotation_plausible": True,
        "prediction_plausible": True,
        "review": True,
        "review_confidence": 0.7,
        "model_sha256": "abc",
        "px_to_mm_rate": 0.2,
        "ofd_1_x": 256,
        "ofd_1_y": 240,
        "ofd_1_pred_y": 255,
        "bpd_2_x": 301,
        "bpd_2_pred_x": 211,
        "ofd_1_error_px": 15,
        "ofd_1_error_px256": 5,
        "bpd_1_error_px": 90,
        "bpd_1_error_px256": 45,
        "bpd_1_confidence": 0.01,
        "bpd_1_spread_px256": 20,
        "bpd_1_error_mm": 18,
        "ofd_px": 120,
        "ofd_pred_px": 90,
        "ofd_mm": 24,
        "ofd_pred_mm": 18,
        "bpd_px": 90,
        "bpd_pred_px": 90,
        "bpd_pred_mm": 18,
    }.items():
        expected = expected if isinstance(expected, (str, bool)) else pytest.approx(expected)
        assert first[column] == expected, column
    assert (second["annotation_plausible"], second["prediction_plausible"]) == (False, False)
    assert second["review"]
    assert np.isnan([second["ofd_mm"], second["hc_pred_mm"], second["ofd_1_error_mm"]]).all()


def test_the_circumference_is_that_of_the_ellipse_with_these_axes(predictions):
    """That of a circle is exact; the annotated ellipse has axes of 120 and 90 px."""
    first = table_of_test(predictions).iloc[0]
    assert first["hc_pred_px"] == pytest.approx(90 * math.pi, rel=1e-15)
    assert first["hc_px"] == pytest.approx(arc_length(120, 90), rel=1e-9)
    assert first["hc_mm"] == pytest.approx(0.2 * arc_length(120, 90), rel=1e-9)
    assert first["hc_pred_mm"] == pytest.approx(18 * math.pi, rel=1e-15)


def test_a_circumference_is_right_whichever_axis_is_longer_and_not_known_without_both():
    heads = np.array([ellipse(300, 200), ellipse(200, 300), ellipse(), ellipse(0, 0)])
    partly = heads.copy()
    partly[2, 3] = np.nan
    table = table_of_test(predictions_of(partly, heads, [[512, 512]] * 4))
    assert table["hc_px"][:2].to_numpy() == pytest.approx(arc_length(300, 200), rel=1e-8)
    assert np.isnan(table["hc_px"][2:]).all()
    assert table["hc_pred_px"][2] == pytest.approx(arc_length(100, 80), rel=1e-8)


def test_without_a_scale_the_table_has_no_mm(predictions):
    predictions.rate[:] = np.nan
    assert not [name for name in table_of_test(predictions) if "mm" in name]


def test_an_annotation_that_is_not_complete_is_neither_plausible_nor_implausible(predictions):
    predictions.annotated_px[0, 3] = np.nan
    table = table_of_test(predictions)
    assert table["annotation_plausible"].isna().tolist() == [True, False]
    assert table["prediction_plausible"].tolist() == [True, False]


@pytest.mark.parametrize("left_out", range(4))
def test_without_a_trusted_landmark_no_prediction_is_plausible_or_implausible(
    left_out, predictions
):
    trusted = np.arange(4) != left_out
    table = table_of_test(predictions, trusted=trusted)
    assert table["prediction_plausible"].isna().all()
    assert table["annotation_plausible"].tolist() == [True, False]
    # What was found is kept all the same.
    assert (landmark_values(table, "pred_x", "pred_y") == predictions.predicted_px).all()


def test_a_landmark_that_is_not_trusted_flags_no_image(predictions):
    """BPD-1 of the first image is unsure, and so is, of the second, the spread of BPD-1."""
    trusted = np.array([True, True, False, True])
    assert table_of_test(predictions)["review"].tolist() == [True, True]
    assert table_of_test(predictions, trusted=trusted)["review"].tolist() == [False, False]
    assert table_of_test(predictions, trusted=trusted, limit=0.85)["review"].tolist() == [
        True,
        False,
    ]
