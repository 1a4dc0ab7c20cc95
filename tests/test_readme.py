"""The ReadMe: its commands and lines of Python work as they are printed there, and its figures are
those of the report, of the tables of real tests, and of one another."""

from __future__ import annotations

import glob
import importlib
import re
import runpy
import shlex
import shutil
import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from common import compare
from common.comparison.frame import AS_FAR, DIFFERENCE, OF_PAIRS, WON
from common.ground_truth import landmark_values
from common.models import ResNetUNet
from common.results.metrics import all_figures
from tests.conftest import HYPOTHESES, ROOT, script, single_spaced

README = (ROOT / "ReadMe_Complete.txt").read_text(encoding="utf-8")
TEXT = single_spaced(README)
RESULTS = ROOT / "tests" / "reference" / "results"
SCRIPTS = sorted(path.stem for path in ROOT.glob("T*_Hypothesis?.py"))
# The commands among the modules of common: those that end in a call of their main.
COMMANDS = [
    f"common.{path.stem}"
    for path in sorted(ROOT.glob("common/*.py"))
    if '__name__ == "__main__"' in path.read_text(encoding="utf-8")
]
# Options of torchrun, git, pytest and the benchmark, which the ReadMe names too.
OF_OTHERS = {
    *("--nproc_per_node", "--nnodes", "--master_addr", "--node_rank", "--filter", "--no-checkout"),
    *("--slow", "--quick", "--help"),
}


def section(title):
    """The text of a section; its number may change."""
    pattern = rf"\n\d+\. {title}\n-+\n(.*?)(?=\n\d+\. [A-Z]|\Z)"
    return re.search(pattern, README, re.DOTALL).group(1)


def block_after(sentence):
    """The indented lines that follow a sentence, without their indent."""
    block = re.search(rf"{re.escape(sentence)}\n+((?:    .*\n)+)", README).group(1)
    return textwrap.dedent(block)


@pytest.fixture
def options_of(capsys):
    """options_of(module): the long options that its --help lists."""

    def run(module):
        with pytest.raises(SystemExit):
            importlib.import_module(module).main(["--help"])
        return set(re.findall(r"--[a-z_]+", capsys.readouterr().out))

    return run


def commands():
    """The commands in the ReadMe that begin with python: the script or module → its words."""
    joined = re.sub(r" \\\n +", " ", README)
    for line in re.findall(r"(?m)^ +(?:\S*/)?python3? +(\w\S*\.py .*|-m common\..*)$", joined):
        words = shlex.split(line.removesuffix(" &&"))
        name = words[1] if words[0] == "-m" else words[0]
        yield name.removesuffix(".py") if words[0] != "-m" else name, words


def test_every_command_has_options_that_its_program_knows(options_of):
    found = list(commands())
    # The testers of 2 and 3 have the command of 1 with other digits.
    assert {name for name, _ in found} >= {*SCRIPTS, *COMMANDS} - {"Tester_Hypothesis2"}
    known = {name: options_of(name) for name in {*SCRIPTS, *COMMANDS}}
    for name, words in found:
        assert {word for word in words if word.startswith("--")} <= known[name], words


def test_every_option_that_is_named_is_known_to_a_program(options_of):
    known = set.union(*map(options_of, [*SCRIPTS, *COMMANDS]))
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z_-]+", README))
    assert named - known <= OF_OTHERS


def test_the_contents_list_the_headings_and_no_reference_leads_nowhere():
    headings = dict(re.findall(r"(?m)^(\d+)\. (.+)\n-+$", README))
    assert list(headings) == [str(number) for number in range(1, len(headings) + 1)]
    contents = re.search(r"\nContents\..*\n((?:  .*\n)+)", README).group(1)
    listed = re.findall(r"(\d+) (\S.*?)(?:  |\n)", contents)
    assert {number: title.upper() for number, title in listed} == headings
    for numbers in re.findall(r"[Ss]ections? (\d+(?:(?:, | and | to |, and )\d+)*)", TEXT):
        assert set(re.findall(r"\d+", numbers)) <= set(headings)


