"""The benchmark that judges recorded Push-T plans by both success tests."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from benchmarks import push_t_study
from benchmarks.push_t_tests import main as judge
from orchestrator.core.cell import cell_id_of
from sweeps.cli.main import main
from sweeps.config.jobs import read_jobs


def test_recorded_plans_are_judged_by_both_tests(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["task=push_t", "planner=reference_actions,random_actions", "horizons=[25]", "seeds=4", "backend=inline"]
    assert main(["sweep", *words, f"output={tmp_path}", "tracking.enabled=false", "artifacts.cells=[]"]) == 0
    capsys.readouterr()
    judge([str(tmp_path)])
    *rows, last = capsys.readouterr().out.splitlines()
    assert json.loads(last) == {"cells": 8, "verdicts_that_differ": 0, "repeated": 1.0}
    by_planner = {row.split()[0]: row.split() for row in rows[1:]}
    assert by_planner["reference_actions"][1:3] == ["25", "open_loop"]
    assert by_planner["reference_actions"][4] == by_planner["reference_actions"][7] == "1.00"
    assert by_planner["random_actions"][4] == "0.00"


def test_the_studys_points_are_composed_again_with_the_ids_of_its_page(tmp_path: Path) -> None:
    rows = [row for row in pq.read_table(push_t_study.RESULTS).to_pylist() if row["task"] == "push_t"]
    rows = [row for row in rows if row["part"] in push_t_study.PARTS]
    found = {
        cell_id_of(portion.point.point_id, int(seed))
        for overrides in push_t_study.sweeps_of(rows, tmp_path)
        for portion in read_jobs(overrides, None)[0].grid.portions()
        for seed in portion.seeds
    }
    assert found == {row["cell_id"] for row in rows}
