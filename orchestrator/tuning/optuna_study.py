"""One Optuna study, driven by one driver at a time, or in PostgreSQL by several, each with its own id.

Workers never see it. A trial belongs to the driver that asked for it: the same driver, restarted, continues it, and no other
touches it. If the storage is unavailable, the study waits for it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar

import optuna
from optuna.exceptions import DuplicatedStudyError
from optuna.pruners import NopPruner
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from orchestrator.core.cell import Scalar
from orchestrator.core.secrets import one_line
from orchestrator.tuning.objectives import Bound, Objective
from orchestrator.tuning.optuna_storage import is_unavailable, masked_location, open_storage
from orchestrator.tuning.pruning import Pruning, RacePruner
from orchestrator.tuning.samplers import Sampling, make_sampler
from orchestrator.tuning.search_space import Known, Space
from orchestrator.tuning.trials import CONFLICT, TrialView, is_refused, view_of
from world_models.errors import UnknownNameError, UserError, brief, require

optuna.logging.set_verbosity(optuna.logging.ERROR)

RETRY = 3.0
"""Seconds between two attempts to reach an unavailable storage."""
ORPHANED = timedelta(minutes=10)
"""Age at which a trial without an owner is taken to be left by a driver that died while asking."""

T = TypeVar("T")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StudyDefinition:
    """The definition of a study: two studies with different definitions must not share a name."""

    name: str
    space: Space
    objectives: tuple[Objective, ...]
    bounds: tuple[Bound, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    """Further facts that must agree, in words: tasks, seeds, fixed settings."""

    def words(self) -> dict[str, str]:
        """The whole definition in words, for comparison."""
        found = {f"space.{name}": text for name, text in self.space.words().items()}
        found["objectives"] = ", ".join(one.name for one in self.objectives)
        found["constraints"] = ", ".join(map(str, self.bounds)) or "none"
        return found | dict(self.facts)


class OptunaStudy:
    """A study, opened or newly created."""

    def __init__(
        self,
        location: str | Path,
        definition: StudyDefinition,
        owner: str,
        sampling: Sampling | None = None,
        pruning: Pruning | None = None,
        stop: threading.Event | None = None,
        on_unavailable: Callable[[str], None] = lambda words: None,
    ) -> None:
        """`owner` is the driver's id. Raises UserError if the storage is unavailable, or the name has another definition.

        Later the study waits for an unavailable storage until `stop` is set, after a call of `on_unavailable`."""
        self.definition, self.owner = definition, owner
        self._where = masked_location(location)
        self._stop, self._on_unavailable = stop or threading.Event(), on_unavailable
        sampling, pruning = sampling or Sampling(), pruning or Pruning()
        self.prunes = pruning.applies_to(len(definition.objectives))
        storage = open_storage(location)
        directions = [StudyDirection.MAXIMIZE if one.larger else StudyDirection.MINIMIZE for one in definition.objectives]
        pruner = RacePruner(pruning) if self.prunes else NopPruner()
        with _translated_errors(self._where):
            self.is_new = True
            try:
                self._study = optuna.create_study(
                    storage=storage, study_name=definition.name, directions=directions, pruner=pruner
                )
                self._study.set_user_attr("creator", owner)
                self._study.set_user_attr("definition", definition.words())
            except DuplicatedStudyError:
                self.is_new = False
                self._study = optuna.load_study(storage=storage, study_name=definition.name, pruner=pruner)
            self._check()
            known = len(self._study.get_trials(deepcopy=False))
            mine = "" if self._study.user_attrs.get("creator") == owner else owner
        self._study.sampler = make_sampler(sampling, definition.space, len(definition.objectives), f"{mine}/{known}")

    def _check(self) -> None:
        """Raise UserError if the study was begun with another definition."""
        stored, own = self._study.user_attrs.get("definition"), self.definition.words()
        if stored is None:  # its creator died between two of its first writes
            self._study.set_user_attr("definition", own)
            return
        require(
            isinstance(stored, Mapping),
            f"study {self.definition.name} in {self._where} has {brief(stored)} as its definition: choose another name=.",
        )
        different = [key for key in {**stored, **own} if stored.get(key) != own.get(key)]
        if different:
            key = different[0]
            more = f", and {len(different) - 1} more" if len(different) > 1 else ""
            raise UserError(
                f"study {self.definition.name} was begun with another {key} ({stored.get(key, 'none')}, now "
                f"{own.get(key, 'none')}{more}): its trials cannot be compared with new ones; choose another name=."
            )

    def with_retries(self, act: Callable[[], T]) -> T:
        """Call `act`, and retry while the storage is unavailable. Raises UserError if the study is stopped meanwhile."""
        warned = False
        while True:
            try:
                return act()
            except Exception as error:
                if not is_unavailable(error):
                    raise
                if not warned:
                    self._on_unavailable(f"study storage {self._where} is unavailable ({one_line(error)[:150]})")
                    warned = True
                if self._stop.wait(RETRY):
                    raise UserError(
                        f"study storage {self._where} is unavailable, and the study was stopped: finished cells are in the "
                        "ledger; run the same command again."
                    ) from error

    def enqueue(self, settings: Mapping[str, Scalar], note: str) -> None:
        """Let a later `ask` return these settings; missing ones are suggested."""
        self.with_retries(lambda: self._study.enqueue_trial(dict(settings), user_attrs={"start": note}, skip_if_exists=True))

    def ask(self, total: int) -> Trial | None:
        """A new trial; None if `total` are finished or under way."""
        if self._counted() >= total:
            return None

        def act() -> optuna.trial.Trial:
            trial = self._study.ask()
            trial.set_user_attr("owner", self.owner)
            return trial

        live = self.with_retries(act)
        self.with_retries(lambda: self.definition.space.settings(live))
        trial = Trial(self, live, self.definition.space.settings(live))
        # Two drivers may both have asked for the last trial: the lower number stays.
        if self._counted(below=trial.number) >= total:
            trial.fail("one too many: another driver had the last one")
            return None
        return trial

    def resume(self) -> list[Trial]:
        """Trials left by this driver's earlier run; those whose settings are incomplete are failed."""
        found = []
        for frozen in self._trials(TrialState.RUNNING):
            owner = frozen.user_attrs.get("owner")
            orphaned = owner is None and _age(frozen) > ORPHANED
            if owner != self.owner and not orphaned and not (owner is None and self._alone):
                continue
            trial = Trial(self, self.with_retries(lambda frozen=frozen: self._live(frozen)), {})
            try:
                trial.settings = self.definition.space.settings(Known(frozen.params))
            except KeyError:
                trial.fail("its driver died while asking")
                continue
            if owner is None:
                self.with_retries(lambda trial=trial: trial.live.set_user_attr("owner", self.owner))
            found.append(trial)
        return found

    @property
    def _alone(self) -> bool:
        """Whether only this driver can use the study: a journal lies in an output folder, whose ledger has one driver."""
        return not self._where.startswith("postgresql")

    @property
    def needs_first_trials(self) -> bool:
        """Whether this driver created the study and has not yet queued its first trials."""
        attributes = self.with_retries(lambda: self._study.user_attrs)
        return attributes.get("creator") == self.owner and not attributes.get("begun")

    def mark_first_trials_queued(self) -> None:
        """Record that all known good settings are queued."""
        self.with_retries(lambda: self._study.set_user_attr("begun", True))

    def trials_of(self, name: str) -> list[TrialView]:
        """Trials of another study in the same storage. Raises UnknownNameError with the nearest names if there is none."""
        return self.with_retries(lambda: _trials_in(self._study._storage, name))

    def adopt_running(self, enabled: bool) -> int:
        """If enabled, take over the running trials of other drivers, which must be dead; return their number."""
        if not enabled:
            return 0
        others = [frozen for frozen in self._trials(TrialState.RUNNING) if frozen.user_attrs.get("owner") != self.owner]
        for frozen in others:
            self.with_retries(lambda frozen=frozen: self._live(frozen).set_user_attr("owner", self.owner))
        return len(others)

    def views(self) -> list[TrialView]:
        """All trials, by number."""
        return [view_of(frozen) for frozen in self.with_retries(lambda: self._study.get_trials(deepcopy=False))]

    def view(self, number: int) -> TrialView:
        """One trial."""
        return view_of(self.with_retries(lambda: self._study.get_trials(deepcopy=False))[number])

    def finished(self) -> int:
        """Trials that are complete or pruned, without refused ones."""
        return sum(not is_refused(frozen) for frozen in self._trials(TrialState.COMPLETE, TrialState.PRUNED))

    def refused(self) -> int:
        """Trials whose settings conflict."""
        return sum(is_refused(frozen) for frozen in self._trials(TrialState.COMPLETE, TrialState.PRUNED))

    def importances(self) -> dict[str, float]:
        """Each setting's share of the objective's variance among good trials (PED-ANOVA, Watanabe et al. 2023); empty if there
        are too few."""
        complete = self._trials(TrialState.COMPLETE)
        if len(complete) < 4 or len(self.definition.objectives) > 1:
            return {}
        try:
            return dict(optuna.importance.get_param_importances(self._study))
        except (ValueError, RuntimeError) as error:
            _log.warning("cannot compute importances: %s", error)
            return {}

    @property
    def optuna(self) -> optuna.Study:
        """Optuna's own study, for its figures."""
        return self._study

    def _live(self, frozen: FrozenTrial) -> optuna.trial.Trial:
        storage = self._study._storage
        study_id = storage.get_study_id_from_name(self.definition.name)
        return optuna.trial.Trial(self._study, storage.get_trial_id_from_study_id_trial_number(study_id, frozen.number))

    def _trials(self, *states: TrialState) -> list[FrozenTrial]:
        return self.with_retries(lambda: self._study.get_trials(deepcopy=False, states=states))

    def _counted(self, below: int | None = None) -> int:
        """Number of trials that are or will be finished, of those with a number below `below`."""
        states = TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING
        counted = [frozen for frozen in self._trials(*states) if not is_refused(frozen)]
        return sum(below is None or frozen.number < below for frozen in counted)


