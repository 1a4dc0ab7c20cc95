"""The notebook for Colab: its cells work as they stand, and work again when they are run again."""

import hashlib
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from common.models import ResNetUNet, UNet
from tests.conftest import ROOT

NOTEBOOK = json.loads((ROOT / "common" / "colab.ipynb").read_text(encoding="utf-8"))
CELLS = {cell["id"]: "".join(cell["source"]) for cell in NOTEBOOK["cells"]}
CODE = {cell["id"]: CELLS[cell["id"]] for cell in NOTEBOOK["cells"] if "outputs" in cell}
TEXT = "\n".join(CELLS[name] for name in CELLS if name not in CODE)
README = (ROOT / "ReadMe_Complete.txt").read_text(encoding="utf-8")

SHELL_LINE = re.compile(r"^( *)!((?:.*\\\n)*.*)$", re.MULTILINE)  # with the lines it goes on in
SHA256 = re.search(r"[0-9a-f]{64}", CODE["data"]).group()
# A sample run is short, and here are neither a GPU nor ImageNet's weights.
SHORTER = {
    "--device cuda": "--device cpu --epochs 1 --batch_size 4",
    "Trainer_Hypothesis3.py": "Trainer_Hypothesis3.py --encoder_weights none",
}


def test_it_is_a_notebook_without_outputs_that_asks_colab_for_a_t4():
    assert NOTEBOOK.keys() == {"cells", "metadata", "nbformat", "nbformat_minor"}
    assert (NOTEBOOK["nbformat"], NOTEBOOK["nbformat_minor"]) == (4, 5)
    metadata = NOTEBOOK["metadata"]
    assert metadata["accelerator"] == "GPU"
    assert metadata["colab"] == {"gpuType": "T4", "provenance": []}
    assert metadata["kernelspec"] == {"display_name": "Python 3", "name": "python3"}
    assert len(CELLS) == len(NOTEBOOK["cells"])  # no two have one id
    for before, cell in zip([None, *NOTEBOOK["cells"]], NOTEBOOK["cells"]):
        assert re.fullmatch(r"[a-z0-9-]+", cell["id"])
        assert cell["metadata"] == {}
        assert all(line.endswith("\n") for line in cell["source"][:-1])
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None
            assert before["cell_type"] == "markdown"  # which says what the cell gives
        else:
            assert cell.keys() == {"cell_type", "id", "metadata", "source"}


def test_its_figures_are_those_of_the_readme():
    number = r"\d+(?:\.\d+)?"
    assert set(re.findall(number, TEXT)) <= set(re.findall(number, README))
    in_code = [SHA256, *re.findall(r"checkout -q ([0-9a-f]{7})\b", CODE["data"] + CODE["author"])]
    assert len(in_code) == 3
    assert [text for text in in_code if text not in README] == []


def test_its_commands_have_options_that_their_programs_know(capsys):
    lines = [command for code in CODE.values() for _, command in SHELL_LINE.findall(code)]
    commands = [command for command in lines if command.startswith("python ")]
    assert len(commands) == 9
    for command in commands:
        program = re.match(r"python (?:-m )?(\S+)", command).group(1).removesuffix(".py")
        with pytest.raises(SystemExit):
            importlib.import_module(program).main(["--help"])
        known = set(re.findall(r"--[a-z_]+", capsys.readouterr().out))
        assert set(re.findall(r"--[a-z_]+", command)) <= known, command


def git(*arguments, **options):
    options["env"] = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull}
    who = [f"user.{key}=test" for key in ("name", "email")]
    settings = ["core.compression=0", "core.autocrlf=false", "init.defaultBranch=main", *who]
    words = [word for setting in settings for word in ("-c", setting)]
    subprocess.run(["git", *words, *map(str, arguments)], check=True, **options)


