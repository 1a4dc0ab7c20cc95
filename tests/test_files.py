"""How files are written, and that nothing else is lost by it."""

import csv
import os
import threading
from argparse import Namespace

import pandas as pd
import pytest

from common import UserError
from common.basics.files import check_outputs, write_file, write_table


def outputs(**paths):
    return Namespace(image_folder_path="images", **paths)


@pytest.mark.parametrize(("rank", "content"), [("0", b"new"), ("1", b"old")])
def test_of_several_processes_the_first_one_writes(rank, content, tmp_path, monkeypatch):
    for name, value in (("TORCHELASTIC_RUN_ID", "1"), ("WORLD_SIZE", "2"), ("RANK", rank)):
        monkeypatch.setenv(name, value)
    target = tmp_path / "file"
    target.write_bytes(b"old")
    write_file(str(target), b"new")
    assert target.read_bytes() == content


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize(
    ("error", "expected", "message"),
    [
        (OSError(28, "No space left"), UserError, "file: could not be written: No space left"),
        (KeyboardInterrupt(), KeyboardInterrupt, None),
    ],
)
def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    step, error, expected, message, tmp_path, monkeypatch
):
    target = tmp_path / "file"
    target.write_bytes(b"old")

    def fail(*_):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(os, step, fail)
        with pytest.raises(expected, match=message):
            write_file(str(target), b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert target.read_bytes() == b"old"
    write_file(str(target), b"new")
    assert target.read_bytes() == b"new"


def test_two_writes_at_once_do_not_mix(tmp_path, monkeypatch):
    """Both have written their content before either moves it into its place."""
    target = tmp_path / "model.pth"
    both_have_written = threading.Barrier(2, timeout=20)
    replace = os.replace
    moved = []

    def replace_after_both(temporary, to):
        both_have_written.wait()
        moved.append((temporary, temporary.read_bytes()))
        replace(temporary, to)

    monkeypatch.setattr(os, "replace", replace_after_both)
    contents = [b"ours" * 1000, b"theirs" * 1000]
    writers = [threading.Thread(target=write_file, args=(str(target), c)) for c in contents]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len({temporary for temporary, _ in moved}) == 2
    assert sorted(content for _, content in moved) == sorted(contents)
    assert target.read_bytes() == moved[-1][1]
    assert list(tmp_path.iterdir()) == [target]


def test_a_tmp_file_of_the_users_survives(tmp_path):
    (tmp_path / "model.pth.tmp").write_bytes(b"the user's own")
    write_file(str(tmp_path / "model.pth"), b"new")
    assert (tmp_path / "model.pth.tmp").read_bytes() == b"the user's own"
    assert len(list(tmp_path.iterdir())) == 2


def test_a_replaced_file_keeps_its_permissions(tmp_path, monkeypatch):
    """And nobody else may read the new content while it is written."""
    target, modes = tmp_path / "file", []
    monkeypatch.setattr(os, "fsync", lambda file: modes.append(os.fstat(file).st_mode & 0o777))
    target.write_bytes(b"old")
    for mode in (0o600, 0o644):
        target.chmod(mode)
        write_file(str(target), b"new")
        modes.append(target.stat().st_mode & 0o777)
    assert modes == [0o600, 0o600, 0o644, 0o644]


@pytest.mark.parametrize("there", [True, False], ids=["to a file", "to no file yet"])
def test_a_symbolic_link_is_written_through(tmp_path, there):
    (tmp_path / "drive").mkdir()
    if there:
        (tmp_path / "drive" / "model.pth").write_bytes(b"old")
    link = tmp_path / "model.pth"
    link.symlink_to("drive/model.pth")
    check_outputs(outputs(model_save_path=str(link)))
    write_file(str(link), b"new")
    assert link.is_symlink()
    assert (tmp_path / "drive" / "model.pth").read_bytes() == b"new"
    assert [path.name for path in (tmp_path / "drive").iterdir()] == ["model.pth"]


@pytest.mark.parametrize("name", ["Schädel €, [a] b's (1)", "x" * 255])
def test_unusual_names_are_written(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check_outputs(outputs(model_save_path=name))
    write_file(name, b"new")
    assert (tmp_path / name).read_bytes() == b"new"


@pytest.mark.parametrize(
    ("locked", "message"), [(".", "cannot be written to"), ("model.pth", "is write-protected")]
)
def test_what_may_not_be_written_is_refused(locked, message, tmp_path, monkeypatch):
    locked = os.path.realpath(tmp_path / locked)
    monkeypatch.setattr(os, "access", lambda path, mode: path != locked)  # root may write anywhere
    (tmp_path / "model.pth").touch()
    with pytest.raises(UserError, match=f"model.pth: .*{message}"):
        check_outputs(outputs(model_save_path=str(tmp_path / "model.pth")))


def test_a_table_keeps_every_digit(tmp_path):
    table = pd.DataFrame({"name": ["a,b", 'c"d'], "value": [0.1 + 0.2, 1 / 3]})
    write_table(table, str(tmp_path / "table.csv"))
    content = (tmp_path / "table.csv").read_bytes()
    assert b"\r" not in content
    header, *rows = csv.reader(content.decode().splitlines())
    assert header == ["name", "value"]
    assert [(name, float(value)) for name, value in rows] == [("a,b", 0.1 + 0.2), ('c"d', 1 / 3)]
