"""From a recorded dataset to a sweep over its rows: learned from, planned between, and told in report, ledger and MLflow."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.dataset as ds
import pytest
from mlflow.tracking import MlflowClient

from sweeps.cli.main import main
from tests.support.recorded_episodes import behaved, write_minari, write_ogbench, write_swm
from world_models.tasks import make_task

EPISODES, STEPS = 20, 60
TRAIN = ("train.width=32", "train.fit.unrolls=[1,4]", "train.fit.steps=[60,20]", "train.fit.batch_size=64", "threads=1")
SWEEP = ("task=pendulum", "planner=gd", "planner.iterations=3", "horizons=[40]", "artifacts.cells=[]")
OFF = "tracking.enabled=false"
LIST = "problems-pendulum-H40.csv"
Maker = Callable[[Path, np.ndarray, np.ndarray], Path]
"""Writes a dataset of observations and actions into a folder."""


def minari(folder: Path, seen: np.ndarray, acted: np.ndarray) -> Path:
    return write_minari(folder / "minari", seen, acted[:, :-1])


def swm(folder: Path, seen: np.ndarray, acted: np.ndarray) -> Path:
    return write_swm(folder / "pendulum.h5", {"observation": seen, "action": acted})


def ogbench(folder: Path, seen: np.ndarray, acted: np.ndarray) -> Path:
    return write_ogbench(folder / "pendulum.npz", {"observations": seen, "actions": acted})


def written(make: Maker, folder: Path) -> Path:
    """A dataset of Pendulum's episodes, in the environment's units."""
    task = make_task("gymnasium", id="Pendulum-v1")
    states, actions = behaved(task, EPISODES, STEPS)
    return make(folder, task.observe(states).astype(np.float32), 2 * actions.astype(np.float32))


def records(output: Path) -> list[dict[str, Any]]:
    found = ds.dataset(output / "ledger", format="parquet", exclude_invalid_files=True).to_table().to_pylist()
    return sorted(found, key=lambda record: record["seed"])


@pytest.mark.parametrize(("make", "backend"), [(minari, "inline"), (swm, "ray"), (ogbench, "inline")])
def test_a_dataset_is_learned_from_and_its_rows_are_planned_between(
    make: Maker, backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    path = written(make, tmp_path)
    assert main(["train", "pendulum", f"data={path}", "recorded.validation=0.2", *TRAIN]) == 0
    words = ["sweep", *SWEEP, "world_model=outputs/models/pendulum", f"problems.data={path.name}", "problems.validation=0.2"]
    capsys.readouterr()
    workers = ["backend.num_workers=2"] if backend == "ray" else []
    assert main([*words, "seeds=6", "name=rows", f"backend={backend}", *workers]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "its actions lead the simulator to 6 of 6 recorded goals" in said
    assert f"problems at H40: rows of {path.name}" in said
    found = records(tmp_path / "outputs")
    assert [record["problem_kind"] for record in found] == ["recorded"] * 6
    client = MlflowClient(f"sqlite:///{tmp_path / 'outputs/mlflow.db'}")
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()], "tags.`grasp.kind` = 'point'")
    assert [run.data.params["problems.split"] for run in runs] == ["validation"]
    again = [*words, "backend=inline", OFF, "output=again"]
    assert main([*again, "seeds=3", "name=some"]) == 0, "in one process, and only the first three"
    listed = Path(f"outputs/sweeps/rows/{LIST}").read_text(encoding="utf-8")
    assert Path(f"again/sweeps/some/{LIST}").read_text(encoding="utf-8") == "".join(listed.splitlines(keepends=True)[:4])
    for one, other in zip(records(tmp_path / "again"), found, strict=False):
        assert one["cell_id"] == other["cell_id"]
        assert one["distance"] == pytest.approx(other["distance"], rel=1e-3)
    assert main([*again, f"problems.manifest=outputs/sweeps/rows/{LIST}", "seeds=2", "name=listed", "output=listed"]) == 0
    same = records(tmp_path / "listed")
    assert [record["start_distance"] for record in same] == [record["start_distance"] for record in found[:2]]
    assert not {record["cell_id"] for record in same} & {record["cell_id"] for record in found}


def test_rows_that_a_model_has_learned_from_are_refused_unless_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    path = written(swm, tmp_path)
    assert main(["train", "pendulum", f"data={path}", *TRAIN]) == 0
    model = "world_model=outputs/models/pendulum"
    words = ["sweep", *SWEEP, model, f"problems.data={path}", "seeds=2", "name=leak", "backend=inline", OFF]
    capsys.readouterr()
    assert main([*words, "problems.split=all"]) == 2
    refused = " ".join(capsys.readouterr().err.split())
    assert "was trained on 18 of the episodes" in refused
    assert "problems.trained_on=true" in refused
    assert main([*words, "problems.split=all", "problems.trained_on=true"]) == 0
    capsys.readouterr()
    assert main([*words, "name=held", "--json"]) == 0, "validation episodes are the default"
    lines = capsys.readouterr().out.splitlines()
    assert lines
    assert all(json.loads(line) for line in lines), "nothing else is printed among the events"
    assert main(["report", "leak"]) == 0
    assert "was trained on 18 of the episodes that its problems are drawn from" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["problems.split=validation", "problems.offset=3"], "none is given: add problems.data=PATH"),
        (["problems.data=nowhere.h5"], "nowhere.h5 does not exist"),
        (["problems.data=s3://key:secret@bucket/rows"], "holds a password, which the ledger would keep"),
        (["problems.data=PATH", "problems.offset=70"], "its longest episode has 61 rows; give a shorter problems.offset"),
        (["problems.data=PATH", "problems.draw.rows=1"], "seed 1 asks for problem 1 of"),
        (["problems.data=PATH", "problems.action=act"], "did you mean 'action'"),
        (["problems.data=PATH", "problems.spilt=all"], "did you mean 'problems.split'"),
        (["problems.data=PATH", "problems.split=al"], "did you mean 'all'"),
        (["problems.data=PATH", "problems.manifest=list.csv"], "list.csv does not exist"),
        (["problems.data=PATH", "problems.manifest=list.csv", "problems.offset=3"], "give one or the other"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(
    words: list[str], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    if "problems.data=PATH" in words:
        written(swm, tmp_path)
    asked = [word.replace("PATH", "pendulum.h5") for word in words]
    assert main(["sweep", *SWEEP, "seeds=2", "name=odd", "backend=inline", OFF, *asked]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert sentence in said
    assert "secret" not in said
    assert not (tmp_path / "outputs").exists()


STUDY = (
    *("tune", "--quiet", "task=pendulum", "planner=gd", "horizons=[20]", "name=study", "trials=2", "top=1", "parallel=1"),
    *("space={iterations: {low: 2, high: 3}}", "seeds={start: 0, count: 2}", "choice_seeds={start: 2, count: 2}"),
    *("planners.gd.settings.attempts=1", "backend=inline", OFF, "problems.data=pendulum.h5", "problems.split=all"),
)


def test_a_study_is_judged_on_rows_and_lists_that_are_too_short_for_it_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    written(swm, tmp_path)
    assert main([*STUDY, "held_out={start: 30000, count: 2}"]) == 2
    assert "held_out: seed 30001 asks for problem 30001 of" in " ".join(capsys.readouterr().err.split())
    assert main([*STUDY, "held_out={start: 4, count: 2}"]) == 0
    assert {record["problem_kind"] for record in records(tmp_path / "outputs")} == {"recorded"}


def test_sweeps_over_different_lists_are_not_compared_and_a_moved_dataset_is_no_other_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    path = written(swm, tmp_path)
    words = ["sweep", "--quiet", *SWEEP, "seeds=2", "backend=inline", OFF, "problems.split=all", f"problems.data={path.name}"]
    assert main([*words, "name=one"]) == 0
    assert main([*words, "name=other", "problems.draw.seed=7"]) == 0
    (tmp_path / "elsewhere").mkdir()
    path.rename(tmp_path / "elsewhere/moved.h5")
    moved = [*words[:-1], "problems.data=elsewhere/moved.h5"]
    capsys.readouterr()
    assert main([*moved, "name=again"]) == 0, "the same content has the same cells, wherever it lies"
    assert len(records(tmp_path / "outputs")) == 4
    assert main(["compare", "one", "again"]) == 0
    assert main(["compare", "one", "other"]) == 2
    assert "no task, planner, horizon and list of problems in common" in " ".join(capsys.readouterr().err.split())
    cell = records(tmp_path / "outputs")[0]["cell_id"]
    assert main(["rerun", cell]) == 2
    assert "pendulum.h5 does not exist" in capsys.readouterr().err
    (tmp_path / "elsewhere/moved.h5").rename(path)
    assert main(["rerun", cell]) == 0
