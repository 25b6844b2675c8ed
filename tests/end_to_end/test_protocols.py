"""A sweep under published protocols: rows, success and the random floor, in table, ledger, MLflow and again by other words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.dataset as ds
import pytest
from mlflow.tracking import MlflowClient

from sweeps.cli.main import main
from tests.support.recorded_episodes import behaved, write_swm
from world_models.tasks import make_task

SWEEP = ("sweep", "task=wall", "planner=cem", "planner.iterations=2", "backend=inline", "artifacts.video=false")
SHORT = ("protocols.lewm.budget=10", "protocols.lewm.mode=mpc:5:5", "protocols.lewm.offset=5", "protocols.lewm.draw.rows=6")


def records(output: Path) -> list[dict[str, Any]]:
    found = ds.dataset(output / "ledger", format="parquet", exclude_invalid_files=True).to_table().to_pylist()
    return sorted(found, key=lambda record: (record["planner"], record["seed"]))


def test_a_sweep_under_a_protocol_says_by_which_rule_plans_succeed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    task = make_task("wall")
    states, actions = behaved(task, 8, 20)
    path = write_swm(tmp_path / "wall.h5", {"observation": task.observe(states).astype(np.float32), "action": actions})
    words = [*SWEEP, f"problems.data={path.name}", "seeds=6"]
    assert main([*words, "protocol=lewm", *SHORT, "name=published"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "success: by the rule of each row, said below, in the simulator" in said
    assert "a plan succeeds if its goal is reached at any of 10 steps." in said
    assert "5 steps apart, list 42, of all episodes, drawn by the random calls of swm, 6 of them" in said
    assert Path("outputs/sweeps/published/problems-wall-H10-lewm.csv").exists()
    found = records(tmp_path / "outputs")
    assert [record["planner"] for record in found] == ["cem"] * 6 + ["random_actions"] * 6
    assert {record["success_rule"] for record in found} == {"first_hit"}
    label = "lewm budget=10 mode=mpc:5:5 offset=5 draw.rows=6"
    assert {record["protocol"] for record in found} == {label}
    for record in (record for record in found if record["first_success"] != 0):
        assert record["success"] == (record["first_success"] is not None)
    client = MlflowClient(f"sqlite:///{tmp_path / 'outputs/mlflow.db'}")
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()], "tags.`grasp.kind` = 'point'")
    assert {(run.data.params["protocol"], run.data.params["success_rule"]) for run in runs} == {(label, "first_hit")}
    by_hand = ["mode=mpc:5:5", "horizons=[10]", "history=grow:1", "success=first_hit", "problems.offset=5"]
    drawn = ["problems.split=all", "problems.draw.calls=swm", "problems.draw.rows=6", "problems.trained_on=true"]
    assert main([*words, *by_hand, *drawn, "name=said", "tracking.enabled=false"]) == 0
    assert "all 6 cells are in the ledger, nothing to plan" in " ".join(capsys.readouterr().out.split())
