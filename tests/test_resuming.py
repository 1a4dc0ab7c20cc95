"""What a run keeps, interrupted, resumed or refused: on a network of a few parameters."""

import hashlib
import math
from argparse import Namespace
from pathlib import Path

import pytest
import torch

from common import UserError
from common.losses import HeatmapLoss
from common.runs import checkpoint
from common.runs.fit import fit, set_up
from common.training import warmup_cosine
from tests.conftest import assert_same, files_in, some_images

FILES = ("model.pth", "model_checkpoint.pth")


@pytest.fixture(autouse=True)
def quick_writing(monkeypatch):
    """Pictures are drawn elsewhere, and no test cuts the power."""
    monkeypatch.setattr("common.runs.fit.draw_curves", lambda _, path: Path(path).touch())
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

    def __init__(self, *, at_call=None, outcome=None):
        super().__init__(torch.nn.MSELoss(), sigma=10)
        self.calls, self.at_call, self.outcome = 0, at_call, outcome

    def forward(self, heatmaps, landmarks):
        self.calls, self.heatmaps = self.calls + 1, heatmaps
        value = super().forward(heatmaps, landmarks)
        if self.calls != self.at_call:
            return value
        if isinstance(self.outcome, type):
            raise self.outcome
        return value * self.outcome


def arguments(folder, **options):
    args = {
        **{"epochs": 6, "batch_size": 3, "seed": 42, "precision": "fp32", "device": "cpu"},
        **{"resume": False, "initial_weights": None, "checkpoint_seconds": 60},
        "model_save_path": str(folder / "model.pth"),
        "plot_save_path": str(folder / "curves.png"),
    }
    return Namespace(**{**args, **options})


def train_tiny(
    folder,
    loss=None,
    schedule="plateau",
    augment=random_brightness,
    train_set=None,
    val_set=None,
    learning_rate=0.01,
    **options,
):
    """Train for 6 epochs of 4 batches and 2 validation batches each. options: those of args."""
    args = arguments(folder, **options)
    torch.manual_seed(0)
    model = tiny_network()
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate)
    if schedule == "plateau":
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=1)
    else:
        scheduler = warmup_cosine(optimizer, args.epochs, warmup_epochs=2, min_lr=1e-6)
    folder.mkdir(exist_ok=True)
    train_set, val_set = train_set or some_images(10, seed=1), val_set or some_images(4, seed=2)
    loss = loss or Loss()
    fit(model, loss, optimizer, scheduler, train_set, val_set, args, augment)


def best_and_checkpoint(folder, stem="model"):
    """The best weights and the checkpoint; of its arguments, what may differ is left out."""
    names = (f"{stem}.pth", f"{stem}_checkpoint.pth")
    best, state = (torch.load(folder / name, weights_only=True) for name in names)
    may_change = ("resume", "checkpoint_seconds", "epochs")
    state["args"] = {
        name: value
        for name, value in state["args"].items()
        if name not in may_change and not name.endswith("_path")
    }
    return best, state


def best_epoch(state):
    return state["val_losses"].index(min(state["val_losses"])) + 1


def sha256_of(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("schedule", "precision"), [("plateau", "fp32"), ("cosine", "bf16"), ("cosine", "fp16")]
)
def test_interrupted_anywhere_and_resumed_is_the_run_that_was_never_stopped(
    tmp_path, schedule, precision
):
    options = {"schedule": schedule, "precision": precision, "checkpoint_seconds": 0}
    train_tiny(tmp_path / "through", **options)
    expected = best_and_checkpoint(tmp_path / "through")
    # An epoch asks for the loss 6 times: in the first epoch, in training, in validation, at an
    # epoch's first and last call.
    for call in (2, 12, 15, 23, 36):
        folder = tmp_path / f"stopped at {call}"
        with pytest.raises(KeyboardInterrupt):
            train_tiny(folder, Loss(at_call=call, outcome=KeyboardInterrupt), **options)
        finished = (call - 1) // 6
        assert (folder / "model_checkpoint.pth").exists() is (finished > 0)
        if finished:
            assert len(best_and_checkpoint(folder)[1]["val_losses"]) == finished
            assert (folder / "curves.png").exists()
        train_tiny(folder, resume=True, **options)
        assert_same(best_and_checkpoint(folder), expected)


