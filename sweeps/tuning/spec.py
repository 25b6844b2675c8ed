"""The specification of a study, from its config: tasks and horizons, search space, seeds, and objectives."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.core.cell import Named, Point, Scalar, canonical, digest, identity_of
from orchestrator.tuning.objectives import Bound, objective
from orchestrator.tuning.optuna_study import StudyDefinition
from orchestrator.tuning.pruning import Pruning
from orchestrator.tuning.racing import Instance, instances_of
from orchestrator.tuning.samplers import SAMPLERS, Sampling
from orchestrator.tuning.search_space import Space, space_of
from orchestrator.tuning.tuner import TuningPlan
from planners import full_settings, make_planner
from planners.identity import identity_settings
from sweeps.config.compose import compose
from sweeps.config.files import CONF, groups
from sweeps.config.grid import Entry, Grid, SweepSpec, spec_of
from sweeps.config.jobs import check_grid, lookups
from sweeps.config.outputs import Outputs, storage_of
from sweeps.config.overrides import assignments
from sweeps.config.plugin_names import admitted
from sweeps.config.problems import check_recorded, recorded_problems
from sweeps.config.schema.configs import SamplerConfig, TuneConfig
from sweeps.config.schema.entries import PlannerEntry
from world_models.errors import UserError, require
from world_models.files.names import file_name, inside
from world_models.files.yaml_reading import load_yaml
from world_models.plugins import PLUGINS, Kind, is_target, read_label


@dataclass(frozen=True)
class SeedSplit:
    """Three disjoint sets of seeds: for tuning, for selecting among the best trials, and for judging the selection."""

    tuning: tuple[int, ...]
    choice: tuple[int, ...]
    held_out: tuple[int, ...]

    def __post_init__(self) -> None:
        named = (("seeds", self.tuning), ("choice_seeds", self.choice), ("held_out", self.held_out))
        for position, (name, seeds) in enumerate(named):
            for other, more in named[position + 1 :]:
                both = sorted(set(seeds) & set(more))
                require(
                    not both,
                    f"seed {both[0] if both else 0} is in {name} and in {other}: settings must be judged on seeds that they "
                    f"were not tuned on; give {other} another start.",
                )


@dataclass(frozen=True)
class StudySpec:
    """A checked study: its planner can be planned with on every task and horizon."""

    grid: Grid
    """The points with the planner's own settings, the reference for winners; its seeds are the tuning seeds."""
    planner: PlannerEntry
    space: Space
    fixed: tuple[str, ...]
    """Settings of the space's file that the command line has fixed."""
    definition: StudyDefinition
    plan: TuningPlan
    seed_split: SeedSplit
    top: int
    digits: int | None
    """Significant digits that the winner's settings are rounded to if that succeeds alike; None keeps all."""
    sampling: Sampling
    pruning: Pruning
    starts: Mapping[str, Mapping[str, Scalar]]
    warm_start: tuple[str, ...]
    adopt: bool
    location: str | Path
    """File or address of the study's storage."""
    outputs: Outputs
    config: TuneConfig
    config_text: str

    @property
    def name(self) -> str:
        """Name of the study."""
        return self.grid.name

    @property
    def instances(self) -> tuple[Instance, ...]:
        """Cells that all trials see, in one order."""
        return instances_of(len(self.grid.entries), self.seed_split.tuning, self.sampling.seed)

    def for_workers(self, workers: int) -> StudySpec:
        """The study with as many trials in parallel as fill the workers' batches, unless the config gives a number."""
        if self.config.parallel is not None:
            return self
        raced = self.pruning.applies_to(len(self.definition.objectives)) and not self.plan.timed
        at_a_time = self.plan.chunk if raced else len(self.instances)
        # A sampler learns from finished trials: with many in parallel, many are sampled without that knowledge.
        enough = workers * max(1, self.config.max_rows // at_a_time)
        parallel = max(1, min(enough, self.plan.total // 2))
        return replace(self, plan=replace(self.plan, parallel=parallel))

    def points(self, settings: Mapping[str, Scalar]) -> tuple[Point, ...]:
        """The study's points with some settings changed; UserError if settings conflict."""
        return tuple(changed(entry, settings).point for entry in self.grid.entries)

    def candidates(self, name: str, settings_by_label: Mapping[str, Mapping[str, Scalar]], seeds: tuple[int, ...]) -> Grid:
        """An ordinary sweep of the default settings (the reference) and some others, by label."""
        entries = {}
        for entry in self.grid.entries:
            default = replace(entry, planner="default")
            entries[entry.point.point_id] = default
            for label, settings in settings_by_label.items():
                other = replace(changed(entry, settings), planner=label)
                entries.setdefault(other.point.point_id, other)
        return Grid(name, tuple(entries.values()), seeds)


def changed(entry: Entry, settings: Mapping[str, Scalar]) -> Entry:
    """The entry with some of its planner's settings changed; UserError if they conflict."""
    planner = entry.point.planner
    named = Named.of(planner.name, full_settings(planner.name, planner.as_dict() | dict(settings)))
    make_planner(named.name, named.as_dict())
    return replace(entry, point=replace(entry.point, planner=named))


def read_study(overrides: Sequence[str], conf: Path | None) -> StudySpec:
    """Compose and check a study before anything runs; UserError names what is wrong."""
    composed = compose(TuneConfig, with_space(overrides, conf), conf)
    config = composed.config
    problems = recorded_problems(config.problems, conf)
    spec = spec_of(replace(composed, config=replace(config, name=config.name or "study")), conf, problems)
    require(
        len(spec.planners) == 1,
        f"grasp tune takes one planner, not {len(spec.planners)}: give one of {', '.join(p.label for p in spec.planners)}.",
    )
    planner = spec.planners[0]
    grid = replace(spec, name=file_name("study name", config.name or _name(spec))).expand(lookups())
    check_grid(grid)
    forced, searched = dict(planner.forced), config.space or {}
    space = space_of({name: value for name, value in searched.items() if name not in forced}, planner.planner.name)
    seed_split = SeedSplit(spec.seeds, config.choice_seeds, config.held_out)
    for key, seeds in (("choice_seeds", seed_split.choice), ("held_out", seed_split.held_out)):
        check_recorded(replace(grid, seeds=seeds), key)
    sampling = _sampling(config.sampler, conf)
    pruning = Pruning(config.pruning.enabled, config.pruning.p_value, config.pruning.warm_up)
    objectives, bounds = _objectives(config.objectives), _bounds(config.constraints or {})
    timed = any(each.name == "seconds" for each in (*objectives, *(bound.objective for bound in bounds)))
    chunk = max(config.pruning.chunk, pruning.warm_up)
    plan = TuningPlan(config.trials, config.parallel or 1, chunk, config.join, timed)
    definition = StudyDefinition(
        grid.name,
        space,
        objectives,
        bounds,
        _facts(grid, seed_split, plan, sampling, space),
    )
    outputs = Outputs.of(config)
    return StudySpec(
        grid=grid,
        planner=planner,
        space=space,
        fixed=tuple(name for name in searched if name in forced),
        definition=definition,
        plan=plan,
        seed_split=seed_split,
        top=config.top,
        digits=config.digits,
        sampling=sampling,
        pruning=pruning,
        starts=_starts(config.starts or {}, planner.planner.name),
        warm_start=config.warm_start,
        adopt=config.adopt,
        location=storage_of(config.optuna, outputs),
        outputs=outputs,
        config=config,
        config_text=composed.text,
    )


def with_space(overrides: Sequence[str], conf: Path | None) -> list[str]:
    """The overrides, with the space named like the planner unless they give one."""
    given = assignments(overrides, TuneConfig)
    if any(each.key == "space" and each.value is not None for each in given):
        return list(overrides)
    planners = [each.value for each in given if each.key == "planner"]
    label = planners[-1] if planners else "grasp"
    label = label[0] if isinstance(label, list) and len(label) == 1 else label
    known = groups(conf)["space"]
    label = read_label(str(label)) if is_target(label) else label
    name = label if label in known else _kind_of(str(label), conf)
    return [f"space={name}", *overrides] if name in known else list(overrides)


def _kind_of(label: str, conf: Path | None) -> str | None:
    """The kind of planner in a planner's config, from its `name`."""
    for folder in (conf, CONF) if conf else (CONF,):
        file = inside(folder, "planner", f"{label}.yaml")
        if file.is_file():
            raw = load_yaml(file, "config file")
            return str(raw.get("name")) if isinstance(raw, dict) else None
    return None


def _name(spec: SweepSpec) -> str:
    tasks = "+".join(task.label for task in spec.tasks)
    horizons = "+".join(str(horizon) for horizon in dict.fromkeys(h for task in spec.tasks for h in task.horizons))
    return f"{tasks}-H{horizons}-{spec.planners[0].label}".replace("+", "_")


def _objectives(names: Sequence[str]) -> tuple:
    require(bool(names), "the study has no objective: give at least one, e.g. objectives=[success,seconds].")
    return tuple(objective(name) for name in names)


def _bounds(limits: Mapping[str, float]) -> tuple[Bound, ...]:
    return tuple(Bound(objective(name), limit) for name, limit in limits.items())


def _sampling(config: SamplerConfig, conf: Path | None) -> Sampling:
    name = admitted(Kind.SAMPLER, config.name, conf)
    if name not in SAMPLERS:
        PLUGINS.demand(Kind.SAMPLER, name, SAMPLERS)
    return Sampling(name, config.seed, config.startup)


def _starts(starts: Mapping[str, Mapping[str, Scalar]], planner: str) -> dict[str, dict[str, Scalar]]:
    found = {}
    for label, settings in starts.items():
        try:
            full_settings(planner, settings)
        except UserError as error:
            raise UserError(f"starts.{label}: {error}") from error
        found[label] = dict(settings)
    return found


def _facts(
    grid: Grid, seed_split: SeedSplit, plan: TuningPlan, sampling: Sampling, space: Space
) -> tuple[tuple[str, str], ...]:
    """Facts that must not change within a study, in words."""
    conditions = ", ".join(f"{entry.task} H{entry.point.horizon}" for entry in grid.entries)
    # Tuned settings do not count: their values in the files may change between two runs.
    base = [
        [
            digest(identity_of(entry.point) | {"planner": vars(Named(entry.point.planner.name))}),
            _without(entry.point, space.names),
        ]
        for entry in grid.entries
    ]
    return (
        ("tasks and horizons", conditions),
        ("world models and fixed settings", digest(json.loads(canonical(base)))),
        ("tuning seeds", f"{len(seed_split.tuning)} from {min(seed_split.tuning)}, {digest(list(seed_split.tuning), 6)}"),
        ("order of seeds", str(sampling.seed)),
        ("join", plan.join),
    )


def _without(point: Point, names: Sequence[str]) -> dict[str, Scalar]:
    """The settings in a point's identity that are not among `names`."""
    settings = identity_settings(point.planner.name, point.algorithm_version, point.planner.as_dict())
    return {name: value for name, value in settings.items() if name not in names}
