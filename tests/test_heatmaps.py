"""A landmark becomes a Gaussian heatmap, and the heatmap's maximum becomes a landmark again.

Landmarks are (x, y), column and row, in pixels; heatmaps are [..., row, column].
"""

import math

import pytest
import torch

from common.heatmaps import argmax_landmarks, confidence, gaussian_heatmaps

SIZE = (256, 256)  # height, width


def test_a_heatmap_is_a_gaussian_of_peak_1_and_0_where_that_is_below_one_hundredth():
    heatmaps = gaussian_heatmaps(torch.tensor([[[100.0, 60.0]] * 4]), size=(128, 256), sigma=7.0)
    assert heatmaps.shape == (1, 4, 128, 256)
    assert heatmaps.dtype == torch.float32
    for dx, dy in [(0, 0), (7, 0), (0, 7), (-6, 8), (14, 0), (9, -12), (21, 3)]:
        expected = math.exp(-(dx**2 + dy**2) / 98)  # 2σ² with σ = 7
        assert heatmaps[0, 2, 60 + dy, 100 + dx].item() == pytest.approx(expected, rel=1e-5)
    assert heatmaps[0, 2, 60 + 14, 100 + 16] == 0  # exp(−4.612) = 0.0099
    assert heatmaps[heatmaps > 0].min() >= 0.01


def test_each_landmark_has_a_heatmap_of_its_own_between_pixels_too():
    landmarks = torch.tensor([[10.25, 20.0], [30.0, 40.5], [0.0, 0.0], [255.0, 255.0]])
    heatmaps = gaussian_heatmaps(landmarks, SIZE, sigma=10)
    assert heatmaps[0, 20, 10].item() == pytest.approx(math.exp(-(0.25**2) / 200))
    assert heatmaps[1, 40, 30].item() == pytest.approx(math.exp(-(0.5**2) / 200))
    assert heatmaps[1, 40, 30] == heatmaps[1, 41, 30]
    assert heatmaps[2, 0, 0] == heatmaps[3, 255, 255] == 1


def test_a_landmark_outside_is_drawn_at_the_nearest_border_pixel():
    outside = torch.tensor([[-40.0, 100.0], [300.0, -1.0], [50.0, 256.0], [1e6, 1e6]])
    inside = torch.tensor([[0.0, 100.0], [255.0, 0.0], [50.0, 255.0], [255.0, 255.0]])
    outside, inside = (gaussian_heatmaps(each, SIZE, sigma=10) for each in (outside, inside))
    assert torch.equal(outside, inside)


def test_decoding_gives_back_every_column_and_row_exactly():
    x = torch.arange(256)
    # An odd factor makes y a permutation of the rows.
    y = torch.stack([x * factor % 256 for factor in (1, 57, 131, 255)], dim=1)
    landmarks = torch.stack([x[:, None].expand_as(y), y], dim=-1).float()
    assert torch.equal(argmax_landmarks(gaussian_heatmaps(landmarks, SIZE, sigma=10)), landmarks)


def test_decoding_takes_any_leading_shape():
    heatmaps = torch.zeros(2, 3, 4, 5, 7)
    heatmaps[1, 2, 3, 4, 6] = 1
    decoded = argmax_landmarks(heatmaps)
    assert decoded.shape == (2, 3, 4, 2)
    assert decoded[1, 2, 3].tolist() == [6, 4]
    assert decoded.sum() == 10


def test_confidence_is_the_peak_value_within_0_and_1():
    heatmaps = torch.zeros(2, 4, 8, 8)
    heatmaps[0, 1, 3, 4] = 0.25
    heatmaps[0, 2, 0, 0] = 1.5  # nothing holds a network's output below 1
    heatmaps[1] = -0.5
    assert confidence(heatmaps).tolist() == [[0, 0.25, 1, 0], [0, 0, 0, 0]]
    assert confidence(heatmaps.half()).dtype == torch.float32
