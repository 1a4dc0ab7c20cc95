"""What a run keeps, interrupted, resumed or refused: on a network of a few parameters."""

import contextlib
import math
import multiprocessing
import os
import shutil
import signal
import sys
from argparse import Namespace
from pathlib import Path

import pytest
import torch

from common import UserError, checkpoint, files, training
from common.files import claim
from common.losses import HeatmapLoss
from common.training import fit, warmup_cosine
from tests.conftest import assert_same, files_in, some_images

FILES = ("model.pth", "model_checkpoint.pth")


@pytest.fixture(autouse=True)
def quick_writing(monkeypatch):
    """Pictures are drawn elsewhere, and no test cuts the power."""
    monkeypatch.setattr("common.plots.training_curves", lambda _, path: Path(path).touch())
    monkeypatch.setattr("os.fsync", lambda _: None)


def tiny_network():
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, padding=1),
        torch.nn.BatchNorm2d(4),
        torch.nn.Conv2d(4, 4, 3, padding=1),
    )


def random_brightness(images, landmarks, generator):
    """Different in each batch, as Hypothesis 2's augmentation is."""
    return images * torch.rand(len(images), 1, 1, 1, generator=generator), landmarks


class Loss(HeatmapLoss):
    """An MSE that at its n-th call raises `outcome`, or returns so many times as much."""

    def __init__(self, at_call=None, outcome=None):
        super().__init__(torch.nn.MSELoss(), sigma=10)
        self.calls, self.at_call, self.outcome = 0, at_call, outcome

    def forward(self, heatmaps, landmarks):
        self.calls += 1
        value = super().forward(heatmaps, landmarks)
        if self.calls != self.at_call:
            return value
        if isinstance(self.outcome, type):
            raise self.outcome
        return value * self.outcome


def run(
    folder,
    loss=None,
    schedule="plateau",
    augment=random_brightness,
    train_set=None,
    learning_rate=0.01,
    **options,
):
    """Train for 6 epochs of 4 batches and 2 validation batches each. options: those of args."""
    args = {
        **{"epochs": 6, "batch_size": 3, "seed": 42, "precision": "fp32", "device": "cpu"},
        **{"resume": False, "checkpoint_seconds": 60},
        "model_save_path": str(folder / "model.pth"),
        "checkpoint_save_path": str(folder / "model_checkpoint.pth"),
        "plot_save_path": str(folder / "curves.png"),
        **options,
    }
    torch.manual_seed(0)
    model = tiny_network()
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate)
    if schedule == "plateau":
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=1)
    else:
        scheduler = warmup_cosine(optimizer, args["epochs"], warmup_epochs=2, min_lr=1e-6)
    folder.mkdir(exist_ok=True)
    train_set, val_set = train_set or some_images(10, seed=1), some_images(4, seed=2)
    loss = loss or Loss()
    fit(model, loss, optimizer, scheduler, train_set, val_set, Namespace(**args), augment)


def load(folder):
    """The best weights and the checkpoint; of its arguments, what may differ is left out."""
    best, state = (torch.load(folder / name, weights_only=True) for name in FILES)
    may_change = ("resume", "checkpoint_seconds", "epochs")
    state["args"] = {
        name: value
        for name, value in state["args"].items()
        if name not in may_change and not name.endswith("_path")
    }
    return best, state


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


