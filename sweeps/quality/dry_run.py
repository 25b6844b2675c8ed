"""What a run of the planning-quality study would do, stage by stage, and how long that takes on two cores."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.console import Console

from orchestrator.core.cell import OPEN_LOOP, Point, planned_steps
from orchestrator.scheduling.durations import CostModel
from sweeps.config.grid import missing_of
from sweeps.console.terminal import duration, say
from sweeps.quality import sweeps as plans
from sweeps.quality.spec import GRASP, QualitySpec
from sweeps.quality.stages import Stages, claims_of
from sweeps.quality.studies import Study, ended, studies_of
from sweeps.quality.sweeps import Grids, SweepPlan
from world_models.errors import UserError, require

CORES = 2
"""What the bound is stated for."""
ROWS = 32
"""Problems of a batch, roughly."""
PER_SWEEP, PER_STUDY, PER_TASK = 2.0, 10.0, 150.0
"""Seconds besides planning: a sweep's report, a study's start and pictures, a run of grasp diagnose."""


@dataclass(frozen=True)
class Work:
    """Cells that are alike."""

    label: str
    """Of the planner as the config has it."""
    task: str
    horizon: int
    mode: str
    cells: int


@dataclass(frozen=True)
class Ahead:
    """A stage: its cells, how many are lacking, and the seconds these take on `CORES` cores."""

    what: str
    cells: int
    lacking: int
    seconds: float
    guessed: bool
    """Whether some planner was never timed in this ledger."""


def look_ahead(stages: Stages) -> list[Ahead]:
    """All stages in their order. Nothing is written."""
    spec = stages.spec
    tasks = [*(place.task for place in spec.places.values()), *(test.task for test in spec.tests)]
    clock = _Clock(spec, Grids.of(tasks, list(spec.planners), stages.conf), CostModel())
    clock.costs.learn_from(stages.ledger)
    digests = clock.grids.digests()
    studies = list(studies_of(spec))
    left = [study for study in studies if not ended(spec, study, digests)]
    cells = sum(_cells(spec, study) for study in studies)
    found = [clock.stage("studies", cells, [_tuning(spec, study) for study in left], PER_STUDY * len(left))]
    pieces = [*plans.ablations(spec), *plans.sensitivities(spec)]
    for what, wanted in (
        ("own budgets", plans.tests(spec)),
        ("equal seconds", plans.equal_seconds(spec)),
        ("a share of the seconds", plans.hurries(spec)),
        ("replanned", plans.replanned(spec)),
        ("ablations and sensitivity", pieces),
    ):
        work = [each for plan in wanted for each in _work(spec, plan)] if left else _lacking(stages, wanted)
        overhead = PER_SWEEP * len(wanted) if work else 0.0
        found.append(clock.stage(what, sum(plan.cells for plan in wanted), work, overhead))
    unmeasured = [task for task in spec.diagnose if claims_of(spec, task) is None]
    return [*found, Ahead("grasp diagnose", 0, 0, PER_TASK * len(unmeasured), bool(unmeasured))]


def say_ahead(stages: Stages, console: Console) -> None:
    """Print the stages and the whole time; UserError where two cores would need more than `hours`."""
    found = look_ahead(stages)
    total = sum(stage.seconds for stage in found)
    say(console, f"grasp quality, {stages.spec.variant} variant:")
    for stage in found:
        time = f"about {duration(stage.seconds)}{' (guessed)' if stage.guessed else ''}" if stage.seconds else "nothing to do"
        say(console, f"  {stage.what:26} {stage.cells:6} cells at most, {stage.lacking:6} to plan  {time}")
    bound = f"bound: {stages.spec.hours:g} h on {CORES} cores"
    begun = any(stage.lacking < stage.cells for stage in found)
    left = "left" if begun else "in all"
    say(console, f"  {left}: {sum(stage.lacking for stage in found)} cells, about {duration(total)} on {CORES} cores; {bound}")
    require(
        total <= stages.spec.hours * 3600,
        f"the study would take about {duration(total)} on {CORES} cores, more than hours={stages.spec.hours:g}: give fewer "
        "trials, tests or seeds, or a larger hours=.",
    )


@dataclass(frozen=True)
class _Clock:
    """How long cells take: as the ledger knows, else as the config guesses."""

    spec: QualitySpec
    grids: Grids
    """Of the planners' own settings."""
    costs: CostModel

    def stage(self, what: str, cells: int, work: Sequence[Work], overhead: float) -> Ahead:
        seconds = sum(each.cells * self._seconds(each) for each in work) / CORES + overhead
        guessed = any(not self.costs.timed(self._point(each)) for each in work)
        return Ahead(what, cells, sum(each.cells for each in work), seconds, guessed)

    def _seconds(self, work: Work) -> float:
        point = self._point(work)
        if self.costs.timed(point):
            return self.costs.row_seconds(point, ROWS)
        guess = self.spec.guess.get(work.label, self.spec.guess.get("other", 1.0))
        return guess * planned_steps(work.mode, work.horizon) / 50

    def _point(self, work: Work) -> Point:
        plan = SweepPlan("", "ahead", work.task, (work.horizon,), (0,), work.mode, (work.label,))
        return self.grids.of_plan(plan).entries[0].point


def _cells(spec: QualitySpec, study: Study) -> int:
    """Of a study at most: nothing is pruned."""
    fresh = len(spec.tuning.choice) + len(spec.seeds_at(study.place.task, study.place.horizon))
    return spec.tuning.trials * len(spec.tuning.seeds) + (spec.tuning.top + 1) * fresh


def _tuning(spec: QualitySpec, study: Study) -> Work:
    return Work(study.label, study.place.task, study.place.horizon, OPEN_LOOP, _cells(spec, study))


def _work(spec: QualitySpec, plan: SweepPlan) -> Iterable[Work]:
    for horizon in plan.horizons:
        for label in plan.planners:
            # A timed planner takes GRASP's seconds, and GRASP with a change or in a hurry at most about as long as it is.
            kind = label if label in spec.planners else GRASP
            yield Work(kind, plan.task, horizon, plan.mode, len(plan.seeds))


def _lacking(stages: Stages, wanted: Sequence[SweepPlan]) -> list[Work]:
    """What the ledger lacks of sweeps whose planners are tuned; all of it where their files are not written yet."""
    spec = stages.spec
    try:
        grids = [grid for _, grid in stages.grids(wanted)] if wanted else []
    except UserError:
        return [each for plan in wanted for each in _work(spec, plan)]
    entries = {entry.point.point_id: entry for grid in grids for entry in grid.entries}
    work = []
    for portion in missing_of(grids, stages.ledger, retry_failed=False):
        entry = entries[portion.point.point_id]
        label = entry.planner.split(" ")[0]
        kind = label if label in spec.planners else GRASP
        work.append(Work(kind, entry.task, entry.point.horizon, entry.point.mode, len(portion)))
    return work
