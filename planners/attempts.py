"""Further attempts for the problems that an attempt left unsolved in the model; solved ones cost nothing more."""

from __future__ import annotations

import hashlib

import torch
from jaxtyping import Float, Int
from torch import Tensor

from planners.base import Plans


def attempt_seed(seed: int, attempt: int) -> int:
    """The seed of a problem's noise in an attempt; the first attempt has the problem's own."""
    return seed if attempt == 0 else _derived(f"{seed}/attempt {attempt}")


def restart_seed(seed: int, restart: int) -> int:
    """The seed of one of the rows that plan a problem beside each other; the first row has the problem's own."""
    return seed if restart == 0 else _derived(f"{seed}/restart {restart}")


def _derived(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=6).digest(), "little")


def part_of(plans: Plans, rows: Int[Tensor, " rows"]) -> Plans:
    """The plans of some rows, which are on the CPU; the same object where they are all, in order."""
    if len(rows) == len(plans.status) and torch.equal(rows, torch.arange(len(rows))):
        return plans
    there = rows.to(plans.cost.device)
    return Plans(
        actions=plans.actions[there],
        states=plans.states[there],
        cost=plans.cost[there],
        last_cost=plans.last_cost[there],
        status=tuple(plans.status[row] for row in rows.tolist()),
        evaluations=plans.evaluations[rows],
        trace=plans.trace[there],
        spent=plans.spent[rows],
    )


def merged(plans: Plans, further: Plans, rows: Int[Tensor, " rows"]) -> Plans:
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
        evaluations=plans.evaluations.index_add(0, rows.cpu(), further.evaluations),
        trace=torch.cat([plans.trace, _continued(plans.trace, further.trace, rows)], 1),
        spent=torch.cat([plans.spent, _spent(plans, further, rows.cpu())], 1),
    )


def _continued(
    trace: Float[Tensor, "batch checks"], further: Float[Tensor, "rows further"], rows: Int[Tensor, " rows"]
) -> Float[Tensor, "batch further"]:
    """The best cost so far during a further attempt: rows that are not in it stay where they are."""
    last = trace[:, -1:].expand(-1, further.shape[1])
    return last.index_copy(0, rows, torch.minimum(last[rows], further))


def _spent(plans: Plans, further: Plans, rows: Int[Tensor, " rows"]) -> Int[Tensor, "batch further"]:
    """Model steps during a further attempt, counted from the first on."""
    before = plans.evaluations[:, None].expand(-1, further.spent.shape[1])
    return before.index_add(0, rows, further.spent)
