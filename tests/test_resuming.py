"""The training loop interrupted, resumed, refused: on a network of a few parameters."""

import math

import numpy as np
import pytest
import torch

from common import UserError, training
from common.dataset import LandmarkImages
from common.training import checkpoint_path_of, fit, warmup_cosine


def tiny_network():
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, padding=1),
        torch.nn.BatchNorm2d(4),
        torch.nn.Conv2d(4, 4, 3, padding=1),
    )


def some_images(count, seed):
    generator = torch.Generator().manual_seed(seed)
    return LandmarkImages(
        [str(i) for i in range(count)],
        torch.randint(0, 256, (count, 1, 32, 32), generator=generator, dtype=torch.uint8),
        32 * torch.rand(count, 4, 2, generator=generator),
        np.full((count, 2), 32.0),
    )


def augment(images, landmarks, generator):
    """Different in each batch, as Hypothesis 2's is."""
    return images * torch.rand(len(images), 1, 1, 1, generator=generator), landmarks


class Loss(torch.nn.MSELoss):
    """An MSE that raises or returns `outcome` at its n-th call."""

    def __init__(self, at_call=None, outcome=None):
        super().__init__()
        self.calls, self.at_call, self.outcome = 0, at_call, outcome

    def forward(self, pred, target):
        self.calls += 1
        if self.calls == self.at_call:
            if isinstance(self.outcome, type):
                raise self.outcome
            return super().forward(pred, target) * self.outcome
        return super().forward(pred, target)


def run(folder, loss=None, schedule="plateau", settings=None, **options):
    """Train for 6 epochs of 4 batches and 2 validation batches each."""
    torch.manual_seed(0)
    model = tiny_network()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    epochs = options.pop("epochs", 6)
    if schedule == "plateau":
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=1)
    else:
        scheduler = warmup_cosine(optimizer, epochs, 2, final_lr=1e-6)
    folder.mkdir(exist_ok=True)
    fit(
        model,
        loss or Loss(),
        optimizer,
        scheduler,
        some_images(10, seed=1),
        some_images(4, seed=2),
        epochs=epochs,
        batch_size=3,
        seed=42,
        model_save_path=str(folder / "model.pth"),
        plot_save_path=str(folder / "curves.png"),
        settings={"lr": 0.01, "epochs": epochs, **(settings or {})},
        augment=augment,
        **options,
    )


def load(folder):
    return [
        torch.load(folder / name, weights_only=True)
        for name in ("model.pth", "model_checkpoint.pth")
    ]


def assert_same(ours, theirs, where=""):
    """Equal to the bit, however deeply nested."""
    assert type(ours) is type(theirs), where
    if isinstance(ours, torch.Tensor):
        assert torch.equal(ours, theirs), where
    elif isinstance(ours, dict):
        assert ours.keys() == theirs.keys(), where
        for key in ours:
            assert_same(ours[key], theirs[key], f"{where}/{key}")
    elif isinstance(ours, (list, tuple)):
        assert len(ours) == len(theirs), where
        for i, pair in enumerate(zip(ours, theirs)):
            assert_same(*pair, f"{where}/{i}")
    else:
        assert ours == theirs, where


@pytest.mark.parametrize("schedule", ["plateau", "cosine"])
@pytest.mark.parametrize("checkpoint_seconds", [0, 60])
def test_interrupted_anywhere_and_resumed_is_the_run_that_was_never_stopped(
    tmp_path, schedule, checkpoint_seconds
):
    run(tmp_path / "through", schedule=schedule)
    expected = load(tmp_path / "through")
    # An epoch asks for the loss 6 times: in the first epoch, in training, in validation, at an
    # epoch's first and last call.
    for call in (2, 7, 12, 15, 23, 36):
        folder = tmp_path / f"stopped at {call}"
        options = {"schedule": schedule, "checkpoint_seconds": checkpoint_seconds}
        with pytest.raises(KeyboardInterrupt):
            run(folder, Loss(call, KeyboardInterrupt), **options)
        finished = (call - 1) // 6
        assert (folder / "model_checkpoint.pth").exists() is (finished > 0)
        if finished:
            assert load(folder)[1]["epoch"] == finished
            assert (folder / "curves.png").exists()
        run(folder, resume=True, **options)
        assert_same(load(folder), expected)
        assert not list(folder.glob("*.tmp"))


