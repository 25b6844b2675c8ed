"""MLflow, on a real SQLite store: everything is there once, however often and whenever it is written."""

import json
import socket
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from scipy.stats import binomtest

from orchestrator.backend import InlineBackend
from orchestrator.cells import Cell
from orchestrator.ledger import Ledger
from orchestrator.provenance import mask_uri
from orchestrator.run import run_cells
from orchestrator.run_content import contents, wilson
from orchestrator.tracking import BackgroundTracker, SweepInfo, Tracker, TrackingError
from tests.fakes import RAISING, Faulty, plane_evaluator, plane_point

INFO = SweepInfo("it's a sweep", "task: plane\n", "grasp sweep", "**0.75** on plane")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an initialised store: initialising takes seconds."""
    folder = tmp_path_factory.mktemp("store")
    Tracker(f"sqlite:///{folder}/mlflow.db", folder / "files", "warm").warm()
    return folder


class Bench:
    """A ledger, its pictures and a tracker with an experiment of its own."""

    def __init__(self, store: Path, folder: Path, experiment: str) -> None:
        self.uri = f"sqlite:///{store}/mlflow.db"
        self.ledger, self.artifacts = Ledger(folder / "ledger"), folder / "artifacts"
        self.tracker = Tracker(self.uri, store / "files", experiment, folder / "markers")
        self.client = MlflowClient(tracking_uri=self.uri)
        self.experiment = experiment

    def plan(self, cells: list[Cell], make_evaluator=plane_evaluator, **options) -> None:
        backend = InlineBackend(make_evaluator=make_evaluator)
        run_cells(cells, self.ledger, backend, artifacts=self.artifacts, **options)

    def sync(self, info: SweepInfo = INFO, **options) -> bool:
        return self.tracker.sync(info, self.ledger.table(), self.artifacts, **options)

    def runs(self, kind: str) -> list[Run]:
        experiment = self.client.get_experiment_by_name(self.experiment)
        assert experiment is not None
        return list(self.client.search_runs([experiment.experiment_id], f"tags.`grasp.kind` = '{kind}'"))

    def child(self, horizon: int) -> Run:
        (run,) = [run for run in self.runs("point") if run.data.tags["horizon"] == str(horizon)]
        return run

    def history(self, run: Run, key: str) -> dict[int, float]:
        found = self.client.get_metric_history(run.info.run_id, key)
        assert len({(metric.step, metric.timestamp) for metric in found}) == len(found)
        return {metric.step: metric.value for metric in found}

    def files(self, run: Run, path: str | None = None) -> list[str]:
        return sorted(file.path for file in self.client.list_artifacts(run.info.run_id, path))

    def everything(self) -> list[object]:
        """All that the store says of the experiment, apart from when runs were touched."""
        said: list[object] = []
        for run in [*self.runs("sweep"), *self.runs("point")]:
            metrics = {key: self.history(run, key) for key in run.data.metrics}
            said.append([run.info.run_id, run.info.status, run.data.tags, run.data.params, metrics, self.files(run)])
        return said


@pytest.fixture
def bench(store: Path, tmp_path: Path) -> Bench:
    return Bench(store, tmp_path, tmp_path.name)


def cells_of(horizons: tuple[int, ...], seeds: range) -> list[Cell]:
    return [plane_point(horizon).cell(seed) for horizon in horizons for seed in seeds]


def test_a_sweep_is_a_parent_with_a_child_a_point(bench: Bench, tmp_path: Path) -> None:
    bench.plan(cells_of((4, 8), range(3)))
    figure = tmp_path / "success.png"
    figure.write_bytes(b"picture")
    assert bench.sync(figures=[figure])
    (parent,) = bench.runs("sweep")
    assert parent.info.run_name == INFO.name
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["mlflow.note.content"] == INFO.description
    assert parent.data.metrics["success_rate/gd"] == 1.0
    assert bench.files(parent) == ["cells.parquet", "config.yaml", "figures"]
    assert bench.files(parent, "figures") == ["figures/success.png"]
    child = bench.child(8)
    assert child.info.run_name == "plane · gd · H8"
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert {"task": "plane", "planner": "gd", "model": "plane", "kind": "free"}.items() <= child.data.tags.items()
    assert child.data.params["planner.iterations"] == "60"
    assert child.info.status == "FINISHED"
    assert bench.history(child, "success") == {0: 1.0, 1: 1.0, 2: 1.0}
    rows = {row["seed"]: row for row in bench.ledger.table().to_pylist() if row["horizon"] == 8}
    assert bench.history(child, "distance") == {seed: row["distance"] for seed, row in rows.items()}
    assert bench.history(child, "steps_to_success") == {seed: row["steps_to_success"] for seed, row in rows.items()}
    assert child.data.metrics["success_low"] == pytest.approx(wilson(3, 3)[0])


def test_a_child_has_a_table_the_ui_shows_and_one_rollout(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", bench.uri)
    bench.plan(cells_of((4,), range(3)))
    bench.sync()
    run = bench.child(4)
    assert bench.files(run) == ["cells.json", "cells.parquet", "rollout"]
    assert bench.files(run, "rollout") == ["rollout/0.gif", "rollout/0.png"]
    shown = bench.client.load_table(run.info.experiment_id, "cells.json", [run.info.run_id])
    assert shown["seed"].tolist() == [0, 1, 2]
    assert json.loads(run.data.tags["mlflow.loggedArtifacts"]) == [{"path": "cells.json", "type": "table"}]
    local = bench.client.download_artifacts(run.info.run_id, "cells.parquet", str(tmp_path))
    assert pq.read_table(local)["cell_id"].to_pylist() == [cell.cell_id for cell in cells_of((4,), range(3))]


def test_writing_again_adds_nothing(bench: Bench) -> None:
    bench.plan(cells_of((4, 8), range(3)))
    assert bench.sync()
    before = bench.everything()
    assert not bench.sync()
    for marker in (bench.ledger.root.parent / "markers").iterdir():
        marker.unlink()
    assert bench.sync()
    assert Bench(Path(bench.uri[10:]).parent, bench.ledger.root.parent, bench.experiment).sync() is False
    assert bench.everything() == before


def test_more_seeds_add_only_those(bench: Bench) -> None:
    bench.plan(cells_of((4, 8), range(2)))
    bench.sync()
    first = {h: bench.child(h).info.run_id for h in (4, 8)}
    untouched = bench.child(8).data
    bench.plan(cells_of((4,), range(5)))
    assert bench.sync()
    assert {h: bench.child(h).info.run_id for h in (4, 8)} == first
    assert len(bench.runs("sweep")) == 1
    assert set(bench.history(bench.child(4), "success")) == set(range(5))
    assert bench.child(4).data.metrics["cells"] == 5
    assert bench.child(8).data.to_dictionary() == untouched.to_dictionary()
    assert bench.files(bench.child(4), "rollout") == ["rollout/0.gif", "rollout/0.png"]


def test_a_sync_that_is_interrupted_is_completed_by_the_next(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.plan(cells_of((4, 8), range(3)))
    original, calls = MlflowClient.log_batch, []

    def breaks(self: MlflowClient, *args, **options):
        calls.append(1)
        if len(calls) == 6:
            raise ConnectionError("the server went away at http://me:secret@tracking")
        return original(self, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_batch", breaks)
        with pytest.raises(TrackingError, match="nothing is lost"):
            bench.sync()
    assert bench.sync()
    assert len(bench.runs("sweep")) == 1
    assert len(bench.runs("point")) == 2
    assert all(set(bench.history(run, key)) == {0, 1, 2} for run in bench.runs("point") for key in ("success", "distance"))


def test_failed_cells_are_tracked_and_mended(bench: Bench) -> None:
    cells = [plane_point(4).cell(seed) for seed in (0, RAISING)]
    bench.plan(cells, Faulty(str(bench.ledger.root.parent)), max_rows=1)
    bench.sync()
    assert bench.child(4).data.metrics["failed"] == 1.0
    bench.plan(cells, retry_failed=True)
    assert bench.sync()
    run = bench.child(4)
    assert run.data.metrics["success"] == 1.0
    assert [r["status"] for r in bench.ledger.table().to_pylist()] == ["completed", "completed"]


def test_the_background_tracker_writes_points_as_they_finish(bench: Bench) -> None:
    cells = cells_of((4, 8), range(4))
    bench.plan(cells[:2])
    tracker = BackgroundTracker(bench.tracker, INFO, bench.ledger, cells, bench.artifacts)
    tracker.start()
    bench.plan(cells, on_result=tracker.on_result, max_rows=2)
    assert tracker.finish(replace(INFO, description="# the end")) is None
    (parent,) = bench.runs("sweep")
    assert parent.data.tags["mlflow.note.content"] == "# the end"
    assert {run.data.metrics["cells"] for run in bench.runs("point")} == {4.0}
    assert not bench.sync()


def test_a_server_that_is_down_is_one_sentence_and_stops_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        uri = f"http://me:secret@127.0.0.1:{free.getsockname()[1]}"
        cells = cells_of((4,), range(2))
        tracker = BackgroundTracker(Tracker(uri, tmp_path, "down"), INFO, bench.ledger, cells, bench.artifacts)
        tracker.start()
        bench.plan(cells, on_result=tracker.on_result)
        said = tracker.finish()
    assert said is not None
    assert said.startswith("MLflow at http://127.0.0.1")
    assert "secret" not in said
    assert "\n" not in said
    assert len(bench.ledger.finished()) == 2


@pytest.mark.parametrize(("successes", "n"), [(0, 8), (3, 8), (8, 8), (41, 64), (1, 1)])
def test_wilson_agrees_with_scipy(successes: int, n: int) -> None:
    reference = binomtest(successes, n).proportion_ci(method="wilson")
    assert wilson(successes, n) == pytest.approx((reference.low, reference.high), abs=1e-12)


def test_runs_say_how_plans_were_executed(bench: Bench) -> None:
    bench.plan([plane_point(4).cell(0), replace(plane_point(4), mode="mpc:2").cell(0)])
    assert [point.name for point in contents(bench.ledger.table())] == ["plane · gd · H4", "plane · gd · H4 · mpc:2"]


def test_long_settings_are_clipped_and_secrets_masked(bench: Bench) -> None:
    bench.plan([plane_point(4).cell(0)])
    table = bench.ledger.table()
    settings = json.dumps({"text": "x" * 9000})
    table = table.set_column(table.schema.get_field_index("task_settings"), "task_settings", [[settings]])
    (point,) = contents(table)
    assert len(point.params["task.text"]) == 6000
    assert mask_uri("postgresql://me:secret@db:5432/mlflow") == "postgresql://db:5432/mlflow"
    assert mask_uri("sqlite:////tmp/mlflow.db") == "sqlite:////tmp/mlflow.db"