@pytest.mark.parametrize(("precision", "is_last"), [("fp32", False), ("bf16", True)])
def test_channels_are_last_in_reduced_precision_only(tmp_path, precision, is_last):
    loss = Loss()
    train_tiny(tmp_path, loss, epochs=1, precision=precision)
    assert loss.heatmaps.is_contiguous(memory_format=torch.channels_last) is is_last


def test_order_and_augmentation_are_new_in_each_epoch_and_with_each_seed(tmp_path):
    batches = []

    def note(images, landmarks, generator):
        batches.append((landmarks.sum().item(), torch.rand(1, generator=generator).item()))
        return images, landmarks

    train_tiny(tmp_path, augment=note, epochs=2)
    train_tiny(tmp_path, augment=note, epochs=2, seed=43)
    assert len(batches) == 16
    for drawn in zip(*batches):
        assert len(set(drawn)) == 16


def test_resuming_a_finished_run_leaves_it_alone(tmp_path, capsys):
    train_tiny(tmp_path, epochs=1)
    before = files_in(tmp_path)
    report = capsys.readouterr().out.split("best so far\n")[1]
    train_tiny(tmp_path, epochs=1, resume=True)
    printed = capsys.readouterr().out
    assert "model_checkpoint.pth: resuming from epoch 1\n" in printed
    assert printed.endswith(f"\nAll epochs are done already; nothing is left to train\n{report}")
    assert files_in(tmp_path) == before
    (tmp_path / "curves.png").unlink()  # as where it was killed before they were drawn
    train_tiny(tmp_path, epochs=1, resume=True)
    assert files_in(tmp_path) == before


@pytest.mark.parametrize("epochs", [2, 3])
def test_a_model_file_that_is_gone_is_written_again_and_another_is_left_alone(tmp_path, epochs):
    # An epoch's calls 1 to 4 train, 5 and 6 validate: call 11 is in the second epoch's validation.
    # A loss of 100 times as much makes that epoch, and then the resumed one, worse than the first.
    train_tiny(tmp_path, Loss(at_call=11, outcome=100.0), epochs=2)
    best, checkpoint = best_and_checkpoint(tmp_path)
    assert best_epoch(checkpoint) == 1
    (tmp_path / "model.pth").unlink()
    train_tiny(tmp_path, Loss(at_call=5, outcome=100.0), epochs=epochs, resume=True)
    resumed_best, resumed = best_and_checkpoint(tmp_path)
    assert best_epoch(resumed) == 1
    assert_same(resumed_best, best)
    assert resumed["model_sha256"] == sha256_of(tmp_path / "model.pth")
    assert len(files_in(tmp_path)) == 3
    (tmp_path / "model.pth").write_bytes(b"of the user")
    train_tiny(tmp_path, epochs=epochs, resume=True)  # there is nothing left to train
    assert (tmp_path / "model.pth").read_bytes() == b"of the user"


def test_a_checkpoint_holds_the_sha256_of_the_file_of_the_best_weights_beside_it(tmp_path):
    # The second epoch is the best; the third, 100 times as bad, leaves its weights.
    hashes = []
    for epochs in (1, 2, 3):
        loss = Loss(at_call=5, outcome=100.0) if epochs == 3 else None
        train_tiny(tmp_path, loss, epochs=epochs, resume=epochs > 1)
        hashes.append(best_and_checkpoint(tmp_path)[1]["model_sha256"])
        assert hashes[-1] == sha256_of(tmp_path / "model.pth")
    assert hashes[0] != hashes[1] == hashes[2]


def test_of_equally_good_epochs_the_first_is_the_best(tmp_path):
    class Even(Loss):
        def forward(self, heatmaps, landmarks):
            return 0 * super().forward(heatmaps, landmarks) + 1

    for epochs in (1, 3):
        train_tiny(tmp_path / f"{epochs}", Even(), epochs=epochs)
    best, state = best_and_checkpoint(tmp_path / "3")
    assert len(set(state["val_losses"])) == 1
    assert_same(best, best_and_checkpoint(tmp_path / "1")[0])
    assert not torch.equal(best["1.running_mean"], state["model_state_dict"]["1.running_mean"])


