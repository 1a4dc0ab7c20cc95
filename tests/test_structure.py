"""The house: the report's files know only one another, and a folder only those below it."""

import ast
import re

import pytest

from tests.conftest import ROOT

COMMON = ROOT / "common"
REPORT = {
    *("ground_truth", "images", "heatmaps", "augmentation"),
    *("models", "losses", "training", "evaluation"),
}
COMMANDS = {"audit", "compare", "name_ends", "sample_data"}
# Each may know those before it.
FOLDERS = ("basics", "annotation_quality", "runs", "results", "comparison")
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in [*COMMON.rglob("*.py"), *ROOT.glob("*.py")]
}


def imported_by(path):
    """Which of FILES a file imports, wherever in it and however it says so."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = path.relative_to(ROOT).parent.parts  # from . import is relative to it
            above = package[: len(package) + 1 - node.level] if node.level else ()
            module = ".".join(filter(None, [*above, node.module]))
            found |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
    return found & FILES.keys()


def folder_of(module):
    """The place in FOLDERS of that in which a module is, or which it is; -1 directly in common."""
    parts = module.split(".")
    return FOLDERS.index(parts[1]) if len(parts) > 1 and parts[1] in FOLDERS else -1


def test_directly_in_common_are_the_reports_files_and_the_commands_and_all_else_one_level_down():
    assert {path.stem for path in COMMON.glob("*.py")} == {"__init__"} | REPORT | COMMANDS
    assert {path.parent.name for path in COMMON.glob("*/*.py")} == set(FOLDERS)
    assert all((COMMON / folder / "__init__.py").is_file() for folder in FOLDERS)
    assert not list(COMMON.glob("*/*/**/*.py"))


@pytest.mark.parametrize("name", sorted(REPORT))
def test_a_file_of_the_report_imports_only_others_of_the_report(name):
    assert imported_by(COMMON / f"{name}.py") <= {"common", *(f"common.{n}" for n in REPORT)}


def test_what_every_file_needs_of_common_itself_imports_none_of_them():
    assert imported_by(COMMON / "__init__.py") == set()


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_imports_only_the_folders_before_it(folder):
    for path in (COMMON / folder).glob("*.py"):
        known = {folder_of(module) for module in imported_by(path)}
        assert max(known, default=-1) <= FOLDERS.index(folder), path


def test_no_file_of_common_imports_a_command_or_a_script():
    ends = {f"common.{name}" for name in COMMANDS} | {path.stem for path in ROOT.glob("*.py")}
    assert {"common.audit", "Trainer_Hypothesis1", "Tester_Hypothesis3"} <= ends
    for path in COMMON.rglob("*.py"):
        assert not imported_by(path) & ends, path


@pytest.mark.parametrize("folder", FOLDERS)
def test_each_folder_says_what_lives_there_and_what_must_not(folder):
    text = ast.get_docstring(ast.parse((COMMON / folder / "__init__.py").read_text("utf-8")))
    assert 2 <= text.count(".") <= 3
    assert re.search(r"\b(no|nothing|none|not)\b", text.lower())
