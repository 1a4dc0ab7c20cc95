"""Two readers of one image: how their ends are matched, how far they are apart, a second's file."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
import torch

from common import UserError
from common.annotation_quality.second_reader import (
    EIGHT_ORDERS,
    MATCHED,
    PREDICTED_TO_SECOND,
    SECOND_ERROR,
    ask_about_second_reader,
    describe_readers,
    match_ends,
    read_second_reader,
    reader_columns,
)
from common.ground_truth import LANDMARKS, landmark_columns, landmark_values
from tests.conftest import ellipse, images_of, pipe_of, single_spaced, table_of

OTHER_NAMES = [3, 2, 0, 1]  # one of the eight ways: diameters exchanged, and one's ends


def test_the_best_order_of_the_ends_is_that_of_the_least_mean_distance():
    """Of the eight ways to name the ends that leave the diameters whole, by brute force."""
    points, reference = np.random.default_rng(0).uniform(0, 256, (2, 200, 4, 2))
    ways = [w for w in itertools.permutations(range(4)) if set(w[:2]) in ({0, 1}, {2, 3})]
    assert len(ways) == 8
    for way, ours, theirs in zip(match_ends(points, reference)[0], points, reference):
        means = {w: np.mean([math.dist(*p) for p in zip(ours[[*w]], theirs)]) for w in ways}
        assert tuple(way) == min(means, key=means.get)


def order_of(points, reference):
    """The order of the ends of one image."""
    (order,), _ = match_ends(points[None], reference[None])
    return order.tolist()


def test_one_end_that_is_not_known_changes_the_match_of_no_other():
    """Whichever end is missing, of points or of the reference, the other three are matched as in
    the complete head, under other names."""
    head = ellipse(turn=20)
    other_names = head[OTHER_NAMES] + [1.0, 2.0]
    whole = order_of(other_names, head)
    assert whole == [2, 3, 1, 0]
    for missing in range(4):
        points, reference = other_names.copy(), head.copy()
        points[missing] = np.nan
        assert order_of(points, head) == whole
        reference[missing] = np.nan
        assert order_of(other_names, reference) == whole


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [(4, 4, True), (4, 3, True), (3, 4, True), (3, 3, False), (4, 2, False), (2, 4, False)],
)
def test_readers_are_compared_where_one_knows_four_ends_and_the_other_three(ours, theirs, expected):
    points, reference = ellipse(), ellipse()[[2, 3, 0, 1]]
    points[ours:] = np.nan
    reference[theirs:] = np.nan
    _, distances = match_ends(points[None], reference[None])
    assert np.isfinite(distances).any() == expected
    if not expected:  # the names stay as they are
        assert order_of(points, reference) == [0, 1, 2, 3]


def readers(count=40, share=0.25, seed=0):
    """Heads, and the same heads by a second reader, 5 px away, the ends named at random; then both
    with landmarks missing at random."""
    rng = np.random.default_rng(seed)
    annotated = np.array([ellipse(turn=turn) for turn in rng.uniform(0, 180, count)])
    orders = EIGHT_ORDERS[rng.integers(0, 8, count)]
    second = np.take_along_axis(annotated + np.array([3.0, 4.0]), orders[..., None], axis=1)
    partly_annotated, partly_second = annotated.copy(), second.copy()
    partly_annotated[rng.random((count, 4)) < share] = np.nan
    partly_second[rng.random((count, 4)) < share] = np.nan
    return annotated, second, partly_annotated, partly_second


def annotated_images(annotated, size=(256, 256), rate=np.nan):
    """Images of this size with these landmarks in px of the 256×256 image; nobody looks at them."""
    count, annotated = len(annotated), torch.tensor(annotated)
    names = [f"{i}.png" for i in range(count)]
    return images_of(names, torch.zeros(count, 1, 256, 256), annotated, [size] * count, rate)


def compared(annotated, second, predicted=None):
    """The distances in the columns of a second reader, by the name of the column: [N, 4] each."""
    table = reader_columns(second, annotated_images(annotated), predicted)
    columns = [
        name for name in (SECOND_ERROR, PREDICTED_TO_SECOND, MATCHED) if f"ofd_1_{name}" in table
    ]
    return {column: landmark_values(table, column)[..., 0] for column in columns}


def test_two_readers_and_a_network_are_compared_two_by_two_whatever_the_names_of_their_ends():
    annotated = np.array([ellipse()])
    second, predicted = annotated + np.array([3, 4]), annotated + np.array([12, -5])
    distances = compared(annotated, second[:, OTHER_NAMES], predicted[:, [1, 0, 2, 3]])
    expected = {SECOND_ERROR: 5, PREDICTED_TO_SECOND: math.hypot(9, 9), MATCHED: 13}
    assert list(distances) == list(expected)
    for column, distance in expected.items():
        assert distances[column] == pytest.approx(np.full((1, 4), distance))


def test_a_distance_stands_where_the_landmark_of_the_first_named_reader_is():
    """A second reader is off at one end only, which he names otherwise: the distance is that of
    the annotated end, of the predicted one, and of the annotated end again."""
    annotated = np.array([ellipse(turn=10)])
    second, predicted = annotated.copy(), annotated.copy()
    second[0, 1] += [0, 6]
    predicted[0, 2] += [8, 0]
    distances = compared(annotated, second[:, OTHER_NAMES], predicted[:, [1, 0, 2, 3]])
    assert distances[SECOND_ERROR] == pytest.approx(np.array([[0, 6, 0, 0]]))
    assert distances[PREDICTED_TO_SECOND] == pytest.approx(np.array([[6, 0, 8, 0]]))
    assert distances[MATCHED] == pytest.approx(np.array([[0, 0, 8, 0]]))


def test_missing_landmarks_change_no_distance_between_readers():
    """Those that are still known have the distance that they have in the complete files, 5 px."""
    annotated, second, partly_annotated, partly_second = readers()
    whole = compared(annotated, second, annotated)
    partly = compared(partly_annotated, partly_second, annotated)
    for column, px in partly.items():
        known = np.isfinite(px)
        assert known.any()
        assert px[known] == pytest.approx(whole[column][known], abs=1e-9)
        assert set(px[known].round(9)) == {0.0 if column == MATCHED else 5.0}


def test_images_that_cannot_be_compared_have_no_distance():
    _, _, annotated, second = readers()
    _, distances = match_ends(second, annotated)
    ours = np.isfinite(annotated).all(axis=-1).sum(axis=1)
    theirs = np.isfinite(second).all(axis=-1).sum(axis=1)
    few = np.array([sorted(pair) not in ([3, 4], [4, 4]) for pair in zip(ours, theirs)])
    assert 0 < few.sum() < 40
    assert np.isnan(distances[few]).all()
    assert np.isfinite(distances[~few]).any(axis=1).all()


def test_a_tester_and_an_audit_measure_the_same_distance_between_readers():
    annotated, _, partly_annotated, partly_second = readers()
    audit = compared(partly_annotated, partly_second)
    tester = compared(partly_annotated, partly_second, annotated + 50)
    assert list(audit) == [SECOND_ERROR]
    assert np.array_equal(audit[SECOND_ERROR], tester[SECOND_ERROR], equal_nan=True)


def test_a_second_reader_adds_its_coordinates_distances_and_circumference_to_a_table():
    """The first head is a circle of 100 px, at 0.5 mm each; the second has no pixel size. The
    images are of 512×256 px; 6 px across are 3 at 256×256."""
    circle, other = ellipse(100, 100, turn=0, center=(150, 120)), ellipse()
    second = np.array([circle, other])
    annotated = (second + np.array([6, 4])) / [2, 1]
    predicted = (second + np.array([-12, 8])) / [2, 1]
    data = annotated_images(annotated, (512, 256), np.array([0.5, np.nan]))
    table = reader_columns(second, data, predicted)
    columns = ("second_x", "second_y", SECOND_ERROR, PREDICTED_TO_SECOND, MATCHED)
    assert columns[2:] == ("second_error_px256", "pred_second_px256", "matched_px256")
    expected = [f"{landmark}_{column}" for landmark in LANDMARKS for column in columns]
    assert table.columns.tolist() == [*expected, "second_hc_mm"]
    assert landmark_values(table, "second_x", "second_y")[0] == pytest.approx(circle)
    for column, distance in ((SECOND_ERROR, 5), (PREDICTED_TO_SECOND, 10), (MATCHED, 97**0.5)):
        assert landmark_values(table, column) == pytest.approx(distance)
    assert table["second_hc_mm"].tolist() == pytest.approx([50 * math.pi, math.nan], nan_ok=True)
    without = reader_columns(second, annotated_images(annotated, (512, 256)), predicted)
    assert without.columns.tolist() == expected
    of_audit = reader_columns(second, data)
    assert of_audit.columns.tolist() == [
        f"{landmark}_{column}" for landmark in LANDMARKS for column in columns[:3]
    ]


def table_with(**distances):
    """A table with these distances, a row of four for each image, by the name of their column."""
    values = {name: np.array(rows, float) for name, rows in distances.items()}
    return pd.DataFrame(landmark_columns(values))


def test_the_figures_of_each_group_are_those_by_hand():
    """Exactly 10 px are within 10 px, and exactly 50 px are not above 50."""
    nan = np.nan
    table = table_with(
        second_error_px256=[[10, 20, 50, nan], [60, 20, 0, nan]],
        matched_px256=[[nan] * 4, [1, 2, 3, 6]],
    )
    lengths = {"hc_mm": [100, 80], "hc_pred_mm": [nan, 90], "second_hc_mm": [97, 84]}
    groups = {"All images": np.array([True, True]), "Some": np.array([True, False])}
    text = describe_readers(table.assign(**lengths), groups)
    assert [single_spaced(line) for line in text.splitlines()] == [
        "Second reader (px at 256×256; the ends are named as it suits each image best)",
        "images landmarks mean median ≤10 px, % >50 px, % HC known HC error, mm HC bias, mm",
        "All images annotated to second reader 2 6 26.67 20.00 33.33 16.67 2 3.50 -0.50",
        "predicted to annotated 1 4 3.00 2.50 100.00 0.00 1 10.00 10.00",
        "Some annotated to second reader 1 3 26.67 20.00 33.33 0.00 1 3.00 3.00",
        "predicted to annotated 0 0 - - - - 0 - -",
    ]
    assert "HC" not in describe_readers(table, groups)


ANOTHER_UNIT = (
    "Of the distances to the second reader 90% or more are above 50 px. "
    "Are its landmarks in px of the same original images?"
)
ITSELF = "Every distance to the second reader is 0. Is it the ground truth itself?"
FAR, NEAR, NONE, UNKNOWN = [50.1] * 4, [50] * 4, [0] * 4, [np.nan] * 4


@pytest.mark.parametrize(
    ("to_annotated", "to_predicted", "questions"),
    [
        ([FAR] * 9 + [NEAR], None, [ANOTHER_UNIT]),
        ([FAR] * 8 + [NEAR] * 2, None, []),
        ([FAR] * 9 + [NEAR] + [UNKNOWN] * 5, None, [ANOTHER_UNIT]),
        ([NEAR] * 3, [FAR] * 3, []),  # the annotations decide, and the network is bad
        ([UNKNOWN] * 3, [FAR] * 3, [ANOTHER_UNIT]),
        ([UNKNOWN] * 3, [NEAR] * 3, []),
        ([NONE] * 2 + [UNKNOWN], [FAR] * 3, [ITSELF]),
        ([NONE] * 2 + [[0, 0, 0, 0.01]], None, []),
        ([UNKNOWN] * 3, [UNKNOWN] * 3, []),
    ],
)
def test_what_can_hardly_be_another_readers_file_is_questioned(
    to_annotated, to_predicted, questions
):
    table = table_with(second_error_px256=to_annotated)
    if to_predicted is not None:
        table = table.join(table_with(pred_second_px256=to_predicted))
    assert ask_about_second_reader(table) == questions
    text = describe_readers(table, {"All": np.ones(len(to_annotated), bool)})
    assert text.splitlines()[-1:] == questions or not questions
    assert text.count("?") == len(questions)


def test_a_second_reader_that_is_the_ground_truth_itself_is_questioned_whatever_its_names_of_ends():
    """Whose landmarks went through float32, as those of a network's images do."""
    annotated = np.array([ellipse(turn=turn) for turn in range(0, 90, 10)]) * 256 / [799, 541]
    as_images = annotated.astype(np.float32).astype(float)
    assert (as_images != annotated).any()
    for second in (annotated, annotated[:, OTHER_NAMES]):
        table = reader_columns(second, annotated_images(as_images))
        assert ask_about_second_reader(table) == [ITSELF]


