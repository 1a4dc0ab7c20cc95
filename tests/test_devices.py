import pytest
import torch

from common.devices import autocast_dtype, seed_everything, use_fast_memory_format

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def test_precision():
    assert autocast_dtype("auto", CUDA) is torch.float16
    assert autocast_dtype("auto", CPU) is torch.float32
    for device in (CUDA, CPU):
        assert autocast_dtype("fp32", device) is torch.float32
        assert autocast_dtype("bf16", device) is torch.bfloat16


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_channels_are_last_in_reduced_precision_only(dtype):
    model = torch.nn.Conv2d(3, 4, 3)
    use_fast_memory_format(model, dtype)
    is_last = model.weight.is_contiguous(memory_format=torch.channels_last)
    assert is_last is (dtype != torch.float32)


def test_seeds():
    seed_everything(42)
    first = torch.rand(3)
    seed_everything(42)
    assert torch.equal(torch.rand(3), first)
    assert torch.are_deterministic_algorithms_enabled()
    assert torch.backends.cudnn.deterministic
    assert not torch.backends.cudnn.benchmark
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    if hasattr(matmul, "fp32_precision"):
        assert matmul.fp32_precision == cudnn.conv.fp32_precision == "ieee"
    else:
        assert not matmul.allow_tf32
        assert not cudnn.allow_tf32