def test_the_sections_that_the_code_names_exist():
    named = set()
    for path in [*ROOT.glob("*.py"), *ROOT.glob("common/**/*.py")]:
        # A name may go on in the next string, or in the next line of a comment.
        code = re.sub(r'(?:[\s"#]|\\n)+', " ", path.read_text(encoding="utf-8"))
        named |= set(re.findall(r"ReadMe_Complete\.txt, ([A-Z][A-Z ]+[A-Z])", code))
    assert len(named) == 3
    assert named <= set(re.findall(r"(?m)^\d+\. (.+)\n-+$", README))


def test_every_module_has_its_place_in_the_reading_order():
    listed = re.search(r"leads through all of them:\n\n((?:    .*\n)+)", README).group(1)
    order = {}
    for line in listed.splitlines():
        if line[4] != " ":  # a label, and not the second line of one
            folder = ""
        for word in re.findall(r"\w+/:|;|\w+", line[18:]):
            if word in ";" or word.endswith("/:"):
                folder = word.strip(";/:")
            else:
                order.setdefault(folder, set()).add(word)
    for folder in ("", *(path.parent.name for path in ROOT.glob("common/*/__init__.py"))):
        modules = {path.stem for path in (ROOT / "common" / folder).glob("*.py")} - {"__init__"}
        assert order[folder] == modules, folder


def test_lines_fit_a_screen_and_nothing_is_left_to_fill_in():
    assert [line for line in README.splitlines() if len(line) > 100] == []
    assert re.findall("@@.*?@@", README) == []


# Figures. N is a number; numbers(...) are those of the one place that a pattern fits.

N = r"(-?\d[\d,]*(?:\.\d+)?)"


# The middle column of the table of the report's statements.
STATEMENTS = single_spaced(
    " ".join(
        line[35:88]
        for line in section("RESULTS").split("The report says ")[1].split("\n\n")[0].splitlines()
    )
)


def numbers(pattern, text=TEXT):
    """The numbers that stand in a pattern's N, of which the text must have one place."""
    (found,) = re.finditer(re.sub(r"\bN\b", lambda _: N, pattern), text)
    return [float(group.replace(",", "")) for group in found.groups()]


def rows_of(sentence, columns):
    """The rows of the table below a sentence: label → its cells."""
    table = "\n".join(README[README.index(sentence) :].split("\n\n")[:2])
    table = table.replace("|", " ").replace("< ", "<")
    pattern = rf"(?m)^ {{4,}}(\S.*?)((?: +[~<]?[\d.,/]+| +-){{{columns}}})$"
    rows = {}
    for label, cells in re.findall(pattern, table):
        rows[label.strip()] = cells.split()
    return rows


@pytest.fixture(scope="module")
def frame(tmp_path_factory):
    """value(images, figure, test="H3", column="value") in the comparison of the first page, made
    by the ReadMe's own command."""
    (words,) = [words for _, words in commands() if "tests/reference" in " ".join(words)]
    path = tmp_path_factory.mktemp("comparison") / "comparison.csv"
    arguments = [part for word in words[2:] for part in sorted(glob.glob(word)) or [word]]
    compare.main([*arguments, "--csv_save_path", str(path)])
    table = pd.read_csv(path).set_index(["images", "figure", "test"])

    def value(images, figure, test="H3", column="value"):
        return table.loc[(images, figure, test), column]

    return value


