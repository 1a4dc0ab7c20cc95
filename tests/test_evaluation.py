import numpy as np
import pandas as pd
import pytest
import torch

from common.dataset import COLUMNS, LandmarkImages
from common.evaluation import (
    LANDMARKS,
    band_counts,
    biometry_summary,
    error_summary,
    pixel_errors,
    predict,
    prediction_table,
    report,
    review_summary,
)
from common.files import write_table


def test_pixel_error_is_the_euclidean_distance():
    true = torch.tensor([[[0.0, 0.0], [10.0, 10.0], [5.0, 5.0], [1.0, 2.0]]])
    predicted = torch.tensor([[[3.0, 4.0], [10.0, 10.0], [0.0, 17.0], [2.0, 2.0]]])
    assert pixel_errors(predicted, true).tolist() == [[5, 0, 13, 1]]


def test_bands_are_closed_above():
    errors = np.array([0, 10, 10.01, 20, 20.01, 50, 50.01, 300])
    assert band_counts(errors).tolist() == [2, 2, 2, 2]
    assert band_counts(np.array([[1.0]])).tolist() == [1, 0, 0, 0]


def test_summary_of_known_errors():
    # Two images: 1, 3, 5, 7 and 11, 13, 15, 105. Mean 20, median 9; images 4 and 36 on average.
    text = error_summary(np.array([[1.0, 3, 5, 7], [11, 13, 15, 105]]))
    words = " ".join(text.split())
    # population standard deviation, 95th percentile by linear interpolation, by hand
    for expected in (
        "8 landmarks on 2 images",
        "Mean ± std 20.00 ± 32.45",
        "Median 9.00",
        "Min 1.00",
        "Max 105.00",
        "95th percentile 73.50",
        "OFD-1 6.00 6.00",
        "BPD-2 56.00 56.00",
        "Excellent (≤10 px) 4 ( 50.0%) 1 ( 50.0%)",
        "Good (10-20 px) 3 ( 37.5%) 0 ( 0.0%)",
        "Poor (20-50 px) 0 ( 0.0%) 1 ( 50.0%)",
        "Failure (>50 px) 1 ( 12.5%) 0 ( 0.0%)",
    ):
        assert expected in words, text


def test_predictions_come_in_the_order_of_the_images():
    class Brightest(torch.nn.Module):
        def forward(self, images):
            return images[:, :1].expand(-1, 4, -1, -1)

    images = torch.zeros(5, 1, 256, 256, dtype=torch.uint8)
    for i in range(5):
        images[i, 0, 10 * i, 7 * i + 1] = 51 * (i + 1)
    data = LandmarkImages(list("abcde"), images, torch.zeros(5, 4, 2), np.full((5, 2), 256.0))
    predicted, confidences = predict(Brightest(), data, batch_size=2)
    assert predicted[:, 0].tolist() == [[1, 0], [8, 10], [15, 20], [22, 30], [29, 40]]
    assert confidences.shape == (5, 4)
    assert confidences[:, 3].tolist() == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


@pytest.fixture
def table():
    """Two images of 512×768 px (half and a third of that are 256). In the first, OFD is 120 px
    long and found 30 px shorter, BPD 90 px long and found with its ends exchanged. In the second,
    which is no pair of axes, nothing is off."""
    true = [
        [[256, 240], [256, 360], [211, 300], [301, 300]],
        [[100, 300], [100, 420], [100, 450], [100, 600]],
    ]
    found = np.array(
        [[[256, 255], [256, 345], [301, 300], [211, 300]], true[1]],
    )
    ground_truth = pd.DataFrame(
        [[f"{i}.png", *np.ravel(points)] for i, points in enumerate(true)], columns=list(COLUMNS)
    )
    ground_truth["px_to_mm_rate"] = [0.2, np.nan]
    sizes = np.array([[512.0, 768.0]] * 2)
    to_256 = torch.tensor(256 / sizes[:, None, :])
    data = LandmarkImages(
        ["0.png", "1.png"],
        torch.zeros(2, 1, 256, 256, dtype=torch.uint8),
        (torch.tensor(true) * to_256).float(),
        sizes,
    )
    confidences = torch.tensor([[0.9, 0.8, 0.01, 1.0], [1.0, 1.0, 1.0, 1.0]])
    predicted = (torch.tensor(found) * to_256).float()
    return prediction_table(
        ground_truth, data, predicted, confidences, split="val", model_sha256="abc"
    )


