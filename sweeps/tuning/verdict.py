"""The verdict on a study: the best trials, selected on the choice seeds and judged on the held-out seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from orchestrator.core.cell import Scalar
from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.records import CellResult, from_table
from orchestrator.tuning.objectives import OBJECTIVES, Objective, joined, sound
from orchestrator.tuning.pruning import beaten
from orchestrator.tuning.trials import State, TrialView
from sweeps.analysis.intervals import Paired, Rate, paired
from sweeps.analysis.point_cells import records_of
from sweeps.config.grid import Grid
from sweeps.tuning.spec import StudySpec
from sweeps.tuning.study_run import best_of, distinct
from world_models.errors import UserError

DEFAULT = "default"
"""Label of the planner's own settings."""
FRONT = 12
"""Most points of a Pareto front that are judged."""
SIGNIFICANT = 0.05
"""P-value of McNemar's exact test below which rounded settings succeed significantly less."""
ROUNDING_MARGIN = 0.05
"""Largest share of the held-out problems that rounded settings may lose, even if the loss is not significant."""

Cells = Mapping[str, list[CellResult]]
"""Records of cells, by point id."""


@dataclass(frozen=True)
class Judged:
    """A candidate's results on a set of seeds."""

    success: Rate
    values: Mapping[str, float]
    """Every objective by name, combined over tasks and horizons."""
    versus: Paired | None = None
    """Successes against the default settings, problem by problem; None for the default itself."""


@dataclass(frozen=True)
class Rounded:
    """A candidate with fewer digits, planned on the held-out seeds."""

    digits: int
    """Number of significant digits."""
    settings: Mapping[str, Scalar]
    held_out: Judged
    versus_unrounded: Paired
    """Successes against the candidate with all digits, problem by problem."""

    @property
    def alike(self) -> bool:
        """Whether it succeeds as the candidate does: not significantly less, and at most `ROUNDING_MARGIN` less."""
        versus = self.versus_unrounded
        lost = -(versus.difference or 0.0)
        return lost <= 0 or (versus.p_value >= SIGNIFICANT and lost <= ROUNDING_MARGIN)


@dataclass(frozen=True)
class Standing:
    """A candidate: the origin of its settings, and its results on each set of seeds."""

    label: str
    trial: int | None
    """Number of the trial; None for the planner's own settings."""
    settings: Mapping[str, Scalar]
    tuning: Judged | None
    """Results on the tuning seeds; None if not all were planned, as for a default that the study's space excludes."""
    choice: Judged
    held_out: Judged
    rounded: Rounded | None = None
    """None if no rounded settings were judged: it does not win, or rounding changes nothing."""

    @property
    def optimism(self) -> float | None:
        """Success on tuning seeds minus success on held-out seeds: the winner's luck."""
        rates = (self.tuning.success.value if self.tuning else None, self.held_out.success.value)
        return None if rates[0] is None or rates[1] is None else rates[0] - rates[1]


@dataclass(frozen=True)
class Verdict:
    """The result of a study."""

    standings: tuple[Standing, ...]
    """All candidates and the default, the best on the choice seeds first."""
    pairwise: Mapping[tuple[str, str], Paired]
    """Comparisons between candidates on held-out seeds, by their labels."""

    @property
    def winner(self) -> Standing:
        """The best on the choice seeds."""
        return self.standings[0]

    @property
    def default(self) -> Standing:
        """The planner's own settings."""
        return next(standing for standing in self.standings if standing.trial is None)


def select_candidates(spec: StudySpec, views: Sequence[TrialView]) -> dict[str, TrialView]:
    """The trials to judge, by label: the best few that are not clearly worse than the best, or a front of several objectives.

    Trials with the planner's own settings are left out, because those are judged anyway; the result is empty if every other
    trial was pruned. Raises UserError if no trial is complete and keeps the constraints.
    """
    objectives = spec.definition.objectives
    own = [point.point_id for point in spec.points({})]
    sound_ones = [view for view in views if view.state is not State.REFUSED]
    best = distinct(best_of([view for view in sound_ones if view.notes.get("points") != own], objectives[0].larger))
    feasible = [view for view in best if view.feasible]
    if not feasible and any(view.feasible for view in best_of(sound_ones, objectives[0].larger)):
        return {}
    if not feasible:
        bounds = ", ".join(map(str, spec.definition.bounds))
        reason = f"no trial keeps {bounds}: loosen it" if best and bounds else "no trial is complete: give more trials"
        raise UserError(f"study {spec.name} has no winner: {reason}; with another definition it needs another name=.")
    found = front_of(feasible, objectives)[:FRONT] if len(objectives) > 1 else _survivors(spec, feasible)[: spec.top]
    return {f"trial {view.number}": view for view in found}


def _survivors(spec: StudySpec, views: Sequence[TrialView]) -> list[TrialView]:
    """The trials that the race would not prune now that the best is known; judging the others would be wasted time."""
    best, larger, last = views[0], spec.definition.objectives[0].larger, len(spec.instances)
    scores = [{step: score for step, score in view.steps.items() if step < last} for view in views]
    lost = [beaten(mine, scores[0], larger, spec.pruning) for mine in scores]
    return [view for view, gone in zip(views, lost, strict=True) if view is best or not gone]


