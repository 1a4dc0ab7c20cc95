"""The two losses of the report: Adaptive Wing (Wang et al. 2019) and that of whole heatmaps.

The expected values are closed forms in double precision, written out here from the paper.
"""

import math

import pytest
import torch
from torch import nn

from common.heatmaps import gaussian_heatmaps
from common.losses import AdaptiveWingLoss, HeatmapLoss

OMEGA, THETA, EPSILON, ALPHA = 14, 0.5, 1, 2.1  # as in the report
ADAPTIVE_WING = AdaptiveWingLoss()  # these are its defaults


def adaptive_wing(pred, target, epsilon=EPSILON):
    """Wang et al. 2019, eq. 3, for one pair of numbers in double precision."""
    difference, p = abs(target - pred), ALPHA - target
    if difference < THETA:
        return OMEGA * math.log(1 + (difference / epsilon) ** p)
    a = OMEGA * (1 / (1 + (THETA / epsilon) ** p)) * p * (THETA / epsilon) ** (p - 1) / epsilon
    c = THETA * a - OMEGA * math.log(1 + (THETA / epsilon) ** p)
    return a * difference - c


@pytest.mark.parametrize("target", [0.0, 0.01, 0.3, 0.5, 0.99, 1.0])
@pytest.mark.parametrize("difference", [0.0, 1e-3, 0.2, 0.4999, 0.5, 0.5001, 1.0, 30.0])
@pytest.mark.parametrize(("sign", "epsilon"), [(1, EPSILON), (-1, EPSILON), (1, 2)])
def test_adaptive_wing_has_the_closed_form_of_the_paper(target, difference, sign, epsilon):
    pred, true = torch.tensor([[target + sign * difference], [target]], dtype=torch.float64)
    loss = AdaptiveWingLoss(OMEGA, THETA, epsilon, ALPHA)(pred, true)
    expected = adaptive_wing(pred.item(), target, epsilon)
    assert loss.item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("target", [0.0, 0.4, 1.0])
def test_adaptive_wing_has_no_jump_and_no_kink_at_theta(target):
    def value_and_slope(difference):
        pred = torch.tensor(target + difference, dtype=torch.float64, requires_grad=True)
        loss = ADAPTIVE_WING(pred, torch.tensor(target, dtype=torch.float64))
        loss.backward()
        return loss.item(), pred.grad.item()

    below, above = value_and_slope(THETA - 1e-9), value_and_slope(THETA + 1e-9)
    assert below == pytest.approx(above, rel=1e-6)


def test_the_gradient_of_adaptive_wing_is_finite_everywhere():
    differences = [0.0, 1e-30, 1e-8, THETA, 1.0, 65504.0, 1e20, 1e38]
    for target in (0.0, 0.01, 0.5, 1.0):
        for sign in (1, -1):
            pred = torch.tensor([target + sign * d for d in differences], requires_grad=True)
            # one at a time, or one bad gradient could hide among the others
            for i in range(len(differences)):
                (gradient,) = torch.autograd.grad(
                    ADAPTIVE_WING(pred[i : i + 1], torch.tensor([target])), pred
                )
                assert torch.isfinite(gradient).all(), (target, differences[i])


def test_adaptive_wing_of_half_precision_is_computed_in_float32():
    # In FP16, 1e-4 ** 2.1 would be 0, and 300 ** 2.1 infinite.
    for difference in (1e-4, 300.0):
        pred = torch.tensor([difference], dtype=torch.float16)
        loss = ADAPTIVE_WING(pred, torch.zeros(1, dtype=torch.float16))
        assert loss.dtype == torch.float32
        assert loss.item() == pytest.approx(adaptive_wing(pred.item(), 0.0), rel=1e-5)


LANDMARKS = torch.tensor([[[60.0, 40.0], [80.0, 50.0], [45.5, 62.25], [100.0, 45.0]]])


def gaussians(height, width, sigma):
    """exp(−d²/2σ²) around LANDMARKS, 0 below 0.01, pixel by pixel in double precision."""

    def value(x, y, pixel_x, pixel_y):
        density = math.exp(-((x - pixel_x) ** 2 + (y - pixel_y) ** 2) / (2 * sigma**2))
        return density if density >= 0.01 else 0.0

    return torch.tensor(
        [
            [[value(x, y, column, row) for column in range(width)] for row in range(height)]
            for x, y in LANDMARKS[0].tolist()
        ],
        dtype=torch.float64,
    )[None]


