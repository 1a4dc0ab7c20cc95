"""The two networks of the report, under the state-dict names of the published weights."""

from __future__ import annotations

import functools
import pickle
import zipfile
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import ResNet34_Weights, resnet34

from common import UserError

NUM_LANDMARKS = 4  # OFD-1, OFD-2, BPD-1, BPD-2, in this order everywhere


def double_conv(in_channels: int, out_channels: int) -> nn.Sequential:
    """(3×3 convolution → BatchNorm → ReLU) twice; height and width are kept."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
        nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=1),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


def upsample(features: Tensor) -> Tensor:
    """Double height and width by bilinear interpolation that keeps the corners in place.

    [B, C, H, W] → [B, C, 2H, 2W]. On CUDA, where the gradient of F.interpolate has no fast
    deterministic form, it is computed in another way.
    """
    if features.is_cuda:
        return upsample_by_matrices(features)
    doubled = F.interpolate(features, scale_factor=2, mode="bilinear", align_corners=True)
    if doubled.requires_grad and doubled.is_contiguous(memory_format=torch.channels_last):
        # The gradient comes as a slice of that of a concatenation. Taken back as it is, it costs
        # four times as much as when it is dense first.
        doubled.register_hook(lambda grad: grad.contiguous(memory_format=torch.channels_last))
    return doubled


def upsample_by_matrices(features: Tensor) -> Tensor:
    """The same as two matrix products, one along the height and one along the width.

    With the channels last in memory, as they are in reduced precision, nothing is copied.
    """
    height, width = features.shape[-2:]
    channels_last = features.permute(0, 2, 3, 1)
    taller = _doubling_matrix(height, features.dtype, features.device) @ channels_last.flatten(2)
    wider = _doubling_matrix(width, features.dtype, features.device) @ taller.unflatten(
        2, (width, -1)
    )
    return wider.permute(0, 3, 1, 2)


@functools.lru_cache(maxsize=64)
def _doubling_matrix(length: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """[2n, n]: the weights with which n points give 2n over the same interval, linearly."""
    with torch.inference_mode(False):  # the matrix is kept, and training needs it too
        position = torch.arange(2 * length, dtype=torch.float64) * (length - 1) / (2 * length - 1)
        distance = (position[:, None] - torch.arange(length)).abs()
        return (1 - distance).clamp(min=0).to(device, dtype)


class UNet(nn.Module):
    """The U-Net of Hypotheses 1 and 2: 7,788,740 parameters.

    After Ronneberger et al. 2015, one level shallower, with bilinear up-sampling in place of
    transposed convolutions (report, "Hypothesis 1", architecture).
    """

    used_by = "Hypotheses 1 and 2"

    def __init__(self) -> None:
        super().__init__()
        self.dconv_down1 = double_conv(3, 64)
        self.dconv_down2 = double_conv(64, 128)
        self.dconv_down3 = double_conv(128, 256)
        self.dconv_down4 = double_conv(256, 512)

        self.dconv_up3 = double_conv(512 + 256, 256)
        self.dconv_up2 = double_conv(256 + 128, 128)
        self.dconv_up1 = double_conv(128 + 64, 64)
        self.conv_last = nn.Conv2d(64, NUM_LANDMARKS, kernel_size=1)

    def forward(self, images: Tensor) -> Tensor:
        """images [B, 3, H, W] in [0, 1] → heatmaps [B, 4, H, W]; H and W are multiples of 8."""
        down1 = self.dconv_down1(images)
        down2 = self.dconv_down2(F.max_pool2d(down1, 2))
        down3 = self.dconv_down3(F.max_pool2d(down2, 2))
        bottom = self.dconv_down4(F.max_pool2d(down3, 2))

        up3 = self.dconv_up3(torch.cat([upsample(bottom), down3], dim=1))
        up2 = self.dconv_up2(torch.cat([upsample(up3), down2], dim=1))
        up1 = self.dconv_up1(torch.cat([upsample(up2), down1], dim=1))
        return self.conv_last(up1)


class ChannelAttention(nn.Module):
    """Scale each channel by how much it matters (Woo et al. 2018, CBAM, eq. 2).

    One bias-free two-layer perceptron, shared by the average- and the max-pooled channels.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        self.fc = nn.Sequential(
            nn.Linear(channels, channels // reduction, bias=False),
            nn.ReLU(inplace=True),
            nn.Linear(channels // reduction, channels, bias=False),
        )

    def forward(self, features: Tensor) -> Tensor:
        """features [B, C, H, W] → the same shape."""
        average = self.fc(features.mean(dim=(2, 3)))
        maximum = self.fc(features.amax(dim=(2, 3)))
        return features * torch.sigmoid(average + maximum)[:, :, None, None]


class SpatialAttention(nn.Module):
    """Scale each position by how much it matters (Woo et al. 2018, CBAM, eq. 3)."""

    def __init__(self, kernel_size: int = 7) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """features [B, C, H, W] → the same shape."""
        average = features.mean(dim=1, keepdim=True)
        maximum = features.amax(dim=1, keepdim=True)
        return features * torch.sigmoid(self.conv(torch.cat([average, maximum], dim=1)))


class ResNetUNet(nn.Module):
    """The network of Hypothesis 3: 24,118,918 parameters.

    A ResNet-34 (He et al. 2016) as encoder, a U-Net decoder, channel attention on the three skip
    connections and spatial attention before the output (report, "Hypothesis 3", architecture).

    encoder_weights: None (random), "imagenet" (downloaded by torchvision, kept in torch's cache)
    or the path of a file with torchvision's ResNet-34 state dict.
    Raises UserError when these weights cannot be had.
    """

    used_by = "Hypothesis 3"

    def __init__(self, encoder_weights: str | None = None) -> None:
        super().__init__()
        encoder = resnet34()
        if encoder_weights is not None:
            _load_encoder(encoder, encoder_weights)
        self.firstconv = encoder.conv1
        self.firstbn = encoder.bn1
        self.encoder1 = encoder.layer1
        self.encoder2 = encoder.layer2
        self.encoder3 = encoder.layer3
        self.encoder4 = encoder.layer4

        self.att1 = ChannelAttention(64)
        self.att2 = ChannelAttention(128)
        self.att3 = ChannelAttention(256)

        self.decoder4 = double_conv(512, 256)
        self.decoder3 = double_conv(256 + 256, 128)
        self.decoder2 = double_conv(128 + 128, 64)
        self.decoder1 = double_conv(64 + 64, 64)

        self.spatial_att = SpatialAttention()
        self.final_conv = nn.Sequential(
            nn.Conv2d(64, 32, kernel_size=3, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(inplace=True),
            nn.Conv2d(32, NUM_LANDMARKS, kernel_size=1),
        )

    def forward(self, images: Tensor) -> Tensor:
        """images [B, 3, H, W] in [0, 1] → heatmaps [B, 4, H, W]; H and W are multiples of 32."""
        stem = F.relu(self.firstbn(self.firstconv(images)))
        skip1 = self.encoder1(F.max_pool2d(stem, kernel_size=3, stride=2, padding=1))  # H/4
        skip2 = self.encoder2(skip1)  # H/8
        skip3 = self.encoder3(skip2)  # H/16
        bottom = self.encoder4(skip3)  # H/32

        up4 = upsample(self.decoder4(bottom))
        up3 = upsample(self.decoder3(torch.cat([up4, self.att3(skip3)], dim=1)))
        up2 = upsample(self.decoder2(torch.cat([up3, self.att2(skip2)], dim=1)))
        up1 = self.decoder1(torch.cat([up2, self.att1(skip1)], dim=1))
        return self.final_conv(self.spatial_att(upsample(upsample(up1))))


def count_parameters(model: nn.Module) -> int:
    """The number of trainable parameters."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def load_weights(model: nn.Module, path: str) -> dict[str, Any]:
    """Fill a UNet or ResNetUNet from a file: a state dict, or one at `model_state_dict`.

    Returns the settings of the run where the file is a checkpoint, which holds them, and else {}.
    Raises UserError, naming the file, when it cannot be read, belongs to another network, or
    holds values that are not finite.
    """
    content = read_file(path)
    state_dict = _find_state_dict(content, path)
    expected = model.state_dict()
    for network in (UNet, ResNetUNet):
        with torch.device("meta"):  # names without the memory
            is_its = network().state_dict().keys() == state_dict.keys()
        if is_its and not isinstance(model, network):
            raise UserError(
                f"{path}: these weights belong to {network.used_by} ({network.__name__}), "
                f"not to {model.used_by} ({type(model).__name__})"
            )
    for key in sorted(expected.keys() ^ state_dict.keys()):
        state = "is missing" if key in expected else "is not part of the network"
        raise UserError(f"{path}: no weights of {type(model).__name__}: {key} {state}")
    last_layer = list(expected)[-1]  # the bias of the last convolution: one value per heatmap
    if len(state_dict[last_layer].shape) == 1 and len(state_dict[last_layer]) != NUM_LANDMARKS:
        raise UserError(
            f"{path}: these weights find {len(state_dict[last_layer])} landmarks, "
            f"not {NUM_LANDMARKS}"
        )
    for key, value in state_dict.items():
        if value.shape != expected[key].shape:
            raise UserError(
                f"{path}: {key} is of shape {list(value.shape)}, not {list(expected[key].shape)}"
            )
        if not torch.isfinite(value).all():
            raise UserError(f"{path}: {key} holds values that are not finite (NaN or infinite)")
    model.load_state_dict(state_dict)
    settings = content.get("args")
    return settings if isinstance(settings, dict) else {}


def read_state_dict(path: str) -> dict[str, Tensor]:
    """The state dict in a file. Raises UserError, naming the file, when there is none."""
    return _find_state_dict(read_file(path), path)


def _find_state_dict(content: Any, path: str) -> dict[str, Tensor]:
    if isinstance(content, dict):
        content = content.get("model_state_dict", content)
    if not (isinstance(content, dict) and content and all(map(torch.is_tensor, content.values()))):
        raise UserError(f"{path}: holds no state dict")
    return content


def read_file(path: str) -> Any:
    """What torch.save put into a file, on the CPU, without running code that may be in it.

    Raises UserError, naming the file, when it is missing or damaged, or holds more than tensors
    and plain values.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except Exception as error:  # torch raises another type for each way a file can be broken
        if isinstance(error, pickle.UnpicklingError) and zipfile.is_zipfile(path):
            raise UserError(
                f"{path}: holds pickled Python objects (a whole model?), which could run any code "
                "and are not loaded; save its state_dict() instead"
            ) from error
        raise UserError(f"{path}: no PyTorch weights file, or truncated") from error


def _load_encoder(encoder: nn.Module, encoder_weights: str) -> None:
    if encoder_weights == "imagenet":
        weights = ResNet34_Weights.IMAGENET1K_V1
        cache_file = f"{torch.hub.get_dir()}/checkpoints/{weights.url.rsplit('/', 1)[1]}"
        try:
            state_dict = weights.get_state_dict(check_hash=True, weights_only=True)
        except Exception as error:  # no network, a proxy's page, a full disk, a damaged cache
            raise UserError(
                f"the ImageNet weights of ResNet-34 could not be had "
                f"({' '.join(str(error).split())[:100]}). Three ways on: run where {weights.url} "
                f"can be reached; or put that file at {cache_file} by hand; "
                "or start from random weights with --encoder_weights none"
            ) from error
        source = cache_file
    else:
        state_dict = read_state_dict(encoder_weights)
        source = encoder_weights
    # The classification head plays no part here, so a file may lack it.
    head = {f"fc.{key}": value for key, value in encoder.fc.state_dict().items()}
    try:
        encoder.load_state_dict({**state_dict, **head})
    except RuntimeError as error:
        raise UserError(f"{source}: not torchvision's ResNet-34 state dict") from error
