"""Trials of a study, for those who read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from orchestrator.core.cell import Scalar


class State(Enum):
    """How a trial stands."""

    WAITING = "waiting"
    RUNNING = "running"
    COMPLETE = "complete"
    PRUNED = "pruned"
    FAILED = "failed"
    """Not counted: its driver died while asking, or it was one too many."""


@dataclass(frozen=True)
class TrialView:
    """A trial, for those who read."""

    number: int
    state: State
    settings: Mapping[str, Scalar]
    """What was suggested."""
    values: tuple[float, ...]
    """Of the objectives; of a pruned one, the mean of what was seen."""
    feasible: bool
    """No constraint is broken."""
    owner: str
    notes: Mapping[str, Any]
    """What `note` was told."""
    began: datetime | None
    ended: datetime | None
    steps: Mapping[int, float]
    """Scores by instance."""


def view_of(frozen: FrozenTrial) -> TrialView:
    """A trial as the storage has it."""
    notes = {key: value for key, value in frozen.user_attrs.items() if key != "owner"}
    state = {TrialState.FAIL: State.FAILED}.get(frozen.state) or State[frozen.state.name]
    return TrialView(
        number=frozen.number,
        state=state,
        settings=dict(frozen.params),
        values=tuple(frozen.values or ()),
        feasible=all(value <= 0 for value in frozen.constraints.values()),
        owner=str(frozen.user_attrs.get("owner", "")),
        notes=notes,
        began=frozen.datetime_start,
        ended=frozen.datetime_complete,
        steps=dict(frozen.intermediate_values),
    )
