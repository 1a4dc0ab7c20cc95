"""The audit as a command, on a table made by hand."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from common.audit import implausibility, main
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
def data(tmp_path, monkeypatch):
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


def test_figures_of_a_table_made_by_hand(data, capsys):
    main([*data, "--csv_save_path", "audit.csv", "--plot_save_path", "audit.png"])
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
        "Subjects 7",
    )

    audit = pd.read_csv("audit.csv")
    assert audit["image_name"].tolist() == NAMES
    assert audit["plausible"].tolist() == [1, 0, 0, 0, 1, 1, 1, 1, 0]
    assert audit["angle"].round(6).tolist() == [90, 90, 25, 90, 90, 90, 90, 90, 10]
    assert audit["midpoint_distance"].round(6).tolist() == [0, 0, 0, 0.3, 0, 0, 0, 0, 0.8]
    assert audit["ratio"].round(6).tolist() == [0.8, 0.3, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8, 0.2]
    assert audit["split"].value_counts().to_dict() == {"train": 7, "val": 1, "test": 1}
    assert audit["subject"].tolist() == [0, 0, 1, 2, 3, 4, 5, 6, 6]
    assert cv2.imread("audit.png").shape == (1920, 1800, 3)

    # The order of the least plausible: all three limits, then by how far beyond.
    beyond = implausibility(audit)
    assert beyond[beyond != 0].round(4).to_dict() == {
        1: 0.5,  # ratio 0.3 of 0.6
        2: 0.6429,  # 25 of 70 degrees
        3: 0.3333,  # 0.2 of 0.3
        8: 2.2738,  # 1 − 10/70 + 1 − 0.2/0.8 + 1 − 0.2/0.6
    }


def test_what_is_equal_is_neither_shorter_nor_above_nor_left(data, capsys):
    """Two circles: OFD lies level in one and upright in the other."""
    rows = [ellipse(80, 80, turn=0), ellipse(80, 80, turn=90)]
    table_of(*rows, names=NAMES[:2]).to_csv("ground_truth.csv", index=False)
    main(data)
    assert_printed(
        capsys,
        "OFD shorter than BPD 0 of 2",
        "OFD-1 is the upper end 1 of 2",
        "OFD-1 is the left end 1 of 2",
        "BPD-1 is the upper end 1 of 2",
        "BPD-1 is the left end 0 of 2",
    )


def test_counts_are_of_what_is_annotated(data, capsys):
    table = table_of(*ROWS, names=NAMES)
    table.loc[[0, 8], ["ofd_1_x", "ofd_1_y"]] = np.nan  # a plausible one, and the worst one
    table.to_csv("ground_truth.csv", index=False)
    main([*data, "--csv_save_path", "audit.csv", "--plot_save_path", "audit.png"])
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
    main([*data, "--plot_save_path", "audit.png"])
    assert_printed(
        capsys,
        "Plausible annotations 0 of 0 angle",
        # row 0 is for training, row 1 for the test; nobody is on the others
        "Subjects 1 val images of training's subjects 0 of 1 (0.0%)",
        "test images of training's subjects 1 of 1 (100.0%)",
        "Picture: not drawn, as no image has all four landmarks",
    )
    assert not Path("audit.png").exists()


def test_the_least_plausible_are_drawn_first(data, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "common.plots.audit_picture", lambda _, data, worst, path: drawn.extend(worst)
    )
    main([*data, "--plot_save_path", "audit.png"])
    assert drawn == [8, 2, 1, 3]


def test_one_row_is_enough_and_nothing_is_written_unasked(data, tmp_path, capsys):
    table_of(ROWS[0], names=["004_HC.png"]).to_csv("ground_truth.csv", index=False)
    before = files_in(tmp_path)
    main(data)
    printed = capsys.readouterr().out
    assert "Plausible annotations                     1 of 1 (100.0%)" in printed
    assert "in test" not in printed
    assert files_in(tmp_path) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--csv_path", "no.csv"], "no.csv: no such ground-truth file"),
        (["--csv_save_path", "ground_truth.csv"], "ground_truth.csv: csv_path and csv_save_path"),
        (["--plot_save_path", "audit.doc"], "audit.doc: must end in .png"),
    ],
)
def test_bad_arguments(arguments, message, data, tmp_path, capsys):
    before = files_in(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main([*data, *arguments])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
    assert files_in(tmp_path) == before
