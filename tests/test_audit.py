"""The audit as a command, on a table made by hand: its text, its table and its picture."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from common import UserError
from common.annotation_quality.audit_table import implausibility
from common.audit import main
from common.ground_truth import LANDMARK_NAMES, landmark_values
from tests.conftest import ellipse, files_in, pipe_of, refused, single_spaced, table_of

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
PNG_OF = {}  # seed → an image of 600×400 px


def write_images(names):
    for i, name in enumerate(names):
        if i not in PNG_OF:
            pixels = np.random.default_rng(i).integers(0, 99, (400, 600), dtype=np.uint8)
            PNG_OF[i] = cv2.imencode(".png", pixels)[1].tobytes()
        Path("images", name).write_bytes(PNG_OF[i])


@pytest.fixture
def audited(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    write_images(NAMES)
    table_of(*ROWS, names=NAMES).to_csv("ground_truth.csv", index=False)
    return ["--csv_path", "ground_truth.csv", "--image_folder_path", "images"]


def write(*rows, names=None):
    """Another ground truth, with images of these names; returns its table."""
    names = names or [f"{i}.png" for i in range(len(rows))]
    write_images(names)
    table = table_of(*rows, names=names)
    table.to_csv("ground_truth.csv", index=False)
    return table


def assert_printed(capsys, *expected):
    printed = single_spaced(capsys.readouterr().out)
    for text in expected:
        assert text in printed


def test_a_reader_that_leaves_early_costs_no_file(audited, monkeypatch):
    """As `| head` does: what is printed of the measures cannot be written any more."""
    before = {path.name for path in Path().iterdir()}

    def gone(text, **_):
        if "Plausible annotations" in text:
            raise UserError("nobody reads this")

    monkeypatch.setattr("builtins.print", gone)
    with pytest.raises(SystemExit):
        main([*audited, "--csv_save_path", "a.csv", "--plot_save_path", "a.png"])
    assert {path.name for path in Path().iterdir()} - before == {"a.csv", "a.png"}


def test_figures_of_a_table_made_by_hand(audited, capsys):
    main([*audited, "--csv_save_path", "audit.csv"])
    assert_printed(
        capsys,
        "Loaded 9 images Train: 7 | Val: 1 | Test: 1 5 of 9 annotations are plausible, 0 of 1 in "
        "test. 1 of 1 validation and 1 of 1 test images show a subject of training.",
        "Plausible annotations 5 of 9 (55.6%) along the rows 100% 0% 0% 0% 100% 100% "
        "100% 100% 0% angle",
        "angle above 70 7 of 9",
        "midpoint distance below 0.2 7 of 9",
        "ratio above 0.6 7 of 9",
        "in train 4 of 7 (57.1%) in val 1 of 1 (100.0%) in test 0 of 1 (0.0%)",
        "OFD shorter than BPD 1 of 9",
        "OFD-1 is the upper end 8 of 9",
        "OFD-1 is the left end 7 of 9",
        "BPD-1 is the upper end 7 of 9",
        "BPD-1 is the left end 1 of 9",
        "Subjects (by image_name) 7",
    )

    audit = pd.read_csv("audit.csv")
    assert audit.columns.tolist() == [
        *("image_name", "split", "subject", "ofd_px", "bpd_px"),
        *("angle", "midpoint_distance", "ratio", "plausible"),
    ]
    assert audit["image_name"].tolist() == NAMES
    assert audit["plausible"].tolist() == [1, 0, 0, 0, 1, 1, 1, 1, 0]
    assert audit["ofd_px"].round(6).tolist() == [100] * 4 + [80] + [100] * 4
    assert audit["bpd_px"].round(6).tolist() == [80, 30, 80, 80, 100, 80, 80, 80, 20]
    assert audit["angle"].round(6).tolist() == [90, 90, 25, 90, 90, 90, 90, 90, 10]
    assert audit["midpoint_distance"].round(6).tolist() == [0, 0, 0, 0.3, 0, 0, 0, 0, 0.8]
    assert audit["ratio"].round(6).tolist() == [0.8, 0.3, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8, 0.2]
    assert audit["split"].value_counts().to_dict() == {"train": 7, "val": 1, "test": 1}
    assert audit["subject"].tolist() == [0, 0, 1, 2, 3, 4, 5, 6, 6]
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
    table = write(*[ellipse(angle=20)] * 5, *[ellipse()] * 14, ellipse(short=20))
    table.iloc[6:8, 1:3] = np.nan
    table.to_csv("ground_truth.csv", index=False)
    main(audited)
    assert_printed(capsys, "along the rows 0% 0% 50% - 100% 100% 100% 100% 100% 50% angle")
    table[:9].to_csv("ground_truth.csv", index=False)
    main(audited)  # each row is a part
    assert_printed(capsys, "along the rows 0% 0% 0% 0% 0% 100% - - 100% angle")


def test_distances_to_a_second_reader_are_those_by_hand(audited, capsys):
    """The images are of 600×400 px: at 256×256, 7.03 px across and 6.25 px down are (3, 4)."""
    second = np.array(ROWS) + np.array([3 * 600 / 256, 4 * 400 / 256])
    second[0] = second[0][[3, 2, 0, 1]]  # diameters and ends have other names
    table = table_of(*second, ellipse(), names=[*NAMES, "not here.png"])
    table = table.drop(index=[2, 3]).iloc[::-1]
    table.loc[4, ["bpd_2_x", "bpd_2_y"]] = np.nan
    annotated = table_of(*ROWS, names=NAMES)
    annotated.loc[6, ["ofd_1_x", "ofd_1_y"]] = np.nan  # neither plausible nor implausible
    annotated.iloc[3, 1:] = np.nan
    annotated.to_csv("ground_truth.csv", index=False)
    table.to_csv("second.csv", index=False)
    main([*audited, "--second_csv_path", "second.csv", "--csv_save_path", "audit.csv"])
    printed = single_spaced(capsys.readouterr().out)
    to_second = "annotated to second reader"
    for text in (
        "second.csv: another reader's landmarks of 7 of the 9 images",
        f"All images {to_second} 7 26 5.00 5.00 100.00 0.00 In train {to_second} 5 18 5.00",
        f"In val {to_second} 1 4 5.00 5.00 100.00 0.00 In test {to_second} 1 4 5.00 5.00",
        f"Plausible annotations {to_second} 4 15 5.00 5.00 100.00 0.00",
        f"Implausible annotations {to_second} 2 8 5.00 5.00 100.00 0.00",
    ):
        assert text in printed
    assert "?" not in printed
    audit = pd.read_csv("audit.csv")
    errors = landmark_values(audit, "second_error_px256")[..., 0]
    assert np.isnan(errors).sum(axis=1).tolist() == [0, 0, 4, 4, 1, 0, 1, 0, 0]
    assert np.nanmin(errors) == pytest.approx(5, abs=1e-4)
    off = landmark_values(audit, "second_x", "second_y")[0] - ROWS[0]
    assert off == pytest.approx(np.tile([7.03125, 6.25], (4, 1)))


def test_a_second_reader_that_is_the_ground_truth_itself_is_questioned(audited, capsys):
    """In images whose size is no power of two, so that landmarks at 256×256 are rounded."""
    Path("second.csv").write_bytes(Path("ground_truth.csv").read_bytes())
    main([*audited, "--second_csv_path", "second.csv"])
    assert_printed(capsys, "reader is 0. Is it the ground truth itself?")


def test_landmarks_and_pixel_sizes_of_another_unit_are_questioned(audited, capsys):
    """Landmarks as in images of 256×256 px; and 600 px of 0.05 mm, which are 30 mm."""
    half = np.array(ROWS) * [256 / 600, 256 / 400]
    table_of(*half, names=NAMES).assign(px_to_mm_rate=0.05).to_csv("ground_truth.csv", index=False)
    main(audited)
    assert_printed(
        capsys,
        "images: the centres of the heads lie at 0.21 of the width in the median, one of them at "
        "0.21. Are these px of the original images?",
        "by px_to_mm_rate the images are 30 to 30 mm wide, 30 in the median, and 0% of them "
        "are square. Does it belong to these image files?",
    )


def test_both_readers_files_may_be_pipes_which_are_read_once(audited, capsys):
    table = table_of(*ROWS, names=NAMES)
    with pipe_of(table) as first, pipe_of(table) as second:
        main([*audited, "--csv_path", first, "--second_csv_path", second])
    assert_printed(capsys, "Plausible annotations 5 of 9", "landmarks of 9 of the 9 images")


OUTSIDE = [[100, 100], [650, 450], [100, 200], [200, 100]]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "not here.png",
            "second.csv: holds no landmark of these images (000_HC.png, …); its first",
        ),
        (NAMES[0], "second.csv: row 1: 000_HC.png: OFD-2 (650, 450) lies outside the image"),
    ],
)
def test_a_second_readers_file_that_cannot_be_used_is_refused_and_nothing_written(
    name, message, audited, tmp_path, capsys
):
    table_of(OUTSIDE, names=[name]).to_csv("second.csv", index=False)
    before = files_in(tmp_path)
    options = ["--second_csv_path", "second.csv", "--csv_save_path", "audit.csv"]
    printed = refused(lambda: main([*audited, *options]), capsys, message)
    assert "Plausible" not in printed
    assert files_in(tmp_path) == before


def test_nothing_annotated_is_nothing_to_audit(audited, capsys):
    table_of(*ROWS, names=NAMES).to_csv("second.csv", index=False)
    table_of(*np.full((9, 8), np.nan), names=NAMES).to_csv("ground_truth.csv", index=False)
    outputs = ["--csv_save_path", "audit.csv", "--plot_save_path", "audit.png"]
    main([*audited, "--second_csv_path", "second.csv", *outputs])
    printed = capsys.readouterr().out
    assert "No image has all four landmarks: nothing to audit" in printed
    assert "0 of 0" not in printed
    assert pd.read_csv("audit.csv")["ofd_1_second_x"].notna().all()
    assert not Path("audit.png").exists()


def test_ends_at_one_height_are_neither_upper_nor_left_and_equal_lengths_not_shorter(
    audited, capsys
):
    """Two circles: OFD lies level in one and upright in the other."""
    write(ellipse(80, 80, turn=0), ellipse(80, 80, turn=90))
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
    main([*audited, "--csv_save_path", "audit.csv"])
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

    table[["bpd_2_x", "bpd_2_y"]] = np.nan
    table.assign(SubjectID=["a", "a", *[""] * 7]).to_csv("ground_truth.csv", index=False)
    main([*audited, "--plot_save_path", "audit.png"])
    assert_printed(
        capsys,
        # row 0 is for training, row 1 for the test; nobody is on the others
        "0 of 1 validation and 1 of 1 test images show a subject of training.",
        "No image has all four landmarks: nothing to audit",
        "Picture: not drawn, as no image has all four landmarks",
    )
    assert not Path("audit.png").exists()


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
        (["--csv_path", "no.csv"], "no.csv: cannot be read: No such file"),
        (["--second_csv_path", "no.csv"], "no.csv: cannot be read: No such file"),
        (["--csv_save_path", "ground_truth.csv"], "ground_truth.csv: csv_path and csv_save_path"),
        (["--csv_save_path", "audit.txt"], "audit.txt: must end in .csv"),
        (["--plot_save_path", "audit.doc"], "audit.doc: must end in .png"),
        (["--plot_save_path", "images/audit.png"], "images/audit.png: lies in the image folder"),
    ],
)
def test_bad_arguments_are_refused_and_no_file_changes(
    arguments, message, audited, tmp_path, capsys
):
    before = files_in(tmp_path)
    refused(lambda: main([*audited, *arguments]), capsys, message)
    assert files_in(tmp_path) == before


# The picture. Read as mathematics, these names would end the run, or vanish in part; and
# matplotlib's font has no Chinese letters.
ODD_NAMES = ["头$_$b.png", f"$x$ \\alpha{'b' * 30}{'c' * 30}.png"]
ODD_NAMES_SHOWN = [ODD_NAMES[0], f"$x$ \\alpha{'b' * 9}…{'c' * 16}.png"]  # without the middle


def draw(*options):
    """The figure of the audit's picture, which is not painted, as that takes long."""
    saved = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", lambda figure, *args, **kwargs: saved.append(figure))
        data = ["--csv_path", "ground_truth.csv", "--image_folder_path", "images"]
        main([*data, "--plot_save_path", "audit.png", *options])
    return saved[0]


