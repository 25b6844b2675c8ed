"""A user's own task, world model, goal cost and planner in sweeps: nothing of ours is edited, and code is part of identity."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.dataset as ds
import pytest

from sweeps.cli.main import main
from tests.support.plugins import GLIDER, clean_plugins

WORDS = ["sweep", "--quiet", "horizons=[20]", "seeds=2", "tracking.enabled=false", "artifacts.cells=[]"]
QUICK = ["backend=inline"]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of a user's own, in which commands are typed, with the example's package and a planner in a file."""
    shutil.copytree(GLIDER, tmp_path / "glider")
    shutil.copy(GLIDER / "planners.py", tmp_path / "my_climbing.py")
    monkeypatch.chdir(tmp_path)
    with clean_plugins():
        yield tmp_path


def words(planner: str = "gd,glider.planners:Climbing", *more: str) -> list[str]:
    settings = ["planners.Climbing.settings.iterations=4", "planners.Climbing.settings.samples=10"]
    settings += ["planners.gd.settings.iterations=4"] if "gd" in planner else []
    own = ["task=glider.tasks:Glide", "world_model=glider.models:ice", f"planner={planner}"]
    return [*WORDS, *own, *settings, *more]


def fresh() -> None:
    """Begin as another process would: nothing is admitted or imported."""
    for name in [name for name in sys.modules if name.startswith(("glider", "my_climbing"))]:
        del sys.modules[name]
    from world_models.checkpoints.plugin_models import _described
    from world_models.plugins import PLUGINS

    PLUGINS.offers.clear()
    PLUGINS.found.clear()
    _described.cache_clear()


def records() -> list[dict]:
    columns = ["cell_id", "task", "model", "planner", "goal_cost", "code", "success", "status"]
    return ds.dataset("outputs/ledger", format="parquet", exclude_invalid_files=True).to_table(columns=columns).to_pylist()


def test_a_sweep_of_nothing_but_plug_ins(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words("gd,glider.planners:Climbing", "goal_costs=[state,glider.costs:position]", *QUICK)) == 0
    found = records()
    assert len(found) == 8
    assert {record["status"] for record in found} == {"completed"}
    assert {record["planner"] for record in found} == {"gd", "glider.planners:Climbing"}
    assert all("task" in record["code"] for record in found)
    capsys.readouterr()
    fresh()
    for command in (["report"], ["status"], ["compare", "default", "default"], ["export", "default", "--to", "a.zip"]):
        assert main(command) == 0
    assert main(["import", "a.zip", "output=elsewhere"]) == 0
    assert not [name for name in sys.modules if name.startswith("glider")]
    capsys.readouterr()
    cell = next(record["cell_id"] for record in found if record["planner"] != "gd" and record["goal_cost"] is None)
    assert main(["rerun", cell]) == 2
    assert "is code that a record names, which is imported only when you name it: give --plugin" in capsys.readouterr().err
    named = ("glider.tasks:Glide", "glider.models:ice", "glider.planners:Climbing")
    assert main(["rerun", cell, *(word for name in named for word in ("--plugin", name))]) == 0
    assert "agrees" in capsys.readouterr().out


def test_edited_code_never_passes_for_old_results(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    planner = "gd,./my_climbing.py:Climbing"
    assert main(["sweep", "--quiet", *words(planner)[2:], *QUICK]) == 0
    before = {record["cell_id"]: record["planner"] for record in records()}
    fresh()
    capsys.readouterr()
    assert main(["sweep", "--dry-run", *words(planner)[2:], *QUICK]) == 0
    assert "new      0 cells" in capsys.readouterr().out
    file = home / "my_climbing.py"
    file.write_text(file.read_text(encoding="utf-8") + "\nEDITED = True\n", encoding="utf-8")
    fresh()
    assert main(["sweep", "--dry-run", *words(planner)[2:], *QUICK]) == 0
    out = capsys.readouterr().out
    assert "new      2 cells" in out
    assert "2 because the code of planner my_climbing.py:Climbing has changed" in out
    fresh()
    assert main([*words(planner), *QUICK]) == 0
    after = {record["cell_id"]: record["planner"] for record in records()}
    assert {planner for cell, planner in after.items() if cell not in before} == {"my_climbing.py:Climbing"}
    assert set(before) < set(after)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("planner=./absent.py:X", "target './absent.py:X': there is no file absent.py in"),
        ("planner=absent_pkg.mod:X", "cannot be imported (ModuleNotFoundError: No module named 'absent_pkg')"),
        ("planner=glider.planners:Absent", "module glider.planners has no Absent; it has Climbing"),
        ("planner=glider.planners:ClimbingSearch", "cannot be made"),
        ("planner=gd,glider.planners:Climbing,./my_climbing.py:Climbing", "two planners are called 'Climbing'"),
        ("planner.samples=3", "sets a setting of the only planner, and none is chosen before it"),
        ("tasks.wall.target=./x", "has both the name 'wall' and the target './x'"),
        ("goal_cost=glider.costs:absent", "has no absent"),
        ("world_model=glider.tasks:Glide", "lacks"),
    ],
)
def test_bad_targets_are_one_sentence(word: str, said: str, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "--dry-run", "task=wall", "horizons=[25]", "seeds=2", word]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_settings_may_be_lists_and_mappings(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A task with nested settings is planned, recorded, resumed and reported."""
    text = (home / "glider/tasks.py").read_text(encoding="utf-8")
    field = "class Glide(SimpleTask):"
    (home / "nested.py").write_text(text.replace(field, f"{field}\n    kwargs: object = None"), encoding="utf-8")
    own = ["task=./nested.py:Glide", "task.kwargs={a:[1,2.5],b:{c:true,d:null}}", "world_model=glider.models:ice", "planner=gd"]
    command = [*WORDS, *own, "planner.iterations=2", *QUICK]
    assert main(command) == 0
    fresh()
    capsys.readouterr()
    assert main(["sweep", "--dry-run", *command[2:]]) == 0
    assert "new      0 cells" in capsys.readouterr().out
    assert main(["report"]) == 0
