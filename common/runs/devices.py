"""The device, the precision and the seeds: what makes a run fast, and the same each time."""

import os
import random

import numpy as np
import torch

from common import UserError


def make_repeatable(seed: int) -> None:
    """Seed torch, NumPy and Python, hold torch and cuDNN to deterministic algorithms (report,
    "Reproducibility"), and switch TF32 off."""
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
    """Return and print the device that auto, cpu or cuda means. Raises UserError without CUDA."""
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: no CUDA device (in Colab: Runtime > Change runtime type)")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    print(f"Device: {torch.cuda.get_device_name(device) if name == 'cuda' else 'CPU'}")
    return device


def autocast_dtype(precision: str, device: torch.device) -> torch.dtype:
    """Return the type of a precision on a device: auto is FP16 on CUDA and float32 elsewhere."""
    if precision == "auto":
        precision = "fp16" if device.type == "cuda" else "fp32"
    return {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[precision]