def make_repository(folder, files, commit=None):
    """Commit files, path in the repository → path. Of a known commit the abbreviated name becomes
    a tag, and a later commit has none of the files."""
    for name, path in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / name)
    git("init", "-q", cwd=folder)
    git("config", "uploadpack.allowFilter", "true", cwd=folder)
    git("config", "uploadpack.allowAnySHA1InWant", "true", cwd=folder)
    git("add", ".", cwd=folder)
    git("commit", "-q", "-m", "all", cwd=folder)
    if commit:
        git("tag", commit, cwd=folder)
        git("rm", "-q", "-r", ".", cwd=folder)
        git("commit", "-q", "--allow-empty", "-m", "later", cwd=folder)


@pytest.fixture
def colab(samples, weights, tmp_path, monkeypatch):
    """colab(name): run a cell in what looks like Colab: a folder on a Drive, and a GitHub."""
    if not shutil.which("git") or not shutil.which("bash"):
        pytest.skip("needs git and bash")
    ground_truth = samples / "ground_truth.csv"
    images = {f"images/{path.name}": path for path in (samples / "images").iterdir()}
    name = "role_challenge_dataset_ground_truth.csv"
    github = tmp_path / "github"
    make_repository(
        github / "shauryasawai/Medical_Research_Lab_Task", {name: ground_truth, **images}, "92b8a28"
    )
    head = tmp_path / "Head.csv"
    table = pd.read_csv(ground_truth)
    table.assign(px_to_mm_rate=0.1 + 0.01 * table.index)[::-1].to_csv(head, index=False)
    names = {"data/annotations/HC18/Head.csv": head, "data/other/Head.csv": head}
    make_repository(github / "surgical-vision/Multicentre-Fetal-Biometry", names)
    names = {
        "models/landmark/hypothesis_3_resnet_unet.pth": weights[ResNetUNet],
        "models/landmark/hypothesis_2_fixed_full_saved_model.pth": weights[UNet],
        "models/other.pth": head,
    }
    make_repository(github / "bishwajitSingh123/fetal-ultrasound-biometry", names, "395bd02")

    package = tmp_path / "content/drive/MyDrive/fetal_head_landmarks"
    package.mkdir(parents=True)
    for path in [*ROOT.glob("T*_Hypothesis?.py"), ROOT / "common"]:
        (package / path.name).symlink_to(path)
    replaced = {
        **SHORTER,
        "/content": str(tmp_path / "content"),
        "https://github.com": f"file://{github}",
        SHA256: hashlib.sha256(ground_truth.read_bytes()).hexdigest(),
    }

    drive = SimpleNamespace(mount=lambda folder: print("Mounted at", folder))
    monkeypatch.setitem(sys.modules, "google.colab", SimpleNamespace(drive=drive))
    display = SimpleNamespace(Image=Path, display=lambda path: print("Shown:", path.stat().st_size))
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.chdir(tmp_path)  # and back again, whatever a cell does
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    monkeypatch.setattr(os, "environ", {**os.environ, "PATH": path, "LC_ALL": "C.UTF-8"})
    variables = {}

    def run(name, fails=False):
        def shell(command):
            if command.startswith(("pip install ", "nvidia-smi")):
                return
            streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
            done = subprocess.run(["bash", "-c", command], env=os.environ, **streams)
            assert done.returncode == 0 or fails, done.stdout  # in a notebook the cell goes on
            print(done.stdout)

        code = SHELL_LINE.sub(lambda line: f"{line[1]}shell({line[2]!r})", CODE[name])
        for before, now in replaced.items():
            code = code.replace(before, now)
        variables["shell"] = shell
        exec(code, variables)
        # IPython puts a variable of Python in the place of $NAME, where it knows one.
        assert not set(re.findall(r"\$(\w+)", "".join(CODE.values()))) & variables.keys()

    yield run
    shutil.rmtree(tmp_path)  # about a gigabyte


