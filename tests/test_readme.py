"""The ReadMe: its commands and lines of Python work as they are printed there."""

from __future__ import annotations

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

from common.ground_truth import landmark_values
from common.models import ResNetUNet
from tests.conftest import ROOT, script

README = (ROOT / "ReadMe_Complete.txt").read_text()
SCRIPTS = sorted(path.stem for path in ROOT.glob("T*_Hypothesis?.py"))
# The commands among the modules of common: those that end in a call of their main.
COMMANDS = [
    f"common.{path.stem}"
    for path in sorted(ROOT.glob("common/*.py"))
    if '__name__ == "__main__"' in path.read_text()
]


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


def test_every_option_is_listed_and_no_other(options_of):
    in_help = set.union(*map(options_of, [*SCRIPTS, *COMMANDS]))
    in_readme = set(re.findall(r"--[a-z_]+", section("OPTIONS")))
    assert in_help - {"--help"} == in_readme - {"--help"}


def test_every_command_is_listed():
    assert set(re.findall(r"python -m (common\.\w+)", section("OPTIONS"))) == set(COMMANDS)


def commands():
    """The commands in the ReadMe that begin with python: the script or module → its words."""
    joined = re.sub(r" \\\n +", " ", README)
    for line in re.findall(r"(?m)^ +!?(?:\S*/)?python3? +(\w\S*\.py .*|-m common\..*)$", joined):
        words = shlex.split(re.split(r" &&|  +", line)[0])
        name = words[1] if words[0] == "-m" else words[0]
        yield name.removesuffix(".py") if words[0] != "-m" else name, words


def test_every_command_has_options_that_its_program_knows(options_of):
    found = list(commands())
    assert len(found) > 25
    assert {name for name, _ in found} >= {*SCRIPTS, *COMMANDS}
    known = {name: options_of(name) for name in {*SCRIPTS, *COMMANDS}}
    for name, words in found:
        names = SCRIPTS if "{number}" in name else [name]
        for word in words:
            if word.startswith("--"):
                assert any(word in known[one] for one in names), words


def test_the_contents_list_the_headings_and_no_reference_leads_nowhere():
    headings = dict(re.findall(r"(?m)^(\d+)\. (.+)\n-+$", README))
    assert list(headings) == [str(number) for number in range(1, len(headings) + 1)]
    contents = re.search(r"\nContents:\n((?:  .*\n)+)", README).group(1)
    listed = re.findall(r"(\d+) (\S.*?)(?:  |\n)", contents)
    assert {number: title.upper() for number, title in listed} == headings
    for numbers in re.findall(r"[Ss]ections? (\d+(?:(?:, | and |, and )\d+)*)", README):
        assert set(re.findall(r"\d+", numbers)) <= set(headings)


def test_every_module_has_its_place_in_the_reading_order():
    listed = re.search(r"modules\nof common/ are read in this order:\n((?:    .*\n)+)", README)
    modules = {path.stem for path in ROOT.glob("common/*.py")} - {"__init__"}
    assert modules == modules & set(re.findall(r"\w+", listed.group(1)))


def test_lines_fit_a_screen():
    assert [line for line in README.splitlines() if len(line) > 100 and "://" not in line] == []


def test_the_lines_that_add_millimetres(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("training_set_pixel_size_and_HC.csv").write_text(
        "filename,pixel size(mm),head circumference (mm)\na.png,0.1,44\nb.png,0.2,56\n"
    )
    Path("ground_truth.csv").write_text("image_name,ofd_1_x\nb.png,1\nc.png,2\na.png,3\n")
    exec(block_after("These lines add it:"), {})
    table = pd.read_csv("with_mm.csv")
    assert table["ofd_1_x"].tolist() == [1, 2, 3]
    assert table["px_to_mm_rate"].tolist() == pytest.approx([0.2, np.nan, 0.1], nan_ok=True)


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
    assert "Mean ± std" in capsys.readouterr().out
    assert len(pd.read_csv("hypothesis_4_predictions.csv")) == 1
    for name in ("training_curves", "predictions_visualization", "error_distribution"):
        assert Path(f"hypothesis_4_{name}.png").stat().st_size > 0
    with pytest.raises(SystemExit):
        script("Tester", 1)([*data_arguments, "--model_path", "hypothesis_4_model_checkpoint.pth"])
    assert "is a checkpoint of Hypothesis 4" in capsys.readouterr().err
