"""What the tests share: a small synthetic data set and weights for it."""

import pytest
import torch

from common import sample_data
from common.models import ResNetUNet, UNet


@pytest.fixture(scope="session")
def samples(tmp_path_factory):
    """A folder with six sample images, the fewest that can be split: 4 / 1 / 1."""
    folder = tmp_path_factory.mktemp("samples")
    sample_data.main(["--output_dir", str(folder), "--images", "6"])
    return folder


@pytest.fixture(scope="session")
def data_arguments(samples):
    """The two arguments that every script needs."""
    return [
        "--csv_path",
        str(samples / "ground_truth.csv"),
        "--image_folder_path",
        str(samples / "images"),
    ]


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
