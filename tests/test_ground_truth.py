"""The ground-truth CSV: which files are read, what is refused, and the report's split."""

import gzip
import hashlib
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from common import UserError
from common.ground_truth import (
    COLUMNS,
    find_subjects,
    has_landmarks,
    image_table,
    landmark_columns,
    landmark_values,
    numbers,
    plain_name,
    read_cells,
    read_ground_truth,
    split_ground_truth,
)

ALL_COLUMNS = [*COLUMNS, "px_to_mm_rate", "SubjectID"]
HEADER = "image_name,ofd_1_x,ofd_1_y,ofd_2_x,ofd_2_y,bpd_1_x,bpd_1_y,bpd_2_x,bpd_2_y"
ANOTHER_HEADER = "image_name,ofd_x1,ofd_y1,ofd_x2,ofd_y2,bpd_x1,bpd_y1,bpd_x2,bpd_y2"
LANDMARK_COLUMNS = HEADER.replace(",", ", ")[len("image_name, ") :]
ROW = "a.png,1,2,3,4,5,6,7,8"
VALUES = [1, 2, 3, 4, 5, 6, 7, 8]

# The report's split of 622 rows: SHA-256 of the comma-joined row numbers, in order.
SPLIT_SHA256 = {
    "train": "d22b6db999c88a4d1299f7d7ef3ef7dac8ac6c3e5f5894c788a8251eecb34e91",
    "val": "a763d037bc6295cbc58e26959ec3c2ff62d9a42a12a625a147d7f1a0c4cf9466",
    "test": "cf5214d01b95a64f73d52d66580d924d9255c0a945ad5afdfcc5da3e1d9b00ea",
}


