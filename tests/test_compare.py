"""The comparison of tests, on tables whose figures are known."""

import hashlib
import os
import string
import sys
import unicodedata

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure

from common.annotation_quality.second_reader import reader_columns
from common.compare import main
from common.comparison.inputs import NUMBERS, read_test
from common.comparison.recipes import compare_recipes
from common.comparison.text import best_of
from common.ground_truth import LANDMARKS, landmark_columns
from tests.conftest import ellipse, files_in, images_of, refused, single_spaced, table_of_test

NAMES = [f"{i:03d}_HC.png" for i in range(12)]
SOME_ERRORS = np.random.default_rng(0).lognormal(2, 1, (12, 4))
ALL, MATCHED = "All images", "With the ends matched"
PLAUSIBLE = "The 5 of 12 images with a plausible annotation"
SECOND = "By the second reader, with the ends matched"


def table_with(errors, **columns):
    """A tester's table of these errors; columns: more of each landmark, [N, 4]."""
    table = pd.DataFrame({"image_name": NAMES[: len(errors)]})
    return table.join(pd.DataFrame(landmark_columns({"error_px256": errors} | columns)))


def full_table(errors=SOME_ERRORS):
    """A tester's table with all that can be compared, at 0.125 mm per px. The first five
    annotations are plausible, of the sixth it is not known; the second reader has the first eleven
    images."""
    annotated = np.array([ellipse(turn=5 * i) for i in range(12)])
    second = annotated + 1
    second[11] = np.nan
    to_second = errors + 10
    to_second[11] = np.nan
    table = table_with(
        errors,
        x=annotated[..., 0],
        y=annotated[..., 1],
        pred_x=annotated[..., 0],
        pred_y=annotated[..., 1],
        error_px=2 * errors,
        error_mm=errors / 4,
        second_x=second[..., 0],
        second_y=second[..., 1],
        pred_second_px256=to_second,
        matched_px256=0.9 * errors,
    )
    table["annotation_plausible"] = [True] * 5 + [None] + [False] * 6
    mm = {"ofd": 25.0, "bpd": 20.0, "hc": 71.0, "ofd_pred": 27.0, "bpd_pred": 19.5, "hc_pred": 72.5}
    for length, value in mm.items():
        table[f"{length}_mm"], table[f"{length}_px"] = value, 8 * value
    table["px_to_mm_rate"] = 0.125
    table["second_hc_mm"] = 70.0
    table.loc[11, "second_hc_mm"] = np.nan
    return table


def paths_of(tables):
    """Write the tables as a.csv, b.csv and so on."""
    paths = [f"{letter}.csv" for letter, _ in zip(string.ascii_letters, tables)]
    for path, table in zip(paths, tables):
        table.to_csv(path, index=False)
    return paths


def run(tables, *more):
    """Compare tables; returns what is written."""
    main(["--csv_paths", *paths_of(tables), "--csv_save_path", "out/figures.csv", *more])
    return pd.read_csv("out/figures.csv")


def rows_of(written, figure, images=ALL):
    """The rows of a figure, by the name of the test."""
    return written[(written["images"] == images) & (written["figure"] == figure)].set_index("test")


def value_of(written, figure, test, images=ALL):
    return rows_of(written, figure, images).loc[test, "value"]


def trainings_of(**recipes):
    """The tables of the trainings of recipes, each given as a number of px for each training, and
    the arguments that name them."""
    tables, names = [], []
    for name, of_trainings in recipes.items():
        tables += [table_with(SOME_ERRORS + px) for px in of_trainings]
        names += [name] * len(of_trainings)
    return tables, "--names", *names


def printed_rows(capsys):
    return [single_spaced(line) for line in capsys.readouterr().out.splitlines()]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    return tmp_path


# The figures


def test_a_constant_difference_has_an_interval_of_width_0():
    written = run([table_with(SOME_ERRORS + 3), table_with(SOME_ERRORS)])
    row = rows_of(written, "Difference of means").loc["a less b"]
    assert row[["value", "low", "high"]].tolist() == pytest.approx([3, 3, 3], abs=1e-12)
    assert row[["lowest", "highest", "trainings"]].isna().all()


def test_a_table_less_itself_is_0_without_a_sign_and_contains_0(capsys):
    moved = SOME_ERRORS.copy()
    moved[0, 0] += 1e-9  # so the difference rounds to -0.00
    run([table_with(SOME_ERRORS), table_with(moved)])
    rows = printed_rows(capsys)
    assert "a less b 0.00 (0.00 to 0.00) contains 0; images alone" in rows


def test_the_difference_of_two_trainings_is_paired_by_image():
    """All images alike but for 1 px in every second one: an interval by resampling by hand."""
    worse = SOME_ERRORS + np.tile([[1.0], [0.0]], (6, 1))
    written = run([table_with(worse), table_with(SOME_ERRORS)])
    row = rows_of(written, "Difference of means").loc["a less b"]
    drawn = np.random.default_rng(5).integers(2, size=(50_000, 12)).mean(axis=1)
    assert row["value"] == pytest.approx(0.5)
    assert [row["low"], row["high"]] == pytest.approx(np.percentile(drawn, (2.5, 97.5)), abs=0.01)


def test_one_plausible_annotation_makes_a_group_whichever_table_tells_it():
    table = full_table().assign(annotation_plausible=[True] + [False] * 11)
    without = full_table(SOME_ERRORS + 1).drop(columns="annotation_plausible")
    for tables in ([table, table], [table, without], [without, table]):
        written = run(tables)
        assert "The 1 of 12 images with a plausible annotation" in set(written["images"])


def test_the_order_of_the_rows_does_not_matter(capsys):
    tables = [full_table(), full_table(SOME_ERRORS[::-1])]
    expected = run(tables), capsys.readouterr().out
    found = run([tables[0].sample(frac=1, random_state=1), tables[1].iloc[::-1]])
    pd.testing.assert_frame_equal(found, expected[0], check_exact=True)
    assert capsys.readouterr().out == expected[1]


def test_what_a_tester_writes_lacks_nothing(predictions):
    table = table_of_test(predictions)
    images, annotated = torch.zeros(2, 1, 256, 256), torch.tensor(predictions.annotated)
    data = images_of("ab", images, annotated, predictions.sizes, predictions.rate)
    columns = reader_columns(predictions.annotated_px, data, predictions.predicted)
    table.join(columns).to_csv("a.csv", index=False)
    columns = set(read_test("a.csv"))
    assert set(NUMBERS) <= columns