@pytest.fixture(scope="module", autouse=True)
def in_root():
    """The paths of the ReadMe's commands begin in the folder of the package."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        yield


ALL, PLAUSIBLE = "All images", "The 41 of 63 images with a plausible annotation"
MATCHED, HC18 = "With the ends matched", "By the second reader, with the ends matched"
# The first table of RESULTS: label → group of images and figure.
THREE = {
    "mean error": (ALL, "Mean"),
    "on the 41 plausible images": (PLAUSIBLE, "Mean"),
    "ends matched": (MATCHED, "Mean"),
    "ends matched, to HC18's": (HC18, "Mean"),
    "median error": (ALL, "Median"),
    "standard deviation": (ALL, "Std"),
    "landmarks within 10 px, %": (ALL, "Excellent (≤10 px), %"),
    "landmarks over 50 px off, %": (ALL, "Failure (>50 px), %"),
    "landmarks within 5 mm, %": (ALL, "Landmarks within 5 mm, %"),
    "circumference, error to HC18's, mm": (HC18, "HC absolute error, mm"),
}


@pytest.mark.parametrize("label", THREE)
def test_a_row_of_the_three_trainings(label, frame):
    images, figure = THREE[label]
    row = rf"{re.escape(label)} (?:~?[\d.]+|-) N \[N to N\] N \[N to N\]"
    expected = [
        frame(images, figure, test, column)
        for test in ("H3", "augmented")
        for column in ("value", "lowest", "highest")
    ]
    assert numbers(row) == [round(value, 2) for value in expected]


TWO = "H3 less augmented"
DIFFERENCES = {"by name": ALL, "41 plausible images": PLAUSIBLE, "ends matched": MATCHED}


@pytest.mark.parametrize(("label", "images"), [*DIFFERENCES.items(), ("to HC18's", HC18)])
def test_a_difference_of_recipes(label, images, frame):
    given = numbers(rf"{re.escape(label)} N \(N to N\) N of N (?:not )?shown")
    less = [frame(images, DIFFERENCE, TWO, column) for column in ("value", "low", "high")]
    pairs = frame(images, OF_PAIRS, TWO)
    won = pairs - frame(images, WON, TWO)
    assert given == [*(round(value, 2) for value in less), won, pairs]
    is_shown = not less[1] <= 0 <= less[2]
    assert re.search(
        rf"{re.escape(label)} +[\d.]+ .*? of 9 +{'' if is_shown else 'not '}shown", TEXT
    )


def test_nine_of_nine_pairs_come_about_once_in_ten_times(frame):
    assert "9 of 9 or 0 of 9 once in ten times" in TEXT
    assert frame(HC18, AS_FAR, TWO) == pytest.approx(1 / 10)


def test_the_figures_of_the_verdict(frame):
    def rounded(*places):
        return [round(frame(*place), 2) for place in places]

    mean, median = (ALL, "Mean", "H3"), (ALL, "Median", "H3")
    failures = (ALL, "Failure (>50 px), %", "H3")
    for pattern, place in {
        r"By name, the mean error is N px \[N to N\]": mean,
        r"and the median N px \[N to N\];": median,
        r"Here N % of the landmarks \[N to N\]": failures,
    }.items():
        columns = ("value", "lowest", "highest")
        assert numbers(pattern) == rounded(*((*place, column) for column in columns))
    for pattern, images in {
        r"is N px with it and N px without, N px less \(N to N\), and less in N of N": HC18,
        r"it is N and N px, again with the ends matched: N px less \(N to N\), in N of N": MATCHED,
    }.items():
        pairs = frame(images, OF_PAIRS, TWO)
        expected = rounded((images, "Mean", "augmented"), (images, "Mean", "H3"))
        expected += rounded(
            *((images, DIFFERENCE, TWO, column) for column in ("value", "low", "high"))
        )
        expected += [pairs - frame(images, WON, TWO), pairs]
        assert numbers(pattern) == expected
    for pattern, places in {
        "6.10 and 5.67; three N": [median],
        "the lowest; three N": [mean],
        "44.37 and 39.81; three N and N, lower": [(ALL, "Std", "H3"), (ALL, "Std", "augmented")],
        "13.9 %; three N and N %, and": [failures, (*failures[:2], "augmented")],
        "means of N and N, BPD N and N; single": [
            (ALL, f"{name} mean", "H3") for name in ("OFD-1", "OFD-2", "BPD-1", "BPD-2")
        ],
        "62.3 %; three N %": [(ALL, "Excellent (≤10 px), %", "H3")],
        "15.9 %; three N %": [failures],
    }.items():
        assert numbers(pattern, STATEMENTS) == rounded(*places), pattern
    assert frame(ALL, "Std", "H3", "lowest") > frame(ALL, "Std", "augmented", "highest")
    of_both = [frame(*failures[:2], "augmented", column) for column in ("lowest", "highest")]
    assert of_both[0] < frame(*failures, "lowest") < of_both[1]  # their ranges overlap


def errors(table, column):
    return landmark_values(table, column)[..., 0]


@pytest.fixture(scope="module")
def tables():
    """The six tables of the verdict: without and with --augment, by seed."""
    stems = [f"{stem}{seed}" for stem in ("h3_30_epochs", "h3_augment_30_epochs") for seed in SEEDS]
    return [pd.read_csv(RESULTS / f"{stem}.csv") for stem in stems]


SEEDS = ("", "_seed_43", "_seed_44")


def test_what_the_verdict_says_of_the_annotations(tables):
    first = tables[0]
    plausible = first["annotation_plausible"].to_numpy(bool)
    assert numbers("can those of N of the N test images") == [(~plausible).sum(), len(first)]
    shares = [
        100 * errors(table, "error_px256")[~plausible].sum() / errors(table, "error_px256").sum()
        for table in tables
    ]
    assert numbers("images make up N to N % of") == [round(min(shares)), round(max(shares))]
    between_readers = errors(first, "second_error_px256").mean()
    assert numbers("annotations are N px from HC18's on average in the test images") == [
        round(between_readers, 2)
    ]
    to_hc18 = [errors(table, "pred_second_px256").mean() for table in tables]
    assert max(to_hc18) < between_readers
    ends = [round(min(to_hc18), 2), round(max(to_hc18), 2)]
    assert numbers("nearer to HC18's annotations than that: N to N px") == ends
    assert numbers("the circumference is N mm on average") == [round(first["second_hc_mm"].mean())]
    apart = (first["hc_mm"] - first["second_hc_mm"]).abs().mean()
    assert numbers("circumferences of the two differ by N mm") == [round(apart, 2)]


def test_what_is_said_of_the_trainings_one_by_one(tables):
    plain, augmented = tables[:3], tables[3:]
    by_name = [errors(table, "error_px256") for table in augmented]
    means = [round(of_one.mean(), 2) for of_one in by_name]
    assert numbers("30 epochs: N, N and N 5.30", STATEMENTS) == means
    medians = [round(np.median(of_one), 2) for of_one in by_name]
    assert numbers("5.30, 6.22 and 5.90; N, N and N", STATEMENTS) == medians
    best_landmark = [errors(table, "error_px256").mean(axis=0).argmin() for table in tables]
    assert numbers("lowest mean in N of 3, with --augment in N of 3", STATEMENTS) == [
        sum(best == 3 for best in best_landmark[:3]),
        sum(best == 3 for best in best_landmark[3:]),
    ]
    for label, of_both in (
        ("Hypothesis 3, three seeds", plain),
        ("augment, three seeds", augmented),
    ):
        expected = []
        for column in ("matched_px256", "pred_second_px256"):
            of_three = [errors(table, column) for table in of_both]
            expected += [np.mean([of_one.mean() for of_one in of_three])]
            expected += [np.mean([np.median(of_one) for of_one in of_three])]
            expected += [np.mean([100 * (of_one > 50).mean() for of_one in of_three])]
        plausible = of_both[0]["annotation_plausible"].to_numpy(bool)
        expected += [np.mean([of_one[plausible].mean() for of_one in of_three])]
        digits = (2, 2, 1, 2, 2, 1, 2)
        assert numbers(label + " N" * 7) == [round(v, d) for v, d in zip(expected, digits)]
    assert numbers(r"the annotations themselves - - - N N N N")[0] == round(
        errors(tables[0], "second_error_px256").mean(), 2
    )
    flagged = [table["review"].to_numpy(bool) for table in augmented]
    to_hc18 = [errors(table, "pred_second_px256") for table in augmented]
    far_off = [(of_one > 20).sum() for of_one in to_hc18]
    assert far_off == [(of_one[f] > 20).sum() for of_one, f in zip(to_hc18, flagged)]  # all found
    assert numbers(r"more than 20 px off \(N, N and N\)") == far_off
    assert numbers("with N, N and N images flagged") == [f.sum() for f in flagged]
    of_others = [round(of_one[~f].mean(), 2) for of_one, f in zip(to_hc18, flagged)]
    assert numbers("of the others are N, N and N px") == of_others
    minutes = pd.read_csv(RESULTS / "runs.csv").query("hypothesis == 3")["minutes"]
    assert numbers("of Hypothesis 3 took N to N minutes") == [minutes.min(), minutes.max()]


def test_the_one_number():
    """Of the model that learned from HC18's annotations, tested with them as the second reader."""
    path = RESULTS / "h3_hc18_augment_30_epochs.csv"
    if not path.exists():
        pytest.skip("the model for whoever measures heads has not been tested yet")
    table = pd.read_csv(path)
    clear = table[~table["review"].to_numpy(bool)]
    assert numbers("all 63 images N not flagged") == [len(clear)]
    of_all, of_clear = (all_figures(some, "pred_second_px256") for some in (table, clear))
    for pattern, figure in {
        "circumference, mean absolute error N mm N mm": "HC absolute error, mm",
        "circumference, mean of predicted less HC18's N mm N mm": "HC bias, mm",
        "landmarks, mean error, ends matched N px N px": "Mean",
    }.items():
        assert numbers(pattern) == [round(of_all[figure], 2), round(of_clear[figure], 2)]


