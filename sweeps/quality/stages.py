"""The stages of the planning-quality study, in order. Each plans what is missing and skips what is there."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field
from rich.console import Console

from orchestrator.artifacts.artifact_store import ArtifactStore
from orchestrator.artifacts.selection import ArtifactSelection
from orchestrator.ledger.ledger import Ledger
from orchestrator.storage.opening import open_storage
from sweeps.analysis.point_cells import COLUMNS, cells_of, records_of
from sweeps.config.grid import Grid, missing_of
from sweeps.config.overrides import override_text
from sweeps.console.display import View
from sweeps.console.signals import STOPPED
from sweeps.console.terminal import say
from sweeps.quality import generated_configs as conf_files
from sweeps.quality import sweeps as plans
from sweeps.quality.spec import GRASP, Condition, QualitySpec
from sweeps.quality.studies import has_ended, shared_overrides, studies_of, tune_overrides
from sweeps.quality.sweeps import Grids, SweepPlan
from sweeps.running.sweep import SweepOptions, sweep
from sweeps.tuning.tune import tune
from world_models.errors import UserError, require
from world_models.files.reading import read_or_set_aside, to_json
from world_models.files.writing import write_file

NOTHING_DRAWN = ("artifacts.cells=[]", "artifacts.video=false")
FAILURES_DRAWN = ("artifacts.cells=[worst]", "artifacts.video=false")


Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
"""Mean planning seconds per problem."""


class StoppedError(Exception):
    """A stage was stopped, with its exit code; everything that has finished is kept."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def _go_on(code: int) -> None:
    """Raise StoppedError if a stage's exit code says that it was stopped."""
    if code in STOPPED:
        raise StoppedError(code)


