"""What the tests share: the three hypotheses, small data, and weights for it."""

import contextlib
import importlib
import math
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch

from common import images, sample_data
from common.evaluation import Predictions
from common.ground_truth import COLUMNS
from common.images import LandmarkImages, to_256
from common.models import ResNetUNet, UNet
from common.results.table import prediction_table

ROOT = Path(__file__).parent.parent


class Hypothesis(NamedTuple):
    network: type
    parameters: str  # as the report prints their number
    model_save_path: str
    arguments: list  # what its trainer needs here, where nothing can be downloaded
    review_confidence: float  # of the review flag, as ReadMe_Complete.txt gives it


HYPOTHESES = {
    1: Hypothesis(UNet, "7,788,740", "hypothesis_1_full_saved_model.pth", [], 0.3),
    2: Hypothesis(UNet, "7,788,740", "hypothesis_2_augmented_model.pth", [], 0.5),
    3: Hypothesis(
        ResNetUNet, "24,118,918", "hypothesis_3_resnet_unet.pth", ["--encoder_weights", "none"], 0.7
    ),
}


def single_spaced(text):
    return " ".join(text.split())


def refused(run, capsys, message):
    """run() ends with status 2 and this message in one line; returns what was printed before."""
    with pytest.raises(SystemExit) as stopped:
        run()
    printed = capsys.readouterr()
    assert stopped.value.code == 2
    lines = [line for line in printed.err.replace("\r", "\n").splitlines() if line.strip()]
    (line,) = [line for line in lines if "%|" not in line]  # no progress bar
    assert message in line
    return printed.out


def script(kind, number):
    """The main function of Trainer_Hypothesis1 and so on."""
    return importlib.import_module(f"{kind}_Hypothesis{number}").main


def files_in(folder):
    """Path → content of every file, to see later that none was touched."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_same(ours, theirs, where=""):
    """Equal to the bit, however deeply nested; but the seconds of an epoch are never the same."""
    assert type(ours) is type(theirs), where
    if isinstance(ours, torch.Tensor):
        assert torch.equal(ours, theirs), where
    elif isinstance(ours, dict):
        assert ours.keys() == theirs.keys(), where
        for key in ours:
            if key == "epoch_seconds":
                assert len(ours[key]) == len(theirs[key]), where
            else:
                assert_same(ours[key], theirs[key], f"{where}/{key}")
    elif isinstance(ours, (list, tuple)):
        assert len(ours) == len(theirs), where
        for i, pair in enumerate(zip(ours, theirs)):
            assert_same(*pair, f"{where}/{i}")
    else:
        assert ours == theirs, where


def ellipse(long=100.0, short=80.0, turn=30.0, center=(300, 200), angle=90.0, apart=(0, 0)):
    """The ends of two diameters of these lengths: [4, 2]. BPD's midpoint lies `apart`."""
    first, second = math.radians(turn), math.radians(turn + angle)
    ofd = long / 2 * np.array([math.cos(first), math.sin(first)])
    bpd = short / 2 * np.array([math.cos(second), math.sin(second)])
    center, other = np.array(center), np.array(center) + apart
    return np.array([center - ofd, center + ofd, other - bpd, other + bpd])