def write_csv(folder, text, name="ground_truth.csv"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def sizes(splits):
    return {name: len(split) for name, split in splits.items()}


def test_split_is_the_reports():
    splits = split_ground_truth(pd.DataFrame({"row": range(622)}))
    assert sizes(splits) == {"train": 497, "val": 62, "test": 63}
    assert splits["test"]["row"].tolist()[:6] == [247, 577, 585, 353, 383, 213]
    for name, split in splits.items():
        joined = ",".join(map(str, split["row"]))
        assert hashlib.sha256(joined.encode()).hexdigest() == SPLIT_SHA256[name]


def subjects_table(names, subjects=None):
    table = pd.DataFrame({"image_name": names})
    return table if subjects is None else table.assign(SubjectID=subjects)


@pytest.mark.parametrize(
    ("names", "subjects", "expected"),
    [
        (["010_HC.png", "010_2HC.png", "011_3HC.PNG"], None, ["010", "010", "011"]),
        (["a/010_HC.png", "b/010_HC.png"], None, ["a/010", "b/010"]),
        (["010_HC.png", "10_HC"], None, None),
        (["010_HC.png", "head_HC.png"], None, None),
        (["010_HC.png", "010_2aHC.png"], None, None),
        (["010_HC.png", "010_HC.old.png"], None, None),
        (["010_HC.png", "010_2HC.png"], ["A", "B"], ["A", "B"]),
        (["010_HC.png", "010_2HC.png"], ["", ""], ["010", "010"]),
        (["010_HC.png", "010_2HC.png"], ["A", ""], ["A", ""]),
        (["x.png", "y.png"], ["NA", "0"], ["NA", "0"]),  # initials
    ],
)
def test_subjects_are_told_by_their_column_or_by_names_such_as_010_2HC(names, subjects, expected):
    found = find_subjects(subjects_table(names, subjects))
    assert (None if found is None else found.tolist()) == expected
    if found is not None:
        assert found.name == ("SubjectID" if found[0] in ("A", "NA") else "image_name")


def test_split_by_subject_keeps_a_subject_together():
    # 100 subjects with one to four images each, in an order of no meaning
    owners = np.random.default_rng(0).permutation([i for i in range(100) for _ in range(i % 4 + 1)])
    table = subjects_table([f"{i}.png" for i in range(len(owners))], [f"P{i:03d}" for i in owners])
    splits = split_ground_truth(table, "subject")
    subjects = [set(split["SubjectID"]) for split in splits.values()]
    assert [len(each) for each in subjects] == [80, 10, 10]
    assert set.union(*subjects) == set(table["SubjectID"])  # 100: so no two have one in common
    assert sorted(pd.concat(splits.values()).index) == list(range(len(table)))
    for name, again in split_ground_truth(table, "subject").items():
        assert splits[name].equals(again)


def test_split_needs_six_rows_or_six_known_subjects():
    names = [f"{i}_HC.png" for i in range(6)]
    for split_by in ("image", "subject"):
        splits = split_ground_truth(subjects_table(names), split_by)
        assert sizes(splits) == {"train": 4, "val": 1, "test": 1}
    with pytest.raises(UserError, match=r"^mine.csv: has 5 images, .* at least 6.*--split all"):
        split_ground_truth(subjects_table(names[:5]), source="mine.csv")
    with pytest.raises(UserError, match="5 subjects"):
        split_ground_truth(subjects_table([*names[:5], "4_2HC.png"]), "subject")


def test_landmark_values_are_in_the_order_of_landmarks_and_columns():
    table = pd.DataFrame([["a.png", *VALUES]], columns=list(COLUMNS))[list(reversed(COLUMNS))]
    assert landmark_values(table, "x", "y").tolist() == [[[1, 2], [3, 4], [5, 6], [7, 8]]]
    assert landmark_values(table, "y").tolist() == [[[2], [4], [6], [8]]]


def test_landmark_columns_are_what_landmark_values_reads():
    values = np.arange(24.0).reshape(3, 4, 2)
    table = pd.DataFrame(landmark_columns({"b": values[..., 1], "a": values[..., 0]}))
    assert table.columns.tolist()[:3] == ["ofd_1_b", "ofd_1_a", "ofd_2_b"]
    assert landmark_values(table, "a", "b").tolist() == values.tolist()


@pytest.mark.parametrize(
    "text",
    [
        f"\ufeff{HEADER}\r\n{ROW}\r\n",
        f"\r\n\n{HEADER}\n\n{ROW}\n\n,,,,,,,,\n , ,,,,,,,\n",
        f"\ufeff\n{HEADER}\n{ROW}\n",
        re.sub(r"([^,\n]+)", r'"\1"', f"{HEADER}\n{ROW}\n"),
        f"{HEADER},gestation\na.png,1.0,2.0,3.0,4.0,5.0,6.0,7.0,8.0,20w3d",
        # By position, this would exchange OFD and BPD.
        "BPD_1_X,BPD_1_Y,BPD_2_X,BPD_2_Y,id,OFD_1_X,OFD_1_Y,OFD_2_X,OFD_2_Y,Image_Name\n"
        "5,6,7,8,x,1,2,3,4,a.png\n",
        f"Image Name, OFD-1 X,ofd1_y,OFD 2_x,Ofd-2-Y,BPD 1 X,bpd1y,BPD_2_X ,bpd-2-y\n{ROW}\n",
        f"{HEADER}\n{ROW}\n".replace(",", ", ").replace(" 3,", "\xa03\xa0,"),
    ],
    ids=[
        "BOM",
        "empty lines",
        "BOM and empty line",
        "quotes",
        "floats",
        "another order",
        "hyphens",
        "spaces",
    ],
)
def test_columns_are_found_by_name(tmp_path, capsys, text):
    table = read_ground_truth(write_csv(tmp_path, text))
    assert table.columns.tolist() == ALL_COLUMNS
    row = ["a.png", *VALUES, pytest.approx(np.nan, nan_ok=True), ""]
    assert table.to_numpy().tolist() == [row]
    assert capsys.readouterr().out == ""


def test_a_landmark_may_be_unknown_and_a_name_may_be_odd(tmp_path):
    rows = '"a, b.png",,,3,4,5,6,7,8\nNA,NA,nan,,,5,6, , \n1,-1,2,,,,,,\n'
    table = read_ground_truth(write_csv(tmp_path, f"{HEADER}\n{rows}"))
    assert table["image_name"].tolist() == ["a, b.png", "NA", "1"]
    values = landmark_values(table, "x", "y")
    assert np.isnan(values).all(axis=2).tolist() == [
        [True, False, False, False],
        [True, True, False, True],
        [False, True, True, True],
    ]
    assert values[2, 0].tolist() == [-1, 2]  # may lie just outside: its image will tell
    assert values[0, 1:].tolist() == [[3, 4], [5, 6], [7, 8]]


def test_a_landmark_on_one_border_may_lie_just_outside_of_the_other(tmp_path):
    table = read_ground_truth(write_csv(tmp_path, f"{HEADER}\na.png,0,-1,-2,0,5,6,7,8\n"))
    assert landmark_values(table, "x", "y")[0, :2].tolist() == [[0, -1], [-2, 0]]


def test_all_eight_columns_may_be_missing(tmp_path):
    path = write_csv(tmp_path, "px_to_mm_rate,Pixel size(mm),Image Name\n0.1,0.2,a.png\n")
    table = read_ground_truth(path)
    assert table.columns.tolist() == ALL_COLUMNS
    assert table["image_name"].tolist() == ["a.png"]
    assert table["px_to_mm_rate"].tolist() == [0.1]
    assert not has_landmarks(table).any()


def test_an_empty_subject_is_refused_where_the_split_is_by_subject(tmp_path):
    """Or all of them, where not all names tell who it is."""
    table = subjects_table([f"{i}_HC.png" for i in range(8)], [*"ABCDEF", "", ""])
    with pytest.raises(UserError, match=r"^mine.csv: 2 problems\n  row 7: no SubjectID"):
        split_ground_truth(table, "subject", "mine.csv")
    table = subjects_table(["0_HC.png", "head.png"])
    message = r"^mine.csv: 2 problems\n  row 1: no SubjectID, and not all names are like 010_HC"
    with pytest.raises(UserError, match=message):
        split_ground_truth(table, "subject", "mine.csv")


def test_scale_and_subject_are_kept(tmp_path):
    text = f"SubjectID,{HEADER},px_to_mm_rate,Plane\n 07.0 ,{ROW},0.125,TT\nP,{ROW.upper()}, ,TT\n"
    table = read_ground_truth(write_csv(tmp_path, text))
    assert table["SubjectID"].tolist() == ["07", "P"]
    assert table["px_to_mm_rate"].tolist() == [0.125, pytest.approx(np.nan, nan_ok=True)]
    renamed = text.replace("SubjectID", "subject id").replace("px_to_mm_rate", "PX to MM-rate")
    assert table.equals(read_ground_truth(write_csv(tmp_path, renamed)))
    nobody = text.replace(" 07.0 ", "NA").replace("\nP", "\nnan")
    assert read_ground_truth(write_csv(tmp_path, nobody))["SubjectID"].tolist() == ["", ""]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a CSV file with commas: No columns to parse"),
        (HEADER, "no rows below the header"),
        (",,\n", "no rows below the header"),
        (f"{ROW}\n{ROW}\n", f"no column named {', '.join(COLUMNS)}; its first line is: {ROW}"),
        (f"{HEADER}\n{ROW},9\n", "saw 10"),
        (f"sep=,\n{HEADER}\n{ROW}\n", "saw 9; its first line is: sep=,"),
        (f"{HEADER}\n{ROW}\n".replace(",", ";"), "its first line is: image_name;ofd_1_x;"),
        (f"{HEADER.replace('bpd_2_y', 'bpd_2_z')}\n{ROW}\n", "no column named bpd_2_y"),
        # Landmarks under other names are no list of images, and a list needs no landmarks.
        (f"{ANOTHER_HEADER}\n{ROW}\n", f"named {LANDMARK_COLUMNS}; its first line is: image_name"),
        ("image_name,B-P D\na.png,1\n", f"named {LANDMARK_COLUMNS}; its first line is: image_name"),
        ("filename,pixel size(mm)\na.png,0.1\n", "named image_name; its first line is: filename,p"),
        (f"{HEADER},OFD 1 X\n{ROW},1\n", "more than one column named ofd_1_x"),
        (f"{HEADER}\na.png,1,2,3,4,5,6,7,left\n", "row 1: a.png: bpd_2_y is 'left'"),
        (f"{HEADER}\na.png,1,2,3,4,5,6,7\n", "row 1: a.png: BPD-2 has one coordinate only"),
        (f"{HEADER}\na.png,-1,-1,3,4,5,6,7,8\n", "row 1: a.png: OFD-1 lies outside the image; wh"),
        (f"{HEADER}\na.png,1,2,0,0.0,5,6,7,8\n", "row 1: a.png: OFD-2 is (0, 0); where a landmar"),
        (f"{HEADER}\na.png,1,2,3,4,5,6,5,6\n", "row 1: a.png: BPD-1 is where the other end of"),
        (f"{HEADER}\na.png,1,inf,3,4,5,6,7,8\n", "ofd_1_y is 'inf'"),
        (f'{HEADER},Note\n{ROW},fine\nb.{ROW},"not closed\nc.{ROW},"\n', "line 3: a line break in"),
        (f"{HEADER},px_to_mm_rate\n{ROW},0\n", "px_to_mm_rate is '0', not a number above 0"),
        (f"{HEADER}\ns/{ROW}\ns//./{ROW}\n", "row 2: s//./a.png: the name stands in an earlier"),
        (f"{HEADER}\n../{ROW}\n", "leads out of the image folder"),
        (f"{HEADER}\n/{ROW}\n", "leads out of the image folder"),
        (f"{HEADER}\n,1,2,3,4,5,6,7,8\n", "row 1: no image name"),
        (
            f"{HEADER}\n{ROW}\n".encode("utf-16"),
            "not a CSV file with commas: 'utf-8' codec",
        ),
    ],
)
def test_a_bad_file_is_named(tmp_path, text, message):
    path = write_csv(tmp_path, text)
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        read_ground_truth(path)
    assert str(caught.value).startswith(path)


