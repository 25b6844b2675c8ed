"""Whatever would be expanded is bounded before it is expanded: one sentence at once, instead of hours or all the memory."""

import re
from pathlib import Path
from time import process_time

import pytest

from planners import make_planner
from sweeps.cli.main import main
from world_models.errors import UserError, brief

BASE = ["sweep", "--dry-run", "sweep=smoke", "planner=gd", "tracking.enabled=false"]
CASES = {
    "seeds={start: 0, count: 2000000000}": "not a number of seeds, at most 1000000",
    "seeds=range(1000000000000)": "more than 1000000 values",
    "noise_seeds=1000000000": "not a number of noise seeds",
    "planners.gd.settings.iterations=1e23": r"iterations 1e\+23 is above",
    "planners.gd.settings.lr=1e200": r"lr 1e\+200 is above",
    "planners.gd.settings.restarts=1000000000": "restarts 1000000000 is above 10000",
    "planners.gd.settings.max_evaluations=1e30": r"max_evaluations 1e\+30 is above",
    "max_rows=1000000000000": "max_rows 1000000000000 is not a whole number from 1 to 1000000",
    "target_seconds=1e300": r"target_seconds 1e\+300 is not a number of seconds",
    "mode=mpc:99999999999999999999": "mpc:K with K from 1 to 999999",
    "tasks.wall.settings.action_block=100000000": "not a whole number of steps from 1 to 1000",
    "tasks.wall.settings.speed=1e30": "not a number above 0",
}


@pytest.mark.parametrize("override", CASES)
def test_what_is_too_large_is_refused_at_once(
    override: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    before = process_time()
    assert main([*BASE, override]) == 2
    error = capsys.readouterr().err
    assert process_time() - before < 5
    assert error.count("\n") == 1
    assert re.search(CASES[override], error), error
    assert not list(tmp_path.rglob("*"))


def test_the_product_of_the_axes_is_bounded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*BASE, f"output={tmp_path}", "seeds=5000", "noise_seeds=20000"]) == 2
    assert "the grid has 20000 points and 100000000 cells: give at most" in capsys.readouterr().err


def test_points_are_counted_before_they_are_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*BASE, f"output={tmp_path}", "seeds=1", "noise_seeds=20000", "disagreement=range(0,20000)"]) == 2
    assert "the grid has 400000000 points and 400000000 cells: give at most" in capsys.readouterr().err


@pytest.mark.parametrize("value", [10**400, -(10**400), 10**6000, float("inf"), float("nan"), 1e23], ids=range(6))
def test_no_number_is_too_large_for_a_sentence(value: float) -> None:
    with pytest.raises(UserError, match="iterations"):
        make_planner("gd", {"iterations": value})
    assert len(brief(value)) < 70
