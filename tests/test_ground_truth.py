import gzip
import hashlib
import io
import re
import zipfile

import numpy as np
import pandas as pd
import pytest

from common import UserError
from common.ground_truth import (
    COLUMNS,
    find_subjects,
    landmark_values,
    read_ground_truth,
    split_ground_truth,
    subjects_in_training,
)

HEADER = "image_name,ofd_1_x,ofd_1_y,ofd_2_x,ofd_2_y,bpd_1_x,bpd_1_y,bpd_2_x,bpd_2_y"
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


def test_split_needs_six_rows():
    splits = split_ground_truth(pd.DataFrame({"row": range(6)}))
    assert sizes(splits) == {"train": 4, "val": 1, "test": 1}
    with pytest.raises(UserError, match="5 rows"):
        split_ground_truth(pd.DataFrame({"row": range(5)}))


def subjects_table(names, subjects=None):
    table = pd.DataFrame({"image_name": names})
    return table if subjects is None else table.assign(SubjectID=subjects)


@pytest.mark.parametrize(
    ("names", "subjects", "expected"),
    [
        (["010_HC.png", "010_2HC.png", "011_3HC.PNG"], None, ["010", "010", "011"]),
        (["a/010_HC.png", "b/010_HC.png"], None, ["a/010", "b/010"]),
        (["010_HC.png", "head.png"], None, None),
        (["010_HC.png", "10_HC"], None, None),
        (["010_HC.png", "head_HC.png"], None, None),
        (["010_HC.png", "010_2aHC.png"], None, None),
        (["010_HC.png", "010_HC.old.png"], None, None),
        (["x.png", "y.png", "z.png"], ["A", "B", "A"], ["A", "B", "A"]),
        (["010_HC.png", "010_2HC.png"], ["A", "B"], ["A", "B"]),
        (["010_HC.png", "010_2HC.png"], ["", ""], ["010", "010"]),
        (["x.png", "y.png"], ["A", ""], None),
        # What stands for "not known" would make one person of strangers.
        (["x.png", "y.png"], ["NA", "NA"], None),
        (["x.png", "y.png"], ["unknown", "A"], None),
        (["x.png", "y.png"], ["N/A", "nan"], None),
        (["010_HC.png", "011_HC.png"], ["Unknown", "Unknown"], ["010", "011"]),
        (["x.png", "y.png"], ["Nadia", "0"], ["Nadia", "0"]),
    ],
)
def test_subjects(names, subjects, expected):
    found = find_subjects(subjects_table(names, subjects))
    assert (None if found is None else found.tolist()) == expected


def test_split_by_subject_keeps_a_subject_together():
    # 100 subjects with one to four images each, in an order of no meaning
    owners = np.random.default_rng(0).permutation([i for i in range(100) for _ in range(i % 4 + 1)])
    table = subjects_table([f"{i}.png" for i in range(len(owners))], [f"P{i:03d}" for i in owners])
    splits = split_ground_truth(table, "subject")
    subjects = [set(split["SubjectID"]) for split in splits.values()]
    assert [len(each) for each in subjects] == [80, 10, 10]
    assert set.union(*subjects) == set(table["SubjectID"])  # 100: so no two have one in common
    assert sorted(pd.concat(splits.values()).index) == list(range(len(table)))
    assert not any(seen.any() for seen in subjects_in_training(splits).values())
    for name, again in split_ground_truth(table, "subject").items():
        assert splits[name].equals(again)


def test_split_by_subject_needs_to_know_six_subjects():
    names = [f"{i}_HC.png" for i in range(5)]
    with pytest.raises(UserError, match="5 subjects"):
        split_ground_truth(subjects_table([*names, "4_2HC.png"]), "subject")
    splits = split_ground_truth(subjects_table([*names, "5_2HC.png"]), "subject")
    assert sizes(splits) == {"train": 4, "val": 1, "test": 1}
    with pytest.raises(UserError, match="nothing says who is on each image") as raised:
        split_ground_truth(subjects_table([*names, "head.png"]), "subject")
    assert "\n" not in str(raised.value)


def test_subjects_in_training():
    names = ["001_HC.png", "002_HC.png", "001_2HC.png", "003_HC.png", "002_3HC.png", "004_HC.png"]
    table = subjects_table(names)
    splits = {"train": table[:2], "val": table[2:4], "test": table[4:]}
    seen = subjects_in_training(splits)
    assert {name: rows.to_dict() for name, rows in seen.items()} == {
        "val": {2: True, 3: False},
        "test": {4: True, 5: False},
    }
    assert subjects_in_training({"all": table}) == {}
    splits["train"] = splits["train"].replace("001_HC.png", "head.png")
    assert subjects_in_training(splits) == {}