def test_figures_of_errors_known_by_hand():
    """Errors of 4 and of 60 px, the latter on OFD-1 alone; on the plausible ones a quarter."""
    errors = np.full((12, 4), 4.0)
    errors[:, 0] = 60
    errors[:5] /= 4
    written = run([full_table(errors), full_table(errors / 2)])
    for figure, values in {
        "Images": (5, 5),
        "Mean": (4.5, 2.25),
        "Median": (1, 0.5),
        "Max": (15, 7.5),
        "OFD-1 mean": (15, 7.5),
        "BPD-2 median": (1, 0.5),
        "Excellent (≤10 px), %": (75, 100),
        "Good (10-20 px), %": (25, 0),
        "Failure (>50 px), %": (0, 0),
        "Landmarks within 5 mm, %": (100, 100),
        "Landmarks known in mm": (20, 20),
        "OFD absolute error, mm": (2, 2),
        "BPD absolute error, mm": (0.5, 0.5),
        "HC absolute error, mm": (1.5, 1.5),
        "HC bias, mm": (1.5, 1.5),
    }.items():
        found = rows_of(written, figure, PLAUSIBLE)["value"]
        assert found.to_dict() == pytest.approx(dict(zip("ab", values))), figure
    mean = (4.5 * 5 + 18 * 7) / 12
    for images, figure, test, value in (
        (ALL, "Mean", "a", mean),
        (ALL, "Landmarks within 5 mm, %", "a", 100 * 41 / 48),
        (ALL, "Difference of means", "a less b", mean / 2),
        (MATCHED, "Mean", "a", 0.9 * mean),
        (MATCHED, "Difference of means", "a less b", 0.45 * mean),
        (SECOND, "Mean", "a", 10 + (4.5 * 5 + 18 * 6) / 11),
        (SECOND, "HC absolute error, mm", "a", 2.5),
    ):
        assert value_of(written, figure, test, images) == pytest.approx(value), (images, figure)
    assert rows_of(written, "OFD absolute error, mm", SECOND).empty


def test_the_groups_stand_in_one_order_in_table_and_text(capsys):
    written = run([full_table(), full_table(SOME_ERRORS + 1)])
    groups = [ALL, PLAUSIBLE, MATCHED, SECOND]
    assert list(dict.fromkeys(written["images"])) == groups
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line in groups] == groups
    for group in groups:
        assert lines[lines.index(group) + 1] == "-" * len(group)


def test_a_landmark_that_nobody_annotated_has_no_figures(capsys):
    errors = SOME_ERRORS.copy()
    errors[:, 2] = np.nan
    written = run([table_with(errors), table_with(errors + 1)])
    assert rows_of(written, "BPD-1 mean")["value"].isna().all()
    rows = printed_rows(capsys)
    assert "12 images, 36 landmarks (px at 256×256)" in rows
    assert not any(row.startswith("BPD-1") for row in rows)


def test_what_is_in_mm_says_on_how_many_landmarks_or_images_it_rests(capsys):
    """The pixel size of three images is known, one of which lacks an end of BPD."""
    tables = [full_table(), full_table(SOME_ERRORS + 1)]
    for table in tables:
        table.loc[3:, [name for name in table if name.endswith("_mm")]] = np.nan
        ends = ["bpd_1_error_px256", "bpd_1_error_px", "bpd_1_error_mm", "bpd_1_matched_px256"]
        table.loc[0, [*ends, "bpd_1_x", "bpd_1_y", "bpd_px", "bpd_mm", "hc_px", "hc_mm"]] = np.nan
    run(tables)
    rows = printed_rows(capsys)
    for label in (
        "Landmarks within 5 mm, % (of 11) ",
        "OFD absolute error, mm (of 3) 2.00 2.00",
        "BPD absolute error, mm (of 2) 0.50 0.50",
        "HC absolute error, mm (of 2) 1.50 1.50",
        "HC bias, mm (of 2) 1.50 1.50",
        "HC absolute error, mm (of 3) 2.50 2.50",
    ):
        assert any(row.startswith(label) for row in rows), label


def test_one_table_alone_is_described(capsys):
    written = run([full_table()])
    mean = rows_of(written, "Mean").loc["a"]
    assert mean["value"] == pytest.approx(SOME_ERRORS.mean())
    assert mean["low"] < mean["value"] < mean["high"]
    assert set(written["test"]) == {"a"}
    text = capsys.readouterr().out
    assert text.startswith("12 images, 48 landmarks (px at 256×256)\n  a  a.csv\n")
    assert "best" not in text
    assert "Difference" not in text
    text = single_spaced(text)
    assert "( ) 95 % interval, from 10 images on: what other images of this kind would give" in text
    assert "covers neither images from another hospital nor, but in a difference of" in text


# What is printed


@pytest.mark.parametrize(
    ("figure", "values", "best"),
    [
        ("Mean", [3, 1, 2], ["y"]),
        ("Mean", [1.001, 2, 1.002], ["x", "z"]),  # both are printed as 1.00
        ("Mean", [np.nan, 2, 1], ["z"]),
        ("Mean", [3.001, 3, np.nan], []),
        ("OFD-1 median", [np.nan] * 3, []),
        ("Excellent (≤10 px), %", [3, 1, 2], ["x"]),
        ("Landmarks within 5 mm, %", [3, 1, 3], ["x", "z"]),
        ("Good (10-20 px), %", [3, 1, 2], []),
        ("Poor (20-50 px), %", [3, 1, 2], []),
        ("HC bias, mm", [3, 1, 2], []),
        ("HC absolute error, mm", [3, 1, 2], ["y"]),
        ("Failure (>50 px), %", [3, 1, 2], ["y"]),
    ],
)
def test_best_is_the_lowest_but_for_shares_that_should_be_high(figure, values, best):
    assert best_of(figure, pd.Series(values, ["x", "y", "z"], dtype=float)) == best


def test_the_printed_table_has_a_column_for_each_recipe_and_says_which_is_best(capsys):
    errors = np.full((12, 4), 2.0)
    tables = [table_with(errors), table_with(errors + 1), table_with(errors + 40)]
    run(tables, "--names", "first", "second", "the third")
    lines = capsys.readouterr().out.splitlines()
    assert lines[:4] == [
        "12 images, 48 landmarks (px at 256×256)",
        "  first      a.csv",
        "  second     b.csv",
        "  the third  c.csv",
    ]
    rows = list(map(single_spaced, lines))
    assert "first second the third best" in rows
    assert "Mean 2.00 (2.0 to 2.0) 3.00 (3.0 to 3.0) 42.00 (42.0 to 42.0) first" in rows
    assert "Std 0.00 0.00 0.00" in rows
    assert "Good (10-20 px), % 0.00 0.00 0.00" in rows
    shares = "100.00 (100.0 to 100.0) 100.00 (100.0 to 100.0) 0.00 (0.0 to 0.0)"
    assert f"Excellent (≤10 px), % {shares} first, second" in rows
    assert "first less second -1.00 (-1.00 to -1.00) does not contain 0; images alone" in rows
    assert "second less the third -39.00 (-39.00 to -39.00) does not contain 0; images" in "".join(
        rows
    )


