"""How fast it is, beside the plain way of the scripts published with the report.

    python -m tests.benchmark [--quick] [--csv_path … --image_folder_path …]

Each row: what is measured, on how many images, ours, the plain way, the ratio, the limit. The
plain way is written afresh here: every epoch decodes each image again and computes four Gaussians
over the whole grid for each sample, in two loader processes. Both train the same network. Without
a data set, the sample images stand in. Medians of several rounds, which alternate between the two.

AMD EPYC, 2 cores, no CUDA device; Python 3.11.7, torch 2.15.0, OpenCV 5.0.0; the 622 real images,
23 Nov 2026, medians of 3 rounds (a shared machine: ratios mean more than seconds):

                                images     ours     plain    ratio     limit
    decode, once                   622   1.08 s                        < 2 s
    input side, one core             8  7,823/s     210/s     37 x   >= 20 x
    H3 tester, per image            63   180 ms    180 ms   1.00 x  <= 1.2 x  (26 Nov)
    H3 training, CPU, float32       24   3.47/s    2.88/s   1.21 x  >= 1.2 x
    H3 training, CPU, bf16          24   8.64/s    2.88/s   3.00 x  >= 1.9 x
    H1 training, CPU, float32        8   0.56/s    0.51/s   1.09 x  >= 1.3 x  missed
    H1 training, CPU, bf16           8   2.08/s    0.51/s   4.07 x    >= 3 x
    H2's augmentation, of a step     8  23.0 ms              0.2 %    <= 3 %
    H3, 2 processes (plain: one)    54   3.21/s    3.05/s   1.05 x   (24 Nov, torch 2.14.1)

One NVIDIA H100 80GB HBM3, 16 cores; Python 3.12.3, torch 2.11.0, OpenCV 5.0.0; copies of the images
at 256×256 px, 27 Nov 2026, medians of 2 rounds; other rows beside the bare steps:

    H3 training, CUDA, fp16        200    225/s     187/s   1.20 x    >= 10 x  missed (published)
    H1, float32                    200  99.45/s   99.68/s   1.00 x  >= 0.95 x
      operations (a product's)     8  26.2 TF/s 50.7 TF/s 0.52 x            39 % of the 67 TF/s
    H2, float32                    200  97.43/s   99.51/s   0.98 x  >= 0.95 x
    H3, fp16                       200    213/s     214/s   0.99 x  >= 0.95 x
    H3 --augment, fp16             200    217/s     270/s   0.80 x  >= 0.95 x  missed

A step of H3 launches 1,000 kernels that keep the card busy for 9 of 40 ms: it waits for the CPU, as
does the augmentation with its 200. With torch.cuda.make_graphed_callables H3 reached 562/s, with a
fused optimiser as well 785/s; its losses then differ from the seventh digit on. H1 in float32 is
the same with channels last, with cuDNN's benchmark mode and without determinism: 99.2 to 99.5/s
(H3 without determinism: 3 % faster).

With the channels last in memory float32 would reach 1.25 to 1.68 times the plain way, but the first
ten losses move by up to 2 % (see fit). On a CPU under Linux up to a third of the time goes into
memory that glibc hands back after each step, but not under tcmalloc (LD_PRELOAD).
"""

from __future__ import annotations

import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, default_collate
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from common import sample_data
from common.augmentation import Augment, augment
from common.basics.arguments import Parser
from common.basics.errors import reports_errors
from common.evaluation import predict
from common.ground_truth import NAME_COLUMN, landmark_values, read_ground_truth, split_ground_truth
from common.heatmaps import gaussian_heatmaps
from common.images import IMAGE_SIZE, LandmarkImages, load_images
from common.losses import AdaptiveWingLoss, HeatmapLoss
from common.models import ResNetUNet, UNet
from common.runs.devices import make_repeatable
from common.training import train_one_epoch, training_batches

BATCH = 8
SIGMA = 10.0
H1, H3 = (UNet, nn.MSELoss()), (ResNetUNet, AdaptiveWingLoss(14, 0.5, 1, 2.1))


