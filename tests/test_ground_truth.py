import hashlib

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from common import UserError
from common.dataset import (
    COLUMNS,
    find_subjects,
    load_images,
    read_ground_truth,
    split_ground_truth,
)
from common.heatmaps import gaussian_heatmaps
from tests.benchmark import PlainDataset

HEADER = "image_name,ofd_1_x,ofd_1_y,ofd_2_x,ofd_2_y,bpd_1_x,bpd_1_y,bpd_2_x,bpd_2_y"
ROW = "a.png,1,2,3,4,5,6,7,8"
VALUES = [1, 2, 3, 4, 5, 6, 7, 8]

# The report's split of 622 rows: SHA-256 of the comma-joined row numbers, in order.
SPLIT_SHA256 = {
    "train": "d22b6db999c88a4d1299f7d7ef3ef7dac8ac6c3e5f5894c788a8251eecb34e91",
    "val": "a763d037bc6295cbc58e26959ec3c2ff62d9a42a12a625a147d7f1a0c4cf9466",
    "test": "cf5214d01b95a64f73d52d66580d924d9255c0a945ad5afdfcc5da3e1d9b00ea",
}


def write_csv(folder, text):
    path = folder / "ground_truth.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def table_of(names, landmarks):
    """A ground truth in which every image has the same landmarks (eight numbers)."""
    return pd.DataFrame([[name, *map(float, landmarks)] for name in names], columns=list(COLUMNS))


def test_split_is_the_reports():
    table = pd.DataFrame({"row": range(622)})
    parts = dict(zip(("train", "val", "test"), split_ground_truth(table)))
    assert [len(part) for part in parts.values()] == [497, 62, 63]
    assert parts["test"]["row"].tolist()[:6] == [247, 577, 585, 353, 383, 213]
    for name, part in parts.items():
        joined = ",".join(map(str, part["row"]))
        assert hashlib.sha256(joined.encode()).hexdigest() == SPLIT_SHA256[name]


def test_split_needs_six_rows():
    assert [len(part) for part in split_ground_truth(pd.DataFrame({"row": range(6)}))] == [4, 1, 1]
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
    ],
)
def test_subjects(names, subjects, expected):
    found = find_subjects(subjects_table(names, subjects))
    assert (None if found is None else found.tolist()) == expected


def test_split_by_subject_keeps_a_subject_together():
    # 100 subjects with one to four images each, in an order of no meaning
    owners = np.random.default_rng(0).permutation([i for i in range(100) for _ in range(i % 4 + 1)])
    table = subjects_table([f"{i}.png" for i in range(len(owners))], [f"P{i:03d}" for i in owners])
    parts = split_ground_truth(table, by_subject=True)
    sides = [set(part["SubjectID"]) for part in parts]
    assert [len(side) for side in sides] == [80, 10, 10]
    assert set.union(*sides) == set(table["SubjectID"])  # 100: so no two sides have one in common
    assert sorted(row for part in parts for row in part.index) == list(range(len(table)))
    for part, again in zip(parts, split_ground_truth(table, by_subject=True)):
        assert part.equals(again)


def test_split_by_subject_needs_to_know_six_subjects():
    names = [f"{i}_HC.png" for i in range(5)]
    with pytest.raises(UserError, match="5 subjects"):
        split_ground_truth(subjects_table([*names, "4_2HC.png"]), by_subject=True)
    parts = split_ground_truth(subjects_table([*names, "5_2HC.png"]), by_subject=True)
    assert [len(part) for part in parts] == [4, 1, 1]
    with pytest.raises(UserError, match="nothing says who is on each image") as raised:
        split_ground_truth(subjects_table([*names, "head.png"]), by_subject=True)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "text",
    [
        f"{HEADER}\n{ROW}\n",
        f"{HEADER}\r\n{ROW}\r\n",
        f"\ufeff{HEADER}\n{ROW}\n",
        f"{HEADER}\na.png,1.0,2.0,3.0,4.0,5.0,6.0,7.0,8.0",
        f"{HEADER},gestation\n{ROW},20w3d\n",
        "bpd_2_y,bpd_2_x,bpd_1_y,bpd_1_x,id,ofd_2_y,ofd_2_x,ofd_1_y,ofd_1_x,image_name\n"
        "8,7,6,5,x,4,3,2,1,a.png\n",
    ],
    ids=["plain", "CRLF", "byte-order mark", "floats", "further column", "another order"],
)
def test_columns_are_found_by_name(tmp_path, text):
    table = read_ground_truth(write_csv(tmp_path, text))
    assert table.columns.tolist() == HEADER.split(",")
    assert table.to_numpy().tolist() == [["a.png", *VALUES]]


