"""The comparison of tests, on tables whose figures are known."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from common.figures import drawn_figures, interval, mean_interval
from common.summary import prediction_table, reader_columns
from matplotlib.figure import Figure

from common import comparison, figures
from common.compare import best_of, main
from common.comparison import FROM, TO
from common.evaluation import compare_readers
from common.ground_truth import LANDMARKS, landmark_columns
from tests.conftest import ellipse, files_in

NAMES = [f"{i:03d}_HC.png" for i in range(12)]
SOME_ERRORS = np.random.default_rng(0).lognormal(2, 1, (12, 4))


def table_with(errors, **columns):
    """A tester's table of these errors; columns: more of each landmark, [N, 4]."""
    table = pd.DataFrame({"image_name": NAMES[: len(errors)]})
    return table.join(pd.DataFrame(landmark_columns({"error_px256": errors} | columns)))


def full_table(errors=SOME_ERRORS):
    """A tester's table with all that can be compared. The first five annotations are plausible, of
    the sixth it is not known; the second reader has the first eleven images."""
    annotated = np.array([ellipse(turn=5 * i) for i in range(12)])
    second = annotated + 1
    second[11] = np.nan
    second_errors = errors + 10
    second_errors[11] = np.nan
    table = table_with(
        errors,
        x=annotated[..., 0],
        y=annotated[..., 1],
        error_mm=errors / 4,
        second_x=second[..., 0],
        second_y=second[..., 1],
        pred_second_px256=second_errors,
    )
    table["annotation_plausible"] = [True] * 5 + [None] + [False] * 6
    return table.assign(ofd_mm=25.0, bpd_mm=20.0, ofd_pred_mm=27.0, bpd_pred_mm=19.5)


def run(tables, *more):
    """Write the tables as a.csv, b.csv and so on, compare them, and read what is written."""
    paths = [f"{letter}.csv" for letter, _ in zip("abcdef", tables)]
    for path, table in zip(paths, tables):
        table.to_csv(path, index=False)
    main(["--csv_paths", *paths, "--csv_save_path", "out/figures.csv", *more])
    return pd.read_csv("out/figures.csv").set_index(["images", "figure"])


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    return tmp_path


# The intervals


def test_a_constant_difference_has_an_interval_of_width_0():
    written = run([table_with(SOME_ERRORS + 3), table_with(SOME_ERRORS)])
    label = "Mean of a less that of this test"
    for end in ("", FROM, TO):
        assert written.loc[("All images", label + end), "b"] == pytest.approx(3, abs=1e-12)


def test_a_table_less_itself_is_0_and_contains_0(capsys):
    written = run([table_with(SOME_ERRORS)] * 2)
    for end in ("", FROM, TO):
        assert written.loc[("All images", f"Mean of a less that of this test{end}"), "b"] == 0
    assert "A less B      0.00 (0.00 to 0.00)      contains 0" in capsys.readouterr().out


def binomial_interval(trials, probability):
    """The smallest numbers of successes with a cumulated probability of 2.5 and of 97.5 %."""
    ends = []
    for level in (0.025, 0.975):
        cumulated, successes = 0.0, -1
        while cumulated < level:
            successes += 1
            ways = math.comb(trials, successes)
            failures = trials - successes
            cumulated += ways * probability**successes * (1 - probability) ** failures
        ends.append(successes)
    return ends


def test_images_with_errors_of_0_or_1_have_the_interval_of_the_binomial_distribution():
    errors = np.repeat([[0.0], [1.0]], [70, 30], axis=0) * np.ones(4)
    low, high = mean_interval(errors, [f"{i:02d}" for i in range(100)])
    assert [low, high] == [n / 100 for n in binomial_interval(100, 0.3)] == [0.21, 0.39]


def test_shares_of_images_have_the_interval_of_the_binomial_distribution():
    errors = np.repeat([[10.0], [10.1], [50.0], [50.1]], [70, 5, 5, 20], axis=0) * np.ones(4)
    names = [f"{i:02d}" for i in range(100)]
    drawn = drawn_figures(errors, names, ("within 10 px", "above 50 px"))
    for figure, probability in (("within 10 px", 0.7), ("above 50 px", 0.2)):
        expected = [n / 100 for n in binomial_interval(100, probability)]
        assert interval(drawn[figure]) == pytest.approx(expected, abs=0.0101)  # a step at most


