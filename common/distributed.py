"""Several processes for one training run, as torchrun starts them. Without torchrun there is one
process, and what is here changes nothing.

Every process draws the same order and the same augmentation of each whole batch and trains on its
own share of it, so the random stream and the recipe are those of one process.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Callable

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from common import UserError


def processes() -> int:
    """How many processes train together."""
    return int(os.environ["WORLD_SIZE"]) if "TORCHELASTIC_RUN_ID" in os.environ else 1


def rank() -> int:
    """The number of this process, from 0. Process 0 alone prints and writes."""
    return int(os.environ["RANK"]) if "TORCHELASTIC_RUN_ID" in os.environ else 0


@contextlib.contextmanager
def reports_last() -> Iterator[None]:
    """Let process 0 report an error first. torchrun then ends the others, so it is said once; what
    process 0 does not meet is said by the process that does."""
    try:
        yield
    except (Exception, SystemExit):  # not Ctrl-C, which all of them meet
        if rank() > 0:
            time.sleep(5)
            sys.stderr = sys.__stderr__
        raise


def join(device: torch.device, batch_size: int) -> torch.device:
    """Join the other processes, if there are any; returns the device of this one.

    Raises UserError for a batch that does not have a sample for every process, and for more
    processes than GPUs.
    """
    if processes() == 1:
        return device
    if batch_size < processes():
        raise UserError(
            f"--batch_size {batch_size}: is less than one image for each of {processes()} processes"
        )
    if device.type == "cuda":
        if int(os.environ["LOCAL_WORLD_SIZE"]) > torch.cuda.device_count():
            raise UserError(
                f"--nproc_per_node: more than the {torch.cuda.device_count()} GPUs of this machine"
            )
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=timedelta(minutes=10))
    return device


def leave() -> None:
    """Part from the other processes."""
    if processes() > 1:
        dist.destroy_process_group()


def wrap(model: nn.Module) -> nn.Module:
    """The model as it is called in training: with gradients that are averaged over the processes.

    On CUDA its batch normalisation sees the whole batch; on a CPU, where PyTorch has no such
    layer, each process normalises its share, and the running statistics are those of process 0.
    """
    if processes() == 1:
        return model
    if next(model.parameters()).is_cuda:
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    return DistributedDataParallel(model)


def share(count: int) -> tuple[slice, float]:
    """Which of the `count` images of a batch are this process's, and their weight, n / count.

    A process without one takes part with another's image, at weight 0.
    """
    own = torch.arange(count).tensor_split(processes())[rank()].tolist()
    if own:
        return slice(own[0], own[-1] + 1), len(own) / count
    return slice(rank() % count, rank() % count + 1), 0.0


def total(values: Tensor) -> Tensor:
    """The sum of a tensor over all processes, the same in each."""
    if processes() > 1:
        dist.all_reduce(values)
        # Kept until the next one. Otherwise PyTorch 2.6 may free it in gloo's thread, which needs
        # Python's lock for that, while this process, as it leaves, holds the lock and waits for
        # the thread.
        total.last = values
    return values


def from_first(read: Callable[[], Any]) -> Any:
    """What a function returns in process 0, in every process."""
    box = [read() if rank() == 0 else None]
    if processes() > 1:
        dist.broadcast_object_list(box)
    return box[0]
