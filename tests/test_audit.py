"""The audit as a command, on a table made by hand."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from common.audit import implausibility, main
from common.ground_truth import landmark_values
from tests.conftest import ellipse, files_in, table_of

# Nine annotations of which five are plausible; in the fifth, OFD is the shorter one.
ROWS = [
    ellipse(),
    ellipse(short=30),
    ellipse(angle=25),
    ellipse(apart=(30, 0)),
    ellipse(80, 100, turn=120),
    ellipse(),
    ellipse(),
    ellipse(),
    ellipse(turn=210, short=20, angle=10, apart=(0, 80)),
]
NAMES = ["000_HC.png", "000_2HC.png", *(f"00{i}_HC.png" for i in range(1, 7)), "006_2HC.png"]


@pytest.fixture
def audited(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    for i, name in enumerate(NAMES):
        picture = np.random.default_rng(i).integers(0, 99, (400, 600), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / "images" / name), picture)
    table_of(*ROWS, names=NAMES).to_csv("ground_truth.csv", index=False)
    return ["--csv_path", "ground_truth.csv", "--image_folder_path", "images"]


def assert_printed(capsys, *expected):
    printed = " ".join(capsys.readouterr().out.split())
    for text in expected:
        assert text in printed


def test_figures_of_a_table_made_by_hand(audited, capsys):
    main([*audited, "--csv_save_path", "audit.csv", "--plot_save_path", "audit.png"])
    assert_printed(
        capsys,
        "Plausible annotations 5 of 9 (55.6%)",
        "angle above 70 7 of 9",
        "midpoint distance below 0.2 7 of 9",
        "ratio above 0.6 7 of 9",
        "OFD shorter than BPD 1 of 9",
        "OFD-1 is the upper end 8 of 9",
        "OFD-1 is the left end 7 of 9",
        "BPD-1 is the upper end 7 of 9",
        "BPD-1 is the left end 1 of 9",
        "Subjects (by image_name) 7",
    )

    audit = pd.read_csv("audit.csv")
    assert audit["image_name"].tolist() == NAMES
    assert audit["plausible"].tolist() == [1, 0, 0, 0, 1, 1, 1, 1, 0]
    assert audit["angle"].round(6).tolist() == [90, 90, 25, 90, 90, 90, 90, 90, 10]
    assert audit["midpoint_distance"].round(6).tolist() == [0, 0, 0, 0.3, 0, 0, 0, 0, 0.8]
    assert audit["ratio"].round(6).tolist() == [0.8, 0.3, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8, 0.2]
    assert audit["split"].value_counts().to_dict() == {"train": 7, "val": 1, "test": 1}
    assert audit["subject"].tolist() == [0, 0, 1, 2, 3, 4, 5, 6, 6]
    assert cv2.imread("audit.png").shape == (2040, 2160, 3)
    # The order of the least plausible: all three limits, then by how far beyond.
    beyond = implausibility(audit)
    assert beyond[beyond != 0].round(4).to_dict() == {
        1: 0.5,  # ratio 0.3 of 0.6
        2: 0.6429,  # 25 of 70 degrees
        3: 0.3333,  # 0.2 of 0.3
        8: 2.2738,  # 1 − 10/70 + 1 − 0.2/0.8 + 1 − 0.2/0.6
    }


def test_the_share_of_plausible_annotations_is_given_for_each_tenth_of_the_rows(audited, capsys):
    """Twenty images, of which the first five and the last one are no heads, and two not known."""
    rows = [ellipse(angle=20)] * 5 + [ellipse()] * 14 + [ellipse(short=20)]
    table = table_of(*rows, names=[f"{i}.png" for i in range(20)])
    table.iloc[6:8, 1:3] = np.nan
    for name in table["image_name"]:
        cv2.imwrite(f"images/{name}", cv2.imread(f"images/{NAMES[0]}"))
    table.to_csv("ground_truth.csv", index=False)
    main([*audited, "--csv_save_path", "audit.csv"])
    assert_printed(capsys, "in each tenth of the rows 0% 0% 50% - 100% 100% 100% 100% 100% 50%")
    table[:10].to_csv("ground_truth.csv", index=False)
    main(audited)
    assert_printed(capsys, "in each tenth of the rows 0% 0% 0% 0% 0% 100% - - 100% 100%")


def test_distances_to_a_second_reader_are_those_by_hand(audited, capsys):
    """The images are of 600×400 px: at 256×256, 7.03 px across and 6.25 px down are (3, 4)."""
    second = np.array(ROWS) + np.array([3 * 600 / 256, 4 * 400 / 256])
    second[0] = second[0][[3, 2, 0, 1]]  # diameters and ends have other names
    table = table_of(*second, ellipse(), names=[*NAMES, "not here.png"])
    table = table.drop(index=[2, 3]).iloc[::-1]
    table.loc[5, "image_name"] = f"./{NAMES[5]}"  # as _find takes it, too
    table.loc[4, ["bpd_2_x", "bpd_2_y"]] = np.nan
    annotated = table_of(*ROWS, names=NAMES)
    annotated.loc[6, ["ofd_1_x", "ofd_1_y"]] = np.nan  # neither plausible nor implausible
    annotated.to_csv("ground_truth.csv", index=False)
    table.to_csv("second.csv", index=False)
    second_reader = ["--second_csv_path", "second.csv"]
    main(
        [
            *audited,
            *second_reader,
            "--csv_save_path",
            "audit.csv",
            "--plot_save_path",
            "audit.png",
        ]
    )
    of_26 = "annotated to second reader 26 5.00 5.00 100.0% 0.0%"
    assert_printed(
        capsys,
        "second.csv: another reader's landmarks of 7 of the 9 images",
        f"Second reader (px at 256×256; the four ends are named as it "
        f"suits each image best) landmarks mean median ≤10 px >50 px All images {of_26} In train",
        "Plausible annotations annotated to second reader 15 5.00 5.00 100.0% 0.0% "
        "Implausible annotations annotated to second reader 8 5.00 5.00 100.0% 0.0%",
    )
    audit = pd.read_csv("audit.csv")
    errors = landmark_values(audit, "second_error_px256")[..., 0]
    assert np.isnan(errors).sum(axis=1).tolist() == [0, 0, 4, 4, 1, 0, 1, 0, 0]
    assert np.nanmin(errors) == pytest.approx(5, abs=1e-4)
    off = landmark_values(audit, "second_x", "second_y")[0] - ROWS[0]
    assert off == pytest.approx(np.tile([7.03125, 6.25], (4, 1)))
    assert cv2.imread("audit.png").shape == (2040, 2160, 3)
    for other, message in (
        (
            table_of(ellipse(), names=["not here.png"]),
            "second.csv: has no row of these images: the first",
        ),
        (table_of(ellipse(center=(700, 30)), names=NAMES[:1]), "row 1: 000_HC.png: OFD-1 (656.699"),
    ):
        other.to_csv("second.csv", index=False)
        with pytest.raises(SystemExit):
            main([*audited, *second_reader])
        assert message in capsys.readouterr().err


@pytest.fixture
def read_second(audited):
    """read_second(rows): what the audit reads of a second reader's file with these rows."""

    def read(table):
        table.to_csv("second.csv", index=False)
        main([*audited, "--second_csv_path", "second.csv", "--csv_save_path", "audit.csv"])

    return read