@pytest.mark.parametrize("missing", [0, 1])  # an even and an odd number of errors
def test_a_drawn_median_and_mean_are_those_of_the_images_drawn(missing):
    errors = SOME_ERRORS.copy()
    errors[3, :missing] = np.nan
    drawn = drawn_figures(errors, NAMES, ("mean", "median"))
    random = np.random.default_rng(figures.DRAW_SEED)
    for draw, images in enumerate(random.integers(12, size=(50, 12))):
        assert drawn["mean"][draw] == pytest.approx(np.nanmean(errors[images]), rel=1e-12)
        assert drawn["median"][draw] == np.nanmedian(errors[images])


@pytest.mark.parametrize("numbers", [1, 12 * 7, 12 * 10_000])
def test_drawing_in_blocks_gives_what_one_block_gives(numbers, monkeypatch):
    all_figures = tuple(figures.FIGURES_OF_DRAWS)
    expected = drawn_figures(SOME_ERRORS, NAMES, all_figures)
    monkeypatch.setattr(figures, "NUMBERS_PER_BLOCK", numbers)
    drawn = drawn_figures(SOME_ERRORS, NAMES, all_figures)
    for figure in all_figures:
        assert drawn[figure].shape == (10_000,)
        np.testing.assert_allclose(drawn[figure], expected[figure], rtol=1e-12)


def test_ten_images_have_an_interval_and_nine_have_none(capsys):
    assert mean_interval(SOME_ERRORS[:9], NAMES[:9]) is None
    low, high = mean_interval(SOME_ERRORS[:10], NAMES[:10])
    assert low < SOME_ERRORS[:10].mean() < high
    written = run([table_with(SOME_ERRORS[:9]), table_with(SOME_ERRORS[:9] + 1)])
    assert not written.index.get_level_values("figure").str.contains("interval").any()
    printed = capsys.readouterr().out
    assert "A less B     -1.00\n" in printed
    assert "Fewer than 10 images have no 95 % intervals." in printed


def test_what_the_intervals_cover_is_said_where_all_images_have_them_but_not_every_group(capsys):
    """Of the twelve images the second reader has nine."""
    table = full_table()
    table.loc[9:, [f"{name}_pred_second_px256" for name in LANDMARKS]] = np.nan
    written = run([table, table])
    label = f"Mean of a less that of this test{FROM}"
    assert ("All images", label) in written.index
    assert ("By the second reader", label) not in written.index
    printed = " ".join(capsys.readouterr().out.split())
    assert "The 95 % intervals (10,000 draws of whole images" in printed
    assert "Fewer than 10 images" not in printed


def test_an_image_without_annotation_changes_no_interval():
    expected = mean_interval(SOME_ERRORS, NAMES)
    errors = np.insert(SOME_ERRORS, 4, np.nan, axis=0)
    assert mean_interval(errors, [*NAMES[:4], "0", *NAMES[4:]]) == expected


def test_the_tester_and_the_comparison_have_the_same_interval_to_the_last_digit():
    order = np.random.default_rng(3).permutation(12)
    expected = mean_interval(SOME_ERRORS[order], np.array(NAMES)[order])
    written = run([table_with(SOME_ERRORS), table_with(SOME_ERRORS + 1)])
    ends = [written.loc[("All images", f"Mean{end}"), "a"] for end in (FROM, TO)]
    assert ends == list(expected)


# The figures


def test_the_order_of_the_rows_does_not_matter(capsys):
    tables = [full_table(), full_table(SOME_ERRORS[::-1])]
    expected = run(tables), capsys.readouterr().out
    found = run([tables[0].sample(frac=1, random_state=1), tables[1].iloc[::-1]])
    pd.testing.assert_frame_equal(found, expected[0], check_exact=True)
    assert capsys.readouterr().out == expected[1]


def test_what_a_tester_writes_lacks_nothing(predictions):
    known = np.ones((2, 4, 2))
    distances = compare_readers(known, known, known).distances
    table = prediction_table(predictions, "test", "abc", review_confidence=0.7)
    lacking = comparison.find_lacking({"a": table.join(reader_columns(known, distances))})
    assert lacking == {what: [] for what in comparison.OPTIONAL}


