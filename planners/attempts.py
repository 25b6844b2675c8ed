"""Further attempts for the problems that an attempt left unsolved in the model; solved ones cost nothing more."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from planners.base import ModelProblems, OnStep, Plans
from planners.settings import Settings, count, number

Attempt = Callable[[ModelProblems, Sequence[int], OnStep | None], Plans]
"""Plans some problems with one seed each."""


@dataclass(frozen=True)
class AttemptSettings(Settings):
    """How often a problem is tried; every planner has these."""

    attempts: int = count(1)
    """Tries a problem gets at most, each with noise of its own; the best rolled-out plan of all is kept."""
    reached_cost: float = number(0.0)
    """A problem whose rolled-out goal cost is at most this is not tried again."""


def attempt_seed(seed: int, attempt: int) -> int:
    """The seed of a problem's noise in an attempt; the first attempt has the problem's own."""
    if attempt == 0:
        return seed
    return int.from_bytes(hashlib.blake2b(f"{seed}/attempt {attempt}".encode(), digest_size=6).digest(), "little")


def with_attempts(
    settings: AttemptSettings, attempt: Attempt, problems: ModelProblems, seeds: Sequence[int], on_step: OnStep | None
) -> Plans:
    """The best of up to `settings.attempts` tries; each later one plans only the problems that are not reached yet."""
    plans = attempt(problems, seeds, _progress(on_step, 0, settings.attempts))
    for number_of in range(1, settings.attempts):
        open_rows = torch.nonzero(~(plans.cost <= settings.reached_cost)).flatten()
        if len(open_rows) == 0:
            break
        again = [attempt_seed(seeds[row], number_of) for row in open_rows.tolist()]
        further = attempt(problems.rows(open_rows), again, _progress(on_step, number_of, settings.attempts))
        plans = _merged(plans, further, open_rows)
    return plans


def _progress(on_step: OnStep | None, attempt: int, attempts: int) -> OnStep | None:
    if on_step is None:
        return None
    return lambda done, total: on_step(attempt * total + done, attempts * total)


def _merged(plans: Plans, further: Plans, rows: Int[Tensor, " rows"]) -> Plans:
    """Both attempts' plans: the better one of each row, evaluations added, traces one after the other."""
    improved = (further.cost < plans.cost[rows]) | ~torch.isfinite(plans.cost[rows])
    better, taken = rows[improved], torch.nonzero(improved).flatten()

    def chosen(old: Tensor, new: Tensor) -> Tensor:
        return old.index_copy(0, better, new[taken])

    status = list(plans.status)
    for row, source in zip(better.tolist(), taken.tolist(), strict=True):
        status[row] = further.status[source]
    return Plans(
        actions=chosen(plans.actions, further.actions),
        states=chosen(plans.states, further.states),
        cost=chosen(plans.cost, further.cost),
        last_cost=plans.last_cost.index_copy(0, rows, further.last_cost),
        status=tuple(status),
        evaluations=plans.evaluations.index_add(0, rows, further.evaluations),
        trace=torch.cat([plans.trace, _continued(plans.trace, further.trace, rows)], 1),
    )


def _continued(
    trace: Float[Tensor, "batch checks"], further: Float[Tensor, "rows further"], rows: Int[Tensor, " rows"]
) -> Float[Tensor, "batch further"]:
    """The best cost so far during a further attempt: rows that are not in it stay where they are."""
    last = trace[:, -1:].expand(-1, further.shape[1])
    return last.index_copy(0, rows, torch.minimum(last[rows], further))
