"""Weights files: which can be read, and what is said of those that cannot."""

import argparse
import os
import pickle
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
from common.runs.weights import load_resnet34, load_weights
from tests.conftest import assert_same

WEIGHT, BIAS = torch.tensor([[1.0, 2.0]]), torch.tensor([3.0])
WEIGHTS = {"weight": WEIGHT, "bias": BIAS}
UNREADABLE = (
    "not a PyTorch weights file, or damaged, or with pickled Python objects (a whole model?), "
    "which could run any code and are not loaded: save its state_dict() instead"
)


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


def loaded_from(path):
    """What load_weights puts into a linear layer, and what it returns."""
    model = torch.nn.Linear(2, 1)
    checkpoint = load_weights(model, str(path))
    return dict(model.state_dict()), checkpoint


@pytest.mark.parametrize("is_ours", [True, False])
@pytest.mark.parametrize("name", [None, "model_state_dict", "state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module.", "model."])
def test_a_weights_file_may_have_many_forms(name, prefix, is_ours, tmp_path, monkeypatch):
    """Bare or in a checkpoint, ours (which lists its images) or another script's, of DataParallel,
    of any type, of a GPU."""
    monkeypatch.setattr("torch.serialization.location_tag", lambda _: "cuda:0")
    state_dict = {f"{prefix}weight": WEIGHT.double(), f"{prefix}bias": BIAS.half()}
    content = {name: state_dict, "train_images": ["1.png"] if is_ours else 5}
    torch.save(content if name else state_dict, tmp_path / "model.pth")
    loaded, checkpoint = loaded_from(tmp_path / "model.pth")
    assert_same(loaded, WEIGHTS)
    assert checkpoint.get("train_images") == (["1.png"] if name and is_ours else None)


def test_the_checkpoints_of_torchvisions_references_and_of_lightning_are_read(tmp_path):
    """As they write them: with the arguments of the command, and the states of an optimiser."""
    model = torch.nn.Linear(2, 1)
    model.load_state_dict(WEIGHTS)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    model.load_state_dict(WEIGHTS)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 30)
    args = argparse.Namespace(data_path="/data", lr=0.1, amp=False, norm_decay=None, sizes=[1, 2])
    torchvision = {
        **{"model": model.state_dict(), "optimizer": optimizer.state_dict()},
        **{"lr_scheduler": schedule.state_dict(), "epoch": 3, "args": args},
        "model_ema": {"n_averaged": torch.tensor(1), "module.weight": WEIGHT + 1},
    }
    score = {"best_model_score": torch.tensor(0.1), "best_k_models": {"/a.ckpt": torch.tensor(0.1)}}
    lightning = {
        **{"epoch": 3, "global_step": 12, "pytorch-lightning_version": "2.5.0"},
        "state_dict": type(model.state_dict())((f"model.{k}", v) for k, v in WEIGHTS.items()),
        "loops": {"fit_loop": {"epoch_progress": {"total": {"ready": 4}}}},
        "callbacks": {"ModelCheckpoint{'monitor': 'val_loss'}": score},
        "optimizer_states": [optimizer.state_dict()],
        "lr_schedulers": [schedule.state_dict()],
        **{"hparams_name": "kwargs", "hyper_parameters": {"lr": 0.1, "args": args}},
    }
    for name, content in (("model_3.pth", torchvision), ("epoch=3.ckpt", lightning)):
        torch.save(content, tmp_path / name)
        loaded, checkpoint = loaded_from(tmp_path / name)
        assert_same(loaded, WEIGHTS)
        assert checkpoint == {}  # which is ours alone


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ([1, 2, 3], "holds no state dict"),
        ({}, "holds no state dict"),
        ({"model_state_dict": None}, "holds no state dict"),
        ({"weight": WEIGHT, "bias": [3.0]}, "holds no state dict"),
        ({0: WEIGHT, 1: BIAS}, "not weights of this network: Error(s) in loading state_dict for"),
        ({"weight": WEIGHT}, "not weights of this network"),
        ({"weight": WEIGHT, "bias": BIAS * torch.nan}, "bias holds values that are not finite"),
        # 1 and 2**999: finite in float64, and one infinite in float32
        ({"weight": WEIGHT.double() ** 999, "bias": BIAS}, "weight holds values that are not fin"),
    ],
)
def test_content_that_cannot_be_used_is_named(tmp_path, content, expected):
    assert refusal(tmp_path / "model.pth", content).startswith(expected)


