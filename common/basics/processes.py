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
from collections.abc import Iterable, Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

# What was added up last. PyTorch 2.6 may otherwise free it in gloo's thread, which
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


def own_shares(
    batches: Iterable[tuple[Tensor, Tensor, float]],
) -> Iterator[tuple[Tensor, Tensor, float]]:
    """Yield of each batch the images and landmarks that this process works on, and the weight of
    their loss: the mean over the batch is the average over the processes of weight × mean, as which
    DistributedDataParallel takes their gradients. Where no image is left, one is repeated without
    its landmarks, with a weight of 0."""
    for images, landmarks, weight in batches:
        own_images, own_landmarks = (
            values.tensor_split(world_size())[rank()] for values in (images, landmarks)
        )
        share = len(own_images) / len(images)
        if share == 0:
            own_images, own_landmarks = images[:1], torch.full_like(landmarks[:1], math.nan)
        yield own_images, own_landmarks, weight * share * world_size()


def means(totals: Tensor) -> list[float]:
    """Add up totals over the processes, in place, and return all but the first over the first,
    which is the number of what was added up; every process gets the same."""
    global _last_sum
    if world_size() > 1:
        dist.all_reduce(totals)
        _last_sum = totals
    number, *sums = totals.tolist()
    return [of_all / number for of_all in sums]


def broadcast(value: Any) -> Any:
    """Return, in every process, the value that rank 0 has."""
    box = [value]
    if world_size() > 1:
        dist.broadcast_object_list(box)
    return box[0]


def destroy_process_group() -> None:
    if world_size() > 1:
        dist.destroy_process_group()
