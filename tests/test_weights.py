"""Weights files: which can be read, and what is said of those that cannot."""

import re
import urllib.error
import urllib.request
import zipfile

import numpy as np
import pytest
import torch
from torchvision.models import resnet34

from common import UserError
from common.models import ResNetUNet, UNet
from common.weights import load_resnet34, load_weights
from tests.conftest import assert_same

WEIGHT, BIAS = torch.tensor([[1.0, 2.0]]), torch.tensor([3.0])


def refusal(path, content=None, model=None):
    """What load_weights says of a file, without its path. content: put there first."""
    if content is not None:
        torch.save(content, path)
    with pytest.raises(UserError) as caught:
        load_weights(model or torch.nn.Linear(2, 1), str(path))
    start, message = str(caught.value).split(": ", 1)
    assert start == str(path)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("name", [None, "model_state_dict", "state_dict"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_weights_file_may_have_many_forms(name, prefix, tmp_path, monkeypatch):
    """Bare or in a checkpoint, ours or another script's, of DataParallel, of any type, of a GPU."""
    monkeypatch.setattr("torch.serialization.location_tag", lambda _: "cuda:0")
    state_dict = {f"{prefix}weight": WEIGHT.double(), f"{prefix}bias": BIAS.half()}
    torch.save({name: state_dict, "epoch": 3} if name else state_dict, tmp_path / "model.pth")
    model = torch.nn.Linear(2, 1)
    checkpoint = load_weights(model, str(tmp_path / "model.pth"))
    assert_same(dict(model.state_dict()), {"weight": WEIGHT, "bias": BIAS})
    assert checkpoint.get("epoch") == (3 if name == "model_state_dict" else None)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ([1, 2, 3], "holds no state dict"),
        ({}, "holds no state dict"),
        ({"model_state_dict": None}, "holds no state dict"),
        ({"weight": WEIGHT, "bias": [3.0]}, "holds no state dict"),
        ({0: WEIGHT, 1: BIAS}, "not weights of Linear"),
        ({"weight": WEIGHT}, 'not weights of Linear: Missing key(s) in state_dict: "bias"'),
        ({"weight": WEIGHT, "bias": BIAS * torch.nan}, "bias holds values that are not finite"),
        # 1 and 2**999: finite in float64, and one infinite in float32
        ({"weight": WEIGHT.double() ** 999, "bias": BIAS}, "weight holds values that are not fin"),
    ],
)
def test_content_that_cannot_be_used_is_named(tmp_path, content, expected):
    assert refusal(tmp_path / "model.pth", content).startswith(expected)


def test_weights_of_the_other_hypothesis_are_named(weights):
    message = refusal(weights[ResNetUNet], model=UNet())
    assert message == "these weights belong to Hypothesis 3 (ResNetUNet)"
    message = refusal(weights[UNet], model=ResNetUNet())
    assert message == "these weights belong to Hypotheses 1 and 2 (UNet)"


def test_files_that_cannot_be_read_are_named(tmp_path):
    path = tmp_path / "model.pth"
    assert refusal(path) == "cannot be read: No such file or directory"
    assert refusal(tmp_path) == "cannot be read: Is a directory"
    for content in (b"", b"no weights"):
        path.write_bytes(content)
        assert refusal(path) == "not a PyTorch weights file, or truncated"
    torch.save({"weight": WEIGHT, "bias": BIAS}, path)
    path.write_bytes(path.read_bytes()[:-200])
    assert refusal(path) == "not a PyTorch weights file, or truncated"


@pytest.mark.filterwarnings("ignore::UserWarning")  # of torch, about a damaged version number
def test_whichever_byte_is_damaged_the_weights_are_refused_or_right(tmp_path):
    path = tmp_path / "model.pth"
    torch.save({"weight": WEIGHT, "bias": BIAS}, path)
    good = path.read_bytes()
    model = torch.nn.Linear(2, 1)
    refused = 0
    for position in range(0, len(good), 5):
        damaged = bytearray(good)
        damaged[position] ^= 0x04
        path.write_bytes(damaged)
        try:
            load_weights(model, str(path))
        except UserError:
            refused += 1
        else:
            assert_same(dict(model.state_dict()), {"weight": WEIGHT, "bias": BIAS}, position)
    assert refused > 50  # the others are padding, and the time of day