def test_images_without_a_row_in_the_second_file_are_counted_and_the_first_is_named(
    read_second, capsys
):
    names = [NAMES[0], NAMES[1].upper(), *NAMES[2:]]
    read_second(table_of(*ROWS, names=names))
    assert_printed(
        capsys,
        "second.csv: another reader's landmarks of 8 of the 9 images",
        f"second.csv: has no row of 1 of these images, {NAMES[1]} for one",
    )


def test_rows_of_a_second_reader_that_are_empty_are_not_counted(read_second, capsys):
    table = table_of(*ROWS, names=NAMES)
    table.iloc[2:, 1:] = np.nan
    read_second(table)
    assert_printed(capsys, "another reader's landmarks of 2 of the 9 images")


def test_where_no_image_has_a_row_the_first_of_both_files_is_named(read_second, capsys):
    with pytest.raises(SystemExit):
        read_second(table_of(ellipse(), names=["head/000_HC.png"]))
    error = capsys.readouterr().err
    assert f"the first of them is {NAMES[0]}, and the first row is that of head/000_HC" in error


def test_rows_of_other_images_never_stop_a_second_readers_file(read_second, capsys):
    """One at (0, 0), one twice, one without a name, one far outside, one with a word."""
    outside = ellipse(center=(5000, 5000))
    others = [np.zeros((4, 2)), ellipse(), ellipse(), ellipse(), outside]
    names = ["a.png", "b.png", "b.png", "", "c.png"]
    table = table_of(*others, *ROWS, names=[*names, *NAMES]).astype({"ofd_1_x": object})
    table.loc[1, "ofd_1_x"] = "left"
    read_second(table)
    assert_printed(capsys, "another reader's landmarks of 9 of the 9 images")


