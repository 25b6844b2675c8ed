"""`grasp sweep --replan`: finished cells planned anew, where something that is in no cell's id has changed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrator.core.cell import digest
from orchestrator.ledger.ledger import Ledger
from sweeps.cli.main import main
from sweeps.running.sweep import SweepOptions, redo_of
from tests.support.plugins import clean_plugins
from world_models.errors import UserError

PLANNER = '''
from dataclasses import replace
from pathlib import Path
from planners.methods.random_shooting import RandomShooting

class Steady(RandomShooting):
    """Random shooting, its actions scaled by a number in a file that the code only names."""
    def plan(self, *given, **more):
        if Path("broken").exists():
            raise RuntimeError("broken for a while")
        plans = super().plan(*given, **more)
        scale = float(Path("scale").read_text())
        return replace(plans, actions=plans.actions * scale)
'''
WORDS = [
    *("sweep", "--quiet", "task=wall", "planner=./steady.py:Steady", "planner.iterations=1", "planner.samples=10"),
    *("horizons=[20]", "seeds=3", "tracking.enabled=false", "artifacts.video=false", "backend=inline"),
]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the planner and the file that it reads, of which three cells are planned."""
    (tmp_path / "steady.py").write_text(PLANNER, encoding="utf-8")
    (tmp_path / "scale").write_text("1.0", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with clean_plugins():
        assert main(WORDS) == 0
        yield tmp_path


def records() -> list[dict]:
    return Ledger(Path("outputs/ledger")).table().sort_by("seed").to_pylist()


def drawn() -> dict[int, str]:
    (file,) = Path("outputs/artifacts").glob("*/chosen.json")
    return {cell["seed"]: cell["plan"] for cell in json.loads(file.read_text(encoding="utf-8"))["cells"]}


def test_finished_cells_are_planned_and_drawn_anew(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, pictures = records(), {path: path.read_bytes() for path in home.glob("outputs/artifacts/*/*.parquet")}
    (home / "scale").write_text("0.5", encoding="utf-8")
    assert main(WORDS) == 0
    assert records() == before  # nothing says that the file is another one
    assert main([*WORDS[:1], "--dry-run", "--replan", *WORDS[1:]]) == 0
    assert "new      3 cells" in capsys.readouterr().out
    assert main([*WORDS[:1], "--replan", *WORDS[1:]]) == 0
    after = records()
    assert [row["cell_id"] for row in after] == [row["cell_id"] for row in before]
    for old, new in zip(before, after, strict=True):
        assert new["actions"] == pytest.approx([0.5 * action for action in old["actions"]])
        assert new["finished_at"] > old["finished_at"]
    shown = drawn()
    assert shown == {row["seed"]: digest(row["actions"]) for row in after if row["seed"] in shown}
    assert all(path.read_bytes() != content for path, content in pictures.items() if path.exists())


def test_what_fails_anew_keeps_its_earlier_result(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = records()
    (home / "broken").touch()
    main([*WORDS[:1], "--replan", *WORDS[1:]])
    assert "3 cells failed when they were planned anew: where there are earlier results, those stand" in capsys.readouterr().out
    assert records() == before


def test_only_cells_from_before_a_time_are_planned(home: Path) -> None:
    before = records()
    moment = before[0]["finished_at"].isoformat()
    assert main([*WORDS[:1], "--replan", "--before", moment, *WORDS[1:]]) == 0
    assert records() == before
    again = datetime.now(UTC).isoformat()
    assert main([*WORDS[:1], "--replan", "--before", again, *WORDS[1:]]) == 0
    assert main([*WORDS[:1], "--replan", "--before", again, *WORDS[1:]]) == 0  # as an interrupted one goes on
    assert Ledger(home / "outputs" / "ledger").finished_seeds() is not None
    assert all(new["finished_at"] > old["finished_at"] for old, new in zip(before, records(), strict=True))


def test_the_command_that_goes_on_names_the_time() -> None:
    redo = redo_of(failed=False, replan=True, before="2026-11-30T18:00:00")
    assert SweepOptions(redo=redo).to_resume == ["--replan", "--before", "2026-11-30T18:00:00+00:00"]


@pytest.mark.parametrize(
    ("replan", "before", "says"),
    [
        (True, "yesterday", "--before 'yesterday' is not a time: give one such as 2026-11-30T18:00:00"),
        (False, "2026-11-30", "--before 2026-11-30 goes with --replan"),
    ],
)
def test_a_time_that_is_none_is_refused(replan: bool, before: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        redo_of(failed=False, replan=replan, before=before)


def test_it_does_not_join_another_driver(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*WORDS[:1], "--join", "--replan", *WORDS[1:]]) == 2
    assert "--join does not go with --retry-failed or --replan" in capsys.readouterr().err