NORMALISED = "a.png,0,0.25,0.5,1.5,,,0.25,0.75"


@pytest.mark.parametrize(
    ("row", "low", "high"),
    [
        (NORMALISED, "0", "1.5"),
        (NORMALISED.replace("a.png,0,", "a.png,-0.004,"), "-0.004", "1.5"),
        (NORMALISED.replace("a.png,0,", "a.png,-0.1,"), "-0.1", "1.5"),
    ],
)
def test_a_file_that_is_normalised_throughout_is_refused_in_one_line(tmp_path, row, low, high):
    path = write_csv(tmp_path, f"{HEADER}\n{row}\nb.png,,,,,,,,\n")
    with pytest.raises(UserError) as caught:
        read_ground_truth(path)
    assert str(caught.value) == (
        f"{path}: all coordinates lie between {low} and {high}, so they are normalised (0 to 1); "
        "px of the original image are expected: multiply x by the width and y by the height of the "
        "image"
    )


@pytest.mark.parametrize(
    ("coordinates", "axes"),
    [
        ("0.5,0.1,0.5,0.9,0.2,0.5,0.8,0.5", "xy"),
        ("-0.1,1.5,0.5,0.9,0.2,0.5,0.8,0.5", "xy"),
        ("0.5,0.1,0.5,0.9,0.2,0.5,1.6,0.5", "y"),
        ("0.5,0.1,0.5,0.9,-0.11,0.5,0.8,0.5", "y"),
        ("0.5,10,0.5,90,0.2,50,0.8,50", "x"),
        ("50,0.1,50,0.9,20,0.5,80,0.5", "y"),
        ("0.5,0.1,0.5,0.9,,,,", "xy"),
        ("0.5,0.1,0.5,0.9,0.2,0.5,1.6,1.6", ""),
        ("0.5,0.1,0.5,0.9,0.2,0.5,-0.11,-0.11", "outside"),
        ("0,0.5,1,90,1.5,50,80,50", ""),  # px: the head of which three ends lie at the border
        ("0.5,0.1,,,,,,", ""),  # one end tells nothing
        (",,,,,,,", ""),
    ],
)
def test_a_row_whose_x_or_y_is_normalised_at_every_end_is_refused_among_rows_in_px(
    tmp_path, coordinates, axes
):
    path = write_csv(tmp_path, f"{HEADER}\n{ROW}\nb.png,{coordinates}\nc{ROW}\n")
    if not axes:
        assert len(read_ground_truth(path)) == 3
        return
    with pytest.raises(UserError) as caught:
        read_ground_truth(path)
    if axes == "outside":
        assert "row 2: b.png: BPD-2 lies outside the image" in str(caught.value)
        return
    lines = re.findall("row .*", str(caught.value))
    assert lines == [
        f"row 2: b.png: {axis} lies between -0.1 and 1.5 at every end, as if normalised (0 to 1); "
        "px of the original image are expected"
        for axis in axes
    ]


