"""The ends of two diameters get the names that their directions give them."""

from __future__ import annotations

import csv
import itertools
from pathlib import Path

import numpy as np
import pytest

from common.annotation_quality.end_names import (
    describe_end_names,
    order_by_direction,
)
from common.ground_truth import COLUMNS, landmark_values, read_ground_truth
from common.name_ends import main
from tests.conftest import ellipse, files_in, pipe_of, refused, table_of

UPPER, LOWER, LEFT, RIGHT = [300.0, 100.0], [310.0, 300.0], [180.0, 210.0], [430.0, 190.0]
GOOD = [UPPER, LOWER, LEFT, RIGHT]
ENDS = ("ofd_1", "ofd_2", "bpd_1", "bpd_2")


def named_by_direction(*ends):
    """The four ends of one image in the order of their new names."""
    (order,) = order_by_direction(np.array([ends], float))
    return np.array(ends, float)[order]


@pytest.mark.parametrize("turn", [30, 60, 120, 150, 210, 240, 300, 330])
def test_an_ellipse_is_named_alike_whichever_way_it_was_turned(turn):
    """A head of 100 by 80 px, its longer axis turned from level by 30 or 60 degrees, up or down."""
    named = named_by_direction(*ellipse(turn=turn))
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
            assert named_by_direction(*one, *other).tolist() == GOOD


@pytest.mark.filterwarnings("error")
def test_axes_that_are_level_and_upright_are_named_too():
    upright, level = ([200.0, 50.0], [200.0, 250.0]), ([100.0, 150.0], [300.0, 150.0])
    for ends in ((*upright, *level), (*level, *upright), (*level[::-1], *upright[::-1])):
        assert named_by_direction(*ends).tolist() == [*upright, *level]


def test_of_two_equally_steep_diameters_each_keeps_its_name_and_so_do_ends_at_one_height():
    rising = [[100, 300], [300, 100], [400, 300], [600, 100]]
    assert named_by_direction(*rising)[:, 0].tolist() == [300, 100, 400, 600]  # OFD's ends change
    level = [[300, 150], [100, 150], [600, 150], [500, 150]]
    assert named_by_direction(*level)[:, 0].tolist() == [300, 100, 500, 600]  # BPD's ends change


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("missing", range(4))
def test_where_an_end_is_missing_the_others_keep_their_names(missing):
    ends = np.array([LEFT, RIGHT, LOWER, UPPER])
    ends[missing] = np.nan
    assert np.array_equal(named_by_direction(*ends), ends, equal_nan=True)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def name_ends(csv_path="Head.csv"):
    main(["--csv_path", csv_path, "--csv_save_path", "named.csv"])


