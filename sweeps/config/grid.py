"""The frozen `SweepSpec` of a sweep, parsed from a config, and its expansion into points and cells."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import product
from math import prod
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from orchestrator.core.cell import Cell, Named, Point, Scalar
from orchestrator.core.messages import visible
from orchestrator.core.modes import OPEN_LOOP, ExecutionMode
from orchestrator.core.plugin_code import Code
from orchestrator.core.portion import Portion, merged
from orchestrator.core.success import FINAL
from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.redo import Redo
from sweeps.config.axes import MOST_CELLS, MOST_POINTS
from sweeps.config.compose import Composed
from sweeps.config.files import groups
from sweeps.config.plugin_names import admitted, name_or_target
from sweeps.config.schema.configs import GridConfig, SweepConfig
from sweeps.config.schema.entries import PlannerEntry, Rule, TaskEntry
from sweeps.config.schema.protocols import ProtocolEntry, protocol_entries
from sweeps.config.schema.sections import PlannerConfig, TaskConfig
from world_models.datasets.problems.settings import RecordedProblems
from world_models.errors import UnknownNameError, UserError, require
from world_models.files.names import file_name
from world_models.history import REPEAT
from world_models.plugins import Kind

E = TypeVar("E", TaskConfig, PlannerConfig)

FLOOR = "random_actions"
"""The planner that every sweep under a protocol has, too."""


@dataclass(frozen=True)
class Entry:
    """A point of the grid, with its task's and planner's labels in tables; a mode other than open loop follows the planner."""

    task: str
    planner: str
    unit: str
    """Unit of the task's distance."""
    point: Point
    classes: int | None = None
    """Number of classes of the task's actions; None if they are a box."""
    trained_on: int = 0
    """Number of the recorded problems' episodes that the world model was trained on."""
    judged_in_model: bool = False
    """Whether the task has no simulator, so that success and distance are what the world model predicts."""

    @property
    def planner_label(self) -> str:
        """The planner's label, without the words that follow it."""
        return self.planner.removesuffix("".join(f" {word}" for word in point_words(self.point)))

    @property
    def name(self) -> str:
        """The point's name for people: labels, horizon, and words that tell it from others."""
        return " · ".join([self.task, self.planner_label, f"H{self.point.horizon}", *point_words(self.point)])


@dataclass(frozen=True)
class Lookups:
    """The look-ups that expanding a grid needs from the layers below; each raises UserError for an unknown name."""

    model_digest: Callable[[str], str]
    """Content digest of a model, given its name or path."""
    full_settings: Callable[[str, Mapping[str, Scalar]], Mapping[str, Scalar]]
    """A planner's settings with its defaults filled in."""
    distance_unit: Callable[[Named], str]
    """Unit of a task's distance."""
    own_goal_cost: Callable[[str], str]
    """Name of the goal cost that a model plans with by default."""
    algorithm_version: Callable[[str], int]
    """Version of a planner's algorithm."""
    task_version: Callable[[Named], int]
    """Version of a task."""
    loader_version: Callable[[str], int]
    """Version of a model's loader."""
    code: Callable[[str, str, str | None], Code] = lambda task, planner, goal_cost: ()
    """The code of the plug-ins among a task, a planner and a goal cost, by their names."""
    classes: Callable[[Named], int | None] = lambda task: None
    """Number of classes of a task's actions; None if they are a box."""
    trained_on: Callable[[str, RecordedProblems], int] = lambda model, problems: 0
    """Number of episodes of recorded problems that a model was trained on."""
    judged_in_model: Callable[[Named], bool] = lambda task: False
    """Whether a task has no simulator."""
    history: Callable[[str, str | None], str] = lambda model, asked: asked or REPEAT
    """The history mode of a model for one that is asked for; None: its card's."""


@dataclass(frozen=True)
class PlanningVariant:
    """How the grid's points are posed, planned, executed and judged, whatever the planner."""

    protocol: ProtocolEntry | None
    mode: str
    history: str | None
    success: str
    goal_cost: str | None
    disagreement: float
    noise_seed: int | None