def test_files_without_coordinates_or_of_nothing_but_zeros_are_not_called_normalised(tmp_path):
    assert len(read_ground_truth(write_csv(tmp_path, f"{HEADER}\nb.png,,,,,,,,\n"))) == 1
    with pytest.raises(UserError, match=r"OFD-1 is \(0, 0\)"):
        read_ground_truth(write_csv(tmp_path, f"{HEADER}\na.png,0,0,,,,,,\n"))


NO_NUMBERS = ("1_000", "１２", "True", "0x10", "1e", "1 000", "٣", "−5", "5%", "1f", "left")


@pytest.mark.parametrize("others", [[], ["2.5"], ["left"]], ids=["alone", "a number", "a word"])
@pytest.mark.parametrize(
    ("cell", "value"),
    [("5", 5), ("-0.5", -0.5), ("+5", 5), (".5", 0.5), ("5.", 5), ("1e3", 1000), ("007", 7)],
)
def test_numbers_are_read_whatever_stands_in_other_rows(cell, value, others):
    assert numbers(pd.DataFrame({"a": [cell, *others]})).iloc[0, 0] == value


@pytest.mark.parametrize("cell", [*NO_NUMBERS, "inf", "-Infinity", "1e999"])
@pytest.mark.parametrize("column", ["ofd_1_x", "px_to_mm_rate"])
def test_what_only_some_readers_take_for_a_number_is_refused(tmp_path, cell, column):
    """pandas differs from one version to the next, and Python takes some of them."""
    text = f"{HEADER},px_to_mm_rate\n{ROW},0.1\nb{ROW},0.1\n"
    text = text.replace("ba.png,1,", f"ba.png,{cell},")
    if column == "px_to_mm_rate":
        text = f"{HEADER},px_to_mm_rate\n{ROW},0.1\nb{ROW},{cell}\n"
    with pytest.raises(UserError, match=re.escape(f"row 2: ba.png: {column} is '{cell}', not a n")):
        read_ground_truth(write_csv(tmp_path, text))