@pytest.fixture(scope="module")
def figure(tmp_path_factory):
    """The picture of the nine rows with a second reader, (3, 4) px off at 256×256, who does not
    know one image, and of another three ends, and names the ends of the worst in another way."""
    second = np.array(ROWS) + np.array([7.03125, 6.25])
    second[8] = second[8][[3, 2, 0, 1]]
    second[2], second[1, 3] = np.nan, np.nan
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("figure"))
        Path("images").mkdir()
        write(*ROWS, names=NAMES)
        table_of(*second, names=NAMES).to_csv("second.csv", index=False)
        return draw("--second_csv_path", "second.csv")


def titles(figure):
    """The first lines of the titles, of the measures, then of the images."""
    lines = [axis.get_title().split("\n")[0] for axis in figure.axes]
    return lines[:4], [line for line in lines[4:] if line]


def names_in_legend(figure):
    (legend,) = (legend for part in figure.subfigs for legend in part.legends)
    return sorted(text.get_text() for text in legend.get_texts())


@pytest.mark.filterwarnings("error:Glyph")
def test_names_are_shown_as_they_are_long_ones_without_their_middle(audited, monkeypatch, capsys):
    saved, savefig = [], Figure.savefig

    def save(figure, *args, **options):
        saved.append(figure)
        savefig(figure, *args, **options)

    monkeypatch.setattr(Figure, "savefig", save)
    write(ellipse(short=30), ellipse(short=20), names=ODD_NAMES)
    main([*audited, "--plot_save_path", "audit.png", "--csv_save_path", "audit.csv"])
    assert titles(saved[0])[1] == ODD_NAMES_SHOWN[::-1]
    assert cv2.imread("audit.png").shape == (2040, 2160, 3)
    assert_printed(capsys, "Table: audit.csv Picture: audit.png")


