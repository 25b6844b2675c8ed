"""Sync schedule of a batch whose rows sync at different iterations.

A sync's rollouts are serial: a call takes nearly as long for a few rows as for a hundred. If each row synced as soon as it was
due, a batch of many settings would sync a few rows at a time. So rows that are due for a sync wait until most rows are; then
the rows that are due for lifted updates wait until they are the majority. Rows never influence each other, and each ends up
with the result it would have alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import torch
from jaxtyping import Int
from torch import Tensor

from planners.search.search_run import Rows
from planners.settings import Count


class Phase(Enum):
    """The kind of step that rows take next."""

    LIFT = "lift"
    """The lifted update of an iteration."""
    SYNC = "sync"
    """Refiner steps of a sync."""
    FINISH = "finish"
    """Refiner steps of the sync after the last iteration."""


@dataclass
class _Group:
    """Rows with the same counts, which therefore stay in step."""

    sync_every: int
    sync_steps: int
    iterations: int
    final_steps: int
    size: int
    """Number of rows."""
    clock: int = 0
    """Iterations done."""
    left: int = 0
    """Steps left in the sync."""
    phase: Phase = Phase.LIFT

    def advance_phase(self) -> Phase | None:
        """Enter the next phase and return it; None if the phase just finished was the iteration's last."""
        due = self.sync_every > 0 and self.sync_steps > 0 and (self.clock + 1) % self.sync_every == 0
        if self.phase is Phase.LIFT and due:
            self.phase, self.left = Phase.SYNC, self.sync_steps
        elif self.phase is not Phase.FINISH and self.final_steps > 0 and self.clock + 1 == self.iterations:
            self.phase, self.left = Phase.FINISH, self.final_steps
        else:
            self.phase, self.clock = Phase.LIFT, self.clock + 1
            return None
        return self.phase


@dataclass(frozen=True)
class ScheduledStep:
    """The next step or steps of a batch, and the rows that take them."""

    phase: Phase
    rows: Rows | None
    """None: all rows."""
    steps: int
    groups: tuple[_Group, ...]


RowSelection = tuple[Int[Tensor, " _"] | None, ...]
"""No rows `()`, all rows `(None,)`, or some rows."""


@dataclass(frozen=True)
class PhaseChanges:
    """Rows that changed phase in a scheduled step."""

    synced: RowSelection
    """Rows whose sync is over."""
    to_sync: RowSelection
    to_finish: RowSelection
    ended: RowSelection
    """Rows whose iteration is over."""


class SyncSchedule:
    """Iteration counters of a batch's rows and the order of their steps; counts are numbers, or tensors `[batch]`."""

    def __init__(
        self,
        batch: int,
        sync_every: Count,
        sync_steps: Count,
        iterations: Count,
        final_steps: Count,
        extra_steps: tuple[int, int],
    ) -> None:
        """A schedule for `batch` rows; `extra_steps` are added to each sync and to the last one, where they have any steps."""
        counts = torch.stack([torch.as_tensor(c).expand(batch) for c in (sync_every, sync_steps, iterations, final_steps)])
        kinds, self._member, sizes = counts.unique(dim=1, return_inverse=True, return_counts=True)
        self._groups = [
            _Group(every, steps + extra_steps[0] * (steps > 0), ends, last + extra_steps[1] * (last > 0), size)
            for (every, steps, ends, last), size in zip(kinds.T.tolist(), sizes.tolist(), strict=True)
        ]

    @property
    def clock(self) -> Count:
        """Iterations done: a number if it is the same for all rows, else `[batch]` on the CPU."""
        if len({group.clock for group in self._groups}) == 1:
            return self._groups[0].clock
        return torch.tensor([group.clock for group in self._groups])[self._member]

    def next(self) -> ScheduledStep:
        """The next step: that of the phase which most rows are in. The other rows wait."""
        by_phase: dict[Phase, list[_Group]] = {}
        for group in self._groups:
            by_phase.setdefault(group.phase, []).append(group)
        groups = max(by_phase.values(), key=lambda groups: sum(group.size for group in groups))
        phase = groups[0].phase
        steps = 1 if phase is Phase.LIFT else min(group.left for group in groups)
        return ScheduledStep(phase, self._rows(groups), steps, tuple(groups))

    def advance(self, scheduled: ScheduledStep) -> PhaseChanges:
        """Advance the rows that have taken the scheduled step; returns the rows that changed phase."""
        synced, entered = [], {Phase.SYNC: [], Phase.FINISH: [], None: []}
        for group in scheduled.groups:
            group.left = max(group.left - scheduled.steps, 0)
            if group.left == 0:
                if group.phase is Phase.SYNC:
                    synced.append(group)
                entered[group.advance_phase()].append(group)
        return PhaseChanges(
            *(self._selection(groups) for groups in (synced, entered[Phase.SYNC], entered[Phase.FINISH], entered[None]))
        )

    def keep(self, rows: Rows) -> None:
        """Keep only these rows."""
        left, self._member, sizes = self._member[rows].unique(return_inverse=True, return_counts=True)
        self._groups = [self._groups[index] for index in left.tolist()]
        for group, size in zip(self._groups, sizes.tolist(), strict=True):
            group.size = size

    def join(self, others: SyncSchedule) -> None:
        """Append the rows of `others`."""
        self._member = torch.cat([self._member, others._member + len(self._groups)])
        self._groups = self._groups + others._groups

    def _selection(self, groups: Sequence[_Group]) -> RowSelection:
        return (self._rows(groups),) if groups else ()

    def _rows(self, groups: Sequence[_Group]) -> Rows | None:
        if len(groups) == len(self._groups):
            return None
        group_ids = {id(group) for group in groups}
        is_selected = torch.tensor([id(group) in group_ids for group in self._groups])
        return torch.nonzero(is_selected[self._member]).flatten()
