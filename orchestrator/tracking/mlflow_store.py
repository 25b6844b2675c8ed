"""Imports MLflow (late, because it takes seconds; only `local_store` does so too): requests, and what their failures mean.

MLflow's own retries are off: callers decide about retries, because a request whose answer was lost may have been done. Each
failure is one of three (`failures`).
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.core.secrets import one_line
from orchestrator.tracking.content.inputs import RunInput
from orchestrator.tracking.content.model_files import CHECKPOINT, ModelFiles
from orchestrator.tracking.content.points import Metric
from orchestrator.tracking.failures import RefusedError, TrackingError, UnavailableError, kind_of
from orchestrator.tracking.local_store.opening import opened
from orchestrator.tracking.mlflow_headers import SWITCH
from orchestrator.tracking.tracking_store import TrackingStore
from world_models.errors import UserError

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.store.tracking.abstract_store import AbstractStore

BATCH = 1000
"""Most metrics, params and tags per request, taken together."""

_SMALL = 100
"""Most params per request; also most tags."""

_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}

_CONTEXT, _VIEW = "mlflow.data.context", "mlflow.sharedViewState."
"""Keys that MLflow's UI knows."""

_KIND = {"mlflow.experimentKind": "custom_model_development"}
"""Without this tag the UI may take runs for evaluations of a language model."""


@dataclass(frozen=True)
class StoredRun:
    """A run as stored in MLflow."""

    run_id: str
    artifact_uri: str
    began: int
    """Start of the run, in Unix milliseconds."""
    finished: bool
    tags: Mapping[str, str]
    params: frozenset[str]
    """Keys of the run's params."""


