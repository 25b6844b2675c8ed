"""`grasp data`: its output and exit codes, and what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sweeps.cli.main import main
from sweeps.data.inspection import as_json
from world_models.datasets import from_arrays, open_dataset, split_episodes
from world_models.datasets.findings import review


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


def test_an_address_is_described_without_its_password() -> None:
    data = replace(from_arrays({"actions": np.zeros((3, 2))}, [3]), path="s3://me:planted-1@bucket/x")
    assert as_json(data, review(data))["path"] == "s3://bucket/x"


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
        (["inspekt", "x.npz"], "unknown verb of grasp data 'inspekt': did you mean 'inspect'"),
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


def test_stats_has_a_line_per_feature(npz: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = np.load(npz)["actions"]
    used = np.delete(values, [9, 19, 29], axis=0)  # nothing follows the last row of an episode
    assert main(["data", "stats", str(npz), "columns=[actions]"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.strip().startswith("actions")]
    assert [line[:5] for line in lines] == [["actions", "0", "-", "27", "0"], ["actions", "1", "-", "27", "0"]]
    assert [float(line[7]) for line in lines] == pytest.approx(used.mean(0).tolist(), rel=1e-3)
    assert main(["data", "stats", str(npz), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["actions"]["std"] == pytest.approx(used.std(0).tolist(), rel=1e-4)
    assert set(found) >= {"observations", "actions"}


def test_split_writes_the_split_of_training(npz: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "split.json"
    assert main(["data", "split", str(npz), "validation=0.34", "seed=5", f"out={out}"]) == 0
    assert "2 episodes (20 rows) for training, 1 episodes (10 rows) for validation" in capsys.readouterr().out
    found = json.loads(out.read_text(encoding="utf-8"))
    training, validation = split_episodes(3, 0.34, 5)
    assert (found["training"], found["validation"]) == (training.tolist(), validation.tolist())
    assert found["digest"] == open_dataset(str(npz)).digest()


def test_view_draws_curves_and_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frames = np.zeros((12, 20, 24, 3), np.uint8)
    frames[np.arange(12), 5, np.arange(12)] = 255
    state = np.arange(24, dtype=np.float32).reshape(12, 2)
    np.savez(tmp_path / "x.npz", pixels=frames, state=state, actions=state, terminals=np.arange(12) % 6 == 5)
    assert main(["data", "view", str(tmp_path / "x.npz"), "episode=1", f"out={tmp_path / 'view'}"]) == 0
    assert "6 pictures of pixels" in capsys.readouterr().out
    with Image.open(tmp_path / "view" / "episode-1-pixels.gif") as film:
        assert (getattr(film, "n_frames", 1), film.size) == (6, (24, 20))
    with Image.open(tmp_path / "view" / "episode-1.png") as curves:
        assert curves.size[0] > 500


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("view",), "needs a folder to write to: give out=FOLDER"),
        (("view", "episode=7", "out=OUT"), "has no episode 7: it has 3, numbered from 0"),
        (("view", "episode=a", "out=OUT"), "episode 'a' is not a number of an episode"),
        (("split",), "needs a file to write to: give out=FILE.json"),
        (("split", "validation=2", "out=OUT"), "a share of 2.0 for validation is not between 0 and 1"),
        (("split", "seed=-1", "out=OUT"), "seed -1 is not a whole number from 0 on"),
        (("stats", "columns=[force]"), "force"),
        (("stats", "out=OUT"), "unknown word of grasp data stats 'out'"),
        (("draw",), "unknown verb of grasp data 'draw'"),
    ],
)
def test_words_that_make_no_sense_are_refused(
    words: tuple[str, ...], says: str, npz: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    verb, *rest = (word.replace("OUT", str(tmp_path / "out")) for word in words)
    assert main(["data", verb, str(npz), *rest]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()
