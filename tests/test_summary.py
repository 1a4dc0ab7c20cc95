"""Numbers as texts and as a table: what a tester prints, and its CSV."""

import re

import numpy as np
import pytest

from common.evaluation import ReaderComparison
from common.ground_truth import LANDMARKS
from common.summary import (
    describe_annotations,
    describe_biometry,
    describe_errors,
    describe_names,
    describe_readers,
    describe_review,
    describe_review_by_reader,
    describe_splits,
    describe_test,
    prediction_table,
    reader_columns,
)
from tests.conftest import ellipse, table_of


def words(text):
    return " ".join(text.split())


def test_plausible_annotations_and_subjects_shared_with_training_are_counted():
    names = ["001_HC.png", "002_HC.png", "001_2HC.png", "003_HC.png", "002_3HC.png", "004_HC.png"]
    rows = [ellipse(), ellipse(80, 100), ellipse(angle=20), ellipse(), ellipse(short=20)]
    rows.append(ellipse(80, 80, turn=0))  # neither is shorter
    table = table_of(*rows, names=names)
    splits = {"train": table[:2], "val": table[2:4], "test": table[4:]}
    assert describe_splits(splits).splitlines() == [
        "Loaded 6 images",
        "Train: 2 | Val: 2 | Test: 2",
    ]
    assert describe_annotations(splits) == (
        "4 of 6 annotations are plausible, 1 of 2 in test.\n"
        "1 of 2 validation and 1 of 2 test images show a subject of training."
    )
    assert describe_splits({"all": table}) == "Loaded 6 images"
    assert describe_annotations({"all": table}) == "4 of 6 annotations are plausible."


def test_the_printed_figures_of_eight_errors_are_those_by_hand():
    # Two images: 1, 3, 5, 7 and 11, 13, 15, 105. Mean 20, median 9; images 4 and 36 on average.
    errors = [[1.0, 3, 5, 7], [11, 13, 15, 105], [np.nan] * 4]  # the third is not annotated
    text = words(describe_errors(np.array(errors)))
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
        assert expected in text


def repeated(predictions, *indices):
    return predictions[np.array(indices)]


def test_the_printed_errors_of_known_diameters_are_those_by_hand(predictions):
    """OFD errs by −30, 0 and 0 px: a bias of −10, a sample standard deviation of √300."""
    three = repeated(predictions, 0, 1, 1)  # of which the first has a scale, 0.2 mm per px
    spread = 1.96 * 300**0.5
    text = words(describe_biometry(three))
    for expected in (
        "OFD absolute error, px 10.00 ± 14.14 0.00",
        "BPD absolute error, px 0.00 ± 0.00 0.00",
        "OFD absolute error, mm 6.00 ± 0.00 6.00 0.0% of 1 within 5 mm",
        "BPD absolute error, mm 0.00 ± 0.00 0.00 100.0% of 1 within 5 mm",
        # 15, 15, 90 and 90 px: 3, 3, 18 and 18 mm
        "Landmark error, mm 10.50 ± 7.50 10.50 50.0% of 4 within 5 mm",
        "OFD normalised mean error 0.0417 ± 0.0589 0.0000",  # 15 / 120, 0 and 0
        "BPD normalised mean error 0.0000 ± 0.0000 0.0000",  # exchanged ends are no error
        "Agreement (predicted less annotated) bias (95 % limits) "
        f"OFD bias, px -10.00 ({-10 - spread:.2f} to {-10 + spread:.2f})",
        "BPD bias, px 0.00 (0.00 to 0.00)",
    ):
        assert expected in text


def test_one_length_has_no_limits_of_agreement(predictions):
    assert "bias, mm" not in describe_biometry(predictions)  # one of the two has a scale
    assert "bias, px" in describe_biometry(predictions)
    assert "Agreement" not in describe_biometry(predictions[:1])


def test_exactly_5_mm_are_within_5_mm(predictions):
    predictions.rate[:] = 1 / 6  # OFD errs by 30 px
    text = words(describe_biometry(predictions))
    assert "OFD absolute error, mm 2.50 ± 2.50 2.50 100.0% of 2 within 5 mm" in text


def test_without_a_scale_there_are_no_mm(predictions):
    assert " mm" not in describe_biometry(predictions[1:])


def test_a_diameter_that_is_not_annotated_has_no_line(predictions):
    predictions.annotated[:, 2:] = np.nan
    text = describe_biometry(predictions)
    assert "OFD" in text
    assert "BPD" not in text
    predictions.annotated[:] = np.nan
    assert describe_biometry(predictions) == "Biometry: no diameter is annotated"


