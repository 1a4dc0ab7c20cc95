"""The figures of the verdict, computed from the reference tables without the package, and the same
as the comparison gives them."""

import contextlib
import io
import math

import numpy as np
import pandas as pd
import pytest

from common import compare
from tests.conftest import ROOT, single_spaced

RESULTS = ROOT / "tests" / "reference" / "results"
LANDMARKS = ("ofd_1", "ofd_2", "bpd_1", "bpd_2")
TABLES = {
    "H3": ("h3_30_epochs", "h3_30_epochs_seed_43", "h3_30_epochs_seed_44"),
    "augmented": (
        "h3_augment_30_epochs",
        "h3_augment_30_epochs_seed_43",
        "h3_augment_30_epochs_seed_44",
    ),
}
GROUPS = {
    "All images": "error_px256",
    "With the ends matched": "matched_px256",
    "By the second reader, with the ends matched": "pred_second_px256",
}
# Of Hypothesis 3 less --augment, by how many seeds each: the difference in px, its standard error
# from the images and from the seeds, the pairs that --augment wins, and all pairs.
VERDICT = {
    ("By the second reader, with the ends matched", 3): (5.32, 1.35, 0.56, 9, 9),
    ("All images", 3): (2.85, 1.46, 0.85, 9, 9),
    ("With the ends matched", 3): (1.91, 1.25, 0.95, 8, 9),
    ("By the second reader, with the ends matched", 2): (5.64, 1.46, 0.86, 4, 4),
    ("All images", 2): (2.17, 1.42, 1.17, 4, 4),
    ("With the ends matched", 2): (1.14, 1.16, 1.33, 3, 4),
}


def read(name):
    return pd.read_csv(RESULTS / f"{name}.csv").sort_values("image_name")


def by_image(name, column):
    """The mean error of each image, [63], all of whose landmarks are annotated."""
    return read(name)[[f"{landmark}_{column}" for landmark in LANDMARKS]].mean(axis=1).to_numpy()


def plain_verdict(column, seeds):
    first, second = (
        np.array([by_image(name, column) for name in of_recipe[:seeds]])
        for of_recipe in TABLES.values()
    )
    pairs = first.mean(axis=0) - second.mean(axis=0)
    means = first.mean(axis=1), second.mean(axis=1)
    return (
        pairs.mean(),
        pairs.std(ddof=1) / math.sqrt(len(pairs)),
        math.sqrt(sum(of_one.var(ddof=1) / seeds for of_one in means)),
        int((means[0][:, None] > means[1]).sum()),
        seeds**2,
    )


@pytest.mark.parametrize(("group", "seeds"), VERDICT)
def test_a_plain_computation_gives_the_verdict(group, seeds):
    assert plain_verdict(GROUPS[group], seeds) == pytest.approx(VERDICT[group, seeds], abs=0.005)


@pytest.fixture(scope="module", params=[2, 3])
def compared(request, tmp_path_factory):
    """The number of seeds, the table of the comparison, and what it prints."""
    path = tmp_path_factory.mktemp("verdict") / "figures.csv"
    paths, names = [], []
    for name, tables in TABLES.items():
        paths += [str(RESULTS / f"{table}.csv") for table in tables[: request.param]]
        names += [name] * request.param
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        compare.main(["--csv_paths", *paths, "--names", *names, "--csv_save_path", str(path)])
    frame = pd.read_csv(path)
    assert set(frame["images"]) > set(GROUPS)
    return request.param, frame, printed.getvalue()


def test_the_comparison_gives_the_same_verdict(compared):
    seeds, frame, _ = compared
    frame = frame[frame["test"] == "H3 less augmented"].set_index(["images", "figure"])["value"]
    for group, column in GROUPS.items():
        expected = plain_verdict(column, seeds)
        figures = frame[group]
        found = (
            figures["Difference of means"],
            figures["Standard error from images"],
            figures["Standard error from trainings"],
            figures["Pairs of trainings"] - figures["Pairs of trainings won"],
            figures["Pairs of trainings"],
        )
        assert found == pytest.approx(expected, rel=1e-9)
        divisions = {2: 6, 3: 20}[seeds]
        if expected[3] == seeds**2:  # all pairs are won: only the exchange is as far from half
            share = figures["Share of divisions as far from half"]
            assert share == pytest.approx(2 / divisions)


def test_it_prints_what_the_verdict_says(compared):
    seeds, _, printed = compared
    blocks = printed.split("\n\n")
    for group in GROUPS:
        difference, of_images, of_seeds, won, pairs = VERDICT[group, seeds]
        title = next(i for i, block in enumerate(blocks) if block.startswith(f"{group}\n"))
        text = single_spaced(blocks[title + 1])
        assert f"H3 less augmented {difference:.2f} (" in text
        line = f"standard error {of_images:.2f} from the images, {of_seeds:.2f} from the trainings"
        assert line in text
        assert f"H3 is better in {pairs - won} of {pairs} pairs of trainings, augmented in" in text


