"""Whose turn it is in a batch whose rows sync at times of their own.

A sync's rollouts are serial: a call costs nearly the same for a few rows as for a hundred. If each row synced when its own turn
came, a batch of many settings would sync a few rows at a time. So rows that have come to a sync wait until most have come to
one; then those that wait for lifted updates wait, until they are most. Rows never influence each other, and each ends as it
would alone.
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
    """What rows do next."""

    LIFT = "lift"
    """The lifted update of an iteration."""
    SYNC = "sync"
    """Steps of a sync."""
    FINISH = "finish"
    """Steps of the sync after the last iteration."""


@dataclass
class _Group:
    """Rows that are always in step."""

    sync_every: int
    sync_steps: int
    iterations: int
    final_steps: int
    size: int
    """How many rows."""
    clock: int = 0
    """Iterations done."""
    left: int = 0
    """Steps to the end of the sync."""
    phase: Phase = Phase.LIFT

    def advance_phase(self) -> Phase | None:
        """Into the phase that follows the one that is over; None where that was the iteration's last."""
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
    """What is done next, and by whom."""

    phase: Phase
    rows: Rows | None
    """None: all rows."""
    steps: int
    groups: tuple[_Group, ...]


RowSelection = tuple[Int[Tensor, " _"] | None, ...]
"""Nobody (), everybody (None,), or some rows."""


@dataclass(frozen=True)
class PhaseChanges:
    """Who has come where by a turn."""

    synced: RowSelection
    """Their sync is over."""
    to_sync: RowSelection
    to_finish: RowSelection
    ended: RowSelection
    """Their iteration is over."""


class SyncSchedule:
    """Clocks of the rows of a batch, and the order of their turns; counts are numbers, or tensors with one a row."""

    def __init__(
        self,
        batch: int,
        sync_every: Count,
        sync_steps: Count,
        iterations: Count,
        final_steps: Count,
        extra_steps: tuple[int, int],
    ) -> None:
        """`extra` steps belong to each sync that has any, and to each last one."""
        counts = torch.stack([torch.as_tensor(c).expand(batch) for c in (sync_every, sync_steps, iterations, final_steps)])
        kinds, self._member, sizes = counts.unique(dim=1, return_inverse=True, return_counts=True)
        self._groups = [
            _Group(every, steps + extra_steps[0] * (steps > 0), ends, last + extra_steps[1] * (last > 0), size)
            for (every, steps, ends, last), size in zip(kinds.T.tolist(), sizes.tolist(), strict=True)
        ]

    @property
    def clock(self) -> Count:
        """Iterations done: a number where all rows have done as many, else one a row, on the CPU."""
        if len({group.clock for group in self._groups}) == 1:
            return self._groups[0].clock
        return torch.tensor([group.clock for group in self._groups])[self._member]

    def next(self) -> ScheduledStep:
        """The phase that most rows are in, whoever else waits."""
        by_phase: dict[Phase, list[_Group]] = {}
        for group in self._groups:
            by_phase.setdefault(group.phase, []).append(group)
        groups = max(by_phase.values(), key=lambda groups: sum(group.size for group in groups))
        phase = groups[0].phase
        steps = 1 if phase is Phase.LIFT else min(group.left for group in groups)
        return ScheduledStep(phase, self._rows(groups), steps, tuple(groups))

    def advance(self, scheduled: ScheduledStep) -> PhaseChanges:
        """A turn has been taken."""
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
        """Go on with these of the rows."""
        left, self._member, sizes = self._member[rows].unique(return_inverse=True, return_counts=True)
        self._groups = [self._groups[index] for index in left.tolist()]
        for group, size in zip(self._groups, sizes.tolist(), strict=True):
            group.size = size

    def join(self, others: SyncSchedule) -> None:
        """The rows of `others` behind these."""
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