@pytest.fixture(scope="module")
def report():
    """report(hypothesis, figure): the report's own value."""
    table = pd.read_csv(ROOT / "common/comparison/figures_of_the_report.csv")
    table = table.set_index(["hypothesis", "figure"])["value"]
    return lambda hypothesis, figure: table[hypothesis, figure]


SINGLE = {
    "mean error": "Mean",
    "std": "Std",
    "median error": "Median",
    "min error": "Min",
    "max error": "Max",
    "95th percentile": "95th percentile",
    "<= 10 px, %": "Excellent (≤10 px), %",
    "10-20 px, %": "Good (10-20 px), %",
    "20-50 px, %": "Poor (20-50 px), %",
    "> 50 px, %": "Failure (>50 px), %",
    "validation loss": "Lowest validation loss",
    "training loss": "Last training loss",
}


def single_runs():
    return rows_of("Single runs of 50 epochs", 8)


def test_the_reports_figures_in_the_table_of_the_single_runs(report):
    rows = single_runs()
    assert {*rows} == {*SINGLE, "OFD-1", "OFD-2", "BPD-1", "BPD-2"}
    for label, cells in rows.items():
        figures = [SINGLE[label]] if label in SINGLE else [f"{label} mean", f"{label} median"]
        for hypothesis in (1, 2, 3):
            try:
                expected = [report(hypothesis, figure) for figure in figures]
            except KeyError:
                expected = []
            given = cells[2 * hypothesis - 2].lstrip("~").split("/")
            assert [float(part) for part in given if part != "-"] == expected, label


