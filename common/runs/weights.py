"""A file of weights: how it is read, checked and put into a network."""

import os
import warnings
import zipfile
from argparse import Namespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present
from torchvision.models import ResNet, ResNet34_Weights, resnet34

from common import UserError

# What makes up a NumPy scalar in a pickle, such as a loss that was never turned into a float: its
# function, which NumPy 1 and 2 name differently, and the types of its value, but no object.
_SCALAR = np.float64(0).__reduce__()[0]
HARMLESS = [
    (_SCALAR, "numpy.core.multiarray.scalar"),
    (_SCALAR, "numpy._core.multiarray.scalar"),
    np.dtype,
    *{type(np.dtype(code)) for code in np.typecodes["All"] if code not in "OV"},
    Namespace,  # the arguments of a command, as torchvision's own references keep them
]


def load_weights(model: nn.Module, path: str) -> dict[str, Any]:
    """Fill a network from a file, which is a checkpoint (of which the last weights are taken) or a
    state dict. Returns the checkpoint if it is one of this package, which lists the images that it
    was trained on; else {}. Raises UserError as read_file and fill do."""
    content = read_file(path)
    fill(model, content, path)
    return content if isinstance(content.get("train_images"), list) else {}


def load_resnet34(source: str) -> ResNet:
    """Return torchvision's ResNet-34, the encoder of Hypothesis 3, without its head.

    source: "imagenet" (downloaded to torch's cache), "none" (random weights), or the path of a file
    with its state dict. Raises UserError when these weights are not available.
    """
    encoder = resnet34()
    encoder.fc = nn.Identity()
    if source != "none":
        fill(encoder, _imagenet_weights() if source == "imagenet" else read_file(source), source)
    return encoder


def _imagenet_weights() -> dict[str, Tensor]:
    weights = ResNet34_Weights.IMAGENET1K_V1
    try:
        return weights.get_state_dict(check_hash=True, weights_only=True)
    except Exception as error:  # no network, a proxy's page, a full disk, a damaged cache
        cached = f"{torch.hub.get_dir()}/checkpoints/{os.path.basename(weights.url)}"
        raise UserError(
            f"the ImageNet weights of ResNet-34 are not available ({_in_one_line(error)}). Give a "
            f"copy of {weights.url} with --encoder_weights PATH; or delete {cached} if it is there "
            "(it is damaged) and try again; or use --encoder_weights none"
        ) from error


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def read_file(path: str) -> Any:
    """Load what torch.save wrote, to the CPU, without running code that may be in the file. Raises
    UserError when it is missing or damaged, or holds more than tensors, plain values, NumPy scalars
    and the arguments of a command."""
    try:
        if zipfile.is_zipfile(path):  # torch.load does not verify its checksums
            with zipfile.ZipFile(path) as archive:
                if archive.testzip():
                    raise zipfile.BadZipFile
        with torch.serialization.safe_globals(HARMLESS), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old formats: what cannot be read is said below
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except Exception as error:  # torch raises another type for each way a file can be broken
        raise UserError(f"{path}: {_describe_unreadable(path)}") from error


def _describe_unreadable(path: str) -> str:
    """Say what a file may be that torch.load does not read."""
    with open(path, "rb") as file:
        start = file.read(100).lstrip(b"\xef\xbb\xbf \t\r\n")
    if start.startswith(b"<"):
        return "a page of the web, not a file of weights: download the file itself"
    if start.startswith(b"version https://git-lfs"):
        return "a pointer of Git LFS: fetch the file itself with git lfs pull, or download it"
    return (
        "not a PyTorch weights file, or damaged, or with pickled Python objects (a whole model?), "
        "which could run any code and are not loaded: save its state_dict() instead"
    )


def find_state_dict(content: Any, path: str) -> dict[str, Tensor]:
    """Return the state dict that a file's content is, or has under one of the usual names, without
    the prefix of DataParallel or Lightning. Raises UserError where there is none."""
    for name in ("model_state_dict", "state_dict", "model"):
        if isinstance(content, dict):
            content = content.get(name, content)
    is_state_dict = isinstance(content, dict) and all(map(torch.is_tensor, content.values()))
    if not is_state_dict or not content:
        raise UserError(f"{path}: holds no state dict")
    state_dict = {str(key): value for key, value in content.items()}
    for prefix in ("module.", "model."):
        consume_prefix_in_state_dict_if_present(state_dict, prefix)
    return state_dict


def fill(model: nn.Module, content: Any, path: str) -> None:
    """Fill a model from a file's content: a state dict, or one under one of the usual names. Raises
    UserError for weights of another network, and for values that are not finite."""
    state_dict = find_state_dict(content, path)
    for head in {"fc.weight", "fc.bias"} - model.state_dict().keys():  # an encoder needs none
        state_dict.pop(head, None)
    try:
        model.load_state_dict(state_dict)
    except RuntimeError as error:
        raise UserError(f"{path}: not weights of this network: {_in_one_line(error)}") from error
    # After the conversion to the model's type: what float64 holds may overflow float32.
    for key, value in model.state_dict().items():
        if not torch.isfinite(value).all():
            raise UserError(f"{path}: {key} holds values that are not finite (NaN or infinite)")