def test_landmark_values_are_in_the_order_of_landmarks_and_columns():
    table = pd.DataFrame([["a.png", *VALUES]], columns=list(COLUMNS))[list(reversed(COLUMNS))]
    assert landmark_values(table, "x", "y").tolist() == [[[1, 2], [3, 4], [5, 6], [7, 8]]]
    assert landmark_values(table, "y").tolist() == [[[2], [4], [6], [8]]]


@pytest.mark.parametrize(
    "text",
    [
        f"{HEADER}\n{ROW}\n",
        f"{HEADER}\r\n{ROW}\r\n",
        f"\ufeff{HEADER}\r\n{ROW}\r\n",
        f"{HEADER}\n\n{ROW}\n\n",
        f"{HEADER}\na.png,1.0,2.0,3.0,4.0,5.0,6.0,7.0,8.0",
        re.sub(r"([^,\n]+)", r'"\1"', f"{HEADER}\n{ROW}\n"),
        f"{HEADER},gestation\n{ROW},20w3d\n",
        "bpd_2_y,bpd_2_x,bpd_1_y,bpd_1_x,id,ofd_2_y,ofd_2_x,ofd_1_y,ofd_1_x,image_name\n"
        "8,7,6,5,x,4,3,2,1,a.png\n",
        # By position, this would exchange OFD and BPD.
        "Image_Name,BPD_1_X,BPD_1_Y,BPD_2_X,BPD_2_Y,OFD_1_X,OFD_1_Y,OFD_2_X,OFD_2_Y\n"
        "a.png,5,6,7,8,1,2,3,4\n",
        f"Image Name, OFD-1 X,ofd1_y,OFD 2_x,Ofd-2-Y,BPD 1 X,bpd1y,BPD_2_X ,bpd-2-y\n{ROW}\n",
        f"{HEADER}\n{ROW}\n".replace(",", ", "),
    ],
    ids=[
        *("plain", "CRLF", "byte-order mark", "blank lines", "floats", "quotes"),
        *("further column", "another order", "another case", "hyphens", "spaces"),
    ],
)
def test_columns_are_found_by_name(tmp_path, capsys, text):
    table = read_ground_truth(write_csv(tmp_path, text))
    assert table.columns.tolist() == HEADER.split(",")
    assert table.to_numpy().tolist() == [["a.png", *VALUES]]
    assert capsys.readouterr().out == ""


def test_names_may_be_odd(tmp_path):
    names = ["sub/a b.png", "Kopf (1) [ä].png", "a,b.png", "1.png", "NA", "$x$.png"]
    rows = "".join(f'"{name}",1,2,3,4,5,6,7,8\n' for name in names)
    table = read_ground_truth(write_csv(tmp_path, f"{HEADER}\n{rows}"))
    assert table["image_name"].tolist() == names


def test_scale_and_subject_are_kept(tmp_path):
    text = f"SubjectID,{HEADER},px_to_mm_rate,Plane\n 007 ,{ROW},0.125,TT\nP,{ROW.upper()}, ,TT\n"
    table = read_ground_truth(write_csv(tmp_path, text))
    assert table.columns.tolist() == [*HEADER.split(","), "px_to_mm_rate", "SubjectID"]
    assert table["SubjectID"].tolist() == ["007", "P"]
    assert table["px_to_mm_rate"].tolist() == [0.125, pytest.approx(np.nan, nan_ok=True)]
    renamed = text.replace("SubjectID", "subject id").replace("px_to_mm_rate", "PX to MM-rate")
    assert table.equals(read_ground_truth(write_csv(tmp_path, renamed)))