def point_words(point: Point) -> list[str]:
    """Words that follow the planner in tables: the protocol, or else mode, history and the like that are not the default."""
    fixed = [(point.mode, OPEN_LOOP), (point.history, REPEAT), (point.success, FINAL)]
    words = [point.protocol] if point.protocol else [value for value, default in fixed if value != default]
    words += [] if point.goal_cost is None else [point.goal_cost]
    words += [] if point.disagreement == 0.0 else [f"disagreement {point.disagreement:g}"]
    return words + ([] if point.noise_seed is None else [f"noise {point.noise_seed}"])


@dataclass(frozen=True)
class SweepSpec:
    """A sweep, each combination of one value of each axis: tasks (with models and horizons), modes, histories, success rules,
    goal costs, disagreements, noise seeds, planners and seeds. Protocols take the place of horizons, modes, histories and
    success rules."""

    name: str
    tasks: tuple[TaskEntry, ...]
    planners: tuple[PlannerEntry, ...]
    seeds: tuple[int, ...]
    modes: tuple[str, ...] = (OPEN_LOOP,)
    goal_costs: tuple[str | None, ...] = (None,)
    """Names of goal costs; None is the model's own."""
    disagreements: tuple[float, ...] = (0.0,)
    """Weights of an ensemble's disagreement in the goal cost."""
    noise_seeds: tuple[int | None, ...] = (None,)
    """Seeds of the planners' noise; None is each problem's own seed."""
    problems: RecordedProblems | None = None
    """The dataset whose rows are the problems; None: each task draws its own."""
    histories: tuple[str | None, ...] = (None,)
    """History modes; None is that of the model's card."""
    successes: tuple[str, ...] = (FINAL,)
    """Success rules."""
    protocols: tuple[ProtocolEntry, ...] = ()
    pictures: str | None = None
    """The dataset's column of pictures, for protocols that show them; None if there is not exactly one."""

    def expand(self, lookups: Lookups) -> Grid:
        """The grid's points, task by task.

        Raises UserError when two points are the same or there are too many, and whatever `lookups` raises.
        """
        points = self._count()
        cells = points * len(self.seeds)
        fault = f"the grid has {points} points and {cells} cells"
        require(points <= MOST_POINTS and cells <= MOST_CELLS, f"{fault}: give at most {MOST_POINTS} and {MOST_CELLS}.")
        models = {
            model: (lookups.model_digest(model), lookups.loader_version(model)) for task in self.tasks for model in task.models
        }
        facts = cache(partial(_facts, lookups))
        entries: dict[str, Entry] = {}
        for task, model, horizon, variant, planner in self._combinations():
            # Tuned settings are for plans of a length.
            settings = _full_settings(planner, task, ExecutionMode.of(variant.mode).planned(0, horizon), lookups)
            named = task.task if variant.protocol is None else variant.protocol.task(task.task)
            problems = self.problems
            if variant.protocol is not None:
                problems = variant.protocol.problems(self.problems, self.pictures, named.name)
            goal_cost = None if variant.goal_cost == lookups.own_goal_cost(model) else variant.goal_cost
            (digest, loader_version), (unit, task_version, classes, in_model) = models[model], facts(named)
            point = Point(
                task=named,
                model=model,
                model_digest=digest,
                planner=settings,
                horizon=horizon,
                mode=variant.mode,
                history=lookups.history(model, variant.history),
                goal_cost=goal_cost,
                disagreement=variant.disagreement,
                algorithm_version=lookups.algorithm_version(settings.name),
                task_version=task_version,
                loader_version=loader_version,
                noise_seed=variant.noise_seed,
                code=lookups.code(task.task.name, settings.name, goal_cost),
                problems=problems,
                success=variant.success,
                protocol=None if variant.protocol is None else variant.protocol.label,
            )
            label = " ".join([planner.label, *point_words(point)])
            leaked = 0 if problems is None else lookups.trained_on(model, problems)
            entry = Entry(task.label, label, unit, point, classes, leaked, in_model)
            other = entries.setdefault(point.point_id, entry)
            if other is not entry:
                raise UserError(
                    f"{task.label} with {label} and {model} at horizon {horizon} is the same as {other.task} with "
                    f"{other.planner} and {other.point.model}: give them different settings, or name only one of them."
                )
        return Grid(self.name, tuple(entries.values()), self.seeds)

    def plan_lengths(self, task: TaskEntry) -> list[int]:
        """Environment steps of the first plans of a task."""
        return list(dict.fromkeys([entry.config.length for entry in self.protocols] or task.horizons))

    def _count(self) -> int:
        """The number of points, without making them: too long axes are refused before their combinations fill the memory."""
        conditions = sum(len(task.models) * (1 if self.protocols else len(task.horizons)) for task in self.tasks)
        ways = (self.protocols,) if self.protocols else (self.modes, self.histories, self.successes)
        axes = (*ways, self.goal_costs, self.disagreements, self.noise_seeds, self.planners)
        return conditions * prod(len(axis) for axis in axes)

    def _variants(self) -> list[PlanningVariant]:
        ways = [(None, *each) for each in product(self.modes, self.histories, self.successes)]
        if self.protocols:
            configs = [(entry, entry.config) for entry in self.protocols]
            ways = [(entry, config.mode, config.history, config.success) for entry, config in configs]
        costs = [*product(self.goal_costs, self.disagreements, self.noise_seeds)]
        return [PlanningVariant(*way, *cost) for way in ways for cost in costs]

    def _combinations(self) -> Iterator[tuple[TaskEntry, str, int, PlanningVariant, PlannerEntry]]:
        """Task, model, horizon, variant and planner of each point; a protocol's budget is the horizon."""
        variants = self._variants()
        fixed = [(variant.protocol.budget, variant) for variant in variants if variant.protocol is not None]
        for task in self.tasks:
            ways = fixed or [*product(task.horizons, variants)]
            for model, (horizon, variant), planner in product(task.models, ways, self.planners):
                yield task, model, horizon, variant, planner