def test_scale_and_subject_are_kept(tmp_path):
    text = f"SubjectID,{HEADER},px_to_mm_rate,Plane\n 007 ,{ROW},0.125,TT\nP,{ROW.upper()}, ,TT\n"
    table = read_ground_truth(write_csv(tmp_path, text))
    assert table.columns.tolist() == [*HEADER.split(","), "px_to_mm_rate", "SubjectID"]
    assert table["SubjectID"].tolist() == ["007", "P"]
    assert table["px_to_mm_rate"].tolist() == [0.125, pytest.approx(np.nan, nan_ok=True)]
    with pytest.raises(UserError, match="more than one column named SubjectID"):
        read_ground_truth(write_csv(tmp_path, f"{HEADER},SubjectID,SubjectID\n{ROW},1,2\n"))


@pytest.mark.parametrize("header", ["file,a,b,c,d,e,f,g,h\n", ""], ids=["other names", "no header"])
def test_unknown_columns_are_read_by_position(tmp_path, capsys, header):
    table = read_ground_truth(write_csv(tmp_path, f"{header}{ROW}\nb.png,8,7,6,5,4,3,2,1\n"))
    assert table.to_numpy().tolist() == [["a.png", *VALUES], ["b.png", *VALUES[::-1]]]
    assert "read by position" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        (HEADER, "no rows"),
        ("a,b\n1,2\n", "none of the columns"),
        ("file,a,b,c,d,e,f,g,h\na.png,1,2,3,4,5,6,7,left\n", "none of the columns"),
        (f"{HEADER}\n{ROW},9\n", "not a CSV"),
        (f"{HEADER.replace('bpd_2_y', 'bpd2y')}\n{ROW}\n", "no column named bpd_2_y"),
        (f"{HEADER},ofd_1_x\n{ROW},1\n", "more than one column named ofd_1_x"),
        (f"{HEADER}\na.png,1,2,3,4,5,6,7,left\n", "row 1: a.png: bpd_2_y is 'left'"),
        (f"{HEADER}\na.png,1,2,3,4,5,6,7\n", "row 1: a.png: bpd_2_y"),
        (f"{HEADER}\n{ROW}\nb.png,nan,2,3,4,5,6,7,8\n", "row 2: b.png: ofd_1_x is 'nan'"),
        (f"{HEADER}\na.png,1,inf,3,4,5,6,7,8\n", "ofd_1_y is 'inf'"),
        (f"{HEADER}\na.png,1,-2,3,4,5,6,7,8\n", "ofd_1_y is '-2', below 0"),
        (f"{HEADER}\n{ROW}\n{ROW}\n", "row 2: a.png: the name stands in an earlier row"),
        (f"{HEADER}\n../a.png,1,2,3,4,5,6,7,8\n", "leads out of the image folder"),
        (f"{HEADER}\n,1,2,3,4,5,6,7,8\n", "row 1: no image name"),
        (
            "ofd_1_x,ofd_1_y,ofd_2_x,ofd_2_y,bpd_1_x,bpd_1_y,bpd_2_x,bpd_2_y,image_name\n1,2\n",
            "no image name",
        ),
        (b"\x89PNG\r\n\x1a\n\x00\xff\xfe", "not a CSV"),
    ],
)
def test_a_bad_file_is_named(tmp_path, text, message):
    path = write_csv(tmp_path, text)
    with pytest.raises(UserError, match=message) as caught:
        read_ground_truth(path)
    assert path in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.csv: no such"):
        read_ground_truth(str(tmp_path / "nowhere.csv"))


def test_all_problems_are_told_at_once(tmp_path):
    rows = "\n".join(f"{i}.png,-1,2,3,4,5,6,7,8" for i in range(23))
    with pytest.raises(UserError) as caught:
        read_ground_truth(write_csv(tmp_path, f"{HEADER}\n{rows}\n"))
    lines = str(caught.value).splitlines()
    assert "23 problems" in lines[0]
    assert len(lines) == 1 + 20 + 1
    assert "and 3 more" in lines[-1]


def test_images_are_rgb_in_0_to_1_and_landmarks_scale(tmp_path):
    # OpenCV writes BGR: this picture is pure red above and black below.
    picture = np.zeros((100, 400, 3), np.uint8)
    picture[:50, :, 2] = 255
    cv2.imwrite(str(tmp_path / "a.png"), picture)
    data = load_images(table_of(["a.png"], [200, 25, 0, 0, 399, 99, 100, 50]), str(tmp_path))
    images, landmarks = data.batch(slice(0, 1))
    assert images.shape == (1, 3, 256, 256)
    assert images.dtype == torch.float32
    assert images[0, :, 0, 0].tolist() == [1, 0, 0]
    assert images[0, :, 255, 255].tolist() == [0, 0, 0]
    # x · 256/400 and y · 256/100, by hand
    expected = [[128, 64], [0, 0], [255.36, 253.44], [64, 128]]
    torch.testing.assert_close(landmarks[0], torch.tensor(expected), rtol=0, atol=1e-4)


