"""The figures of a test as they are printed: a row for each figure, a column for each group."""

import re

import numpy as np
import pytest

from common.results.text import LEGEND, describe_test
from tests.conftest import arc_length, ellipse, predictions_of, some_of, table_of_test


def cells_of(text):
    """The cells of a printed table by their label; the titles of the columns under "columns"."""
    first, *lines = text.partition("\nErrors of landmarks")[0].splitlines()
    cells = {"columns": re.split(r"\s{2,}", first.strip())}
    for line in lines:
        label, *of_groups = re.split(r"\s{2,}", line.strip())
        cells[label] = of_groups
    return cells


@pytest.fixture
def three(predictions):
    """Three images, of which the first has a scale, 0.2 mm per px; nothing is off in the others."""
    return some_of(predictions, 0, 1, 1)


def in_three_groups():
    """Four images: right; one landmark 4 px off, and flagged; all 8 px off, with an implausible
    annotation and without a scale; and one that is not annotated at all."""
    near = ellipse()
    near[0] += [4, 0]
    found = predictions_of(
        [ellipse(), ellipse(), ellipse(angle=20), np.full((4, 2), np.nan)],
        [ellipse(), near, ellipse(), ellipse()],
        [[256, 256]] * 4,
        rate=np.array([0.5, 0.5, np.nan, 0.5]),
    )
    found.errors[2] = 8
    found.confidences[1] = 0
    return found


def test_the_printed_figures_of_eight_errors_are_those_by_hand(predictions):
    # Two images: 1, 3, 5, 7 and 11, 13, 15, 105. Mean 20, median 9; images 4 and 36 on average.
    predictions.errors[:] = [[1, 3, 5, 7], [11, 13, 15, 105]]
    cells = cells_of(describe_test(table_of_test(predictions, limit=0)))
    for label, expected in {
        "Images": "2",
        "Landmarks": "8",
        # population standard deviation, 95th percentile by linear interpolation, by hand
        "Pixel error, mean ± std": "20.00 ± 32.45",
        "Median": "9.00",
        "Min": "1.00",
        "Max": "105.00",
        "95th percentile": "73.50",
        "OFD-1 mean, median": "6.00, 6.00",
        "BPD-2 mean, median": "56.00, 56.00",
        "Excellent (≤10 px)": "50.0 %, 50.0 %",
        "Good (10-20 px)": "37.5 %, 0.0 %",
        "Poor (20-50 px)": "0.0 %, 50.0 %",
        "Failure (>50 px)": "12.5 %, 0.0 %",
    }.items():
        assert cells[label][0] == expected, label


def test_the_printed_errors_of_known_diameters_are_those_by_hand(three):
    """OFD errs by −30, 0 and 0 px: a bias of −10, a sample standard deviation of √300."""
    spread = 1.96 * 300**0.5
    circle = np.pi * 90 - arc_length(120, 90)  # what is found less what is annotated
    cells = cells_of(describe_test(table_of_test(three, limit=0)))
    for label, expected in {
        "OFD error, px": "10.00 ± 14.14, 0.00",
        "BPD error, px": "0.00 ± 0.00, 0.00",
        "HC error, px": f"{-circle / 3:.2f} ± {-circle * 2**0.5 / 3:.2f}, 0.00",
        "OFD error, mm": "6.00 ± 0.00, 6.00",
        "HC error, mm": f"{-circle / 5:.2f} ± 0.00, {-circle / 5:.2f}",
        "OFD within 5 mm": "0.0 % of 1",
        "BPD within 5 mm": "100.0 % of 1",
        # 15, 15, 90 and 90 px: 3, 3, 18 and 18 mm
        "Landmarks error, mm": "10.50 ± 7.50, 10.50",
        "Landmarks within 5 mm": "50.0 % of 4",
        "OFD bias, px": f"-10.00 ({-10 - spread:.2f} to {-10 + spread:.2f})",
        "BPD bias, px": "0.00 (0.00 to 0.00)",
    }.items():
        assert cells[label][0] == expected, label


def test_each_group_of_images_has_a_column_of_its_own_figures():
    cells = cells_of(describe_test(table_of_test(in_three_groups())))
    assert cells["columns"] == ["all images", "not flagged for review", "plausible annotation"]
    for label, expected in {
        "Images": ["3", "2", "2"],
        "Landmarks": ["12", "8", "8"],
        "Max": ["8.00", "8.00", "4.00"],
        "OFD-1 mean, median": ["4.00, 4.00", "4.00, 4.00", "2.00, 2.00"],
        "OFD within 5 mm": ["100.0 % of 2", "100.0 % of 1", "100.0 % of 2"],
    }.items():
        assert cells[label] == expected, label