@pytest.mark.parametrize("checkpoint_seconds", [0, 60])
def test_ctrl_c_between_any_two_lines_leaves_whole_files(tmp_path, checkpoint_seconds):
    """And a resumed run then ends as if nothing had been."""
    options = {
        **{"epochs": 3, "batch_size": 10, "checkpoint_seconds": checkpoint_seconds},
        "train_set": some_images(3, seed=1),
        "learning_rate": 0.1,  # too high, so that the second epoch is worse than the first
    }
    after = [None]  # what a run of so many epochs leaves
    for epochs in (1, 2, 3):
        run(tmp_path / f"{epochs}", **{**options, "epochs": epochs})
        after.append(load(tmp_path / f"{epochs}"))
    assert [state["best_epoch"] for _, state in after[1:]] == [1, 1, 3]
    for epoch, (_, state) in enumerate(after[1:], start=1):
        losses = state["val_losses"]
        assert epoch == state["epoch"] == len(losses)
        assert epoch == len(state["train_losses"]) == len(state["learning_rates"])
        assert min(losses) == losses[state["best_epoch"] - 1] == state["best_val_loss"]

    lines, stop_at = 0, 0
    rooms = {checkpoint.__file__, files.__file__, training.__file__}
    left_out = {"train_one_epoch", "validate", "_mean"}  # see the test above

    def trace(frame, event, _):
        nonlocal lines
        code = frame.f_code
        if code.co_filename not in rooms or code.co_name in left_out:
            return None
        # Most lines of fit are arguments of one call: every third will do.
        if event == "line" and (code.co_name != "fit" or frame.f_lineno % 3 == 0):
            lines += 1
            if lines == stop_at:
                raise KeyboardInterrupt
        return trace

    folder, seen = tmp_path / "stopped", []
    while lines == stop_at:  # else the run has come to its end before
        lines, stop_at = 0, stop_at + 1
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(KeyboardInterrupt):
            sys.settrace(trace)
            try:
                run(folder, **options)
            finally:
                sys.settrace(None)
        found = files_in(folder)
        if found in seen:
            continue
        seen.append(found)
        assert not list(folder.glob("*.tmp"))
        if (folder / "model_checkpoint.pth").exists():
            best, state = load(folder)
            epoch = state["epoch"]
            assert_same(state, after[epoch][1], f"line {stop_at}")
            # The model is written first, so it may be of the next epoch already.
            is_newer = not torch.equal(best["0.weight"], after[epoch][0]["0.weight"])
            assert_same(best, after[epoch + is_newer][0], f"line {stop_at}")
        run(folder, **options, resume=True)
        assert_same(load(folder), after[3], f"line {stop_at}")
    assert stop_at > 100
    assert len(seen) >= 4  # after no epoch, one, two and three


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


def test_order_and_augmentation_are_new_in_each_epoch(tmp_path):
    batches = []

    def note(images, landmarks, generator):
        batches.append((landmarks.sum().item(), torch.rand(1, generator=generator).item()))
        return images, landmarks

    run(tmp_path, augment=note, epochs=2)
    for first, second in zip(zip(*batches[:4]), zip(*batches[4:])):
        assert not set(first) & set(second)


def test_the_seed_changes_the_run(tmp_path):
    run(tmp_path / "first", epochs=1)
    run(tmp_path / "second", epochs=1, seed=43)
    first, second = (load(tmp_path / name)[1]["train_losses"] for name in ("first", "second"))
    assert first != second


def test_a_checkpoint_knows_its_training_images(tmp_path):
    run(tmp_path, epochs=1)
    assert load(tmp_path)[1]["train_images"] == [f"1-{i}.png" for i in range(10)]


def test_resuming_without_a_checkpoint_starts_at_epoch_1(tmp_path, capsys):
    run(tmp_path, resume=True, epochs=1)
    assert "starts at epoch 1" in capsys.readouterr().out
    assert load(tmp_path)[1]["epoch"] == 1


def test_resuming_a_finished_run_leaves_it_alone(tmp_path, capsys):
    run(tmp_path, epochs=2)
    before = files_in(tmp_path)
    capsys.readouterr()
    run(tmp_path, epochs=2, resume=True)
    printed = capsys.readouterr().out
    assert "model_checkpoint.pth: resuming from epoch 2\n" in printed
    assert "All 2 epochs are done already" in printed
    assert files_in(tmp_path) == before


@pytest.mark.parametrize("epochs", [2, 3], ids=["finished", "with more epochs"])
def test_a_model_file_that_is_gone_comes_back(tmp_path, epochs):
    run(tmp_path, epochs=2)
    expected = load(tmp_path)
    assert expected[1]["best_epoch"] == 2
    (tmp_path / "model.pth").unlink()
    # Training stops before another epoch is done.
    with contextlib.suppress(KeyboardInterrupt):
        run(tmp_path, Loss(1, KeyboardInterrupt), epochs=epochs, resume=True)
    assert_same(load(tmp_path), expected)


@pytest.mark.parametrize("epochs", [2, 3])
def test_the_best_weights_are_those_of_the_checkpoint_whatever_the_model_file_holds(
    tmp_path, epochs
):
    # A hundredfold validation loss makes the second epoch worse than the first, and in the resumed
    # run, where calls 1 to 4 train and 5 is the first of validation, the third.
    run(tmp_path, Loss(11, 100.0), epochs=2)
    best, checkpoint = load(tmp_path)
    assert checkpoint["best_epoch"] == 1
    (tmp_path / "model.pth").unlink()  # or it is of another run
    if epochs == 3:
        torch.save(checkpoint["model_state_dict"], tmp_path / "model.pth")
    run(tmp_path, Loss(5, 100.0), epochs=epochs, resume=True)
    assert_same(load(tmp_path)[0], best)


