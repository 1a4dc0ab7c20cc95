"""Diameters of known ellipses: their measures, their errors, and how two readers' ends match."""

import itertools
import math

import numpy as np
import pytest

from common.biometry import are_comparable, in_best_order, measure_axes, normalised_errors
from tests.conftest import ellipse


def test_the_axes_of_an_ellipse_are_perpendicular_concentric_and_as_long_as_drawn():
    measures = measure_axes(ellipse(100, 80, turn=17)[None], index=[7]).loc[7]
    assert measures["angle"] == pytest.approx(90)
    assert measures["midpoint_distance"] == pytest.approx(0, abs=1e-12)
    assert measures["ratio"] == pytest.approx(0.8)
    assert (measures["ofd_px"], measures["bpd_px"]) == (pytest.approx(100), pytest.approx(80))
    assert measures["plausible"]


@pytest.mark.parametrize(
    ("options", "plausible"),
    [
        ({"angle": 70.1}, True),
        ({"angle": 69.9}, False),
        ({"angle": 109.9}, True),  # the acute angle is 70.1
        ({"angle": 110.1}, False),
        ({"apart": (11.9, 16)}, True),  # 19.94 of 100
        ({"apart": (12.1, 16)}, False),  # 20.06 of 100
        ({"short": 60.1}, True),
        ({"short": 59.9}, False),
        ({"long": 80, "short": 133}, True),  # the one called OFD is the shorter one
        ({"long": 80, "short": 134}, False),
    ],
)
def test_an_annotation_is_plausible_up_to_the_limits_of_angle_midpoints_and_ratio(
    options, plausible
):
    assert measure_axes(ellipse(**options)[None])["plausible"].tolist() == [plausible]


def test_the_angle_of_parallel_diameters_is_0():
    """However rounding leaves the cosine: at these turns, at times beyond 1."""
    parallel = np.array([ellipse(turn=turn, angle=0) for turn in range(90)])
    assert measure_axes(parallel)["angle"].to_numpy() == pytest.approx(np.zeros(90), abs=1e-5)


@pytest.mark.parametrize("options", [{"short": 0}, {"long": 0}, {"long": 0, "short": 0}])
def test_a_diameter_of_no_length_is_not_plausible(options):
    measures = measure_axes(ellipse(**options)[None])
    assert measures["plausible"].tolist() == [False]
    assert measures["angle"].isna().all()


def test_the_normalised_error_is_the_mean_distance_of_the_better_paired_ends_over_the_length():
    true = np.array([ellipse(100, 50, turn=0)])
    shifted = true + np.array([3, 4])  # both ends of both diameters by 5 px
    assert normalised_errors(shifted, true) == pytest.approx(np.array([[0.05, 0.10]]))
    exchanged = true[:, [1, 0, 3, 2]]
    assert normalised_errors(exchanged, true) == pytest.approx(np.zeros((1, 2)))
    one_end = true.copy()
    one_end[0, 1] += [0, 12]  # OFD-2 alone: 6 px on average
    assert normalised_errors(one_end, true) == pytest.approx(np.array([[0.06, 0]]))
    # Each diameter is paired by itself: OFD as it is, BPD exchanged.
    half = shifted[:, [0, 1, 3, 2]]
    assert normalised_errors(half, true) == pytest.approx(np.array([[0.05, 0.10]]))


def test_normalised_error_of_no_length_is_unknown():
    true = np.array([ellipse(short=0)])
    error = normalised_errors(true + 1, true)[0]
    assert error[0] == pytest.approx(math.sqrt(2) / 100)
    assert math.isnan(error[1])


def test_the_best_order_of_the_ends_is_that_of_the_least_mean_distance():
    """Of the eight ways to name the ends that leave the diameters whole, by brute force."""
    points, reference = np.random.default_rng(0).uniform(0, 256, (2, 200, 4, 2))
    ways = [w for w in itertools.permutations(range(4)) if set(w[:2]) in ({0, 1}, {2, 3})]
    assert len(ways) == 8
    for way, ours, theirs in zip(in_best_order(points, reference), points, reference):
        means = {w: np.mean([math.dist(*p) for p in zip(ours[[*w]], theirs)]) for w in ways}
        assert tuple(way) == min(means, key=means.get)


def test_one_end_that_is_not_known_changes_the_match_of_no_other():
    """Whichever end is missing, of points or of the reference, the other three are matched as in
    the complete head, under other names."""
    head = ellipse(turn=20)
    other_names = head[[3, 2, 0, 1]] + [1.0, 2.0]
    whole = in_best_order(other_names[None], head[None])[0]
    assert whole.tolist() == [2, 3, 1, 0]
    for missing in range(4):
        points, reference = other_names.copy(), head.copy()
        points[missing] = np.nan
        assert in_best_order(points[None], head[None])[0].tolist() == whole.tolist()
        reference[missing] = np.nan
        assert in_best_order(other_names[None], reference[None])[0].tolist() == whole.tolist()


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [(4, 4, True), (4, 3, True), (3, 4, True), (3, 3, False), (4, 2, False), (2, 4, False)],
)
def test_readers_are_compared_where_one_knows_four_ends_and_the_other_three(ours, theirs, expected):
    points, reference = ellipse(), ellipse()[[2, 3, 0, 1]]
    points[ours:] = np.nan
    reference[theirs:] = np.nan
    assert are_comparable(points[None], reference[None]).tolist() == [expected]
    if not expected:  # the names stay as they are
        assert in_best_order(points[None], reference[None])[0].tolist() == [0, 1, 2, 3]