def test_a_run_may_start_from_the_weights_of_another(tmp_path, capsys):
    """At a rate of next to nothing, its first validation loss is theirs."""
    train_tiny(tmp_path / "first", epochs=3)
    (_, first), images = best_and_checkpoint(tmp_path / "first"), [f"1-{i}.png" for i in range(10)]
    assert first["train_images"] == images
    for name, of_epoch in (("model.pth", best_epoch(first)), ("model_checkpoint.pth", 3)):
        options = {
            "initial_weights": str(tmp_path / "first" / name),
            "train_set": some_images(7, seed=5),
            **{"schedule": "cosine", "learning_rate": 1e-30, "epochs": 2, "checkpoint_seconds": 0},
        }
        folder = tmp_path / f"from {name}"
        with pytest.raises(KeyboardInterrupt):  # in the second epoch
            train_tiny(folder, Loss(at_call=8, outcome=KeyboardInterrupt), **options)
        assert f"{name}: training starts from these weights" in capsys.readouterr().out
        state = best_and_checkpoint(folder)[1]
        # The statistics of the batch normalisation still move, in three batches.
        assert state["val_losses"][0] == pytest.approx(first["val_losses"][of_epoch - 1], rel=0.1)
        origin = torch.load(tmp_path / "first" / name, weights_only=True)
        origin = origin.get("model_state_dict", origin)
        assert torch.equal(state["model_state_dict"]["2.weight"], origin["2.weight"])
        options["initial_weights"] = "gone.pth"
        train_tiny(folder, **options, resume=True)
        assert best_and_checkpoint(folder)[1]["args"]["initial_weights"].endswith(name)
        seen = best_and_checkpoint(folder)[1]["train_images"]
        own = [f"5-{i}.png" for i in range(7)]
        assert seen == (own if name == "model.pth" else own + images)
    with pytest.raises(UserError, match=r"none\.pth: cannot be read"):
        train_tiny(tmp_path / "first", initial_weights="none.pth")
    assert len(files_in(tmp_path / "first")) == 3  # nothing was moved


def test_a_checkpoint_lists_all_that_it_and_its_initial_weights_were_trained_on_once(tmp_path):
    """Through a chain of runs and a stop, its own images first."""

    def images(*names):
        chosen = some_images(len(names), seed=1)
        chosen.names = list(names)
        return chosen

    train_tiny(tmp_path / "a", train_set=images("1", "2", "3"), epochs=1)
    for origin, name, names, expected in (
        ("a", "b", ("3", "4"), ["3", "4", "1", "2"]),
        ("b", "c", ("1", "5"), ["1", "5", "3", "4", "2"]),
    ):
        options = {"train_set": images(*names), "epochs": 2, "checkpoint_seconds": 0}
        options["initial_weights"] = str(tmp_path / origin / "model_checkpoint.pth")
        with pytest.raises(KeyboardInterrupt):
            train_tiny(tmp_path / name, Loss(at_call=6, outcome=KeyboardInterrupt), **options)
        stopped = best_and_checkpoint(tmp_path / name)[1]
        train_tiny(tmp_path / name, resume=True, **options)
        for state in (stopped, best_and_checkpoint(tmp_path / name)[1]):
            assert state["train_images"] == expected


def test_initial_weights_may_be_another_packages_checkpoint_whatever_it_notes_of_images(tmp_path):
    """A number, a path and no name are no lists of names, and say nothing of what was trained."""
    train_set = some_images(10, seed=1)
    train_set.landmarks[:, 1] = math.nan
    for noted in (206, "data/train", None):
        foreign = {"train_images": noted, "untrained_landmarks": noted, "args": Namespace(lr=0.1)}
        torch.save({"model_state_dict": tiny_network().state_dict(), **foreign}, tmp_path / "a.pth")
        options = {"initial_weights": str(tmp_path / "a.pth"), "epochs": 1}
        train_tiny(tmp_path, train_set=train_set, **options)
        state = best_and_checkpoint(tmp_path)[1]
        assert state["train_images"] == train_set.names
        assert state["untrained_landmarks"] == []  # these weights may have learned it


def test_initial_weights_that_are_gone_are_refused_at_once_but_not_where_the_run_resumes(
    tmp_path, monkeypatch
):
    args = arguments(tmp_path, initial_weights="gone.pth")
    resumed = arguments(tmp_path, initial_weights="gone.pth", resume=True)
    for refused in (args, resumed):
        with pytest.raises(UserError, match=r"^gone\.pth: no such file of weights$"):
            set_up(refused)
    (tmp_path / "model_checkpoint.pth").touch()
    assert set_up(resumed) == torch.device("cpu")
    with pytest.raises(UserError, match="gone"):
        set_up(args)
    (tmp_path / "model_checkpoint.pth").unlink()
    monkeypatch.setattr("common.basics.processes.broadcast", lambda _: True)  # rank 0 has it
    assert set_up(resumed) == torch.device("cpu")