def test_the_best_weights_outlive_a_resumption_that_finds_no_better_ones(tmp_path):
    run(tmp_path, Loss(11, 100.0), epochs=2)
    best = load(tmp_path)[0]
    # In the resumed run, calls 1 to 4 train and 5 is the first of validation.
    run(tmp_path, Loss(5, 100.0), epochs=3, resume=True)
    assert load(tmp_path)[1]["epoch"] == 3
    assert load(tmp_path)[1]["best_epoch"] == 1
    assert_same(load(tmp_path)[0], best)


def test_more_epochs_where_the_schedule_does_not_depend_on_their_number(tmp_path):
    run(tmp_path / "through", epochs=4)
    run(tmp_path / "prolonged", epochs=2)
    run(tmp_path / "prolonged", epochs=4, resume=True)
    assert_same(load(tmp_path / "prolonged"), load(tmp_path / "through"))

    run(tmp_path / "cosine", schedule="cosine", epochs=2)
    with pytest.raises(UserError, match="epochs was 2 and is now 4"):
        run(tmp_path / "cosine", schedule="cosine", epochs=4, resume=True)


def test_a_run_may_move_to_another_folder_or_device(tmp_path):
    run(tmp_path / "here", epochs=1)
    (tmp_path / "here").rename(tmp_path / "there")
    run(tmp_path / "there", epochs=2, resume=True, device="cuda", checkpoint_seconds=0)
    assert load(tmp_path / "there")[1]["epoch"] == 2


def test_other_settings_and_other_data_are_refused_by_name(tmp_path):
    run(tmp_path, epochs=1)
    before = files_in(tmp_path)
    for options, difference in (
        ({"seed": 7}, "seed was 42 and is now 7"),
        ({"weight_decay": 0.1}, "weight_decay was None and is now 0.1"),
        ({"train_set": some_images(10, seed=3)}, "the images or landmarks are not the same"),
        (
            {"batch_size": 5, "seed": 1},
            "batch_size was 3 and is now 5, seed was 42 and is now 1",
        ),
    ):
        with pytest.raises(UserError) as caught:
            run(tmp_path, epochs=1, resume=True, **options)
        assert f": the checkpoint of another run: {difference}. Resume" in str(caught.value)
    assert files_in(tmp_path) == before


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda _: tiny_network().state_dict(), id="weights alone"),
        pytest.param(lambda _: [1, 2], id="list"),
        pytest.param(lambda state: {**state, "args": None}, id="args None"),
        pytest.param(lambda state: {**state, "epoch": 1.0}, id="epoch no int"),
        pytest.param(lambda state: {**state, "epoch": -5}, id="epoch below 0"),
        pytest.param(lambda state: {**state, "val_losses": [0.1, 0.2]}, id="other losses"),
        pytest.param(lambda state: {**state, "best_val_loss": None}, id="no best loss"),
        pytest.param(lambda state: {**state, "optimizer_state_dict": {}}, id="new"),
        *(
            pytest.param(lambda state, key=key: state.pop(key) is None or state, id=f"no {key}")
            for key in ("args", "model_state_dict", "optimizer_state_dict", "dataset_fingerprint")
        ),
    ],
)
def test_a_checkpoint_of_other_make_is_refused(tmp_path, change):
    run(tmp_path, epochs=1)
    path = tmp_path / "model_checkpoint.pth"
    torch.save(change(torch.load(path, weights_only=True)), path)
    before = files_in(tmp_path)
    with pytest.raises(UserError, match=r"model_checkpoint\.pth: no checkpoint of this package"):
        run(tmp_path, epochs=2, resume=True)
    assert files_in(tmp_path) == before


@pytest.mark.parametrize("name", ["model_state_dict", "best_model_state_dict"])
@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({}, "holds no state dict"),
        (torch.nn.Linear(2, 1).state_dict(), "not weights of Sequential: Missing key"),
        (None, "not finite"),
    ],
    ids=["none", "another network's", "NaN"],
)
def test_a_checkpoint_with_other_weights_is_refused(tmp_path, name, weights, message):
    run(tmp_path, epochs=1)
    path = tmp_path / "model_checkpoint.pth"
    checkpoint = torch.load(path, weights_only=True)
    if weights is None:
        weights = {key: value * math.nan for key, value in checkpoint[name].items()}
    torch.save({**checkpoint, name: weights}, path)
    before = files_in(tmp_path)
    with pytest.raises(UserError, match=rf"model_checkpoint\.pth: .*{message}"):
        run(tmp_path, epochs=2, resume=True)
    assert files_in(tmp_path) == before