def test_numbers_stand_below_one_another(capsys):
    run([table_with(SOME_ERRORS + 100), table_with(SOME_ERRORS)])
    lines = capsys.readouterr().out.splitlines()
    mean, minimum = (next(li for li in lines if li.startswith(name)) for name in ("Mean", "Min"))
    dots = [[i for i, character in enumerate(line) if character == "."] for line in (mean, minimum)]
    assert dots[0][0] == dots[1][0]
    assert dots[0][3] == dots[1][1]


def test_long_names_stand_above_the_columns_too(capsys):
    names = [f"a name that is as long as a line of text could be, number {i}" for i in range(4)]
    run([table_with(SOME_ERRORS + i) for i in range(4)], "--names", *names)
    lines = capsys.readouterr().out.splitlines()
    rows = list(map(single_spaced, lines))
    assert [row for row in rows if row in names] == names  # each stands in a table of its own
    assert next(row for row in rows if row.startswith("Median ")).endswith(")")
    assert [row for row in rows if row.startswith("Median ")][-1].endswith(names[0])
    assert f"{names[3]} d.csv" in rows


def test_a_table_is_at_most_140_characters_wide_and_goes_on_below(capsys):
    """Each column has 22; the one that says which is best stands in the last part."""
    run([table_with(SOME_ERRORS + i) for i in range(9)])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 140
    rows = [single_spaced(line) for line in lines]
    headings = [row.split() for row in rows if row and set(row.split()) <= {*"abcdefghi", "best"}]
    assert [heading[0] for heading in headings] == ["a", "f"]
    assert headings[-1][-1] == "best"
    assert len([row for row in rows if row.startswith("Mean ")]) == len(headings)


def test_what_not_all_tables_have_is_not_used(capsys):
    without = full_table().drop(columns=["ofd_pred_mm", "bpd_2_pred_second_px256", "ofd_2_x"])
    written = run([without, full_table(), full_table()], "--names", *"bac")
    assert f"{SECOND}: not in all tables, or of none of these images" in capsys.readouterr().out
    assert SECOND not in set(written["images"])
    of_lengths = rows_of(written, "OFD absolute error, mm")["value"]
    assert of_lengths.isna().tolist() == [True, False, False]
    within = rows_of(written, "Landmarks within 5 mm, %")["value"]
    assert within["a"] == within["b"]


def test_a_kind_of_columns_of_which_one_is_missing_is_not_used_at_all():
    """Else the figures of one test would rest on three landmarks, and of the other on four."""
    without = full_table().drop(columns=["bpd_2_error_mm", "bpd_2_matched_px256", "hc_pred_mm"])
    written = run([full_table(), without])
    within = rows_of(written, "Landmarks within 5 mm, %")["value"]
    assert within.isna().tolist() == [False, True]
    of_hc = rows_of(written, "HC absolute error, mm", SECOND)["value"]
    assert of_hc.to_dict() == pytest.approx({"a": 2.5})
    assert MATCHED not in set(written["images"])


def test_no_plausible_annotation_or_nothing_else_is_said_in_a_line(capsys):
    for plausible, said in (
        (True, "The 12 of 12 images with a plausible annotation: all of them"),
        (False, "The 0 of 12 images with a plausible annotation: none"),
    ):
        tables = [full_table().assign(annotation_plausible=plausible)] * 2
        for table in tables:
            table[[f"{name}_pred_second_px256" for name in LANDMARKS]] = np.nan
            table[[f"{name}_matched_px256" for name in LANDMARKS]] = np.nan
        written = run(tables)
        lines = capsys.readouterr().out.splitlines()
        assert said in lines
        for group in (SECOND, MATCHED):
            assert f"{group}: not in all tables, or of none of these images" in lines
        assert set(written["images"]) == {ALL}


def test_fewer_than_ten_images_have_no_intervals(capsys):
    written = run([table_with(SOME_ERRORS[:9]), table_with(SOME_ERRORS[:9] + 1)])
    assert written[["low", "high"]].isna().all(axis=None)
    assert "a less b -1.00" in printed_rows(capsys)


def test_groups_of_fewer_than_ten_images_have_no_intervals():
    """Of the twelve images the second reader has nine, and five are plausible."""
    table = full_table()
    to_second = [f"{name}_pred_second_px256" for name in LANDMARKS]
    table.loc[9:, [*to_second, "second_hc_mm"]] = np.nan
    lows = run([table, table]).groupby("images")["low"].count()
    assert lows[ALL] > 0
    assert lows[PLAUSIBLE] == lows[SECOND] == 0


# Several trainings of one recipe


def test_tables_of_one_name_are_trainings_of_one_recipe(capsys):
    """They need not stand beside one another."""
    tables = [table_with(SOME_ERRORS + px) for px in (0, 5, 2, 7, 4)]
    written = run(tables, "--names", "x", "y", "x", "y", "x")
    mean = SOME_ERRORS.mean()
    row = rows_of(written, "Mean").loc["x"]
    expected = [mean + 2, mean, mean + 4, 3]
    assert row[["value", "lowest", "highest", "trainings"]].tolist() == pytest.approx(expected)
    row = rows_of(written, "Difference of means").loc["x less y"]
    assert row[["value", "lowest", "highest"]].tolist() == pytest.approx([-4, -7, -1])
    text = capsys.readouterr().out
    rows = list(map(single_spaced, text.splitlines()))
    assert rows[1:6] == ["x a.csv", "y b.csv", "x c.csv", "y d.csv", "x e.csv"]
    line = next(row for row in rows if row.startswith("Mean "))
    assert line.startswith(f"Mean {mean + 2:.2f} [{mean:.2f}, {mean + 4:.2f}] (")
    assert f") {mean + 6:.2f} [{mean + 5:.2f}, {mean + 7:.2f}] (" in line
    assert "[ ] lowest and highest of several trainings." in text


def test_what_is_the_same_in_all_trainings_has_no_lowest_and_highest(capsys):
    """The smallest error is 0 px in both."""
    errors = np.arange(48.0).reshape(12, 4)
    run([table_with(errors), table_with(2 * errors)], "--names", "x", "x")
    rows = printed_rows(capsys)
    assert "[" not in next(row for row in rows if row.startswith("Min "))
    assert "[" in next(row for row in rows if row.startswith("Mean "))


def test_a_figure_that_one_training_lacks_is_not_known_of_the_recipe():
    tables = [full_table(), full_table(SOME_ERRORS + 1).drop(columns="ofd_pred_mm")]
    written = run(tables, "--names", "x", "x")
    assert np.isnan(value_of(written, "OFD absolute error, mm", "x"))


def test_the_interval_of_a_recipe_is_that_of_the_mean_of_its_trainings():
    """What the one training is above 10 px the other is below it, in each image."""
    off = SOME_ERRORS / SOME_ERRORS.max() * 10
    written = run([table_with(10 + off), table_with(10 - off)], "--names", "x", "x")
    row = rows_of(written, "Mean").loc["x"]
    assert row[["value", "low", "high"]].tolist() == pytest.approx([10, 10, 10])


