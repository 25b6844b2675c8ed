"""`grasp train MODEL data=PATH`: from a recorded file to a model that a sweep plans with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sweeps.cli.main import main
from world_models.tasks.wall import Wall
from world_models.training.data import collect

QUICK = ("train.width=32", "train.fit.unrolls=[1,4]", "train.fit.steps=[60,20]", "train.fit.batch_size=64")


WALL = Wall()
QUICK_PIXELS = (
    "train.size=32",
    "train.length=20",
    "train.model={latent: 4, encoder_width: 8, width: 16, depth: 1}",
    "train.encoder={steps: 20, batch_size: 8}",
    "train.predictor={steps: 20, batch_size: 16, unrolls: [1, 3], shares: [0.5, 0.5]}",
    "train.temporal={steps: 10, batch_size: 16, width: 16, depth: 1, embedding: 4}",
    "train.probe={steps: 10, batch_size: 16, width: 0}",
)
SWEEP = ("planner=gd", "planner.iterations=3", "horizons=[20]", "seeds=2", "backend=inline", "artifacts.cells=[]")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty episodes of the wall in OGBench's layout: one row per step, and where episodes end."""
    data = collect(WALL, 30, 30, 0)
    actions = np.concatenate([data.actions, np.zeros_like(data.actions[:, :1])], axis=1)
    ends = np.zeros(data.observations.shape[:2], bool)
    ends[:, -1] = True
    path = tmp_path_factory.mktemp("data") / "wall.npz"
    flat = {"observations": data.observations, "actions": actions}
    np.savez(path, **{name: values.reshape(-1, values.shape[-1]) for name, values in flat.items()}, terminals=ends.reshape(-1))
    return path


def test_a_recorded_file_becomes_a_model_that_is_planned_with(
    recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "wall", f"data={recorded}", "recorded.validation=0.2", *QUICK]) == 0
    out = capsys.readouterr().out
    assert "wall is in outputs/models/wall" in out
    assert not list(tmp_path.glob("outputs/data/*")), "nothing was collected"
    model = "world_model=outputs/models/wall"
    assert main(["sweep", "--quiet", "task=wall", model, *SWEEP, "tracking.enabled=false"]) == 0
    assert "wall" in capsys.readouterr().out


def test_recorded_pictures_become_a_model_that_is_planned_with(
    recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    columns = dict(np.load(recorded))
    pictures = WALL.pixels(columns["observations"].astype(np.float64), 40)
    np.savez("pictures.npz", **columns, camera=pictures, wrist=np.zeros_like(pictures))
    train = ["train", "wall_pixels", "data=pictures.npz", *QUICK_PIXELS]
    assert main(train) == 2
    assert "2 columns of pictures (camera, wrist)" in capsys.readouterr().err
    assert main([*train, "recorded.pixels=camera"]) == 0
    assert "wall_pixels is in outputs/models/wall_pixels" in capsys.readouterr().out
    assert len(list(tmp_path.glob("outputs/data/*"))) == 2, "pictures for training and for the card"
    words = ("task=wall", "world_model=outputs/models/wall_pixels", *SWEEP, "tracking.enabled=false")
    assert main(["sweep", "--quiet", *words]) == 0
    assert "wall" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("wall", "recorded.seed=3"), "recorded.* is about a dataset, and none is given: add data=PATH"),
        (("wall_pixels", "data=PATH"), "has no column of pictures; its columns are"),
        (("push_t_pixels", "data=PATH", "recorded.pixels=actions"), "and pictures of bytes, [height, width, channels] or"),
        (("wall", "data=PATH", "recorded.pixels=camera"), "wall is a model of states: leave recorded.pixels and"),
        (("wall", "data=nowhere.h5"), "nowhere.h5"),
        (("push_t", "data=PATH"), "has no columns for the"),
        (("wall", "data=PATH", "recorded.action=force"), "unknown column"),
        (("wall", "device=gpu9"), "device 'gpu9' is unknown: give cpu, cuda or cuda:N"),
        (("wall", "backend.device=meta"), "device 'meta' is not supported: give cpu, cuda or cuda:N"),
        (("wall", "data=PATH", "train.ensemble=2"), "an ensemble of 2 is not trained from data"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(
    words: tuple[str, ...], said: str, recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [word.replace("PATH", str(recorded)) for word in words]
    assert main(["train", *given, f"output={tmp_path}"]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