def test_fresh_starts_number_what_is_there_and_lose_nothing(tmp_path, capsys):
    kept = []
    for epochs in (1, 2, 3):
        run(tmp_path, epochs=epochs)
        kept.append([(tmp_path / name).read_bytes() for name in FILES])
    printed = capsys.readouterr().out
    assert "model.pth is now model_previous.pth" in printed
    assert "model_checkpoint.pth is now model_checkpoint_previous2.pth" in printed
    for mark, contents in zip(("_previous", "_previous2", ""), kept):
        names = (f"model{mark}.pth", f"model_checkpoint{mark}.pth")
        assert [(tmp_path / name).read_bytes() for name in names] == contents


def test_the_two_files_of_a_run_get_one_number(tmp_path):
    (tmp_path / "model_previous.pth").write_bytes(b"of the user")
    run(tmp_path, epochs=1)
    run(tmp_path, epochs=1)
    assert (tmp_path / "model_previous.pth").read_bytes() == b"of the user"
    assert (tmp_path / "model_previous2.pth").exists()
    assert (tmp_path / "model_checkpoint_previous2.pth").exists()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of fork, where there are threads
@pytest.mark.skipif(sys.platform != "linux", reason="the check needs Linux")
def test_a_second_run_on_the_same_files_is_refused_while_the_first_lives(tmp_path):
    def hold():
        with claim(str(tmp_path / "model.pth")):
            holds.set()
            signal.pause()

    fork = multiprocessing.get_context("fork")  # a new Python would take seconds to import torch
    holds, first = fork.Event(), fork.Process(target=hold)
    first.start()
    assert holds.wait(60)
    with pytest.raises(UserError, match=r"model\.pth: another run is still writing to it"):
        run(tmp_path, epochs=1)
    assert not files_in(tmp_path)
    run(tmp_path / "elsewhere", epochs=1)
    first.kill()
    first.join()  # a killed process leaves no lock
    run(tmp_path, epochs=1)
    assert load(tmp_path)[1]["epoch"] == 1


@pytest.mark.skipif(sys.platform != "linux", reason="the check needs Linux")
def test_a_claim_is_on_the_file_whatever_leads_to_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.symlink("model.pth", "link.pth")
    for path in ("model.pth", "./model.pth", "link.pth", str(tmp_path / "model.pth")):
        with claim("model.pth"), pytest.raises(UserError, match=path), claim(path):
            pass
    with claim("model.pth"), claim("model2.pth"):
        pass


@pytest.mark.parametrize("checkpoint_seconds", [0, 60])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_epoch_before(
    tmp_path, value, checkpoint_seconds
):
    run(tmp_path / "good", epochs=1)
    # calls 1 to 6 are epoch 1; 9 is the third batch of epoch 2
    with pytest.raises(UserError, match="Epoch 2/6: the training loss of batch 3 is not finite"):
        run(tmp_path / "bad", Loss(9, value), checkpoint_seconds=checkpoint_seconds)
    assert_same(load(tmp_path / "bad"), load(tmp_path / "good"))


def test_a_validation_loss_that_is_not_finite_stops_the_run(tmp_path):
    with pytest.raises(UserError, match="Epoch 2/6: the validation loss of batch 1 is not finite"):
        run(tmp_path, Loss(11, math.nan))
    assert load(tmp_path)[1]["epoch"] == 1


def test_files_are_written_when_the_time_has_come(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(checkpoint, "save", lambda _, path: written.append(Path(path).name))
    run(tmp_path, checkpoint_seconds=0)
    assert written == list(FILES) * 6
    written.clear()
    run(tmp_path, checkpoint_seconds=3600)
    assert written == list(FILES)


def test_out_of_memory_on_resuming_is_not_the_checkpoint_s_fault(tmp_path, monkeypatch):
    run(tmp_path)

    def load_state_dict(*_):
        raise torch.cuda.OutOfMemoryError

    monkeypatch.setattr(torch.optim.AdamW, "load_state_dict", load_state_dict)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        run(tmp_path, resume=True)


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)]
)
def test_the_loss_sees_heatmaps_in_the_precision_that_was_asked_for(tmp_path, precision, dtype):
    seen = set()

    class Look(Loss):
        def forward(self, heatmaps, landmarks):
            seen.add(heatmaps.dtype)
            return super().forward(heatmaps, landmarks)

    run(tmp_path, Look(), precision=precision)
    assert seen == {dtype}


def test_the_schedule_and_the_gap_go_by_the_validation_loss(tmp_path, capsys):
    run(tmp_path)
    _, state = load(tmp_path)
    train_losses, val_losses = state["train_losses"], state["val_losses"]
    assert state["scheduler_state_dict"]["best"] == min(val_losses)
    best = val_losses.index(min(val_losses))
    first, last = (val_losses[i] - train_losses[i] for i in (best, -1))
    line = f"Train-val gap:   {first:.6f} in epoch {best + 1}, {last:.6f} in the last\n"
    assert line in capsys.readouterr().out
