"""Real commands that are killed, interrupted, or run out of disk."""

import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from tests.test_resuming import assert_same

ROOT = Path(__file__).parent.parent
EPOCHS = 4


def command(script, data_arguments, *arguments):
    return [
        *(sys.executable, str(ROOT / script), *data_arguments),
        *("--model_save_path", "model.pth", "--plot_save_path", "curves.png", *arguments),
    ]


def trainer_3(data_arguments, *arguments):
    return command(
        "Trainer_Hypothesis3.py",
        data_arguments,
        *("--epochs", str(EPOCHS), "--batch_size", "4", "--encoder_weights", "none"),
        *arguments,
    )


def load(folder):
    """Best weights and checkpoint; of the arguments, what may differ is left out."""
    best = torch.load(folder / "model.pth", weights_only=True)
    checkpoint = torch.load(folder / "model_checkpoint.pth", weights_only=True)
    del checkpoint["args"]
    return best, checkpoint


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, data_arguments):
    """A folder with what the run leaves that nobody stopped, and the seconds that it took."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    started = time.monotonic()
    subprocess.run(trainer_3(data_arguments), cwd=folder, check=True, capture_output=True)
    return folder, time.monotonic() - started


@pytest.mark.parametrize("kills", [4, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_at_random_moments_and_resumed(kills, uninterrupted, data_arguments, tmp_path):
    folder, seconds = uninterrupted
    moments = random.Random(kills)
    epochs = []
    for _ in range(kills):
        process = subprocess.Popen(
            trainer_3(data_arguments, "--resume", "--checkpoint_seconds", "0"),
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            # Each kill comes within the time that a whole run takes, most of them after start-up.
            process.wait(moments.uniform(0.3, 0.9) * seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
        # Whatever stands there can be read, and no finished epoch is ever lost.
        if (tmp_path / "model_checkpoint.pth").exists():
            epochs.append(load(tmp_path)[1]["epoch"])
    assert epochs == sorted(epochs)
    subprocess.run(
        trainer_3(data_arguments, "--resume"), cwd=tmp_path, check=True, capture_output=True
    )
    assert_same(load(tmp_path), load(folder))


def test_ctrl_c_says_how_to_go_on(uninterrupted, data_arguments, tmp_path):
    # A shell lets what runs in the background ignore Ctrl-C, and the trainer would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        trainer_3(data_arguments),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stdout:
        if line.startswith("Epoch 1/"):
            break
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 130
    assert "Traceback" not in errors
    last_line = errors.splitlines()[-1]
    assert last_line.startswith("Interrupted. To go on: python Trainer_Hypothesis3.py --csv_path ")
    assert last_line.endswith(" --resume")
    # The epoch took less than a minute, so nothing was written before; now it is.
    assert load(tmp_path)[1]["epoch"] >= 1
    assert (tmp_path / "curves.png").exists()
    subprocess.run(
        trainer_3(data_arguments, "--resume"), cwd=tmp_path, check=True, capture_output=True
    )
    assert_same(load(tmp_path), load(uninterrupted[0]))


def test_a_full_disk_leaves_the_old_files(uninterrupted, data_arguments, tmp_path):
    # A limit on the size of a file stops the writing where a full disk would.
    arguments = ["Trainer_Hypothesis1.py", data_arguments, "--batch_size", "4", "--epochs"]
    subprocess.run(command(*arguments, "1"), cwd=tmp_path, check=True, capture_output=True)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    finished = subprocess.run(
        command(*arguments, "2", "--resume"),
        cwd=tmp_path,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, 10**6)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 2
    assert "model.pth: could not be written: File too large" in finished.stderr
    assert "Traceback" not in finished.stderr
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_files_are_replaced_as_a_whole(tmp_path, monkeypatch):
    """Whatever breaks between opening and moving, the old file stays and nothing else is left."""
    from common import UserError
    from common.files import write_file

    target = tmp_path / "file"
    target.write_bytes(b"old")
    for step in ("fsync", "replace"):

        def full(*_):
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(os, step, full)
            with pytest.raises(UserError, match="file: could not be written: No space left"):
                write_file(str(target), b"new")
        assert [path.name for path in tmp_path.iterdir()] == ["file"]
        assert target.read_bytes() == b"old"
    write_file(str(target), b"new")
    assert target.read_bytes() == b"new"