def test_from_the_first_cell_to_the_last_with_one_training(colab, tmp_path, capsys):
    broken = tmp_path / "content/data.part/.git"  # of a clone that was stopped
    broken.mkdir(parents=True)
    for name in ("drive", "gpu", "data"):
        colab(name)
    assert capsys.readouterr().out.endswith("6 of 6 images have a pixel size\n")
    for name in ("test", "compare", "pictures"):
        colab(name)
    assert capsys.readouterr().out == "No model has been tested yet\n"
    content = tmp_path / "content"
    assert sorted(path.name for path in content.iterdir()) == [
        *("data", "drive", "ground_truth_with_mm.csv", "hc18")
    ]
    table = pd.read_csv(content / "ground_truth_with_mm.csv")
    assert table.pop("px_to_mm_rate").tolist() == pytest.approx([0.1, 0.11, 0.12, 0.13, 0.14, 0.15])
    annotations = content / "data/role_challenge_dataset_ground_truth.csv"
    pd.testing.assert_frame_equal(table, pd.read_csv(annotations))
    assert (content / "hc18/data/annotations/HC18/Head.csv").exists()
    assert not (content / "hc18/data/other").exists()

    colab("train-3")
    assert "Epoch 1/1 |" in capsys.readouterr().out
    colab("test")
    said = capsys.readouterr().out
    assert said.count("Pixel error, mean ± std") == 1
    assert " mm" in said
    assert "second reader" in said
    colab("author")
    assert capsys.readouterr().out.count("Shown:") == 4
    assert not (content / "author/models/other.pth").exists()
    # As if Hypothesis 1 had been trained and tested too.
    shutil.copy("hypothesis_3_predictions.csv", "hypothesis_1_predictions.csv")
    checkpoint = "hypothesis_1_full_saved_model_checkpoint.pth"
    shutil.copy("hypothesis_3_resnet_unet_checkpoint.pth", checkpoint)
    colab("compare")
    said = capsys.readouterr().out
    assert re.search(r"\bH1 +report 1 +H3 +report 3\n", said)
    assert "24,118,918" in said
    colab("pictures")
    said = capsys.readouterr().out.splitlines()[::2]
    names = ("training_curves", "predictions_visualization", "error_distribution")
    assert said == [*sorted(f"hypothesis_3_{name}.png" for name in names), "comparison.png"]

    # Once more: nothing is fetched or trained that is there.
    shutil.rmtree(tmp_path / "github")
    for name in ("drive", "gpu", "data", "train-3"):
        colab(name)
    assert "nothing is left to train" in capsys.readouterr().out
    # Nor is a wrong file trained on.
    with annotations.open("a") as file:
        file.write("\n")
    with pytest.raises(AssertionError, match=r"is not the report's file.*Delete the folder"):
        colab("data")


def test_what_cannot_be_fetched_stops_all_and_what_is_half_there_is_fetched_again(
    colab, tmp_path, monkeypatch
):
    data, hidden = tmp_path / "github/shauryasawai", tmp_path / "github/hidden"
    colab("drive")
    data.rename(hidden)
    with pytest.raises(AssertionError, match="The images could not be fetched"):
        colab("data", fails=True)
    assert not (tmp_path / "content/data").exists()
    hidden.rename(data)
    colab("data")
    assert (tmp_path / "content/ground_truth_with_mm.csv").exists()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(AssertionError, match="Change runtime type"):
        colab("gpu")


@pytest.mark.slow
def test_run_all_twice(colab, capsys):
    tests = []
    for trained in ("Epoch 1/1 |", "nothing is left to train"):
        for name in CODE:
            colab(name)
        said = capsys.readouterr().out
        assert said.count(trained) == 3
        assert said.count("Shown:") == 3 * 3 + 1 + 1 + 4
        assert re.search(r"\bH1 +report 1 +H2 +report 2 +H3 +report 3 +best\n", said)
        tests.append([Path(f"hypothesis_{number}_predictions.csv").read_text() for number in "123"])
    assert tests[0] == tests[1]