def test_figures_of_errors_known_by_hand():
    """Errors of 4 and of 60 px, the latter on OFD-1 alone; on the plausible ones a quarter."""
    errors = np.full((12, 4), 4.0)
    errors[:, 0] = 60
    plausible = errors.copy()
    plausible[:5] /= 4
    written = run([full_table(errors), full_table(errors / 2)])
    run_of_plausible = run([full_table(plausible), full_table(plausible / 2)])
    some = run_of_plausible.loc["The 5 of 12 images with a plausible annotation"]
    assert tuple(some.loc["Mean", ["a", "b"]]) == pytest.approx((4.5, 2.25))
    assert some.loc["Mean of a less that of this test", "b"] == pytest.approx(2.25)
    for images in ("All images", "The 5 of 12 images with a plausible annotation"):
        figures_of = written.loc[images]
        for figure, values in {
            "Mean": (18, 9),
            "Std": (math.sqrt(588), math.sqrt(147)),
            "Median": (4, 2),
            "Min": (4, 2),
            "Max": (60, 30),
            "95th percentile": (60, 30),
            "OFD-1 mean": (60, 30),
            "OFD-1 median": (60, 30),
            "BPD-2 mean": (4, 2),
            "Excellent (≤10 px), %": (75, 75),
            "Good (10-20 px), %": (0, 0),
            "Poor (20-50 px), %": (0, 25),
            "Failure (>50 px), %": (25, 0),
            "Landmarks within 5 mm, %": (75, 75),
            "OFD absolute error, mm": (2, 2),
            "BPD absolute error, mm": (0.5, 0.5),
        }.items():
            assert tuple(figures_of.loc[figure, ["a", "b"]]) == pytest.approx(values)
    second = written.loc["By the second reader"]
    assert second.loc["Mean", "a"] == pytest.approx(28)
    assert second.loc["Mean of a less that of this test", "b"] == pytest.approx(9)
    assert "OFD absolute error, mm" not in second.index


def test_a_landmark_that_nobody_annotated_has_no_figures(capsys):
    errors = SOME_ERRORS.copy()
    errors[:, 2] = np.nan
    written = run([table_with(errors), table_with(errors + 1)])
    assert written.loc[("All images", "BPD-1 mean")].isna().all()
    printed = capsys.readouterr().out
    assert "12 images, 36 landmarks" in printed
    line = next(line for line in printed.splitlines() if "BPD-1 mean" in line)
    assert line.split() == ["BPD-1", "mean", "-", "-"]


@pytest.mark.parametrize(
    ("row", "values", "best"),
    [
        ("Mean", [3, 1, 2], ["y"]),
        ("Mean", [1.001, 2, 1.002], ["x", "z"]),  # both are printed as 1.00
        ("Mean", [np.nan, 2, 1], ["z"]),
        ("OFD-1 median", [np.nan] * 3, []),
        ("Excellent (≤10 px), %", [3, 1, 2], ["x"]),
        ("Landmarks within 5 mm, %", [3, 1, 3], ["x", "z"]),
        ("Good (10-20 px), %", [3, 1, 2], []),
        ("Poor (20-50 px), %", [3, 1, 2], []),
        ("Failure (>50 px), %", [3, 1, 2], ["y"]),
    ],
)
def test_best_is_the_lowest_but_for_shares_that_should_be_high(row, values, best):
    assert best_of(row, pd.Series(values, ["x", "y", "z"], dtype=float)) == best


def test_the_printed_table_names_tests_by_letters_and_says_what_is_best(capsys):
    errors = np.full((12, 4), 2.0)
    names = ["--names", "first", "the second", "third"]
    run([table_with(errors), table_with(errors + 1), table_with(errors + 40)], *names)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:4] == [
        "12 images, 48 landmarks (px at 256×256)",
        "  A  first       a.csv",
        "  B  the second  b.csv",
        "  C  third       c.csv",
    ]
    rows = [" ".join(line.split()) for line in lines]
    assert "A B C best" in rows
    assert "Mean 2.00 (2.0 to 2.0) 3.00 (3.0 to 3.0) 42.00 (42.0 to 42.0) A" in rows
    assert "Excellent (≤10 px), % 100.00 (100.0 to 100.0) 100.00 (100.0 to 100.0)" in "".join(rows)
    assert "Std 0.00 0.00 0.00 A, B, C" in rows
    assert "B less C -39.00 (-39.00 to -39.00) does not contain 0" in rows


