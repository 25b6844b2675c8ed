"""One small sweep, planned once, and its archive."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from sweeps.archives.exporting import export
from sweeps.config.outputs import Outputs
from sweeps.running.sweep import sweep

QUIET = Console(quiet=True)


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Outputs:
    folder = tmp_path_factory.mktemp("home")
    words = ["name=few", "task=wall", "planner=[gd,cem]", "horizons=[25]", "seeds=5", "tracking.uri=http://127.0.0.1:9"]
    words += [
        "planners.gd.settings.iterations=10",
        *(f"planners.cem.settings.{each}" for each in ("iterations=2", "samples=16", "elites=4")),
    ]
    assert sweep([*words, "backend=inline", "artifacts.cells=[]", "tracking.enabled=false", f"output={folder}"], QUIET) == 0
    return Outputs(folder)


@pytest.fixture(scope="session")
def archive(home: Outputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("archive") / "few.zip"
    assert export("few", home, file, QUIET) == 0
    return file
