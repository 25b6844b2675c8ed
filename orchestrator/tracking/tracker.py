"""The tracker, the only writer to MLflow: a sweep is a parent run, a point its child run, and a seed a step.

Everything is derived from the ledger, so it can be written again at any time: a run is searched for by its tags before it is
created, a metric logged twice stays one metric, and a point is complete once its run is FINISHED with the digest of its cells.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int64

from orchestrator.artifacts.artifact_store import ArtifactStore
from orchestrator.core.cell import digest
from orchestrator.ledger.records import LISTS
from orchestrator.storage.opening import open_storage
from orchestrator.tracking.content.images import FOLDER, IMAGES, TAGS, run_files, shown_of
from orchestrator.tracking.content.inputs import inputs_of, read_models
from orchestrator.tracking.content.model_files import model_files
from orchestrator.tracking.content.overview import Overview, overview, points_table, seeds_of
from orchestrator.tracking.content.pages import ORDER, order_of, point_page, points_view, sweep_tags, view_key
from orchestrator.tracking.content.points import POINT_COLUMNS, TAG_LIMIT, Metric, PointContent, clipped, contents, table_json
from orchestrator.tracking.content.sweep_info import SweepInfo
from orchestrator.tracking.failures import RejectedError, TrackingError
from orchestrator.tracking.mlflow_store import MlflowStore, StoredRun
from orchestrator.tracking.sync_markers import mark, marker_of
from orchestrator.tracking.tracking_store import TrackingStore
from orchestrator.tracking.usage_file import samples, system_metrics

SHOWN_CELLS = 1000
"""Most cells in a point's table in the UI; if there are more, a Parquet file holds all."""

LISTED_CELLS = 100_000
"""Most cells for which a sweep's page has a table of all cells; the ledger has them anyway."""

POINTS_FILE = "points.json"
"""The table of points in a sweep's run."""

_PICTURES = "grasp.pictures"
"""Tag of a point's run: a digest of the cells that it shows."""


