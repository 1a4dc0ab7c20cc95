"""How fast it is, beside the plain way of the scripts published with the report.

    python -m tests.benchmark [--quick] [--csv_path … --image_folder_path …]

One table: what is measured, ours, the plain way, the ratio, the limit. The plain way is written
afresh here: each epoch decodes every image again and computes four Gaussians over the whole grid
for each sample, in two loader processes, and the tester takes one image at a time. Both train the
same network. Without a data set, the sample images stand in. Medians of several rounds, which
alternate between the two.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path
from typing import Callable

import cv2
import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from common import sample_data
from common.augmentation import augment
from common.dataset import (
    COORDINATE_COLUMNS,
    IMAGE_SIZE,
    NAME_COLUMN,
    LandmarkImages,
    load_images,
    read_ground_truth,
)
from common.evaluation import predict
from common.heatmaps import gaussian_heatmaps
from common.losses import AdaptiveWingLoss
from common.models import ResNetUNet, UNet
from common.training import seed_everything, train_one_epoch, use_fast_memory_format

BATCH = 8


class PlainDataset(Dataset):
    """The published way to one sample."""

    def __init__(self, table: pd.DataFrame, folder: Path) -> None:
        self.names = table[NAME_COLUMN].tolist()
        self.points = table[list(COORDINATE_COLUMNS)].to_numpy().reshape(-1, 4, 2)
        self.folder = folder

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        image = cv2.cvtColor(cv2.imread(str(self.folder / self.names[index])), cv2.COLOR_BGR2RGB)
        height, width = image.shape[:2]
        image = cv2.resize(image, (IMAGE_SIZE, IMAGE_SIZE)).astype(np.float32) / 255
        heatmaps = np.zeros((4, IMAGE_SIZE, IMAGE_SIZE), np.float32)
        x, y = np.meshgrid(np.arange(IMAGE_SIZE), np.arange(IMAGE_SIZE))
        for heatmap, point in zip(heatmaps, self.points[index]):
            center_x, center_y = point * IMAGE_SIZE / np.array([width, height])
            gaussian = np.exp(-((x - center_x) ** 2 + (y - center_y) ** 2) / (2 * 10.0**2))
            gaussian[gaussian < 0.01] = 0
            heatmap[:] = gaussian
        return torch.from_numpy(image.transpose(2, 0, 1)), torch.from_numpy(heatmaps)


def seconds(function: Callable[[], object]) -> float:
    started = time.perf_counter()
    function()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def alternate(rounds: int, *functions: Callable[[], object]) -> list[float]:
    """The median seconds of each function, measured in turn after one round to warm up."""
    times = [[seconds(function) for function in functions] for _ in range(rounds + 1)][1:]
    return [statistics.median(column) for column in zip(*times)]


def row(name: str, ours: str, plain: str = "", ratio: str = "", limit: str = "", met=None) -> None:
    verdict = {None: "", True: "met", False: "MISSED"}[met]
    print(f"{name:<44} {ours:>16} {plain:>14} {ratio:>8} {limit:>12}  {verdict}", flush=True)


def cycled(table: pd.DataFrame, count: int) -> pd.DataFrame:
    """As many rows as wanted, from the beginning again where the table ends."""
    return table.iloc[np.arange(count) % len(table)].reset_index(drop=True)


def benchmark_loading(table: pd.DataFrame, folder: Path, rounds: int) -> None:
    many = cycled(table, 622)
    (ours,) = alternate(rounds, lambda: load_images(many, str(folder)))
    row("read and decode 622 images once", f"{ours:.2f} s", limit="< 2 s", met=ours < 2)
    size = load_images(table, str(folder)).images.nbytes / len(table) / 1000
    row("kept in memory per image", f"{size:.1f} kB", limit="<= 70 kB", met=size <= 70)


def benchmark_input_side(data: LandmarkImages, plain: PlainDataset, rounds: int) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    rows = torch.randperm(len(data))[:BATCH]

    def ours() -> None:
        for _ in range(20):
            _, landmarks = data.batch(rows)
            gaussian_heatmaps(landmarks)

    def plainly() -> None:
        torch.utils.data.default_collate([plain[i] for i in rows.tolist()])

    fast, slow = alternate(rounds, ours, plainly)
    fast, slow = 20 * BATCH / fast, BATCH / slow
    row(
        "input side, one core",
        f"{fast:,.0f} /s",
        f"{slow:,.0f} /s",
        f"{fast / slow:.0f} x",
        ">=3,000, 20x",
        fast >= 3000 and fast >= 20 * slow,
    )
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)


def training_epoch(
    network: type[nn.Module], loss: nn.Module, data: LandmarkImages, dtype: torch.dtype
) -> Callable[[], object]:
    """One epoch as the trainers do it, files apart."""
    device = data.images.device
    torch.manual_seed(0)
    model = network().to(device)
    use_fast_memory_format(model, dtype)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)
    return lambda: train_one_epoch(
        model, loss, optimizer, scaler, data, batch_size=BATCH, seed=0, dtype=dtype
    )


def plain_epoch(
    network: type[nn.Module], loss: nn.Module, plain: Dataset, device: torch.device, fp16: bool
) -> Callable[[], object]:
    """One epoch of the published way."""
    torch.manual_seed(0)
    model = network().to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    scaler = torch.amp.GradScaler(device.type, enabled=fp16)
    # The workers stay, so that the warm-up round pays for starting them.
    loader = DataLoader(plain, BATCH, shuffle=True, num_workers=2, persistent_workers=True)

    def epoch() -> None:
        model.train()
        total = 0.0
        for images, heatmaps in loader:
            images, heatmaps = images.to(device), heatmaps.to(device)
            with torch.autocast(device.type, dtype=torch.float16, enabled=fp16):
                value = loss(model(images), heatmaps)
            optimizer.zero_grad()
            scaler.scale(value).backward()
            scaler.step(optimizer)
            scaler.update()
            total += value.item()

    return epoch


def benchmark_cpu_training(
    name: str,
    network: type[nn.Module],
    loss: nn.Module,
    limits: tuple[float, float],
    data: LandmarkImages,
    plain: PlainDataset,
    rounds: int,
) -> None:
    times = alternate(
        rounds,
        plain_epoch(network, loss, plain, torch.device("cpu"), fp16=False),
        training_epoch(network, loss, data, torch.float32),
        training_epoch(network, loss, data, torch.bfloat16),
    )
    rates = [len(data) / t for t in times]
    for precision, rate, limit in zip(("float32", "bf16"), rates[1:], limits):
        ratio = rate / rates[0]
        row(
            f"{name} training on the CPU, {precision}",
            f"{rate:.2f} images/s",
            f"{rates[0]:.2f}",
            f"{ratio:.2f} x",
            f">= {limit} x",
            ratio >= limit,
        )


def benchmark_augmentation(data: LandmarkImages, limit: float, rounds: int) -> None:
    device = data.images.device
    generator = torch.Generator(device).manual_seed(0)
    images, landmarks = data.batch(slice(0, BATCH))
    # A whole step is what an epoch consists of.
    step, change = alternate(
        rounds,
        training_epoch(UNet, nn.MSELoss(), data[:BATCH], torch.float32),
        lambda: augment(images, landmarks, generator),
    )
    share = change / step
    row(
        f"H2's augmentation, of a step on {device.type}",
        f"{1000 * change:.1f} ms",
        ratio=f"{share:.1%}",
        limit=f"<= {limit:.0%}",
        met=share <= limit,
    )


@torch.inference_mode()
def benchmark_tester(
    table: pd.DataFrame, folder: Path, device: torch.device, rounds: int, count: int
) -> None:
    some = cycled(table, count)
    torch.manual_seed(0)
    model = ResNetUNet().to(device).eval()
    batches = load_images(some, str(folder)).to(device)
    batches = [batches.batch(slice(i, i + BATCH))[0] for i in range(0, count, BATCH)]

    def whole() -> None:
        predict(model, load_images(some, str(folder)).to(device), BATCH)

    reading, forward, ours = alternate(
        rounds,
        lambda: load_images(some, str(folder)),
        lambda: [model(images) for images in batches],
        whole,
    )
    ratio = ours / (reading + forward)
    row(
        f"H3 tester, {count} images on {device.type}",
        f"{1000 * ours / count:.1f} ms/image",
        f"{1000 * (reading + forward) / count:.1f} ms",
        f"{ratio:.2f} x",
        "<= 1.2 x",
        ratio <= 1.2,
    )


def benchmark_growth(table: pd.DataFrame, folder: Path) -> None:
    for count in (600, 10_000):
        many = cycled(table, count)
        started = time.perf_counter()
        data = load_images(many, str(folder))
        loading = (time.perf_counter() - started) / count
        rows = torch.randperm(count).split(BATCH)
        started = time.perf_counter()
        for batch in rows:
            _, landmarks = data.batch(batch)
            gaussian_heatmaps(landmarks)
        making = (time.perf_counter() - started) / count
        row(
            f"growth: {count:,} images",
            f"{1000 * loading:.2f} ms load",
            f"{1000 * making:.3f} ms/pass",
            limit=f"{data.images.nbytes / count / 1000:.1f} kB",
        )


def benchmark_gpu(data: LandmarkImages, plain: PlainDataset, rounds: int) -> None:
    device = torch.device("cuda")
    data = data.to(device)
    loss = AdaptiveWingLoss()
    epoch = training_epoch(ResNetUNet, loss, data, torch.float16)
    plainly = plain_epoch(ResNetUNet, loss, plain, device, fp16=True)
    ours, theirs = alternate(rounds, epoch, plainly)
    row(
        "H3 end to end on CUDA, fp16",
        f"{len(data) / ours:.0f} images/s",
        f"{len(data) / theirs:.0f}",
        f"{theirs / ours:.1f} x",
        ">= 5 x",
        theirs / ours >= 5,
    )

    # The same steps on one batch that is ready on the device.
    images, landmarks = data.batch(slice(0, BATCH))
    heatmaps = gaussian_heatmaps(landmarks)
    torch.manual_seed(0)
    model = ResNetUNet().to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    scaler = torch.amp.GradScaler("cuda")

    def fixed() -> None:
        for _ in range(len(data) // BATCH):
            with torch.autocast("cuda", dtype=torch.float16):
                value = loss(model(images), heatmaps)
            optimizer.zero_grad()
            scaler.scale(value).backward()
            scaler.step(optimizer)
            scaler.update()

    whole_batches = training_epoch(
        ResNetUNet, loss, data[: len(data) // BATCH * BATCH], torch.float16
    )
    ours, bare = alternate(rounds, whole_batches, fixed)
    row(
        "H3 epoch over bare steps on CUDA",
        "",
        "",
        f"{ours / bare:.2f} x",
        "<= 1.05 x",
        ours / bare <= 1.05,
    )
    torch.use_deterministic_algorithms(False)
    (free,) = alternate(rounds, whole_batches)
    torch.use_deterministic_algorithms(True)
    row(
        "H3 deterministic over not on CUDA",
        "",
        "",
        f"{ours / free:.2f} x",
        "<= 1.1 x",
        ours / free <= 1.1,
    )
    benchmark_augmentation(data, 0.10, rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="under 3 minutes on 2 CPU cores")
    parser.add_argument("--csv_path", help="a data set; without it, sample images are made")
    parser.add_argument("--image_folder_path")
    args = parser.parse_args()
    seed_everything(42)
    with tempfile.TemporaryDirectory() as temporary:
        csv_path, folder = args.csv_path, args.image_folder_path
        if csv_path is None:
            sample_data.main(["--output_dir", temporary])
            csv_path, folder = f"{temporary}/ground_truth.csv", f"{temporary}/images"
        table, folder = read_ground_truth(csv_path), Path(folder)
        processor = platform.processor() or platform.machine()
        if Path("/proc/cpuinfo").exists():
            lines = Path("/proc/cpuinfo").read_text().splitlines()
            processor = next((x.split(": ")[1] for x in lines if x.startswith("model name")), "?")
        print(
            f"{processor}, {os.cpu_count()} cores, "
            f"{torch.cuda.get_device_name() if torch.cuda.is_available() else 'no CUDA device'}; "
            f"Python {platform.python_version()}, torch {torch.__version__}, "
            f"OpenCV {cv2.__version__}; {'quick' if args.quick else 'full'}"
        )
        row("", "ours", "plain", "ratio", "limit")
        rounds = 1 if args.quick else 3
        few = cycled(table, 3 * BATCH)
        data, plain = load_images(few, str(folder)), PlainDataset(few, folder)
        benchmark_loading(table, folder, rounds)
        benchmark_input_side(data, plain, 5)
        benchmark_tester(table, folder, torch.device("cpu"), rounds, 16 if args.quick else 63)
        loss = AdaptiveWingLoss()
        benchmark_cpu_training("H3", ResNetUNet, loss, (1.2, 1.9), data, plain, rounds)
        count = 4 if args.quick else BATCH
        data, plain = data[:count], PlainDataset(few[:count], folder)
        benchmark_cpu_training("H1", UNet, nn.MSELoss(), (1.3, 3), data, plain, rounds)
        benchmark_augmentation(data, 0.03, rounds)
        if not args.quick:
            benchmark_growth(table, folder)
        if torch.cuda.is_available():
            many = cycled(table, 497)
            loaded = load_images(many, str(folder))
            benchmark_gpu(loaded, PlainDataset(many, folder), rounds)
            benchmark_tester(table, folder, torch.device("cuda"), rounds, 63)
        else:
            print("CUDA rows: no CUDA device here")


if __name__ == "__main__":
    main()