class PlainDataset(Dataset):
    """The published way to one sample."""

    def __init__(self, table: pd.DataFrame, folder: Path) -> None:
        self.names = table[NAME_COLUMN].tolist()
        self.landmarks = landmark_values(table, "x", "y")
        self.folder = folder

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        image = cv2.cvtColor(cv2.imread(str(self.folder / self.names[index])), cv2.COLOR_BGR2RGB)
        height, width = image.shape[:2]
        image = cv2.resize(image, (IMAGE_SIZE, IMAGE_SIZE)).astype(np.float32) / 255
        heatmaps = np.zeros((4, IMAGE_SIZE, IMAGE_SIZE), np.float32)
        x, y = np.meshgrid(np.arange(IMAGE_SIZE), np.arange(IMAGE_SIZE))
        for heatmap, landmark in zip(heatmaps, self.landmarks[index]):
            center_x, center_y = landmark * IMAGE_SIZE / np.array([width, height])
            gaussian = np.exp(-((x - center_x) ** 2 + (y - center_y) ** 2) / (2 * SIGMA**2))
            gaussian[gaussian < 0.01] = 0
            heatmap[:] = gaussian
        return torch.from_numpy(image.transpose(2, 0, 1)), torch.from_numpy(heatmaps)


def medians(rounds: int, *functions: Callable[[], object]) -> list[float]:
    """The median seconds of each function, measured in turn after one round to warm up."""

    def seconds(function: Callable[[], object]) -> float:
        started = time.perf_counter()
        function()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter() - started

    times = [[seconds(function) for function in functions] for _ in range(rounds + 1)][1:]
    return [statistics.median(column) for column in zip(*times)]


def row(name: str, images: object, *cells: str, met: bool | None = None) -> None:
    """cells: ours, the plain way, the ratio and the limit, or the first of them."""
    verdict = {None: "", True: "met", False: "MISSED"}[met]
    ours, plain, ratio, limit = (*cells, "", "", "")[:4]
    line = f"{name:<35}{images:>7}{ours:>10}{plain:>10}{ratio:>9}{limit:>10}  {verdict}"
    print(line.rstrip(), flush=True)


def rate_row(name: str, images: int, ours: float, plain: float, at_least: float) -> None:
    """From the seconds that each way takes for so many images."""
    ratio = plain / ours
    rates = [f"{images / s:,.{0 if images / s > 100 else 2}f}/s" for s in (ours, plain)]
    row(name, images, *rates, f"{ratio:.2f} x", f">= {at_least:g} x", met=ratio >= at_least)


def cost_row(name: str, images: int, ours: float, other: float, at_most: float) -> None:
    """From the seconds of ours, for each image, and of what it is to cost little more than."""
    ratio, times = ours / other, [f"{1000 * s / images:.1f} ms" for s in (ours, other)]
    row(name, images, *times, f"{ratio:.2f} x", f"<= {at_most} x", met=ratio <= at_most)


def cycled(table: pd.DataFrame, count: int) -> pd.DataFrame:
    """As many rows as wanted, from the beginning again where the table ends."""
    return table.iloc[np.arange(count) % len(table)].reset_index(drop=True)


def make_batch(data: LandmarkImages, rows: torch.Tensor) -> None:
    """What training does on its input side."""
    _, landmarks = data.batch(rows)
    gaussian_heatmaps(landmarks, (IMAGE_SIZE, IMAGE_SIZE), SIGMA)


def start(
    network_class: type[nn.Module],
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    published: bool = False,
) -> tuple:
    torch.manual_seed(0)
    model = network_class().to(device)
    if dtype != torch.float32 and not published:
        model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    return model, optimizer, torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)


def our_epoch(
    recipe: tuple, data: LandmarkImages, dtype: torch.dtype, augmentation: Augment | None = None
) -> Callable[[], object]:
    """One epoch as the trainers do it, files apart."""
    network_class, criterion = recipe
    model, optimizer, scaler = start(network_class, data.images.device, dtype)
    loss = HeatmapLoss(criterion, SIGMA)

    def epoch() -> list[float]:
        batches = tqdm(training_batches(data, BATCH, 0, augmentation), leave=False)
        return train_one_epoch(model, loss, optimizer, scaler, batches, dtype).tolist()

    return epoch


def plain_epoch(
    recipe: tuple, batches: Iterable, device: torch.device, dtype: torch.dtype, bare: bool = False
) -> Callable[[], object]:
    """One epoch over batches of images and heatmaps: as published, or the bare steps of ours."""
    network_class, criterion = recipe
    model, optimizer, scaler = start(network_class, device, dtype, published=not bare)

    def epoch() -> None:
        for images, heatmaps in batches:
            with torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32):
                loss = criterion(model(images.to(device)), heatmaps.to(device))
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            if not bare:
                loss.item()

    return epoch


def plain_loader(table: pd.DataFrame, folder: Path) -> DataLoader:
    # The workers stay, so that the warm-up round pays for starting them.
    plain = PlainDataset(table, folder)
    return DataLoader(plain, BATCH, shuffle=True, num_workers=2, persistent_workers=True)


