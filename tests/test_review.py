"""The review flag: its rules, the limit that is proposed, and what is printed of them."""

import math

import numpy as np
import pytest

from common.results.review import (
    choose_review_confidence,
    describe_review,
    needs_review,
    review_rules,
)
from tests.conftest import (
    ALL_LANDMARKS,
    ellipse,
    predictions_of,
    single_spaced,
    some_of,
    table_of_test,
)

BPD = np.array([False, False, True, True])


@pytest.fixture
def table(predictions):
    return table_of_test(predictions)


def heads(count, found=None):
    """Predictions of this many heads, all of them right and sure but for those found otherwise, by
    number, and all 1 px off."""
    annotated = [ellipse()] * count
    predicted = [(found or {}).get(i, ellipse()) for i in range(count)]
    sizes = [[512, 512]] * count
    return predictions_of(annotated, predicted, sizes, errors=np.ones((count, 4)))


def chosen_limit(found, trusted=ALL_LANDMARKS):
    return choose_review_confidence(table_of_test(found, "val", trusted=trusted), trusted)


def printed_of(found, split="test", limit=0.7, trusted=ALL_LANDMARKS):
    return describe_review(table_of_test(found, split, limit, trusted), trusted)


# The rules


def test_each_rule_flags_its_images(table):
    assert {
        name: rows.tolist() for name, rows in review_rules(table, 0.7, ALL_LANDMARKS).items()
    } == {
        "implausible prediction": [False, True],
        "spread above 20 px": [False, True],
        "confidence below 0.7": [True, False],
    }
    assert needs_review(table, 0.7, ALL_LANDMARKS).tolist() == [True, True]
    assert needs_review(table, 0.01, ALL_LANDMARKS).tolist() == [False, True]


def test_a_single_model_has_no_rule_about_its_spread(predictions):
    predictions.spreads[:] = np.nan
    rules = ["implausible prediction", "confidence below 0.5"]
    assert list(review_rules(table_of_test(predictions), 0.5, ALL_LANDMARKS)) == rules


@pytest.mark.parametrize(
    ("value", "flagged"), [(0.5, False), (0.4999999, True), (0.0, True), (math.nan, True)]
)
def test_an_image_is_flagged_for_a_confidence_below_the_limit_or_unknown(value, flagged):
    found = heads(1)
    found.confidences[0, 2] = value
    assert table_of_test(found, limit=0.5)["review"].tolist() == [flagged]


def test_what_is_not_trusted_belongs_to_no_rule(predictions):
    """OFD-2 of the second image is unsure, and BPD-1 has the spread."""
    predictions.confidences[1, 1] = 0
    table = table_of_test(predictions, trusted=BPD)
    rules = review_rules(table, 0.7, BPD)
    assert list(rules) == ["spread above 20 px", "confidence below 0.7"]  # no head without OFD
    assert [rule.tolist() for rule in rules.values()] == [[False, True], [True, False]]


# The limit


def test_the_limit_of_the_review_flag_by_hand():
    """Of five images with one wrong landmark each, 80 % are four: those below 0.4."""
    for found, limit in (({}, 0.4), ({4: ellipse(angle=20)}, 0.35)):
        # In the second case the whole flag finds the last one, so three others are enough.
        of_five = heads(5, found)
        of_five.errors[:, 2] = 21
        of_five.confidences[:, 2] = [0.1, 0.2, 0.3, 0.36, 0.9]
        assert chosen_limit(of_five) == limit


def test_there_is_no_limit_where_nothing_is_more_than_20_px_off():
    found = heads(5)
    found.errors[:, 2] = 20
    assert chosen_limit(found) is None


def test_there_is_no_limit_where_even_the_highest_finds_too_few():
    found = heads(5)
    found.errors[:, 2] = 21  # in images that are sure
    assert chosen_limit(found) is None


def test_images_without_a_plausible_annotation_do_not_decide_the_limit():
    found = heads(3)
    found.errors[:, 0] = 21
    found.confidences[:, 0] = [0.1, 0.1, 0.9]
    found.annotated_px[2] = ellipse(angle=20)
    assert chosen_limit(found) == 0.15


def test_a_landmark_that_is_not_trusted_does_not_decide_the_limit():
    found = heads(5)
    found.errors[:, 0], found.confidences[:, 0] = 99, 0.9
    found.errors[:2, 2], found.confidences[:2, 2] = 21, 0.1
    assert chosen_limit(found, BPD) == 0.15
    printed = single_spaced(printed_of(found, "val", trusted=BPD))
    assert "together 2 images, with 2 of the 2 landmarks more than 20 px off" in printed
    assert printed.endswith(
        "80% of the 2 landmarks so far off on the 5 images with a plausible annotation: 0.15"
    )


# What is printed


def test_the_review_counts_the_images_and_wrong_landmarks_of_each_rule(predictions):
    """The first image is a plausible head with two landmarks 45 px off."""
    lines = printed_of(predictions, "val").splitlines()
    assert list(map(single_spaced, lines)) == [
        "Review: 2 of 2 images flagged",
        "implausible prediction 1 images, with 0 of the 2 landmarks more than 20 px off",
        "spread above 20 px 1 images, with 0 of the 2 landmarks more than 20 px off",
        "confidence below 0.7 1 images, with 2 of the 2 landmarks more than 20 px off",
        "together 2 images, with 2 of the 2 landmarks more than 20 px off",
        "Least confident first: 0.png, 1.png",
        "Lowest --review_confidence that finds 80% of the 2 landmarks so far off on",
        "the 1 images with a plausible annotation: 0.05",
    ]


@pytest.mark.parametrize("split", ["train", "test", "all"])
def test_a_limit_of_the_confidence_is_proposed_for_validation_images_only(split, predictions):
    assert "Lowest" not in printed_of(predictions, split)


def test_landmarks_exactly_20_px_off_are_not_counted_as_wrong(predictions):
    predictions.errors[:] = 20
    assert "off" not in printed_of(predictions, "val")


def test_landmarks_that_are_not_annotated_are_not_counted_as_wrong(predictions):
    predictions.errors[:, 2:] = np.nan  # BPD's were wrong
    assert "off" not in printed_of(predictions, "val")


def test_no_image_is_named_where_none_is_flagged(predictions):
    text = printed_of(some_of(predictions, 0), limit=0)
    assert text.startswith("Review: 0 of 1 images flagged")
    assert "first" not in text


def flagged_heads(count):
    """All but the first are flagged; 7.png and 29.png are the least sure."""
    found = heads(count)
    found.confidences[1:] = 0.3
    found.confidences[7, 1] = 0.2
    found.confidences[29:30, 2] = 0.1
    return single_spaced(printed_of(found))


def test_images_to_review_are_listed_least_confident_first_and_at_most_twenty():
    """29 of 30 are flagged; those that are equally unsure stay in the order of the file."""
    text = flagged_heads(30)
    assert "first: 29.png, 7.png, 1.png, 2.png, 3.png, " in text
    assert "18.png, 19.png, … and 9 more (the table names all)" in text
    twenty = flagged_heads(21)
    assert twenty.endswith("19.png, 20.png")  # 20 are not too many
    assert "first: 7.png, 1.png" in twenty


def test_who_is_least_confident_does_not_depend_on_what_is_not_trusted():
    found = heads(3)
    found.confidences[:] = [[0, 1, 0.6, 1], [1, 1, 0.5, 1], [1, 1, 0.6, 0.4]]
    text = printed_of(found, trusted=BPD)
    assert text.endswith("Least confident first: 2.png, 1.png, 0.png")