def test_a_bad_row_of_a_second_readers_file_keeps_its_number(read_second, capsys):
    table = table_of(np.zeros((4, 2)), ellipse(), names=["a.png", NAMES[0]])
    table.loc[1, "bpd_2_x"] = np.nan
    with pytest.raises(SystemExit):
        read_second(table)
    assert "second.csv: row 2: 000_HC.png: BPD-2 has one coordinate" in capsys.readouterr().err


def test_a_testers_own_table_is_no_second_reader(read_second, capsys):
    with pytest.raises(SystemExit):
        read_second(table_of(*ROWS, names=NAMES).assign(ofd_1_pred_x=1.0))
    assert "second.csv: is a tester's table: its landmarks are those" in capsys.readouterr().err


def test_a_name_that_a_mac_has_written_is_the_same_name(audited, read_second, capsys):
    composed, decomposed = "\u00e4.png", "a\u0308.png"
    picture = np.random.default_rng(0).integers(0, 99, (400, 600), dtype=np.uint8)
    Path("images", composed).write_bytes(cv2.imencode(".png", picture)[1].tobytes())
    table_of(ellipse(), names=[composed]).to_csv("ground_truth.csv", index=False)
    read_second(table_of(ellipse(), names=[decomposed]))
    assert_printed(capsys, "another reader's landmarks of 1 of the 1 images")


def test_nothing_annotated_is_nothing_to_audit(audited, read_second, capsys):
    table = table_of(*ROWS, names=NAMES)
    table.iloc[:, 1:] = np.nan
    table.to_csv("ground_truth.csv", index=False)
    read_second(table_of(*ROWS, names=NAMES))
    printed = capsys.readouterr().out
    assert "No landmark is annotated: there is nothing to audit" in printed
    assert "0 of 0" not in printed
    assert "Second reader" not in printed
    assert pd.read_csv("audit.csv")["ofd_1_second_x"].notna().all()


def test_ends_at_one_height_are_neither_upper_nor_left_and_equal_lengths_not_shorter(
    audited, capsys
):
    """Two circles: OFD lies level in one and upright in the other."""
    rows = [ellipse(80, 80, turn=0), ellipse(80, 80, turn=90)]
    table_of(*rows, names=NAMES[:2]).to_csv("ground_truth.csv", index=False)
    main(audited)
    assert_printed(
        capsys,
        "OFD shorter than BPD 0 of 2",
        "OFD-1 is the upper end 1 of 2",
        "OFD-1 is the left end 1 of 2",
        "BPD-1 is the upper end 1 of 2",
        "BPD-1 is the left end 0 of 2",
    )