def benchmark_input(table: pd.DataFrame, folder: Path, rounds: int) -> None:
    many = cycled(table, 622)
    (ours,) = medians(rounds, lambda: load_images(many, str(folder)))
    row("decode, once", 622, f"{ours:.2f} s", "", "", "< 2 s", met=ours < 2)
    batch = cycled(table, BATCH)
    data, plain = load_images(batch, str(folder)), PlainDataset(batch, folder)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    ours, theirs = medians(
        5,
        lambda: [make_batch(data, torch.arange(BATCH)) for _ in range(20)],
        lambda: default_collate([plain[i] for i in range(BATCH)]),
    )
    rate_row("input side, one core", BATCH, ours / 20, theirs, at_least=20)
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)


def benchmark_tester(
    table: pd.DataFrame, folder: Path, device: torch.device, count: int, rounds: int
) -> None:
    some = cycled(table, count)
    model, *_ = start(ResNetUNet, device)
    data = load_images(some, str(folder)).to(device)
    batches = [data.batch(slice(i, i + BATCH))[0] for i in range(0, count, BATCH)]

    @torch.inference_mode()
    def forward() -> None:
        for images in batches:
            model.eval()(images)

    reading, bare, ours = medians(
        rounds,
        lambda: load_images(some, str(folder)),
        forward,
        lambda: predict([model], load_images(some, str(folder)).to(device), BATCH),
    )
    cost_row(f"H3 tester, {device.type}, per image", count, ours, reading + bare, at_most=1.2)


def benchmark_training(
    name: str, recipe: tuple, table: pd.DataFrame, folder: Path, limits: tuple, rounds: int
) -> None:
    data = load_images(table, str(folder))
    plain, *ours = medians(
        rounds,
        plain_epoch(recipe, plain_loader(table, folder), torch.device("cpu"), torch.float32),
        our_epoch(recipe, data, torch.float32),
        our_epoch(recipe, data, torch.bfloat16),
    )
    for precision, seconds, limit in zip(("float32", "bf16"), ours, limits):
        rate_row(f"{name} training, CPU, {precision}", len(data), seconds, plain, limit)


def benchmark_augmentation(data: LandmarkImages, limit: float, rounds: int) -> None:
    batch, generator = data[:BATCH], torch.Generator(data.images.device).manual_seed(0)
    tensors = batch.batch(slice(None))
    change, step = medians(
        rounds, lambda: augment(*tensors, generator), our_epoch(H1, batch, torch.float32)
    )
    share, milliseconds = change / step, f"{1000 * change:.1f} ms"
    name = f"H2's augmentation, of a step{', CUDA' if data.images.is_cuda else ''}"
    row(name, len(batch), milliseconds, "", f"{share:.1%}", f"<= {limit:.0%}", met=share <= limit)