def test_each_recipe_has_the_mean_the_lowest_and_the_highest_of_its_trainings(compared):
    seeds, frame, _ = compared
    rows = frame[frame["figure"] == "Mean"].set_index(["images", "test"])
    for group, column in GROUPS.items():
        for name, tables in TABLES.items():
            means = [by_image(table, column).mean() for table in tables[:seeds]]
            row = rows.loc[(group, name)]
            expected = [np.mean(means), min(means), max(means), seeds]
            found = row[["value", "lowest", "highest", "trainings"]].to_list()
            assert found == pytest.approx(expected)


# The head circumference


@pytest.mark.parametrize(
    ("table", "error", "of_passed", "passed"),
    [
        ("h1_12_epochs", 8.67, 4.93, 40),
        ("h3_30_epochs", 7.94, 2.59, 32),
        ("h3_augment_30_epochs", 7.78, 3.26, 28),
    ],
)
def test_the_circumference_is_as_far_off_as_said(table, error, of_passed, passed, tmp_path):
    tests = read(table)
    off = (tests["hc_pred_mm"] - tests["second_hc_mm"]).abs()
    assert off.mean() == pytest.approx(error, abs=0.005)
    assert off[~tests["review"]].mean() == pytest.approx(of_passed, abs=0.005)
    assert (~tests["review"]).sum() == passed
    assert tests["second_hc_mm"].mean() == pytest.approx(139, abs=0.5)
    of_report = (tests["hc_mm"] - tests["second_hc_mm"]).abs()
    assert of_report.mean() == pytest.approx(8.03, abs=0.005)
    assert of_report[tests["annotation_plausible"]].mean() == pytest.approx(3.60, abs=0.005)

    path, some = tmp_path / "figures.csv", tmp_path / "not_flagged.csv"
    tests[~tests["review"]].to_csv(some, index=False)
    for given, expected in ((RESULTS / f"{table}.csv", off), (some, off[~tests["review"]])):
        compare.main(["--csv_paths", str(given), "--csv_save_path", str(path)])
        frame = pd.read_csv(path).set_index(["images", "figure"])["value"]
        found = frame["By the second reader, with the ends matched", "HC absolute error, mm"]
        assert found == pytest.approx(expected.mean(), rel=1e-9)


def test_the_circumference_is_that_of_the_ellipse_with_the_two_diameters():
    """By the arithmetic-geometric mean, which is exact (Gauss)."""
    for table in RESULTS.glob("h*.csv"):
        tests = read(table.stem)
        for kind in ("px", "pred_px", "mm", "pred_mm"):
            a, b = tests[f"ofd_{kind}"].to_numpy() / 2, tests[f"bpd_{kind}"].to_numpy() / 2
            x, y, total, factor = a, b, (a**2 + b**2) / 2, 1 / 4
            for _ in range(8):
                total -= factor * (x - y) ** 2
                x, y, factor = (x + y) / 2, np.sqrt(x * y), 2 * factor
            exact = 2 * np.pi * total / x
            np.testing.assert_allclose(tests[f"hc_{kind}"], exact, rtol=1e-3)
            usual = np.minimum(a, b) > 0.5 * np.maximum(a, b)  # what a head's axes can be
            np.testing.assert_allclose(tests[f"hc_{kind}"][usual], exact[usual], rtol=1e-6)


# The tables themselves


def test_each_table_has_a_line_on_its_training_and_no_coordinates_of_others():
    runs = pd.read_csv(RESULTS / "runs.csv").set_index("table")
    tables = {path.name for path in RESULTS.glob("*.csv")} - {"runs.csv"}
    assert set(runs.index) == tables
    assert (runs["lowest_validation_loss"] > 0).all()
    assert (runs["in_epoch"] <= runs["epochs"]).all()
    hidden = {f"{name}_{kind}" for name in LANDMARKS for kind in ("x", "y", "second_x", "second_y")}
    hashes = set()
    for name in tables:
        tests = pd.read_csv(RESULTS / name)
        assert len(tests) == 63
        assert not hidden & set(tests)
        hashes |= set(tests["model_sha256"])
        assert (RESULTS / name).stat().st_size <= 60_000
    assert len(hashes) == len(tables)


def test_matched_ends_are_never_farther_apart_on_average_than_by_name():
    for table in RESULTS.glob("h*.csv"):
        matched, by_name = (by_image(table.stem, c) for c in ("matched_px256", "error_px256"))
        assert (matched <= by_name + 1e-4).all()
        assert (matched < by_name - 1).any()
