"""All figures of a test, by name, from its table, and their 95 % intervals."""

import math

import numpy as np
import pandas as pd
import pytest

from common.ground_truth import landmark_columns
from common.results.intervals import RESAMPLING_SEED, interval, resampled_figures
from common.results.metrics import agreement, all_figures
from tests.conftest import arc_length, some_of, table_of_test

NAMES = [f"{i:03d}_HC.png" for i in range(12)]
SOME_ERRORS = np.random.default_rng(0).lognormal(2, 1, (12, 4))
EXCELLENT, FAILURE = "Excellent (≤10 px), %", "Failure (>50 px), %"


def figures_of(errors):
    """All figures of a table that has nothing but these errors."""
    return all_figures(pd.DataFrame(landmark_columns({"error_px256": np.array(errors)})))


def assert_has(figures, expected):
    for name, value in expected.items():
        assert figures[name] == pytest.approx(value, nan_ok=True), name


def test_the_figures_of_eight_errors_are_those_by_hand():
    """The standard deviation is that of the population, the 95th percentile lies 0.65 of the way
    from 15 to 105; the two images have 4 and 36 px on average."""
    figures = figures_of([[1.0, 3, 5, 7], [11, 13, 15, 105], [np.nan] * 4])
    expected = {
        **{"Images": 2, "Landmarks": 8},
        **{"Mean": 20, "Std": math.sqrt(8424 / 8), "Median": 9, "Min": 1, "Max": 105},
        **{"95th percentile": 15 + 0.65 * 90, "BPD-2 mean": 56},
        **{EXCELLENT: 50, "Good (10-20 px), %": 37.5, "Poor (20-50 px), %": 0, FAILURE: 12.5},
        **{f"{EXCELLENT} of images": 50, "Good (10-20 px), % of images": 0},
        **{"Poor (20-50 px), % of images": 50, f"{FAILURE} of images": 0},
    }
    assert_has(figures, expected)


def test_each_landmark_has_its_own_mean_and_median():
    figures = figures_of([[0.0, 1, 2, 3], [0, 1, 2, 3], [30, 31, 32, 33]])
    for i, name in enumerate(("OFD-1", "OFD-2", "BPD-1", "BPD-2")):
        assert_has(figures, {f"{name} mean": 10 + i, f"{name} median": i})


def test_bands_are_closed_above_for_landmarks_and_for_images():
    figures = figures_of([[0, 10, 10.01, 20], [20.01, 50, 50.01, 300], [10] * 4, [20.0] * 4])
    bands = ("Excellent (≤10 px)", "Good (10-20 px)", "Poor (20-50 px)", "Failure (>50 px)")
    assert [figures[f"{band}, %"] for band in bands] == [37.5, 37.5, 12.5, 12.5]
    # 10.0025, 105.0025, 10 and 20 px on average
    assert [figures[f"{band}, % of images"] for band in bands] == [25, 50, 0, 25]


def test_what_is_not_annotated_does_not_count_and_has_no_figures():
    nan = np.nan
    figures = figures_of([[2.0, 4, nan, nan], [6, nan, nan, nan], [nan] * 4])
    assert_has(figures, {"Images": 2, "Landmarks": 3, "Mean": 4, "OFD-1 mean": 4, "OFD-2 mean": 4})
    assert_has(figures, {"BPD-1 mean": nan, "BPD-2 median": nan, EXCELLENT: 100})
    assert_has(figures_of([[nan] * 4]), {"Images": 0, "Mean": nan, f"{FAILURE} of images": nan})


def test_a_table_of_errors_alone_has_no_figures_of_lengths():
    figures = figures_of([[1.0] * 4] * 2)
    for name in ("OFD absolute error, px", "HC bias, mm", "Landmarks within 5 mm, %"):
        assert math.isnan(figures[name])


def test_the_errors_of_the_lengths_are_those_by_hand(predictions):
    """OFD errs by −30, 0 and 0 px, and only the first image has a scale, 0.2 mm per px."""
    figures = all_figures(table_of_test(some_of(predictions, 0, 1, 1)))
    spread = 1.96 * math.sqrt(300)  # by the sample standard deviation
    assert_has(
        figures,
        {
            "OFD absolute error, px": 10,
            "OFD absolute error, px, std": math.sqrt(200),
            "OFD absolute error, px, median": 0,
            "OFD bias, px": -10,
            "OFD lower limit, px": -10 - spread,
            "OFD upper limit, px": -10 + spread,
            "OFD absolute error, mm": 6,
            "OFD bias, mm": math.nan,  # of one length
            "OFD within 5 mm, %": 0,
            "OFD known in mm": 1,
            "BPD absolute error, px": 0,
            "BPD within 5 mm, %": 100,
        },
    )


def test_the_distances_of_the_landmarks_are_in_mm_where_the_scale_is_known(predictions):
    """15, 15, 90 and 90 px are 3, 3, 18 and 18 mm; then OFD-1 is found."""
    assert_has(
        all_figures(table_of_test(predictions)),
        {
            "Landmarks absolute error, mm": 10.5,
            "Landmarks absolute error, mm, std": 7.5,
            "Landmarks within 5 mm, %": 50,
            "Landmarks known in mm": 4,
        },
    )
    table = table_of_test(predictions).assign(
        ofd_1_error_mm=[0.0, np.nan], bpd_1_error_mm=[3.0, np.nan]
    )
    assert_has(
        all_figures(table),
        {"Landmarks absolute error, mm, median": 3, "Landmarks within 5 mm, %": 75},
    )