def benchmark_cuda(table: pd.DataFrame, folder: Path, rounds: int) -> None:
    device, fp32, fp16 = torch.device("cuda"), torch.float32, torch.float16
    many = cycled(table, 25 * BATCH)
    data = load_images(many, str(folder)).to(device)
    published = plain_epoch(H3, plain_loader(many, folder), device, fp16)
    ours, plain = medians(rounds, our_epoch(H3, data, fp16), published)
    rate_row("H3 training, CUDA, fp16", len(data), ours, plain, at_least=10)

    # Beside the same steps on one batch that is ready on the device.
    images, landmarks = data.batch(slice(0, BATCH))
    heatmaps = gaussian_heatmaps(landmarks, (IMAGE_SIZE, IMAGE_SIZE), SIGMA)
    ready = [(images, heatmaps)] * (len(data) // BATCH)
    for name, recipe, dtype, augmentation in (
        ("H1, float32", H1, fp32, None),
        ("H1, fp16", H1, fp16, None),
        ("H2, float32", H1, fp32, augment),
        ("H2, fp16", H1, fp16, augment),
        ("H3, fp16", H3, fp16, None),
        ("H3 --augment, fp16", H3, fp16, augment),
    ):
        epoch = our_epoch(recipe, data, dtype, augmentation)
        ours, bare = medians(rounds, epoch, plain_epoch(recipe, ready, device, dtype, bare=True))
        rate_row(f"{name}, beside bare steps", len(data), ours, bare, at_least=0.95)
        if name == "H1, float32":
            share_of_peak(recipe, images, heatmaps, bare / len(data))
    benchmark_augmentation(data, 0.10, rounds)
    benchmark_tester(table, folder, device, 63, rounds)


def share_of_peak(
    recipe: tuple, images: torch.Tensor, heatmaps: torch.Tensor, seconds_per_image: float
) -> None:
    """How many operations a second a training step does, beside the largest a card gives: a matrix
    product in the same precision."""
    network_class, criterion = recipe
    model = network_class().to(images.device)
    with FlopCounterMode(display=False) as counter:
        criterion(model(images), heatmaps).backward()
    matrix = torch.rand(8192, 8192, device=images.device)
    (seconds,) = medians(3, lambda: matrix @ matrix)
    ours = counter.get_total_flops() / len(images) / seconds_per_image / 1e12
    peak = 2 * 8192**3 / seconds / 1e12
    rates = [f"{rate:.1f} TF/s" for rate in (ours, peak)]
    row("  operations (plain: a product's)", len(images), *rates, f"{ours / peak:.2f} x")


def benchmark_processes(table: pd.DataFrame, folder: Path, temporary: str) -> None:
    """The trainer under torchrun, a process for each GPU, or two on a CPU with half of the threads
    each, beside one process."""
    rows = table[:60]
    rows.to_csv(f"{temporary}/few.csv", index=False)
    count = max(torch.cuda.device_count(), 2 if not torch.cuda.is_available() else 1)
    script = str(Path(__file__).parents[1] / "Trainer_Hypothesis3.py")
    data = ["--csv_path", f"{temporary}/few.csv", "--image_folder_path", str(folder.resolve())]
    recipe = ["--encoder_weights", "none", "--epochs", "3"]
    times = []
    for launcher, threads in (
        (["-m", "torch.distributed.run", f"--nproc_per_node={count}"], os.cpu_count() // count),
        ([], os.cpu_count()),
    ):
        command = [sys.executable, *launcher, script, *data, *recipe]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        printed = subprocess.check_output(command, cwd=temporary, env=environment, text=True)
        # The first epoch warms up.
        times.append(min(map(float, re.findall(r"\| ([\d.]+) s", printed)[1:])))
    seen = sum(len(rows) for name, rows in split_ground_truth(rows).items() if name != "test")
    rates = [f"{seen / seconds:.2f}/s" for seconds in times]
    row(f"H3, {count} processes (plain: one)", seen, *rates, f"{times[1] / times[0]:.2f} x")


def describe_machine() -> str:
    cpu_info = Path("/proc/cpuinfo")
    names = re.findall("model name.*: (.*)", cpu_info.read_text() if cpu_info.exists() else "")
    processor = next(iter(names), platform.processor() or platform.machine())
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no CUDA device"
    return (
        f"{processor}, {os.cpu_count()} cores, {gpu}; Python {platform.python_version()}, "
        f"torch {torch.__version__}, OpenCV {cv2.__version__}"
    )


@reports_errors()
def main(argv: list[str] | None = None) -> None:
    parser = Parser(__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="under 3 minutes on 2 CPU cores")
    parser.add_argument("--csv_path", help="a ground truth; without it, sample images are made")
    parser.add_argument("--image_folder_path", help="the folder of its images")
    args = parser.parse_args(argv)
    if (args.csv_path is None) != (args.image_folder_path is None):
        parser.error("--csv_path and --image_folder_path go together")
    make_repeatable(42)
    rounds = 1 if args.quick else 3
    with tempfile.TemporaryDirectory() as temporary:
        if args.csv_path is None:
            sample_data.main(["--output_dir", temporary])
            args.csv_path = f"{temporary}/ground_truth.csv"
            args.image_folder_path = f"{temporary}/images"
        table, folder = read_ground_truth(args.csv_path), Path(args.image_folder_path)
        print(f"{describe_machine()}; {len(table)} images; medians of {rounds} rounds")
        row("", "images", "ours", "plain", "ratio", "limit")
        benchmark_input(table, folder, rounds)
        benchmark_tester(table, folder, torch.device("cpu"), 16 if args.quick else 63, rounds)
        few = cycled(table, 3 * BATCH)
        benchmark_training("H3", H3, few, folder, (1.2, 1.9), rounds)
        few = few[: 4 if args.quick else BATCH]
        benchmark_training("H1", H1, few, folder, (1.3, 3), rounds)
        benchmark_augmentation(load_images(few, str(folder)), 0.03, rounds)
        if not args.quick:
            benchmark_processes(table, folder, temporary)
        if torch.cuda.is_available():
            benchmark_cuda(table, folder, rounds)
        else:
            print("CUDA rows: no CUDA device here")


if __name__ == "__main__":
    main()
