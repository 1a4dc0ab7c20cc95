"""The two networks of the report, and their blocks.

Their parameters are as many as the report says, their state dicts have the names and shapes of the
published weights, and the attention blocks give what is computed by hand.
"""

import json

import pytest
import torch
from torchvision.models import resnet34

from common.models import (
    ChannelAttention,
    ResNetUNet,
    SpatialAttention,
    UNet,
    count_parameters,
    upsample,
    upsample_by_matrices,
)
from tests.conftest import HYPOTHESES, ROOT

REFERENCE = ROOT / "tests" / "reference"


@pytest.mark.parametrize("number", HYPOTHESES)
def test_both_networks_have_as_many_parameters_as_the_report_says(number):
    hypothesis = HYPOTHESES[number]
    assert f"{count_parameters(hypothesis.network()):,}" == hypothesis.parameters


@pytest.mark.parametrize(
    ("network", "file"),
    [(UNet, "unet_state_dict_shapes.json"), (ResNetUNet, "resnet_unet_state_dict_shapes.json")],
)
def test_state_dict_keys_and_shapes_are_those_of_the_published_weights(network, file):
    published = json.loads((REFERENCE / file).read_text())
    ours = {key: list(value.shape) for key, value in network().state_dict().items()}
    assert ours == published


@pytest.mark.parametrize(
    ("network", "values"),
    [
        (UNet, [3.097478, 3.733766, 0.275001, -3.708385]),
        (ResNetUNet, [2.144232, 0.122802, -3.060903, 1.176770]),
    ],
)
def test_the_forward_pass_gives_the_values_it_gave_when_it_equalled_the_published_networks(
    network, values
):
    """On weights and an image that depend on no random number generator."""
    model = network().eval()
    for i, parameter in enumerate(model.parameters()):
        numbers = torch.arange(parameter.numel(), dtype=torch.float64).reshape(parameter.shape)
        fan_in = max(parameter[0].numel(), 1)
        parameter.data = ((numbers * (0.7 + i / 100)).sin() / fan_in**0.5).float()
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    image = torch.stack([(x * y / 50).sin(), (x / 7).cos(), (y / 5).sin()])[None] / 2 + 0.5
    with torch.inference_mode():
        heatmaps = model(image)
        assert model(image[..., :32]).shape == (1, 4, 64, 32)
    assert heatmaps[0, [0, 1, 2, 3], [5, 20, 40, 63], [60, 31, 7, 0]].tolist() == pytest.approx(
        values, abs=1e-4
    )


def test_upsampling_keeps_the_corners():
    # align_corners=True: n points become 2n over the same interval.
    ramp = torch.linspace(0, 1, 4).expand(1, 2, 4, 4)
    torch.testing.assert_close(upsample(ramp)[0, 0, 0], torch.linspace(0, 1, 8))
    torch.testing.assert_close(upsample(ramp.mT)[0, 0, :, 0], torch.linspace(0, 1, 8))


def test_upsampling_by_matrices_is_upsampling_in_value_and_gradient():
    features = torch.rand(2, 3, 6, 10, dtype=torch.float64, requires_grad=True)
    weights = torch.rand(2, 3, 12, 20, dtype=torch.float64)
    with torch.inference_mode():
        upsample_by_matrices(features)  # its matrices are kept, and are to serve training too
    results = []
    for double in (upsample, upsample_by_matrices):
        doubled = double(features)
        results.append((doubled, *torch.autograd.grad((doubled * weights).sum(), features)))
    torch.testing.assert_close(*results)


@pytest.mark.parametrize("stage", [3, 2, 1])
@pytest.mark.parametrize(
    ("network", "width", "decoder", "deepest", "skip"),
    [
        (UNet, 64, "dconv_up{}.0.weight", "dconv_down4.0.weight", "dconv_down{}.0.weight"),
        (ResNetUNet, 32, "decoder{}.0.weight", "decoder4.0.weight", "att{}.fc.0.weight"),
    ],
)
def test_the_upsampled_features_come_before_the_skip(network, width, decoder, deepest, skip, stage):
    # Where the weights of a stage's first inputs are 0, only the skip is left, so the deepest
    # stage no longer matters.
    torch.manual_seed(0)
    model, images = network().eval(), torch.rand(1, 3, 64, 64)
    weights = dict(model.named_parameters())
    with torch.inference_mode():
        weights[decoder.format(stage)][:, : width * 2**stage] = 0
        before = model(images)
        weights[deepest].normal_()
        torch.testing.assert_close(model(images), before)
        weights[skip.format(stage)].normal_()
        assert not torch.allclose(model(images), before)


def test_resnet_unet_encodes_as_torchvision_does():
    torch.manual_seed(0)
    resnet = resnet34()
    model = ResNetUNet(resnet).eval()
    features = {}
    for module, name in ((model.encoder4, "ours"), (resnet.eval().layer4, "torchvision")):
        module.register_forward_hook(lambda _m, _i, out, name=name: features.update({name: out}))
    images = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        model(images)
        resnet(images)
    assert features["ours"].shape == (1, 512, 2, 2)
    torch.testing.assert_close(features["ours"], features["torchvision"])


def test_channel_attention_scales_each_channel_as_computed_by_hand():
    # One hidden unit that sums the channels (1 and 3 on average, 2 and 6 at most): 4 and 8.
    # Outputs 0.1 and −0.1 times that, summed over both poolings: ±1.2, through a sigmoid.
    attention = ChannelAttention(2, reduction=2)
    attention.fc[0].weight.data = torch.tensor([[1.0, 1.0]])
    attention.fc[2].weight.data = torch.tensor([[0.1], [-0.1]])
    features = torch.tensor([[[[0.0, 2.0]], [[0.0, 6.0]]]])
    scales = torch.sigmoid(torch.tensor([1.2, -1.2]))
    torch.testing.assert_close(attention(features), features * scales[None, :, None, None])


def test_spatial_attention_scales_each_pixel_as_computed_by_hand():
    # Only the kernel's centre counts: 0.5 times the mean (2) minus 1 times the maximum (3).
    attention = SpatialAttention()
    attention.conv.weight.data.zero_()
    attention.conv.weight.data[0, :, 3, 3] = torch.tensor([0.5, -1.0])
    features = torch.tensor([1.0, 3.0])[None, :, None, None].expand(1, 2, 9, 9)
    torch.testing.assert_close(
        attention(features), features * torch.sigmoid(torch.tensor(0.5 * 2 - 3))
    )


@pytest.mark.parametrize("network", [UNet, ResNetUNet])
def test_the_memory_format_changes_nothing_but_rounding(network):
    """In reduced precision the scripts lay the channels last, which is faster."""
    torch.manual_seed(0)
    model = network().double()
    images, results = torch.rand(3, 3, 32, 32, dtype=torch.float64), []
    for memory_format in (torch.contiguous_format, torch.channels_last):
        model = model.to(memory_format=memory_format)
        model.zero_grad()
        heatmaps = model(images)
        heatmaps.square().mean().backward()
        gradient = torch.cat([p.grad.flatten() for p in model.parameters()])
        results.append((heatmaps.detach(), gradient))
    (first, first_gradient), (second, second_gradient) = results
    torch.testing.assert_close(first, second)
    assert (first_gradient - second_gradient).norm() < 1e-9 * first_gradient.norm()