@dataclass(frozen=True)
class Stages:
    """The stages of a study, with the spec, configs and console that they share."""

    spec: QualitySpec
    conf: Path | None
    """The user's own configs."""
    console: Console
    view: View = View.LIVE

    @property
    def folder(self) -> Path:
        """Folder of the generated configs."""
        return self.spec.folder / "conf"

    @property
    def ledger(self) -> Ledger:
        """The study's ledger, read afresh."""
        return Ledger(self.spec.outputs.ledger)

    def run(self) -> list[tuple[str, Grid]]:
        """Run all stages; return the grids that the results come from, each with its part. Raises StoppedError."""
        spec = self.spec
        self.tune_all()
        if self.folder.exists():
            shutil.rmtree(self.folder)  # its settings may be old; it is written again from the studies
        conf_files.begin(self.folder, self.conf)
        found = conf_files.all_tuned_settings(spec)
        conf_files.write_tuned(spec, self.folder, found)
        own = self.sweeps("own budgets", plans.tests(spec))
        conf_files.write_timed(spec, self.folder, found, self.seconds(own, GRASP))
        equal = self.sweeps("equal seconds", plans.equal_seconds(spec))
        faster_than = dict.fromkeys(target["than"] for target in spec.targets["faster"])
        conf_files.write_time_capped(spec, self.folder, found, {label: self.seconds(own, label) for label in faster_than})
        time_capped = self.sweeps("a share of the seconds", plans.time_capped_sweeps(spec))
        mpc = self.sweeps("replanned", plans.replanned(spec))
        conf_files.write_ablations(spec, self.folder, found)
        labels = conf_files.write_sensitivity(spec, self.folder, found)
        pieces = self.sweeps("ablations and sensitivity", [*plans.ablations(spec), *plans.sensitivities(spec, labels)])
        self.sweeps("shown failures", plans.shown_failure_sweeps(spec), FAILURES_DRAWN)
        self.diagnose()
        return [*own, *equal, *time_capped, *mpc, *pieces]

    def tune_all(self) -> None:
        """Run every study that has no winner yet."""
        spec = self.spec
        digests = Grids.of(
            [condition.task for condition in spec.tuning_conditions.values()], list(spec.planners), self.conf
        ).digests()
        left = [study for study in studies_of(spec) if not has_ended(spec, study, digests)]
        for number, study in enumerate(left, 1):
            self._stage(f"study {number} of {len(left)}", study.name)
            _go_on(tune(tune_overrides(spec, study), self.console, self.conf, self.view))
            require(
                has_ended(spec, study, digests),
                f"study {study.name} has no winner yet: another driver plans its trials; run grasp quality when it has ended.",
            )

    def sweeps(
        self, what: str, wanted: Sequence[SweepPlan], artifacts: Sequence[str] = NOTHING_DRAWN
    ) -> list[tuple[str, Grid]]:
        """Plan and draw in one pool what the sweeps lack; return their parts and grids."""
        if not wanted:
            return []
        made = self.grids(wanted)
        for plan in wanted:
            conf_files.write_sweep(self.folder, plan)
        grids = [grid for _, grid in made]
        if missing_of(grids, self.ledger) or (artifacts is FAILURES_DRAWN and self._undrawn(grids)):
            self._stage(what, f"{sum(plan.cells for plan in wanted)} cells in {len(wanted)} sweeps")
            names = ",".join(plan.name for plan in wanted)
            overrides = [f"sweep=[{names}]", *shared_overrides(self.spec), *artifacts, "even_batches=true"]
            _go_on(sweep(overrides, self.console, self.folder, SweepOptions(view=self.view)))
            require(
                not missing_of(grids, self.ledger),
                f"{what}: the ledger still lacks cells; run grasp quality again.",
            )
        return made

    def grids(self, wanted: Sequence[SweepPlan]) -> list[tuple[str, Grid]]:
        """Parts and grids of sweeps whose planners' files are written."""
        labels = dict.fromkeys(label for plan in wanted for label in plan.planners)
        grids = Grids.of([plan.task for plan in wanted], [conf_files.file_of(label) for label in labels], self.folder)
        return [(plan.part, grids.of_plan(plan)) for plan in wanted]

    def _undrawn(self, grids: Sequence[Grid]) -> bool:
        portions = [portion for grid in grids for portion in grid.portions()]
        artifact_store = ArtifactStore(open_storage(self.spec.outputs.artifacts))
        return next(artifact_store.lacking(portions, self.ledger, ArtifactSelection(("worst",), video=False)), None) is not None

    def seconds(self, own: Sequence[tuple[str, Grid]], label: str) -> dict[Condition, float]:
        """A tuned planner's mean planning seconds per problem, to three digits, by task and horizon.

        They are kept in seconds.json once computed. Cells are planned only once, so the ledger gives the same without the file.
        """
        file = self.spec.folder / "seconds.json"
        known = read_or_set_aside(file, dict[str, Seconds], "a file of planning seconds") or {}
        found: dict[Condition, float] = {}
        for _, grid in own:
            mine = [entry for entry in grid.entries if entry.planner == label]
            fresh = [entry for entry in mine if entry.point.point_id not in known]
            cells = cells_of(grid, records_of(grid, self.ledger, COLUMNS)) if fresh else {}
            for entry in fresh:
                seconds = cells[entry.point.point_id].done.seconds
                if not len(seconds):
                    raise UserError(
                        f"{label} has failed in every cell of {grid.name} and has no seconds: see grasp report {grid.name}."
                    )
                known[entry.point.point_id] = float(f"{seconds.mean():.3g}")
            found |= {Condition(entry.task, entry.point.horizon): known[entry.point.point_id] for entry in mine}
        write_file(file, to_json(dict(sorted(known.items())), indent=1) + "\n")
        return found

    def diagnose(self) -> None:
        """Measure the paper's claims on tasks for which this output folder has no verdicts."""
        from sweeps.diagnose.diagnose import diagnose

        for task in self.spec.diagnose:
            if claims_of(self.spec, task) is None:
                self._stage("diagnose", task)
                overrides = [f"task={task}", f"output={override_text(str(self.spec.config.output))}", "tracking.enabled=false"]
                _go_on(diagnose(overrides, self.console, self.conf))

    def _stage(self, what: str, detail: str) -> None:
        if self.view is not View.QUIET:
            say(self.console, f"== {what}: {detail}")
        sys.stdout.flush()


def claims_of(spec: QualitySpec, task: str) -> Path | None:
    """The table of claims of a task; None if they have not been measured."""
    return next(iter(sorted((spec.outputs.root / "diagnose").glob(f"{task}-*/claims.csv"))), None)
