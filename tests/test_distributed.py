"""Two gloo processes, as torchrun starts them, beside one.

python -m tests.test_distributed MODEL_PATH is what each process runs: a small network, or that of
Hypothesis 3, whose batch normalisation is frozen (each process on a CPU normalises its own share),
on ten random images in batches of three. The shares are 2 + 1, and 1 + 0 in the last batch.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from argparse import Namespace

import pytest
import torch
from torch import nn

from common import UserError, cli, distributed, training
from common.losses import HeatmapLoss
from common.models import ResNetUNet
from tests.conftest import ROOT, assert_same, some_images

if sys.version_info < (3, 10):  # whose torchrun needs it, and PyTorch does not bring it
    pytest.importorskip("importlib_metadata")

TORCHRUN = ("-m", "torch.distributed.run", "--nproc_per_node=2")


class FrozenNorm(nn.BatchNorm2d):
    def train(self, mode=True):
        return super().train(False)


def augment(images, landmarks, generator):
    """Different in each image, as Hypothesis 2's is."""
    return images * torch.rand(len(images), 1, 1, 1, generator=generator), landmarks


class DyingLoss(HeatmapLoss):
    """Process 1 is killed in the second epoch, where there are 8 losses an epoch."""

    calls = 0

    def forward(self, heatmaps, landmarks):
        self.calls += 1
        if self.calls == 10 and distributed.rank() == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(heatmaps, landmarks)


@cli.reports_errors(resumable=True)
def main(argv=None):
    path, *options = sys.argv[1:]
    args = Namespace(
        model_save_path=path,
        checkpoint_save_path=path.replace(".pth", "_checkpoint.pth"),
        plot_save_path=path.replace(".pth", ".png"),
        epochs=2,
        batch_size=3,
        seed=42,
        precision="fp32",
        resume="--resume" in options,
        checkpoint_seconds=0,
    )
    if "--one_epoch" in options:
        args.epochs = 1
    distributed.join(torch.device("cpu"), args.batch_size)
    if "--error" in options and distributed.rank() == 1:
        raise UserError("of process 1 alone")
    if "--other" in options and distributed.rank() == 1:
        args.batch_size = 5
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(0)
    if "--hypothesis_3" in options:
        model = ResNetUNet()
    else:
        model = nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, padding=1)
        )
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.__class__ = FrozenNorm
    loss = (DyingLoss if "--die" in options else HeatmapLoss)(nn.MSELoss(), sigma=3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)  # feels every scale
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=1)
    train_set, val_set = some_images(10, seed=1), some_images(4, seed=2)
    training.fit(model, loss, optimizer, scheduler, train_set, val_set, args, augment)


def run(folder, *options, two=True, expected=0):
    launcher = TORCHRUN if two else ()
    finished = subprocess.run(
        [
            sys.executable,
            *launcher,
            "-m",
            "tests.test_distributed",
            str(folder / "m.pth"),
            *options,
        ],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert (finished.returncode != 0) is bool(expected), finished.stderr
    return finished


def checkpoint_in(folder):
    checkpoint = torch.load(folder / "m_checkpoint.pth", weights_only=True)
    del checkpoint["args"]
    return checkpoint


@pytest.fixture(scope="module")
def two_epochs(tmp_path_factory):
    """What two processes leave after two epochs."""
    folder = tmp_path_factory.mktemp("two processes")
    printed = run(folder).stdout
    assert printed.count("Epoch 2/2 |") == 1  # process 0 alone prints
    return checkpoint_in(folder)


def test_two_processes_train_what_one_trains(tmp_path):
    """Hypothesis 3's network; gradients are sums of other orders, so the bits are others."""
    for folder, two in (("two", True), ("one", False)):
        (tmp_path / folder).mkdir()
        run(tmp_path / folder, "--hypothesis_3", two=two)
    together, alone = checkpoint_in(tmp_path / "two"), checkpoint_in(tmp_path / "one")
    for name in ("train_losses", "val_losses"):
        assert together[name] == pytest.approx(alone[name], rel=1e-4)
    torch.manual_seed(0)
    initial = ResNetUNet().state_dict()
    for key, value in alone["model_state_dict"].items():
        difference = (together["model_state_dict"][key] - value).float().norm()
        change = (value - initial[key]).float().norm()
        assert difference <= 1e-3 * change + 1e-6, key
    assert change > 0  # of the last layer's bias: they did train


@pytest.fixture(scope="module")
def one_epoch(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one epoch")
    run(folder, "--one_epoch")
    return folder


@pytest.mark.parametrize("two", [True, False], ids=["by two", "by one"])
def test_resumed(two, one_epoch, two_epochs, tmp_path):
    shutil.copytree(one_epoch, tmp_path, dirs_exist_ok=True)
    run(tmp_path, "--resume", two=two)
    resumed = checkpoint_in(tmp_path)
    assert resumed["epoch"] == 2
    if two:  # which is also the same twice
        assert_same(resumed, two_epochs)
    for key, value in resumed["model_state_dict"].items():
        torch.testing.assert_close(value, two_epochs["model_state_dict"][key])


def test_the_death_of_one_process_ends_the_job(tmp_path):
    started = time.monotonic()
    run(tmp_path, "--die", expected=1)
    assert time.monotonic() - started < 60  # gloo itself would wait for half an hour
    assert checkpoint_in(tmp_path)["epoch"] == 1
    assert not list(tmp_path.glob("*.tmp"))


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--error", "error: of process 1 alone"),
        ("--other", "error: the arguments, images or landmarks differ between the processes"),
    ],
)
def test_what_only_process_1_meets_is_said_too(option, message, tmp_path):
    assert run(tmp_path, option, expected=1).stderr.count(message) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("script", "arguments", "message"),
    [
        ("Trainer_Hypothesis3.py", ["--batch_size", "1"], "is less than one image for each of 2"),
        ("Tester_Hypothesis3.py", ["--model_path", "m.pth"], "needs one process"),
    ],
)
def test_what_is_refused_is_said_once(script, arguments, message, data_arguments, tmp_path):
    finished = subprocess.run(
        [
            sys.executable,
            *TORCHRUN,
            str(ROOT / script),
            *data_arguments,
            "--device",
            "cpu",
            *arguments,
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert finished.returncode != 0
    assert finished.stderr.count(message) == 1
    assert finished.stderr.count("error: ") >= 1
    assert not list(tmp_path.iterdir())


if __name__ == "__main__":
    main()
