"""The sweeps of the planning-quality study: which planners plan which problems in each of its parts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from orchestrator.core.modes import OPEN_LOOP
from sweeps.config.compose import compose
from sweeps.config.grid import Grid, Lookups, SweepSpec, spec_of
from sweeps.config.jobs import lookups
from sweeps.config.schema.configs import SweepConfig
from sweeps.config.schema.entries import PlannerEntry, TaskEntry
from sweeps.quality.spec import GRASP, Condition, HeldOutTest, QualitySpec

OWN, EQUAL, TIME_CAPPED, MPC, ABLATION, SENSITIVITY = "own", "equal", "hurried", "mpc", "ablation", "sensitivity"
"""Parts of the results: own budgets, equal seconds, GRASP in a share of another's seconds, replanned, GRASP with a piece
removed, GRASP with other settings."""


@dataclass(frozen=True)
class SweepPlan:
    """One sweep: a task file at some horizons, in one mode, with some planners."""

    part: str
    name: str
    task: str
    horizons: tuple[int, ...]
    seeds: tuple[int, ...]
    mode: str
    planners: tuple[str, ...]
    """Labels, the reference first."""

    @property
    def cells(self) -> int:
        """Number of cells."""
        return len(self.horizons) * len(self.planners) * len(self.seeds)


def timed_label(label: str) -> str:
    """Label of a planner that is given GRASP's seconds."""
    return f"{label}_timed"


def time_capped_label(other: str) -> str:
    """Label of GRASP that is given a share of another planner's seconds."""
    return f"{GRASP}_hurried_by_{other}"


def ablated_label(change: str) -> str:
    """Label of GRASP with a piece removed."""
    return f"{GRASP}_{change}"


def scaled_label(goal_weight: float, noise: float) -> str:
    """Label of GRASP with factors on two settings."""
    return f"{GRASP}_gamma{goal_weight:g}_sigma{noise:g}".replace(".", "p")


def factors_of(spec: QualitySpec) -> dict[str, tuple[float, float]]:
    """Factors on goal weight and noise, by label."""
    sensitivity = spec.sensitivity
    return {scaled_label(gamma, sigma): (gamma, sigma) for gamma in sensitivity.goal_weight for sigma in sensitivity.noise}


def tests(spec: QualitySpec) -> list[SweepPlan]:
    """Every planner with its own settings, executed in open loop."""
    return [
        _test(spec, OWN, test, horizons) for test in spec.tests if test.mode == OPEN_LOOP for horizons in _alike(spec, test)
    ]


def replanned(spec: QualitySpec) -> list[SweepPlan]:
    """Every planner with its own settings, replanned during execution."""
    return [
        _test(spec, MPC, test, horizons) for test in spec.tests if test.mode != OPEN_LOOP for horizons in _alike(spec, test)
    ]


def equal_seconds(spec: QualitySpec) -> list[SweepPlan]:
    """Tuned GRASP, and every other planner within GRASP's seconds."""
    plans = []
    for test in spec.tests:
        for horizons in _alike(spec, test) if test.equal_seconds else ():
            others = tuple(timed_label(label) for label in spec.planners_at(test.task, horizons[0]) if label != GRASP)
            plans.append(_plan(EQUAL, test.task, horizons, test.seeds, OPEN_LOOP, (GRASP, *others)))
    return plans


def time_capped_sweeps(spec: QualitySpec) -> list[SweepPlan]:
    """GRASP within a share of another planner's seconds, for each target that sets one, on the test's problems."""
    return [
        _sweep_at(
            spec,
            TIME_CAPPED,
            condition,
            tuple(time_capped_label(target["than"]) for target in spec.targets["faster"] if _condition(target) == condition),
        )
        for condition in dict.fromkeys(map(_condition, spec.targets["faster"]))
    ]


def _condition(target: Mapping[str, Any]) -> Condition:
    return Condition(target["task"], target["horizon"])


