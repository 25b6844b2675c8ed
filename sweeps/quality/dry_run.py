"""An estimate of a run of the planning-quality study: the cells of each stage, and how long they take on two cores."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.console import Console

from orchestrator.core.cell import Point
from orchestrator.core.modes import OPEN_LOOP, planned_steps
from orchestrator.scheduling.durations import DurationModel
from sweeps.config.grid import missing_of
from sweeps.console.terminal import duration, say
from sweeps.quality import sweeps as plans
from sweeps.quality.spec import GRASP, QualitySpec
from sweeps.quality.stages import Stages, claims_of
from sweeps.quality.studies import Study, has_ended, studies_of
from sweeps.quality.sweeps import Grids, SweepPlan
from world_models.errors import UserError, require

CORES = 2
"""Number of cores that the bound on hours is stated for."""
ROWS = 32
"""Approximate number of problems per batch."""
PER_SWEEP, PER_STUDY, PER_TASK = 2.0, 10.0, 150.0
"""Seconds besides planning: for a sweep's report, for a study's start and figures, for a run of grasp diagnose."""


@dataclass(frozen=True)
class CellGroup:
    """Cells of one planner, task, horizon and mode."""

    label: str
    """The planner's label in the config."""
    task: str
    horizon: int
    mode: str
    cells: int


@dataclass(frozen=True)
class StageEstimate:
    """A stage: its cells, how many are missing, and the seconds that these take on `CORES` cores."""

    name: str
    cells: int
    missing: int
    seconds: float
    guessed: bool
    """Whether this ledger has no timed cell of some planner."""


def estimate_stages(stages: Stages) -> list[StageEstimate]:
    """Estimates of all stages, in order; nothing is written."""
    spec = stages.spec
    tasks = [*(condition.task for condition in spec.tuning_conditions.values()), *(test.task for test in spec.tests)]
    estimator = _DurationEstimator(spec, Grids.of(tasks, list(spec.planners), stages.conf), DurationModel())
    estimator.durations.learn_from(stages.ledger)
    digests = estimator.grids.digests()
    studies = list(studies_of(spec))
    left = [study for study in studies if not has_ended(spec, study, digests)]
    cells = sum(_cells(spec, study) for study in studies)
    estimates = [
        estimator.stage_estimate("studies", cells, [_tuning_group(spec, study) for study in left], PER_STUDY * len(left))
    ]
    pieces = [*plans.ablations(spec), *plans.sensitivities(spec)]
    for what, wanted in (
        ("own budgets", plans.tests(spec)),
        ("equal seconds", plans.equal_seconds(spec)),
        ("a share of the seconds", plans.time_capped_sweeps(spec)),
        ("replanned", plans.replanned(spec)),
        ("ablations and sensitivity", pieces),
    ):
        groups = [each for plan in wanted for each in _cell_groups(spec, plan)] if left else _missing_groups(stages, wanted)
        overhead = PER_SWEEP * len(wanted) if groups else 0.0
        estimates.append(estimator.stage_estimate(what, sum(plan.cells for plan in wanted), groups, overhead))
    unmeasured = [task for task in spec.diagnose if claims_of(spec, task) is None]
    return [*estimates, StageEstimate("grasp diagnose", 0, 0, PER_TASK * len(unmeasured), bool(unmeasured))]


def print_estimates(stages: Stages, console: Console) -> None:
    """Print the stages and the total time; UserError where two cores would need more than `hours`."""
    estimates = estimate_stages(stages)
    total = sum(stage.seconds for stage in estimates)
    say(console, f"grasp quality, {stages.spec.variant} variant:")
    for stage in estimates:
        time = f"about {duration(stage.seconds)}{' (guessed)' if stage.guessed else ''}" if stage.seconds else "nothing to do"
        say(console, f"  {stage.name:26} {stage.cells:6} cells at most, {stage.missing:6} to plan  {time}")
    bound = f"bound: {stages.spec.hours:g} h on {CORES} cores"
    begun = any(stage.missing < stage.cells for stage in estimates)
    left = "left" if begun else "in all"
    say(
        console,
        f"  {left}: {sum(stage.missing for stage in estimates)} cells, about {duration(total)} on {CORES} cores; {bound}",
    )
    require(
        total <= stages.spec.hours * 3600,
        f"the study would take about {duration(total)} on {CORES} cores, more than hours={stages.spec.hours:g}: give fewer "
        "trials, tests or seeds, or a larger hours=.",
    )


@dataclass(frozen=True)
class _DurationEstimator:
    """Estimates of how long cells take, from the ledger's durations or else from the config's guesses."""

    spec: QualitySpec
    grids: Grids
    """Grids of the planners with their own settings."""
    durations: DurationModel

    def stage_estimate(self, name: str, cells: int, groups: Sequence[CellGroup], overhead: float) -> StageEstimate:
        seconds = sum(each.cells * self._seconds(each) for each in groups) / CORES + overhead
        guessed = any(not self.durations.timed(self._point(each)) for each in groups)
        return StageEstimate(name, cells, sum(each.cells for each in groups), seconds, guessed)

    def _seconds(self, group: CellGroup) -> float:
        point = self._point(group)
        if self.durations.timed(point):
            return self.durations.row_seconds(point, ROWS)
        guess = self.spec.guessed_seconds.get(group.label, self.spec.guessed_seconds.get("other", 1.0))
        return guess * planned_steps(group.mode, group.horizon) / 50

    def _point(self, group: CellGroup) -> Point:
        plan = SweepPlan("", "estimate", group.task, (group.horizon,), (0,), group.mode, (group.label,))
        return self.grids.of_plan(plan).entries[0].point


def _cells(spec: QualitySpec, study: Study) -> int:
    """Number of cells that a study plans at most, if nothing is pruned."""
    fresh = len(spec.tuning.choice_seeds) + len(spec.seeds_at(study.condition.task, study.condition.horizon))
    return spec.tuning.trials * len(spec.tuning.seeds) + (spec.tuning.top + 1) * fresh


def _tuning_group(spec: QualitySpec, study: Study) -> CellGroup:
    return CellGroup(study.label, study.condition.task, study.condition.horizon, OPEN_LOOP, _cells(spec, study))


def _cell_groups(spec: QualitySpec, plan: SweepPlan) -> Iterable[CellGroup]:
    for horizon in plan.horizons:
        for label in plan.planners:
            # A timed planner takes GRASP's seconds, and changed or time-capped GRASP at most about as long as GRASP itself.
            kind = label if label in spec.planners else GRASP
            yield CellGroup(kind, plan.task, horizon, plan.mode, len(plan.seeds))


def _missing_groups(stages: Stages, wanted: Sequence[SweepPlan]) -> list[CellGroup]:
    """Cells of tuned planners' sweeps that the ledger lacks; all cells if the planners' files are not written yet."""
    spec = stages.spec
    try:
        grids = [grid for _, grid in stages.grids(wanted)] if wanted else []
    except UserError:
        return [each for plan in wanted for each in _cell_groups(spec, plan)]
    entries = {entry.point.point_id: entry for grid in grids for entry in grid.entries}
    groups = []
    for portion in missing_of(grids, stages.ledger):
        entry = entries[portion.point.point_id]
        label = entry.planner.split(" ")[0]
        kind = label if label in spec.planners else GRASP
        groups.append(CellGroup(kind, entry.task, entry.point.horizon, entry.point.mode, len(portion)))
    return groups