def write_rows(*rows):
    """Write Head.csv with the first row as its header."""
    with Path("Head.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


def named_rows():
    """The cells of what was written, the header first."""
    with Path("named.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_the_command_writes_the_whole_file_with_other_names(folder, capsys):
    table = table_of([LEFT, RIGHT, LOWER, UPPER], GOOD, [LEFT, RIGHT, LOWER, [np.nan, np.nan]])
    table = table.assign(px_to_mm_rate=0.2, SubjectID=["a", "b", "c"])
    table.to_csv("Head.csv", index=False)
    name_ends()
    printed = capsys.readouterr().out
    assert "1 of 3 images have ends under other names now\n" in printed
    assert "1 images lack a landmark and keep their names\n" in printed
    assert "Table: named.csv\n" in printed
    named = read_ground_truth("named.csv")
    values = landmark_values(named, "x", "y")
    assert values[0].tolist() == values[1].tolist() == GOOD
    assert np.array_equal(values[2, :3], [LEFT, RIGHT, LOWER])
    assert np.isnan(values[2, 3]).all()
    assert named["px_to_mm_rate"].tolist() == [0.2] * 3
    assert named["SubjectID"].tolist() == ["a", "b", "c"]


def test_the_command_counts_an_image_once_whether_two_of_its_names_change_or_all(folder, capsys):
    others = [[LOWER, UPPER, LEFT, RIGHT], [UPPER, LOWER, RIGHT, LEFT], [RIGHT, LEFT, LOWER, UPPER]]
    table_of(GOOD, GOOD, *others).to_csv("Head.csv", index=False)
    name_ends()
    printed = capsys.readouterr().out
    assert "3 of 5 images have ends under other names now\n" in printed
    assert "0 images lack a landmark" in printed
    named = landmark_values(read_ground_truth("named.csv"), "x", "y")
    assert named.tolist() == [GOOD] * 5


def test_what_has_no_new_name_stays_as_it_is_written_in_the_file(folder):
    """The header's spellings and the order of its columns, numbers to the last sign, names in
    Unicode, what is not known, formulas, commas in a cell: of what is there only ends move."""
    header = ["Größe, mm", "BPD 2 Y", "bpd-2-x", "Image-Name", "OFD_1_x", "ofd_1_y"]
    header += ["ofd_2_x", "ofd_2_y", "px to mm rate", "bpd_1_x", "bpd_1_y", "Device"]
    row = ["1,5", "3e2", "310.", "ä.png", "180.00", "2.1e2"]
    row += ["430", "190", "0.10", "+300", "100.0", "=1"]
    kept = ["", "190", "430", "b.png", "300", "100"]
    kept += ["310", "300", "NA", "180", "210", "007"]
    write_rows(header, row, kept)
    name_ends()
    named = ["1,5", "190", "430", "ä.png", "+300", "100.0"]
    named += ["310.", "3e2", "0.10", "180.00", "2.1e2", "=1"]
    assert named_rows() == [header, named, kept]


def test_empty_headers_and_doubles_stay_as_they_are(folder):
    header = ["", *COLUMNS, "note", "note", ""]
    row = ["0", "0.png", *map(str, np.ravel([LEFT, RIGHT, UPPER, LOWER])), "a", "b", "c"]
    write_rows(header, row)
    name_ends()
    expected = ["0", "0.png", *map(str, np.ravel(GOOD)), "a", "b", "c"]
    assert named_rows() == [header, expected]


def with_columns(**others):
    """The rows of a file with one image, all names of which will change, and with other columns:
    each by its name, underscores for the blanks, with its cell."""
    ends = map(str, np.ravel([RIGHT, LEFT, LOWER, UPPER]))  # become BPD-2, BPD-1, OFD-2, OFD-1
    return [*COLUMNS, *others], ["0.png", *ends, *others.values()]


@pytest.mark.parametrize(
    "column",
    ["{}_visible", "{}_pred_x", "{} note", "visible_{}", "Second {} x", "{}"],
)
def test_the_other_columns_of_an_end_move_along_with_its_name(folder, column):
    """In whatever order they stand in the file, and among others that stay."""
    columns = [column.format(end) for end in ENDS]
    cells = dict(zip(columns, ("right", "left", "lower", "upper")))
    shuffled = {name: cells[name] for name in (columns[2], columns[0], columns[3], columns[1])}
    write_rows(*with_columns(first="stays", **shuffled, last="here"))
    name_ends()
    header, row = named_rows()
    assert header == [*COLUMNS, "first", *shuffled, "last"]
    named = dict(zip(header, row))
    assert [named[name] for name in columns] == ["upper", "lower", "left", "right"]
    assert [named["first"], named["last"]] == ["stays", "here"]
    assert row[1:9] == [str(value) for value in np.ravel(GOOD)]


@pytest.mark.parametrize(
    "others",
    [
        ["ofd_1_visible"],  # the other ends lack it
        ["ofd_1_visible", "ofd_2_visible", "bpd_1_visible", "bpd_2 seen"],
        [*(f"{end}_visible" for end in ENDS), "OFD-1 visible"],  # twice
        ["ofd_px"],  # a whole diameter, which may have the other name now
        ["BPD (mm)"],
        ["bpd"],
        ["second_ofd_px"],
        ["visible_bpd_2"],
    ],
)
def test_a_file_is_refused_where_a_column_of_an_end_cannot_move_along(folder, capsys, others):
    write_rows(*with_columns(**dict.fromkeys(others, "1")))
    before = files_in(folder)
    message = f"error: Head.csv: {others[0]}: not every end has one column like it, so it cannot"
    refused(name_ends, capsys, message)
    assert files_in(folder) == before


def test_a_word_in_which_of_d_stands_names_no_diameter(folder):
    others = {"date_of_delivery": "2026-01-01", "Number of days": "3"}
    write_rows(*with_columns(**others))
    name_ends()
    assert named_rows()[1][9:] == [*others.values()]


def test_empty_lines_do_not_shift_the_other_columns(folder):
    header = "Device,image-name,OFD 1 x,ofd_1_y,ofd_2_x,ofd_2_y,bpd_1_x,bpd_1_y,bpd_2_x,bpd_2_y\n"
    rows = [
        "A,0.png,310,300,300,100,180,210,430,190\n",
        "B,1.png,300,100,310,300,180,210,430,190\n",
    ]
    for start in ("", "\n", ",,,,,,,,,\n", "\n\n , ,,,,,,,,\n,,,,,,,,,\n"):
        Path("Head.csv").write_text(
            start + header + rows[0] + ",,,,,,,,,\n\n , ,,,,,,,,\n" + rows[1]
        )
        name_ends()
        named = Path("named.csv").read_text()
        assert named == header + "A,0.png,300,100,310,300,180,210,430,190\n" + rows[1]


def test_a_file_that_is_a_pipe_is_read_once(folder, capsys):
    with pipe_of(table_of([LEFT, RIGHT, LOWER, UPPER])) as path:
        name_ends(path)
    assert "1 of 1 images have ends under other names now" in capsys.readouterr().out
    assert landmark_values(read_ground_truth("named.csv"), "x", "y").tolist() == [GOOD]


def test_a_list_of_images_has_no_ends_to_be_named(folder, capsys):
    write_rows(["image_name", "Device"], ["0.png", "A"])
    name_ends()
    printed = capsys.readouterr().out
    assert "0 of 1 images have ends under other names now\n" in printed
    assert "1 images lack a landmark and keep their names\n" in printed
    assert named_rows() == [["image_name", "Device"], ["0.png", "A"]]


@pytest.mark.parametrize(
    ("given", "target", "message"),
    [
        ("no.csv", "named.csv", "no.csv: cannot be read: No such file"),
        ("bad.csv", "named.csv", "bad.csv: row 1: 0.png: ofd_1_x is 'left', not a number"),
        ("Head.csv", "Head.csv", "csv_path and csv_save_path are the same file"),
        ("Head.csv", "named.txt", "named.txt: must end in .csv"),
    ],
)
def test_a_bad_file_and_a_bad_target_are_refused(folder, capsys, given, target, message):
    table = table_of(GOOD, names=["0.png"])
    table.to_csv("Head.csv", index=False)
    table.astype({"ofd_1_x": object}).replace({"ofd_1_x": {300.0: "left"}}).to_csv(
        "bad.csv", index=False
    )
    before = files_in(folder)
    refused(lambda: main(["--csv_path", given, "--csv_save_path", target]), capsys, message)
    assert files_in(folder) == before


HEAD = [[150, 110], [150, 190], [120, 150], [180, 150]]  # OFD-1 above OFD-2, BPD-1 on the left


def test_the_upper_and_the_left_ends_are_counted_where_both_ends_are_annotated():
    nan = np.nan
    rows = [
        # OFD-1 above OFD-2 (y points down), BPD-1 left of BPD-2
        [50, 10, 50, 90, 20, 50, 80, 50],
        [50, 90, 50, 10, 20, 50, 80, 50],  # OFD-1 below
        [50, 10, 50, 90, 80, 50, 20, 50],  # BPD-1 right
        [10, 50, 90, 50, 50, 20, 50, 80],  # neither above nor left: level, and upright
        [nan, nan, 50, 90, 20, 50, 80, 50],
        [50, 10, 50, 90, 20, 50, nan, nan],
        [50, 10, 50, 90, nan, nan, nan, nan],
    ]
    line = describe_end_names(table_of(*rows))
    counts = "OFD-1 is the upper end in 4 of 6 rows, and BPD-1 the left one in 3 of 5. "
    assert line.startswith(counts)


@pytest.mark.parametrize(
    ("order", "counts"),
    [
        (
            (1, 0, 2, 3),
            "OFD-1 is the upper end in {} of 8 rows, and BPD-1 the left one in 8 of 8. ",
        ),
        (
            (0, 1, 3, 2),
            "OFD-1 is the upper end in 8 of 8 rows, and BPD-1 the left one in {} of 8. ",
        ),
        ((2, 3, 0, 1), "OFD-1 is the upper end in {0} of 8 rows, and BPD-1 the left one in {0} of"),
    ],
    ids=["OFD", "BPD", "OFD and BPD exchanged"],
)
def test_ends_that_less_than_three_quarters_of_the_rows_name_by_direction_are_a_line(order, counts):
    for others, is_said in ((2, False), (3, True), (8, True)):
        table = table_of(*[HEAD] * (8 - others), *[np.array(HEAD)[list(order)]] * others)
        line = describe_end_names(table)
        assert line.startswith(counts.format(8 - others)) is is_said
        assert ("python -m common.name_ends" in line) is is_said
        assert line.count("\n") == is_said
    assert describe_end_names(table_of([np.nan] * 8)) == ""  # nothing is annotated