def test_what_is_not_known_of_one_group_only_has_a_dash_there():
    """Of one diameter in mm there are no limits of agreement."""
    cells = cells_of(describe_test(table_of_test(in_three_groups())))
    of_all, of_passed, of_plausible = cells["OFD bias, mm"]
    assert of_passed == "-"
    assert "-" not in (of_all, of_plausible)


@pytest.mark.parametrize(("flagged", "said"), [(False, "all of them"), (True, "none")])
def test_a_group_with_all_images_or_none_is_named_below_the_table(flagged, said):
    found = some_of(in_three_groups(), 0, 0)
    found.confidences[:] = 1 - flagged
    text = describe_test(table_of_test(found))
    assert cells_of(text)["columns"] == ["all images"]
    assert text.endswith(f"\nNot flagged for review: {said}\nPlausible annotation: all of them")
    found.annotated_px[:] = ellipse(angle=20)
    assert describe_test(table_of_test(found)).endswith("\nPlausible annotation: none")


def test_a_group_repeats_no_other_because_images_are_not_annotated():
    """Half of the images are not annotated, all others plausible, and all not flagged."""
    text = describe_test(table_of_test(some_of(in_three_groups(), 0, 3, 0, 3)))
    assert cells_of(text)["columns"] == ["all images"]
    assert text.endswith("Not flagged for review: all of them\nPlausible annotation: all of them")
    # What is flagged, and not annotated, does not make a group of its own either.
    found = some_of(in_three_groups(), 0, 3)
    found.confidences[1] = 0
    assert cells_of(describe_test(table_of_test(found)))["columns"] == ["all images"]


def test_a_group_without_annotated_images_is_none():
    """Only the image that is not annotated is not flagged."""
    text = describe_test(table_of_test(some_of(in_three_groups(), 1, 3)))
    assert cells_of(text)["columns"] == ["all images"]
    assert "\nNot flagged for review: none\n" in text


def test_one_length_has_no_limits_of_agreement(predictions):
    cells = cells_of(describe_test(table_of_test(predictions, limit=0)))
    assert "OFD bias, px" in cells
    assert "OFD bias, mm" not in cells  # one of the two has a scale
    assert "bias, px" not in describe_test(table_of_test(some_of(predictions, 0)))


def test_without_a_scale_there_are_no_mm(predictions):
    assert not re.search(r"\bmm\b", describe_test(table_of_test(some_of(predictions, 1))))


def test_what_nobody_annotated_has_no_row(predictions):
    predictions.annotated_px[:, 2:] = np.nan
    predictions.errors[:, 2:] = np.nan  # 5, 5, 0 and 0 px are left
    text = describe_test(table_of_test(predictions))
    cells = cells_of(text)
    assert cells["Landmarks"] == ["4"]
    assert cells["Pixel error, mean ± std"] == ["2.50 ± 2.50"]
    assert "OFD error, px" in cells
    assert not re.search("BPD|HC, |nan", text)


def test_the_interval_of_the_mean_stands_below_the_mean(three):
    """Of 1 and 3 px in ten images each: by the binomial, the mean lies in 2 ± 0.44."""
    twenty = some_of(three, *[0] * 20)
    twenty.errors[:10], twenty.errors[10:] = 1, 3
    twenty.names = np.array([f"{i:02d}.png" for i in range(20)])
    lines = describe_test(table_of_test(twenty, limit=0)).splitlines()
    (place,) = [i for i, line in enumerate(lines) if "interval" in line]
    assert "mean ± std" in lines[place - 1]
    low, high = map(float, re.findall(r"\d\.\d", lines[place].partition("mean")[2])[:2])
    assert (low, high) == pytest.approx((1.6, 2.4), abs=0.1001)


@pytest.mark.parametrize(("count", "has_interval"), [(9, False), (10, True)])
def test_the_mean_of_ten_images_has_an_interval_and_that_of_nine_has_none(
    count, has_interval, predictions
):
    some = some_of(predictions, *[0] * count)
    some.errors[:] = np.arange(count)[:, None]
    assert ("interval of the mean" in describe_test(table_of_test(some))) is has_interval


def test_the_first_numbers_of_a_column_end_below_one_another(three):
    title, *lines = describe_test(table_of_test(three, limit=0)).splitlines()
    rows = lines[: -len(LEGEND.splitlines())]
    rows = [row for row in rows if not row.startswith("Not flagged")]
    labels = [re.match(r"\S+( \S+)*", row)[0] for row in rows]
    assert title.index("all images") == max(map(len, labels)) + 1
    assert len(rows) > 25
    for column in ("all images", "plausible annotation"):
        start = title.index(column)
        assert len({re.match(r" *[^ ,]+", row[start:]).end() for row in rows}) == 1