def test_of_two_recipes_with_several_trainings_the_interval_covers_images_and_trainings(capsys):
    random = np.random.default_rng(2)
    recipes = [random.lognormal(2, 1, (number, 12, 4)) for number in (3, 2)]
    tables = [table_with(errors) for recipe in recipes for errors in recipe]
    written = run(tables, "--names", *"xxxyy")
    low, high, of_images, of_trainings = compare_recipes(*recipes)
    row = rows_of(written, "Difference of means").loc["x less y"]
    assert [row["low"], row["high"]] == pytest.approx([low, high])
    for part, error in (("images", of_images), ("trainings", of_trainings)):
        found = value_of(written, f"Standard error from {part}", "x less y")
        assert found == pytest.approx(error)
    text = single_spaced(capsys.readouterr().out)
    assert "0; images and trainings" in text
    errors = f"{of_images:.2f} from the images, {of_trainings:.2f} from the trainings"
    assert f"standard error {errors}" in text


@pytest.mark.parametrize(
    ("numbers", "reach"), [((3, 1), (0, 2)), ((1, 3), (-20, 0)), ((2, 1), (0, 1))]
)
def test_where_a_recipe_has_one_training_the_interval_covers_the_images_alone(
    numbers, reach, capsys
):
    tables, *names = trainings_of(x=range(numbers[0]), y=range(0, 10 * numbers[1], 10))
    written = run(tables, *names)
    row = rows_of(written, "Difference of means").loc["x less y"]
    assert row["low"] == pytest.approx(row["value"])  # in each image the same
    assert (row["lowest"], row["highest"]) == pytest.approx(reach)
    text = single_spaced(capsys.readouterr().out)
    assert "images alone" in text
    assert "pairs of trainings" not in text
    assert not written["figure"].str.contains("Pairs|Standard error").any()


@pytest.mark.parametrize(
    ("first", "second", "won", "lost", "share", "said"),
    [
        ((0, 1, 2), (3, 4, 5), 9, 0, 0.1, "1 in 10"),
        ((4, 5, 6, 7), (0, 1, 2, 3), 0, 16, 1 / 35, "1 in 35"),
        ((0, 1), (1, 2), 3.5, 0.5, 4 / 6, "2 in 3"),
        ((0, 3), (1, 2), 2, 2, 1, "1 in 1"),
        (range(12), range(20, 32), 144, 0, 2 / 2_704_156, "less than 1 in 1,000,000"),
    ],
)
def test_pairs_of_trainings_that_are_won_and_how_rare_that_is(
    first, second, won, lost, share, said, capsys
):
    tables, *names = trainings_of(x=first, y=second)
    written = run(tables, *names)
    assert value_of(written, "Pairs of trainings won", "x less y") == won
    assert value_of(written, "Pairs of trainings", "x less y") == won + lost
    found = value_of(written, "Share of divisions as far from half", "x less y")
    assert found == pytest.approx(share)
    rows = printed_rows(capsys)
    pairs = len(first) * len(second)
    assert f"x is better in {won:g} of {pairs} pairs of trainings, y in {lost:g}" in rows
    assert f"at least as far from half: {said} of all ways to divide the trainings" in rows


def test_pairs_of_trainings_are_counted_also_where_the_images_are_too_few_for_an_interval(capsys):
    tables, *names = trainings_of(x=range(7), y=range(20, 27))
    run([table.head(9) for table in tables], *names)
    text = capsys.readouterr().out
    assert "at least as far from half: 1 in 1,716 of all ways" in text
    assert "x is better in 49 of 49 pairs of trainings, y in 0" in text
    assert "standard error" not in text


def test_differences_stand_below_one_another(capsys):
    tables, *names = trainings_of(x=(0,), longer=(1,), y=(12,))
    run(tables, *names)
    lines = [line for line in capsys.readouterr().out.splitlines() if " less " in line]
    assert len({line.index(".") for line in lines}) == 1


# The report's own figures


def test_the_reports_figures_stand_beside_those_of_its_hypotheses(capsys):
    tables, *names = trainings_of(first=(0,), other=(1,), third=(2,))
    written = run(tables, *names, "--report", "1", "-", "3")
    for hypothesis, figures in {
        "report 1": {"Mean": 25.93, "Std": 32.45, "Median": 6.08, "Min": 0.44, "Max": 192.87},
        "report 3": {"Mean": 22.66, "Std": 39.72, "Median": 6.04, "BPD-2 median": 4},
    }.items():
        for figure, value in figures.items():
            assert value_of(written, figure, hypothesis) == value
    excellent = rows_of(written, "Excellent (≤10 px), %")["value"]
    of_report = written["test"][written["test"].str.startswith("report")]
    assert set(of_report) == {"report 1", "report 3"}
    assert "report 1" not in excellent  # it has none
    assert excellent["report 3"] == 60
    rows = printed_rows(capsys)
    assert "first report 1 other third report 3 best" in rows
    minimum = next(row for row in rows if row.startswith("Min "))
    lowest = SOME_ERRORS.min()
    assert minimum == f"Min {lowest:.2f} 0.44 {lowest + 1:.2f} {lowest + 2:.2f} 3.16 first"
    assert any(row.startswith("OFD-1 mean") and " 18 " in row for row in rows)  # its own digits
    assert any(row.startswith("Excellent") and " - " in row for row in rows)
    assert not any(row.endswith("*") or "* " in row[1:] for row in rows)  # of one training


def test_hypothesis_2_has_the_figures_of_its_50_epochs():
    written = run([table_with(SOME_ERRORS)], "--report", "2")
    figures = ("Mean", "Std", "Median", "Min", "Max")
    found = [value_of(written, figure, "report 2") for figure in figures]
    assert found == [24.5, 30, 6.2, 1.2, 150]


@pytest.mark.parametrize(
    ("off", "is_marked"),
    [((-1, 0, 1), False), ((1, 2, 3), True), ((-3, -2, -1), True), ((1, 2), False)],
)
def test_a_figure_of_the_report_outside_those_of_three_or_more_trainings_is_marked(
    off, is_marked, capsys
):
    """The report's mean of Hypothesis 3 is 22.66 px."""
    tables = [table_with(np.full((12, 4), 22.66 + px)) for px in off]
    run(tables, "--names", *["x"] * len(off), "--report", "3")
    text = capsys.readouterr().out
    mean = next(line for line in text.splitlines() if line.startswith("Mean "))
    assert mean.endswith("22.66 *" if is_marked else "22.66")
    assert "* the report's figure lies outside those of three or more trainings." in text


@pytest.mark.parametrize("others", [(23.0, 24.0), (21.0, 22.0)])
def test_a_figure_of_the_report_at_an_end_of_the_trainings_is_not_marked(others, capsys):
    tables = [table_with(np.full((12, 4), px)) for px in (22.66, *others)]
    run(tables, "--names", *"xxx", "--report", "3")
    rows = printed_rows(capsys)
    assert next(row for row in rows if row.startswith("Mean ")).endswith("22.66")


