"""Words that name a user's own code go through the door as others do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sweeps.cli.main import main
from tests.support.plugins import clean_plugins
from world_models.plugins import registry


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    with clean_plugins():
        yield
    registry._entry_points.cache_clear()


def test_an_installed_planner_with_the_name_of_ours_is_refused_with_both_homes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    info = tmp_path / "outsider-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: outsider\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text("[grasp_orchestrator.planners]\ngd = outsider:Hover\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    registry._entry_points.cache_clear()
    assert main(["sweep", "--dry-run", "task=wall", "planner=gd", "seeds=2"]) == 2
    error = capsys.readouterr().err
    assert "two planners are called 'gd', one of grasp-orchestrator and one of the installed outsider" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    "word", ["planner='./a b.py:X'", "planner=[./x.py:Y]", "planner=./x.py:Y,./x.py:Y", "task=x:y:Z", "world_model=./x.py:Y"]
)
def test_targets_that_are_nowhere_are_one_sentence(
    word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["sweep", "--dry-run", "task=wall", "seeds=2", word]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
