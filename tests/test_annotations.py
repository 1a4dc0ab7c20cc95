"""What is said of annotations: of their splits, of how plausible they are, of the names of their
ends, and of circumferences by two readers."""

import numpy as np
import pandas as pd
import pytest

from common.annotation_quality.audit_table import describe_annotations, describe_splits
from common.annotation_quality.biometry import describe_circumference
from common.annotation_quality.end_names import describe_other_rule
from tests.conftest import ellipse, single_spaced, table_of


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


def test_an_annotation_that_is_not_complete_is_not_counted_as_implausible():
    """Whichever end is missing; and where none is complete, no number is given."""
    for missing in range(4):
        head, partly = ellipse(), ellipse()
        partly[missing] = np.nan
        table = table_of(head, partly)
        assert describe_annotations({"all": table}) == "1 of 1 annotations are plausible."
        assert describe_annotations({"all": table[1:]}) == (
            "No image has all four landmarks, so no annotation can be found plausible."
        )


def test_nothing_is_said_of_annotations_where_there_are_none():
    assert describe_annotations({"all": table_of(np.full((4, 2), np.nan))}) == ""


@pytest.mark.parametrize(("matched", "asked"), [(49.99, True), (50.0, False)])
def test_names_are_questioned_where_matched_ends_more_than_halve_the_mean_error(matched, asked):
    """By the images with four ends alone: of the second image one is not known."""
    by_name = np.array([[80.0, 100, 100, 120], [0, 0, 0, np.nan]])
    by_match = np.array([[matched] * 4, [0, 0, 0, np.nan]])
    text = describe_other_rule(by_name, by_match)
    assert bool(text) is asked
    if asked:
        printed = single_spaced(text)
        assert "four ends is 100.00 px by name and 49.99 px with the ends named as it" in printed
        assert "(ReadMe_Complete.txt, DATA FORMAT)?" in printed
    assert describe_other_rule(by_name[1:], by_match[1:]) == ""


def test_circumferences_are_given_less_those_of_the_second_reader_in_each_group():
    """Found 2 mm longer and 4 mm shorter; the second image's annotation is not complete, and the
    third has no second reader."""
    nan = np.nan
    off = {"annotated": pd.Series([5.0, nan, nan]), "predicted": pd.Series([2.0, -4, nan])}
    groups = {"All": np.ones(3, bool), "First": np.arange(3) == 0, "Last": np.arange(3) == 2}
    title, *lines = map(single_spaced, describe_circumference(off, groups).splitlines())
    assert title.endswith("less the second reader's, mm (mean absolute error, bias)")
    assert lines == [
        "All, annotated 1 images 5.00 5.00",
        "All, predicted 2 images 3.00 -1.00",
        "First, annotated 1 images 5.00 5.00",
        "First, predicted 1 images 2.00 2.00",
    ]
    assert describe_circumference({}, groups) == ""
    assert describe_circumference({"annotated": off["annotated"]}, {"Last": groups["Last"]}) == ""