def test_grey_images_are_kept_in_one_channel_in_the_tables_order(tmp_path):
    names = [f"{value}.png" for value in (200, 0, 51)]
    for name in names:
        cv2.imwrite(str(tmp_path / name), np.full((30, 40), int(name[:-4]), np.uint8))
    data = load_images(table_of(names, VALUES), str(tmp_path))
    assert data.images.shape == (3, 1, 256, 256)
    assert data.images.dtype == torch.uint8
    images, _ = data.batch(torch.tensor([2, 0]))
    assert images.shape == (2, 3, 256, 256)
    assert images.amax(dim=(1, 2, 3)).tolist() == pytest.approx([0.2, 200 / 255])
    assert images.amin(dim=(1, 2, 3)).tolist() == pytest.approx([0.2, 200 / 255])


def test_grey_and_coloured_images_can_be_mixed(tmp_path):
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((30, 40), 51, np.uint8))
    cv2.imwrite(str(tmp_path / "blue.png"), np.full((30, 40, 3), (255, 0, 0), np.uint8))
    data = load_images(table_of(["grey.png", "blue.png"], VALUES), str(tmp_path))
    images, _ = data.batch(slice(0, 2))
    assert images[0, :, 7, 7].tolist() == pytest.approx([0.2, 0.2, 0.2])
    assert images[1, :, 7, 7].tolist() == [0, 0, 1]


def test_resizing_is_bilinear(tmp_path):
    # Halving a picture bilinearly averages 2×2 blocks: columns 0, 100, 0, 100, … become 50.
    picture = np.zeros((512, 512), np.uint8)
    picture[:, 1::2] = 100
    cv2.imwrite(str(tmp_path / "a.png"), picture)
    data = load_images(table_of(["a.png"], VALUES), str(tmp_path))
    assert (data.images == 50).all()


def test_missing_broken_and_mismatched_images_are_all_named(tmp_path):
    cv2.imwrite(str(tmp_path / "small.png"), np.zeros((6, 8), np.uint8))
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "empty.png").touch()
    names = ["missing.png", "text.png", "empty.png", "small.png"]
    with pytest.raises(UserError) as caught:
        load_images(table_of(names, [1, 2, 3, 4, 5, 5, 8, 5]), str(tmp_path))
    lines = str(caught.value).splitlines()
    assert "row 1: missing.png: no such image" in lines[1]
    assert "row 2: text.png: not an image" in lines[2]
    assert "row 3: empty.png: not an image" in lines[3]
    assert "row 4: small.png: BPD-2 (8, 5) lies outside the image of 8×6 px" in lines[4]
    assert len(lines) == 5


@pytest.mark.parametrize("ending", [".jpg", ".png"])
def test_what_deeper_images_show_is_what_is_read(tmp_path, ending):
    """8-bit grey, colour, alpha and 16-bit files of one picture are read alike."""
    ramp = np.tile(np.arange(256, dtype=np.uint8), (256, 1))
    variants = {"grey": ramp, "colour": np.dstack([ramp] * 3)}
    if ending == ".png":
        variants["alpha"] = np.dstack([ramp] * 3 + [np.full_like(ramp, 255)])
        variants["16-bit"] = ramp.astype(np.uint16) * 257
        variants["16-bit colour"] = np.dstack([ramp.astype(np.uint16) * 257] * 3)
    for name, picture in variants.items():
        cv2.imwrite(str(tmp_path / f"{name}{ending}"), picture, [cv2.IMWRITE_JPEG_QUALITY, 100])
    data = load_images(table_of([f"{name}{ending}" for name in variants], VALUES), str(tmp_path))
    assert data.images.shape == (len(variants), 1, 256, 256)
    for image in data.images:
        assert np.abs(image[0].numpy().astype(int) - ramp).max() <= (2 if ending == ".jpg" else 0)


def test_a_batch_is_what_the_plain_way_makes(samples):
    """Decoding once and separable Gaussians give the values of the published way."""
    table = read_ground_truth(str(samples / "ground_truth.csv"))
    plain = PlainDataset(table, samples / "images")
    data = load_images(table, str(samples / "images"))
    images, landmarks = data.batch(slice(0, 6))
    heatmaps = gaussian_heatmaps(landmarks)
    for i in range(6):
        plain_image, plain_heatmaps = plain[i]
        assert torch.equal(images[i], plain_image)
        # Rounding decides on which side of the cut-off at 0.01 a value falls.
        close = torch.isclose(heatmaps[i], plain_heatmaps, atol=1e-5)
        assert (close | torch.isclose(heatmaps[i] + plain_heatmaps, torch.tensor(0.01))).all()