def test_images_without_all_four_landmarks_do_not_count(audited, capsys):
    table = table_of(*ROWS, names=NAMES)
    table.loc[[0, 8], ["ofd_1_x", "ofd_1_y"]] = np.nan  # a plausible one, and the worst one
    table.to_csv("ground_truth.csv", index=False)
    main([*audited, "--csv_save_path", "audit.csv", "--plot_save_path", "audit.png"])
    assert_printed(
        capsys,
        "Plausible annotations 4 of 7 (57.1%)",
        "angle above 70 6 of 7",
        "OFD-1 is the upper end 7 of 7",
        "in test 0 of 1",
    )
    audit = pd.read_csv("audit.csv")
    assert audit["plausible"].isna().tolist() == [True] + [False] * 7 + [True]
    assert audit["bpd_px"].notna().all()

    Path("audit.png").unlink()
    table[["bpd_2_x", "bpd_2_y"]] = np.nan
    table.assign(SubjectID=["a", "a", *[""] * 7]).to_csv("ground_truth.csv", index=False)
    main([*audited, "--plot_save_path", "audit.png"])
    assert_printed(
        capsys,
        "Plausible annotations 0 of 0 angle",
        # row 0 is for training, row 1 for the test; nobody is on the others
        "Subjects (by SubjectID) 1 val images of training's subjects 0 of 1 (0.0%)",
        "test images of training's subjects 1 of 1 (100.0%)",
        "Picture: not drawn, as no image has all four landmarks",
    )
    assert not Path("audit.png").exists()


def test_the_least_plausible_are_drawn_first(audited, monkeypatch):
    drawn = []
    monkeypatch.setattr("common.plots.audit_picture", lambda *args: drawn.extend(args[3]))
    main([*audited, "--plot_save_path", "audit.png"])
    assert drawn == [8, 2, 1, 3]


def test_of_more_than_nine_implausible_annotations_the_nine_worst_are_drawn(audited, monkeypatch):
    """Twelve, each less plausible than the one before."""
    rows = [ellipse(angle=60 - 5 * i) for i in range(12)]
    table = table_of(*rows, names=[f"{i}.png" for i in range(12)])
    for name in table["image_name"]:
        cv2.imwrite(f"images/{name}", cv2.imread(f"images/{NAMES[0]}"))
    table.to_csv("ground_truth.csv", index=False)
    drawn = []
    monkeypatch.setattr("common.plots.audit_picture", lambda *args: drawn.extend(args[3]))
    main([*audited, "--plot_save_path", "audit.png"])
    assert drawn == [11, 10, 9, 8, 7, 6, 5, 4, 3]


def test_one_row_is_enough_and_nothing_is_written_unasked(audited, tmp_path, capsys):
    table_of(ROWS[0], names=["004_HC.png"]).to_csv("ground_truth.csv", index=False)
    before = files_in(tmp_path)
    main(audited)
    printed = capsys.readouterr().out
    assert "Plausible annotations                     1 of 1 (100.0%)" in printed
    assert "in test" not in printed
    assert files_in(tmp_path) == before
    table_of(*ROWS[:6], names=NAMES[:6]).to_csv("ground_truth.csv", index=False)
    main(audited)
    assert "in test" in capsys.readouterr().out  # six rows can be split


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--csv_path", "no.csv"], "no.csv: no such ground-truth file"),
        (["--csv_save_path", "ground_truth.csv"], "ground_truth.csv: csv_path and csv_save_path"),
        (["--plot_save_path", "audit.doc"], "audit.doc: must end in .png"),
    ],
)
def test_bad_arguments_are_refused_and_no_file_changes(
    arguments, message, audited, tmp_path, capsys
):
    before = files_in(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main([*audited, *arguments])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
    assert files_in(tmp_path) == before
