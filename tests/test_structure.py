"""The house: the report's files know only one another, and no two folders know each other."""

import ast

import pytest

from tests.conftest import ROOT

REPORT = {
    *("ground_truth", "images", "heatmaps", "augmentation"),
    *("models", "losses", "training", "evaluation"),
}
COMMANDS = {"audit", "compare", "name_ends", "sample_data"}
FOLDERS = {"basics", "runs", "results", "annotations", "comparison"}


def imported_by(path):
    """The modules of common that a file imports, as `images` or `runs.fit`; "" is UserError's."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            if node.module == "common" or node.module.removeprefix("common.") in FOLDERS:
                found |= {f"{node.module}.{alias.name}" for alias in node.names}
    known = {p.relative_to(ROOT / "common") for p in (ROOT / "common").rglob("*.py")}
    modules = {
        ".".join(p.with_suffix("").parts).removesuffix("__init__").rstrip(".") for p in known
    }
    ours = {name.removeprefix("common").lstrip(".") for name in found if name.startswith("common")}
    return ours & modules


def folder_of(module):
    return module.split(".")[0] if "." in module or module in FOLDERS else ""


def test_directly_in_common_are_the_reports_files_and_the_commands():
    files = {path.stem for path in (ROOT / "common").glob("*.py")} - {"__init__"}
    assert files == REPORT | COMMANDS
    folders = {path.parent.name for path in (ROOT / "common").glob("*/__init__.py")}
    assert folders == FOLDERS


@pytest.mark.parametrize("name", sorted(REPORT))
def test_a_file_of_the_report_imports_only_others_of_the_report(name):
    assert imported_by(ROOT / "common" / f"{name}.py") - {""} <= REPORT


def test_no_two_folders_import_each_other_and_none_imports_a_command_or_a_script():
    above = {folder: set() for folder in FOLDERS}
    for path in (ROOT / "common").glob("*/*.py"):
        modules = imported_by(path)
        assert not modules & COMMANDS, path
        assert "Hypothesis" not in path.read_text().split('"""')[0]
        above[path.parent.name] |= {folder_of(module) for module in modules} & FOLDERS
    for folder in FOLDERS:  # a folder must not reach itself through others
        reached, new = set(), above[folder] - {folder}
        while new:
            reached |= new
            new = set().union(*(above[one] - {one} for one in new)) - reached
        assert folder not in reached


def test_each_folder_says_what_lives_there_and_what_must_not():
    for folder in FOLDERS:
        text = ast.get_docstring(ast.parse((ROOT / "common" / folder / "__init__.py").read_text()))
        assert 2 <= text.count(".") <= 3
        assert "no" in text.lower()