def table_of(*landmarks, names=None):
    """A ground truth with these landmarks, [4, 2] or eight numbers per row."""
    names = names or [f"{i:03d}_HC.png" for i in range(len(landmarks))]
    rows = [[name, *map(float, np.ravel(row))] for name, row in zip(names, landmarks)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def images_of(names, images, landmarks, sizes, rate=np.nan):
    """LandmarkImages with these landmarks in px of the 256×256 images (or of the images' own)."""
    height, width = images.shape[-2:]
    sizes = np.asarray(sizes, float)
    landmarks_px = np.asarray(landmarks, float) * sizes[:, None] / [width, height]
    rate = np.full(len(names), rate)
    return LandmarkImages(list(names), images, landmarks, sizes, landmarks_px, rate)


def some_images(count, seed):
    """Random grey images of 32×32 px with random landmarks."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, 1, 32, 32), generator=generator, dtype=torch.uint8)
    landmarks = 32 * torch.rand(count, 4, 2, generator=generator)
    names = [f"{seed}-{i}.png" for i in range(count)]
    return images_of(names, images, landmarks, np.full((count, 2), 32.0))


ALL_LANDMARKS = np.ones(4, bool)


def predictions_of(annotated_px, predicted_px, sizes, **others):
    """Predictions with these landmarks in px of the original images; by default they are sure, of
    one network, and without a pixel size, and the errors are the distances at 256×256."""
    annotated_px, predicted_px = np.asarray(annotated_px, float), np.asarray(predicted_px, float)
    sizes = np.asarray(sizes, float)
    count = len(annotated_px)
    annotated, predicted = to_256(annotated_px, sizes), to_256(predicted_px, sizes)
    given = {
        "names": np.array([f"{i}.png" for i in range(count)]),
        "sizes": sizes,
        "rate": np.full(count, np.nan),
        "annotated": annotated,
        "predicted": predicted,
        "annotated_px": annotated_px,
        "predicted_px": predicted_px,
        "errors": np.linalg.norm(predicted - annotated, axis=-1),
        "confidences": np.ones((count, 4)),
        "spreads": np.full((count, 4), np.nan),
    }
    return Predictions(**{**given, **others})


def some_of(predictions, *indices):
    """The predictions of these images, in this order; an image may stand there twice."""
    chosen = np.array(indices)
    of_all = vars(predictions)
    return Predictions(**{name: values[chosen] for name, values in of_all.items()})


def table_of_test(predictions, split="test", limit=0.7, trusted=ALL_LANDMARKS):
    """The table of a tester that found these predictions, with the review flag's limit."""
    return prediction_table(predictions, split, "abc", limit, trusted)


def arc_length(long, short):
    """The circumference of an ellipse with these axes, along a million chords."""
    turn = np.linspace(0, 2 * np.pi, 1_000_001)
    return np.hypot(np.diff(long / 2 * np.cos(turn)), np.diff(short / 2 * np.sin(turn))).sum()


@pytest.fixture
def predictions():
    """What was found in two images of 512×768 px (half and a third of that are 256).

    In the first, OFD is 120 px long and found 30 px shorter, and BPD is 90 px long and found with
    its ends exchanged. In the second, which is no pair of axes, nothing is off.
    """
    first = [[256, 240], [256, 360], [211, 300], [301, 300]]
    second = [[100, 300], [100, 420], [100, 450], [100, 600]]
    found = [[256, 255], [256, 345], [301, 300], [211, 300]]
    return predictions_of(
        [first, second],
        [found, second],
        [[512, 768]] * 2,
        errors=np.array([[15 / 3, 15 / 3, 90 / 2, 90 / 2], [0, 0, 0, 0]]),
        confidences=np.array([[0.9, 0.8, 0.01, 1.0], [1.0, 1.0, 1.0, 1.0]]),
        spreads=np.array([[0.0, 3.0, 20.0, 1.0], [0.0, 0.0, 20.5, 0.0]]),
        rate=np.array([0.2, np.nan]),
    )


@pytest.fixture
def small_images(monkeypatch):
    """64×64 px instead of 256×256: the U-Net's way through them is 16 times shorter."""
    use_small_images(monkeypatch)


def use_small_images(monkeypatch):
    """The same, for a fixture that several tests share."""
    monkeypatch.setattr(images, "IMAGE_SIZE", 64)


@pytest.fixture(scope="session")
def samples(tmp_path_factory):
    """A folder with six sample images, the fewest that can be split: 4 / 1 / 1."""
    folder = tmp_path_factory.mktemp("samples")
    sample_data.main(["--output_dir", str(folder), "--images", "6"])
    return folder


@pytest.fixture(scope="session")
def data_arguments(samples):
    """The two arguments that every script needs."""
    csv_path, folder = str(samples / "ground_truth.csv"), str(samples / "images")
    return ["--csv_path", csv_path, "--image_folder_path", folder]


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    """Untrained weights of both networks: a dict from class to path."""
    folder = tmp_path_factory.mktemp("weights")
    paths = {}
    for network in (UNet, ResNetUNet):
        torch.manual_seed(0)
        paths[network] = folder / f"{network.__name__}.pth"
        torch.save(network().state_dict(), paths[network])
    return paths


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="run the tests marked slow too")


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes minutes; run with --slow")


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--slow"):
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason="slow: run with --slow"))


@contextlib.contextmanager
def pipe_of(table):
    """The path of a pipe with this CSV, as a shell gives it for <(…): what was read is gone."""
    reading, writing = os.pipe()
    os.write(writing, table.to_csv(index=False).encode())
    os.close(writing)
    try:
        yield f"/dev/fd/{reading}"
    finally:
        os.close(reading)
