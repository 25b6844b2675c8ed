"""The only writer to MLflow, and the only file that imports it (late: it takes seconds).

A sweep is a parent run, a point its child, a seed a step. Everything is derived from the ledger, so it can be written again
at any time: a run is found by its tags, a metric is the same metric when logged twice.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.background import BackgroundTracker
from orchestrator.cells import digest
from orchestrator.outcomes import one_line
from orchestrator.provenance import mask_uri
from orchestrator.run_content import (
    TAG_LIMIT,
    Metric,
    PointContent,
    cells_digest,
    clipped,
    contents,
    milliseconds,
    sweep_metrics,
    table_json,
)
from orchestrator.sweep_info import SweepInfo
from world_models.errors import UserError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

__all__ = ["BackgroundTracker", "SweepInfo", "Tracker", "TrackingError"]

BATCH = 1000
"""Metrics a call; 100 params and tags a call are more than a point has settings."""

_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # A server that is down is reported at once instead of after minutes of patience: the ledger keeps everything.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}


class TrackingError(UserError):
    """MLflow could not be written; the ledger has everything, so syncing again later writes it."""


@dataclass(frozen=True)
class _Store:
    """An open store."""

    client: MlflowClient
    experiment_id: str


class Tracker:
    """Writes a sweep's ledger to MLflow; running it again adds nothing twice. For one thread at a time."""

    def __init__(self, uri: str, artifact_root: Path, experiment: str = "grasp", markers: Path | None = None) -> None:
        self.uri = uri
        self.artifact_root = artifact_root
        self.experiment = experiment
        self.markers = markers
        self._opened: _Store | None = None

    def warm(self) -> None:
        """Import mlflow and initialise the store (10 s). Raises TrackingError."""
        with self._told():
            self._store()

    def sync(
        self, sweep: SweepInfo, table: pa.Table, artifacts: Path, figures: Sequence[Path] = (), final: bool = True
    ) -> bool:
        """Write what the store lacks of `table`; False when the marker says that it has everything.

        `figures` are logged on the parent; `final` writes the parent's numbers and ends it. Raises TrackingError.
        """
        marker = self._marker(sweep, table)
        if marker is not None and marker.exists():
            return False
        with self._told():
            store = self._store()
            points = contents(table)
            parent = self._parent(store, sweep, points)
            children = {run.data.tags.get("grasp.point_id"): run for run in _children(store, parent)}
            for point in points:
                _log_point(store, parent, children.get(point.point_id), point, artifacts / point.point_id)
            if final:
                _log_sweep(store, parent, sweep, table, points, figures)
                self._mark(self._marker(sweep, table))
        return True

    def attach(self, sweep: SweepInfo, tags: Mapping[str, str], files: Sequence[Path]) -> None:
        """Further tags and files for a sweep's own run, under `tables`; what is there is replaced. Raises TrackingError."""
        with self._told():
            store = self._store()
            run_id = self._parent(store, sweep, []).info.run_id
            for file in files:
                store.client.log_artifact(run_id, str(file), "tables")
            _log_batch(store.client, run_id, {}, clipped(tags, TAG_LIMIT))

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Whatever goes wrong while writing is said in one sentence."""
        try:
            yield
        # mlflow raises its own, SQLAlchemy's, requests' and the system's errors; none of them may stop a sweep.
        except Exception as error:
            said = one_line(error).replace(self.uri, mask_uri(self.uri))[:300]
            raise TrackingError(
                f"MLflow at {mask_uri(self.uri)} could not be written ({said}); nothing is lost: "
                "the ledger has every result, and the same command again writes what is missing."
            ) from error

    def _store(self) -> _Store:
        if self._opened is None:
            for name, value in _ENVIRONMENT.items():
                os.environ.setdefault(name, value)
            with self._alone():
                from mlflow import MlflowClient

                for noisy in ("alembic", "mlflow"):
                    logging.getLogger(noisy).setLevel(logging.ERROR)
                client = MlflowClient(tracking_uri=self.uri)
                found = client.get_experiment_by_name(self.experiment)
                if found is None:
                    local = self.uri.startswith("sqlite:")
                    location = self.artifact_root.resolve().as_uri() if local else None
                    experiment_id = client.create_experiment(self.experiment, location)
                else:
                    experiment_id = found.experiment_id
            self._opened = _Store(client, experiment_id)
        return self._opened

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Two processes that initialise a new SQLite store at once break it: they take turns."""
        database = _sqlite_file(self.uri)
        if database is None:
            yield
            return
        database.parent.mkdir(parents=True, exist_ok=True)
        with (database.parent / f".{database.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _parent(self, store: _Store, sweep: SweepInfo, points: Sequence[PointContent]) -> Run:
        # By a digest: MLflow's filter language cannot say every name.
        sweep_id = digest(sweep.name)
        for run in _search(store, f"tags.`grasp.sweep_id` = '{sweep_id}'"):
            return run
        began = min((point.began for point in points), default=None)
        tags = {"grasp.kind": "sweep", "grasp.sweep": sweep.name, "grasp.sweep_id": sweep_id}
        return store.client.create_run(store.experiment_id, began, tags, sweep.name)

    def _marker(self, sweep: SweepInfo, table: pa.Table) -> Path | None:
        """The file that says: this store has all of this. A store that was made anew has another inode."""
        if self.markers is None:
            return None
        database = _sqlite_file(self.uri)
        inode = database.stat().st_ino if database is not None and database.exists() else 0
        cells = cells_digest(table.select(["cell_id", "finished_at"]).to_pylist())
        said = digest([mask_uri(self.uri), self.experiment, inode, sweep.name, sweep.config_text, cells])
        return self.markers / f"{said}.tracked"

    def _mark(self, marker: Path | None) -> None:
        if marker is not None:
            marker.parent.mkdir(parents=True, exist_ok=True)
            marker.touch()


def _log_point(store: _Store, parent: Run, run: Run | None, point: PointContent, pictures: Path) -> None:
    """Bring a point's run up to date; the tag that says so is written last."""
    client = store.client
    if run is not None and run.data.tags.get("grasp.cells") == point.digest:
        return
    if run is None:
        tags = {**point.tags, "mlflow.parentRunId": parent.info.run_id}
        run = client.create_run(store.experiment_id, point.began, tags, point.name)
    run_id = run.info.run_id
    known: set[tuple[int, int]] = set()
    if "success" in run.data.metrics:
        known = {(metric.step, metric.timestamp) for metric in client.get_metric_history(run_id, "success")}
    fresh = [metric for metric in point.seed_metrics() if (metric.step, metric.timestamp) not in known]
    _log_metrics(client, run_id, [metric for metric in fresh if metric.key != "success"])
    _log_metrics(client, run_id, point.summary_metrics())
    new_params = {key: value for key, value in point.params.items() if key not in run.data.params}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "cells.json").write_text(table_json(point.rows))
        pq.write_table(pa.Table.from_pylist([dict(row) for row in point.rows]), Path(folder) / "cells.parquet")
        client.log_artifacts(run_id, folder)
    if not any(picture.path.endswith(".gif") for picture in client.list_artifacts(run_id, "rollout")):
        for picture in _one_cell(pictures):
            client.log_artifact(run_id, str(picture), "rollout")
    _log_batch(client, run_id, new_params, {"mlflow.loggedArtifacts": json.dumps([{"path": "cells.json", "type": "table"}])})
    # Last of the metrics: `success` is what says which seeds are there, so an interrupted sync logs the rest again.
    _log_metrics(client, run_id, [metric for metric in fresh if metric.key == "success"])
    _log_batch(client, run_id, {}, {**point.tags, "grasp.cells": point.digest})
    client.set_terminated(run_id, "FINISHED", point.ended)