def test_the_minutes_of_a_resumed_run_are_those_of_all_its_epochs(tmp_path, capsys):
    train_tiny(tmp_path, epochs=1)
    path = tmp_path / "model_checkpoint.pth"
    state = torch.load(path, weights_only=True)
    assert len(state["epoch_seconds"]) == 1
    assert 0 < state["epoch_seconds"][0] < 60
    state["epoch_seconds"] = [600.0]
    torch.save(state, path)
    train_tiny(tmp_path, epochs=3, resume=True)
    assert "\nEpochs:          3 in 10.0 minutes\n" in capsys.readouterr().out
    seconds = best_and_checkpoint(tmp_path)[1]["epoch_seconds"]
    assert (seconds[0], len(seconds)) == (600.0, 3)


def test_a_checkpoint_keeps_the_number_of_parameters(tmp_path):
    """Two 3×3 convolutions, of 3 → 4 and 4 → 4 channels, and a batch normalisation of 4."""
    train_tiny(tmp_path, epochs=1)
    assert (
        best_and_checkpoint(tmp_path)[1]["parameters"] == (3 * 9 + 1) * 4 + 2 * 4 + (4 * 9 + 1) * 4
    )


def test_a_landmark_that_no_training_image_has_is_printed_and_kept_in_the_checkpoint(
    tmp_path, capsys
):
    train_set = some_images(10, seed=1)
    train_set.landmarks[:, 1] = math.nan
    train_set.landmarks[1:, 3] = math.nan  # one is annotated
    train_tiny(tmp_path, train_set=train_set, epochs=1)
    line = "OFD-2 is annotated in no training image: what is found for it means nothing\n"
    printed = capsys.readouterr().out
    assert line in printed
    assert printed.count("in no training image") == 1
    assert best_and_checkpoint(tmp_path)[1]["untrained_landmarks"] == ["OFD-2"]
    # Whoever goes on from it does not learn it either; from one that did, its name is not given.
    train_tiny(tmp_path / "all", epochs=1)
    for origin, expected in ((tmp_path, ["OFD-2"]), (tmp_path / "all", [])):
        options = {"initial_weights": str(origin / "model_checkpoint.pth"), "epochs": 1}
        train_tiny(tmp_path / "further", train_set=train_set, **options)
        assert best_and_checkpoint(tmp_path / "further")[1]["untrained_landmarks"] == expected


def test_validation_images_of_an_earlier_training_are_counted(tmp_path, capsys):
    train_tiny(tmp_path / "first", epochs=1, train_set=some_images(3, seed=2))
    line = "Initial weights were trained on images of the same names as 3 of 4 validation images\n"
    capsys.readouterr()
    train_tiny(tmp_path / "other", epochs=1)
    assert line not in capsys.readouterr().out
    train_tiny(tmp_path, epochs=1, initial_weights=str(tmp_path / "first" / "model_checkpoint.pth"))
    assert line in capsys.readouterr().out


def test_more_epochs_where_the_schedule_does_not_depend_on_their_number(tmp_path):
    train_tiny(tmp_path / "through", epochs=4)
    train_tiny(tmp_path / "prolonged", epochs=2)
    train_tiny(tmp_path / "prolonged", epochs=4, resume=True)
    assert_same(
        best_and_checkpoint(tmp_path / "prolonged"), best_and_checkpoint(tmp_path / "through")
    )

    train_tiny(tmp_path / "cosine", schedule="cosine", epochs=2)
    with pytest.raises(UserError, match="epochs was 2 and is now 4"):
        train_tiny(tmp_path / "cosine", schedule="cosine", epochs=4, resume=True)


def test_a_run_may_move_to_another_folder_or_device(tmp_path, monkeypatch):
    """There it may compute in FP16, and it needs no weights but the checkpoint's."""
    train_tiny(tmp_path / "here", epochs=1, precision="auto", encoder_weights="imagenet")
    (tmp_path / "here").rename(tmp_path / "there")
    monkeypatch.setattr("common.runs.devices.autocast_dtype", lambda *_: torch.float16)
    options = {"device": "cuda", "precision": "auto", "encoder_weights": "none"}
    train_tiny(tmp_path / "there", epochs=2, resume=True, checkpoint_seconds=0, **options)
    assert len(best_and_checkpoint(tmp_path / "there")[1]["val_losses"]) == 2


