"""Precision, seeds and repeatable algorithms."""

import random

import numpy as np
import torch

from common.runs.devices import autocast_dtype, make_repeatable

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def test_auto_precision_is_fp16_on_cuda_and_fp32_elsewhere():
    assert autocast_dtype("auto", CUDA) is torch.float16
    assert autocast_dtype("auto", CPU) is torch.float32
    for device in (CUDA, CPU):
        assert autocast_dtype("fp32", device) is torch.float32
        assert autocast_dtype("bf16", device) is torch.bfloat16


def test_a_seed_repeats_every_random_number_and_algorithms_are_deterministic():
    torch.backends.cudnn.benchmark = True  # as another program may have left it
    drawn = []
    for seed in (42, 42, 43):
        make_repeatable(seed)
        drawn.append([torch.rand(1).item(), np.random.rand(), random.random()])  # noqa: NPY002
    assert drawn[0] == drawn[1]
    assert not set(drawn[0]) & set(drawn[2])
    assert torch.are_deterministic_algorithms_enabled()
    assert torch.backends.cudnn.deterministic
    assert not torch.backends.cudnn.benchmark
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    if hasattr(matmul, "fp32_precision"):
        assert matmul.fp32_precision == cudnn.conv.fp32_precision == "ieee"
    else:
        assert not matmul.allow_tf32
        assert not cudnn.allow_tf32