def test_the_reports_figures_elsewhere(report):
    landmarks = [f"{name} mean" for name in ("OFD-1", "OFD-2", "BPD-1", "BPD-2")]
    for pattern, places in {
        "; the report has N and N px": [(3, "Mean"), (3, "Median")],
        "off; the report has about N %": [(3, "Failure (>50 px), %")],
        r"mean error N 22.57 \[": [(3, "Mean")],
        r"median error N 6.03 \[": [(3, "Median")],
        r"standard deviation N 41.25 \[": [(3, "Std")],
        "within 10 px, % ~N ": [(3, "Excellent (≤10 px), %")],
        "over 50 px off, % ~N ": [(3, "Failure (>50 px), %")],
        "within 5 mm, % ~N ": [(3, "Landmarks within 5 mm, %")],
        "About N % fail in 3": [(3, "Failure (>50 px), %")],
        "N % are within 10 px in 3": [(3, "Excellent (≤10 px), %")],
        "says The mean error is N px; the means of the landmarks are N, N, N and N px": [
            (1, "Mean"),
            *((1, name) for name in landmarks),
        ],
        "In Hypothesis 3 they are N, N, N and N px": [(3, name) for name in landmarks],
        r"where the report has N\.\)": [(3, "Mean")],
        "standard deviation is N px, and the 95th percentile is about N px": [
            (1, "Std"),
            (1, "95th percentile"),
        ],
        "lowest validation losses are N ": [(2, "Lowest validation loss")],
        "says The maximum is N px": [(3, "Max")],
        "with a mean of N px and": [(3, "Mean")],
        "at most, where the report has N": [(3, "Std")],
        "and the maximum are N, N and N px, and N %": [
            *((3, name) for name in ("Mean", "Median", "Max", "Failure (>50 px), %"))
        ],
        "smallest error is N px": [(3, "Min")],
        "Hypothesis 1, with N px": [(1, "Min")],
        "but N px and the N px of Hypothesis 2": [(1, "Min"), (2, "Min")],
        "U-Net of N parameters": [(1, "Parameters")],
        r"network \(N parameters\)": [(3, "Parameters")],
        "The total of N is right": [(3, "Parameters")],
        "1 to 3: N, N and N in the report": [(n, "Minutes") for n in (1, 2, 3)],
        "trainings took N, 25 to 30 and N minutes": [(1, "Minutes"), (3, "Minutes")],
        "has it the N px of the report's text": [(3, "Mean")],
    }.items():
        assert numbers(pattern) == [report(*place) for place in places], pattern
    one, three = report(1, "Mean"), report(3, "Mean")
    assert numbers("mean, N % below that of 1") == [round(100 * (1 - three / one), 1)]