def test_two_recipes_that_repeat_one_hypothesis_have_its_figures_beside_each(capsys):
    tables = [table_with(np.full((12, 4), px)) for px in (22.0, 23, 24, 30, 31, 32)]
    run(tables, "--names", *"xxxyyy", "--report", "3", "3")
    rows = printed_rows(capsys)
    assert "x report 3 y report 3 best" in rows
    mean = next(row for row in rows if row.startswith("Mean "))
    assert mean.count("22.66") == 2
    assert mean.endswith("22.66 * x")


# The trainings


HISTORY = {
    "train_losses": [0.5, 0.3, 0.25],
    "val_losses": [0.6, 0.4, 0.45],
    "epoch_seconds": [30.0, 60.0, 45.0],
    "parameters": 7788740,
    "model_sha256": "abc",
}


def test_the_rows_on_training_are_those_of_the_checkpoints(capsys):
    longer = {name: [*HISTORY[name], 0.5] for name in ("train_losses", "val_losses")}
    longer |= {"epoch_seconds": [60.0] * 4, "parameters": 5}
    torch.save(HISTORY, "one.pth")
    torch.save(HISTORY | longer, "other.pth")
    torch.save(HISTORY | longer | {"val_losses": [0.6, 0.4, 0.45, 0.2]}, "third.pth")
    tables, *names = trainings_of(x=(0,), y=(1, 2))
    paths = ["one.pth", "other.pth", "third.pth"]
    written = run(tables, *names, "--checkpoint_paths", *paths)
    expected = {
        "Parameters": [7788740, 5],
        "Epochs": [3, 4],
        "Minutes": [2.25, 4],
        "Lowest validation loss": [0.4, 0.3],
        "in epoch": [2, 3],
        "Last training loss": [0.25, 0.5],
        "Gap in the best epoch": [0.1, -0.1],
        "Gap in the last epoch": [0.2, -0.15],
    }
    for figure, values in expected.items():
        found = rows_of(written, figure, "Training")["value"]
        assert found.to_dict() == pytest.approx(dict(zip("xy", values))), figure
    of_training = written[written["images"] == "Training"]
    assert list(dict.fromkeys(of_training["figure"])) == list(expected)
    row = rows_of(written, "in epoch", "Training").loc["y"]
    assert row[["lowest", "highest", "trainings"]].tolist() == [2, 4, 2]
    rows = printed_rows(capsys)
    assert "Parameters 7,788,740 5" in rows
    assert "Minutes 2.2 4.0" in rows
    assert "Epochs 3 4" in rows
    assert "in epoch 2 3 [2, 4]" in rows
    assert "Lowest validation loss 0.400000 0.300000 [0.200000, 0.400000]" in rows  # and no "best"
    assert "less the training loss. Losses of different criteria are not comparable." in rows


def test_the_reports_figures_on_training_have_their_own_digits(capsys):
    torch.save(HISTORY, "c.pth")
    run([table_with(SOME_ERRORS)], "--report", "1", "--checkpoint_paths", "c.pth")
    rows = printed_rows(capsys)
    for row in (
        "Parameters 7,788,740 7,788,740",
        "Epochs 3 50",
        "Minutes 2.2 23.3",
        "Lowest validation loss 0.400000 0.0027",
        "in epoch 2 -",
        "Last training loss 0.250000 0.0001",
    ):
        assert row in rows


@pytest.mark.parametrize("sha256", ["abc", None, ""])
def test_a_table_of_the_best_weights_is_not_stale(sha256, capsys):
    torch.save(HISTORY, "c.pth")
    table = table_with(SOME_ERRORS).assign(model_sha256=sha256).dropna(axis=1)  # None: no column
    run([table], "--checkpoint_paths", "c.pth")
    assert "test again" not in capsys.readouterr().out


def test_a_table_of_the_checkpoint_itself_is_not_stale(capsys):
    torch.save(HISTORY, "c.pth")
    with open("c.pth", "rb") as file:
        own = hashlib.sha256(file.read()).hexdigest()
    run([table_with(SOME_ERRORS).assign(model_sha256=own)], "--checkpoint_paths", "c.pth")
    assert "test again" not in capsys.readouterr().out


def test_a_table_of_several_models_says_that_its_checkpoint_is_of_one(capsys):
    torch.save(HISTORY, "c.pth")
    table = table_with(SOME_ERRORS).assign(model_sha256="123+abc+456")
    run([table], "--checkpoint_paths", "c.pth")
    text = capsys.readouterr().out
    assert "a.csv: a test of 3 models; its checkpoint is of one\n" in text
    assert "test again" not in text


def test_a_table_of_other_weights_than_its_checkpoints_is_named(capsys):
    torch.save(HISTORY, "c.pth")
    torch.save({**HISTORY, "model_sha256": "def"}, "d.pth")
    tables = [table_with(SOME_ERRORS).assign(model_sha256=sha) for sha in ("abc", "abc+123")]
    run(tables, "--checkpoint_paths", "c.pth", "d.pth")
    text = capsys.readouterr().out
    assert "b.csv: a test of other weights than its checkpoint's: test again\n" in text
    assert text.count("test again") == 1


@pytest.mark.parametrize(
    "content",
    [
        {**HISTORY, "val_losses": [1.0]},
        {name: [] for name in HISTORY},
        {**HISTORY, "train_losses": None},
        {**HISTORY, "train_losses": ["low", "lower", "lowest"]},
        {name: value for name, value in HISTORY.items() if name != "model_sha256"},
        {name: value for name, value in HISTORY.items() if name != "parameters"},
        [1.0],
    ],
)
def test_a_file_that_is_no_checkpoint_is_refused(content, capsys):
    torch.save(content, "model.pth")
    tables, arguments = [table_with(SOME_ERRORS)], ["--checkpoint_paths", "model.pth"]
    message = "error: model.pth: not a checkpoint of this package"
    assert refused(lambda: run(tables, *arguments), capsys, message) == ""


# The picture


@pytest.fixture
def picture(monkeypatch):
    """The figures that would be saved, in order."""
    drawn, name = [], "common.basics.drawing.save_picture"
    monkeypatch.setattr(name, lambda figure, path: drawn.append(figure))
    return drawn


def draw(*arguments):
    run(*arguments, "--plot_save_path", "out/picture.png")


def legend_of(figure, part=0):
    legend = figure.subfigs[part].legends[0] if figure.subfigs else figure.legends[0]
    return [text.get_text().strip() for text in legend.get_texts()]


