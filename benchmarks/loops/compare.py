"""Two loops over the same problems: costs, actions, verdicts, and why actions differ where they do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
import torch
from torch import Tensor

CLOSE = 1e-5
"""Costs, relative to theirs, and actions up to which two loops count as equal."""


@dataclass(frozen=True)
class Plan:
    """The iterations of a plan by one loop: costs of the samples, and the numbers of the elites where a loop says them."""

    costs: Sequence[Tensor]
    elites: Sequence[Tensor]


@dataclass(frozen=True)
class Loop:
    """A problem by one loop."""

    success: bool
    actions: np.ndarray
    """Executed environment actions `[time, action]`."""
    plans: Sequence[Plan]


@dataclass
class Report:
    """Findings over all problems; the last four fields name seeds."""

    problems: int = 0
    steps: int = 0
    """Environment steps that both loops executed, whose actions are compared."""
    first_iteration_cost: float = 0.0
    """Largest difference of a first plan's first costs, relative to the cost."""
    first_iteration_cost_of_largest: float = 0.0
    """The same, relative to the largest cost of the iteration: a cost near zero is a difference of nearly equal states."""
    first_iteration_costs: int = 0
    first_iteration_costs_beyond: int = 0
    """The number of these costs with a relative difference above `CLOSE`."""
    largest_cost_beyond: float = 0.0
    """The largest such cost, as a share of its iteration's median."""
    equal_actions: int = 0
    largest_equal: float = 0.0
    """Largest difference of actions among the problems that count as equal."""
    successes: tuple[int, int] = (0, 0)
    """Theirs and ours."""
    verdicts_differ: list[int] = field(default_factory=list)
    verdicts_differ_at_equal_actions: list[int] = field(default_factory=list)
    swapped: dict[int, str] = field(default_factory=dict)
    """Problems whose actions differ since nearly equal elites changed places, and where."""
    grown: dict[int, str] = field(default_factory=dict)
    """Problems whose elites are the same until rounding has grown beyond `CLOSE`."""
    unexplained: dict[int, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, object]:
        """All of it, for JSON."""
        return asdict(self)


def compared(theirs: dict[int, Loop], ours: dict[int, Loop]) -> Report:
    """The report of problems by both loops."""
    report = Report(problems=len(theirs))
    for seed, their in theirs.items():
        our = ours[seed]
        _first_costs(report, their.plans[0].costs[0], our.plans[0].costs[0])
        time = min(len(their.actions), len(our.actions))
        report.steps += time
        apart = float(np.abs(their.actions[:time] - our.actions[:time]).max())
        if their.success != our.success:
            report.verdicts_differ.append(seed)
        if apart <= CLOSE:
            report.equal_actions += 1
            report.largest_equal = max(report.largest_equal, apart)
            if their.success != our.success:
                report.verdicts_differ_at_equal_actions.append(seed)
        else:
            kind, words = traced(their.plans, our.plans)
            getattr(report, kind)[seed] = f"actions {apart:.1e} apart; {words}"
    report.successes = sum(each.success for each in theirs.values()), sum(each.success for each in ours.values())
    return report


def traced(theirs: Sequence[Plan], ours: Sequence[Plan]) -> tuple[str, str]:
    """Why the plans of a problem differ: the report's field, and words with plan and iteration."""
    widest = 0.0
    for number, (their, our) in enumerate(zip(theirs, ours, strict=False)):
        for iteration, (cost, own) in enumerate(zip(their.costs, our.costs, strict=True)):
            where = f"plan {number + 1}, iteration {iteration + 1}"
            apart = _relative(cost, own)
            count = len(their.elites[iteration])
            chosen, mine = (set(each.topk(count, largest=False).indices.tolist()) for each in (cost, own))
            if chosen != mine:
                changed = sorted(chosen ^ mine)
                values = cost[changed]
                gap = float((values.max() - values.min()) / values.min())
                words = f"{where}: elites {changed} changed places, costs {gap:.1e} apart (costs before: {widest:.1e})"
                return ("swapped" if gap < CLOSE else "unexplained"), words
            widest = max(widest, apart)
            if apart > CLOSE:
                return "grown", f"{where}: the same elites, costs {apart:.1e} apart"
    return "unexplained", "the same elites in all iterations"


def _first_costs(report: Report, theirs: Tensor, ours: Tensor) -> None:
    apart = (theirs - ours).abs()
    beyond = apart > CLOSE * theirs.abs()
    report.first_iteration_cost = max(report.first_iteration_cost, _relative(theirs, ours))
    of_largest = float(apart.max() / theirs.abs().max())
    report.first_iteration_cost_of_largest = max(report.first_iteration_cost_of_largest, of_largest)
    report.first_iteration_costs += len(theirs)
    report.first_iteration_costs_beyond += int(beyond.sum())
    if beyond.any():
        share = float(theirs[beyond].max() / theirs.median())
        report.largest_cost_beyond = max(report.largest_cost_beyond, share)


def _relative(theirs: Tensor, ours: Tensor) -> float:
    return float(((theirs - ours).abs() / theirs.abs()).max())


def changed_bits(one: dict[int, np.ndarray], other: dict[int, np.ndarray]) -> int:
    """How many problems have actions that differ in any bit."""
    return sum(not np.array_equal(one[seed], other[seed]) for seed in one)


def as_plans(costs: dict[int, list[Tensor]], seeds: Sequence[int], scale: float) -> list[Plan]:
    """Plans of our planning seeds, with costs in their units."""
    return [Plan([each.double() * scale for each in costs[seed]], []) for seed in seeds if seed in costs]


def double(costs: Sequence[Tensor]) -> list[Tensor]:
    """Costs in float64."""
    return [each.to(torch.float64) for each in costs]