def _facts(lookups: Lookups, task: Named) -> tuple[str, int, int | None, bool]:
    """A task's unit, version and number of classes, and whether it has no simulator."""
    return lookups.distance_unit(task), lookups.task_version(task), lookups.classes(task), lookups.judged_in_model(task)


def _full_settings(planner: PlannerEntry, task: TaskEntry, horizon: int, lookups: Lookups) -> Named:
    """The planner with all settings for a task and horizon; a UserError caused by a tuned file names that file."""
    named = planner.at(task, horizon)
    try:
        return Named.of(named.name, lookups.full_settings(named.name, named.as_dict()))
    except UserError as error:
        lookups.full_settings(named.name, planner.untuned().at(task, horizon).as_dict())  # raises if the mistake is elsewhere
        tuned = [rule.source for rule in planner.rules if rule.source and rule.matches(task, horizon)]
        raise UserError(f"tuned file {' or '.join(tuned)}: {error}") from error


@dataclass(frozen=True)
class Grid:
    """An expanded sweep, which is planned, saved and reported."""

    name: str
    entries: tuple[Entry, ...]
    seeds: tuple[int, ...]

    def portions(self) -> list[Portion]:
        """All cells, as one portion per point."""
        seeds = np.array(self.seeds, np.int64)
        return [Portion(entry.point, seeds, name=entry.name) for entry in self.entries]

    def cells(self) -> list[Cell]:
        """All cells, point by point."""
        return [cell for portion in self.portions() for cell in portion.cells()]