def test_the_review_counts_the_images_and_wrong_landmarks_of_each_rule(predictions):
    """The first image is a plausible head with two landmarks 45 px off."""
    lines = describe_review(predictions, "val", review_confidence=0.7).splitlines()
    assert [" ".join(line.split()) for line in lines] == [
        "Review: 2 of 2 images flagged",
        "implausible prediction 1 images, with 0 of the 2 landmarks more than 20 px off",
        "spread above 20 px 1 images, with 0 of the 2 landmarks more than 20 px off",
        "confidence below 0.7 1 images, with 2 of the 2 landmarks more than 20 px off",
        "together 2 images, with 2 of the 2 landmarks more than 20 px off",
        "Least confident first: 0.png, 1.png",
        "Lowest --review_confidence that finds 80% of the 2 landmarks so far off on",
        "the 1 images with a plausible annotation: 0.05",
    ]


def test_no_limit_of_the_confidence_is_proposed_for_test_images(predictions):
    assert "Lowest" not in describe_review(predictions, "test", review_confidence=0.7)


def test_landmarks_exactly_20_px_off_are_not_counted_as_wrong(predictions):
    predictions.errors[:] = 20
    assert "off" not in describe_review(predictions, "val", review_confidence=0.7)


def test_no_image_is_named_where_none_is_flagged(predictions):
    text = describe_review(predictions[:1], "test", review_confidence=0)
    assert text.startswith("Review: 0 of 1 images flagged")
    assert "first" not in text


def test_images_to_review_are_listed_least_confident_first_and_at_most_twenty(predictions):
    """29 of 30 are flagged; those that are equally unsure stay in the order of the file."""
    many = repeated(predictions, *[0] * 30)
    many.names = np.array([f"{i}.png" for i in range(30)])
    many.confidences[:] = 0.3
    many.confidences[0] = 1
    many.confidences[7, 1] = 0.2
    many.confidences[29, 2] = 0.1
    text = words(describe_review(many, "test", 0.7))
    assert "first: 29.png, 7.png, 1.png, 2.png, " in text
    assert "18.png, 19.png, … and 9 more" in text
    twenty = describe_review(many[:21], "test", 0.7)
    assert words(twenty).count("19.png, 20.png") == 1  # 20 are not too many
    assert "…" not in twenty


def test_a_summary_has_all_images_then_those_not_flagged_then_the_plausible(predictions):
    predictions.confidences[:] = 1
    predictions.confidences[0] = 0  # flagged, and plausible
    predictions.spreads[:] = np.nan
    predictions.annotated[0] = predictions.annotated[0] - [0, 1]
    predictions.predicted[1] = ellipse(70, 100, angle=89)
    predictions.annotated[1] = ellipse(70, 100, angle=60)
    text = describe_test(predictions, "test", review_confidence=0.5)
    first, second = text.split("The 1 of 2 images not flagged for review\n")
    second, third = second.split("The 1 of 2 images with a plausible annotation\n")
    assert "8 landmarks on 2 images" in first
    assert "Review: 1 of 2" in first
    assert "4 landmarks on 1 images" in second
    assert "OFD absolute error, px 0.00 ± 0.00 0.00" in words(second)
    assert "OFD absolute error, px 30.00 ± 0.00 30.00" in words(third)


def test_the_interval_of_the_mean_stands_beside_it_in_the_first_block_only(predictions):
    """Of 1 and 3 px in ten images each: by the binomial, the mean lies in 2 ± 0.44."""
    twenty = repeated(predictions, *[0] * 20)
    twenty.errors[:10], twenty.errors[10:] = 1, 3
    twenty.names = np.array([f"{i:02d}.png" for i in range(20)])
    twenty.annotated[0, 0] = np.nan  # so that not all are plausible
    text = describe_test(twenty, "test", review_confidence=0)
    lines = [line for line in text.splitlines() if "Mean ± std" in line]
    assert len(lines) > 1
    found = re.search(r"2\.00 ± 1\.00 \(95 % interval of the mean: (\S+) to (\S+)\)$", lines[0])
    low, high = map(float, found.groups())
    assert (low, high) == pytest.approx((1.6, 2.4), abs=0.1001)
    assert not any("interval" in line for line in lines[1:])


@pytest.mark.parametrize(("count", "has_interval"), [(9, False), (10, True)])
def test_the_mean_of_ten_images_has_an_interval_and_that_of_nine_has_none(
    count, has_interval, predictions
):
    some = repeated(predictions, *[0] * count)
    some.names = np.array([f"{i}.png" for i in range(count)])
    some.errors[:] = np.arange(count)[:, None]
    assert ("interval of the mean" in describe_test(some, "test", 0.7)) is has_interval


