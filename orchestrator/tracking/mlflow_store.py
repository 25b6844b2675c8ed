"""The only file that imports MLflow (late: it takes seconds): a few requests, and what their failures mean.

MLflow's own retries are off: who sends a request again decides that, because a request whose answer was lost may have been
done. Each failure is one of three: waiting may mend it, nothing is taken until someone mends it, or this content is refused.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.core.messages import one_line
from orchestrator.tracking.mlflow_headers import SWITCH
from orchestrator.tracking.model_inputs import RunInput
from orchestrator.tracking.run_content import Metric
from orchestrator.tracking.tracking_store import TrackingStore
from world_models.errors import UserError

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.store.tracking.abstract_store import AbstractStore

BATCH = 1000
"""Metrics, params and tags a request, all together."""

_SMALL = 100
"""Params a request, and tags."""

_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}

_CONTEXT, _VIEW = "mlflow.data.context", "mlflow.sharedViewState."
"""Words that MLflow's UI knows."""

_KIND = {"mlflow.experimentKind": "custom_model_development"}
"""Without it the UI may take runs for evaluations of a language model."""

_SHUT = {"UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED", "PERMISSION_DENIED", "ENDPOINT_NOT_FOUND"}
_BAD_CONTENT = {
    *("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_DOES_NOT_EXIST", "NOT_FOUND", "RESOURCE_ALREADY_EXISTS"),
    *("ALREADY_EXISTS", "INVALID_STATE"),
}


class TrackingError(UserError):
    """MLflow could not be written; the ledger has everything, so it can be written later."""


class UnavailableError(TrackingError):
    """Waiting may mend it: the server is down or slow, the disk is full, the database is away."""


class RefusedError(TrackingError):
    """Nothing is taken until someone mends it: wrong address, credentials, a deleted experiment."""


class RejectedError(TrackingError):
    """The store works and refuses this content."""


@dataclass(frozen=True)
class StoredRun:
    """A run as it lies in the store."""

    run_id: str
    artifact_uri: str
    began: int
    """Milliseconds."""
    finished: bool
    tags: Mapping[str, str]
    params: frozenset[str]
    """Keys."""


class MlflowStore:
    """An experiment of a store; every method raises one of the three errors above. For one thread at a time."""

    def __init__(self, tracking_store: TrackingStore) -> None:
        self.tracking_store = tracking_store
        self.requests = 0
        """How many were made."""
        self._opened: tuple[AbstractStore, str] | None = None

    def open(self) -> None:
        """Import MLflow, initialise the store, find or create the experiment. Done once, until `forget`."""
        with self._request():
            _ = self._store

    def forget(self) -> None:
        """Look at the store anew with the next request."""
        self._opened = None

    def runs(self, filter_string: str) -> Iterator[StoredRun]:
        """Runs that are not deleted and meet a condition of MLflow's filter language."""
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
        """A new run. Whoever calls this again after a failure must look for the run first: it may be there."""
        from mlflow.entities import RunTag

        with self._request():
            store, experiment = self._store
            return _stored(
                _given(store.create_run(experiment, "unknown", began, [RunTag(k, v) for k, v in tags.items()], name))
            )

    def log(self, run_id: str, metrics: Sequence[Metric], params: Mapping[str, str], tags: Mapping[str, str]) -> None:
        """Metrics, params and tags in as few requests as they fit in; the tags are written last of all."""
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
        """A file as an artifact of a run; replaces one of its name."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        with self._request():
            # With the run's own address: MLflow's client would ask for the run first, once for each.
            get_artifact_repository(run.artifact_uri, tracking_uri=self.tracking_store.mlflow_uri).log_artifact(
                str(file), folder
            )

    def remove(self, run: StoredRun, folder: str) -> None:
        """Take a folder of artifacts out of a run."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        with self._request():
            get_artifact_repository(run.artifact_uri, tracking_uri=self.tracking_store.mlflow_uri).delete_artifacts(folder)

    def log_inputs(self, run_id: str, inputs: Sequence[RunInput]) -> None:
        """What a run was made from; an input of a name and digest that is there already is not added again."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        given = [
            DatasetInput(Dataset(i.name, i.digest, "local", i.source, None, i.profile), [InputTag(_CONTEXT, i.context)])
            for i in inputs
        ]
        with self._request():
            self._store[0].log_inputs(run_id, given)

    def share_view(self, key: str, state: str) -> None:
        """A view of the experiment's runs, which the UI opens with `viewStateShareKey=KEY`."""
        from mlflow.entities import ExperimentTag

        with self._request():
            store, experiment = self._store
            store.set_experiment_tag(experiment, ExperimentTag(f"{_VIEW}{key}", state))

    def set_status(self, run_id: str, status: str, ended: int | None = None) -> None:
        """RUNNING, FINISHED or KILLED, and when (milliseconds)."""
        from mlflow.entities import RunStatus

        with self._request():
            self._store[0].update_run_info(run_id, RunStatus.from_string(status), ended, None)

    def logged(self, run_id: str, key: str) -> set[tuple[int, int]]:
        """Steps and times (milliseconds) at which a metric of a run is there already."""
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
        """Take a run out of sight (MLflow keeps it in its trash)."""
        with self._request():
            self._store[0].delete_run(run_id)

    def _log(self, run_id: str, metrics: list[Any], params: list[Any], tags: list[Any]) -> None:
        with self._request():
            self._store[0].log_batch(run_id, metrics, params, tags)

    @contextmanager
    def _request(self) -> Iterator[None]:
        """One request, whose failure is one of ours in one sentence."""
        self.requests += 1
        try:
            yield
        except TrackingError:
            raise
        # mlflow raises its own, SQLAlchemy's, requests' and the system's errors; none of them may stop a sweep.
        except Exception as error:
            kind = _kind(error)
            said = self.tracking_store.scrub(one_line(error))[:300]
            raise kind(f"MLflow at {self.tracking_store.masked_uri} could not be written ({said})") from error

    @property
    def _store(self) -> tuple[AbstractStore, str]:
        if self._opened is None:
            # Where connections are encrypted, a new one costs more than it saves.
            plain = self.tracking_store.uri.startswith("http://")
            for name, value in {**_ENVIRONMENT, **({SWITCH: "true"} if plain else {})}.items():
                os.environ.setdefault(name, value)
            self._opened = self._open()
        return self._opened

    def _open(self) -> tuple[AbstractStore, str]:
        # Asked first where MLflow itself would try for minutes.
        if self.tracking_store.kind == "postgresql":
            _reachable(self.tracking_store)
        with _alone(self.tracking_store.sqlite_file):
            from mlflow.entities import ExperimentTag
            from mlflow.tracking._tracking_service.utils import _get_store

            for noisy in ("alembic", "mlflow"):
                logging.getLogger(noisy).setLevel(logging.CRITICAL)
            store = _get_store(self.tracking_store.mlflow_uri)
            name = self.tracking_store.experiment
            found = store.get_experiment_by_name(name)
            if found is None:
                location = None if self.tracking_store.kind == "http" else self.tracking_store.artifact_root.resolve().as_uri()
                kind = [ExperimentTag(key, value) for key, value in _KIND.items()]
                return store, store.create_experiment(name, location, kind)
        if found.lifecycle_stage == "deleted":
            raise RefusedError(
                f"MLflow at {self.tracking_store.masked_uri} has deleted experiment {name!r}: "
                "restore it or set tracking.experiment"
            )
        return store, found.experiment_id