def spec_of(
    composed: Composed[Any],
    extra: Path | None = None,
    problems: RecordedProblems | None = None,
    pictures: str | None = None,
) -> SweepSpec:
    """The sweep that a composed config of a grid describes, with the recorded problems that were found for it.

    `pictures` is their column of pictures, for protocols that show them. A sweep under a protocol also plans at random.

    Raises UserError for an empty grid, duplicate values, and unknown names.
    """
    config: GridConfig = composed.config
    known = groups(extra)
    tasks = _selected("task", config.tasks, known["task"])
    planners = _selected("planner", config.planners, known["planner"])
    models = tuple(admitted(Kind.WORLD_MODEL, model, extra) for model in config.world_models)
    goal_costs = tuple(cost and admitted(Kind.GOAL_COST, cost, extra) for cost in config.goal_costs)
    protocols = protocol_entries(config.chosen_protocols, composed.changed("protocols"))
    _check_free(config, protocols)
    if protocols and isinstance(config, SweepConfig) and FLOOR not in {each.name for each in planners.values()}:
        planners = {**planners, FLOOR: PlannerConfig(name=FLOOR)}
    require(config.name is not None, "the sweep has no name: give one with name=NAME.")
    return SweepSpec(
        str(config.name),
        tuple(_task_entry(label, entry, models, config.horizons, extra) for label, entry in tasks.items()),
        tuple(_planner_entry(label, entry, composed.forced.get(label, {}), extra) for label, entry in planners.items()),
        config.seeds,
        config.mode,
        goal_costs,
        config.disagreement,
        config.noise_seeds,
        problems,
        config.history,
        config.success,
        protocols,
        pictures,
    )


def _check_free(config: GridConfig, protocols: Sequence[ProtocolEntry]) -> None:
    """Raise UserError for a key whose value a protocol gives."""
    given = {"mode": config.mode != (OPEN_LOOP,), "horizons": config.horizons is not None}
    given |= {"history": config.history != (None,), "success": config.success != (FINAL,)}
    key = next((key for key, is_given in given.items() if is_given), None)
    if not protocols or key is None:
        return
    name, theirs = protocols[0].name, "budget" if key == "horizons" else key
    raise UserError(f"{key} has no effect under protocol {name}: give protocols.{name}.{theirs} in its place.")


def _selected(kind: str, entries: Mapping[str, E], known: Collection[str]) -> dict[str, E]:
    """The entries with a name; one without a name changes settings of an option that this sweep does not select."""
    for label, entry in entries.items():
        file_name(f"{kind} label", label)
        if not (entry.name or entry.target) and label not in known:
            raise UnknownNameError(kind, label, known)
    named = {label: entry for label, entry in entries.items() if entry.name or entry.target}
    require(bool(named), f"the grid is empty: it has no {kind}; give some, e.g. {kind}={','.join(sorted(known)[:2])}.")
    return named


def _task_entry(
    label: str, entry: TaskConfig, given: tuple[str, ...], horizons: tuple[int, ...] | None, extra: Path | None
) -> TaskEntry:
    name = name_or_target(Kind.TASK, f"tasks.{label}", entry.name, entry.target, extra)
    models = given or tuple(admitted(Kind.WORLD_MODEL, model, extra) for model in entry.world_model)
    horizons = entry.horizons if horizons is None else horizons
    require(bool(models), f"the grid is empty: task {label!r} has no world model; set tasks.{label}.world_model.")
    for model in models:
        words = f"world model {model!r} has control characters: give its name, or rename its folder."
        require(visible(model) == model and "\n" not in model, words)
    require(bool(horizons), f"the grid is empty: task {label!r} has no horizon; give some, e.g. horizons=[25,50].")
    return TaskEntry(label, Named.of(str(name), entry.settings), models, horizons)


def _planner_entry(label: str, entry: PlannerConfig, forced: Mapping[str, Scalar], extra: Path | None) -> PlannerEntry:
    name = name_or_target(Kind.PLANNER, f"planners.{label}", entry.name, entry.target, extra)
    rules = (Rule(tuple(rule.settings.items()), rule.task, rule.horizon, rule.file, rule.source) for rule in entry.overrides)
    return PlannerEntry(label, Named.of(str(name), entry.settings), tuple(rules), tuple(forced.items()))


def missing_of(grids: Sequence[Grid], ledger: Ledger, redo: Redo | None = None) -> list[Portion]:
    """The cells of the grids that the ledger lacks or that `redo` names, each once."""
    portions = merged(portion for grid in grids for portion in grid.portions())
    return (redo or Redo()).missing(portions, ledger)