def front_of(views: Sequence[TrialView], objectives: Sequence[Objective]) -> list[TrialView]:
    """The Pareto front of the trials, ordered by the first objective, best first."""
    signs = np.array([1.0 if objective.larger else -1.0 for objective in objectives])
    scores = np.array([view.values for view in views]) * signs
    beaten = [bool(((scores >= mine).all(1) & (scores > mine).any(1)).any()) for mine in scores]
    front = [view for view, lost in zip(views, beaten, strict=True) if not lost and view.state is State.COMPLETE]
    return sorted(front, key=lambda view: -view.values[0] * signs[0])


def order_kept(standings: Sequence[Standing], objectives: Sequence[Objective]) -> float | None:
    """Share of pairs of a front whose order, by every objective, is the same on held-out seeds as on tuning seeds.

    None without pairs; a pair that is equal on either set of seeds counts as kept.
    """
    pairs = kept = 0
    both = [(standing.tuning, standing.held_out) for standing in standings if standing.tuning is not None]
    for (tuned, held_out), (other_tuned, other_held_out) in combinations(both, 2):
        for name in (objective.name for objective in objectives):
            pairs += 1
            before = tuned.values[name] - other_tuned.values[name]
            kept += before * (held_out.values[name] - other_held_out.values[name]) >= 0
    return kept / pairs if pairs else None


def judge(spec: StudySpec, ledger: Ledger, candidates: Mapping[str, TrialView]) -> Verdict:
    """The verdict on all candidates and the default, from the ledger; the winner is the best on the choice seeds."""
    settings = {label: dict(view.settings) for label, view in candidates.items()}
    seed_split = spec.seed_split
    every = (*seed_split.tuning, *seed_split.choice, *seed_split.held_out)
    grid = spec.candidates(spec.name, settings, every)
    cells = cells_of(grid, ledger)
    own = points_of(spec, {})
    standings = []
    for label, view in [(DEFAULT, None), *candidates.items()]:
        changes = settings.get(label, {})
        points = points_of(spec, changes)
        tuning, choice, held_out = (
            judged_on(cells, points, own, seeds, spec.plan.join)
            for seeds in (seed_split.tuning, seed_split.choice, seed_split.held_out)
        )
        if choice is None or held_out is None:
            raise UserError(f"study {spec.name} is not fully judged yet: run the same command again.")
        standings.append(Standing(label, None if view is None else view.number, changes, tuning, choice, held_out))
    first = spec.definition.objectives[0]
    sign = -1.0 if first.larger else 1.0
    ordered = tuple(sorted(standings, key=lambda standing: sign * standing.choice.values[first.name]))
    points = {standing.label: points_of(spec, standing.settings) for standing in ordered}
    pairwise = {
        (one.label, other.label): paired_on(cells, points[one.label], points[other.label], seed_split.held_out)
        for one, other in combinations(ordered, 2)
    }
    return Verdict(ordered, pairwise)


def cells_of(grid: Grid, ledger: Ledger) -> Cells:
    """The grid's cells in the ledger."""
    cells: dict[str, list[CellResult]] = {}
    for record in from_table(records_of(grid, ledger)):
        cells.setdefault(record.point_id, []).append(record)
    return cells


def points_of(spec: StudySpec, settings: Mapping[str, Scalar]) -> list[str]:
    """Ids of the points with some settings, one per task and horizon."""
    return [point.point_id for point in spec.points(settings)]


def judged_on(cells: Cells, points: Sequence[str], own: Sequence[str], seeds: Sequence[int], join: str) -> Judged | None:
    """Results of some points on seeds, compared with the planner's `own` points; None unless all cells are there."""
    wanted = set(seeds)
    by_condition = [[record for record in cells.get(point, ()) if record.seed in wanted] for point in points]
    if any(len(records) < len(wanted) for records in by_condition):
        return None
    records = [record for condition in by_condition for record in condition]
    won = sum(record.success and sound(record) for record in records)
    values = {name: joined(by_condition, objective, join) for name, objective in OBJECTIVES.items()}
    versus = None if list(points) == list(own) else paired_on(cells, points, own, seeds)
    return Judged(Rate(won, len(records)), values, versus)


def paired_on(cells: Cells, one: Sequence[str], other: Sequence[str], seeds: Sequence[int]) -> Paired:
    """Successes of one list of points against another's, paired by task, horizon and seed."""
    total = Paired(0, 0, 0)
    for left, right in zip(one, other, strict=True):
        part = paired(_successes(cells.get(left, ()), seeds), _successes(cells.get(right, ()), seeds))
        total = replace(
            total, pairs=total.pairs + part.pairs, only_a=total.only_a + part.only_a, only_b=total.only_b + part.only_b
        )
    return total


def _successes(records: Sequence[CellResult], seeds: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    wanted = set(seeds)
    mine = sorted((record.seed, record.success and sound(record)) for record in records if record.seed in wanted)
    return np.array([seed for seed, _ in mine], np.int64), np.array([won for _, won in mine], bool)
