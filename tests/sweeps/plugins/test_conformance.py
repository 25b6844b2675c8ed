"""The suites find a plug-in that keeps its promises sound, and say which are broken."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from sweeps.cli.main import main
from tests.support.plugins import GLIDER, clean_plugins


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with clean_plugins():
        monkeypatch.syspath_prepend(str(GLIDER.parent))
        yield


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        ("glider.tasks:Glide", "task"),
        ("glider.models:ice", "world model"),
        ("glider.costs:position", "goal cost"),
        ("glider.planners:Climbing", "planner"),
    ],
)
def test_the_example_keeps_every_promise(target: str, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", target]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{kind} {target} of module")
    assert "promises hold" in out.splitlines()[-1]
    assert "broken" not in out


BROKEN = """
import torch
from planners.base import Plans
from planners.methods.gd import GD, GDSettings
def negative(states, goals): return (states - goals).sum(1)
def mixing(states, goals): return (states - goals).square().sum(1) * states.mean().abs()
class NoSimulate:
    name = "odd"
    def problem(self, seed, horizon): raise NotImplementedError
def raises(): raise ValueError("no weights")
def nothing(): return object()
"""


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("negative", 1, "A cost is one finite number >= 0 for each state: a cost is negative"),
        ("mixing", 1, "a state costs something else in a batch"),
        ("NoSimulate", 2, "which lacks action_block, action_dim, distance"),
        ("raises", 2, "cannot be made (ValueError: no weights)"),
        ("nothing", 2, "is object, which lacks action_dim, device"),
        ("Absent", 2, "has no Absent"),
    ],
)
def test_what_is_missing_or_broken_is_said(
    name: str, code: int, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "plug_broken.py").write_text(BROKEN, encoding="utf-8")
    assert main(["check", f"{tmp_path}/plug_broken.py:{name}"]) == code
    captured = capsys.readouterr()
    assert said in captured.out + captured.err
    assert captured.err.count("\n") <= 1


DATASETS = """
import numpy as np
from dataclasses import replace
from world_models.datasets import from_arrays
def sound(path):
    return from_arrays({"action": np.loadtxt(path, ndmin=2).astype("f4")}, [4, 6])
def short(path):
    return from_arrays({"action": np.loadtxt(path, ndmin=2).astype("f4")}, [4, 7])
def unstable(path):
    rng = np.random.default_rng()
    return from_arrays({"action": rng.normal(size=(10, 2))}, [4, 6])
def empty(path):
    return from_arrays({"action": np.zeros((0, 2), "f4")}, [])
"""


def test_a_reader_of_datasets_is_tried_on_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "plug_datasets.py").write_text(DATASETS, encoding="utf-8")
    np.savetxt(tmp_path / "rows.txt", np.arange(20).reshape(10, 2))
    path = f"path={tmp_path / 'rows.txt'}"
    assert main(["check", f"{tmp_path}/plug_datasets.py:sound", path]) == 0
    assert "all 8 promises hold" in capsys.readouterr().out
    assert main(["check", f"{tmp_path}/plug_datasets.py:unstable", path]) == 1
    assert "Both digests are 16 hex digits and the same each time: two openings have different" in capsys.readouterr().out
    for name, words, said in (("short", [path], "has 10 rows"), ("empty", [path], "has no rows to try dataset")):
        assert main(["check", f"{tmp_path}/plug_datasets.py:{name}", *words]) == 2
        assert said in capsys.readouterr().err
    assert main(["check", f"{tmp_path}/plug_datasets.py:sound", "kind=dataset"]) == 2
    assert "reads a small dataset of its kind: give one with path=PATH" in capsys.readouterr().err
    assert main(["check", f"{tmp_path}/plug_datasets.py:sound", "path=nowhere"]) == 2


def test_names_that_are_nothing_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "nothing-of-the-kind"]) == 2
    assert "is neither a target nor the name of a plug-in" in capsys.readouterr().err
    assert main(["check", "glider.tasks:Glide", "kind=film"]) == 2
    assert "unknown kind of plug-in 'film'" in capsys.readouterr().err


def test_installed_plug_ins_are_listed_without_being_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from world_models.plugins import registry

    info = tmp_path / "outsider-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: outsider\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text("[grasp_orchestrator.planners]\nhover = outsider_mod:Hover\n", encoding="utf-8")
    (tmp_path / "outsider_mod.py").write_text("raise SystemExit('imported')", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    registry._entry_points.cache_clear()
    try:
        assert main(["plugins"]) == 0
        row = next(line for line in capsys.readouterr().out.splitlines() if "hover" in line)
        assert row.split() == ["planner", "hover", "the", "installed", "outsider", "outsider_mod:Hover"]
        assert "outsider_mod" not in sys.modules
        (info / "entry_points.txt").write_text("[grasp_orchestrator.planners]\ngrasp = outsider_mod:Hover\n", encoding="utf-8")
        registry._entry_points.cache_clear()
        assert main(["plugins"]) == 2
        assert (
            "two planners are called 'grasp', one of grasp-orchestrator and one of the installed outsider"
            in capsys.readouterr().err
        )
    finally:
        registry._entry_points.cache_clear()
