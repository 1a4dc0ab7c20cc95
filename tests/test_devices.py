import torch

from common.devices import autocast_dtype, make_repeatable

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def test_precision():
    assert autocast_dtype("auto", CUDA) is torch.float16
    assert autocast_dtype("auto", CPU) is torch.float32
    for device in (CUDA, CPU):
        assert autocast_dtype("fp32", device) is torch.float32
        assert autocast_dtype("bf16", device) is torch.bfloat16


def test_seeds():
    make_repeatable(42)
    first = torch.rand(3)
    make_repeatable(42)
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