class Tracker:
    """Writes to a tracking store, and adds nothing twice. Methods may raise TrackingError. For one thread at a time."""

    def __init__(self, tracking_store: TrackingStore, markers: Path | None = None) -> None:
        self.tracking_store = tracking_store
        self.markers = markers
        self._store = MlflowStore(tracking_store)
        self._parents: dict[str, StoredRun] = {}
        self._children: dict[str, dict[str, StoredRun]] = {}
        self._doubtful = False
        self._models: set[tuple[str, str]] = set()
        """Runs and digests of models that were written."""
        self._curves: dict[str, int] = {}
        """The last step that was logged of each sweep's curves."""
        self._sent: dict[tuple[str, str], set[str]] = {}
        """Names of uploaded image files by run and digest, so that an interrupted upload continues where it stopped."""
        self.points = self.sweeps = self.pictures = 0
        """Numbers of points, sweeps and points with images brought up to date."""
        self.files = 0
        """Number of uploaded image files."""

    @property
    def written(self) -> str:
        """A description of what was written."""
        points = "1 point" if self.points == 1 else f"{self.points} points"
        points += f" with pictures of {self.pictures}" if self.pictures else ""
        return f"{points} and " + ("1 sweep" if self.sweeps == 1 else f"{self.sweeps} sweeps")

    @property
    def progress(self) -> tuple[int, ...]:
        """A value that changes whenever something has arrived."""
        return self.points, self.sweeps, self.pictures, self.files

    @property
    def requests(self) -> int:
        """Number of requests made so far."""
        return self._store.requests

    def open(self) -> None:
        """Import MLflow and open the store (seconds)."""
        self._store.open()

    def begin(self, info: SweepInfo) -> None:
        """Make the sweep's own run, RUNNING, with its configuration."""
        parent = self._parent(info.name)
        self._describe(parent, info)
        if parent.finished:
            self._store.set_status(parent.run_id, "RUNNING")
            self._parents[info.name] = replace(parent, finished=False)
        self._store.log(parent.run_id, [], {}, sweep_tags(info))

    def log_points(self, sweep: str, points: Iterable[PointContent]) -> list[str]:
        """Bring runs of points up to date, except for their images.

        Returns sentences about points that the store refuses; the others are written nevertheless.
        """
        refused = []
        for point in points:
            try:
                self._log_point(sweep, point)
            except RejectedError:
                # Someone deleted a run or the experiment: after a fresh look it is made again, or refused for good.
                self._forget()
                try:
                    self._log_point(sweep, point)
                except RejectedError as error:
                    refused.append(str(error))
        return refused

    def log_curve(self, sweep: str, curve: Sequence[Metric]) -> None:
        """Add what is new of a running sweep's curves."""
        last = self._curves.get(sweep, 0)
        if news := [metric for metric in curve if metric.step > last]:
            self._store.log(self._parent(sweep).run_id, news, {}, {})
            self._curves[sweep] = news[-1].step

    def log_pictures(self, sweep: str, seeds: Mapping[str, Int64[np.ndarray, " seeds"]], artifacts: Path | str) -> list[str]:
        """Bring the images of finished points (by id, with their seeds) up to date; `artifacts` holds a folder per point.

        Returns sentences about points that the store refuses.
        """
        artifact_store, refused = ArtifactStore(open_storage(artifacts)), []
        children = self._known(sweep, self._parent(sweep))
        for point_id, own in seeds.items():
            run, manifest = children.get(point_id), artifact_store.manifest(point_id)
            shown = None if manifest is None else shown_of(manifest, own)
            if run is None or shown is None or run.tags.get(_PICTURES) == shown.digest:
                continue
            try:
                sent = self._sent.setdefault((run.run_id, shown.digest), set())
                if _PICTURES in run.tags and not sent:  # its images show other cells than those selected now
                    for folder in (FOLDER, IMAGES):
                        self._store.remove(run, folder)
                for file in run_files(artifact_store, point_id, shown, run.began):
                    if f"{file.folder}/{file.name}" in sent:
                        continue
                    self._store.upload_contents(run, {file.name: file.data}, file.folder)
                    sent.add(f"{file.folder}/{file.name}")
                    self.files += 1
                self._store.log(run.run_id, [], {}, {**TAGS, _PICTURES: shown.digest})
                del self._sent[run.run_id, shown.digest]
            except RejectedError as error:
                refused.append(str(error))
                continue
            children[point_id] = replace(run, tags={**run.tags, _PICTURES: shown.digest})
            self.pictures += 1
        return refused

    def stale(self, sweep: str, sweep_overview: Overview) -> list[str]:
        """Ids of points whose run is missing or out of date."""
        if self._doubtful:
            # A request that seemed to fail may have been done after all: runs made twice are found before the end.
            self._parents.pop(sweep, None)
            self._children.pop(sweep, None)
        children = self._known(sweep, self._parent(sweep, sweep_overview.began))
        return [point for point, cells in sweep_overview.digests.items() if not _complete(children.get(point), cells)]

    def end(
        self,
        info: SweepInfo,
        sweep_overview: Overview,
        table: pa.Table | None,
        figures: Sequence[Path] = (),
        complete: bool = True,
        points: str = "",
    ) -> None:
        """Write the sweep's page; `table` holds all cells, if they are few enough, `points` the table of points for the UI."""
        parent = self._parent(info.name)
        self._describe(parent, info)
        if table is not None:
            self._store.upload_contents(parent, {"cells.parquet": table})
        for figure in figures:
            self._store.upload(parent, figure, "figures" if figure.suffix == ".png" else None)
        metrics = [
            Metric(key, value, sweep_overview.cells, sweep_overview.ended) for key, value in sweep_overview.metrics.items()
        ]
        metrics += sweep_overview.curve
        metrics += system_metrics(samples(Path(info.usage))) if info.usage else ()
        tags = sweep_tags(info, sweep_overview) | {"grasp.cells": sweep_overview.digest}
        if points:
            self._store.upload_contents(parent, {POINTS_FILE: points.encode()})
            tags["mlflow.loggedArtifacts"] = json.dumps([{"path": POINTS_FILE, "type": "table"}])
        self._store.log(parent.run_id, metrics, {}, tags)
        self._store.set_status(
            parent.run_id, "FINISHED" if complete else "KILLED", max(sweep_overview.ended, parent.began) or None
        )
        self.sweeps += 1
        self._parents[info.name] = replace(parent, finished=complete)
        if complete:
            mark(marker_of(self.markers, self.tracking_store, info, sweep_overview))

    def attach(self, sweep: str, tags: Mapping[str, str], files: Sequence[Path]) -> None:
        """Add tags, and files under `tables`, to a sweep's own run, replacing existing ones."""
        parent = self._parent(sweep)
        for file in files:
            self._store.upload(parent, file, "tables")
        self._store.log(parent.run_id, [], {}, clipped(tags, TAG_LIMIT))

    def sync(self, info: SweepInfo, table: pa.Table, artifacts: Path | str, figures: Sequence[Path] = ()) -> list[str]:
        """Write stale points and the page of a sweep, given all its rows. Returns sentences about refused points."""
        sweep_overview = overview(table, info.labels)
        stale = self.stale(info.name, sweep_overview)
        stale_rows = table.filter(pc.field("point_id").isin(pa.array(stale, pa.string())))
        points = contents(stale_rows.select(list(POINT_COLUMNS)).to_pylist(), info.labels)
        refused = self.log_points(info.name, points)
        refused += self.log_pictures(info.name, seeds_of(table), artifacts)
        listed = table.select([name for name in table.column_names if name not in LISTS])
        points_json = points_table(table, info.labels)
        self.end(info, sweep_overview, listed if sweep_overview.cells <= LISTED_CELLS else None, figures, points=points_json)
        return refused

    def tracked(self, info: SweepInfo, sweep_overview: Overview) -> bool:
        """Whether a marker file says that the store has all of this; MLflow is not asked."""
        marker = marker_of(self.markers, self.tracking_store, info, sweep_overview)
        return marker is not None and marker.exists()

    def _forget(self) -> None:
        """Forget everything known about the store."""
        self._store.forget()
        self._parents.clear()
        self._children.clear()
        self._doubtful = True

    def _create(self, name: str, began: int, tags: Mapping[str, str]) -> StoredRun:
        """Create a run. If the answer is lost, it may exist nevertheless, so it is searched for before another attempt."""
        try:
            return self._store.create(name, began, tags)
        except TrackingError:
            self._forget()
            raise

    def _describe(self, parent: StoredRun, info: SweepInfo) -> None:
        """Write what is known about a sweep from its beginning; writing it again changes nothing."""
        self._store.upload_contents(parent, {"config.yaml": info.config_text.encode()})
        for file in filter(Path.is_file, map(Path, info.files)):
            self._store.upload(parent, file, "environment")
        models = read_models(info.models)
        if inputs := inputs_of(models):
            self._store.log_inputs(parent.run_id, inputs)
        for model in model_files(models):
            if (parent.run_id, model.digest) not in self._models:
                with suppress(RejectedError):  # a server of before MLflow 3 has no models of this kind
                    self._store.log_model(parent.run_id, model)
                self._models.add((parent.run_id, model.digest))
        self._store.share_view(view_key(info.name), points_view(parent.run_id))

    def _parent(self, sweep: str, began: int = 0) -> StoredRun:
        """The sweep's own run; `began` (milliseconds) dates a sweep that is tracked afterwards, 0 means now."""
        if sweep not in self._parents:
            # By a digest, because MLflow's filter language cannot express every name.
            sweep_id = digest(sweep)
            found = list(self._store.runs(f"tags.`grasp.sweep_id` = '{sweep_id}'"))
            if found:
                self._parents[sweep] = found[0] if len(found) == 1 else self._true_parent(found)
            else:
                tags = {"grasp.kind": "sweep", "grasp.sweep": sweep, "grasp.sweep_id": sweep_id}
                self._parents[sweep] = self._create(sweep, began or round(1000 * time.time()), tags)
                self._children[sweep] = {}
        return self._parents[sweep]

    def _true_parent(self, found: Sequence[StoredRun]) -> StoredRun:
        """The best of several runs made for one sweep: the one with points; empty ones are deleted."""
        points = {run.run_id: sum(1 for _ in self._points_of(run)) for run in found}
        best = max(found, key=lambda run: ("grasp.cells" in run.tags, points[run.run_id], -run.began, run.run_id))
        self._delete([run for run in found if run is not best and not points[run.run_id]])
        return best

    def _points_of(self, parent: StoredRun) -> Iterator[StoredRun]:
        return self._store.runs(f"tags.`mlflow.parentRunId` = '{parent.run_id}'")

    def _known(self, sweep: str, parent: StoredRun) -> dict[str, StoredRun]:
        """Runs of the sweep's points, by point id; of runs made twice, one stays."""
        if sweep not in self._children:
            found: dict[str, StoredRun] = {}
            spare = []
            for run in self._points_of(parent):
                point = run.tags.get("grasp.point_id", "")
                other = found.get(point)
                first, second = (run, other) if other is None or _better(run, other) else (other, run)
                found[point] = first
                spare += [second] if second else []
            self._delete(spare)
            self._children[sweep] = found
        return self._children[sweep]

    def _delete(self, runs: Sequence[StoredRun]) -> None:
        for run in runs:
            self._store.delete(run.run_id)

    def _log_point(self, sweep: str, point: PointContent) -> None:
        parent = self._parent(sweep)
        children = self._known(sweep, parent)
        run = children.get(point.point_id)
        if _complete(run, point.digest):
            return
        metrics = point.seed_metrics()
        tags = {"grasp.cells": point.digest, "mlflow.loggedArtifacts": json.dumps([{"path": "cells.json", "type": "table"}])}
        tags |= {"mlflow.note.content": point_page(point)[:TAG_LIMIT], ORDER: order_of(point)}
        if run is None:
            run = self._create(
                point.name, point.began, {**point.tags, "grasp.sweep": sweep, "mlflow.parentRunId": parent.run_id}
            )
        else:
            tags |= point.tags
            if run.finished:
                self._store.set_status(run.run_id, "RUNNING")
            # All metrics of a seed are in one request: if `seed/success` is there, so are the others.
            known = self._store.logged(run.run_id, "seed/success")
            metrics = [metric for metric in metrics if (metric.step, metric.timestamp) not in known]
        children[point.point_id] = replace(run, finished=False)
        if point.inputs:
            self._store.log_inputs(run.run_id, point.inputs)
        params = {key: value for key, value in point.params.items() if key not in run.params}
        # The point's own values come first, for MLflow shows metrics in this order and compares runs by the first.
        self._store.log(run.run_id, [*point.summary_metrics(), *metrics], params, tags)
        files: dict[str, bytes | pa.Table] = {"cells.json": table_json(point.rows[:SHOWN_CELLS]).encode()}
        if len(point.rows) > SHOWN_CELLS:
            files["cells.parquet"] = pa.Table.from_pylist([dict(row) for row in point.rows])
        self._store.upload_contents(run, files)
        self._store.set_status(run.run_id, "FINISHED", point.ended)
        self.points += 1
        # Only a little is kept, because there may be thousands of points; params that are logged again stay the same.
        kept = {"grasp.cells": point.digest} | {key: run.tags[key] for key in (_PICTURES,) if key in run.tags}
        children[point.point_id] = replace(run, finished=True, tags=kept, params=frozenset())


def _complete(run: StoredRun | None, cells: str) -> bool:
    return run is not None and run.finished and run.tags.get("grasp.cells") == cells


def _better(run: StoredRun, other: StoredRun) -> bool:
    """Whether `run` is the one of two runs of a point to keep: the one with more in it."""
    return (run.finished, len(run.params), run.run_id) > (other.finished, len(other.params), other.run_id)
