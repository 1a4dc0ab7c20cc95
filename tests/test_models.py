import json

import pytest
import torch
from torchvision.models import resnet34

from common.heatmaps import argmax_landmarks
from common.losses import AdaptiveWingLoss, HeatmapLoss
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
def test_parameter_counts_are_the_reports(number):
    hypothesis = HYPOTHESES[number]
    assert f"{count_parameters(hypothesis.network()):,}" == hypothesis.parameters


def test_parameters_of_the_parts_of_hypothesis_3():
    """Where the report's approximate figures are off (ReadMe, "Where the report …")."""
    network = ResNetUNet()

    def count(*starts):
        return sum(v.numel() for name, v in network.named_parameters() if name.startswith(starts))

    assert count("firstconv", "firstbn", "encoder") == 21_284_672
    assert count("att", "spatial_att") == 10_850
    assert count("decoder") == 2_804_736
    assert count("final_conv") == 18_660


@pytest.mark.parametrize(
    ("network", "file"),
    [(UNet, "unet_state_dict_shapes.json"), (ResNetUNet, "resnet_unet_state_dict_shapes.json")],
)
def test_state_dict_keys_and_shapes_are_those_of_the_published_weights(network, file):
    published = json.loads((REFERENCE / file).read_text())
    ours = {key: list(value.shape) for key, value in network().state_dict().items()}
    assert ours == published


@pytest.mark.parametrize("network", [UNet, ResNetUNet])
def test_one_heatmap_per_landmark_at_full_size_and_no_output_activation(network):
    torch.manual_seed(0)
    model = network().eval()
    with torch.inference_mode():
        heatmaps = model(torch.rand(1, 3, 64, 96))
    assert heatmaps.shape == (1, 4, 64, 96)
    assert heatmaps.min() < 0  # neither ReLU nor sigmoid


@pytest.mark.parametrize("double", [upsample, upsample_by_matrices])
def test_upsampling_keeps_the_corners(double):
    # align_corners=True: n points become 2n over the same interval.
    ramp = torch.linspace(0, 1, 4).expand(1, 2, 4, 4)
    torch.testing.assert_close(double(ramp)[0, 0, 0], torch.linspace(0, 1, 8))
    torch.testing.assert_close(double(ramp.mT)[0, 0, :, 0], torch.linspace(0, 1, 8))


@pytest.mark.parametrize("size", [(8, 8), (16, 32), (128, 128)])
def test_both_ways_of_upsampling_agree_in_value_and_gradient(size):
    features = torch.rand(2, 3, *size, dtype=torch.float64, requires_grad=True)
    weights = torch.rand(2, 3, 2 * size[0], 2 * size[1], dtype=torch.float64)
    results = []
    for double in (upsample, upsample_by_matrices):
        doubled = double(features)
        results.append((doubled, *torch.autograd.grad((doubled * weights).sum(), features)))
    torch.testing.assert_close(*results)


def test_matrices_made_without_gradients_serve_training_too():
    features = torch.rand(1, 1, 6, 6, requires_grad=True)
    with torch.inference_mode():
        upsample_by_matrices(features)
    upsample_by_matrices(features).sum().backward()
    # Each output point shares out a weight of 1.
    assert features.grad.sum().item() == pytest.approx(12 * 12)


@pytest.mark.parametrize(("stage", "upsampled"), [(3, 512), (2, 256), (1, 128)])
def test_unet_concatenates_the_upsampled_features_before_the_skip(stage, upsampled):
    # Where the weights of a stage's first inputs are 0, only the skip is left, so the deepest
    # stage no longer matters.
    torch.manual_seed(0)
    model = UNet().eval()
    images = torch.rand(1, 3, 32, 32)
    with torch.inference_mode():
        getattr(model, f"dconv_up{stage}")[0].weight[:, :upsampled] = 0
        before = model(images)
        model.dconv_down4[0].weight.normal_()
        torch.testing.assert_close(model(images), before)
        getattr(model, f"dconv_down{stage}")[0].weight.normal_()
        assert not torch.allclose(model(images), before)


@pytest.mark.parametrize(("stage", "decoded"), [(3, 256), (2, 128), (1, 64)])
def test_resnet_unet_concatenates_the_decoder_before_the_attended_skip(stage, decoded):
    torch.manual_seed(0)
    model = ResNetUNet().eval()
    images = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        getattr(model, f"decoder{stage}")[0].weight[:, decoded:] = 0
        before = model(images)
        getattr(model, f"att{stage}").fc[0].weight.normal_()
        torch.testing.assert_close(model(images), before)
        model.decoder4[0].weight.normal_()
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


def test_channel_attention_by_hand():
    # One hidden unit that sums the channels (1 and 3 on average, 2 and 6 at most): 4 and 8.
    # Outputs 0.1 and −0.1 times that, summed over both poolings: ±1.2, through a sigmoid.
    attention = ChannelAttention(2, reduction=2)
    attention.fc[0].weight.data = torch.tensor([[1.0, 1.0]])
    attention.fc[2].weight.data = torch.tensor([[0.1], [-0.1]])
    features = torch.tensor([[[[0.0, 2.0]], [[0.0, 6.0]]]])
    scales = torch.sigmoid(torch.tensor([1.2, -1.2]))
    torch.testing.assert_close(attention(features), features * scales[None, :, None, None])


def test_spatial_attention_by_hand():
    # Only the kernel's centre counts: 0.5 times the mean (2) minus 1 times the maximum (3).
    attention = SpatialAttention()
    attention.conv.weight.data.zero_()
    attention.conv.weight.data[0, :, 3, 3] = torch.tensor([0.5, -1.0])
    features = torch.tensor([1.0, 3.0])[None, :, None, None].expand(1, 2, 9, 9)
    torch.testing.assert_close(
        attention(features), features * torch.sigmoid(torch.tensor(0.5 * 2 - 3))
    )


@pytest.mark.parametrize(
    ("network", "criterion"),
    [(UNet, torch.nn.MSELoss()), (ResNetUNet, AdaptiveWingLoss(14, 0.5, 1, 2.1))],
)
def test_overfits_two_images(network, criterion):
    torch.manual_seed(0)
    model = network()
    images = torch.rand(2, 3, 64, 64)
    landmarks = torch.tensor(
        [
            [[10.0, 12.0], [50.0, 40.0], [30.0, 8.0], [20.0, 55.0]],
            [[40.0, 50.0], [12.0, 20.0], [55.0, 33.0], [33.0, 10.0]],
        ]
    )
    loss = HeatmapLoss(criterion, sigma=4)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(60):
        optimizer.zero_grad()
        loss(model(images), landmarks).backward()
        optimizer.step()
    found = argmax_landmarks(model(images))
    assert (found - landmarks).norm(dim=-1).max() <= 3


@pytest.mark.parametrize("network", [UNet, ResNetUNet])
def test_the_memory_format_changes_nothing_but_rounding(network):
    """In reduced precision the scripts lay the channels last, which is faster."""
    torch.manual_seed(0)
    model = network().double()
    images, results = torch.rand(2, 3, 64, 64, dtype=torch.float64), []
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