def test_prediction_table(table):
    per_landmark = ["x", "y", "pred_x", "pred_y", "error_px256", "error_px", "confidence"]
    assert table.columns.tolist() == [
        *("image_name", "split", "annotation_plausible", "review", "model_sha256"),
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
        "model_sha256": "abc",
        "ofd_1_x": 256,
        "ofd_1_y": 240,
        "ofd_1_pred_x": 256,
        "ofd_1_pred_y": 255,
        "ofd_1_error_px": 15,
        "ofd_1_error_px256": 5,  # a third: along the height, of 768 px
        "bpd_1_error_px": 90,
        "bpd_1_error_px256": 45,  # half: along the width, of 512 px
        "bpd_1_confidence": 0.01,
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
    assert (second["annotation_plausible"], second["review"]) == (False, False)
    assert np.isnan(second["ofd_mm"])


def test_a_table_comes_back_from_its_file(table, tmp_path):
    path = str(tmp_path / "table.csv")
    write_table(table, path)
    pd.testing.assert_frame_equal(pd.read_csv(path), table, rtol=1e-15)


def test_table_without_a_rate_has_no_mm(table):
    table = table.drop(columns=[name for name in table if name.endswith("_mm")])
    assert " mm" not in biometry_summary(table)


def test_biometry_of_known_diameters(table):
    words = " ".join(biometry_summary(table).split())
    for expected in (
        "OFD absolute error, px 15.00 ± 15.00 15.00",  # 30 and 0
        "BPD absolute error, px 0.00 ± 0.00 0.00",
        "OFD absolute error, mm 6.00 ± 0.00 6.00 0.0% of 1 within 5 mm",
        "BPD absolute error, mm 0.00 ± 0.00 0.00 100.0% of 1 within 5 mm",
        "OFD normalised mean error 0.0625 ± 0.0625 0.0625",  # 15 / 120 and 0
        "BPD normalised mean error 0.0000 ± 0.0000 0.0000",  # exchanged ends are no error
    ):
        assert expected in words, words


def test_review_of_known_errors(table):
    lines = review_summary(table).splitlines()
    assert lines[0].startswith("Review: 1 of 2 images flagged")
    assert lines[1:] == [
        "  They hold 2 of the 2 landmarks more than 20 px off",
        "  Least confident first: 0.png",
    ]
    table["review"] = False
    assert "They hold 0 of the 2 landmarks" in review_summary(table)
    table[[f"{name}_error_px256" for name in LANDMARKS]] = 20.0
    assert len(review_summary(table).splitlines()) == 1  # 20 px is not more than 20 px


def test_the_images_to_review_come_in_the_order_of_need(table):
    many = pd.concat([table[:1]] * 30, ignore_index=True)
    many["image_name"] = [f"{i}.png" for i in range(30)]
    many["ofd_2_confidence"] = [0.2 if i == 7 else 0.3 for i in range(30)]
    many["bpd_1_confidence"] = [0.1 if i == 29 else 0.3 for i in range(30)]
    words = " ".join(review_summary(many).split())
    assert "first: 29.png, 7.png, 0.png, 1.png, " in words
    assert "17.png, 18.png, … and 10 more" in words


def test_report_has_all_rows_first_and_then_the_plausible(table):
    first, second = report(table).split("The 1 of 2 images with a plausible annotation")
    assert "8 landmarks on 2 images" in first
    assert "Review: 1 of 2" in first
    assert "4 landmarks on 1 images" in second
    assert "OFD absolute error, px 30.00 ± 0.00 30.00" in " ".join(second.split())
    assert report(table[:1]).endswith("All these annotations are plausible.")
    assert report(table[1:]).endswith("None of these annotations is plausible.")