def _given(value: Any) -> Any:
    """MLflow's abstract store says that it returns nothing."""
    return value


def _stored(run: Run) -> StoredRun:
    info = run.info
    tags, params = dict(run.data.tags), frozenset(run.data.params)
    return StoredRun(info.run_id, info.artifact_uri or "", info.start_time or 0, info.status == "FINISHED", tags, params)


def _reachable(tracking_store: TrackingStore) -> None:
    try:
        trouble = tracking_store.check()
    except UserError as error:
        raise RefusedError(str(error)) from error
    if trouble:
        raise UnavailableError(trouble)


@contextmanager
def _alone(database: Path | None) -> Iterator[None]:
    """Two processes that initialise a new SQLite store at once break it, and so does one that dies while it does.

    They take turns, and a new store gets its name when it is whole.
    """
    if database is None:
        yield
        return
    database.parent.mkdir(parents=True, exist_ok=True)
    with (database.parent / f".{database.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not database.exists() or database.stat().st_size == 0:
            _initialise(database)
        yield


def _initialise(database: Path) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    logging.getLogger("alembic").setLevel(logging.CRITICAL)
    logging.getLogger("mlflow").setLevel(logging.CRITICAL)
    temporary = database.with_name(f".{database.name}.new")
    temporary.unlink(missing_ok=True)
    SqlAlchemyStore(f"sqlite:///{temporary}", (database.parent / "mlartifacts").as_uri()).engine.dispose()
    temporary.replace(database)


def _kind(error: Exception) -> type[TrackingError]:
    """What a failure means. Codes are MLflow's own names for HTTP's; artifacts come with bare HTTP."""
    from mlflow.exceptions import MlflowException
    from requests.exceptions import HTTPError

    if isinstance(error, HTTPError) and error.response is not None:
        status = error.response.status_code
        if status in (401, 403):
            return RefusedError
        return RejectedError if status < 500 and status not in (408, 425, 429) else UnavailableError
    if not isinstance(error, MlflowException):
        return UnavailableError
    if error.error_code in _SHUT:
        return RefusedError
    # A server passes on what its database said as a bad request.
    ours = error.error_code in _BAD_CONTENT and not any(word in str(error) for word in ("sqlalche.me", "psycopg"))
    return RejectedError if ours else UnavailableError