def test_the_picture_shows_the_measures_and_the_least_plausible_first(figure):
    measures, images = titles(figure)
    assert figure.get_suptitle() == "Audit of 9 annotations: 5 plausible"
    assert measures[:3] == ["7 of 9 above 70", "7 of 9 below 0.2", "7 of 9 above 0.6"]
    assert [axis.get_xlabel() for axis in figure.axes[:3]] == [
        "angle between the diameters (°)",
        "distance of their midpoints / longer one (last bar: and more)",
        "shorter / longer one",
    ]
    assert [axis.get_ylabel() for axis in figure.axes[:3]] == ["images"] * 3
    assert images == ["006_2HC.png", "001_HC.png", "000_2HC.png", "002_HC.png"]
    assert figure.axes[4].get_title().endswith("\n10°, midpoints 0.80, ratio 0.20")
    assert figure.axes[5].get_title().endswith("\n25°, midpoints 0.00, ratio 0.80")
    assert figure.subfigs[1].get_suptitle() == "The least plausible"
    assert [len(axis.images) for axis in figure.axes] == [0] * 4 + [1] * 4 + [0] * 5
    # Without one to show, the place is empty.
    assert [axis.axison for axis in figure.axes] == [True] * 8 + [False] * 5


def test_of_more_than_nine_implausible_annotations_the_nine_worst_are_shown(audited):
    """Twelve, each less plausible than the one before. Of one reader, the legend is of his ends."""
    write(*[ellipse(angle=60 - 5 * i) for i in range(12)])
    figure = draw()
    assert titles(figure)[1] == [f"{i}.png" for i in (11, 10, 9, 8, 7, 6, 5, 4, 3)]
    assert names_in_legend(figure) == sorted(f"{name} ground truth" for name in LANDMARK_NAMES)