@pytest.mark.filterwarnings("error")
def test_the_picture_shows_the_shares_the_errors_and_the_differences(monkeypatch, capsys):
    saved, savefig = [], Figure.savefig

    def save(figure, *args, **options):
        saved.append(figure)
        savefig(figure, *args, **options)

    monkeypatch.setattr(Figure, "savefig", save)
    errors = np.tile([[0.0], [5.0], [15.0]], (4, 4))
    # Read as mathematics, these names would vanish, or end the run.
    draw([full_table(errors), full_table(errors + 20)], "--names", "$x$", "$_$")
    within, landmarks, differences = saved[0].axes
    curve, other = within.lines[:2]
    for x, share, of_other in ((10, 200 / 3, 0), (20, 100, 100 / 3), (50, 100, 100)):
        for line, expected in ((curve, share), (other, of_other)):
            steps = line.get_xdata() <= x
            assert line.get_ydata()[steps][-1] == pytest.approx(expected)
    assert within.get_xscale() == "log"
    assert within.get_title() == "Landmarks within x px"
    assert [line.get_xdata()[0] for line in within.lines[2:]] == [10, 20, 50]
    assert curve.get_color() != other.get_color()
    names = [tick.get_text() for tick in landmarks.get_xticklabels()]
    assert names == ["OFD-1", "OFD-2", "BPD-1", "BPD-2"]
    assert len(landmarks.patches) == 8
    assert [tick.get_text() for tick in differences.get_yticklabels()] == ["$x$\nless $_$"]
    points = [c.lines[0].get_xdata()[0] for c in differences.containers]
    assert points == pytest.approx([-20, -20, -18, -20])
    assert "Picture: out/picture.png" in capsys.readouterr().out


def test_the_box_plots_show_the_errors_of_each_landmark_side_by_side_from_half_a_px_on(picture):
    """Of landmark i, the errors are 0, 10 i and 20 i px; of the second test 1 px more."""
    errors = np.array([[0.0], [1], [2]]) * [10, 20, 30, 40]
    draw([table_with(errors), table_with(errors + 1)])
    axis = picture[0].axes[1]
    boxes = [path.get_path().vertices[:5] for path in axis.patches]
    quartiles = np.array([[box[:, 1].min(), box[:, 1].max()] for box in boxes])
    median = np.array([10, 20, 30, 40])
    lower = np.concatenate([(median + 0.5) / 2, median / 2 + 1])  # 0 is drawn as 0.5
    upper = np.concatenate([1.5 * median, 1.5 * median + 1])
    assert quartiles == pytest.approx(np.transpose([lower, upper]))
    middles = np.array([box[:, 0].min() + box[:, 0].max() for box in boxes]) / 2
    assert middles == pytest.approx([*(np.arange(4) - 0.2), *(np.arange(4) + 0.2)])
    assert axis.get_ylim()[0] < 0.5  # a marker there is not half hidden


def test_a_recipe_has_one_colour_and_its_trainings_are_thin(picture):
    tables, *names = trainings_of(x=(0, 1), y=(2,))
    draw(tables, *names)
    within, landmarks, _ = picture[0].axes
    of_x, of_y = within.lines[:3], within.lines[3]
    widths = [line.get_linewidth() for line in of_x]
    assert widths[0] == widths[1] < widths[2] == of_y.get_linewidth()
    assert len({line.get_color() for line in of_x}) == 1
    assert of_y.get_color() != of_x[0].get_color()
    largest = [line.get_xdata()[-2] for line in of_x]
    assert largest == pytest.approx(SOME_ERRORS.max() + np.array([0, 1, 1]))
    assert len(of_x[2].get_xdata()) == 2 * 48 + 2  # all errors of both trainings
    assert within.get_title() == "Landmarks within x px (thin: each training of several)"
    assert len(landmarks.patches) == 8
    assert legend_of(picture[0]) == ["x", "y"]


@pytest.mark.parametrize(
    ("recipes", "title"),
    [
        ({"x": (0,), "y": (1,)}, ", with 95 % intervals over images"),
        ({"x": (0, 1), "y": (1, 2)}, ", with 95 % intervals over images and trainings"),
        (
            {"x": (0, 1), "y": (1, 2), "z": (3,)},
            ", with 95 % intervals over images and trainings (where both have several)",
        ),
    ],
)
def test_the_picture_says_what_the_intervals_cover(recipes, title, picture):
    tables, *names = trainings_of(**recipes)
    draw(tables, *names)
    assert picture[0].axes[2].get_title() == f"Differences, paired by image{title}"
    assert legend_of(picture[0], 1) == [ALL]


def test_it_says_which_groups_have_no_intervals(picture):
    """Of the five plausible images there are none."""
    tables = [full_table(), full_table(SOME_ERRORS + 1)]
    draw(tables)
    draw([table.head(9) for table in tables])
    plausible = "The 5 of {} images with a plausible annotation (no intervals)"
    assert legend_of(picture[0], 1) == [ALL, plausible.format(12), MATCHED, SECOND]
    groups = [f"{group} (no intervals)" for group in (ALL, MATCHED, SECOND)]
    assert legend_of(picture[1], 1) == [groups[0], plausible.format(9), *groups[1:]]
    assert picture[1].axes[2].get_title() == "Differences, paired by image"


def test_the_interval_of_a_difference_is_drawn_from_its_low_to_its_high_end(picture):
    tables = [table_with(SOME_ERRORS), table_with(SOME_ERRORS[::-1] + 1)]
    draw(tables)
    row = pd.read_csv("out/figures.csv").set_index("figure").loc["Difference of means"]
    (bar,) = picture[0].axes[2].containers
    ends = bar.lines[2][0].get_segments()[0][:, 0]
    assert ends == pytest.approx([row["low"], row["high"]])


def test_names_that_begin_with_an_underscore_or_are_shortened_alike_stand_in_the_legend(picture):
    long = "a name of more than forty characters, {} of which nobody sees the middle"
    names = ["_x", long.format("one"), long.format("two")]
    draw([table_with(SOME_ERRORS + i) for i in range(3)], "--names", *names)
    underscore, one, two = legend_of(picture[0])
    assert underscore.strip() == "_x"
    assert (one[40:], two[40:]) == (" (2)", " (3)")
    assert one[:40] == two[:40]
    draw([table_with(SOME_ERRORS + i) for i in range(2)], "--names", *names[:2])
    assert [len(name) for name in legend_of(picture[1])] == [2, 40]


def test_more_recipes_than_colours_have_other_lines_and_boxes(picture):
    draw([table_with(SOME_ERRORS[:3] + i) for i in range(9)])
    within, landmarks, differences = picture[0].axes
    styles = [(line.get_color(), line.get_linestyle()) for line in within.lines[:9]]
    assert len(set(styles)) == 9
    boxes = [(box.get_facecolor(), box.get_hatch()) for box in landmarks.patches]
    assert len(set(boxes)) == 9
    assert len(differences.get_yticklabels()) == 36