def test_what_not_all_tables_have_is_named_and_not_used(capsys):
    without = full_table().drop(columns=["ofd_pred_mm", "bpd_2_second_x", "annotation_plausible"])
    written = run([full_table(), without, full_table()])
    printed = capsys.readouterr().out
    for what in ("lengths in mm", "second reader", "plausibility"):
        assert f"Not used, as not all tables have it: {what} (not in B)\n" in printed
    assert "errors in mm (not" not in printed
    assert set(written.index.get_level_values("images")) == {"All images"}
    assert ("All images", "Landmarks within 5 mm, %") in written.index
    assert ("All images", "OFD absolute error, mm") not in written.index


def test_no_plausible_annotation_or_nothing_else_is_said_in_a_line(capsys):
    for plausible, said in (
        (True, "The 12 of 12 images with a plausible annotation: all of them"),
        (False, "The 0 of 12 images with a plausible annotation: none"),
    ):
        tables = [full_table().assign(annotation_plausible=plausible)] * 2
        for table in tables:
            table[[f"{name}_pred_second_px256" for name in LANDMARKS]] = np.nan
        run(tables)
        printed = capsys.readouterr().out
        assert said in printed
        assert "By the second reader: none of these images" in printed


# The trainings


HISTORY = {
    "train_losses": [0.5, 0.3, 0.25],
    "val_losses": [0.6, 0.4, 0.45],
    "val_within_10_px": [0.1, 0.2, 0.3],
}


def test_the_rows_on_training_are_those_of_the_checkpoints(capsys):
    torch.save(HISTORY, "old.pth")
    torch.save(HISTORY | {"epoch_seconds": [30.0, 60.0, 45.0], "parameters": 7788740}, "new.pth")
    torch.save(HISTORY | {"epoch_seconds": [60.0], "parameters": 5}, "begun by an old one.pth")
    paths = ["old.pth", "new.pth", "begun by an old one.pth"]
    written = run([table_with(SOME_ERRORS)] * 3, "--checkpoint_paths", *paths).loc["Training"]
    expected = {
        "Parameters": [np.nan, 7788740, 5],
        "Epochs": [3] * 3,
        "Minutes": [np.nan, 2.25, np.nan],
        "Lowest validation loss": [0.4] * 3,
        "in epoch": [2] * 3,
        "Last training loss": [0.25] * 3,
        "Gap in the best epoch": [0.1] * 3,
        "Gap in the last epoch": [0.2] * 3,
    }
    assert list(written.index) == list(expected)
    np.testing.assert_allclose(written[["a", "b", "c"]], list(expected.values()))
    rows = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "Parameters - 7,788,740 5" in rows
    assert "Minutes - 2.2 -" in rows
    assert "Lowest validation loss 0.400000 0.400000 0.400000" in rows  # and no "best"


@pytest.mark.parametrize(
    "content",
    [
        {"train_losses": [1.0], "val_losses": [1.0]},
        {**HISTORY, "val_losses": [1.0]},
        {name: [] for name in HISTORY},
        {**HISTORY, "train_losses": None},
        [1.0],
    ],
)
def test_a_file_that_is_no_checkpoint_is_refused(content, capsys):
    torch.save(content, "model.pth")
    with pytest.raises(SystemExit) as stopped:
        run([table_with(SOME_ERRORS)] * 2, "--checkpoint_paths", "model.pth", "model.pth")
    assert stopped.value.code == 2
    assert capsys.readouterr() == ("", "error: model.pth: not a checkpoint of this package\n")


# The picture


