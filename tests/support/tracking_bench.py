"""A ledger, its pictures and a tracker, shared by the tests of tracking."""

from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Run

from orchestrator.core.cell import Cell
from orchestrator.core.portion import by_point
from orchestrator.driver.run_cells import run_cells
from orchestrator.ledger.ledger import Ledger
from orchestrator.testing import plane_evaluator, plane_point
from orchestrator.tracking.background_tracker import BackgroundTracker
from orchestrator.tracking.content.overview import overview
from orchestrator.tracking.content.sweep_info import SweepInfo
from orchestrator.tracking.outbox import Outbox
from orchestrator.tracking.relay import OutboxRelay
from orchestrator.tracking.tracker import Tracker
from orchestrator.tracking.tracking_store import TrackingStore
from orchestrator.workers.backend import InlineBackend

INFO = SweepInfo("it's a sweep", "task: plane\n", "grasp sweep", "**0.75** on plane")


class Bench:
    """A ledger, its pictures and a tracker with its own experiment."""

    def __init__(self, uri: str, files: Path, folder: Path, experiment: str, through: str | None = None) -> None:
        """`through` is another address of the same store, such as that of a proxy."""
        self.ledger, self.artifacts = Ledger(folder / "ledger"), folder / "artifacts"
        self.tracking_store = TrackingStore(through or uri, files, experiment)
        self.tracker = Tracker(self.tracking_store, folder / "markers")
        self.outbox = Outbox(folder / "outbox")
        self.client = MlflowClient(tracking_uri=uri)
        self.experiment = experiment

    def plan(self, cells: list[Cell], make_evaluator=plane_evaluator, **options) -> None:
        backend = InlineBackend(make_evaluator=make_evaluator)
        run_cells(by_point(cells), self.ledger, backend, artifacts=self.artifacts, **options)

    def sync(self, info: SweepInfo = INFO, **options) -> None:
        assert self.tracker.sync(info, self.ledger.table(), self.artifacts, **options) == []

    def tracked(self, info: SweepInfo = INFO) -> bool:
        return self.tracker.tracked(info, overview(self.ledger.table()))

    def relay(self) -> OutboxRelay:
        return OutboxRelay(self.outbox, self.tracker, self.ledger, self.artifacts)

    def background(self, cells: list[Cell], missing: list[Cell], **options) -> BackgroundTracker:
        return BackgroundTracker(self.relay(), INFO, by_point(cells), by_point(missing), **options)

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
        """Everything that the store holds of the experiment, except times."""
        said: list[object] = []
        for run in [*self.runs("sweep"), *self.runs("point")]:
            metrics = {key: self.history(run, key) for key in run.data.metrics}
            said.append([run.info.run_id, run.info.status, run.data.tags, run.data.params, metrics, self.files(run)])
        return said

    def check_all_once(self, horizons: tuple[int, ...], seeds: range) -> None:
        """Check for one sweep, one run per point, every seed's metric once, and nothing unfinished."""
        (parent,) = self.runs("sweep")
        assert parent.info.status == "FINISHED"
        assert parent.data.metrics["cells"] == len(horizons) * len(seeds)
        assert self.files(parent) == ["cells.parquet", "config.yaml"]
        children = {int(run.data.tags["horizon"]): run for run in self.runs("point")}
        assert len(self.runs("point")) == len(horizons)
        assert set(children) == set(horizons)
        rows = self.ledger.table().to_pylist()
        for horizon, run in children.items():
            assert run.info.status == "FINISHED"
            assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
            assert run.data.params["planner.iterations"] == "60"
            distances = {row["seed"]: row["distance"] for row in rows if row["horizon"] == horizon}
            assert self.history(run, "seed/distance") == {seed: distances[seed] for seed in seeds}
            assert set(self.history(run, "seed/success")) == set(seeds)
            assert run.data.metrics["cells"] == len(seeds)
            assert self.files(run) in (["cells.json"], ["cells.json", "images", "rollout"])


def cells_of(horizons: tuple[int, ...], seeds: range) -> list[Cell]:
    return [plane_point(horizon).cell(seed) for horizon in horizons for seed in seeds]