def test_labels_of_the_limits_stand_above_the_curves_and_100_percent_is_not_hidden(picture):
    draw([table_with(SOME_ERRORS)])
    within = picture[0].axes[0]
    assert [text.get_text() for text in within.texts] == ["10 px", "20 px", "50 px"]
    assert all(text.xy[1] == 1 and text.get_va() == "bottom" for text in within.texts)
    assert within.get_ylim()[1] > 100
    assert within.get_xlim()[1] >= 100
    assert len(picture[0].axes) == 2  # there is no difference, and no training


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("images", [1, 12])
def test_a_picture_is_a_pdf_where_its_name_ends_so(images, folder):
    errors = SOME_ERRORS[:images].copy()
    errors[:, 2] = np.nan
    run([table_with(errors)] * 6, "--names", *"uvwxyz", "--plot_save_path", "out/picture.pdf")
    assert (folder / "out/picture.pdf").read_bytes().startswith(b"%PDF")


# Files


def test_all_is_written_before_anything_is_printed(folder, monkeypatch):
    """So it is there although the reader of a pipe has left (`| head`)."""
    paths = paths_of([table_with(SOME_ERRORS[:3]), table_with(SOME_ERRORS[:3] + 1)])
    outputs = ["--csv_save_path", "out/figures.csv", "--plot_save_path", "out/picture.png"]
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        with pytest.raises(SystemExit) as stopped:
            main(["--csv_paths", *paths, *outputs])
    assert stopped.value.code == 1
    assert (folder / "out/figures.csv").read_text().startswith("images,figure,test,value,low,high")
    assert (folder / "out/picture.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.skipif(sys.platform == "darwin", reason="names of files are UTF-8 there")
def test_names_that_are_not_utf_8_are_compared_and_told_apart(capsys):
    paths = [os.fsdecode(name) for name in (b"\xff.csv", b"b.csv", b"\xfe.csv")]
    for path in paths:
        table_with(SOME_ERRORS).to_csv(path, index=False)
    outputs = ["--csv_save_path", "out/figures.csv", "--plot_save_path", "out/picture.png"]
    main(["--csv_paths", *paths[:2], *outputs])
    assert set(pd.read_csv("out/figures.csv")["test"]) == {"�", "b", "� less b"}
    capsys.readouterr()
    message = "two tables are named �: give each a name of its own, --names"
    refused(lambda: main(["--csv_paths", *paths]), capsys, message)


def test_a_table_that_a_spreadsheet_saved_can_be_compared(folder, capsys):
    """With a byte-order mark, TRUE and FALSE, NA, and rows of nothing but commas."""
    text = full_table().assign(spread="").to_csv(index=False, na_rep="NA")
    text = text.replace("True", "TRUE").replace("False", "FALSE")
    header, first, rest = text.split("\n", 2)
    commas = "," * header.count(",")
    text = f"{commas}\n{header}\n{first}\n{commas}\n{rest}{commas}\n"
    (folder / "b.csv").write_text(text, encoding="utf-8-sig")
    full_table().to_csv("a.csv", index=False)
    main(["--csv_paths", "a.csv", "b.csv"])
    assert PLAUSIBLE in capsys.readouterr().out


def test_an_image_is_the_same_under_every_spelling_of_its_name():
    table = table_with(SOME_ERRORS).assign(image_name=[f"ä{name}" for name in NAMES])
    other = table.assign(
        image_name=[f"./{unicodedata.normalize('NFD', name)}" for name in table["image_name"]]
    )
    assert list(other["image_name"]) != list(table["image_name"])
    run([table, other])


def test_a_millionth_of_a_pixel_is_no_difference():
    moved = full_table()
    moved["ofd_1_x"] += 9e-7
    run([full_table(), moved])


# What is refused


def changed(row, column, value):
    table = full_table()
    table[column] = table[column].astype(object)
    table.loc[row, column] = value
    return table


def incomplete():
    """A table in which no diameter is complete."""
    table = full_table()
    for end in ("ofd_2", "bpd_1"):
        kinds = ("error_px256", "error_px", "error_mm", "matched_px256", "x", "y")
        table[[f"{end}_{kind}" for kind in kinds]] = np.nan
    table[[f"{name}_{unit}" for name in ("ofd", "bpd", "hc") for unit in ("px", "mm")]] = np.nan
    return table


def test_tables_whose_diameters_are_not_complete_can_be_compared():
    run([incomplete(), incomplete()])


@pytest.mark.parametrize("cell", ["many", "inf", "True", "1_000", "１２", "1,5", "0x1F", "1e400"])
def test_a_cell_that_is_no_number_is_named_by_row_and_column(cell, capsys):
    message = f"error: b.csv: row 4: 003_HC.png: bpd_2_error_px256 is '{cell}', not a number"
    tables = [full_table(), changed(3, "bpd_2_error_px256", cell)]
    assert refused(lambda: run(tables), capsys, message) == ""


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (full_table().drop(index=[4, 5]), "b.csv: not the images of a.csv: one lacks 004_HC.png"),
        (
            pd.concat([full_table(), full_table().head(1).assign(image_name="0.png")]),
            "b.csv: not the images of a.csv: one lacks 0.png",
        ),
        (
            full_table().drop(columns="bpd_2_error_px256"),
            "b.csv: no column named bpd_2_error_px256; its first line is: image_name,ofd_1_error_",
        ),
        (
            changed(3, "ofd_2_matched_px256", -1),
            "b.csv: row 4: 003_HC.png: ofd_2_matched_px256 is below 0",
        ),
        (
            changed(3, "bpd_2_error_px256", -1),
            "b.csv: row 4: 003_HC.png: bpd_2_error_px256 is below 0",
        ),
        (
            changed(3, "image_name", f"./{NAMES[0]}"),
            "b.csv: row 4: ./000_HC.png: the name stands in an earlier row already",
        ),
        (
            table_with(np.full((12, 4), np.nan)),
            "b.csv: holds no errors, as no landmark is annotated",
        ),
        (full_table().head(0), "b.csv: no rows below the header"),
    ],
)
def test_tables_that_cannot_be_compared_are_refused_in_one_line(other, message, folder, capsys):
    tables, arguments = [full_table(), other], ["--plot_save_path", "out/picture.png"]
    assert refused(lambda: run(tables, *arguments), capsys, f"error: {message}") == ""
    assert files_in(folder / "out") == {}


@pytest.mark.parametrize(
    ("column", "value"),
    [
        *(("ofd_1_x", 7.5), ("ofd_1_x", ""), ("bpd_px", 150), ("ofd_1_error_px256", "")),
        *(("ofd_1_matched_px256", ""), ("bpd_1_second_y", 7.5), ("second_hc_mm", 70.1)),
        *(("ofd_1_pred_second_px256", ""), ("annotation_plausible", ""), ("ofd_mm", 25.1)),
        *(("ofd_1_error_mm", ""), ("hc_pred_mm", "")),
    ],
)
def test_tables_of_other_annotations_or_pixel_sizes_are_refused(column, value, capsys):
    tables = [full_table(), changed(3, column, value)]
    message = f"error: b.csv: 003_HC.png: not tested with the same data as a.csv: see {column}"
    assert refused(lambda: run(tables), capsys, message) == ""