@pytest.mark.filterwarnings("error")
def test_the_picture_shows_the_shares_the_differences_and_the_trainings(monkeypatch, capsys):
    saved, savefig = [], Figure.savefig

    def save(figure, *args, **options):
        saved.append(figure)
        savefig(figure, *args, **options)

    monkeypatch.setattr(Figure, "savefig", save)
    errors = np.tile([[0.0], [5.0], [15.0]], (4, 4))
    tables = [full_table(errors), full_table(errors + 20)]
    torch.save(HISTORY, "c.pth")
    # Read as mathematics, these would vanish, or end the run.
    more = ["--names", "$x$", "$_$", "--checkpoint_paths", "c.pth", "c.pth"]
    run(tables, *more, "--plot_save_path", "out/picture.png")
    within, landmarks, differences, losses, by_epoch = saved[0].axes
    curve, other = within.lines[:2]
    for x, share, of_other in ((10, 200 / 3, 0), (20, 100, 100 / 3), (50, 100, 100)):
        for line, expected in ((curve, share), (other, of_other)):
            steps = line.get_xdata() <= x
            assert line.get_ydata()[steps][-1] == pytest.approx(expected)
    assert within.get_xscale() == "log"
    limits = [line.get_xdata()[0] for line in within.lines[2:]]
    assert limits == [10, 20, 50]
    assert curve.get_color() != other.get_color()
    assert [tick.get_text() for tick in landmarks.get_xticklabels()] == [
        *("OFD-1", "OFD-2", "BPD-1", "BPD-2")
    ]
    assert len(landmarks.patches) == 8
    assert [tick.get_text() for tick in differences.get_yticklabels()] == ["$x$\nless $_$"]
    points = [c.lines[0].get_xdata()[0] for c in differences.containers]
    assert points == pytest.approx([-20, -20, -20])
    assert [len(axis.lines) for axis in (losses, by_epoch)] == [4, 2]
    assert by_epoch.lines[0].get_ydata() == pytest.approx([10, 20, 30])
    assert "Picture: out/picture.png" in capsys.readouterr().out


@pytest.fixture
def picture(monkeypatch):
    """The figures that are saved, in order."""
    saved = []
    monkeypatch.setattr("common.comparison_plots.save", lambda figure, path: saved.append(figure))
    return saved


def test_the_box_plots_show_the_errors_of_each_landmark_side_by_side_from_half_a_px_on(picture):
    """Of landmark i, the errors are 0, 10 i and 20 i px; of the second test 1 px more."""
    errors = np.array([[0.0], [1], [2]]) * [10, 20, 30, 40]
    tables = [table_with(errors), table_with(errors + 1)]
    run(tables, "--plot_save_path", "out/picture.png")
    axis = picture[0].axes[1]
    boxes = [path.get_path().vertices[:5] for path in axis.patches]
    quartiles = np.array([[box[:, 1].min(), box[:, 1].max()] for box in boxes])
    median = np.array([10, 20, 30, 40])
    lower = np.concatenate([(median + 0.5) / 2, median / 2 + 1])  # 0 is drawn as 0.5
    upper = np.concatenate([1.5 * median, 1.5 * median + 1])
    assert quartiles == pytest.approx(np.transpose([lower, upper]))
    middles = np.array([box[:, 0].min() + box[:, 0].max() for box in boxes]) / 2
    assert middles == pytest.approx([*(np.arange(4) - 0.2), *(np.arange(4) + 0.2)])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("images", [1, 12])
def test_a_picture_is_a_pdf_where_its_name_ends_so(images, folder):
    errors = SOME_ERRORS[:images].copy()
    errors[:, 2] = np.nan
    run([table_with(errors)] * 6, "--names", *"uvwxyz", "--plot_save_path", "out/picture.pdf")
    assert (folder / "out/picture.pdf").read_bytes().startswith(b"%PDF")


# What is refused