def test_where_none_is_implausible_the_picture_says_so(audited):
    write(ellipse(), ellipse(turn=20))
    figure = draw()
    assert titles(figure)[1] == []
    assert figure.subfigs[1].get_suptitle() == "None is implausible"
    assert not figure.subfigs[1].legends
    assert figure.get_suptitle() == "Audit of 2 annotations: 2 plausible"


def test_an_image_is_shown_upright_and_whole_with_the_sides_of_the_original(figure):
    """As it is read, at 256×256, though it is of 600×400 px."""
    axis = figure.axes[4]
    png = np.frombuffer(PNG_OF[8], np.uint8)
    image = cv2.resize(cv2.imdecode(png, cv2.IMREAD_COLOR), (256, 256)) / 255
    assert np.allclose(axis.images[0].get_array(), image, atol=1e-6)
    assert axis.get_xlim() == (-0.5, 255.5)
    assert axis.get_ylim() == (255.5, -0.5)  # row 0 is the upper one
    assert axis.get_aspect() == 400 / 600


@pytest.mark.parametrize(("place", "row", "known"), [(0, 8, 4), (1, 2, 0), (2, 1, 3), (3, 3, 4)])
def test_both_readers_landmarks_are_marked_where_they_are(figure, place, row, known):
    """Those of the second reader under the names that the first has given them."""
    marked = {line.get_label(): line.get_xydata()[0] for line in figure.axes[4 + place].lines}
    for i, (name, (x, y)) in enumerate(zip(LANDMARK_NAMES, ROWS[row] * [256 / 600, 256 / 400])):
        assert marked[f"{name} ground truth"] == pytest.approx([x, y], abs=1e-4)
        theirs = marked.get(f"{name} second reader", np.array([np.nan, np.nan]))
        expected = [x + 3, y + 4] if i < known else [np.nan, np.nan]
        assert theirs == pytest.approx(expected, abs=1e-4, nan_ok=True)