def test_rank_0_decides_whether_a_run_resumes(tmp_path, monkeypatch):
    """Another machine may not see the checkpoint, and all are to do the same."""
    args = Namespace(model_save_path=str(tmp_path / "model.pth"), resume=True)
    assert not checkpoint.will_resume(args)
    (tmp_path / "model_checkpoint.pth").touch()
    assert checkpoint.will_resume(args)
    assert not checkpoint.will_resume(Namespace(**{**vars(args), "resume": False}))
    for answer in (True, False):
        monkeypatch.setattr("common.basics.processes.broadcast", lambda _, answer=answer: answer)
        assert checkpoint.will_resume(args) is answer


def test_other_settings_and_other_data_are_refused_by_name(tmp_path):
    train_tiny(tmp_path, epochs=1)
    before = files_in(tmp_path)
    one_pixel, one_landmark = some_images(10, seed=1), some_images(4, seed=2)
    one_pixel.images[9, 0, 0, 0] ^= 1
    one_landmark.landmarks[3, 3, 1] += 1
    for options, difference in (
        ({"seed": 7}, "seed was 42 and is now 7"),
        ({"weight_decay": 0.1}, "weight_decay was None and is now 0.1"),
        ({"train_set": one_pixel}, "the images or landmarks are not the same"),
        ({"val_set": one_landmark}, "the images or landmarks are not the same"),
        ({"batch_size": 5, "seed": 1}, "batch_size was 3 and is now 5, seed was 42 and is now 1"),
    ):
        with pytest.raises(UserError) as caught:
            train_tiny(tmp_path, epochs=1, resume=True, **options)
        assert f": the checkpoint of another run: {difference}. Resume" in str(caught.value)
    assert files_in(tmp_path) == before


def not_finite(state_dict):
    return {key: value * math.nan for key, value in state_dict.items()}


def without(state, name):
    return {key: value for key, value in state.items() if key != name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: [1, 2], "not a checkpoint of this package"),
        (lambda state: state["model_state_dict"], "not a checkpoint of this package"),
        (lambda state: {**state, "optimizer_state_dict": {}}, "not a checkpoint of this package"),
        (lambda state: {**state, "args": None}, "not a checkpoint of this package"),
        *(
            (lambda state, name=name: without(state, name), "not a checkpoint of this package")
            for name in ("epoch_seconds", "dataset_fingerprint", "scaler_state_dict")
        ),
        *(
            (lambda state, name=name: {**state, name: not_finite(state[name])}, "not finite")
            for name in ("model_state_dict", "best_model_state_dict")
        ),
    ],
)
def test_a_checkpoint_of_other_make_is_refused(tmp_path, change, message):
    train_tiny(tmp_path, epochs=1)
    path = tmp_path / "model_checkpoint.pth"
    torch.save(change(torch.load(path, weights_only=True)), path)
    before = files_in(tmp_path)
    with pytest.raises(UserError, match=rf"model_checkpoint\.pth: .*{message}"):
        train_tiny(tmp_path, epochs=2, resume=True)
    assert files_in(tmp_path) == before


