"""Real commands that are killed, interrupted, or run out of disk."""

import random
import resource
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch

from tests.conftest import HYPOTHESES, ROOT, assert_same, files_in

EPOCHS = 2


def trainer_3(data_arguments, *arguments):
    return [
        *("Trainer_Hypothesis3.py", *data_arguments, *HYPOTHESES[3].arguments),
        *("--epochs", str(EPOCHS), "--batch_size", "4"),
        *("--model_save_path", "model.pth", "--plot_save_path", "curves.png", *arguments),
    ]


def start(arguments, folder, **options):
    """Start `python …` in a folder, as a user does."""
    command = [sys.executable, str(ROOT / arguments[0]), *arguments[1:]]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=folder, **pipes, **options)


def finish(process):
    """Wait for the end; returns the exit status and what was said of errors."""
    _, errors = process.communicate()
    return process.returncode, errors


def weights_and_checkpoint(folder):
    """The best weights, and the checkpoint without its arguments, some of which may differ."""
    best = torch.load(folder / "model.pth", weights_only=True)
    checkpoint = torch.load(folder / "model_checkpoint.pth", weights_only=True)
    del checkpoint["args"]
    return best, checkpoint


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, data_arguments):
    """What the run leaves that nobody stopped, and the seconds that it took."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    started = time.monotonic()
    status, errors = finish(start(trainer_3(data_arguments), folder))
    assert status == 0, errors
    return weights_and_checkpoint(folder), time.monotonic() - started


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory, data_arguments):
    """A folder with what a run leaves after Ctrl-C in its second epoch."""
    folder = tmp_path_factory.mktemp("interrupted")
    # A shell lets what runs in the background ignore Ctrl-C, and the trainer would inherit that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = start(trainer_3(data_arguments, "--checkpoint_seconds", "0"), folder)
    signal.signal(signal.SIGINT, before)
    for line in process.stdout:
        if line.startswith("Epoch 1/"):
            break
    # Python passes over Ctrl-C while an object is being destroyed, as progress bars are just now.
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    status, errors = finish(process)
    assert status == 130
    assert "Traceback" not in errors
    command = f"with --resume): {sys.executable} {ROOT}/Trainer_Hypothesis3.py --csv_path "
    assert command in errors.splitlines()[-1]
    assert len(weights_and_checkpoint(folder)[1]["val_losses"]) == 1
    names = ("curves.png", "model.pth", "model_checkpoint.pth")
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)
    return folder


@pytest.mark.parametrize("kills", [1, pytest.param(20, marks=pytest.mark.slow)])
def test_after_ctrl_c_a_full_disk_and_kills_it_is_the_run_that_was_never_stopped(
    kills, interrupted, uninterrupted, data_arguments, tmp_path
):
    expected, seconds = uninterrupted
    folder = tmp_path / "resumed"
    shutil.copytree(interrupted, folder)
    before = files_in(folder)
    arguments = trainer_3(data_arguments, "--resume", "--checkpoint_seconds", "0")
    # A limit on the size of a file stops the writing where a full disk would.
    limit = (10**6, 10**6)
    status, errors = finish(
        start(
            arguments, folder, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        )
    )
    assert status == 2
    assert "model.pth: could not be written: File too large" in errors
    assert "Traceback" not in errors
    assert files_in(folder) == before

    moments = random.Random(kills)
    epochs = [1]
    for _ in range(kills):
        process = start(arguments, folder)
        # At any moment after it has begun, while it writes or in its next epoch.
        for line in process.stdout:
            if "resuming from epoch" in line:
                break
        time.sleep(moments.uniform(0, seconds / 3))
        process.kill()
        finish(process)
        # Whatever stands there can be read, and no finished epoch is ever lost.
        epochs.append(len(weights_and_checkpoint(folder)[1]["val_losses"]))
    assert epochs == sorted(epochs)
    status, errors = finish(start(arguments, folder))
    assert status == 0, errors
    assert_same(weights_and_checkpoint(folder), expected)
