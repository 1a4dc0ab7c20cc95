"""Diameters of known ellipses: their measures and circumference."""

import math

import numpy as np
import pytest

from common.annotation_quality.biometry import circumference, diameters, measure_axes
from tests.conftest import ellipse


def test_the_axes_of_an_ellipse_are_perpendicular_concentric_and_as_long_as_drawn():
    measures = measure_axes(ellipse(100, 80, turn=17)[None]).loc[0]
    assert measures["angle"] == pytest.approx(90)
    assert measures["midpoint_distance"] == pytest.approx(0, abs=1e-12)
    assert measures["ratio"] == pytest.approx(0.8)
    assert (measures["ofd_px"], measures["bpd_px"]) == (pytest.approx(100), pytest.approx(80))
    assert measures["plausible"]


def test_the_distance_of_the_midpoints_is_given_over_the_longer_diameter():
    """The midpoints lie 12 px across and 16 px down apart, which is 20 px."""
    for lengths in ((100, 80), (80, 100)):
        measures = measure_axes(ellipse(*lengths, turn=17, apart=(12, 16))[None])
        assert measures["midpoint_distance"].tolist() == pytest.approx([0.2])
        assert measures["ratio"].tolist() == pytest.approx([0.8])


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
        ({"turn": 0, "apart": (20, 0)}, False),  # at the limit, which is not below it
        ({"turn": 0, "short": 60}, False),
        ({"long": 80, "short": 133}, True),  # the one called OFD is the shorter one
        ({"long": 80, "short": 134}, False),
    ],
)
def test_an_annotation_is_plausible_up_to_the_limits_of_angle_midpoints_and_ratio(
    options, plausible
):
    landmarks = ellipse(**options)[None]
    assert measure_axes(landmarks)["plausible"].tolist() == [plausible]


@pytest.mark.parametrize("missing", range(4))
def test_whether_an_annotation_with_an_end_missing_is_plausible_is_not_known(missing):
    """And so it does not count as plausible, which the complete one beside it is."""
    landmarks = np.array([ellipse(), ellipse()])
    landmarks[0, missing] = np.nan
    measures = measure_axes(landmarks)
    assert measures["plausible"].isna().tolist() == [True, False]
    assert measures["plausible"][1]
    assert measure_axes(landmarks)["plausible"].fillna(False).tolist() == [False, True]
    # The diameter that is complete keeps its length.
    complete, incomplete = ("bpd_px", "ofd_px") if missing < 2 else ("ofd_px", "bpd_px")
    assert measures[complete].notna().all()
    assert measures[incomplete].isna().tolist() == [True, False]


def test_the_angle_of_parallel_diameters_is_0():
    """However rounding leaves the cosine: at these turns, at times beyond 1."""
    parallel = np.array([ellipse(turn=turn, angle=0) for turn in range(90)])
    assert measure_axes(parallel)["angle"].to_numpy() == pytest.approx(np.zeros(90), abs=1e-5)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("options", [{"short": 0}, {"long": 0}, {"long": 0, "short": 0}])
def test_a_diameter_of_no_length_is_not_plausible(options):
    measures = measure_axes(ellipse(**options)[None])
    assert measures["plausible"].tolist() == [False]
    assert measures["angle"].isna().all()


def test_the_diameters_are_the_distances_of_their_ends():
    ends = np.array([[[0.0, 0], [3, 4], [10, 10], [5, -2]]])
    assert diameters(ends).tolist() == [[5, 13]]
    ends[0, 3] = np.nan
    assert diameters(ends) == pytest.approx(np.array([[5, math.nan]]), nan_ok=True)


def test_the_circumference_of_a_circle_is_pi_times_its_diameter():
    assert circumference(np.array([[1.0, 1.0], [98.5, 98.5]])) == pytest.approx(
        [math.pi, 98.5 * math.pi], rel=1e-15
    )


def arc_length(one, other):
    """The length of the ellipse with these axes, added up in 100,000 steps; a mean over a whole
    turn converges faster than any power of the number of steps."""
    turns = np.linspace(0, 2 * math.pi, 100_000, endpoint=False)
    speed = np.hypot(one / 2 * np.sin(turns), other / 2 * np.cos(turns))
    return 2 * math.pi * speed.mean()


@pytest.mark.parametrize(
    ("ratio", "error"), [(0.95, 1e-12), (0.78, 1e-12), (0.6, 1e-10), (0.3, 1e-6), (0.1, 1e-4)]
)
def test_the_circumference_is_the_length_of_the_ellipses_line_whichever_axis_is_longer(
    ratio, error
):
    """Of a head (0.6 to 1) to more digits than anyone measures. Ramanujan's first approximation
    errs by 5e-7 at 0.6, the mean of the axes times π by 1.5e-2."""
    expected = arc_length(120, 120 * ratio)
    found = circumference(np.array([[120, 120 * ratio], [120 * ratio, 120]]))
    assert found == pytest.approx([expected] * 2, rel=error)


@pytest.mark.filterwarnings("error")
def test_without_both_diameters_there_is_no_circumference():
    unknown = np.array([[math.nan, 90], [90, math.nan], [math.nan, math.nan], [0, 0]])
    assert np.isnan(circumference(unknown)).all()
    assert len(circumference(unknown)) == 4