def test_the_figures_of_the_single_runs_are_the_same_wherever_they_stand():
    rows = {label: cells[1::2] for label, cells in single_runs().items()}
    values = {label: [float(cell.split("/")[0]) for cell in cells] for label, cells in rows.items()}
    more = rows_of("Single runs on all 63 test images", 12)
    of_report = ("mean error", "median error", "> 50 px, %")
    runs = ("last weights", "Hypothesis 2", "Hypothesis 3", "3 with --augment")
    for i, label in enumerate(runs):
        assert [float(cell) for cell in more[label][:3]] == [values[row][i] for row in of_report]
    augmented = [more[label] for label in ("3 with --augment", "seed 43", "seed 44")]
    means, deviations = values["mean error"], values["std"]
    landmarks = ("OFD-1", "OFD-2", "BPD-1", "BPD-2")
    for pattern, expected in {
        "single N, N and N; three 6": values["median error"][:3],
        "single N, N and N, Hypothesis 2 the lowest": means[:3],
        "standard deviation: single N and N;": deviations[:2],
        r"single: by N % \(best weights: N %\)": [
            round(100 * (1 - means[1] / of_one))
            for of_one in (means[0], float(more["Hypothesis 1, best"][0]))
        ],
        "50 px: single N and N %": values["> 50 px, %"][:2],
        "in 1: BPD-1 N, OFD-2 N": [values["BPD-1"][0], values["OFD-2"][0]],
        "its means are N, N, N and N, those of Hypothesis 2 are N, N, N and N": [
            values[name][i] for i in (2, 1) for name in landmarks
        ],
        "single N %; three 64": [values["<= 10 px, %"][2]],
        "single N %; three 12": [values["> 50 px, %"][2]],
        "single N, N and N %": [float(more[label][3]) for label in runs[:3]],
        "three seeds: N, N and N; 30": [float(cells[0]) for cells in augmented],
        "19.26 and 18.76 N, N and N; 5": [float(cells[1]) for cells in augmented],
        "three with --augment, of 50 epochs: N %": [float(more["42, 43, 44 together"][2])],
    }.items():
        assert numbers(pattern, STATEMENTS) == expected, pattern
    gaps = np.subtract(values["validation loss"], values["training loss"])
    given = numbers("from N in 1 to N in 2, and from N to N in 3", STATEMENTS)
    assert given == pytest.approx(gaps, abs=1.01e-4)  # they were rounded after the subtraction


# Figures that stand twice: each pattern fits one place, and the two give the same numbers. What
# stands in a table, or is recomputed from one, is tested above.
TWICE = [
    ("and N of the 63 test images show a subject", "is N of the 63 test images and 22"),
    ("annotations of the report's N training images", "--seed says: N images for training"),
    ("annotations of the report's N training images", "of the same N training images"),
    ("N for validation and 63 for test", "of the N validation images show"),
    ("for validation and N for test", "annotations of the N test images, where"),
    ("Of the first N annotations", r"Of the first N rows \(up"),
    ("Of the first N annotations", "without the first N rows of the file"),
    ("Of the first N annotations", "of the test images the 19 of the first N rows"),
    ("on the N plausible images - 7.96", "annotations are plausible, N of 63 in test"),
    ("has the N images in images/", "The images are N of the 999 training images"),
    ("3 with --augment, N images", "N images without the first 206 rows"),
    ("smallest error is N px", "1.41 and so on: N px is one of these"),
    ("need Python N or newer", "and Python N are needed"),
    ("cut-off of heatmaps at N,", "values below N are 0"),
    ("sample_data then holds N MB", "for Hypotheses 1 and 2, N MB for 3"),
    ("initial weights, PyTorch N.1", "3.11 and torch N.1"),
    ("26 Nov 2026, PyTorch N.0", r"27 Nov 2026, PyTorch N.0"),
    ("text, the N own weights px of his picture", "error plot shows N, 12.12"),
    ("losses of Hypothesis 2 are N and", r"\(50 epochs\) and N \(16 epochs\)"),
]


