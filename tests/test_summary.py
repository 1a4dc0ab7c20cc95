import numpy as np
import pandas as pd

from common.ground_truth import LANDMARKS
from common.summary import (
    describe_annotations,
    describe_biometry,
    describe_errors,
    describe_readers,
    describe_review,
    describe_splits,
    describe_test,
)
from tests.conftest import ellipse, table_of


def words(text):
    return " ".join(text.split())


def test_splits_and_annotations_are_described_in_a_line_each():
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
        "Audit: 4 of 6 annotations plausible, 1 of 2 in test; OFD shorter than BPD in 1; "
        "subjects of training (by image_name) in 1 of 2 val and 1 of 2 test images"
    )
    assert describe_splits({"all": table}) == "Loaded 6 images"
    assert describe_annotations({"all": table}) == (
        "Audit: 4 of 6 annotations plausible; OFD shorter than BPD in 1"
    )


def test_summary_of_known_errors():
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


def test_biometry_of_known_diameters(table):
    """OFD errs by −30, 0 and 0 px: a bias of −10, a sample standard deviation of √300."""
    three = pd.concat([table, table[1:]])  # of which the first has a scale, 0.2 mm per px
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
        f"OFD bias, px -10.00 ({-10 - spread:.2f} to {-10 + spread:.2f})",
        "BPD bias, px 0.00 (0.00 to 0.00)",
    ):
        assert expected in text
    assert "bias, mm" not in text  # one image with a scale has no standard deviation
    exact = words(describe_biometry(table.assign(ofd_mm=20.0, ofd_pred_mm=25.0)))
    assert "OFD absolute error, mm 5.00 ± 0.00 5.00 100.0% of 2 within 5 mm" in exact
    assert " mm" not in describe_biometry(table[1:])
    assert " mm" not in describe_biometry(three.loc[:, ~three.columns.str.endswith("_mm")])


def test_review_of_known_errors(table):
    table["annotation_plausible"] = pd.array([True, pd.NA])  # as where a landmark is missing
    lines = describe_review(table).splitlines()
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
    table[[f"{name}_error_px256" for name in LANDMARKS]] = 20.0
    assert "off" not in describe_review(table)  # 20 px is not more than 20 px
    table[[f"{name}_spread_px256" for name in LANDMARKS]] = np.nan
    assert "spread" not in describe_review(table)  # a single model has none
    table["review"] = False
    assert "first" not in describe_review(table)


def test_the_images_to_review_come_in_the_order_of_need(table):
    many = pd.concat([table[:1]] * 30, ignore_index=True)
    many["image_name"] = [f"{i}.png" for i in range(30)]
    many["ofd_2_confidence"] = [0.2 if i == 7 else 0.3 for i in range(30)]
    many["bpd_1_confidence"] = [0.1 if i == 29 else 0.3 for i in range(30)]
    many["review"] = many.index > 0
    text = words(describe_review(many))
    assert "first: 29.png, 7.png, 1.png, 2.png, " in text
    assert "18.png, 19.png, … and 9 more" in text
    assert words(describe_review(many[:21])).count("19.png, 20.png") == 1  # 20 are not too many
    assert "…" not in describe_review(many[:21])


def test_report_has_all_rows_then_those_not_flagged_then_the_plausible(table):
    table["review"] = [True, False]
    first, second = describe_test(table).split("The 1 of 2 images not flagged for review\n")
    second, third = second.split("The 1 of 2 images with a plausible annotation\n")
    assert "8 landmarks on 2 images" in first
    assert "Review: 1 of 2" in first
    assert "4 landmarks on 1 images" in second
    assert "OFD absolute error, px 0.00 ± 0.00 0.00" in words(second)
    assert "OFD absolute error, px 30.00 ± 0.00 30.00" in words(third)
    assert describe_test(table[:1]).endswith(
        "The 1 of 1 images with a plausible annotation: all of them"
    )
    assert describe_test(table[1:]).endswith("The 0 of 1 images with a plausible annotation: none")


def test_two_readers_at_the_limits():
    """Exactly 10 px are within, and exactly 20 and 50 px are neither to be found nor above."""
    errors = np.array([[10.0, 20, 50, np.nan], [60, 20, 0, np.nan]])
    distances = {"predicted to second reader": errors}
    text = words(
        describe_readers(distances, {"All": np.array([True, True])}, np.array([True, False]))
    )
    assert "predicted to second reader 6 26.67 20.00 33.3% 16.7%" in text
    assert "1 flagged images have 1 of the 2 landmarks more than 20 px" in text
    assert text.endswith("mean error of the other images 26.67 px")