def test_resuming_in_bf16(tmp_path):
    run(tmp_path / "through", precision="bf16")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", Loss(20, KeyboardInterrupt), precision="bf16")
    run(tmp_path / "stopped", precision="bf16", resume=True)
    assert_same(load(tmp_path / "stopped"), load(tmp_path / "through"))


def test_two_interruptions_are_no_worse_than_one(tmp_path):
    run(tmp_path / "through")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", Loss(10, KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "stopped", Loss(14, KeyboardInterrupt), resume=True)
    run(tmp_path / "stopped", resume=True)
    assert_same(load(tmp_path / "stopped"), load(tmp_path / "through"))


def test_order_and_augmentation_are_new_in_each_epoch(tmp_path, monkeypatch):
    batches = []

    def note(images, landmarks, generator):
        batches.append((landmarks.sum().item(), torch.rand(1, generator=generator).item()))
        return images, landmarks

    monkeypatch.setitem(globals(), "augment", note)
    run(tmp_path, epochs=2)
    for first, second in zip(zip(*batches[:4]), zip(*batches[4:])):
        assert not set(first) & set(second)


def test_the_seed_changes_the_run(tmp_path):
    run(tmp_path)
    first = load(tmp_path)[1]["train_losses"]
    original = training.train_one_epoch
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            training, "train_one_epoch", lambda *a, seed, **k: original(*a, seed=seed + 1, **k)
        )
        run(tmp_path)
    assert load(tmp_path)[1]["train_losses"] != first


def test_resuming_without_a_checkpoint_starts_at_epoch_1(tmp_path, capsys):
    run(tmp_path, resume=True, epochs=1)
    assert "starts at epoch 1" in capsys.readouterr().out
    assert load(tmp_path)[1]["epoch"] == 1


def test_resuming_a_finished_run_leaves_it_alone(tmp_path, capsys):
    run(tmp_path, epochs=2)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    capsys.readouterr()
    run(tmp_path, epochs=2, resume=True)
    assert "All 2 epochs are done already" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_more_epochs_where_the_schedule_allows_them(tmp_path):
    run(tmp_path / "through", epochs=4)
    run(tmp_path / "prolonged", epochs=2)
    with pytest.raises(UserError, match="epochs was 2 and is now 4"):
        run(tmp_path / "prolonged", epochs=4, resume=True)
    run(tmp_path / "prolonged", epochs=4, resume=True, epochs_may_change=True)
    assert_same(load(tmp_path / "prolonged"), load(tmp_path / "through"))


def test_other_settings_and_other_data_are_refused_by_name(tmp_path, monkeypatch):
    run(tmp_path, epochs=1, settings={"seed": 42, "device": "cpu"})
    with pytest.raises(UserError, match="seed was 42 and is now 7"):
        run(tmp_path, epochs=1, settings={"seed": 7}, resume=True)
    with pytest.raises(UserError, match=r"weight_decay was None and is now 0\.1"):
        run(tmp_path, epochs=1, settings={"weight_decay": 0.1}, resume=True)
    run(tmp_path, epochs=1, settings={"seed": 42, "device": "cuda"}, resume=True)
    other = some_images(10, seed=3)
    monkeypatch.setitem(globals(), "some_images", lambda *_, **__: other)
    with pytest.raises(UserError, match="the images or landmarks are not the same"):
        run(tmp_path, epochs=1, settings={"seed": 42}, resume=True)