@pytest.mark.parametrize(("one", "other"), TWICE)
def test_a_figure_that_stands_twice(one, other):
    assert numbers(one) == numbers(other)


def test_figures_that_follow_from_others():
    (first,), (plausible,) = numbers("Of the first N annotations"), numbers("HC.png. N are plaus")
    assert numbers("report's file, N can hardly be the axes") == [first - plausible]
    (of_all,), (of_others,) = numbers("file N of 622 annotations"), numbers("other 416 rows N.")
    assert plausible + of_others == of_all
    assert numbers("leave N MB on your Drive") == [2 * 156 + 483]
    assert numbers("each for Hypotheses 1 and 2, N MB") == [483]
    seconds = numbers("takes N s in Hypothesis 1, about N s in 2, N s in 3")
    assert numbers("N times on an H100, by FP16") == [round(seconds[0] / seconds[2], 1)]
    (milliseconds,) = numbers("prints it: N ms an image")
    assert numbers("in about N seconds an image") == [round(milliseconds / 1000, 1)]


def test_the_table_of_the_review_flag():
    rows = {
        label: re.findall(r"[\d.]+(?: of \d+)?", cells)
        for label, cells in re.findall(r"(?m)^    (limit|all: found|  flagged) +(\d.*)$", README)
    }
    limits = [HYPOTHESES[number].review_confidence for number in (1, 2, 3, 3, 3)]
    assert [float(limit) for limit in rows["limit"]] == limits
    found = re.search(r"all: found +(.*)\n +flagged +(.*)\n", README).groups()
    shares = [
        [100 * int(a) / int(b) for a, b in re.findall(r"(\d+) of (\d+)", row)] for row in found
    ]
    finds, flags = ([round(min(of_row)), round(max(of_row))] for of_row in shares)
    assert numbers("where the flag finds N to N %") == finds
    assert numbers("at random, would hold N to N %") == flags
    assert numbers("the review flag finds N to N %", STATEMENTS) == finds
    assert numbers("but flags N to N % of the images", STATEMENTS) == flags


def test_the_commits_are_those_of_the_notebook():
    notebook = (ROOT / "common" / "colab.ipynb").read_text(encoding="utf-8")
    commits = set(re.findall(r"checkout -q (\w{7})\b", notebook))
    assert len(commits) == 2
    assert set(re.findall(r"(?:commit|checkout) (\w{7})\b", TEXT)) == commits


# Lines of Python.


