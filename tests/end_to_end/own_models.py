"""Sweeps that plan with every kind of model of a user's own, here and on Ray: a part of `make test-long`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sweeps.cli.main import main
from tests.support.own_models import FILES, WORDS, home, records

__all__ = ["home"]
ARCHIVES = ("exported.pt2", "script.pt")
MODELS = ",".join((*(f"./{file}" for file in FILES), *ARCHIVES))


def archives(home: Path) -> None:
    """Written by another process, whose modules they do not need."""
    environment = {**os.environ, "PYTHONPATH": ""}
    subprocess.run([sys.executable, "export.py", "."], cwd=home, env=environment, check=True, capture_output=True)


def test_one_sweep_plans_with_all_of_them(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archives(home)
    for archive in ARCHIVES:
        assert main(["check", archive]) == 0
    planners = ["planner=gd,grasp,cem", "planners.grasp.settings.sync_every=0"]
    planners += [f"planners.cem.settings.{word}" for word in ("iterations=6", "samples=100", "elites=10")]
    planners += [f"planners.{name}.settings.iterations=6" for name in ("gd", "grasp")]
    assert main([*WORDS, "task=glider.tasks:Glide", f"world_model={MODELS}", *planners, "backend=inline"]) == 0
    found = records()
    assert len(found) == 2 * 3 * len((*FILES, *ARCHIVES))
    assert [record["error"] for record in found if record["error"] is not None] == []
    # Every model knows the true motion, so that every one of them leads the sampling planner to its goals.
    assert {record["model"] for record in found if record["planner"] == "cem" and not record["success"]} == set()
    capsys.readouterr()
    assert main(["sweep", "--dry-run", *WORDS[2:], "task=glider.tasks:Glide", f"world_model={MODELS}", *planners]) == 0
    assert "new      0 cells" in capsys.readouterr().out


def test_a_replanned_recurrent_model_remembers(home: Path) -> None:
    words = ["task=glider.tasks:Glide", "world_model=./recurrent.py:load", "planner=cem", "mode=mpc:10"]
    words += ["planner.iterations=6", "planner.samples=100", "planner.elites=10"]
    assert main([*WORDS, *words, "backend=inline"]) == 0
    assert all(record["success"] for record in records())


def test_an_ensemble_of_ones_own_has_a_price_of_disagreement(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "task=glider.tasks:Glide",
        "planner=random_shooting",
        "planner.iterations=1",
        "planner.samples=20",
        "disagreement=[0,0.5]",
        "backend=inline",
    ]
    assert main([*WORDS, *words, "world_model=./noisy.py:load"]) == 0
    assert len(records()) == 4
    costs = [*WORDS[:-1], *words, "world_model=./noisy.py:load", "goal_cost=glider.costs:position"]
    assert main(costs) == 0
    assert len(records()) == 8
    capsys.readouterr()
    assert main([*WORDS, *words, "world_model=./recurrent.py:load"]) == 2
    assert "disagreement 0.5 needs an ensemble" in capsys.readouterr().err


def test_files_and_archives_are_planned_with_on_ray(home: Path) -> None:
    archives(home)
    words = ["task=glider.tasks:Glide", "world_model=./recurrent.py:load,exported.pt2,script.pt", "planner=grasp"]
    assert main([*WORDS, *words, "planner.iterations=10", "planner.sync_every=0", "backend=ray", "backend.num_workers=1"]) == 0
    found = records()
    assert len(found) == 6
    assert {record["status"] for record in found} == {"completed"}