def ablations(spec: QualitySpec) -> list[SweepPlan]:
    """GRASP with one piece removed at a time, on the test's problems."""
    labels = (GRASP, *(ablated_label(change) for change in spec.changes))
    return [_sweep_at(spec, ABLATION, condition, labels) for condition in spec.ablation_conditions]


def sensitivities(spec: QualitySpec, labels: Mapping[Condition, tuple[str, ...]] | None = None) -> list[SweepPlan]:
    """GRASP with factors on goal weight and noise; `labels` are those whose settings differ, once these are known."""
    every = tuple(factors_of(spec))
    return [
        _sweep_at(spec, SENSITIVITY, condition, labels[condition] if labels else every, spec.sensitivity.count)
        for condition in (spec.sensitivity.conditions if every else ())
    ]


def shown_failure_sweeps(spec: QualitySpec) -> list[SweepPlan]:
    """Sweeps of the planners whose failures are shown, on the tests' problems; all their cells have been planned."""
    plans = []
    for plan in tests(spec):
        labels = tuple(label for label in plan.planners if label in spec.shown_failures[0])
        if labels:
            plans.append(_plan("worst", plan.task, plan.horizons, plan.seeds, plan.mode, labels))
    return plans


def _alike(spec: QualitySpec, test: HeldOutTest) -> Iterator[tuple[int, ...]]:
    """A test's horizons, grouped by the planners that are tested there."""
    groups: dict[tuple[str, ...], list[int]] = {}
    for horizon in test.horizons:
        groups.setdefault(spec.planners_at(test.task, horizon), []).append(horizon)
    return (tuple(horizons) for horizons in groups.values())


def _test(spec: QualitySpec, part: str, test: HeldOutTest, horizons: tuple[int, ...]) -> SweepPlan:
    return _plan(part, test.task, horizons, test.seeds, test.mode, spec.planners_at(test.task, horizons[0]))


def _sweep_at(
    spec: QualitySpec, part: str, condition: Condition, labels: tuple[str, ...], count: int | None = None
) -> SweepPlan:
    seeds = spec.seeds_at(condition.task, condition.horizon)[:count]
    return _plan(part, condition.task, (condition.horizon,), seeds, OPEN_LOOP, labels)


def _plan(
    part: str, task: str, horizons: tuple[int, ...], seeds: tuple[int, ...], mode: str, labels: tuple[str, ...]
) -> SweepPlan:
    way = "" if mode == OPEN_LOOP else f"{mode.replace(':', '')}_"
    name = f"quality_{part}_{way}{task}_H{'_'.join(map(str, horizons))}"
    return SweepPlan(part, name, task, horizons, seeds, mode, labels)


@dataclass(frozen=True)
class Grids:
    """Task files and planners by label, composed once, and the lookups that expanding needs."""

    tasks: dict[str, TaskEntry]
    planners: dict[str, PlannerEntry]
    lookups: Lookups

    @staticmethod
    def of(tasks: Sequence[str], files: Sequence[str], conf: Path | None) -> Grids:
        """Compose task files and planner files; UserError if one cannot be composed."""
        overrides = [f"task=[{','.join(dict.fromkeys(tasks))}]", f"planner=[{','.join(files)}]"]
        spec = spec_of(compose(SweepConfig, overrides, conf), conf)
        real = lookups()
        known = replace(real, model_digest=cache(real.model_digest), own_goal_cost=cache(real.own_goal_cost))
        return Grids({task.label: task for task in spec.tasks}, {one.label: one for one in spec.planners}, known)

    def of_plan(self, plan: SweepPlan) -> Grid:
        """A sweep's grid, equal to the one that `grasp sweep` makes from its file."""
        task = replace(self.tasks[plan.task], horizons=plan.horizons)
        planners = tuple(self.planners[label] for label in plan.planners)
        return SweepSpec(plan.name, (task,), planners, plan.seeds, (plan.mode,)).expand(self.lookups)

    def digests(self) -> dict[str, str]:
        """Content digest of each task's first world model."""
        return {label: self.lookups.model_digest(task.models[0]) for label, task in self.tasks.items()}
