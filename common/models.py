"""The two networks of the report, under the state-dict names of the published weights."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import ResNet34_Weights, resnet34

from common import InputError

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
    """Double height and width by bilinear interpolation that keeps the corners in place."""
    return F.interpolate(features, scale_factor=2, mode="bilinear", align_corners=True)


class UNet(nn.Module):
    """The U-Net of Hypotheses 1 and 2: 7,788,740 parameters.

    After Ronneberger et al. 2015, one level shallower, with bilinear up-sampling in place of
    transposed convolutions (report, "Hypothesis 1", architecture).
    """

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
    Raises InputError when these weights cannot be had.
    """

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


def load_weights(model: nn.Module, path: str) -> None:
    """Fill the model from a file: a bare state dict, or a dict with one at `model_state_dict`.

    Raises InputError, naming the file, when it cannot be read or does not fit the model.
    """
    state_dict = _read_state_dict(path)
    try:
        model.load_state_dict(state_dict)
    except RuntimeError as error:
        raise InputError(
            f"{path}: these weights do not fit {type(model).__name__}: "
            + " ".join(str(error).split())[:200]
        ) from error


def _read_state_dict(path: str) -> dict[str, Tensor]:
    """Read a state dict from a file without running any code that the file may hold."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such weights file") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except Exception as error:  # torch raises a different type for each way a file can be broken
        raise InputError(f"{path}: not a PyTorch weights file") from error
    if isinstance(content, dict):
        content = content.get("model_state_dict", content)
    if not (isinstance(content, dict) and all(torch.is_tensor(v) for v in content.values())):
        raise InputError(f"{path}: holds no state dict")
    return content


def _load_encoder(encoder: nn.Module, encoder_weights: str) -> None:
    if encoder_weights == "imagenet":
        weights = ResNet34_Weights.IMAGENET1K_V1
        cache_file = f"{torch.hub.get_dir()}/checkpoints/{weights.url.rsplit('/', 1)[1]}"
        try:
            state_dict = weights.get_state_dict(check_hash=True, weights_only=True)
        except Exception as error:  # no network, a proxy's page, a full disk, a damaged cache
            raise InputError(
                f"the ImageNet weights of ResNet-34 could not be had "
                f"({' '.join(str(error).split())[:100]}). Three ways on: run where {weights.url} "
                f"can be reached; or put that file at {cache_file} by hand; "
                "or start from random weights with --encoder_weights none"
            ) from error
        source = cache_file
    else:
        state_dict = _read_state_dict(encoder_weights)
        source = encoder_weights
    # The classification head plays no part here, so a file may lack it.
    head = {f"fc.{key}": value for key, value in encoder.fc.state_dict().items()}
    try:
        encoder.load_state_dict({**state_dict, **head})
    except RuntimeError as error:
        raise InputError(f"{source}: not torchvision's ResNet-34 state dict") from error
