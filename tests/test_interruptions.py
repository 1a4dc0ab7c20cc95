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

from tests.conftest import HYPOTHESES, ROOT, assert_same, files_in, run_command

EPOCHS = 3


def trainer_3(data_arguments, *arguments):
    return [
        *("Trainer_Hypothesis3.py", *data_arguments, *HYPOTHESES[3].arguments),
        *("--epochs", str(EPOCHS), "--batch_size", "4"),
        *("--model_save_path", "model.pth", "--plot_save_path", "curves.png", *arguments),
    ]


def start(arguments, folder, **streams):
    command = [sys.executable, str(ROOT / arguments[0]), *arguments[1:]]
    return subprocess.Popen(command, cwd=folder, **streams)


def load(folder):
    """Best weights, and the checkpoint without its arguments, some of which may differ."""
    best = torch.load(folder / "model.pth", weights_only=True)
    checkpoint = torch.load(folder / "model_checkpoint.pth", weights_only=True)
    del checkpoint["args"]
    return best, checkpoint


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, data_arguments):
    """A folder with what the run leaves that nobody stopped, and the seconds that it took."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    started = time.monotonic()
    run_command(trainer_3(data_arguments), folder, check=True)
    return folder, time.monotonic() - started


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory, data_arguments):
    """A folder with what a run leaves after Ctrl-C in its second epoch, its exit status, and what
    it said of it."""
    folder = tmp_path_factory.mktemp("interrupted")
    # A shell lets what runs in the background ignore Ctrl-C, and the trainer would inherit that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = start(trainer_3(data_arguments), folder, **pipes)
    signal.signal(signal.SIGINT, before)
    for line in process.stdout:
        if line.startswith("Epoch 1/"):
            break
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    return folder, process.returncode, errors


def test_ctrl_c_says_how_to_resume(interrupted):
    folder, status, errors = interrupted
    assert status == 130
    assert "Traceback" not in errors
    last_line = errors.splitlines()[-1]
    assert last_line.startswith(
        f"Interrupted. To resume: python {ROOT}/Trainer_Hypothesis3.py --csv_path "
    )
    assert last_line.endswith(" --resume")
    # The epoch took less than a minute, so nothing was written before; now it is.
    assert 1 <= load(folder)[1]["epoch"] < EPOCHS
    names = ("curves.png", "model.pth", "model_checkpoint.pth")
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)


def test_after_a_full_disk_a_resumed_run_is_the_one_that_was_never_stopped(
    interrupted, uninterrupted, data_arguments, tmp_path
):
    folder = tmp_path / "resumed"
    shutil.copytree(interrupted[0], folder)
    before = files_in(folder)
    finished = run_command(
        trainer_3(data_arguments, "--resume"),
        folder,
        # A limit on the size of a file stops the writing where a full disk would.
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, 10**6)),
    )
    assert finished.returncode == 2
    assert "model.pth: could not be written: File too large" in finished.stderr
    assert "Traceback" not in finished.stderr
    assert files_in(folder) == before

    run_command(trainer_3(data_arguments, "--resume"), folder, check=True)
    assert_same(load(folder), load(uninterrupted[0]))


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_at_random_moments_and_resumed(kills, uninterrupted, data_arguments, tmp_path):
    folder, seconds = uninterrupted
    moments = random.Random(kills)
    epochs = []
    for _ in range(kills):
        silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        arguments = trainer_3(data_arguments, "--resume", "--checkpoint_seconds", "0")
        process = start(arguments, tmp_path, **silent)
        try:
            # Each kill comes within the time that a whole run takes, most of them after start-up.
            process.wait(moments.uniform(0.5, 0.9) * seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
        # Whatever stands there can be read, and no finished epoch is ever lost.
        if (tmp_path / "model_checkpoint.pth").exists():
            epochs.append(load(tmp_path)[1]["epoch"])
    assert epochs == sorted(epochs)
    run_command(trainer_3(data_arguments, "--resume"), tmp_path, check=True)
    assert_same(load(tmp_path), load(folder))