def test_files_that_cannot_be_moved_aside_are_named(tmp_path, monkeypatch):
    train_tiny(tmp_path, epochs=1)
    before = files_in(tmp_path)

    def forbidden(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.rename", forbidden)
    with pytest.raises(UserError, match="cannot be moved aside: Operation not permitted"):
        train_tiny(tmp_path, epochs=1)
    assert files_in(tmp_path) == before


def test_fresh_starts_number_what_is_there_and_lose_nothing(tmp_path, capsys):
    kept = []
    for epochs in (1, 2, 3):
        train_tiny(tmp_path, epochs=epochs)
        kept.append([(tmp_path / name).read_bytes() for name in FILES])
    printed = capsys.readouterr().out
    assert "model.pth is now model_previous.pth" in printed
    assert "model_checkpoint.pth is now model_previous2_checkpoint.pth" in printed
    for mark, contents in zip(("_previous", "_previous2", ""), kept):
        names = (f"model{mark}.pth", f"model{mark}_checkpoint.pth")
        assert [(tmp_path / name).read_bytes() for name in names] == contents
    # They still belong together.
    train_tiny(
        tmp_path, epochs=3, resume=True, model_save_path=str(tmp_path / "model_previous.pth")
    )
    assert "model_previous_checkpoint.pth: resuming from epoch 1\n" in capsys.readouterr().out
    assert_same(best_and_checkpoint(tmp_path, "model_previous"), best_and_checkpoint(tmp_path))


def test_moving_a_link_aside_renames_the_link_and_leaves_what_it_leads_to(tmp_path):
    (tmp_path / "drive").mkdir()
    (tmp_path / "drive" / "model.pth").write_bytes(b"of an earlier run")
    (tmp_path / "model.pth").symlink_to("drive/model.pth")
    train_tiny(tmp_path, epochs=1)
    assert (tmp_path / "model_previous.pth").readlink() == Path("drive/model.pth")
    assert (tmp_path / "drive" / "model.pth").read_bytes() == b"of an earlier run"
    assert len(list((tmp_path / "drive").iterdir())) == 1
    assert not (tmp_path / "model.pth").is_symlink()
    assert len(best_and_checkpoint(tmp_path)[1]["val_losses"]) == 1


def test_the_two_files_of_a_run_get_one_number(tmp_path):
    (tmp_path / "model_previous.pth").write_bytes(b"of the user")
    train_tiny(tmp_path, epochs=1)
    train_tiny(tmp_path, epochs=1)
    assert (tmp_path / "model_previous.pth").read_bytes() == b"of the user"
    assert (tmp_path / "model_previous2.pth").exists()
    assert (tmp_path / "model_previous2_checkpoint.pth").exists()


def test_a_loss_that_is_not_finite_ends_the_run_with_its_epoch_and_keeps_what_was_saved(tmp_path):
    train_tiny(tmp_path / "good", epochs=1)
    # calls 1 to 6 are epoch 1; 9 is the third batch of epoch 2
    loss = Loss(at_call=9, outcome=math.nan)
    with pytest.raises(UserError, match=r"Epoch 2/6: a loss is not finite \(nan in training"):
        train_tiny(tmp_path / "bad", loss, checkpoint_seconds=0)
    assert loss.calls == 12
    assert_same(best_and_checkpoint(tmp_path / "bad"), best_and_checkpoint(tmp_path / "good"))
    with pytest.raises(UserError, match=r"Epoch 1/6: a loss .*, inf in validation"):
        train_tiny(tmp_path, Loss(at_call=5, outcome=math.inf))
    assert not (tmp_path / "model_checkpoint.pth").exists()


def test_files_are_written_when_the_time_has_come(tmp_path, monkeypatch):
    """The clock stands still but for the 6 losses of an epoch, a second each."""
    written = []

    def note(content, path):
        written.append((Path(path).name, len(content.get("val_losses", []))))

    monkeypatch.setattr(checkpoint, "save_file", note)
    for seconds, expected in ((0, [1, 2, 3, 4, 5, 6]), (10, [2, 4, 6]), (3600, [6])):
        loss = Loss()
        monkeypatch.setattr("time.monotonic", lambda loss=loss: loss.calls)
        train_tiny(tmp_path, loss, checkpoint_seconds=seconds)
        assert [name for name, _ in written] == list(FILES) * len(expected)
        assert [epochs for _, epochs in written[1::2]] == expected
        written.clear()


def test_the_schedule_and_the_gap_go_by_the_validation_loss(tmp_path, capsys):
    # In the last epoch's validation, which is thus not the best.
    train_tiny(tmp_path, Loss(at_call=35, outcome=100.0))
    _, state = best_and_checkpoint(tmp_path)
    train_losses, val_losses = state["train_losses"], state["val_losses"]
    assert state["scheduler_state_dict"]["best"] == min(val_losses)
    best = val_losses.index(min(val_losses))
    first, last = (val_losses[i] - train_losses[i] for i in (best, -1))
    line = f"Train-val gap:   {first:.6f} in epoch {best + 1}, {last:.6f} in the last\n"
    printed = capsys.readouterr().out
    assert line in printed
    first, last = (state["val_within_10_px"][i] for i in (best, -1))
    line = f"Within 10 px:    {first:.1%} in epoch {best + 1}, {last:.1%} in the last, of the valid"
    assert line in printed
