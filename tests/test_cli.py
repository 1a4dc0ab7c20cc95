"""Numbers on the command line, and how a script ends."""

import argparse
import io
import os
import shlex
import subprocess
import sys

import pytest
import torch

from common import UserError, cli
from tests.conftest import ROOT

ABOVE_0 = {"above": 0}
FROM_0 = {"at_least": 0}


@pytest.mark.parametrize(
    ("kind", "limits", "text", "value"),
    [
        (int, ABOVE_0, "1", 1),
        (int, FROM_0, "0", 0),
        (int, FROM_0, str(2**32 - 1), 2**32 - 1),
        (float, ABOVE_0, "1e-30", 1e-30),
        (float, FROM_0, "0.0", 0.0),
        (float, FROM_0, "5", 5.0),
    ],
)
def test_numbers_within_their_limits(kind, limits, text, value):
    parsed = cli.number(kind, **limits)(text)
    assert parsed == value
    assert type(parsed) is kind


@pytest.mark.parametrize(
    ("kind", "limits", "text"),
    [
        (int, ABOVE_0, "0"),
        (int, ABOVE_0, "0.5"),
        (int, ABOVE_0, "many"),
        (int, ABOVE_0, ""),
        (int, ABOVE_0, "1" + "0" * 23),
        (int, ABOVE_0, "9" * 5000),  # Python refuses to read so many digits
        (int, FROM_0, "-1"),
        (int, FROM_0, str(2**32)),
        (float, ABOVE_0, "0"),
        (float, ABOVE_0, "-0.1"),
        (float, ABOVE_0, "nan"),
        (float, ABOVE_0, "inf"),
        (float, ABOVE_0, "1e300"),
        (float, FROM_0, "-1"),
    ],
)
def test_numbers_beyond_their_limits(kind, limits, text):
    with pytest.raises(argparse.ArgumentTypeError) as refused:
        cli.number(kind, **limits)(text)
    what = "a whole number" if kind is int else "a number"
    low = "above 0" if limits is ABOVE_0 else "from 0"
    assert str(refused.value) == f"{text}: must be {what} {low} and not above 4294967295"


def failing(error, **options):
    @cli.reports_errors(**options)
    def main(argv=None):
        raise error

    return main


def test_what_the_user_can_fix_ends_in_its_message(capsys):
    with pytest.raises(SystemExit) as stopped:
        failing(UserError("a.csv: row 2: no"))([])
    assert stopped.value.code == 2
    assert capsys.readouterr() == ("", "error: a.csv: row 2: no\n")


def test_out_of_memory_says_what_to_try(capsys):
    with pytest.raises(SystemExit) as stopped:
        failing(torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB"))([])
    assert stopped.value.code == 2
    message = "error: CUDA is out of memory: try half the --batch_size, or --device cpu\n"
    assert capsys.readouterr() == ("", message)


def test_what_is_our_own_fault_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        failing(ZeroDivisionError())([])


@pytest.mark.parametrize("resumed", [[], ["--resume"]])
def test_ctrl_c_names_the_command_that_resumes(resumed, capsys, monkeypatch):
    arguments = ["--csv_path", "my data/it's $1.csv", *resumed, "--lr", "0.1"]
    monkeypatch.setattr("sys.argv", ["code/trainer.py", *arguments])
    with pytest.raises(SystemExit) as stopped:
        failing(KeyboardInterrupt(), resumable=True)()
    assert stopped.value.code == 130
    last_line = capsys.readouterr().err.splitlines()[-1]
    start = "Interrupted. To resume: "
    assert last_line.startswith(start)
    # As a shell reads it, --resume once.
    assert shlex.split(last_line[len(start) :]) == [
        *(
            "python",
            "code/trainer.py",
            "--csv_path",
            "my data/it's $1.csv",
            "--lr",
            "0.1",
            "--resume",
        )
    ]


def test_ctrl_c_where_nothing_can_be_resumed(capsys):
    with pytest.raises(SystemExit) as stopped:
        failing(KeyboardInterrupt())([])
    assert stopped.value.code == 130
    assert capsys.readouterr().err == "\nInterrupted.\n"


@cli.reports_errors()
def talkative(done):
    for number in range(3):
        print(f"line {number}, 5 ≤ 6")
        print("an error", file=sys.stderr)
    done.append(True)


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_the_work_goes_on_when_nobody_reads(name, monkeypatch):
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as stream:
        monkeypatch.setattr(sys, name, stream)
        done = []
        talkative(done)
        assert done
        stream.flush()  # as Python does when it ends


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a disk that is always full")
def test_what_does_not_fit_on_the_disk_goes_to_stderr():
    command = "from tests.test_cli import talkative; talkative([])"
    with open("/dev/full", "w") as full:
        finished = subprocess.run(
            [sys.executable, "-c", command],
            cwd=ROOT,
            env={**os.environ, "PYTHONUNBUFFERED": ""},
            stdout=full,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            check=True,
        )
    assert sorted(finished.stderr.splitlines()) == [
        *(["an error"] * 3),
        *(f"line {number}, 5 ≤ 6" for number in range(3)),
    ]


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_the_work_goes_on_when_a_stream_is_closed(name, monkeypatch):
    monkeypatch.setattr(sys, name, None)  # what Python makes of >&-
    done = []
    talkative(done)
    assert done
    getattr(sys, name).close()


def test_a_sign_that_the_terminal_lacks_is_no_error(monkeypatch):
    shown = io.BytesIO()
    stream = io.TextIOWrapper(shown, encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    talkative([])
    assert shown.getvalue().startswith(b"line 0, 5 ? 6\n")  # and at once, not when it ends
