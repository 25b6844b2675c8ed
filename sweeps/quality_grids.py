"""Grids of the study's sweeps, expanded without composing each of them: a finished study must be seen to be finished fast."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from sweeps.config.compose import compose
from sweeps.config.grid import Grid, Lookups, PlannerEntry, SweepSpec, TaskEntry, spec_of
from sweeps.config.jobs import lookups
from sweeps.quality_plans import SweepPlan


@dataclass(frozen=True)
class Grids:
    """Task files and planners by label, composed once, and what expanding asks for."""

    tasks: dict[str, TaskEntry]
    planners: dict[str, PlannerEntry]
    lookups: Lookups

    @staticmethod
    def of(tasks: Sequence[str], files: Sequence[str], conf: Path | None) -> Grids:
        """Of task files and planner files; UserError for what cannot be composed."""
        words = [f"task=[{','.join(dict.fromkeys(tasks))}]", f"planner=[{','.join(files)}]"]
        spec = spec_of(compose("config", words, conf), conf)
        real = lookups()
        known = replace(real, model_digest=cache(real.model_digest), own_goal_cost=cache(real.own_goal_cost))
        return Grids({task.label: task for task in spec.tasks}, {one.label: one for one in spec.planners}, known)

    def of_plan(self, plan: SweepPlan) -> Grid:
        """A sweep's grid, the same that `grasp sweep` makes of its file."""
        task = replace(self.tasks[plan.task], horizons=plan.horizons)
        planners = tuple(self.planners[label] for label in plan.planners)
        return SweepSpec(plan.name, (task,), planners, plan.seeds, (plan.mode,)).expand(self.lookups)

    def digests(self) -> dict[str, str]:
        """Content digest of each task's first world model."""
        return {label: self.lookups.model_digest(task.models[0]) for label, task in self.tasks.items()}
