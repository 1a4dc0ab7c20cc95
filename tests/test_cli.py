"""Numbers on the command line, and how a script ends."""

import argparse
import io
import shlex
import sys

import numpy as np
import pytest
import torch
from tqdm import tqdm

from common import UserError, cli

COUNT, SEED = cli.whole_number(1), cli.whole_number(0)
RATE, SECONDS = cli.positive_number, cli.number(0)


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [(COUNT, "1", 1), (SEED, str(2**32 - 1), 2**32 - 1), (RATE, "1e-30", 1e-30), (SECONDS, "0", 0)],
)
def test_numbers_within_their_limits(parse, text, value):
    parsed = parse(text)
    assert parsed == value
    assert type(parsed) is (int if parse in (COUNT, SEED) else float)


@pytest.mark.parametrize(
    ("parse", "texts", "limits"),
    [
        (COUNT, ["0", "0.5", "many", "", "-1", "9" * 5000], "a whole number from 1 to 4294967295"),
        (SEED, ["-1", str(2**32)], "a whole number from 0 to 4294967295"),
        (RATE, ["0", "-0.1", "nan", "many", ""], "a number above 0"),
        (RATE, ["inf", "1e300"], "at most 4294967295"),
        (SECONDS, ["-1", "nan", "inf"], "a number from 0 to 4294967295"),
    ],
)
def test_numbers_beyond_their_limits(parse, texts, limits):
    for text in texts:
        with pytest.raises(argparse.ArgumentTypeError) as refused:
            parse(text)
        assert str(refused.value) == f"{text}: must be {limits}"


RECIPE = {"model_save_path": "m.pth", "batch_size": 8, "epochs": 50, "lr": 0.1, "precision": "fp32"}


def test_help_names_the_defaults_that_there_are(capsys):
    tester = cli.tester_parser("", hypothesis=1, review_confidence=0.3)
    for parser in (cli.trainer_parser("", hypothesis=1, **RECIPE), tester):
        with pytest.raises(SystemExit):
            parser.parse_args(["--help"])
        printed = capsys.readouterr().out
        assert "images per step (default: 8)" in printed
        assert "None" not in printed
        assert "SUPPRESS" not in printed


@pytest.mark.parametrize("precision", ["auto", "fp32", "fp16", "bf16"])
def test_each_precision_that_the_readme_names_can_be_asked_for(precision):
    parser = cli.trainer_parser("", hypothesis=1, **RECIPE)
    paths = ["--csv_path", "a.csv", "--image_folder_path", "images"]
    assert parser.parse_args([*paths, "--precision", precision]).precision == precision


def test_a_misspelt_default_of_a_recipe_is_no_default():
    with pytest.raises(TypeError, match="epoch"):
        cli.trainer_parser("", hypothesis=1, epoch=16, **RECIPE)


def test_arguments_without_a_default_are_required(capsys):
    for parser, missing in (
        (cli.trainer_parser("", hypothesis=1, **RECIPE), "--csv_path, --image_folder_path"),
        (cli.tester_parser("", hypothesis=1, review_confidence=1), "--image_folder_path, --model_"),
    ):
        with pytest.raises(SystemExit):
            parser.parse_args([])
        assert f"error: the following arguments are required: {missing}" in capsys.readouterr().err


def failing(error, **options):
    @cli.reports_errors(**options)
    def main(argv=None):
        raise error

    return main


def test_a_user_error_ends_in_its_message_and_exit_status_2(capsys):
    with pytest.raises(SystemExit) as stopped:
        failing(UserError("a.csv: row 2: no"))([])
    assert stopped.value.code == 2
    assert capsys.readouterr() == ("", "error: a.csv: row 2: no\n")


