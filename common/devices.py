"""The device, the precision and the seeds: what makes a run fast, and the same each time."""

import os
import random

import numpy as np
import torch
from torch import nn

from common import UserError

PRECISIONS = ("auto", "fp32", "fp16", "bf16")


def seed_everything(seed: int) -> None:
    """Seed torch, NumPy and Python, and hold torch and cuDNN to repeatable algorithms (report,
    "Reproducibility")."""
    # cuBLAS reads this at its first use, and without it torch refuses matrix products there.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # nothing here reads such memory
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 -- the global generator is what the report seeds
    torch.manual_seed(seed)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    # TF32 has ten bits where float32 has 23: an H100 is to give a T4's numbers.
    cuda, cudnn = torch.backends.cuda, torch.backends.cudnn
    if hasattr(cuda.matmul, "fp32_precision"):
        cuda.matmul.fp32_precision = cudnn.conv.fp32_precision = "ieee"
    else:  # PyTorch before 2.9
        cuda.matmul.allow_tf32 = cudnn.allow_tf32 = False


def select_device(name: str) -> torch.device:
    """auto, cpu or cuda → the device, which is also printed. Raises UserError without CUDA."""
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: there is no CUDA device here; use --device cpu or auto")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    print(f"Device: {torch.cuda.get_device_name(device) if name == 'cuda' else 'CPU'}")
    return device


def autocast_dtype(precision: str, device: torch.device) -> torch.dtype:
    """What a precision means on a device: auto is FP16 on CUDA and float32 elsewhere."""
    if precision == "auto":
        precision = "fp16" if device.type == "cuda" else "fp32"
    return {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[precision]


def use_fast_memory_format(model: nn.Module, dtype: torch.dtype) -> None:
    """Lay the channels last in memory where the precision is reduced.

    It is faster in float32 too. But on a CPU, PyTorch's batch normalisation then errs by 2e-4
    where it otherwise errs by 1e-6 (measured on [8, 64, 256, 256]), and a float32 run is to give
    the numbers of the published way.
    """
    if dtype != torch.float32:
        model.to(memory_format=torch.channels_last)