class Calls:
    """Pickled, it calls a function with these arguments when it is unpickled."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def test_loading_runs_no_code_from_the_file(tmp_path):
    content = {"model_state_dict": Calls(open, str(tmp_path / "written"), "w")}
    assert "holds pickled Python objects" in refusal(tmp_path / "evil.pth", content)
    assert not (tmp_path / "written").exists()
    for is_new in (True, False):
        path = tmp_path / f"{is_new}.pth"
        torch.save(torch.nn.Linear(2, 1), path, _use_new_zipfile_serialization=is_new)
        assert "save its state_dict() instead" in refusal(path)


@pytest.mark.parametrize("core", ["core", "_core"])  # where NumPy 1 and 2 have their function
def test_numpy_scalars_are_read_as_what_they_are(tmp_path, core):
    scalars = [np.float64(0.1), np.float32(0.1), np.int64(-3), np.bool_(True), np.str_("ä")]
    state_dict = {"weight": WEIGHT, "bias": BIAS}
    path = tmp_path / "model.pth"
    torch.save({"model_state_dict": state_dict, "losses": scalars}, path)
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:  # as torch stores it: not compressed
        for name, content in contents.items():
            content = re.sub(rb"numpy\._?core\.", f"numpy.{core}.".encode(), content)
            archive.writestr(name, content)
    assert f"numpy.{core}.multiarray".encode() in path.read_bytes()
    model = torch.nn.Linear(2, 1)
    losses = load_weights(model, str(path))["losses"]
    assert losses == scalars
    assert list(map(type, losses)) == list(map(type, scalars))
    assert_same(dict(model.state_dict()), state_dict)


def test_of_numpy_nothing_but_scalars_is_read(tmp_path):
    for content in (np.array([Calls(open, str(tmp_path / "written"), "w")]), np.load, np.ones(2)):
        assert "holds pickled Python objects" in refusal(tmp_path / "model.pth", {"a": content})
    scalar, writes = np.float64(0).__reduce__()[0], Calls(open, str(tmp_path / "written"), "w")
    assert refusal(tmp_path / "model.pth", {"a": Calls(scalar, np.dtype("O"), writes)})
    assert not (tmp_path / "written").exists()


@pytest.fixture(scope="module")
def resnet():
    torch.manual_seed(0)
    return resnet34()


def test_the_encoder_starts_from_a_file(tmp_path, resnet, weights):
    # The head is not used.
    state_dict = {k: v for k, v in resnet.state_dict().items() if not k.startswith("fc.")}
    for content in (state_dict, {f"module.{k}": v for k, v in resnet.state_dict().items()}):
        torch.save(content, tmp_path / "encoder.pth")
        loaded = load_resnet34(str(tmp_path / "encoder.pth")).state_dict()
        assert_same(dict(loaded), state_dict)
    with pytest.raises(UserError, match="these weights belong to Hypotheses 1 and 2"):
        load_resnet34(str(weights[UNet]))


def test_imagenet_weights_come_from_torchs_cache(tmp_path, monkeypatch, resnet):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cached = tmp_path / "hub" / "checkpoints" / "resnet34-b627a593.pth"
    cached.parent.mkdir(parents=True)
    torch.save(resnet.state_dict(), cached)
    loaded = load_resnet34("imagenet")
    assert torch.equal(loaded.layer4[2].conv2.weight, resnet.layer4[2].conv2.weight)
    cached.rename(tmp_path / "other.pth")
    other = (tmp_path / "other.pth").as_uri()
    monkeypatch.setattr("torch.hub.urlopen", lambda *_: urllib.request.urlopen(other))
    with pytest.raises(UserError, match=r'invalid hash value \(expected "b627a593"'):
        load_resnet34("imagenet")  # what comes from there is not ImageNet's
    assert not cached.exists()
    cached.write_bytes((tmp_path / "other.pth").read_bytes()[:100_000])  # by hand, and cut off
    with pytest.raises(UserError, match=r"a file .*resnet34-b627a593\.pth, delete it"):
        load_resnet34("imagenet")


def test_a_failed_download_names_three_ways_out(tmp_path, monkeypatch):
    def no_network(*_args, **_kwargs):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", no_network)
    with pytest.raises(UserError) as caught:
        load_resnet34("imagenet")
    message = str(caught.value)
    assert "https://download.pytorch.org/models/resnet34-b627a593.pth" in message
    assert str(tmp_path / "hub" / "checkpoints" / "resnet34-b627a593.pth") in message
    assert "--encoder_weights none" in message