def test_only_a_resumable_command_may_be_one_of_several_processes(capsys, monkeypatch):
    for name, value in (("TORCHELASTIC_RUN_ID", "1"), ("WORLD_SIZE", "2"), ("RANK", "0")):
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as stopped:
        talkative([])
    assert stopped.value.code == 2
    assert capsys.readouterr() == ("", "error: this command needs one process, not torchrun\n")
    with pytest.raises(ZeroDivisionError):  # it did begin
        failing(ZeroDivisionError(), resumable=True)([])


def message_of(error, capsys):
    """The line that an error ends in."""
    with pytest.raises(SystemExit) as stopped:
        failing(error)([])
    assert stopped.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    return printed.err


@pytest.mark.parametrize("allocate", [lambda: torch.empty(2**60), lambda: np.empty(2**59)])
def test_out_of_memory_says_what_to_try(allocate, capsys):
    with pytest.raises((RuntimeError, MemoryError)) as caught:  # 4 exabytes
        allocate()
    message = "error: out of memory: try half the --batch_size, or --device cpu\n"
    assert message_of(caught.value, capsys) == message


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError(
            "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"
        ),
        RuntimeError("cuDNN error: CUDNN_STATUS_NOT_INITIALIZED"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    ],
    ids=str,
)
def test_whoever_else_may_hold_the_memory_of_a_gpu_is_named(error, capsys):
    message = "error: out of memory: try half the --batch_size, or --device cpu; another notebook "
    assert message_of(error, capsys) == message + "may hold the GPU's memory\n"


def test_a_gpu_that_this_pytorch_is_not_built_for_ends_in_a_line(capsys):
    error = RuntimeError(
        "CUDA error: no kernel image is available for execution on the device\nCUDA kernel errors "
        "might be asynchronously reported at some other API call"
    )
    message = message_of(error, capsys)
    assert message.startswith("error: this PyTorch is not built for this GPU, which is too old")
    assert "--device cpu" in message


def test_a_fault_of_this_package_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        failing(ZeroDivisionError())([])


def test_ctrl_c_names_the_command_that_resumes(capsys, monkeypatch):
    arguments = ["--csv_path", "my data/it's $1.csv", "--resume", "--lr", "0.1"]
    monkeypatch.setattr("sys.argv", ["code/trainer.py", *arguments])
    with pytest.raises(SystemExit) as stopped:
        failing(KeyboardInterrupt(), resumable=True)()
    assert stopped.value.code == 130
    last_line = capsys.readouterr().err.splitlines()[-1]
    start = "Interrupted. Any epochs since the last save are lost. To resume: "
    assert last_line.startswith(start)
    arguments.remove("--resume")  # it stands there once, and a shell reads the rest as before
    command = [sys.executable, "code/trainer.py", *arguments, "--resume"]
    assert shlex.split(last_line[len(start) :]) == command


def test_ctrl_c_names_no_command_where_nothing_can_be_resumed(capsys):
    with pytest.raises(SystemExit) as stopped:
        failing(KeyboardInterrupt())([])
    assert stopped.value.code == 130
    assert capsys.readouterr().err == "\nInterrupted.\n"


@cli.reports_errors()
def talkative(done):
    for number in tqdm(range(3)):
        print(f"line {number}, 5 ≤ 6")
        print("an error", file=sys.stderr)
    done.append(True)


def test_the_work_goes_on_when_a_stream_is_closed(monkeypatch):
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)  # what Python makes of >&-
    done = []
    talkative(done)
    assert done


def test_a_full_disk_behind_stdout_ends_in_a_line(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdout", open("/dev/full", "w"))  # noqa: SIM115
    with pytest.raises(SystemExit) as stopped:
        talkative([])
    assert stopped.value.code == 2
    line = "error: what is printed cannot be written: No space left on device\n"
    assert capsys.readouterr().err.endswith(line)


def test_a_character_that_the_terminal_lacks_is_printed_as_a_question_mark(monkeypatch):
    shown = io.BytesIO()
    stream = io.TextIOWrapper(shown, encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    talkative([])
    assert shown.getvalue().startswith(b"line 0, 5 ? 6\n")  # and at once, not when it ends
