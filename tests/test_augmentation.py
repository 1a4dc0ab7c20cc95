"""Hypothesis 2's augmentation: landmarks move with their pixels, within the report's limits."""

import math

import pytest
import torch

from common import augmentation
from common.augmentation import augment
from common.heatmaps import gaussian_heatmaps

CENTER = 127.5


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def find_dots(images, near):
    """The middle of the brightest spot within 12 px of each given place: [B, 4, 2] → same.

    Its core only: the field bends the outskirts of a dot, and with them its centre of gravity.
    """
    offsets = torch.arange(-12, 13)
    found = torch.empty_like(near)
    for i, j in torch.cartesian_prod(torch.arange(len(near)), torch.arange(4)).tolist():
        x, y = near[i, j].round().long()[:, None] + offsets
        light = images[i, 0][y[:, None], x]
        light = light * (light >= 0.7 * light.max())
        found[i, j] = torch.stack([(light * x).sum(), (light * y[:, None]).sum()]) / light.sum()
    return found


def test_landmarks_move_with_the_pixels_they_mark():
    # Four dots that stay in the frame and apart under any rotation of up to 15°.
    batch = 64
    landmarks = torch.tensor([[128.0, 60.0], [120.0, 200.0], [55.0, 120.0], [205.0, 140.0]])
    landmarks = landmarks + 20 * (torch.rand(batch, 4, 2, generator=generator(1)) - 0.5)
    dots = gaussian_heatmaps(landmarks, (256, 256), sigma=1.5).amax(dim=1, keepdim=True)
    images, moved = augment(dots.expand(-1, 3, -1, -1), landmarks, generator(2))
    distance = (find_dots(images, moved) - moved).norm(dim=-1)
    assert distance.max() < 1
    assert (moved - landmarks).norm(dim=-1).median() > 5  # and they did move


def test_landmarks_move_with_their_pixels_to_a_hundredth_of_a_pixel(monkeypatch):
    """In a picture whose values are the coordinates, what stands at a moved landmark tells where
    the landmark was."""
    monkeypatch.setattr(augmentation, "MAX_PHOTOMETRIC_CHANGE", 0)
    monkeypatch.setattr(augmentation, "NOISE_SIGMA", 0)
    size, batch = 128, 32
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    coordinates = torch.stack([x, y])[None].expand(batch, 2, size, size) / (size - 1)
    corners = torch.tensor([[24.0, 24.0], [103.0, 24.0], [24.0, 103.0], [103.0, 103.0]])
    landmarks = corners + 20 * (torch.rand(batch, 4, 2, generator=generator(1)) - 0.5)
    images, moved = augment(coordinates, landmarks, generator(2))
    grid = 2 * moved[:, None] / (size - 1) - 1
    read = torch.nn.functional.grid_sample(images, grid, align_corners=True)
    read = read[:, :, 0].mT * (size - 1)
    flipped = (read[:, 2, 0] > size / 2)[:, None, None]  # BPD-1 was the other end
    expected = torch.where(flipped, landmarks[:, [0, 1, 3, 2]], landmarks)
    distance = (read - expected).norm(dim=-1)
    assert distance.max() < 0.01


def test_a_flip_exchanges_the_bpd_ends_and_keeps_sides():
    # One light in the left half: after a flip it is in the right half.
    images = torch.zeros(400, 1, 64, 64)
    images[:, :, 16:48, :25] = 1
    landmarks = torch.tensor([[32.0, 10.0], [32.0, 54.0], [10.0, 32.0], [50.0, 32.0]])
    images, moved = augment(images, landmarks.expand(400, 4, 2), generator())
    flipped = images[..., 32:].sum(dim=(1, 2, 3)) > images[..., :32].sum(dim=(1, 2, 3))
    assert 0.4 < flipped.float().mean() < 0.6  # p = 0.5: 0.4 and 0.6 are four sigma off
    # BPD-1 stays the left end, OFD-1 the upper end, flipped or not …
    assert (moved[:, 2, 0] < moved[:, 3, 0]).all()
    assert (moved[:, 0, 1] < moved[:, 1, 1]).all()
    # … and of a flipped image, BPD-1 is what was 50 from the left: now 63 − 50.
    assert moved[~flipped, 2, 0].mean().item() == pytest.approx(10, abs=1)
    assert moved[flipped, 2, 0].mean().item() == pytest.approx(13, abs=1)


def test_rotation_is_uniform_within_15_degrees_about_the_centre():
    x, y = 127.5, 31.5
    landmarks = torch.tensor([[x, 5.0], [x, 58.0], [20.0, y], [235.0, y]])
    _, moved = augment(torch.zeros(400, 1, 64, 256), landmarks.expand(400, 4, 2), generator())
    across = moved[:, 3] - moved[:, 2]
    degrees = torch.rad2deg(torch.atan2(across[:, 1], across[:, 0]))
    assert degrees.abs().max() < 15 + 3  # the elastic field tilts a little more
    assert degrees.abs().max() > 14
    assert degrees.mean().abs() < 1
    assert degrees.std().item() == pytest.approx(30 / math.sqrt(12), rel=0.07)  # uniform
    middle = (moved[:, 0] + moved[:, 1]) / 2
    assert middle.mean(dim=0).tolist() == pytest.approx([x, y], abs=0.5)


