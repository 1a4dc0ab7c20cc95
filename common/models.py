"""The two networks of the report, under the state-dict names of the published weights."""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import ResNet, resnet34

NUM_LANDMARKS = 4


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


class UNet(nn.Module):
    """Build the U-Net of Hypotheses 1 and 2, 7,788,740 parameters: Ronneberger et al. 2015, one
    level shallower, with bilinear up-sampling in place of transposed convolutions (report,
    "Hypothesis 1", architecture)."""

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
    """Scale each channel by how much it matters (Woo et al. 2018, CBAM, eq. 2): one perceptron,
    without biases, for the average- and the max-pooled channels."""

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
    """Build the network of Hypothesis 3, 24,118,918 parameters: a ResNet-34 (He et al. 2016) as
    encoder, a U-Net decoder, channel attention on the three skip connections and spatial attention
    before the output (report, "Hypothesis 3", architecture).

    encoder: torchvision's, whose layers become part of this network; None: a new, random one.
    """

    def __init__(self, encoder: ResNet | None = None) -> None:
        super().__init__()
        encoder = encoder or resnet34()
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
    """Count the trainable parameters."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def upsample(features: Tensor) -> Tensor:
    """Double height and width by bilinear interpolation that keeps the corners in place:
    [B, C, H, W] → [B, C, 2H, 2W]."""
    # On CUDA the gradient of F.interpolate has no fast deterministic form.
    if features.is_cuda:
        return upsample_by_matrices(features)
    return F.interpolate(features, scale_factor=2, mode="bilinear", align_corners=True)


def upsample_by_matrices(features: Tensor) -> Tensor:
    """Do the same as two matrix products, one along the height and one along the width. With the
    channels last in memory, as they are in reduced precision, nothing is copied."""
    height, width = features.shape[-2:]
    dtype, device = features.dtype, features.device
    rows = features.permute(0, 2, 3, 1).flatten(2)
    taller = (_doubling_matrix(height, dtype, device) @ rows).unflatten(2, (width, -1))
    return (_doubling_matrix(width, dtype, device) @ taller).permute(0, 3, 1, 2)


@functools.lru_cache(maxsize=64)
def _doubling_matrix(length: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """[2n, n]: the weights with which n points give 2n over the same interval, linearly."""
    with torch.inference_mode(False):  # the matrix is kept, and training needs it too
        points = torch.eye(length, dtype=torch.float64)[None]
        doubled = F.interpolate(points, scale_factor=2, mode="linear", align_corners=True)
        return doubled[0].mT.contiguous().to(device, dtype)
