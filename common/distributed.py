"""Several processes for one training run, as torchrun starts them; without it there is one.

Every process draws the same order and the same augmentation of each whole batch and trains on its
own share of it, so the random stream and the recipe are those of one process.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

# What sum_over_processes returned last. PyTorch 2.6 may otherwise free it in gloo's thread, which
# then waits for Python's lock while this process, on its way out, waits for the thread.
_last_sum: Tensor | None = None


def world_size() -> int:
    """Return the number of processes. It is read from torchrun's environment, since it is needed
    before the processes have joined (to print) and after they have parted (to write)."""
    return int(os.environ["WORLD_SIZE"]) if "TORCHELASTIC_RUN_ID" in os.environ else 1


def rank() -> int:
    return int(os.environ["RANK"]) if "TORCHELASTIC_RUN_ID" in os.environ else 0


@contextlib.contextmanager
def only_rank_0_prints() -> Iterator[None]:
    """Silence every process but rank 0. The error that ends another one is printed five seconds
    later: if rank 0 met the same, torchrun has ended the process by then."""
    if rank() > 0:
        sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    try:
        yield
    except (Exception, SystemExit):
        if rank() > 0:
            time.sleep(5)
            sys.stderr = sys.__stderr__
        raise


def init_process_group(device: torch.device) -> torch.device:
    """Join the other processes, if there are any, and return the device of this one."""
    if world_size() > 1:
        if device.type == "cuda":
            device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
            torch.cuda.set_device(device)
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return device


def data_parallel(model: nn.Module) -> nn.Module:
    """Return the model with gradients that are averaged over the processes. On CUDA its batch
    normalisation sees the whole batch (some images twice where a batch has fewer than there are
    processes); on a CPU, where PyTorch has no such layer, each process normalises its share, and
    the running statistics are those of rank 0."""
    if world_size() == 1:
        return model
    if next(model.parameters()).is_cuda:
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    return DistributedDataParallel(model)


def shard(images: Tensor, landmarks: Tensor) -> tuple[Tensor, Tensor, float]:
    """Return the images and landmarks of a batch that this process works on, and what share of the
    batch they are: the mean over the batch is the sum over the processes of share × mean. Where no
    image is left, one is repeated without its landmarks, with a share of 0."""
    own = torch.arange(len(images)).tensor_split(world_size())[rank()]
    if len(own) == 0:
        return images[:1], torch.full_like(landmarks[:1], math.nan), 0.0
    indices = slice(own[0], own[-1] + 1)
    return images[indices], landmarks[indices], len(own) / len(images)


def sum_over_processes(values: Tensor) -> Tensor:
    """Add up a tensor over the processes, in place; each has the same sum then."""
    global _last_sum
    if world_size() > 1:
        dist.all_reduce(values)
        _last_sum = values
    return values


def broadcast(value: Any) -> Any:
    """Return, in every process, the value that rank 0 has."""
    box = [value]
    if world_size() > 1:
        dist.broadcast_object_list(box)
    return box[0]


def destroy_process_group() -> None:
    if world_size() > 1:
        dist.destroy_process_group()
