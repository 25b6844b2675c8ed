"""docs/api.md is current and its examples hold; the scripts and the notebook of examples/ run."""

from __future__ import annotations

import doctest
import os
import runpy
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]


def test_the_page_of_the_python_interface_is_current():
    page = runpy.run_path(str(ROOT / "docs" / "make_api.py"))["page"]()
    assert (ROOT / "docs" / "api.md").read_text(encoding="utf-8") == page, "run python docs/make_api.py"


def test_its_examples_hold(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    failed, tried = doctest.testfile(str(ROOT / "docs" / "api.md"), module_relative=False)
    assert tried >= 15
    assert failed == 0


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("sweep.py", "the report is"),
        ("plan_one.py", "the animation is"),
        ("own_planner.py", "BestOfMany keeps every promise of a planner"),
    ],
)
def test_scripts_run(script, said, tmp_path):
    words = [sys.executable, ROOT / "examples" / script, tmp_path]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert said in done.stdout


def test_the_notebook_runs(tmp_path, monkeypatch):
    """In a kernel, whose event loop runs while the cells do."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("GRASP_OUTPUT", str(tmp_path / "outputs"))
    notebook = nbformat.read(ROOT / "examples" / "first_sweep.ipynb", as_version=4)
    NotebookClient(notebook, timeout=280, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [kind for cell in notebook.cells for output in cell.get("outputs", []) for kind in output.get("data", {})]
    assert "image/png" in shown
    assert "text/html" in shown
    folder = tmp_path / "outputs" / "sweeps" / "first"
    assert (folder / "report.html").exists()
    assert "s/plan, all" in (folder / "report.txt").read_text(encoding="utf-8"), "the report went to the notebook"
