import pytest
import torch

from common import UserError
from common.devices import (
    autocast_dtype,
    check_precision,
    seed_everything,
    use_fast_memory_format,
)

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def test_precision():
    assert autocast_dtype("auto", CUDA) is torch.float16
    assert autocast_dtype("auto", CPU) is torch.float32
    for device in (CUDA, CPU):
        assert autocast_dtype("fp32", device) is torch.float32
        assert autocast_dtype("bf16", device) is torch.bfloat16


def test_fp16_needs_cuda_and_bf16_does_not():
    with pytest.raises(UserError, match="--precision fp16 is for CUDA devices"):
        check_precision("fp16", CPU)
    check_precision("fp16", CUDA)
    for precision in ("auto", "fp32", "bf16"):
        check_precision(precision, CPU)


@pytest.mark.parametrize("native", [True, False])
def test_bf16_without_arithmetic_of_its_own_is_said_to_be_slow(native, monkeypatch, capsys):
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation: native)
    capability = "AVX512" if native else "AVX2"
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: capability)
    for device in (CUDA, CPU):
        check_precision("bf16", device)
        assert ("bf16 will be slow" in capsys.readouterr().out) is not native


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
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32
