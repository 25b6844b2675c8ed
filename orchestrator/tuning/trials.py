"""Read-only views of a study's trials."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from orchestrator.core.cell import Scalar


class State(Enum):
    """The state of a trial."""

    WAITING = "waiting"
    RUNNING = "running"
    COMPLETE = "complete"
    PRUNED = "pruned"
    FAILED = "failed"
    """Not counted, because its driver died while asking or it was one too many."""
    REFUSED = "refused"
    """Not counted, because its settings conflict: nothing was planned."""


CONFLICT = "conflict"
"""Note of a refused trial: why its settings cannot be planned."""


@dataclass(frozen=True)
class TrialView:
    """A read-only view of a trial."""

    number: int
    state: State
    settings: Mapping[str, Scalar]
    """The suggested settings."""
    values: tuple[float, ...]
    """Values of the objectives; for a pruned trial, the mean score of its instances."""
    feasible: bool
    """Whether no constraint is violated."""
    owner: str
    notes: Mapping[str, Any]
    """Values recorded with `Trial.note`."""
    began: datetime | None
    ended: datetime | None
    steps: Mapping[int, float]
    """Scores by index of the instance."""


def is_refused(frozen: FrozenTrial) -> bool:
    """Whether a stored trial's settings conflict."""
    return CONFLICT in frozen.user_attrs


def view_of(frozen: FrozenTrial) -> TrialView:
    """The view of a stored trial."""
    notes = {key: value for key, value in frozen.user_attrs.items() if key != "owner"}
    state = {TrialState.FAIL: State.FAILED}.get(frozen.state) or State[frozen.state.name]
    state = State.REFUSED if is_refused(frozen) else state
    return TrialView(
        number=frozen.number,
        state=state,
        settings=dict(frozen.params),
        values=() if state is State.REFUSED else tuple(frozen.values or ()),
        feasible=all(value <= 0 for value in frozen.constraints.values()),
        owner=str(frozen.user_attrs.get("owner", "")),
        notes=notes,
        began=frozen.datetime_start,
        ended=frozen.datetime_complete,
        steps=dict(frozen.intermediate_values),
    )