def test_elastic_field_has_the_size_of_simards():
    # Smoothing white noise of variance 1/3 with a 2-D Gaussian leaves the variance
    # (1/3) / (4πσ²); times alpha 50 at σ = 5 that is a standard deviation of 1.629 px. At the
    # centre neither flip (up to a sign) nor rotation moves a point: what is left is the field.
    center = torch.full((400, 4, 2), 31.5)
    _, moved = augment(torch.zeros(400, 1, 64, 64), center, generator())
    expected = 50 * math.sqrt(1 / 3) / (5 * math.sqrt(4 * math.pi))
    assert (moved - center)[:, 0].std().item() == pytest.approx(expected, rel=0.08)


def test_brightness_and_contrast_stay_within_a_fifth():
    # A flat picture has no contrast: its brightness factor is all that shows.
    flat, landmarks = torch.full((400, 1, 128, 128), 0.5), torch.full((400, 4, 2), 63.5)
    images, _ = augment(flat, landmarks, generator())
    middle = images[:, :, 36:92, 36:92].mean(dim=(1, 2, 3)) / 0.5
    assert middle.min() > 0.8 - 0.005
    assert middle.max() < 1.2 + 0.005
    assert middle.std().item() == pytest.approx(0.4 / math.sqrt(12), rel=0.15)  # uniform
    # Two tones about the mean 0.5: their difference shows brightness times contrast.
    images = torch.full((400, 1, 128, 128), 0.4)
    images[:, :, 64:] = 0.6
    images, _ = augment(images, landmarks, generator())
    upper = images[:, :, 20:40, 50:78].mean(dim=(1, 2, 3))
    lower = images[:, :, 88:108, 50:78].mean(dim=(1, 2, 3))
    contrast = (lower - upper) / (lower + upper) / 0.2
    assert contrast.min() > 0.8 - 0.03
    assert contrast.max() < 1.2 + 0.03
    assert contrast.std().item() == pytest.approx(0.4 / math.sqrt(12), rel=0.15)


def test_noise_is_grey_and_of_sigma_2_percent():
    images, _ = augment(
        torch.full((20, 3, 256, 256), 0.5), torch.full((20, 4, 2), CENTER), generator()
    )
    assert torch.equal(images[:, 0], images[:, 1])
    assert torch.equal(images[:, 0], images[:, 2])
    middle = images[:, 0, 64:192, 64:192]
    assert middle.std(dim=(1, 2)).mean().item() == pytest.approx(0.02, rel=0.03)


def test_result_is_in_0_to_1_and_black_outside_the_frame():
    # The level landmarks tell the angle.
    landmarks = torch.tensor([[CENTER, 20.0], [CENTER, 235.0], [20.0, CENTER], [235.0, CENTER]])
    images, moved = augment(torch.ones(60, 3, 256, 256), landmarks.expand(60, 4, 2), generator())
    assert images.min() == 0
    assert images.max() == 1
    # A rotation by 8° brings 18 px of outside into each corner; the elastic field moves a pixel
    # by hardly more than 8. The middle stays in the frame under any rotation.
    across = moved[:, 3] - moved[:, 2]
    rotated = (across[:, 1] / across[:, 0]).abs() > math.tan(math.radians(8))
    assert rotated.sum() > 10
    assert (images[rotated][..., [0, 0, -1, -1], [0, -1, 0, -1]] == 0).all()
    assert images[..., 64:192, 64:192].min() > 0.6


def test_randomness_comes_from_the_generator_alone():
    """Neither global randomness nor the number of threads plays a part; the inputs stay."""
    images = torch.rand(3, 3, 256, 256, generator=generator(5))
    landmarks = torch.full((3, 4, 2), 100.0)
    before = images.clone(), landmarks.clone()
    threads, results = torch.get_num_threads(), []
    for number in (1, 2, 5):
        torch.set_num_threads(number)
        torch.manual_seed(number)
        state = torch.get_rng_state()
        results.append(augment(images, landmarks, generator(7)))
        assert torch.equal(torch.get_rng_state(), state)
    torch.set_num_threads(threads)
    first = results[0]
    for result in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(first, result))
    assert all(torch.equal(a, b) for a, b in zip((images, landmarks), before))
    assert not torch.equal(first[0], augment(images, landmarks, generator(8))[0])
    assert not torch.equal(first[0][0] - images[0], first[0][1] - images[1])  # each differently


def test_a_landmark_that_is_not_annotated_stays_so_and_the_others_move_as_before():
    landmarks = torch.tensor([[[20.0, 30.0]] * 4, [[40.0, 10.0]] * 4])
    partly = landmarks.clone()
    partly[:, 2] = torch.nan  # BPD-1; after a flip it is BPD-2 that is not known
    images = torch.rand(2, 1, 64, 64)
    for seed in range(4):
        same, moved = augment(images, landmarks, generator(seed))
        image, ours = augment(images, partly, generator(seed))
        assert torch.equal(image, same)
        is_known = torch.isfinite(ours).all(dim=-1)
        assert is_known.sum(dim=1).tolist() == [3, 3]
        assert is_known[:, :2].all()
        assert torch.equal(ours[is_known], moved[is_known])