def trials_of(location: str | Path, name: str) -> list[TrialView]:
    """Trials of a study in a storage; UserError for a storage that is down, and for a study that it lacks."""
    with _translated_errors(masked_location(location)):
        return _trials_in(open_storage(location), name)


def _trials_in(storage: BaseStorage, name: str) -> list[TrialView]:
    names = optuna.get_all_study_names(storage)
    if name not in names:
        raise UnknownNameError("study", name, names)
    found = optuna.load_study(study_name=name, storage=storage).get_trials(deepcopy=False)
    return [view_of(frozen) for frozen in found]


class Trial:
    """A trial under way."""

    def __init__(self, study: OptunaStudy, live: optuna.trial.Trial, settings: dict[str, Scalar]) -> None:
        self._study = study
        self.live = live
        self.number = live.number
        self.settings = settings
        """The suggested settings."""
        frozen = study.with_retries(lambda: study.optuna.get_trials(deepcopy=False)[live.number])
        self.is_start = "start" in frozen.user_attrs
        """Whether its settings were queued as known to be good instead of suggested."""
        self.reported = set(frozen.intermediate_values)
        """Indices of the instances already reported."""

    def report(self, scores: Mapping[int, float]) -> None:
        """Report scores by instance; those already reported are kept."""
        for step, score in sorted(scores.items()):
            if step not in self.reported:
                self._study.with_retries(lambda step=step, score=score: self.live.report(score, step))
                self.reported.add(step)

    def should_prune(self) -> bool:
        """Whether the pruner would prune it now."""
        return self._study.prunes and self._study.with_retries(self.live.should_prune)

    def note(self, **values: object) -> None:
        """Record plain values with the trial."""
        for key, value in values.items():
            self._study.with_retries(lambda key=key, value=value: self.live.set_user_attr(key, value))

    def finish(self, values: Sequence[float], constraints: Mapping[str, float]) -> None:
        """Complete the trial with values of the objectives and each constraint's excess (0 or less: it holds)."""
        for key, excess in constraints.items():
            self._study.with_retries(lambda key=key, excess=excess: self.live.set_constraint(key, excess))
        self._tell(TrialState.COMPLETE, values)

    def prune(self, mean: float, instances: int) -> None:
        """Prune the trial; its mean score is reported at the step after all `instances`, where samplers look for it."""
        self.report({instances: mean})
        self._tell(TrialState.PRUNED, None)

    def refuse(self, reason: str) -> None:
        """End the trial because its settings conflict: it does not count, and samplers learn to avoid it as a pruned one."""
        self.note(**{CONFLICT: reason})
        self._tell(TrialState.PRUNED, None)

    def fail(self, reason: str) -> None:
        """Mark the trial as failed, so that it does not count."""
        self.note(failed=reason)
        self._tell(TrialState.FAIL, None)

    def _tell(self, state: TrialState, values: Sequence[float] | None) -> None:
        floats = None if values is None else [float(value) for value in values]
        self._study.with_retries(lambda: self._study.optuna.tell(self.number, floats, state=state, skip_if_finished=True))


def _age(frozen: FrozenTrial) -> timedelta:
    return datetime.now() - frozen.datetime_start if frozen.datetime_start else timedelta(0)


@contextmanager
def _translated_errors(where: str) -> Iterator[None]:
    """Raise UserError if the storage is unavailable."""
    try:
        yield
    except Exception as error:
        if isinstance(error, UserError) or not is_unavailable(error):
            raise
        raise UserError(f"study storage {where} cannot be used ({one_line(error)[:200]}): start it and run again.") from error
