"""A study in MLflow: the study is a parent run, and each trial its child. Writing it again adds nothing.

The study's storage is authoritative: what MLflow lacks, because it was unavailable or a process was killed, is written the
next time. In MLflow a pruned trial is KILLED, and one that does not count is FAILED.
"""

from __future__ import annotations

import json
import queue
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from orchestrator.core.cell import digest
from orchestrator.tracking.content.points import TAG_LIMIT, Metric, clipped
from orchestrator.tracking.failures import TrackingError
from orchestrator.tracking.mlflow_store import MlflowStore, StoredRun
from orchestrator.tracking.tracking_store import TrackingStore
from orchestrator.tuning.objectives import Objective
from orchestrator.tuning.trials import State, TrialView

_STATUS = {State.COMPLETE: "FINISHED", State.PRUNED: "KILLED", State.FAILED: "FAILED", State.REFUSED: "KILLED"}
FINISH_TIMEOUT = 20.0
"""Seconds to wait for MLflow at the end of a study."""


@dataclass(frozen=True)
class StudyInfo:
    """The description of a study for MLflow."""

    name: str
    config_text: str
    command: str
    objectives: tuple[Objective, ...]
    definition: Mapping[str, str]
    """The study's definition, in words."""


class StudyTracker:
    """Writes a study to a tracking store. All methods may raise TrackingError. For one thread at a time."""

    def __init__(self, tracking_store: TrackingStore, info: StudyInfo) -> None:
        self._store = MlflowStore(tracking_store)
        self._info = info
        self._parent: StoredRun | None = None
        self._children: dict[int, StoredRun] = {}
        self._done: set[int] = set()

    def open(self) -> None:
        """Import MLflow, find or create the study's run, and read the trials that it has."""
        if self._parent is not None:
            return
        study_id = digest(["study", self._info.name])
        found = list(self._store.runs(f"tags.`grasp.study_id` = '{study_id}'"))
        tags = {"grasp.kind": "study", "grasp.study": self._info.name, "grasp.study_id": study_id}
        parent = found[0] if found else self._store.create(f"study {self._info.name}", _now(), tags)
        for run in self._store.runs(f"tags.`mlflow.parentRunId` = '{parent.run_id}'"):
            number = int(run.tags.get("grasp.trial", "-1"))
            if number in self._children:
                self._store.delete(run.run_id)  # created twice, because an answer was lost
                continue
            self._children[number] = run
            if "grasp.state" in run.tags:
                self._done.add(number)
        self._parent = parent
        self._store.set_status(parent.run_id, "RUNNING")
        self._store.log(parent.run_id, [], {}, clipped({"grasp.command": self._info.command}, TAG_LIMIT))
        self._upload({"config.yaml": self._info.config_text, "definition.json": json.dumps(self._info.definition, indent=1)})

    def write(self, view: TrialView) -> None:
        """Write a trial that has ended, unless it is already there."""
        self.open()
        assert self._parent is not None
        if view.state not in _STATUS or view.number in self._done:
            return
        began, ended = _milliseconds(view.began), _milliseconds(view.ended)
        run = self._children.get(view.number)
        if run is None:
            tags = {
                "mlflow.parentRunId": self._parent.run_id,
                "grasp.kind": "trial",
                "grasp.study": self._info.name,
                "grasp.trial": str(view.number),
            }
            run = self._children[view.number] = self._store.create(f"trial {view.number}", began, tags)
        params = {name: str(value) for name, value in view.settings.items() if name not in run.params}
        notes = {f"grasp.{key}": str(view.notes[key]) for key in ("start", "conflict", "failed") if key in view.notes}
        # The state is written last: a run that has it is complete.
        self._store.log(
            run.run_id, self._metrics(view, ended), params, clipped(notes | {"grasp.state": view.state.value}, TAG_LIMIT)
        )
        self._store.set_status(run.run_id, _STATUS[view.state], ended)
        self._done.add(view.number)

    def _metrics(self, view: TrialView, ended: int) -> list[Metric]:
        found = [
            Metric(objective.name, value, view.number, ended)
            for objective, value in zip(self._info.objectives, view.values, strict=False)
        ]
        first = self._info.objectives[0].name
        steps = sorted(view.steps.items())
        # After its instances, a pruned trial has their mean.
        steps = steps[:-1] if view.state is State.PRUNED else steps
        found += [Metric(f"{first}_by_problem", score, step, ended) for step, score in steps]
        return found

    def finish(self, views: Sequence[TrialView], files: Sequence[Path], description: str) -> None:
        """Write all missing trials, the history of the best, and the study's page."""
        self.open()
        assert self._parent is not None
        for view in views:
            self.write(view)
        self._store.log(self._parent.run_id, history(views, self._info.objectives), {}, {})
        for file in files:
            folder = "figures" if file.suffix == ".png" else "tables" if file.name == "held_out.json" else None
            self._store.upload(self._parent, file, folder)
        tags = {"mlflow.note.content": description, "grasp.trials": str(len(self._done))}
        if any(file.name == "held_out.json" for file in files):
            tags["mlflow.loggedArtifacts"] = json.dumps([{"path": "tables/held_out.json", "type": "table"}])
        self._store.log(self._parent.run_id, [], {}, clipped(tags, TAG_LIMIT))
        self._store.set_status(self._parent.run_id, "FINISHED", _now())

    def _upload(self, texts: Mapping[str, str]) -> None:
        assert self._parent is not None
        with tempfile.TemporaryDirectory() as folder:
            for name, text in texts.items():
                file = Path(folder) / name
                file.write_text(text, encoding="utf-8")
                self._store.upload(self._parent, file)


