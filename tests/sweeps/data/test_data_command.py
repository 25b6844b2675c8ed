"""`grasp data`: its output and exit codes, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from sweeps.cli.main import main


@pytest.fixture
def npz(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    np.savez(
        tmp_path / "x.npz",
        observations=rng.normal(size=(30, 4)).astype(np.float32),
        actions=rng.uniform(-1, 1, (30, 2)).astype(np.float32),
        terminals=np.arange(30) % 10 == 9,
    )
    return tmp_path / "x.npz"


def test_inspect_describes_a_dataset(npz: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "inspect", str(npz)]) == 0
    said = capsys.readouterr().out
    assert "kind npz, digest " in said
    assert "3 episodes, 30 rows; rows per episode: 10 to 10, median 10" in said
    assert "float32[4]" in said
    assert "a model of states, from observations" in said
    assert "point_maze" in said
    assert "nothing is wrong with it" in said


def test_inspect_for_programs(npz: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "inspect", str(npz), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["columns"]["actions"]["role"] == "action"
    assert found["columns"]["actions"]["transition"] is True
    assert found["wrong"] == []
    assert found["lengths"] == {"min": 10, "max": 10}


def test_inspect_says_what_is_wrong_and_leaves_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    actions = np.zeros((6, 2))
    actions[1, 1] = np.nan
    np.savez(tmp_path / "x.npz", actions=actions, episode_ends=np.array([3, 3, 6]), **{"força ⚙": np.ones(6)})
    assert main(["data", "inspect", str(tmp_path / "x.npz")]) == 1
    said = capsys.readouterr().out
    assert "wrong: episode 0, row 1: 'actions' is nan" in said
    assert "wrong: episode 1 is empty" in said
    assert "força ⚙" in said


def test_convert_writes_our_own_form(npz: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "convert", str(npz), f"out={tmp_path / 'out'}", "columns=[actions,observations]"]) == 0
    assert "holds 3 episodes; each was read back and compared." in capsys.readouterr().out
    assert main(["data", "inspect", str(tmp_path / "out")]) == 0
    assert "kind arrow" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["inspekt", "x.npz"], "unknown verb of grasp data 'inspekt': did you mean 'inspect'?"),
        (["inspect", "none.npz"], "none.npz does not exist"),
        (["inspect", "x.npz", "out=y"], "unknown word of grasp data inspect 'out'"),
        (["inspect", "x.npz", "y.npz"], "takes one path, and not 'y.npz'"),
        (["convert", "x.npz"], "give out=FOLDER"),
        (["convert", "x.npz", "out=y", "columns=[nope]"], "unknown column of x.npz 'nope'"),
        (["inspect", "x.npz", "kind=hdf"], "unknown dataset 'hdf': did you mean"),
        (["inspect", "x.npz", "kind=hdf5"], "x.npz"),
    ],
)
def test_refusals(
    npz: Path, words: list[str], sentence: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(npz.parent)
    assert main(["data", *words]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1
