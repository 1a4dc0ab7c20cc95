"""The report's figures of an array of errors, and the limits of agreement."""

import numpy as np
import pytest

from common.figures import agreement, band_counts, error_figures


def test_figures_of_known_errors():
    """1, 3, 5, 7, 11, 13, 15 and 105 by hand: the standard deviation is that of the population,
    the 95th percentile lies 0.65 of the way from 15 to 105."""
    errors = np.array([[1.0, 3, 5, 7], [11, 13, 15, 105], [np.nan] * 4])
    assert error_figures(errors) == {
        "mean": 20,
        "std": pytest.approx(32.4499615, abs=1e-6),
        "median": 9,
        "min": 1,
        "max": 105,
        "95th percentile": pytest.approx(15 + 0.65 * 90),
    }


def test_bands_are_closed_above():
    errors = np.array([0, 10, 10.01, 20, 20.01, 50, 50.01, 300, np.nan])
    assert band_counts(errors).tolist() == [2, 2, 2, 2]
    assert band_counts(np.array([1.0])).tolist() == [1, 0, 0, 0]


def test_agreement_is_the_bias_and_1_96_sample_standard_deviations():
    """Bland & Altman 1986, of −30, 0 and 0: the sample standard deviation is √300."""
    spread = 1.96 * 300**0.5
    limits = agreement(np.array([-30.0, np.nan, 0, 0]))
    assert limits == pytest.approx((-10, -10 - spread, -10 + spread))