def changed(row, column, value):
    table = full_table()
    table[column] = table[column].astype(object)
    table.loc[row, column] = value
    return table


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (full_table().drop(index=[4, 5]), "b.csv: has no image 004_HC.png, which a.csv has"),
        (
            pd.concat([full_table(), full_table().head(1).assign(image_name="0.png")]),
            "a.csv: has no image 0.png, which b.csv has",
        ),
        (changed(3, "ofd_1_x", 7.5), "b.csv: 003_HC.png: not the annotations of a.csv"),
        (changed(3, "ofd_1_x", ""), "b.csv: 003_HC.png: not the annotations of a.csv"),
        (changed(3, "ofd_1_error_px256", ""), "b.csv: 003_HC.png: not the annotations of a.csv"),
        (changed(3, "bpd_1_second_y", 7.5), "b.csv: 003_HC.png: not the second reader of a.csv"),
        (
            changed(3, "annotation_plausible", ""),
            "b.csv: 003_HC.png: not the plausibility of a.csv",
        ),
        (changed(3, "ofd_mm", 25.1), "b.csv: 003_HC.png: not the pixel size of a.csv"),
        (changed(3, "ofd_1_error_mm", ""), "b.csv: 003_HC.png: not the pixel size of a.csv"),
        (
            full_table().drop(columns="bpd_2_error_px256"),
            "b.csv: not the table of a tester: no column named bpd_2_error_px256",
        ),
        (
            changed(3, "bpd_2_error_px256", "many"),
            "b.csv: not the table of a tester: row 4: bpd_2_error_px256 is 'many'",
        ),
        (
            changed(3, "bpd_2_error_px256", "inf"),
            "b.csv: not the table of a tester: row 4: bpd_2_error_px256 is 'inf'",
        ),
        (
            changed(3, "bpd_2_error_px256", -1),
            "b.csv: not the table of a tester: an error is below 0",
        ),
        (
            changed(3, "image_name", NAMES[0]),
            "b.csv: not the table of a tester: 000_HC.png stands in two rows",
        ),
        (
            table_with(np.full((12, 4), np.nan)),
            "b.csv: holds no errors, as no landmark is annotated",
        ),
    ],
)
def test_tables_that_cannot_be_compared_are_refused_in_one_line(other, message, folder, capsys):
    with pytest.raises(SystemExit) as stopped:
        run([full_table(), other], "--plot_save_path", "out/picture.png")
    assert stopped.value.code == 2
    assert capsys.readouterr() == ("", f"error: {message}\n")
    assert files_in(folder / "out") == {}


def test_a_table_that_a_spreadsheet_saved_can_be_compared(folder):
    """With a byte-order mark, TRUE and FALSE."""
    text = full_table().to_csv(index=False).replace("True", "TRUE").replace("False", "FALSE")
    (folder / "b.csv").write_text(text, encoding="utf-8-sig")
    full_table().to_csv("a.csv", index=False)
    main(["--csv_paths", "a.csv", "b.csv"])


def test_a_millionth_of_a_pixel_is_no_difference():
    moved = full_table()
    moved["ofd_1_x"] += 9e-7
    run([full_table(), moved])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.csv"], "--csv_paths: 1 given; 2 to 26 can be compared"),
        (["a.csv"] * 27, "--csv_paths: 27 given; 2 to 26 can be compared"),
        (
            ["a.csv", "more/a.csv"],
            "two tables are named a: give each a name of its own, --names",
        ),
        (
            ["a.csv", "b.csv", "--names", "x", "x"],
            "two tables are named x: give each a name of its own, --names",
        ),
        (["a.csv", "b.csv", "--names", "x"], "--names: 1 given for 2 tables"),
        (
            ["a.csv", "b.csv", "--checkpoint_paths", "c.pth"],
            "--checkpoint_paths: 1 given for 2 tables",
        ),
        (
            ["a.csv", "b.csv", "--csv_save_path", "./b.csv"],
            "./b.csv: csv_paths and csv_save_path are the same file",
        ),
        (["a.csv", "nowhere.csv"], "nowhere.csv: cannot be read: No such file or directory"),
        (
            ["a.csv", "b.csv", "--csv_save_path", "no/c.csv"],
            "no/c.csv: the folder no does not exist",
        ),
    ],
)
def test_arguments_that_do_not_fit_are_refused_in_one_line(arguments, message, folder, capsys):
    for name in ("a.csv", "b.csv"):
        full_table().to_csv(name, index=False)
    before = files_in(folder)
    with pytest.raises(SystemExit) as stopped:
        main(["--csv_paths", *arguments])
    assert stopped.value.code == 2
    assert capsys.readouterr() == ("", f"error: {message}\n")
    assert files_in(folder) == before


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b'image_name\n"', b"a;b\n1;2\n"])
def test_a_file_that_is_no_table_is_refused_in_one_line(content, folder, capsys):
    (folder / "b.csv").write_bytes(content)
    full_table().to_csv("a.csv", index=False)
    with pytest.raises(SystemExit) as stopped:
        main(["--csv_paths", "a.csv", "b.csv"])
    assert stopped.value.code == 2
    assert capsys.readouterr().err.startswith("error: b.csv: not the table of a tester: ")
