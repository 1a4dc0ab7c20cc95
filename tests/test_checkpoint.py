"""Weights files: which can be read, and what is said of those that cannot."""

import urllib.error

import pytest
import torch
from torchvision.models import resnet34

from common import UserError
from common.checkpoint import load_resnet34, load_weights
from common.models import ResNetUNet, UNet
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


@pytest.mark.parametrize("network", [UNet, ResNetUNet])
def test_both_forms_of_a_weights_file_load(tmp_path, weights, network):
    state_dict = torch.load(weights[network], weights_only=True)
    model = network()
    assert load_weights(model, str(weights[network])) == {}
    assert_same(dict(model.state_dict()), dict(state_dict))

    checkpoint = {"epoch": 3, "model_state_dict": state_dict}
    torch.save(checkpoint, tmp_path / "checkpoint.pth")
    model = network()
    assert load_weights(model, str(tmp_path / "checkpoint.pth"))["epoch"] == 3
    assert_same(dict(model.state_dict()), dict(state_dict))


def test_any_network_loads_whatever_its_shapes_and_the_type_in_the_file(tmp_path):
    model = torch.nn.Linear(2, 1)  # its last parameter has one element
    torch.save({"weight": WEIGHT.double(), "bias": BIAS.half()}, tmp_path / "model.pth")
    load_weights(model, str(tmp_path / "model.pth"))
    assert_same(dict(model.state_dict()), {"weight": WEIGHT, "bias": BIAS})


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param([1, 2, 3], "holds no state dict", id="list"),
        pytest.param({}, "holds no state dict", id="empty"),
        pytest.param({"model_state_dict": [1]}, "holds no state dict", id="list in checkpoint"),
        pytest.param({"model_state_dict": None}, "holds no state dict", id="None in checkpoint"),
        pytest.param({0: WEIGHT, 1: BIAS}, "holds no state dict", id="keys that are no text"),
        pytest.param({"weight": [1.0, 2.0]}, "holds no state dict", id="no tensor"),
        pytest.param(
            {"weight": WEIGHT},
            'not weights of Linear: Missing key(s) in state_dict: "bias"',
            id="key missing",
        ),
        pytest.param(
            {"weight": WEIGHT, "bias": BIAS, "gain": BIAS},
            'not weights of Linear: Unexpected key(s) in state_dict: "gain"',
            id="key too many",
        ),
        pytest.param(
            {"weight": WEIGHT.T, "bias": BIAS},
            "not weights of Linear: size mismatch for weight",
            id="other shape",
        ),
        pytest.param(
            {"weight": WEIGHT, "bias": BIAS * float("nan")},
            "bias holds values that are not finite",
            id="NaN",
        ),
        pytest.param(
            {"weight": WEIGHT.double() * 1e300, "bias": BIAS},
            "weight holds values that are not finite",
            id="float64 beyond float32",
        ),
    ],
)
def test_content_that_cannot_be_used_is_named(tmp_path, content, expected):
    assert refusal(tmp_path / "model.pth", content).startswith(expected)


@pytest.mark.filterwarnings("ignore::UserWarning")  # of torch, about the rarer kinds
@pytest.mark.parametrize(
    "convert",
    [
        pytest.param(lambda t: t + 1j, id="complex"),
        pytest.param(lambda t: t.to_sparse(), id="sparse"),
        pytest.param(lambda t: t.to("meta"), id="meta"),
        pytest.param(lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8), id="quantised"),
    ],
)
def test_tensors_that_are_not_plain_numbers_are_no_weights(tmp_path, convert):
    content = {"weight": convert(WEIGHT), "bias": BIAS}
    assert refusal(tmp_path / "model.pth", content) == "holds no state dict"


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
        assert refusal(path) == "no PyTorch weights file, or truncated"
    torch.save({"weight": WEIGHT, "bias": BIAS}, path)
    path.write_bytes(path.read_bytes()[:-200])
    assert refusal(path) == "no PyTorch weights file, or truncated"


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


def test_a_damaged_value_is_called_damage(tmp_path):
    path = tmp_path / "model.pth"
    torch.save({"weight": WEIGHT, "bias": BIAS}, path)
    before = WEIGHT.numpy().tobytes()
    after = before[:2] + b"\x81" + before[3:]
    assert path.read_bytes().count(before) == 1
    path.write_bytes(path.read_bytes().replace(before, after))
    assert refusal(path).startswith("damaged: the checksum of ")


class WritesAFile:
    """Pickled, it calls open(path, "w") when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_loading_runs_no_code_from_the_file(tmp_path):
    content = {"model_state_dict": WritesAFile(tmp_path / "written")}
    assert "holds pickled Python objects" in refusal(tmp_path / "evil.pth", content)
    assert not (tmp_path / "written").exists()
    whole_model = torch.nn.Linear(2, 1)
    assert "save its state_dict() instead" in refusal(tmp_path / "whole.pth", whole_model)


@pytest.fixture(scope="module")
def resnet():
    torch.manual_seed(0)
    return resnet34()


@pytest.mark.parametrize("head", [True, False], ids=["with head", "without"])
def test_the_encoder_starts_from_a_file(tmp_path, resnet, head):
    state_dict = {k: v for k, v in resnet.state_dict().items() if head or not k.startswith("fc.")}
    torch.save(state_dict, tmp_path / "encoder.pth")
    loaded = load_resnet34(str(tmp_path / "encoder.pth")).state_dict()
    for key in state_dict.keys() - {"fc.weight", "fc.bias"}:  # the head is not used
        assert torch.equal(loaded[key], state_dict[key])


def test_encoder_weights_that_cannot_be_used_are_named(tmp_path, resnet, weights):
    def message(path):
        with pytest.raises(UserError) as caught:
            load_resnet34(str(path))
        return str(caught.value)

    assert message("nowhere.pth") == "nowhere.pth: cannot be read: No such file or directory"
    assert message(weights[UNet]).startswith(f"{weights[UNet]}: these weights belong to Hypoth")
    path = tmp_path / "encoder.pth"
    torch.save({"weight": WEIGHT}, path)
    expected = f'{path}: not weights of ResNet: Missing key(s) in state_dict: "conv1.weight"'
    assert message(path).startswith(expected)
    state_dict = dict(resnet.state_dict())
    state_dict["layer3.0.bn1.bias"] = state_dict["layer3.0.bn1.bias"] * float("nan")
    torch.save(state_dict, path)
    assert message(path).startswith(f"{path}: layer3.0.bn1.bias holds values that are not finite")


def test_imagenet_weights_come_from_torchs_cache(tmp_path, monkeypatch, resnet):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cached = tmp_path / "hub" / "checkpoints" / "resnet34-b627a593.pth"
    cached.parent.mkdir(parents=True)
    torch.save(resnet.state_dict(), cached)
    loaded = load_resnet34("imagenet")
    assert torch.equal(loaded.layer4[2].conv2.weight, resnet.layer4[2].conv2.weight)
    cached.write_bytes(cached.read_bytes()[:100_000])  # a download that broke off
    with pytest.raises(UserError, match=r"put that file at .*resnet34-b627a593\.pth by hand"):
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