def test_of_matched_ends_it_does_not_matter_which_one_has_no_distance(capsys):
    """Of three annotated ends, that depends on the names of the four that are found."""
    tables = [full_table(), full_table()]
    for table, end in zip(tables, ("ofd_1", "bpd_2")):
        for kind in ("matched_px256", "pred_second_px256"):
            table.loc[3, f"{end}_{kind}"] = np.nan
    run(tables)
    tables[1].loc[3, "ofd_2_matched_px256"] = np.nan
    refused(lambda: run(tables), capsys, "b.csv: 003_HC.png: not tested with the same data as a")


def test_a_picture_that_its_format_cannot_hold_is_refused(folder, monkeypatch, capsys):
    def fail(*_, **__):
        raise OSError("broken data stream when writing image file")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", fail)
    message = "out/tall.jpg: cannot be drawn in this format: broken data stream"
    tables = [table_with(SOME_ERRORS), table_with(SOME_ERRORS + 1)]
    refused(lambda: run(tables, "--plot_save_path", "out/tall.jpg"), capsys, message)


def test_thirty_recipes_can_be_drawn(folder):
    written = run([table_with(SOME_ERRORS + i) for i in range(30)], "--plot_save_path", "out/p.png")
    assert len(rows_of(written, "Mean")) == 30
    assert (folder / "out/p.png").exists()


def test_tables_are_held_against_one_another_where_the_first_lacks_a_column(capsys):
    without = full_table().drop(columns="hc_mm")
    message = "c.csv: 003_HC.png: not tested with the same data as b.csv: see hc_mm"
    tables = [without, full_table(), changed(3, "hc_mm", 142)]
    assert refused(lambda: run(tables), capsys, message) == ""


def test_another_pixel_size_is_refused_also_where_no_diameter_is_complete(capsys):
    other = incomplete().assign(px_to_mm_rate=0.126)
    message = "b.csv: 000_HC.png: not tested with the same data as a.csv: see px_to_mm_rate"
    assert refused(lambda: run([incomplete(), other]), capsys, message) == ""


def test_a_column_that_stands_there_twice_is_refused(folder, capsys):
    (path,) = paths_of([table_with(SOME_ERRORS)])
    lines = (folder / path).read_text().splitlines()
    (folder / path).write_text(
        "\n".join([lines[0] + ",OFD_1_error_px256", *(f"{li},1" for li in lines[1:])])
    )
    message = "error: a.csv: more than one column named ofd_1_error_px256"
    assert refused(lambda: main(["--csv_paths", path]), capsys, message) == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["a.csv", "more/a.csv"],
            "two tables are named a: give each a name of its own, --names",
        ),
        (["a.csv", "b.csv", "--names", "x"], "--names: 1 given for 2 tables"),
        (["a.csv", "b.csv", "--names", "x", ""], "--names: is empty"),
        (
            ["a.csv", "b.csv", "--checkpoint_paths", "c.pth"],
            "--checkpoint_paths: 1 given for 2 tables",
        ),
        (["a.csv", "b.csv", "--report", "1"], "--report: 1 given for 2 different names"),
        (
            ["a.csv", "b.csv", "--names", "x", "x", "--report", "1", "2"],
            "--report: 2 given for 1 different names",
        ),
        (
            ["a.csv", "b.csv", "--names", "report 1", "x", "--report", "1", "-"],
            "--names: report 1: so the report's own figures, or differences, are called",
        ),
        (
            ["a.csv", "b.csv", "--names", "x less y", "x"],
            "--names: x less y: so the report's own figures, or differences, are called",
        ),
        (  # "a less less b" would be two differences
            ["a.csv", "b.csv", "--names", "a less", "less b"],
            "--names: a less: so the report's own figures, or differences, are called",
        ),
        (
            ["a.csv", "b.csv", "--csv_save_path", "./b.csv"],
            "./b.csv: csv_paths and csv_save_path are the same file",
        ),
        (["a.csv", "nowhere.csv"], "nowhere.csv: cannot be read: No such file"),
        (
            ["a.csv", "b.csv", "--csv_save_path", "no/c.csv"],
            "no/c.csv: its folder does not exist",
        ),
    ],
)
def test_arguments_that_do_not_fit_are_refused_in_one_line(arguments, message, folder, capsys):
    paths_of([full_table(), full_table()])
    before = files_in(folder)
    message = f"error: {message}"
    assert refused(lambda: main(["--csv_paths", *arguments]), capsys, message) == ""
    assert files_in(folder) == before


def test_another_hypothesis_than_the_reports_is_refused(capsys):
    paths = paths_of([full_table()])
    message = "argument --report: invalid choice: '4'"
    with pytest.raises(SystemExit) as stopped:
        main(["--csv_paths", *paths, "--report", "4"])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("whose", ["ABC", "123+ABC"])
def test_two_trainings_with_the_same_weights_are_refused_in_one_recipe_only(whose, capsys):
    tables = [
        table_with(SOME_ERRORS + px).assign(model_sha256=sha)
        for px, sha in enumerate(("abc", "def", whose))
    ]
    message = "error: c.csv: is of the same weights as a.csv, also named x"
    assert refused(lambda: run(tables, "--names", *"xyx"), capsys, message) == ""
    run(tables, "--names", *"xxy")


def test_two_trainings_with_the_same_errors_are_refused_in_one_recipe_only(capsys):
    """As those of a model and of its checkpoint, whose files have other checksums."""
    tables = [full_table().assign(model_sha256=sha) for sha in ("abc", "def")]
    message = "error: b.csv: is of the same weights as a.csv, also named x"
    assert refused(lambda: run(tables, "--names", *"xx"), capsys, message) == ""
    run(tables, "--names", *"xy")


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("annotation_plausible", "1", "003_HC.png: annotation_plausible is not True or False"),
        ("annotation_plausible", "yes", "003_HC.png: annotation_plausible is not True or False"),
        ("model_sha256", "def", "003_HC.png: model_sha256 is not that of row 1"),
    ],
)
def test_a_cell_that_no_tester_wrote_is_refused(column, value, message, capsys):
    table = full_table().assign(model_sha256="abc").astype({column: object})
    table.loc[3, column] = value
    refused(lambda: run([table, full_table()]), capsys, f"a.csv: row 4: {message}")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a CSV file with commas: "),
        (b"\xff\xfe\x00", "not a CSV file with commas: 'utf-8' codec"),
        (b'image_name\n"', "not a CSV file with commas: "),
        (b"image_name;b\n1;2\n", "no column named image_name, "),
        (b"image_name;b\n1;2\n", "; its first line is: image_name;b"),
        (b"sep=,\nimage_name,b\n1,2\n", "; its first line is: sep=,"),
    ],
)
def test_a_file_that_is_no_table_is_refused_in_one_line(content, message, folder, capsys):
    (folder / "b.csv").write_bytes(content)
    full_table().to_csv("a.csv", index=False)
    refused(lambda: main(["--csv_paths", "a.csv", "b.csv"]), capsys, message)