def test_weights_of_the_other_network_are_refused(weights):
    for network, other in ((UNet, ResNetUNet), (ResNetUNet, UNet)):
        start = "not weights of this network: Error(s) in loading state_dict for "
        message = refusal(weights[other], model=network())
        assert message.startswith(f"{start}{network.__name__}: Missing key(s) in state_dict: ")


def test_files_that_cannot_be_read_are_named(tmp_path):
    path = tmp_path / "model.pth"
    assert refusal(path) == "cannot be read: No such file or directory"
    assert refusal(tmp_path) == "cannot be read: Is a directory"
    path.write_bytes(b"")
    assert refusal(path) == UNREADABLE
    for is_new in (True, False):
        torch.save(WEIGHTS, path, _use_new_zipfile_serialization=is_new)
        whole = path.read_bytes()
        for length in (100, len(whole) // 2, len(whole) - 1):
            path.write_bytes(whole[:length])
            assert refusal(path) == UNREADABLE


LFS_POINTER = ["version https://git-lfs.github.com/spec/v1", "oid sha256:4d7a21", "size 96643839"]
PAGE = "a page of the web, not a file of weights: download the file itself"
POINTER = "a pointer of Git LFS: fetch the file itself with git lfs pull, or download it"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name,x\n1.png,2\n2.png,3\n", UNREADABLE),
        ("image_name,x\n1.png,2\n2.png,3\n", UNREADABLE),  # of which a pickle reads i, 1, 2
        ("\x89PNG\r\n", UNREADABLE),
        ("\x1f\x8b\x08\x00", UNREADABLE),  # of gzip
        ("\n".join(LFS_POINTER), POINTER),
        ("\r\n".join(LFS_POINTER), POINTER),
        ("<!DOCTYPE html><html><head><title>Sign in</title>", PAGE),
        ("\n  <html lang='en'>", PAGE),
        ("\xef\xbb\xbf<HTML>", PAGE),  # after a byte-order mark
        ("<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", PAGE),
    ],
)
def test_a_file_of_another_kind_is_named_for_the_network_and_the_encoder(
    content, message, tmp_path
):
    path = tmp_path / "model.pth"
    path.write_bytes(content.encode("latin1"))
    assert refusal(path).startswith(message)
    with pytest.raises(UserError, match=re.escape(f"model.pth: {message}")):
        load_resnet34(str(path))


def test_whichever_byte_is_damaged_the_weights_are_refused_or_right(tmp_path):
    path = tmp_path / "model.pth"
    torch.save(WEIGHTS, path)
    good = path.read_bytes()
    refused = 0
    for position in range(0, len(good), 5):
        damaged = bytearray(good)
        damaged[position] ^= 0x04
        path.write_bytes(damaged)
        try:
            loaded, _ = loaded_from(path)
        except UserError:
            refused += 1
        else:
            assert_same(loaded, WEIGHTS, position)
    assert refused > 50  # the others are padding, and the time of day


