"""The learning-rate schedule, one epoch of training, and validation."""

import itertools
import math

import numpy as np
import pytest
import torch

from common import training
from common.images import LandmarkImages
from common.losses import AdaptiveWingLoss, HeatmapLoss
from common.models import UNet
from common.training import (
    describe_end_names,
    epoch_batches,
    train_one_epoch,
    validate,
    warmup_cosine,
)
from tests.conftest import table_of

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
    """Images 0, 1, 2, … as bright as their number."""
    images = torch.arange(count, dtype=torch.uint8)[:, None, None, None].repeat(1, 1, 16, 16)
    return LandmarkImages(
        [str(i) for i in range(count)],
        images,
        torch.full((count, 4, 2), 8.0),
        np.full((count, 2), 32.0),
    )


def run_epoch(seed, batch_size=3, lr=0.0, loss=MSE, data=None):
    model = Recorder()
    mean_loss = train_one_epoch(
        model,
        loss,
        torch.optim.SGD(model.parameters(), lr=lr),
        torch.amp.GradScaler("cpu", enabled=False),
        epoch_batches(numbered_images(10) if data is None else data, batch_size, seed),
    )
    return model, mean_loss


def test_an_epoch_shows_every_image_once_in_an_order_of_its_seed():
    first, again, other = run_epoch(1)[0].seen, run_epoch(1)[0].seen, run_epoch(2)[0].seen
    assert sorted(first) == list(range(10))
    assert first == again
    assert first != other
    assert first != sorted(first)


def test_the_loss_of_an_epoch_is_the_mean_over_landmarks_whatever_the_batches():
    # The model says 0 everywhere; the target is exp(−d²/200) about (8, 8), all of it above 0.01.
    offsets = [math.exp(-((i - 8) ** 2) / 100) for i in range(16)]  # squared: over σ², not 2σ²
    expected = sum(offsets) ** 2 / 256
    assert run_epoch(1, batch_size=3)[1] == pytest.approx(expected, rel=1e-5)  # 3, 3, 3, 1
    assert run_epoch(1, batch_size=10)[1] == pytest.approx(expected, rel=1e-5)
    model = Recorder()
    loss, within = validate(model, MSE, numbered_images(10), 4)
    assert loss == pytest.approx(expected)
    assert within == 0  # (0, 0) is found everywhere, 8√2 = 11.3 px off
    assert model.seen == list(range(10))
    # A landmark that is missing counts in neither.
    half = numbered_images(10)
    half.landmarks[:, ::2] = math.nan
    half.landmarks[:5] = math.nan
    half.landmarks[9, 1] = 7.0  # 9.9 px off
    loss, within = validate(Recorder(), MSE, half, 4)
    assert loss == pytest.approx(expected, rel=0.03)
    assert within == 1 / 10
    assert run_epoch(1, data=half)[1] == pytest.approx(loss, rel=1e-5)


def test_training_changes_the_model_and_validation_does_not():
    assert run_epoch(1, lr=0.1)[0].level != 0
    torch.manual_seed(0)
    model = UNet()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    validate(model, HeatmapLoss(AdaptiveWingLoss(14, 0.5, 1, 2.1), sigma=10), numbered_images(2), 2)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_a_loss_that_is_not_finite_is_seen_when_the_bar_is_next_drawn(monkeypatch):

    def loss(heatmaps, landmarks):
        calls.append(heatmaps.sum() * 0 + (math.nan if len(calls) in (2, 3) else 1.0))
        return calls[-1]

    for seconds_between_looks, calls_made in ((0, 4), (2, 3)):
        calls, clock = [], itertools.count(step=seconds_between_looks)
        monkeypatch.setattr(training.time, "monotonic", lambda clock=clock: next(clock))
        assert math.isnan(run_epoch(1, loss=loss)[1])
        assert len(calls) == calls_made


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_network_computes_in_the_precision_asked_for(dtype):
    def loss(heatmaps, landmarks):
        seen.append((heatmaps.dtype, landmarks.dtype))
        return MSE(heatmaps, landmarks)

    seen = []
    model = torch.nn.Conv2d(3, 4, 3, padding=1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    batches = epoch_batches(numbered_images(2), 2, seed=0)
    train_one_epoch(model, loss, optimizer, scaler, batches, dtype=dtype)
    validate(model, loss, numbered_images(2), 2, dtype)
    assert seen == [(dtype, torch.float32)] * 2
    assert model.weight.dtype == torch.float32


HEAD = np.array([[50, 10], [50, 90], [20, 50], [80, 50]])  # OFD-1 above OFD-2, BPD-1 on the left


@pytest.mark.parametrize(
    ("order", "counts"),
    [
        (
            (1, 0, 2, 3),
            "OFD-1 is the upper end in {} of 8 rows, and BPD-1 the left one in 8 of 8. ",
        ),
        (
            (0, 1, 3, 2),
            "OFD-1 is the upper end in 8 of 8 rows, and BPD-1 the left one in {} of 8. ",
        ),
        ((2, 3, 0, 1), "OFD-1 is the upper end in {0} of 8 rows, and BPD-1 the left one in {0} of"),
    ],
    ids=["OFD", "BPD", "OFD and BPD exchanged"],
)
def test_ends_that_less_than_three_quarters_of_the_rows_name_by_direction_are_a_line(order, counts):
    for others, is_said in ((2, False), (3, True), (8, True)):
        table = table_of(*[HEAD] * (8 - others), *[HEAD[list(order)]] * others)
        line = describe_end_names(table)
        assert line.startswith(counts.format(8 - others)) is is_said
        assert ("python -m common.name_ends" in line) is is_said
        assert line.count("\n") == is_said
    assert describe_end_names(table_of([math.nan] * 8)) == ""  # nothing is annotated
