"""Recordings without a simulator: a task is written for them, learned, and planned in; every place says so."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pyarrow.dataset as ds
import pytest
import torch
import yaml
from mlflow.tracking import MlflowClient

from sweeps.cli.main import main
from tests.support.recorded_episodes import behaved, write_swm
from world_models.base import Context, rollout
from world_models.checkpoints.store import load
from world_models.datasets import open_dataset
from world_models.tasks import make_task

TRAIN = ("train.width=32", "train.fit.unrolls=[1,4]", "train.fit.steps=[60,20]", "train.fit.batch_size=64", "threads=1")
PUSHES = np.random.default_rng(1).uniform(-1, 1, (2, 9, 1))
SWEEP = ("--conf", "conf", "task=arm", "problems.data=arm.h5", "backend=inline", "horizons=[10]")


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    """A folder with recordings of an arm, the files of its task, and a model of it."""
    monkeypatch.chdir(tmp_path)
    task = make_task("gymnasium", id="Pendulum-v1")
    states, actions = behaved(task, 30, 40)
    write_swm(tmp_path / "arm.h5", {"observation": task.observe(states), "action": 2 * actions})
    assert main(["data", "task", "arm.h5", "conf=conf"]) == 0
    assert "grasp train arm --conf conf data=arm.h5" in capsys.readouterr().out
    assert main(["train", "arm", "--conf", "conf", "data=arm.h5", *TRAIN]) == 0
    capsys.readouterr()
    return tmp_path


def test_a_sweep_is_judged_in_the_model_and_says_so_everywhere(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["planner=[reference_actions,null_actions,gd]", "planners.gd.settings.iterations=5", "seeds=6", "name=arm"]
    assert main(["sweep", *SWEEP, *words]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "there is no simulator, so plans are judged by what the world model predicts" in said
    assert "arm: no simulator, so success and distance are what the world model predicts" in said
    assert "success: final state of the plan in the world model (no simulator)" in said
    assert said.count("] in model") == 3

    found = ds.dataset("outputs/ledger", format="parquet", exclude_invalid_files=True).to_table().to_pylist()
    assert len(found) == 18
    for record in found:
        assert record["judged"] == "model"
        assert record["success"] == record["model_success"]
        assert record["distance"] == pytest.approx(record["model_distance"], rel=0.02, abs=0.01)
    with Path("outputs/sweeps/arm/report.csv").open(encoding="utf-8") as file:
        assert {row["judged"] for row in csv.DictReader(file)} == {"model"}
    assert "no simulator" in Path("outputs/sweeps/arm/report.html").read_text(encoding="utf-8")

    client = MlflowClient(f"sqlite:///{recorded / 'outputs/mlflow.db'}")
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()], "tags.`grasp.kind` = 'point'")
    assert len(runs) == 3
    for run in runs:
        assert run.data.tags["judged"].startswith("in the world model")
        assert "judged in the model" in (run.info.run_name or "")
        assert "in the world model, for lack of a simulator" in run.data.tags["mlflow.note.content"]

    assert main(["plan", "--conf", "conf", "task=arm", "problems.data=arm.h5", "planner=gd", "horizons=[10]", "seeds=[1]"]) == 0
    said = capsys.readouterr().out
    assert "in the simulator" not in said
    assert "as there is no simulator" in said
    assert Path("outputs/plans/arm-gd-H10-seed1.gif").exists()


def test_reference_actions_show_the_open_loop_error_of_the_model(recorded: Path) -> None:
    assert main(["sweep", "--quiet", *SWEEP, "planner=reference_actions", "seeds=6", "tracking.enabled=false"]) == 0
    found = ds.dataset("outputs/ledger", format="parquet", exclude_invalid_files=True).to_table().to_pylist()
    loaded, data = load("outputs/models/arm"), open_dataset("arm.h5")
    with Path("outputs/sweeps/default/problems-arm-H10.csv").open(encoding="utf-8") as file:
        rows = {int(one["seed"]): one for one in csv.DictReader(file)}
    assert loaded.decode is not None
    task = make_task("recorded", **_settings())
    for record in found:
        at = rows[record["seed"]]
        values = data.rows(int(at["episode"]), int(at["start"]), int(at["goal"]) + 1)
        actions = values["action"][:-1] / 2
        np.testing.assert_allclose(np.array(record["actions"]).reshape(10, 1), actions, atol=1e-5)
        seen = values["observation"].astype(np.float32)
        with torch.no_grad():
            start = Context.at(loaded.model, loaded.model.encode(torch.from_numpy(seen[:1])))
            end = loaded.decode(rollout(loaded.model, start, torch.from_numpy(actions.astype(np.float32))[None])[:, -1])
        error = task.distance(task.pose(end.double().numpy()), task.pose(seen[-1:].astype(np.float64)))
        assert record["distance"] == pytest.approx(float(error[0]), rel=1e-3)


def _settings() -> dict[str, object]:
    return yaml.safe_load(Path("conf/task/arm.yaml").read_text(encoding="utf-8"))["settings"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["mode=mpc:5"], "mode mpc:5 replans from states of a simulator, and task recorded has none: give mode=open_loop"),
        (["problems.data=null"], "task recorded has no simulator and draws no problems of its own: give problems.data=PATH"),
        (["world_model=wall"], "was trained on"),
        (["problems.pictures=observation"], "and pictures of bytes"),
    ],
)
def test_what_needs_a_simulator_is_refused_in_a_sentence(
    words: list[str], said: str, recorded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sweep", "--quiet", *SWEEP, "planner=gd", "seeds=2", *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_files_of_a_task_are_not_overwritten(recorded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "task", "arm.h5", "conf=conf"]) == 2
    assert "arm.yaml exists: delete it, or give another name=NAME" in capsys.readouterr().err
    assert main(["data", "task", "arm.h5", "conf=conf", "name=other", "action=observation", "observation=action"]) == 0


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("arm.v2", "'arm.v2' cannot name a task: give another with name=NAME"),
        ("2024", "'2024' cannot name a task"),
        ("on", "'on' cannot name a task"),
        ("null", "cannot name a task"),
        ("wall", "'wall' is a name of ours: give another with name=NAME"),
    ],
)
def test_names_that_a_config_would_not_take_are_refused(
    name: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_swm(tmp_path / f"{name}.h5", {"observation": np.random.default_rng(0).normal(size=(2, 9, 1)), "action": PUSHES})
    assert main(["data", "task", f"{name}.h5", "conf=conf"]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "conf").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["name=../../evil", "conf=conf"], "'../../evil' cannot name a task"),
        (["name=", "conf=conf"], "'' cannot name a task"),
        (["name=2025_11_29", "conf=conf"], "'2025_11_29' cannot name a task"),
        (["name=arm", "conf="], "needs a folder for its two files: give conf=FOLDER"),
        (["name=arm"], "needs a folder for its two files: give conf=FOLDER"),
        (["name=arm", "conf=conf", "action=[action]"], "unknown column of"),
    ],
)
def test_words_are_taken_as_they_were_typed(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_swm(tmp_path / "my arm.h5", {"observation": np.random.default_rng(0).normal(size=(2, 9, 1)), "action": PUSHES})
    assert main(["data", "task", "my arm.h5", *words]) == 2
    assert said in capsys.readouterr().err
    assert main(["data", "task", "my arm.h5", "name=arm", "conf=a=b"]) == 0
    assert "'problems.data=my arm.h5'" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a=b", "my arm.h5"]


def test_data_in_which_nothing_changes_make_no_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_swm(tmp_path / "still.h5", {"observation": np.ones((2, 9, 1)), "action": PUSHES})
    assert main(["data", "task", "still.h5", "conf=conf"]) == 2
    assert "ever changes, so that no goal could be told apart" in capsys.readouterr().err
