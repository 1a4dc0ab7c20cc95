"""What is said of annotations: of their splits, of how plausible they are, of the names of their
ends, and of circumferences by two readers."""

import numpy as np
import pytest

from common.annotation_quality.biometry import describe_data
from common.annotation_quality.end_names import describe_other_rule
from tests.conftest import ellipse, single_spaced, table_of


def test_plausible_annotations_and_subjects_shared_with_training_are_counted():
    names = ["001_HC.png", "002_HC.png", "001_2HC.png", "003_HC.png", "002_3HC.png", "004_HC.png"]
    rows = [ellipse(), ellipse(80, 100), ellipse(angle=20), ellipse(), ellipse(short=20)]
    rows.append(ellipse(80, 80, turn=0))  # neither is shorter
    table = table_of(*rows, names=names)
    splits = {"train": table[:2], "val": table[2:4], "test": table[4:]}
    lines = describe_data(splits).splitlines()
    assert lines == [
        "Loaded 6 images",
        "Train: 2 | Val: 2 | Test: 2",
        "4 of 6 annotations are plausible, 1 of 2 in test.",
        "1 of 2 validation and 1 of 2 test images show a subject of training.",
    ]
    assert describe_data({"all": table}).splitlines() == [
        "Loaded 6 images",
        "4 of 6 annotations are plausible.",
    ]
    # Two of nobody are not the same one, and nothing is said of names that tell no subject.
    nobody = table.assign(SubjectID=["a", "", "", "b", "a", ""])
    splits = {"train": nobody[:2], "val": nobody[2:4], "test": nobody[4:]}
    assert describe_data(splits).splitlines() == [
        *lines[:3],
        "0 of 2 validation and 1 of 2 test images show a subject of training.",
    ]
    splits["train"] = table[:2].replace("001_HC.png", "head.png")
    splits |= {"val": table[2:4], "test": table[4:]}
    assert describe_data(splits).splitlines() == lines[:3]


def test_an_annotation_that_is_not_complete_is_not_counted_as_implausible():
    """Whichever end is missing; and where none is complete, no number is given."""
    for missing in range(4):
        head, partly = ellipse(), ellipse()
        partly[missing] = np.nan
        table = table_of(head, partly)
        assert "1 of 1 annotations are plausible." in describe_data({"all": table})
        assert describe_data({"all": table[1:]}) == "Loaded 1 images"


@pytest.mark.parametrize(("matched", "asked"), [(49.99, True), (50.0, False)])
def test_names_are_questioned_where_matched_ends_more_than_halve_the_mean_error(matched, asked):
    """By the images with four ends alone: of the second image one is not known."""
    found = 2 * matched  # px below the ends of BPD; each end of OFD is found where the other is
    length = 200 - found
    annotated = np.array([[[0, 0], [0, length], [900, 0], [990, 0]]] * 2)
    predicted = np.array([[[0, length], [0, 0], [900, found], [990, found]]] * 2)
    annotated[1, 3] = np.nan
    text = describe_other_rule(annotated, predicted)
    assert bool(text) is asked
    if asked:
        printed = single_spaced(text)
        assert "four ends is 100.00 px by name and 49.99 px with the ends named as it" in printed
        assert "(ReadMe_Complete.txt, DATA FORMAT)?" in printed
    assert describe_other_rule(annotated[1:], predicted[1:]) == ""