def test_each_diameter_has_a_colour_and_a_line_and_each_end_a_marker_of_its_own(figure):
    axis = figure.axes[4]
    for kind in ("ground truth", "second reader"):
        marked = [line for line in axis.lines if line.get_label().endswith(kind)]
        assert [line.get_label()[:5] for line in marked] == list(LANDMARK_NAMES)
        assert [to_hex(line.get_color()) for line in marked] == ["#ffb000"] * 2 + ["#00c8ff"] * 2
    assert len({line.get_marker() for line in axis.lines if "truth" in line.get_label()}) == 4
    between = [line for line in axis.lines if len(line.get_xdata()) == 2]
    assert [line.get_linestyle() for line in between] == [":", ":", "--", "--"]
    assert [to_hex(line.get_color()) for line in between] == ["#ffb000", "#00c8ff"] * 2
    drawn = np.concatenate([line.get_xydata() for line in between[:2]])
    assert drawn == pytest.approx(ROWS[8] * [256 / 600, 256 / 400], abs=1e-4)


def test_the_legend_names_each_landmark_of_each_reader_once(figure):
    kinds = ("ground truth", "second reader")
    assert names_in_legend(figure) == sorted(
        f"{n} {kind}" for kind in kinds for n in LANDMARK_NAMES
    )


def test_a_histogram_holds_every_annotation_and_shows_those_beyond_its_limit_in_red(audited):
    """In the last of ten, the midpoints are 2.5 diameters apart: that is in the last bar."""
    write(*ROWS, ellipse(apart=(250, 0), center=(200, 200)))
    axes = draw().axes
    for axis, end, limit, side in zip(axes, (90, 1, 1), (70, 0.2, 0.6), (-1, 1, -1)):
        assert axis.get_xlim() == (0, end)
        assert axis.lines[0].get_xdata() == [limit, limit]
        (label,) = axis.get_legend().get_texts()
        assert label.get_text() == f"limit {limit}"
        bars = {"#a6a6a6": 0, "#dc143c": 0}  # grey, and the colour of the review flag
        for bar in axis.patches:
            bars[to_hex(bar.get_facecolor())] += bar.get_height()
            is_beyond = side * (bar.get_x() + bar.get_width() / 2 - limit) > 0
            assert bar.get_height() == 0 or is_beyond == (to_hex(bar.get_facecolor()) == "#dc143c")
            # The limit is the edge of a bar, or a bar would hold some of both.
            assert not bar.get_x() + 1e-9 < limit < bar.get_x() + bar.get_width() - 1e-9
        red = {70: 2, 0.2: 3, 0.6: 2}[limit]
        assert list(bars.values()) == [10 - red, red]
    last = [bar for bar in axes[1].patches if bar.get_height() and bar.get_x() > 0.95]
    assert len(last) == 1


def test_the_shares_along_the_rows_are_drawn_and_what_is_not_annotated_is_no_0_percent(audited):
    """Twenty rows: two implausible, two of which one is, two not annotated, and heads."""
    rows = [ellipse(short=20)] * 3 + [ellipse()] * 17
    table = write(*rows)
    table.iloc[4:6, 1:3] = np.nan
    table.to_csv("ground_truth.csv", index=False)
    axis = draw().axes[3]
    bars, hatched = axis.patches
    shares = [0, 50, np.nan, *[100] * 7]
    assert np.array_equal(bars.get_data()[0], shares, equal_nan=True)
    assert bars.get_data()[1].tolist() == list(range(0, 21, 2))
    expected = [100 if np.isnan(share) else np.nan for share in shares]
    assert np.array_equal(hatched.get_data()[0], expected, equal_nan=True)
    assert hatched.get_hatch()
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["not annotated"]
    assert (axis.get_xlim(), axis.get_ylim()) == ((0, 20), (0, 100))
    assert axis.get_title() == "Plausible annotations along the rows"
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("row", "%")

    table.iloc[4:6] = table.iloc[6:8].to_numpy()
    table["image_name"] = [f"{i}.png" for i in range(20)]
    table.to_csv("ground_truth.csv", index=False)
    axis = draw().axes[3]
    assert len(axis.patches) == 1
    assert axis.get_legend() is None
