"""`grasp train MODEL data=PATH`: from a recorded file to a model that a sweep plans with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sweeps.cli.main import main
from world_models.tasks import make_task
from world_models.training.data import collect

QUICK = ("train.width=32", "train.fit.unrolls=[1,4]", "train.fit.steps=[60,20]", "train.fit.batch_size=64")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty episodes of the wall in OGBench's layout: one row per step, and where episodes end."""
    data = collect(make_task("wall"), 30, 30, 0)
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
    words = ["planner=gd", "planner.iterations=3", "horizons=[20]", "seeds=2", "backend=inline", "artifacts.cells=[]"]
    assert main(["sweep", "--quiet", "task=wall", model, *words, "tracking.enabled=false"]) == 0
    assert "wall" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("wall", "recorded.seed=3"), "recorded.* is about a dataset, and none is given: add data=PATH"),
        (("wall_pixels", "data=PATH"), "wall_pixels is learned from pictures, and only models of states are trained"),
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
