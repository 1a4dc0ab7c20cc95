"""How a command ends when something is wrong: its exit status and its line."""

import io
import shlex
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from tqdm import tqdm

from common import UserError
from common.basics.errors import reports_errors
from common.images import load_images
from tests.conftest import ROOT, refused, table_of

OUT_OF_MEMORY = (
    "error: out of memory: close other programs and notebooks, which may hold the memory (of a GPU "
    "too); give a trainer or a tester half the --batch_size, or --device cpu"
)


def failing(error, **options):
    @reports_errors(**options)
    def main(argv=None):
        raise error

    return main


@pytest.fixture
def torchrun(monkeypatch):
    """Two processes, of which this is the first."""
    for name, value in (("TORCHELASTIC_RUN_ID", "1"), ("WORLD_SIZE", "2"), ("RANK", "0")):
        monkeypatch.setenv(name, value)


def test_a_user_error_ends_in_its_message_and_exit_status_2(capsys):
    with pytest.raises(SystemExit) as stopped:
        failing(UserError("a.csv: row 2: no"))([])
    assert stopped.value.code == 2
    assert capsys.readouterr() == ("", "error: a.csv: row 2: no\n")


def test_only_a_resumable_command_may_be_one_of_several_processes(torchrun, capsys):
    message = "error: this command needs one process, not torchrun"
    assert refused(lambda: talkative([]), capsys, message) == ""
    with pytest.raises(ZeroDivisionError):  # it did begin
        failing(ZeroDivisionError(), resumable=True)([])


def enlarge(*_):
    """Ask OpenCV for an exabyte."""
    return cv2.resize(np.zeros((1, 1), np.uint8), (2**30, 2**30))


@pytest.mark.parametrize(
    "allocate",
    [lambda: torch.empty(2**60), lambda: np.empty(2**59), enlarge],
    ids=["torch", "numpy", "OpenCV"],
)
def test_whatever_is_out_of_memory_says_what_to_try(allocate, capsys):
    with pytest.raises((RuntimeError, MemoryError, cv2.error)) as caught:  # 1 to 4 exabytes
        allocate()
    assert refused(lambda: failing(caught.value)([]), capsys, OUT_OF_MEMORY) == ""


@pytest.mark.parametrize(
    "said",
    [
        "CUDA out of memory. Tried to allocate 20.00 MiB",
        "CUDA error: out of memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_NOT_INITIALIZED",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    ],
)
def test_so_does_a_gpu_and_its_libraries(said, capsys):
    assert refused(lambda: failing(RuntimeError(said))([]), capsys, OUT_OF_MEMORY) == ""


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        (
            "CUDA error: no kernel image is available for execution on the device",
            "this PyTorch is not built for this GPU: use --device cpu, or another build",
        ),
        *(
            (f"CUDA error: {devices} busy or unavailable", "the GPU is in use by another process")
            for devices in ("all CUDA-capable devices are", "CUDA-capable device(s) is/are")
        ),
        (
            "The NVIDIA driver on your system is too old (found version 11040). Please update your",
            "the NVIDIA driver is too old for this build of PyTorch: update it, or use --device",
        ),
        (
            "CUDA error: CUDA driver version is insufficient for CUDA runtime version",
            "the NVIDIA driver is too old for this build of PyTorch: update it, or use --device",
        ),
        ("can't start new thread", "no more threads are allowed"),
    ],
)
def test_an_error_of_the_machine_ends_in_advice(said, advice, capsys):
    error = RuntimeError(f"{said}\nCUDA kernel errors might be asynchronously reported")
    assert refused(lambda: failing(error)([]), capsys, f"error: {advice}") == ""


def test_a_lack_of_memory_is_not_blamed_on_the_image_that_was_decoded(
    tmp_path, monkeypatch, capsys
):
    (tmp_path / "000_HC.png").write_bytes(b"of an image")

    @reports_errors()
    def run():
        load_images(table_of([8.0] * 8), str(tmp_path))

    refused(run, capsys, "row 1: 000_HC.png: not an image, truncated, or too large")
    monkeypatch.setattr("common.images.cv2.imdecode", enlarge)
    assert refused(run, capsys, OUT_OF_MEMORY) == ""


def test_a_fault_of_this_package_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        failing(ZeroDivisionError())([])


def line_of_ctrl_c(capsys, **options):
    with pytest.MonkeyPatch.context() as kept:
        kept.setattr(sys, "unraisablehook", sys.unraisablehook)
        with pytest.raises(SystemExit) as stopped:
            failing(KeyboardInterrupt(), **options)()
    assert stopped.value.code == 130
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err[0] == "\n"  # a terminal's line begins with ^C
    return printed.err[1:]


def test_ctrl_c_names_the_command_that_resumes(capsys, monkeypatch):
    arguments = ["--csv_path", "my data/it's $1.csv", "--resume", "--lr", "0.1"]
    monkeypatch.setattr("sys.argv", ["code/trainer.py", *arguments])
    line = line_of_ctrl_c(capsys, resumable=True)
    start = "Interrupted. Epochs since the last save are lost. To resume, run "
    start += "(in a notebook, run the cell again with --resume): "
    assert line.startswith(start)
    arguments.remove("--resume")  # it stands there once, and a shell reads the rest as before
    command = [sys.executable, "code/trainer.py", *arguments, "--resume"]
    assert shlex.split(line[len(start) :]) == command


def test_ctrl_c_asks_for_the_same_command_again_where_torchrun_has_started_it(torchrun, capsys):
    line = line_of_ctrl_c(capsys, resumable=True)
    assert line.endswith("--resume): the same command with --resume\n")


def test_ctrl_c_is_all_that_is_said_where_nothing_can_be_resumed(capsys):
    assert line_of_ctrl_c(capsys) == "Interrupted.\n"


HALF_MADE = """
from common.basics.errors import reports_errors

class Bar:
    def __init__(self):
        raise KeyboardInterrupt
    def __del__(self):
        self.close()  # it has no such method yet

@reports_errors()
def main():
    Bar()

main()
"""


def test_ctrl_c_while_a_progress_bar_is_being_made_leaves_no_traceback():
    ended = subprocess.run(
        [sys.executable, "-c", HALF_MADE], cwd=ROOT, capture_output=True, text=True
    )
    assert (ended.returncode, ended.stderr) == (130, "\nInterrupted.\n")


MADE = """
from common.basics.errors import reports_errors
from tqdm import tqdm

@reports_errors()
def main():
    batches = tqdm(range(3))
    raise KeyboardInterrupt

main()
"""


def test_a_progress_bar_ends_before_the_line_of_ctrl_c():
    ended = subprocess.run([sys.executable, "-c", MADE], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 130
    assert ended.stderr.endswith("\nInterrupted.\n")


@reports_errors()
def talkative(done):
    for number in tqdm(range(3)):
        print(f"line {number}, 5 ≤ 6")
        print("an error", file=sys.stderr)
    done.append(True)


def test_the_work_goes_on_when_stdout_is_closed(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)  # what Python makes of >&-
    done = []
    talkative(done)
    assert done


def test_a_full_disk_behind_stdout_ends_in_a_line(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdout", open("/dev/full", "w"))  # noqa: SIM115
    line = "error: what is printed cannot be written: no space left on the disk"
    refused(lambda: talkative([]), capsys, line)


def test_a_character_that_the_terminal_lacks_is_printed_as_a_question_mark(monkeypatch):
    shown = io.BytesIO()
    stream = io.TextIOWrapper(shown, encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    talkative([])
    assert shown.getvalue().startswith(b"line 0, 5 ? 6\n")  # and at once, not when it ends