@pytest.mark.parametrize("cell", ["NA", "na", "nan", "NaN", "", " "])
def test_a_pixel_size_may_be_unknown(tmp_path, cell):
    path = write_csv(tmp_path, f"{HEADER},px_to_mm_rate\n{ROW},{cell}\nb{ROW},0.1\n")
    assert read_ground_truth(path)["px_to_mm_rate"].tolist() == [
        pytest.approx(np.nan, nan_ok=True),
        0.1,
    ]


def test_all_cells_of_a_file_are_kept_as_text_under_the_names_in_its_header(tmp_path):
    """Empty names and doubles too, and rows that are short; the lines of nothing but commas go."""
    cells = read_cells(write_csv(tmp_path, ",,,\nb , a,,a\n,,,\n 1,NA\n,, x ,0.10\n,,,\n"))
    assert cells.columns.tolist() == ["b", "a", "", "a"]
    assert cells.to_numpy().tolist() == [["1", "NA", "", ""], ["", "", "x", "0.10"]]
    assert cells.index.tolist() == [0, 1]


def test_a_name_has_one_spelling():
    assert plain_name("./a.png") == plain_name("b/../a.png") == plain_name("a.png") == "a.png"
    assert plain_name("s//a\u0308.png") == plain_name("s/\u00e4.png")
    assert plain_name("A.png") != plain_name("a.png")


