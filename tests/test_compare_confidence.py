import numpy as np
import pytest
import torch

from common.heatmaps import gaussian_heatmaps
from tests.compare_confidence import auroc, lead, narrowness


def gaussian(x, y, sigma=10.0):
    return gaussian_heatmaps(torch.tensor([[x, y]] * 4), sigma=sigma)


def test_narrowness_is_that_of_a_gaussian():
    heatmaps = torch.stack([gaussian(100.0, 120.0, sigma) for sigma in (5.0, 10.0, 20.0)])
    expected = [1, 1, 0.5]  # 10 / sigma, at most 1
    assert narrowness(heatmaps)[:, 0].tolist() == pytest.approx(expected, rel=0.02)
    assert narrowness(0.3 * heatmaps).equal(narrowness(heatmaps))


def test_lead_over_a_second_mode():
    two = gaussian(60.0, 60.0) + 0.4 * gaussian(180.0, 100.0)
    assert lead(two[None])[0].tolist() == pytest.approx([0.6] * 4, abs=1e-4)
    # Within 3 sigma it belongs to the peak: what is left is the foot of the Gaussian.
    one = gaussian(60.0, 60.0)
    assert (lead(one[None]) > 0.985).all()


def test_auroc():
    wrong = np.array([[1, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0]], dtype=bool)
    assert auroc(1.0 - wrong, wrong) == (1, 1, 1)
    assert auroc(wrong.astype(float), wrong) == (0, 0, 0)
    confidences = np.arange(12).reshape(3, 4) / 12
    value, low, high = auroc(confidences, wrong)
    # Wrong are ranks 0, 6 and 9 of 12: of the 27 pairs with a right one, 9 + 4 + 2 are in order.
    assert value == pytest.approx(15 / 27)
    assert low <= value <= high