def test_a_group_with_all_images_or_none_is_not_repeated(predictions):
    assert describe_test(predictions[:1], "test", 0).endswith(
        "The 1 of 1 images not flagged for review: all of them\n\n"
        "The 1 of 1 images with a plausible annotation: all of them"
    )
    assert describe_test(predictions[1:], "test", 0).endswith(
        "The 0 of 1 images not flagged for review: none\n\n"
        "The 0 of 1 images with a plausible annotation: none"
    )


def test_errors_of_half_annotated_images_are_those_of_what_is_annotated(predictions):
    predictions.errors[:, 2:] = np.nan  # 5, 5, 0 and 0 px are left
    lines = describe_errors(predictions.errors).splitlines()
    assert lines[0].startswith("Pixel error of 4 landmarks on 2 images")
    assert re.findall(r"[\d.]+", lines[1]) == ["2.50", "2.50"]
    assert not any("BPD" in line for line in lines)
    # the wrong landmarks were those of BPD
    assert "more than" not in describe_review(predictions, "test", 0.7)


def comparison_of(distances, left_out=()):
    """A comparison of annotations with a second reader at these distances, [N, 4]."""
    name = "annotated to second reader"
    is_left_out = np.isin(np.arange(len(distances)), left_out)
    return ReaderComparison(np.zeros((len(distances), 4)), {name: distances}, {name: is_left_out})


def test_10_px_are_within_10_px_and_20_and_50_px_not_above_them():
    """Exactly 10 px are within, and exactly 20 and 50 px are neither to be found nor above."""
    errors = np.array([[10.0, 20, 50, np.nan], [60, 20, 0, np.nan]])
    text = words(describe_readers(comparison_of(errors), {"All": np.array([True, True])}))
    assert "All annotated to second reader 6 26.67 20.00 33.3% 16.7%" in text
    assert "left out" not in text
    text = words(describe_review_by_reader(errors, np.array([True, False])))
    assert "1 flagged images have 1 of the 2 landmarks more than 20 px" in text
    assert text.endswith("mean error of the other images 26.67 px")


def test_images_left_out_of_a_comparison_of_readers_are_counted():
    comparison = comparison_of(np.ones((5, 4)), left_out=[1, 3])
    text = describe_readers(comparison, {"All": np.ones(5, bool)})
    assert "Images left out of annotated to second reader: 2 (one must know all four" in text


@pytest.mark.parametrize(("far", "asked"), [(9, True), (8, False)])
def test_distances_of_which_nine_in_ten_are_above_50_px_are_questioned(far, asked):
    distances = np.full((10, 4), 50.1)
    distances[far:] = 50
    text = describe_readers(comparison_of(distances), {"All": np.ones(10, bool)})
    assert ("px of the same original images?" in text) is asked


@pytest.mark.parametrize(("matched", "said"), [(49.99, True), (50.0, False), (np.nan, False)])
def test_names_are_questioned_where_matched_ends_more_than_halve_the_mean_error(matched, said):
    text = describe_names(100.0, matched)
    assert bool(text) is said
    if said:
        assert "is 100.00 px by name and 49.99 px" in text
        assert "DATA, YOUR OWN IMAGES, PYTHON" in text


def test_the_table_has_these_columns_and_one_row_for_each_image(predictions):
    table = prediction_table(predictions, "val", "abc", review_confidence=0.7)
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
        "ofd_1_error_px256": 5,
        "bpd_1_error_px": 90,
        "bpd_1_error_px256": 45,
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
    assert second["review"]
    assert np.isnan(second["ofd_mm"])


def test_without_a_scale_the_table_has_no_mm(predictions):
    table = prediction_table(predictions[1:], "test", "abc", review_confidence=0.7)
    assert not [name for name in table if name.endswith("_mm")]


def test_an_annotation_that_is_not_complete_is_neither_plausible_nor_implausible(predictions):
    predictions.annotated[0, 3] = np.nan
    table = prediction_table(predictions, "test", "abc", review_confidence=0.7)
    assert table["annotation_plausible"].isna().tolist() == [True, False]


def test_a_second_reader_adds_its_coordinates_and_two_distances_to_the_table():
    second = np.arange(8.0).reshape(1, 4, 2)
    distances = {
        "annotated to second reader": np.array([[1.0, 2, 3, 4]]),
        "predicted to second reader": np.array([[5.0, 6, 7, 8]]),
    }
    (row,) = reader_columns(second, distances).to_dict("records")
    assert [row[f"bpd_1_{name}"] for name in ("second_x", "second_y")] == [4, 5]
    assert (row["bpd_1_second_error_px256"], row["bpd_1_pred_second_px256"]) == (3, 7)
