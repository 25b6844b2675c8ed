"""House rules: few files in a folder, short files, and benchmarks that stand without the tests."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TREES = ("orchestrator", "sweeps", "planners", "world_models", "tests")
CODE = {".py", ".c", ".h"}
MOST_FILES = 16
"""Files of code side by side, without `__init__.py`. tests/end_to_end may have more; sweeps/commands has one per command."""
MOST_LINES = 350


def code_files(tree: str) -> list[Path]:
    return sorted(file for file in (ROOT / tree).rglob("*") if file.suffix in CODE)


@pytest.mark.parametrize("tree", TREES)
def test_no_folder_is_crowded(tree: str) -> None:
    counts = Counter(str(file.parent.relative_to(ROOT)) for file in code_files(tree) if file.name != "__init__.py")
    del counts["tests/end_to_end"], counts["sweeps/commands"]
    assert {folder: count for folder, count in counts.items() if count > MOST_FILES} == {}


@pytest.mark.parametrize("tree", [*TREES, "benchmarks"])
def test_no_file_is_long(tree: str) -> None:
    lines = {str(file.relative_to(ROOT)): len(file.read_text().splitlines()) for file in code_files(tree)}
    assert lines
    assert {file: count for file, count in lines.items() if count > MOST_LINES} == {}


def test_benchmarks_import_nothing_from_the_tests() -> None:
    """A test, since import-linter's contracts on ray and mlflow would bind the benchmarks as well if it knew them."""
    found = []
    for file in code_files("benchmarks"):
        for node in ast.walk(ast.parse(file.read_text())):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found += [f"{file.name}:{node.lineno}" for module in modules if module.partition(".")[0] == "tests"]
    assert found == []
