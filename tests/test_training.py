"""The learning-rate schedule, one epoch of training, and validation."""

import itertools
import math

import numpy as np
import pytest
import torch
from tqdm import tqdm

from common import training
from common.losses import AdaptiveWingLoss, HeatmapLoss
from common.models import UNet
from common.training import (
    train_one_epoch,
    training_batches,
    validate,
    validation_batches,
    warmup_cosine,
)
from tests.conftest import images_of

MSE = HeatmapLoss(torch.nn.MSELoss(), sigma=10)


def learning_rates(epochs, warmup_epochs, lr=1e-3):
    """The rate of each epoch as the optimiser has it while that epoch trains."""
    optimizer = torch.optim.AdamW([torch.zeros(1, requires_grad=True)], lr=lr)
    scheduler = warmup_cosine(optimizer, epochs, warmup_epochs, min_lr=1e-6)
    rates = []
    for _ in range(epochs):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def test_with_no_more_epochs_than_warm_up_the_rate_only_rises():
    assert learning_rates(5, 5) == pytest.approx([2e-4, 4e-4, 6e-4, 8e-4, 1e-3])
    assert learning_rates(3, 5) == pytest.approx([2e-4, 4e-4, 6e-4])


def test_no_warm_up_starts_at_the_full_rate():
    assert learning_rates(1, 0) == pytest.approx([1e-3])
    assert learning_rates(3, 0) == pytest.approx([1e-3, (1e-3 + 1e-6) / 2, 1e-6])
    assert learning_rates(6, 5)[-2:] == pytest.approx([1e-3, 1e-6])


def test_a_rate_below_the_lowest_stays_where_it_is():
    assert learning_rates(20, 2, lr=1e-7) == pytest.approx([5e-8] + 19 * [1e-7])
    assert learning_rates(20, 0, lr=1e-6) == pytest.approx(20 * [1e-6])


class Recorder(torch.nn.Module):
    """A model of one parameter that notes the mean brightness of each image it sees."""

    def __init__(self):
        super().__init__()
        self.level = torch.nn.Parameter(torch.zeros(()))
        self.seen = []

    def forward(self, images):
        self.seen += [round(v * 255) for v in images.mean(dim=(1, 2, 3)).tolist()]
        return self.level.expand(len(images), 4, *images.shape[-2:])


def numbered_images(count):
    """Images 0, 1, 2, … as bright as their number, each landmark in the middle."""
    images = torch.arange(count, dtype=torch.uint8)[:, None, None, None].repeat(1, 1, 16, 16)
    landmarks = torch.full((count, 4, 2), 8.0)
    return images_of([str(i) for i in range(count)], images, landmarks, np.full((count, 2), 32.0))


def run_epoch(batches, lr=0.0, loss=MSE, dtype=torch.float32, model=None):
    model = model or Recorder()
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    return model, train_one_epoch(model, loss, optimizer, scaler, tqdm(batches), dtype)


def seen_in(seed, batch_size=3):
    return run_epoch(training_batches(numbered_images(10), batch_size, seed))[0].seen


def test_an_epoch_shows_every_image_once_in_an_order_of_its_seed():
    assert sorted(seen_in(1)) == list(range(10))
    assert seen_in(1) == seen_in(1, batch_size=10) != seen_in(2)
    assert seen_in(1) != sorted(seen_in(1))
    torch.manual_seed(5)
    assert seen_in(1) == seen_in(1)  # whatever else is drawn


def test_batches_are_images_their_landmarks_and_a_weight_of_1():
    data = numbered_images(10)
    data.landmarks += torch.arange(10.0)[:, None, None]
    for batches in (training_batches(data, 4, seed=1), validation_batches(data, 4)):
        seen = []
        for (images, landmarks, weight), count in zip(batches, (4, 4, 2)):
            assert images.shape == (count, 3, 16, 16)
            assert landmarks.shape == (count, 4, 2)
            torch.testing.assert_close(255 * images[:, 0, 0, 0], landmarks[:, 0, 0] - 8)
            assert weight == 1
            seen += landmarks[:, 3, 1].tolist()
        assert sorted(seen) == list(range(8, 18))
    assert seen == sorted(seen)  # validation has them in their order


def test_the_augmentation_is_drawn_from_the_seed_for_each_batch_anew():
    def augment(images, landmarks, generator):
        return images, landmarks + torch.rand((), generator=generator)

    def shifts(seed):
        batches = training_batches(numbered_images(10), 3, seed, augment)
        return [landmarks[0, 0, 0].item() - 8 for _, landmarks, _ in batches]

    assert len(set(shifts(1))) == 4
    assert shifts(1) == shifts(1)
    assert not set(shifts(1)) & set(shifts(2))


# The model says 0 everywhere, and the target is exp(−d²/200) about (8, 8), all of it above 0.01;
# squared, it is over σ², not 2σ². The mean over a heatmap of 16×16 px:
LOSS = sum(math.exp(-((i - 8) ** 2) / 100) for i in range(16)) ** 2 / 256