class Calls:
    """Pickled, it calls a function with these arguments when it is unpickled."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_that_calls_a_function_is_not_run(tmp_path, protocol):
    written, path = tmp_path / "written", tmp_path / "evil.pth"
    for function, argument in ((os.system, f"touch {written}"), (os.mkdir, str(written))):
        call = Calls(function, argument)
        for content in (call, {"state_dict": {}, "args": argparse.Namespace(call=call)}):
            path.write_bytes(pickle.dumps(content, protocol))
            assert refusal(path) == UNREADABLE
            for is_new in (True, False):
                options = {"pickle_protocol": protocol, "_use_new_zipfile_serialization": is_new}
                torch.save(content, path, **options)
                assert refusal(path) == UNREADABLE
    assert not written.exists()


@pytest.mark.parametrize("is_new", [True, False])
def test_a_whole_model_is_refused(tmp_path, is_new):
    path = tmp_path / "model.pth"
    torch.save(torch.nn.Linear(2, 1), path, _use_new_zipfile_serialization=is_new)
    assert refusal(path) == UNREADABLE
    assert refusal(path, {"model": torch.nn.Linear(2, 1), "epoch": 3}) == UNREADABLE


def test_an_old_format_is_read_or_refused_without_a_warning(tmp_path, recwarn):
    """torch itself warns of every protocol but the second, and says that it may be a bug."""
    path = tmp_path / "model.pth"
    for is_new in (True, False):
        options = {"_use_new_zipfile_serialization": is_new}
        torch.save(WEIGHTS, path, pickle_protocol=3, **options)
        recwarn.clear()
        assert_same(loaded_from(path)[0], WEIGHTS)
        torch.save(WEIGHTS, path, pickle_protocol=4, **options)
        assert refusal(path) == UNREADABLE
        assert not recwarn.list


def test_a_torchscript_archive_is_called_a_whole_model(tmp_path):
    """It is a ZIP archive like the others, and its file constants.pkl is how torch knows it."""
    with zipfile.ZipFile(tmp_path / "model.pt", "w") as archive:
        for name in ("constants.pkl", "data.pkl", "version"):
            archive.writestr(f"model/{name}", b"3\n")
    assert refusal(tmp_path / "model.pt") == UNREADABLE


@pytest.mark.parametrize("core", ["core", "_core"])  # where NumPy 1 and 2 have their function
def test_numpy_scalars_are_read_as_what_they_are(tmp_path, core):
    scalars = [np.float64(0.1), np.float32(0.1), np.int64(-3), np.bool_(True), np.str_("ä")]
    path = tmp_path / "model.pth"
    torch.save({"model_state_dict": WEIGHTS, "train_images": scalars}, path)
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:  # as torch stores it: not compressed
        for name, content in contents.items():
            content = re.sub(rb"numpy\._?core\.", f"numpy.{core}.".encode(), content)
            archive.writestr(name, content)
    assert f"numpy.{core}.multiarray".encode() in path.read_bytes()
    loaded, checkpoint = loaded_from(path)
    assert checkpoint["train_images"] == scalars
    assert list(map(type, checkpoint["train_images"])) == list(map(type, scalars))
    assert_same(loaded, WEIGHTS)


def test_of_numpy_nothing_but_scalars_is_read(tmp_path):
    for content in (np.array([Calls(open, str(tmp_path / "written"), "w")]), np.load, np.ones(2)):
        assert refusal(tmp_path / "model.pth", {"a": content}) == UNREADABLE
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
    with pytest.raises(UserError, match="not weights of this network"):
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
    with pytest.raises(UserError, match=r"delete .*resnet34-b627a593\.pth if it is there"):
        load_resnet34("imagenet")


def test_a_failed_download_names_three_ways_out_and_a_file_first(tmp_path, monkeypatch):
    def no_network(*_args, **_kwargs):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", no_network)
    with pytest.raises(UserError) as caught:
        load_resnet34("imagenet")
    message = str(caught.value)
    copy = "Give a copy of https://download.pytorch.org/models/resnet34-b627a593.pth with "
    cached = str(tmp_path / "hub" / "checkpoints" / "resnet34-b627a593.pth")
    ways = [copy + "--encoder_weights PATH", cached, "--encoder_weights none"]
    places = [message.index(way) for way in ways]
    assert places == sorted(places)
