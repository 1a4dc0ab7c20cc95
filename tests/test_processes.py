"""Two gloo processes, as torchrun starts them, beside one.

python -m tests.test_processes MODEL_PATH is what each process runs: a small network, or that of
Hypothesis 3, whose batch normalisation is frozen (each process on a CPU normalises its own share),
on ten random images in batches of three. The shares are 2 + 1, and 1 + 0 in the last batch.
"""

import os
import shutil
import signal
import subprocess
import sys
from argparse import Namespace

import pytest
import torch
from torch import nn

from common.basics import processes
from common.basics.errors import reports_errors
from common.losses import HeatmapLoss
from common.models import ResNetUNet
from common.runs.fit import fit
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
        if self.calls == 10 and processes.rank() == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(heatmaps, landmarks)


@reports_errors(resumable=True)
def main(argv=None):
    path, *options = sys.argv[1:]
    args = Namespace(
        model_save_path=path,
        plot_save_path=path.replace(".pth", ".png"),
        epochs=2,
        batch_size=3,
        seed=42,
        precision="fp32",
        resume="--resume" in options,
        initial_weights=None,
        checkpoint_seconds=0,
    )
    if "--one_epoch" in options:
        args.epochs = 1
    processes.init_process_group(torch.device("cpu"))
    if "--other" in options and processes.rank() == 1:
        args.batch_size, processes.time.sleep = 5, lambda _: None  # process 0 has no error
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
    fit(model, loss, optimizer, scheduler, train_set, val_set, args, augment)


def run_processes(folder, *options, two=True, expected=0):
    launcher = TORCHRUN if two else ()
    ours = ("-m", "tests.test_processes", str(folder / "m.pth"), *options)
    finished = subprocess.run(
        [sys.executable, *launcher, *ours],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,  # far beyond what it takes, on a busy machine too
    )
    assert (finished.returncode != 0) is bool(expected), finished.stderr
    return finished


def checkpoint_in(folder):
    checkpoint = torch.load(folder / "m_checkpoint.pth", weights_only=True)
    del checkpoint["args"]
    return checkpoint


def test_two_processes_train_what_one_trains(tmp_path):
    """Hypothesis 3's network; gradients are sums of other orders, so the bits are others."""
    for folder, two in (("two", True), ("one", False)):
        (tmp_path / folder).mkdir()
        run_processes(tmp_path / folder, "--hypothesis_3", "--one_epoch", two=two)
    together, alone = checkpoint_in(tmp_path / "two"), checkpoint_in(tmp_path / "one")
    for name in ("train_losses", "val_losses", "val_within_10_px"):
        assert together[name] == pytest.approx(alone[name], rel=1e-4)
    torch.manual_seed(0)
    initial = ResNetUNet().state_dict()
    for key, value in alone["model_state_dict"].items():
        difference = (together["model_state_dict"][key] - value).float().norm()
        change = (value - initial[key]).float().norm()
        assert difference <= 1e-3 * change + 1e-6, key
    assert change > 0  # of the last layer's bias: they did train


def test_the_death_of_one_process_ends_the_job_and_one_or_two_resume_it(tmp_path):
    for name in ("through", "died"):
        (tmp_path / name).mkdir()
    printed = run_processes(tmp_path / "through").stdout
    assert printed.count("Epoch 2/2 |") == 1  # process 0 alone prints
    expected = checkpoint_in(tmp_path / "through")
    run_processes(tmp_path / "died", "--die", expected=1)  # gloo itself would wait for half an hour
    assert len(checkpoint_in(tmp_path / "died")["val_losses"]) == 1
    assert not list(tmp_path.glob("died/*.tmp"))

    shutil.copytree(tmp_path / "died", tmp_path / "by one")
    run_processes(tmp_path / "died", "--resume")
    assert_same(checkpoint_in(tmp_path / "died"), expected)  # which is also the same twice
    run_processes(tmp_path / "by one", "--resume", two=False)
    resumed = checkpoint_in(tmp_path / "by one")
    assert len(resumed["val_losses"]) == 2
    for key, value in resumed["model_state_dict"].items():
        torch.testing.assert_close(value, expected["model_state_dict"][key])


def test_arguments_that_differ_between_processes_end_both_with_one_message(tmp_path):
    message = "error: the arguments, images or landmarks differ between the processes"
    assert run_processes(tmp_path, "--other", expected=1).stderr.count(message) == 1
    assert not list(tmp_path.iterdir())


@pytest.fixture
def process(monkeypatch):
    """process(rank, size): be this one of so many."""

    def be(rank, size):
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", str(size))

    return be


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_the_shares_make_up_each_batch(size, process):
    """Each image is in one of them, and the average over the processes of weight × mean is the
    mean over the batch, as which gradients are averaged. A process for which no image is left has
    one without landmarks, of no weight."""
    batches = [torch.arange(12.0).reshape(3, 4), torch.arange(12.0, 20).reshape(2, 4)]
    seen, averages = [[], []], [0.0, 0.0]
    for rank in range(size):
        process(rank, size)
        shares = processes.own_shares((values, values, 1.0) for values in batches)
        for i, (images, landmarks, weight) in enumerate(shares):
            averages[i] += weight * images.mean().item() / size
            if weight > 0:
                assert torch.equal(images, landmarks)
                seen[i] += images.tolist()
            else:
                assert images.tolist() == batches[i][:1].tolist()
                assert landmarks.shape == (1, 4)
                assert landmarks.isnan().all()
    assert seen == [values.tolist() for values in batches]
    assert averages == pytest.approx([values.mean().item() for values in batches])


def test_one_process_has_every_batch_as_it_is():
    images, landmarks = torch.rand(3, 1), torch.rand(3, 2)
    ((own_images, own_landmarks, weight),) = processes.own_shares([(images, landmarks, 1.0)])
    assert torch.equal(own_images, images)
    assert torch.equal(own_landmarks, landmarks)
    assert weight == 1


def test_the_means_of_one_process_are_its_sums_over_their_number():
    assert processes.means(torch.tensor([8.0, 4.0])) == [0.5]
    assert processes.means(torch.tensor([8.0, 4.0, 6.0])) == [0.5, 0.75]


def test_without_torchrun_there_is_one_process(process, monkeypatch):
    """Some clusters set the same variables for programs of their own."""
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert (processes.rank(), processes.world_size()) == (0, 1)
    process(1, 4)
    assert (processes.rank(), processes.world_size()) == (1, 4)


if __name__ == "__main__":
    main()
