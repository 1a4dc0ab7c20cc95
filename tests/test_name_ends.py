"""The ends of two diameters get the names that their directions give them."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from common.ground_truth import landmark_values, read_ground_truth
from common.name_ends import main, name_by_direction
from tests.conftest import ellipse, table_of

UPPER, LOWER, LEFT, RIGHT = [300.0, 100.0], [310.0, 300.0], [180.0, 210.0], [430.0, 190.0]


@pytest.mark.parametrize("turn", [30, 60, 120, 150, 210, 240, 300, 330])
def test_an_ellipse_is_named_alike_whichever_way_it_was_turned(turn):
    """A head of 100 by 80 px, its longer axis turned from level by 30 or 60 degrees, up or down."""
    (named,) = name_by_direction(ellipse(turn=turn)[None])
    upright = [named[1] - named[0], named[3] - named[2]]
    assert upright[0][1] > abs(upright[0][0])  # OFD goes down, and more down than across
    assert upright[1][0] > abs(upright[1][1])  # BPD goes to the right
    # At 30 degrees the longer axis is the more level one, which is BPD here; at 60 it is OFD.
    long_is_level = turn % 180 in (30, 150)
    assert np.linalg.norm(upright, axis=1) == pytest.approx(
        [80, 100] if long_is_level else [100, 80]
    )


def test_all_eight_ways_to_name_four_ends_become_one():
    ofd, bpd = (UPPER, LOWER), (LEFT, RIGHT)
    for first, second in ((ofd, bpd), (bpd, ofd)):
        for one, other in itertools.product((first, first[::-1]), (second, second[::-1])):
            (named,) = name_by_direction(np.array([[*one, *other]]))
            assert named.tolist() == [UPPER, LOWER, LEFT, RIGHT]


@pytest.mark.filterwarnings("error")
def test_axes_that_are_level_and_upright_are_named_too():
    upright, level = ([200.0, 50.0], [200.0, 250.0]), ([100.0, 150.0], [300.0, 150.0])
    for ends in ((*upright, *level), (*level, *upright), (*level[::-1], *upright[::-1])):
        (named,) = name_by_direction(np.array([ends]))
        assert named.tolist() == [*upright, *level]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("missing", range(4))
def test_where_an_end_is_missing_the_others_keep_their_names(missing):
    ends = np.array([LEFT, RIGHT, LOWER, UPPER])
    ends[missing] = np.nan
    (named,) = name_by_direction(ends[None])
    assert np.array_equal(named, ends, equal_nan=True)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_command_writes_the_whole_file_with_other_names(folder, capsys):
    good = [UPPER, LOWER, LEFT, RIGHT]
    table = table_of([LEFT, RIGHT, LOWER, UPPER], good, [LEFT, RIGHT, LOWER, [np.nan, np.nan]])
    table = table.assign(px_to_mm_rate=0.2, SubjectID=["a", "b", "c"], Device=["", "=1", "007"])
    table.to_csv("Head.csv", index=False)
    main(["--csv_path", "Head.csv", "--csv_save_path", "named.csv"])
    printed = capsys.readouterr().out
    assert "1 of 3 images have ends under other names now\n" in printed
    assert "1 images lack a landmark and keep their names\n" in printed
    named = read_ground_truth("named.csv")
    values = landmark_values(named, "x", "y")
    assert values[0].tolist() == values[1].tolist() == good
    assert np.array_equal(values[2, :3], [LEFT, RIGHT, LOWER])
    assert np.isnan(values[2, 3]).all()
    assert named["px_to_mm_rate"].tolist() == [0.2] * 3
    assert named["SubjectID"].tolist() == ["a", "b", "c"]
    assert pd.read_csv("named.csv", dtype=str)["Device"].fillna("").tolist() == ["", "=1", "007"]


def test_the_command_counts_an_image_once_whether_two_of_its_names_change_or_all(folder, capsys):
    good = [UPPER, LOWER, LEFT, RIGHT]
    others = [[LOWER, UPPER, LEFT, RIGHT], [UPPER, LOWER, RIGHT, LEFT], [RIGHT, LEFT, LOWER, UPPER]]
    table_of(good, good, *others).to_csv("Head.csv", index=False)
    main(["--csv_path", "Head.csv", "--csv_save_path", "named.csv"])
    printed = capsys.readouterr().out
    assert "3 of 5 images have ends under other names now\n" in printed
    assert "lack a landmark" not in printed
    named = landmark_values(read_ground_truth("named.csv"), "x", "y")
    assert named.tolist() == [good] * 5


def test_empty_lines_do_not_shift_the_other_columns(folder):
    header = "Device,image-name,OFD 1 x,ofd_1_y,ofd_2_x,ofd_2_y,bpd_1_x,bpd_1_y,bpd_2_x,bpd_2_y\n"
    rows = [
        "A,0.png,300,100,310,300,180,210,430,190\n",
        "B,1.png,300,100,310,300,180,210,430,190\n",
    ]
    Path("Head.csv").write_text("\n" + header + rows[0] + ",,,,,,,,,\n\n , ,,,,,,,,\n" + rows[1])
    main(["--csv_path", "Head.csv", "--csv_save_path", "named.csv"])
    named = pd.read_csv("named.csv")
    assert named["Device"].tolist() == ["A", "B"]
    assert named["image_name"].tolist() == ["0.png", "1.png"]


def test_a_bad_file_and_a_bad_target_are_refused(folder, capsys):
    table_of([UPPER, LOWER, LEFT, RIGHT]).to_csv("Head.csv", index=False)
    before = Path("Head.csv").read_bytes()
    for given, target, message in (
        ("no.csv", "named.csv", "no.csv: no such ground-truth file"),
        ("Head.csv", "Head.csv", "csv_path and csv_save_path are the same file"),
    ):
        with pytest.raises(SystemExit) as stopped:
            main(["--csv_path", given, "--csv_save_path", target])
        assert stopped.value.code == 2
        assert message in capsys.readouterr().err
    assert Path("Head.csv").read_bytes() == before
    assert not Path("named.csv").exists()