class MlflowStore:
    """An experiment in a store; every method may raise one of the three errors above. For one thread at a time."""

    def __init__(self, tracking_store: TrackingStore) -> None:
        self.tracking_store = tracking_store
        self.requests = 0
        """Number of requests made."""
        self._opened: tuple[AbstractStore, str] | None = None

    def open(self) -> None:
        """Import MLflow, initialise the store, and find or create the experiment. Done once, until `forget`."""
        with self._request():
            _ = self._store

    def forget(self) -> None:
        """Open the store again at the next request."""
        self._opened = None

    def runs(self, filter_string: str) -> Iterator[StoredRun]:
        """Runs, except deleted ones, that match a filter in MLflow's language."""
        from mlflow.entities import ViewType

        token: str | None = None
        while True:
            with self._request():
                store, experiment = self._store
                page = store.search_runs([experiment], filter_string, ViewType.ACTIVE_ONLY, 1000, None, token)
            yield from map(_stored, page)
            token = page.token
            if not token:
                return

    def create(self, name: str, began: int, tags: Mapping[str, str]) -> StoredRun:
        """Create a run. Before retrying after a failure, look for the run, because it may exist."""
        from mlflow.entities import RunTag

        with self._request():
            store, experiment = self._store
            return _stored(
                _given(store.create_run(experiment, "unknown", began, [RunTag(k, v) for k, v in tags.items()], name))
            )

    def log(self, run_id: str, metrics: Sequence[Metric], params: Mapping[str, str], tags: Mapping[str, str]) -> None:
        """Log metrics, params and tags in as few requests as possible; the tags are written last."""
        from mlflow.entities import Metric as Logged
        from mlflow.entities import Param, RunTag

        numbers = [Logged(m.key, m.value, m.timestamp, m.step) for m in metrics]
        words = [Param(key, value) for key, value in params.items()]
        while len(numbers) + len(words[:_SMALL]) + len(tags) > BATCH or len(words) > _SMALL:
            metric_batch, numbers = numbers[: BATCH - _SMALL], numbers[BATCH - _SMALL :]
            listed, words = words[:_SMALL], words[_SMALL:]
            self._log(run_id, metric_batch, listed, [])
        if numbers or words or tags:
            self._log(run_id, numbers, words, [RunTag(key, value) for key, value in tags.items()])

    def upload(self, run: StoredRun, file: Path, folder: str | None = None) -> None:
        """Upload a file as an artifact of a run, replacing one of the same name."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        with self._request():
            # With the run's own address: MLflow's client would ask for the run before every upload.
            get_artifact_repository(run.artifact_uri, tracking_uri=self.tracking_store.mlflow_uri).log_artifact(
                str(file), folder
            )

    def upload_contents(self, run: StoredRun, files: Mapping[str, bytes | pa.Table], folder: str | None = None) -> None:
        """Upload contents as files of the given names, tables as Parquet."""
        with _temporary_folder() as temporary:
            for name, content in files.items():
                file = temporary / name
                if isinstance(content, bytes):
                    file.write_bytes(content)
                else:
                    pq.write_table(content, file)
                self.upload(run, file, folder)

    def remove(self, run: StoredRun, folder: str) -> None:
        """Delete a folder of artifacts from a run."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        with self._request():
            get_artifact_repository(run.artifact_uri, tracking_uri=self.tracking_store.mlflow_uri).delete_artifacts(folder)

    def log_inputs(self, run_id: str, inputs: Sequence[RunInput]) -> None:
        """Log the inputs of a run; one whose name and digest are already there is not added again."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        given = [
            DatasetInput(Dataset(i.name, i.digest, "local", i.source, None, i.profile), [InputTag(_CONTEXT, i.context)])
            for i in inputs
        ]
        with self._request():
            self._store[0].log_inputs(run_id, given)

    def log_model(self, run_id: str, model: ModelFiles) -> None:
        """Keep a world model's files as an MLflow model, unless the experiment has it, and name it as an input of the run."""
        from mlflow.entities import LoggedModelInput, LoggedModelParameter, LoggedModelStatus
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        with self._request():
            store, experiment = self._store
            known = _given(store.search_logged_models([experiment], f"params.`content_digest` = '{model.digest}'"))
            kept = next((each for each in known if each.status == LoggedModelStatus.READY), None)
            if kept is None:
                params = [LoggedModelParameter(key, value) for key, value in model.params.items()]
                # One that an interrupted upload left behind is completed.
                kept = next(iter(known), None) or _given(
                    store.create_logged_model(experiment, model.name, run_id, [], params, "world model")
                )
                place = get_artifact_repository(kept.artifact_location, tracking_uri=self.tracking_store.mlflow_uri)
                for file in model.files:
                    place.log_artifact(str(file), CHECKPOINT)
                with _temporary_folder() as folder:
                    (folder / "MLmodel").write_text(model.description(kept.model_id), encoding="utf-8")
                    place.log_artifact(str(folder / "MLmodel"))
                store.finalize_logged_model(kept.model_id, LoggedModelStatus.READY)
            store.log_inputs(run_id, [], [LoggedModelInput(kept.model_id)])

    def share_view(self, key: str, state: str) -> None:
        """Save a view of the experiment's runs, which the UI opens with `viewStateShareKey=KEY`."""
        from mlflow.entities import ExperimentTag

        with self._request():
            store, experiment = self._store
            store.set_experiment_tag(experiment, ExperimentTag(f"{_VIEW}{key}", state))

    def set_status(self, run_id: str, status: str, ended: int | None = None) -> None:
        """Set a run's status to RUNNING, FINISHED, KILLED or FAILED, and its end in milliseconds."""
        from mlflow.entities import RunStatus

        with self._request():
            self._store[0].update_run_info(run_id, RunStatus.from_string(status), ended, None)

    def logged(self, run_id: str, key: str) -> set[tuple[int, int]]:
        """Steps and times (milliseconds) at which a metric of a run is already logged."""
        found: set[tuple[int, int]] = set()
        token: str | None = None
        while True:
            with self._request():
                page = _given(self._store[0].get_metric_history(run_id, key, max_results=25_000, page_token=token))
            found |= {(metric.step, metric.timestamp) for metric in page}
            token = page.token
            if not token:
                return found

    def delete(self, run_id: str) -> None:
        """Delete a run; MLflow keeps it in its trash."""
        with self._request():
            self._store[0].delete_run(run_id)

    def _log(self, run_id: str, metrics: list[Any], params: list[Any], tags: list[Any]) -> None:
        with self._request():
            self._store[0].log_batch(run_id, metrics, params, tags)

    @contextmanager
    def _request(self) -> Iterator[None]:
        """Count a request, and turn its failure into a TrackingError of one sentence."""
        self.requests += 1
        try:
            yield
        except TrackingError:
            raise
        # MLflow raises its own errors, SQLAlchemy's, requests' and the system's; none of them may stop a sweep.
        except Exception as error:
            kind = kind_of(error)
            reason = self.tracking_store.scrub(one_line(error))[:300]
            raise kind(f"MLflow at {self.tracking_store.masked_uri} could not be written ({reason})") from error

    @property
    def _store(self) -> tuple[AbstractStore, str]:
        if self._opened is None:
            # A new encrypted connection costs more than it saves.
            plain = self.tracking_store.uri.startswith("http://")
            for name, value in {**_ENVIRONMENT, **({SWITCH: "true"} if plain else {})}.items():
                os.environ.setdefault(name, value)
            self._opened = self._open()
        return self._opened

    def _open(self) -> tuple[AbstractStore, str]:
        # Checked first, because MLflow itself would try for minutes.
        if self.tracking_store.kind == "postgresql":
            _reachable(self.tracking_store)
        if self.tracking_store.sqlite_file is not None:
            with opened(self.tracking_store.sqlite_file) as local:
                return self._experiment_in(local)
        from mlflow.tracking._tracking_service.utils import _get_store

        for noisy in ("alembic", "mlflow"):
            logging.getLogger(noisy).setLevel(logging.CRITICAL)
        return self._experiment_in(_get_store(self.tracking_store.mlflow_uri))

    def _experiment_in(self, store: AbstractStore) -> tuple[AbstractStore, str]:
        """The store and the id of the experiment in it, which is made if necessary."""
        from mlflow.entities import ExperimentTag

        name = self.tracking_store.experiment
        found = store.get_experiment_by_name(name)
        if found is None:
            location = None if self.tracking_store.kind == "http" else self.tracking_store.artifact_root.resolve().as_uri()
            kind = [ExperimentTag(key, value) for key, value in _KIND.items()]
            return store, _given(store.create_experiment(name, location, kind))
        if found.lifecycle_stage == "deleted":
            raise RefusedError(
                f"MLflow at {self.tracking_store.masked_uri} has deleted experiment {name!r}: "
                "restore it or set tracking.experiment"
            )
        return store, found.experiment_id


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    try:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)
    except OSError as error:
        raise UnavailableError(f"the temporary folder cannot be written ({error.strerror or error})") from error


def _given(value: Any) -> Any:
    """The value itself, untyped: MLflow's abstract store declares that it returns nothing."""
    return value


def _stored(run: Run) -> StoredRun:
    info = run.info
    tags, params = dict(run.data.tags), frozenset(run.data.params)
    return StoredRun(info.run_id, info.artifact_uri or "", info.start_time or 0, info.status == "FINISHED", tags, params)


def _reachable(tracking_store: TrackingStore) -> None:
    try:
        problem = tracking_store.check()
    except UserError as error:
        raise RefusedError(str(error)) from error
    if problem:
        raise UnavailableError(problem)