def test_images_without_a_file_have_a_table_without_coordinates():
    table = image_table(["b.png", "a.png"], "images")
    assert table.columns.tolist() == ALL_COLUMNS
    assert table["image_name"].tolist() == ["b.png", "a.png"]
    assert not has_landmarks(table).any()
    with pytest.raises(UserError, match=r"^images: row 2: .*not UTF-8$"):
        image_table(["a.png", "\udcff.png"], "images")


def test_a_ground_truth_is_a_local_file_as_it_is(tmp_path):
    """pandas by itself would unpack the archive and fetch the URL. A folder is refused, too."""
    text = f"{HEADER}\n{ROW}\n"
    url = Path(write_csv(tmp_path, text)).as_uri()
    for path in (write_csv(tmp_path, gzip.compress(text.encode()), "a.csv.gz"), url, str(tmp_path)):
        with pytest.raises(UserError, match=f"^{re.escape(path)}: "):
            read_ground_truth(path)


def test_control_characters_do_not_reach_the_terminal(tmp_path):
    rows = [
        f"\x1b[31m{ROW}",  # ESC: red, until the next change
        f"\x9b31m{ROW}",  # the same in one character
        f"\x7f{ROW}",
        f"../\x1b[31m{ROW}",
        f"\x1b[32m{ROW}".replace(",8", ",left"),  # the other problem of the row names it too
        ROW.replace(",8", ",\x1b[31m\x9b8"),
    ]
    with pytest.raises(UserError) as caught:
        read_ground_truth(write_csv(tmp_path, "\n".join([HEADER, *rows])))
    first, *lines = str(caught.value).split("\n")
    assert first.endswith("7 problems")
    assert [line[:9] for line in lines] == [f"  row {row}: " for row in (1, 2, 3, 4, 5, 5, 6)]
    assert re.findall(r"[\x00-\x1f\x7f-\x9f]", "".join(lines)) == []


def test_all_problems_are_told_at_once(tmp_path):
    rows = "\n".join(f"{i}.png,-1,-2,3,4,5,6,7,8" for i in range(23))
    with pytest.raises(UserError) as caught:
        read_ground_truth(write_csv(tmp_path, f"{HEADER}\n{rows}\n"))
    lines = str(caught.value).splitlines()
    assert "23 problems" in lines[0]
    assert len(lines) == 1 + 20 + 1
    assert "and 3 more" in lines[-1]


@pytest.mark.parametrize("end", ["OFD", "BPD"])
def test_a_diameter_of_one_point_is_named_in_a_row_among_good_ones(tmp_path, end):
    one_point = {"OFD": "b.png,1,2,1,2,5,6,7,8", "BPD": "b.png,1,2,3,4,5,6,5,6"}[end]
    path = write_csv(tmp_path, f"{HEADER}\n{ROW}\n{one_point}\nc{ROW}\n")
    message = f"{path}: row 2: b.png: {end}-1 is where the other end of the diameter is"
    with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
        read_ground_truth(path)


def test_a_list_of_images_may_have_a_column_whose_name_only_contains_that_of_a_diameter(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text("image_name,date_of_delivery\na.png,2026-01-01\n")
    assert not has_landmarks(read_ground_truth(str(path))).any()