def test_a_checkpoint_from_before_a_setting_existed(tmp_path):
    """Such a run did what the setting's default says."""
    later = {"split_by": "image", "augment": False}
    run(tmp_path, epochs=1, settings={"seed": 42})
    assert not load(tmp_path)[1]["args"].keys() & later
    run(tmp_path, epochs=1, settings={"seed": 42, **later}, resume=True)
    with pytest.raises(UserError, match="split_by was image and is now subject"):
        run(tmp_path, epochs=1, settings={**later, "split_by": "subject"}, resume=True)
    with pytest.raises(UserError, match="augment was False and is now True"):
        run(tmp_path, epochs=1, settings={**later, "augment": True}, resume=True)


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path):
    torch.save(tiny_network().state_dict(), tmp_path / "model_checkpoint.pth")
    with pytest.raises(UserError, match="no checkpoint of this package"):
        run(tmp_path, resume=True)


def test_the_best_weights_must_still_be_there(tmp_path):
    # A hundredfold validation loss makes the second epoch worse than the first, so that its
    # checkpoint does not hold the best weights.
    run(tmp_path, Loss(11, 100.0), epochs=2)
    assert load(tmp_path)[1]["best_epoch"] == 1
    (tmp_path / "model.pth").unlink()
    with pytest.raises(UserError, match=r"model\.pth: is missing"):
        run(tmp_path, epochs=3, resume=True, epochs_may_change=True)


def test_the_best_weights_outlive_a_resumption_that_finds_no_better_ones(tmp_path):
    run(tmp_path, Loss(11, 100.0), epochs=2)
    best = load(tmp_path)[0]
    # In the resumed run, calls 1 to 4 train and 5 is the first of validation.
    run(tmp_path, Loss(5, 100.0), epochs=3, resume=True, epochs_may_change=True)
    assert load(tmp_path)[1]["epoch"] == 3
    assert load(tmp_path)[1]["best_epoch"] == 1
    assert_same(load(tmp_path)[0], best)


def test_a_fresh_start_moves_an_earlier_run_aside(tmp_path, capsys):
    run(tmp_path, epochs=1)
    first = load(tmp_path)
    capsys.readouterr()
    run(tmp_path, epochs=2)
    printed = capsys.readouterr().out
    assert "model_previous.pth" in printed
    assert "model_checkpoint_previous.pth" in printed
    assert load(tmp_path)[1]["epoch"] == 2
    for name, content in zip(("model_previous.pth", "model_checkpoint_previous.pth"), first):
        assert_same(torch.load(tmp_path / name, weights_only=True), content)


@pytest.mark.parametrize("checkpoint_seconds", [0, 60])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_epoch_before(
    tmp_path, value, checkpoint_seconds
):
    run(tmp_path / "good", epochs=1)
    expected = load(tmp_path / "good")
    # calls 1 to 6 are epoch 1; 9 is the third batch of epoch 2
    with pytest.raises(UserError, match="Epoch 2/6: the loss of batch 3 is not finite"):
        run(tmp_path / "bad", Loss(9, value), checkpoint_seconds=checkpoint_seconds)
    best, checkpoint = load(tmp_path / "bad")
    assert_same(best, expected[0])
    assert checkpoint["epoch"] == 1
    assert_same(checkpoint["model_state_dict"], expected[1]["model_state_dict"])


def test_a_validation_loss_that_is_not_finite_stops_the_run(tmp_path):
    with pytest.raises(UserError, match="Epoch 2/6: the validation loss is not finite"):
        run(tmp_path, Loss(11, math.nan))
    assert load(tmp_path)[1]["epoch"] == 1


def test_files_are_written_when_the_time_has_come(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(training, "save", lambda content, path: written.append(path))
    run(tmp_path, checkpoint_seconds=0)
    assert len(written) == 6 * 2
    written.clear()
    run(tmp_path, checkpoint_seconds=3600)
    assert written == [
        str(tmp_path / "model.pth"),
        checkpoint_path_of(str(tmp_path / "model.pth")),
    ]


def test_out_of_memory_names_the_batch_size_to_try(tmp_path):
    with pytest.raises(UserError, match="--batch_size 3: try --batch_size 1"):
        run(tmp_path, Loss(2, torch.cuda.OutOfMemoryError))