def test_the_heatmap_loss_is_0_for_the_gaussians_and_its_gradient_leads_there():
    loss = HeatmapLoss(nn.MSELoss(), sigma=5)
    perfect = gaussians(100, 150, sigma=5).float()
    assert loss(perfect, LANDMARKS).item() < 1e-12
    # Its gradient leads there: the derivative of a mean of squares is twice the difference / N.
    heatmaps = torch.full_like(perfect, 0.3, requires_grad=True)
    loss(heatmaps, LANDMARKS).backward()
    expected = 2 * (0.3 - perfect) / perfect.numel()
    torch.testing.assert_close(heatmaps.grad, expected, rtol=1e-4, atol=1e-10)
    assert loss(perfect, LANDMARKS.flip(-1)).item() > 1e-3


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_heatmap_loss_of_empty_heatmaps_is_the_mean_of_the_squared_gaussian(dtype):
    """Squared, a Gaussian has the integral πσ², less 1e-4 of it for the cut-off at 0.01.

    Under autocast a network gives heatmaps in bf16, whose three digits are not the target's.
    """
    heatmaps = torch.zeros(1, 4, 100, 150, dtype=dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
        loss = HeatmapLoss(nn.MSELoss(), sigma=10)(heatmaps, LANDMARKS)
    assert loss.dtype == torch.float32
    expected = math.pi * 10**2 * (1 - 1e-4) / (100 * 150)
    assert loss.item() == pytest.approx(expected, rel=2e-5)


def test_the_heatmap_loss_with_adaptive_wing_is_its_mean_over_all_pixels():
    # Target 1 on the landmark's pixel alone, for which a prediction of 0.75 costs, by hand,
    # 14 · ln(1 + 0.25^1.1) = 14 · ln(1.217638) = 2.75678; the mean is over all pixels.
    landmarks = torch.tensor([[[3.0, 2.0]] * 4])
    heatmaps = torch.zeros(1, 4, 5, 7)
    heatmaps[:, :, 2, 3] = 0.75
    loss = HeatmapLoss(ADAPTIVE_WING, sigma=0.1)(heatmaps, landmarks)
    assert loss.item() == pytest.approx(2.75678 / (5 * 7), abs=1e-5)


@pytest.mark.parametrize("criterion", [nn.MSELoss(), ADAPTIVE_WING], ids=["MSE", "Adaptive Wing"])
def test_a_landmark_that_is_not_annotated_has_no_gradient_and_the_others_keep_theirs(criterion):
    heatmap_loss = HeatmapLoss(criterion, sigma=4)
    annotated = torch.tensor([[[20.0, 30.0]] * 4, [[40.0, 10.0]] * 4])
    values = torch.rand(2, 4, 64, 64, generator=torch.Generator().manual_seed(0))

    def gradient(landmarks):
        heatmaps = values.clone().requires_grad_()
        heatmap_loss(heatmaps, landmarks).backward()
        return heatmaps.grad

    partly = annotated.clone()
    partly[0, 1] = partly[1, 3] = torch.nan
    ours, full = gradient(partly), gradient(annotated)
    is_known = torch.isfinite(partly).all(dim=-1)
    assert (ours[~is_known] == 0).all()
    assert torch.equal(ours[is_known], full[is_known])
    assert (full[~is_known] != 0).any()


@pytest.mark.parametrize("criterion", [nn.MSELoss(), ADAPTIVE_WING], ids=["MSE", "Adaptive Wing"])
def test_the_heatmap_loss_of_annotated_landmarks_is_the_criterion_s_to_the_bit(criterion):
    values = torch.rand(1, 4, 64, 64, generator=torch.Generator().manual_seed(0))
    target = gaussian_heatmaps(LANDMARKS / 2, (64, 64), sigma=4)
    loss = HeatmapLoss(criterion, sigma=4)(values, LANDMARKS / 2)
    assert torch.equal(loss, criterion(values, target))