@pytest.mark.parametrize("batch_size", [3, 10])  # the last of 3, 3, 3 and 1 counts as one
def test_an_epoch_returns_how_many_landmarks_are_annotated_and_the_sum_of_their_losses(batch_size):
    batches = training_batches(numbered_images(10), batch_size, seed=1)
    assert run_epoch(batches)[1].tolist() == pytest.approx([40, 40 * LOSS], rel=1e-5)


def test_validation_returns_the_same_and_how_many_are_found_within_10_px():
    data, model = numbered_images(10), Recorder()
    # (0, 0) is found everywhere, 8√2 = 11.3 px off; these two are 9.9 and 10 px off.
    data.landmarks[9, 1], data.landmarks[8, 2] = torch.tensor([[7.0, 7.0], [6.0, 8.0]])
    number, losses, within = validate(model, MSE, validation_batches(data, 4)).tolist()
    assert (number, within) == (40, 2)
    assert losses == pytest.approx(40 * LOSS, rel=0.01)
    assert model.seen == list(range(10))


def test_a_landmark_that_is_not_annotated_counts_in_no_sum():
    half = numbered_images(10)
    half.landmarks[:, ::2] = math.nan
    half.landmarks[:5] = math.nan
    half.landmarks[9, 3] = 7.0
    number, losses, within = validate(Recorder(), MSE, validation_batches(half, 4)).tolist()
    assert (number, within) == (10, 1)
    assert losses == pytest.approx(10 * LOSS, rel=0.03)
    totals = run_epoch(training_batches(half, 3, seed=1))[1]
    assert totals.tolist() == pytest.approx([number, losses], rel=1e-5)


def test_the_weight_of_a_batch_scales_its_step_and_not_its_loss():
    """Of plain gradient descent, a step is proportional to it."""

    def epoch(weight):
        images, landmarks, _ = next(training_batches(numbered_images(3), 3, seed=1))
        return run_epoch([(images, landmarks, weight)], lr=0.1)

    (model, totals), (other, other_totals), (still, _) = epoch(1.0), epoch(0.5), epoch(0.0)
    assert model.level.item() > 0 == still.level.item()
    assert other.level.item() == pytest.approx(model.level.item() / 2)
    assert torch.equal(totals, other_totals)


def test_each_batch_is_a_step_of_its_own_gradient():
    """On −x, the gradient is −1 throughout: three steps of 0.1 and not of 0.1, 0.2 and 0.3."""

    def loss(heatmaps, _):
        return -heatmaps.mean()

    model, _ = run_epoch(training_batches(numbered_images(9), 3, seed=1), lr=0.1, loss=loss)
    assert model.level.item() == pytest.approx(0.3)


def test_validation_leaves_the_network_as_it_is_and_training_does_not():
    torch.manual_seed(0)
    model, data = UNet(), numbered_images(2)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    loss = HeatmapLoss(AdaptiveWingLoss(14, 0.5, 1, 2.1), sigma=10)
    validate(model, loss, validation_batches(data, 2))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    run_epoch(training_batches(data, 2, seed=0), lr=0.1, loss=loss, model=model)
    changed = {
        key for key, value in model.state_dict().items() if not torch.equal(value, before[key])
    }
    assert {"conv_last.weight", "dconv_down1.1.running_mean"} <= changed


def test_one_loss_that_is_not_finite_makes_that_of_the_epoch_so():
    def loss(heatmaps, _):
        calls.append(heatmaps.sum() * 0 + (math.nan if len(calls) == 1 else 1.0))
        return calls[-1]

    calls = []
    batches = training_batches(numbered_images(10), 3, seed=1)
    number, losses = run_epoch(batches, loss=loss)[1].tolist()
    assert (number, len(calls)) == (40, 4)
    assert math.isnan(losses)


def test_the_bar_shows_the_mean_loss_so_far_about_once_a_second(monkeypatch):
    def loss(heatmaps, _):
        calls.append(heatmaps.sum() * 0 + len(calls))
        return calls[-1]

    class Bar(tqdm):
        def set_postfix(self, **shown):
            texts.append(shown["loss"])

    for seconds_a_look, expected in (
        (0.4, ["1.000000"]),  # of 0, 1, 2 at the third of four batches
        (2, ["0.000000", "0.500000", "1.000000", "1.200000"]),  # of which the last has one image
    ):
        calls, texts, clock = [], [], itertools.count(step=seconds_a_look)
        monkeypatch.setattr(training.time, "monotonic", lambda clock=clock: next(clock))
        model = Recorder()
        bar = Bar(training_batches(numbered_images(10), 3, seed=1))
        scaler = torch.amp.GradScaler("cpu", enabled=False)
        train_one_epoch(model, loss, torch.optim.SGD(model.parameters(), lr=0), scaler, bar)
        assert texts == expected


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_network_computes_in_the_precision_asked_for(dtype):
    def loss(heatmaps, landmarks):
        seen.append((heatmaps.dtype, landmarks.dtype))
        return MSE(heatmaps, landmarks)

    seen, data = [], numbered_images(2)
    model = torch.nn.Conv2d(3, 4, 3, padding=1)
    run_epoch(training_batches(data, 2, seed=0), lr=0.1, loss=loss, dtype=dtype, model=model)
    validate(model, loss, validation_batches(data, 2), dtype)
    assert seen == [(dtype, torch.float32)] * 2
    assert model.weight.dtype == torch.float32
