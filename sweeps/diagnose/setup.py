"""The request to `grasp diagnose`: a task, a model, GRASP whole and with parts taken away; checked before anything runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from orchestrator.core.cell import Scalar
from orchestrator.tracking.tracking_store import TrackingStore
from planners.diagnostics.gradients import LiftedPhase
from sweeps.config.compose import compose
from sweeps.config.grid import Entry, Grid, SweepSpec, spec_of
from sweeps.config.jobs import check_grid, lookups
from sweeps.config.outputs import Outputs
from sweeps.config.schema.configs import DiagnoseConfig, IteratesConfig
from sweeps.config.schema.entries import PlannerEntry, TaskEntry
from sweeps.config.schema.sections import BackendConfig, InlineConfig
from sweeps.diagnose.measure import Probe
from sweeps.running.tracking import tracking_store_of
from world_models.errors import require
from world_models.tasks import Task, make_task
from world_models.tasks.base import check_horizon

BASE = "grasp"
"""Label of the whole planner in the ablation."""

ABLATIONS: Mapping[str, Mapping[str, Scalar]] = {
    "no noise": {"noise": 0.0, "init_noise": 0.0},
    "no sync": {"sync_steps": 0, "final_sync_steps": 0},
    "no detach": {"stop_gradient": False},
    "no goal term": {"goal_weight": 0.0},
    "no detach, no goal term": {"stop_gradient": False, "goal_weight": 0.0},
}
"""Settings that take a part of GRASP away, by label."""

CLAIMED = tuple(list(ABLATIONS)[:4])
"""Ablations that a claim is about; the last one is run because the goal term makes up for what the detachment breaks."""

HORIZONS = 8
"""Number of horizons measured when none are given."""


@dataclass(frozen=True)
class DiagnosisSpec:
    """A checked request for a diagnosis."""

    name: str
    task_label: str
    task: Task
    model: str
    horizons: tuple[int, ...]
    """Environment steps, ascending."""
    grid: Grid
    """The ablation: its entries are `BASE` and `ABLATIONS` at the longest horizon."""
    problems: int
    """Number of the grid's seeds that curvature and gradients are measured on."""
    probe: Probe
    outputs: Outputs
    backend: BackendConfig
    """Settings of the backend that plans the ablation."""
    device: str
    threads: int
    config_text: str
    tracking_store: TrackingStore | None
    """The store that tracks the diagnosis; None without tracking."""

    @property
    def folder(self) -> Path:
        """Folder of the figures and tables."""
        return self.outputs.root / "diagnose" / self.name.removeprefix("diagnose-")


def read_diagnosis(overrides: Sequence[str], conf: Path | None) -> DiagnosisSpec:
    """Compose and check a request; UserError names what is wrong."""
    composed = compose(DiagnoseConfig, overrides, conf)
    config = composed.config
    entry, planner = _single(spec_of(composed, conf))
    task = make_task(entry.task.name, **entry.task.as_dict())
    horizons = _horizons(config.horizons, entry, task)
    longest = replace(entry, horizons=horizons[-1:])
    name = f"diagnose-{entry.label}-{Path(entry.models[0]).name}"
    seeds = spec_of(composed, conf).seeds
    spec = SweepSpec(name, (longest,), _variants(planner, config.ablation or {}), seeds)
    grid = spec.expand(lookups())
    check_grid(grid)
    count = config.problems
    require(count <= len(seeds), f"problems {count} exceeds the {len(seeds)} seeds: give fewer, or seeds.count={count}.")
    return DiagnosisSpec(
        name=name,
        task_label=entry.label,
        task=task,
        model=entry.models[0],
        horizons=horizons,
        grid=grid,
        problems=count,
        probe=_probe(config.places, grid.entries[0]),
        outputs=Outputs.of(config),
        backend=_backend(config.backend, config.device),
        device=config.device,
        threads=config.threads,
        config_text=composed.text,
        tracking_store=tracking_store_of(config.tracking, Outputs.of(config)),
    )


def _single(spec: SweepSpec) -> tuple[TaskEntry, PlannerEntry]:
    """The one task and planner of a spec."""
    for kind, found in (
        ("task", [task.label for task in spec.tasks]),
        ("planner", [planner.label for planner in spec.planners]),
        ("world_model", list(spec.tasks[0].models)),
    ):
        require(len(found) == 1, f"grasp diagnose takes one {kind}, not {len(found)}: give one of {', '.join(found)}.")
    kind = spec.planners[0].planner.name
    require(
        kind == "grasp",
        f"planner {spec.planners[0].label!r} is {kind}: grasp diagnose takes GRASP apart, so give planner=grasp.",
    )
    return spec.tasks[0], spec.planners[0]


def _horizons(given: tuple[int, ...] | None, entry: TaskEntry, task: Task) -> tuple[int, ...]:
    """The horizons given, ascending, or evenly spaced ones up to the task's longest."""
    block = task.action_block
    if given is None:
        longest = max(entry.horizons)
        spaced = {max(1, round(longest * i / HORIZONS / block)) * block for i in range(1, HORIZONS)}
        return (*sorted(spaced - {longest}), longest)
    for horizon in entry.horizons:
        check_horizon(horizon, block)
    require(
        len(entry.horizons) >= 3,
        f"horizons {list(entry.horizons)} are too few: growth is fitted over at least 3, e.g. horizons=[10,20,30,40,50].",
    )
    return tuple(sorted(entry.horizons))


def _variants(planner: PlannerEntry, common: Mapping[str, Scalar]) -> tuple[PlannerEntry, ...]:
    """The whole planner and one variant per ablation; the command line overrides `common` but not an ablation's settings."""
    shared = {**common, **dict(planner.forced)}
    return tuple(
        replace(planner, label=label, forced=tuple({**shared, **changes}.items()))
        for label, changes in {BASE: {}, **ABLATIONS}.items()
    )


def _backend(config: BackendConfig, device: str) -> BackendConfig:
    """The config's backend; the inline one plans on the device of the measurements."""
    return replace(config, device=device) if isinstance(config, InlineConfig) else config


def _probe(iterates: IteratesConfig, base: Entry) -> Probe:
    """The probe for the config and for GRASP's settings at the longest horizon."""
    settings = base.point.planner.as_dict()
    numbers = {key: settings[key] for key in ("lr_states", "lr_actions", "noise", "goal_weight")}
    early, late = iterates.early, iterates.late
    require(early < late, f"places.early {early} does not come before places.late {late}: give a smaller number.")
    return Probe(LiftedPhase(**{key: float(cast(float, value)) for key, value in numbers.items()}), iterates.gd_lr, early, late)
