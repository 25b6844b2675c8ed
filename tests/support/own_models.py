"""The example models of a user's own, in a folder in which commands are typed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pyarrow.dataset as ds
import pytest

from tests.support.plugins import GLIDER, OWN_MODELS, clean_plugins

FILES = ("history.py:Smoothed", "pictures.py:load", "noisy.py:load", "recurrent.py:load", "discrete.py:load")
"""A model of each kind."""
WORDS = ["sweep", "--quiet", "horizons=[20]", "seeds=2", "tracking.enabled=false", "artifacts.cells=[]", "goal_cost=state"]
"""A small sweep."""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of a user's own, in which commands are typed, with the examples' task and models."""
    shutil.copytree(GLIDER, tmp_path / "glider")
    for file in OWN_MODELS.glob("*.py"):
        shutil.copy(file, tmp_path)
    monkeypatch.chdir(tmp_path)
    with clean_plugins():
        yield tmp_path


def records() -> list[dict]:
    """The cells in the folder's ledger."""
    columns = ["model", "planner", "success", "status", "error", "distance"]
    return ds.dataset("outputs/ledger", format="parquet", exclude_invalid_files=True).to_table(columns=columns).to_pylist()