def test_the_error_of_the_circumference_is_that_of_the_ellipses(predictions):
    """Axes of 120 and 90 px are found as a circle of 90 px; the second image is right."""
    error = math.pi * 90 - arc_length(120, 90)
    figures = all_figures(table_of_test(some_of(predictions, 0, 1, 1)))
    assert_has(
        figures,
        {
            "HC absolute error, px": -error / 3,
            "HC absolute error, px, std": -error * math.sqrt(2) / 3,
            "HC bias, px": error / 3,
            "HC absolute error, mm": -error / 5,
            "HC known in mm": 1,
        },
    )


def test_exactly_5_mm_are_within_5_mm(predictions):
    predictions.rate[:] = 1 / 6  # OFD errs by 30 px
    assert_has(all_figures(table_of_test(predictions)), {"OFD within 5 mm, %": 100})


def test_by_the_second_reader_there_are_its_distances_and_its_circumferences(predictions):
    predictions.rate[:] = 0.2
    table = table_of_test(predictions)
    table = table.assign(second_hc_mm=table["hc_pred_mm"] + [1, 5.01])
    distances = landmark_columns({"pred_second_px256": np.array([[1.0, 2, 3, 4], [5, 6, 7, 60]])})
    figures = all_figures(table.join(pd.DataFrame(distances)), "pred_second_px256")
    assert_has(figures, {"Mean": 11, "Max": 60, "BPD-2 mean": 32, FAILURE: 12.5})
    assert_has(figures, {"HC absolute error, mm": 3.005, "HC bias, mm": -3.005})
    assert_has(figures, {"HC within 5 mm, %": 50, "HC known in mm": 2})
    assert not [name for name in figures if name.startswith("OFD absolute")]


def test_agreement_is_the_bias_and_1_96_sample_standard_deviations():
    """Bland & Altman 1986, of −30, 0 and 0: the sample standard deviation is √300."""
    spread = 1.96 * 300**0.5
    limits = agreement(np.array([-30.0, np.nan, 0, 0]))
    assert limits == pytest.approx((-10, -10 - spread, -10 + spread))
    assert np.isnan(agreement(np.array([-30.0, np.nan]))).all()


# The intervals


def mean_interval(errors, names):
    return interval(resampled_figures(errors, names)["Mean"])


def binomial_interval(trials, probability):
    """The smallest numbers of successes with a cumulated probability of 2.5 and of 97.5 %."""
    ends = []
    for level in (0.025, 0.975):
        cumulated, successes = 0.0, -1
        while cumulated < level:
            successes += 1
            ways = math.comb(trials, successes)
            failures = trials - successes
            cumulated += ways * probability**successes * (1 - probability) ** failures
        ends.append(successes)
    return ends


def test_images_with_errors_of_0_or_1_have_the_interval_of_the_binomial_distribution():
    errors = np.repeat([[0.0], [1.0]], [70, 30], axis=0) * np.ones(4)
    low, high = mean_interval(errors, [f"{i:02d}" for i in range(100)])
    assert [low, high] == [n / 100 for n in binomial_interval(100, 0.3)] == [0.21, 0.39]


def test_shares_of_images_have_the_interval_of_the_binomial_distribution():
    errors = np.repeat([[10.0], [10.1], [50.0], [50.1]], [70, 5, 5, 20], axis=0) * np.ones(4)
    resampled = resampled_figures(errors, [f"{i:02d}" for i in range(100)])
    for figure, probability in ((EXCELLENT, 0.7), (FAILURE, 0.2)):
        expected = binomial_interval(100, probability)
        assert interval(resampled[figure]) == pytest.approx(expected, abs=1.01)  # a step at most


@pytest.mark.parametrize("missing", [0, 1])  # an even and an odd number of errors
def test_the_figures_of_each_resample_are_those_of_the_images_in_it(missing):
    errors = SOME_ERRORS.copy()
    errors[3, :missing] = np.nan
    resampled = resampled_figures(errors, NAMES)
    random = np.random.default_rng(RESAMPLING_SEED)
    chosen = errors[random.integers(12, size=(10_000, 12))].reshape(10_000, -1)
    known = np.isfinite(chosen).sum(axis=1)
    for figure, expected in {
        "Mean": np.nanmean(chosen, axis=1),
        "Median": np.nanmedian(chosen, axis=1),
        EXCELLENT: 100 * (chosen <= 10).sum(axis=1) / known,
        FAILURE: 100 * (chosen > 50).sum(axis=1) / known,
    }.items():
        np.testing.assert_allclose(resampled[figure], expected, rtol=1e-12, err_msg=figure)


def test_an_interval_reaches_from_the_2_5th_to_the_97_5th_percentile():
    assert interval(np.arange(1001.0)[::-1]) == (25, 975)


def test_ten_images_have_an_interval_and_nine_have_none():
    assert resampled_figures(SOME_ERRORS[:9], NAMES[:9]) is None
    low, high = mean_interval(SOME_ERRORS[:10], NAMES[:10])
    assert low < SOME_ERRORS[:10].mean() < high


def test_an_image_without_annotation_changes_no_interval():
    expected = mean_interval(SOME_ERRORS, NAMES)
    errors = np.insert(SOME_ERRORS, 4, np.nan, axis=0)
    assert mean_interval(errors, [*NAMES[:4], "0", *NAMES[4:]]) == expected
    assert resampled_figures(np.insert(SOME_ERRORS[:9], 0, np.nan, axis=0), NAMES[:10]) is None


def test_an_interval_does_not_depend_on_the_order_of_the_rows():
    order = np.random.default_rng(3).permutation(12)
    assert mean_interval(SOME_ERRORS[order], np.array(NAMES)[order]) == mean_interval(
        SOME_ERRORS, NAMES
    )