def _log_sweep(
    store: _Store, parent: Run, sweep: SweepInfo, table: pa.Table, points: Sequence[PointContent], figures: Sequence[Path]
) -> None:
    """The parent's page: description, configuration, numbers, table of all cells, figures."""
    client, run_id = store.client, parent.info.run_id
    rows = [row for point in points for row in point.rows]
    ended = max((point.ended for point in points), default=None)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.yaml").write_text(sweep.config_text)
        pq.write_table(table, Path(folder) / "cells.parquet")
        client.log_artifacts(run_id, folder)
    for figure in figures:
        client.log_artifact(run_id, str(figure), "figures")
    if rows:
        time = max(milliseconds(row["finished_at"]) for row in rows)
        _log_metrics(client, run_id, [Metric(k, v, len(rows), time) for k, v in sweep_metrics(rows).items()])
    revisions = sorted({row["git_revision"] for row in rows})
    tags = {
        "mlflow.note.content": sweep.description,
        "grasp.command": sweep.command,
        "grasp.cells": cells_digest(rows),
        "grasp.git_revision": ", ".join(revisions),
    }
    _log_batch(client, run_id, {}, clipped(tags, TAG_LIMIT))
    client.set_terminated(run_id, "FINISHED", ended)


def _log_metrics(client: MlflowClient, run_id: str, metrics: Sequence[Metric]) -> None:
    from mlflow.entities import Metric as Logged

    for start in range(0, len(metrics), BATCH):
        chunk = metrics[start : start + BATCH]
        client.log_batch(run_id, metrics=[Logged(m.key, m.value, m.timestamp, m.step) for m in chunk])


def _log_batch(client: MlflowClient, run_id: str, params: dict[str, str], tags: dict[str, str]) -> None:
    from mlflow.entities import Param, RunTag

    listed = [Param(key, value) for key, value in params.items()]
    client.log_batch(run_id, params=listed[:100], tags=[RunTag(key, value) for key, value in tags.items()])
    for start in range(100, len(listed), 100):
        client.log_batch(run_id, params=listed[start : start + 100])


def _children(store: _Store, parent: Run) -> Iterable[Run]:
    return _search(store, f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")


def _search(store: _Store, condition: str) -> Iterator[Run]:
    token: str | None = None
    while True:
        page = store.client.search_runs([store.experiment_id], condition, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _one_cell(pictures: Path) -> Collection[Path]:
    """Gif and still of the first cell that was drawn."""
    gifs = sorted((path for path in pictures.glob("*.gif") if path.stem.lstrip("-").isdigit()), key=lambda path: int(path.stem))
    return [path for path in (gifs[0], gifs[0].with_suffix(".png")) if path.exists()] if gifs else []


def _sqlite_file(uri: str) -> Path | None:
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None