def history(views: Sequence[TrialView], objectives: Sequence[Objective]) -> list[Metric]:
    """The best value so far of each objective, with one step per trial."""
    found: list[Metric] = []
    for position, objective in enumerate(objectives):
        best: float | None = None
        for view in views:
            if view.state is not State.COMPLETE or not view.feasible:
                continue
            value = view.values[position]
            best = value if best is None or objective.better(value, best) else best
            found.append(Metric(f"best_{objective.name}", best, view.number, _milliseconds(view.ended)))
    return found


class StudyTracking:
    """Tracks a study in a thread; MLflow's failures never reach the study. Off without a tracking store."""

    def __init__(self, tracking_store: TrackingStore | None, info: StudyInfo, say: Callable[[str], None]) -> None:
        self._say = say
        self._tracking_store = tracking_store
        self._tracker = None if tracking_store is None else StudyTracker(tracking_store, info)
        self._ended_trials: queue.SimpleQueue[TrialView | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def check(self) -> None:
        """Check the store before planning. Raises UserError if it will never take anything; warns if it is unavailable."""
        if self._tracking_store is not None and (warning := self._tracking_store.check()):
            self._say(f"{warning}: planning continues, and trials are written when the same command runs again")

    def start(self) -> None:
        """Start the thread that writes trials."""
        if self._tracker is not None:
            self._thread = threading.Thread(target=self._work, name="study tracking", daemon=True)
            self._thread.start()

    def on_trial_end(self, view: TrialView) -> None:
        """Queue a trial that has ended."""
        if self._thread is not None:
            self._ended_trials.put(view)

    def stop(self) -> None:
        """Stop the thread after its present trial."""
        if self._thread is not None:
            self._ended_trials.put(None)
            self._thread.join(FINISH_TIMEOUT)
            self._thread = None

    def finish(self, views: Sequence[TrialView], files: Sequence[Path], description: str) -> None:
        """Write what is missing and the study's page. A failure is reported, and the next run writes the rest."""
        self.stop()
        if self._tracker is None:
            return
        try:
            self._tracker.finish(views, files, description)
        except TrackingError as error:
            self._say(f"{error}; the study is complete in its storage: run the same command again to write it")

    def _work(self) -> None:
        assert self._tracker is not None
        while (view := self._ended_trials.get()) is not None:
            try:
                self._tracker.write(view)
            except TrackingError:
                # `finish` writes everything that is missing, and reports it if it cannot.
                time.sleep(1.0)


def _now() -> int:
    return round(1000 * time.time())


def _milliseconds(when: datetime | None) -> int:
    return _now() if when is None else round(1000 * when.timestamp())