def test_the_lines_that_make_files_with_millimetres_and_of_hc18(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("Head.csv").write_text(
        "image_name,ofd_1_x,px_to_mm_rate\na.png,7,0.1\nc.png,9,0.4\nb.png,8,0.2\n"
    )
    Path("ground_truth.csv").write_text("image_name,ofd_1_x\nb.png,1\na.png,3\n")
    exec(block_after("annotations with millimetres, and HC18's:"), {})
    table = pd.read_csv("with_mm.csv")
    assert table.columns.tolist() == ["image_name", "ofd_1_x", "px_to_mm_rate"]
    assert table.to_numpy().tolist() == [["b.png", 1, 0.2], ["a.png", 3, 0.1]]
    table = pd.read_csv("hc18.csv")
    assert table.columns.tolist() == ["image_name", "ofd_1_x", "px_to_mm_rate"]
    assert table.to_numpy().tolist() == [["b.png", 8, 0.2], ["a.png", 7, 0.1]]


def test_the_lines_that_find_landmarks_from_python(
    samples, weights, tmp_path, monkeypatch, small_images
):
    """They find what the tester finds in the same images."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(samples / "images", "scans")
    shutil.copy(weights[ResNetUNet], "model.pth")
    names = {}
    exec(block_after("from Python:"), names)
    script("Tester", 3)(["--image_folder_path", "scans", "--model_path", "model.pth"])
    table = pd.read_csv("hypothesis_3_predictions.csv")
    expected = landmark_values(table, "pred_x", "pred_y")
    assert names["landmarks"] == pytest.approx(expected)
    assert names["landmarks"].dtype == np.float64


def test_the_file_of_pixel_sizes_gives_lengths_in_mm(
    samples, weights, tmp_path, monkeypatch, small_images
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scans").mkdir()
    shutil.copy(samples / "images" / "000_HC.png", "scans/scan_1.png")
    Path("sizes.csv").write_text(block_after("bpd_pred_mm and hc_pred_mm:"))
    arguments = ["--image_folder_path", "scans", "--model_path", str(weights[ResNetUNet])]
    script("Tester", 3)([*arguments, "--csv_path", "sizes.csv"])
    table = pd.read_csv("hypothesis_3_predictions.csv")
    for length in ("ofd", "bpd", "hc"):
        in_px, in_mm = table[f"{length}_pred_px"], table[f"{length}_pred_mm"]
        assert in_mm.tolist() == pytest.approx((0.154 * in_px).tolist())


def test_every_column_of_a_testers_table_is_explained(
    data_arguments, samples, weights, tmp_path, monkeypatch, small_images
):
    monkeypatch.chdir(tmp_path)
    truth = pd.read_csv(samples / "ground_truth.csv")
    truth.assign(px_to_mm_rate=0.1).to_csv("with_mm.csv", index=False)
    models = [str(weights[ResNetUNet])]
    second = ["--second_csv_path", str(samples / "ground_truth.csv")]
    arguments = ["--csv_path", "with_mm.csv", *data_arguments[2:], *second, "--model_path", *models]
    script("Tester", 3)(arguments)
    columns = pd.read_csv("hypothesis_3_predictions.csv").columns
    listed = re.findall(r"(?m)^    ((?:\w+, )*\w+) {1,}(?=\S)", section("FILES AND COLUMNS"))
    names = {name for line in listed for name in line.split(", ")}
    names |= {"D_mm", "D_pred_mm"}  # "also in _mm"
    plain = {re.sub("^(?:ofd|bpd)_[12]_", "L_", name) for name in columns}
    plain = {re.sub("^(?:ofd|bpd|hc)_(?=px|mm|pred)", "D_", name) for name in plain}
    assert plain <= names


def test_a_fourth_hypothesis_by_the_recipe(
    data_arguments, tmp_path, monkeypatch, capsys, small_images
):
    monkeypatch.chdir(tmp_path)
    recipe = block_after("the fourth hypothesis has another loss:")
    changes = re.findall(r"(?m)^in (both files|the trainer) +(\S+) +->  (\S+)$", recipe)
    assert len(changes) == len(recipe.splitlines()) == 3
    mains = {}
    for kind, files in (("Trainer", ["both files", "the trainer"]), ("Tester", ["both files"])):
        code = (ROOT / f"{kind}_Hypothesis1.py").read_text()
        for file, before, after in changes:
            if file in files:
                assert code.count(before) == 1
                code = code.replace(before, after)
        Path(f"{kind}_Hypothesis4.py").write_text(code)
        mains[kind] = runpy.run_path(f"{kind}_Hypothesis4.py")["main"]
    mains["Trainer"]([*data_arguments, "--epochs", "1"])
    checkpoint = torch.load("hypothesis_4_model_checkpoint.pth", weights_only=True)
    assert checkpoint["args"]["hypothesis"] == 4
    mains["Tester"]([*data_arguments, "--model_path", "hypothesis_4_model_checkpoint.pth"])
    assert "mean ± std" in capsys.readouterr().out
    assert len(pd.read_csv("hypothesis_4_predictions.csv")) == 1
    for name in ("training_curves", "predictions_visualization", "error_distribution"):
        assert Path(f"hypothesis_4_{name}.png").stat().st_size > 0
    with pytest.raises(SystemExit):
        script("Tester", 1)([*data_arguments, "--model_path", "hypothesis_4_model_checkpoint.pth"])
    assert "is a checkpoint of Hypothesis 4" in capsys.readouterr().err