def test_a_file_without_a_header_is_read_by_position(tmp_path, capsys):
    table = read_ground_truth(write_csv(tmp_path, f"{ROW}\nb.png,8,7,6,5,4,3,2,1\n"))
    assert table.to_numpy().tolist() == [["a.png", *VALUES], ["b.png", *VALUES[::-1]]]
    assert "no header, read by position" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        (HEADER, "no rows"),
        ("a,b\n1,2\n", "none of the columns"),
        (f"file,a,b,c,d,e,f,g,h\n{ROW}\n", "none of the columns"),
        (f"{HEADER}\n{ROW},9\n", "not a CSV"),
        (f"{HEADER.replace('bpd_2_y', 'bpd_2_z')}\n{ROW}\n", "no column named bpd_2_y"),
        (f"{HEADER},OFD 1 X\n{ROW},1\n", "more than one column named ofd_1_x"),
        (f"{HEADER},SubjectID,Subject_ID\n{ROW},1,2\n", "more than one column named SubjectID"),
        # Not a header, or this row would be left out without a word.
        ("a.png,1,2,3,4,5,6,7,left\nb.png,1,2,3,4,5,6,7,8\n", "row 1: a.png: bpd_2_y is 'left'"),
        (f"{HEADER}\na.png,1,2,3,4,5,6,7,left\n", "row 1: a.png: bpd_2_y is 'left'"),
        (f"{HEADER}\na.png,1,2,3,4,5,6,7\n", "row 1: a.png: bpd_2_y"),
        (f"{HEADER}\n{ROW}\nb.png,nan,2,3,4,5,6,7,8\n", "row 2: b.png: ofd_1_x is 'nan'"),
        (f"{HEADER}\na.png,1,inf,3,4,5,6,7,8\n", "ofd_1_y is 'inf'"),
        (f"{HEADER}\na.png,1,-2,3,4,5,6,7,8\n", "ofd_1_y is '-2', not a number from 0"),
        (f"{HEADER},px_to_mm_rate\n{ROW},0\n", "px_to_mm_rate is '0', not a number above 0"),
        (f"{HEADER}\n{ROW}\n{ROW}\n", "row 2: a.png: the name stands in an earlier row"),
        (f"{HEADER}\n{ROW}\n./{ROW}\n", "row 2: ./a.png: the name stands in an earlier row"),
        (f"{HEADER}\ns/{ROW}\ns//./{ROW}\n", "row 2: s//./a.png: the name stands in an earlier"),
        (f"{HEADER}\n../{ROW}\n", "leads out of the image folder"),
        (f"{HEADER}\n/{ROW}\n", "leads out of the image folder"),
        (f"{HEADER}\n,1,2,3,4,5,6,7,8\n", "row 1: no image name"),
        (
            "ofd_1_x,ofd_1_y,ofd_2_x,ofd_2_y,bpd_1_x,bpd_1_y,bpd_2_x,bpd_2_y,image_name\n1,2\n",
            "no image name",
        ),
        (b"\x89PNG\r\n\x1a\n\x00\xff\xfe", "not a CSV"),
        (f"{HEADER}\n{ROW}\n".replace(",", "\t"), "separated by tabs"),
        (f"{HEADER}\n{ROW}\n".replace(",", ";"), "separated by semicolons"),
        # as a German spreadsheet writes 1.5 and 2.5
        (f"{HEADER}\n{ROW}\n".replace(",", ";").replace("1;2", "1,5;2,5"), "semicolons"),
        (f"{HEADER}\n{ROW}\n".encode("utf-16"), "UTF-16"),
        (f"{HEADER}\nä{ROW}\n".encode("latin-1"), "not UTF-8"),
    ],
)
def test_a_bad_file_is_named(tmp_path, text, message):
    path = write_csv(tmp_path, text)
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        read_ground_truth(path)
    assert str(caught.value).startswith(path)


def test_a_ground_truth_is_a_local_file_as_it_is(tmp_path):
    """pandas by itself would unpack the archives and fetch the URL."""
    text = f"{HEADER}\n{ROW}\n"
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("ground_truth.csv", text)
    url = (tmp_path / "ground_truth.csv").as_uri()
    write_csv(tmp_path, text)
    for path in (
        write_csv(tmp_path, gzip.compress(text.encode()), "a.csv.gz"),
        write_csv(tmp_path, gzip.compress(text.encode()), "b.csv"),
        write_csv(tmp_path, archive.getvalue(), "c.zip"),
        str(tmp_path / "nowhere.csv"),
        str(tmp_path),
        url,
        "https://localhost:1/ground_truth.csv",
    ):
        with pytest.raises(UserError) as caught:
            read_ground_truth(path)
        assert str(caught.value).startswith(path)


@pytest.mark.parametrize(
    "row",
    [
        f"\x1b[31m{ROW}",  # ESC: red, until the next change
        f"\x9b31m{ROW}",  # the same in one character
        ROW.replace("a.png", '"a\n.png"'),
        f"a\x07{ROW}",
        f"\x7f{ROW}",
        f"../\x1b[31m{ROW}",
        f"\x1b[31m{ROW}".replace(",8", ",left"),  # the other problem of the row names it too
        ROW.replace(",8", ",\x1b[31m8"),
    ],
)
def test_control_characters_do_not_reach_the_terminal(tmp_path, row):
    with pytest.raises(UserError) as caught:
        read_ground_truth(write_csv(tmp_path, f"{HEADER}\n{row}\n"))
    text = str(caught.value).replace("\n  row 1: ", "row 1: ")  # one line for each problem
    assert "row 1: " in text
    assert re.findall(r"[\x00-\x1f\x7f-\x9f]", text) == []


def test_all_problems_are_told_at_once(tmp_path):
    rows = "\n".join(f"{i}.png,-1,2,3,4,5,6,7,8" for i in range(23))
    with pytest.raises(UserError) as caught:
        read_ground_truth(write_csv(tmp_path, f"{HEADER}\n{rows}\n"))
    lines = str(caught.value).splitlines()
    assert "23 problems" in lines[0]
    assert len(lines) == 1 + 20 + 1
    assert "and 3 more" in lines[-1]