NAMES = ["a.png", "b.png", "c.png", "d.png"]
ROWS = np.array([ellipse(), ellipse(turn=40), ellipse(turn=80), ellipse(80, 100)])


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Images of 600×400 px; none of their pixels is looked at."""
    monkeypatch.chdir(tmp_path)
    landmarks = torch.tensor(ROWS * [256 / 600, 256 / 400])
    return images_of(NAMES, torch.zeros(4, 1, 256, 256), landmarks, [[600, 400]] * 4)


def read(table, data):
    """What read_second_reader makes of a file with this table."""
    table.to_csv("second.csv", index=False)
    return read_second_reader("second.csv", data)


def refused_as(message, table, data):
    with pytest.raises(UserError) as caught:
        read(table, data)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("order", EIGHT_ORDERS.tolist())
def test_a_second_readers_ends_stand_in_a_table_under_the_names_of_the_annotated_ones(order):
    """Whatever their names; and of an image of which one end is known, there is no match."""
    annotated, expected = ROWS, ROWS + np.array([7.0, 6.0])
    named = expected[:, order]
    named[1, 1:] = np.nan
    expected[1] = named[1]
    table = reader_columns(2 * named, annotated_images(annotated, (512, 512)))
    assert landmark_values(table, "second_x", "second_y") == pytest.approx(
        2 * expected, nan_ok=True
    )


def test_a_second_readers_ends_are_matched_at_256():
    """With the diameters exchanged, the four distances add up to 125 px, and by name to 139; in an
    image that is four times as wide as at 256, that is 451 and 449."""
    annotated = np.array([[[240, 50], [100, 110], [220, 60], [130, 80]]])
    at_256 = np.array([[[200, 70], [60, 90], [220, 60], [100, 120]]])
    table = reader_columns(at_256 * [4, 1], annotated_images(annotated, (1024, 256)))
    in_table = landmark_values(table, "second_x", "second_y")
    assert in_table.tolist() == (at_256[:, [2, 3, 0, 1]] * [4, 1]).tolist()


def test_a_second_readers_landmarks_stand_in_the_order_of_the_images(data, capsys):
    expected = ROWS + np.array([7.0, 6.0])
    second = read(table_of(*expected, names=NAMES)[::-1], data)
    assert second == pytest.approx(expected)
    assert (
        capsys.readouterr().out == "second.csv: another reader's landmarks of 4 of the 4 images\n"
    )


def test_images_without_a_row_in_the_second_file_are_counted(data, capsys):
    second = read(table_of(*ROWS, names=[NAMES[0], NAMES[1].upper(), NAMES[2], "z.png"]), data)
    assert np.isfinite(second).all(axis=(1, 2)).tolist() == [True, False, True, False]
    assert (
        capsys.readouterr().out == "second.csv: another reader's landmarks of 2 of the 4 images\n"
    )


def test_rows_of_a_second_reader_that_are_empty_are_not_counted(data, capsys):
    table = table_of(*ROWS, names=NAMES)
    table.iloc[2:, 1:] = np.nan
    read(table, data)
    assert "another reader's landmarks of 2 of the 4 images" in capsys.readouterr().out
    table.iloc[:, 1:] = np.nan
    message = "second.csv: holds no landmark of these images (a.png, …); its first row is that of "
    refused_as(f"{message}a.png", table, data)
    refused_as(f"{message}head/a.png", table_of(ROWS[0], names=["head/a.png"]), data)


def test_rows_of_other_images_never_stop_a_second_readers_file(data, capsys):
    """One at (0, 0), one twice, one without a name, one far outside, one with a word."""
    outside = ellipse(center=(5000, 5000))
    others = [np.zeros((4, 2)), ellipse(), ellipse(), ellipse(), outside]
    names = ["e.png", "f.png", "f.png", "", "g.png"]
    table = table_of(*others, *ROWS, names=[*names, *NAMES]).astype({"ofd_1_x": object})
    table.loc[1, "ofd_1_x"] = "left"
    assert read(table, data) == pytest.approx(ROWS)
    assert "another reader's landmarks of 4 of the 4 images" in capsys.readouterr().out


def test_a_bad_row_of_a_second_readers_file_keeps_its_number(data):
    table = table_of(np.zeros((4, 2)), ROWS[0], ROWS[1], names=["z.png", "a.png", "b.png"])
    far = table.copy()
    table.loc[1, "bpd_2_x"] = np.nan
    refused_as("second.csv: row 2: a.png: BPD-2 has one coordinate", table, data)
    far.loc[2, ["ofd_2_x", "ofd_2_y"]] = [650.0, 450.0]
    message = "second.csv: row 3: b.png: OFD-2 (650, 450) lies outside the image of 600×400 px"
    refused_as(message, far, data)


@pytest.mark.parametrize("column", ["ofd_1_pred_x", "OFD-1 Pred X"])
def test_a_testers_own_table_is_no_second_reader(data, column):
    table = table_of(*ROWS, names=NAMES).assign(**{column: 1.0})
    refused_as("second.csv: is a tester's table", table, data)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("ä.png", "a\u0308.png"),
        ("a\u0308.png", "ä.png"),
        ("h.png", "./h.png"),
        ("./h.png", "h.png"),
    ],
)
def test_a_name_is_found_however_it_is_spelt(data, capsys, ours, theirs):
    """Such as a Mac has written, where "ä" is two characters."""
    data.names[2] = ours
    second = read(table_of(ROWS[2], names=[theirs]), data)
    assert second[2] == pytest.approx(ROWS[2])
    assert "another reader's landmarks of 1 of the 4 images" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("unit", "question"),
    [
        ([256 / 600, 256 / 400], "centres of the heads lie at 0.21 of the width"),
        ([100 / 600, 100 / 400], "centres of the heads lie at 0.08 of the width"),
    ],
    ids=["px at 256", "percent"],
)
def test_a_second_readers_unit_is_questioned_as_that_of_the_ground_truth_is(
    data, capsys, unit, question
):
    read(table_of(*ROWS * unit, names=NAMES), data)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.endswith("?")]
    assert line.startswith("second.csv: the ")
    assert question in line


def test_a_second_readers_pixel_sizes_are_questioned_for_the_images_that_it_has(data, capsys):
    """600 px of 0.2 mm are 120 mm; of 0.7 mm 420, of which four are asked about and two are not;
    of 1 mm 600, of which one is."""
    table = table_of(*ROWS, names=NAMES)
    nan = np.nan
    for rates, asked in (
        ([0.2] * 4, 0),
        ([0.7] * 4, 1),
        ([1.0, nan, nan, nan], 1),
        ([0.7, 0.7, nan, nan], 0),
    ):
        read(table.assign(px_to_mm_rate=rates), data)
        questions = [
            line for line in capsys.readouterr().out.splitlines() if "px_to_mm_rate" in line
        ]
        assert len(questions) == asked
    assert not questions


def test_normalised_landmarks_of_a_second_reader_are_refused(data):
    table = table_of(*ROWS / [600, 400], names=NAMES)
    refused_as("second.csv: all coordinates lie between", table, data)
    mixed = table_of(*ROWS[:3], ROWS[3] / [600, 400], names=NAMES)
    message = "second.csv: 2 problems\n  row 4: d.png: x lies between -0.1 and 1.5 at every end"
    refused_as(message, mixed, data)


def test_a_second_readers_file_that_is_a_pipe_is_read_once(data):
    with pipe_of(table_of(*ROWS, names=NAMES)) as path:
        assert read_second_reader(path, data) == pytest.approx(ROWS)
