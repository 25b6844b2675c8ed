"""The suites that ship with the package, run on a user's own task, world model, goal cost or planner."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from planners import planner_kind
from planners.settings import Scalar
from planners.testing import ON_EVERY_WORLD, PLANNER_CHECKS, WORLDS, PlannerCase
from world_models.adapters.kinds import adapter
from world_models.base import WorldModel
from world_models.checkpoints.exported.model import exported_parts, read_exported
from world_models.checkpoints.foreign_models import moved
from world_models.checkpoints.plugin_models import plugin_goal_cost, plugin_parts
from world_models.datasets import open_dataset
from world_models.errors import UserError, require
from world_models.models.ensemble import Ensemble
from world_models.models.recurrent import HiddenState
from world_models.parts import Parts
from world_models.plugins import PLUGINS, Kind, Plugin
from world_models.tasks import make_task
from world_models.testing import MODEL_CHECKS, TASK_CHECKS, ModelCase, Observe, TaskCase, pixel_observations, vectors
from world_models.testing.adapters import ADAPTER_CHECKS, AdapterCase
from world_models.testing.datasets import DATASET_CHECKS, DatasetCase
from world_models.testing.goal_costs import GOAL_COST_CHECKS, GoalCostCase
from world_models.testing.tasks import check_problems_elsewhere

Check = tuple[str, Callable[[], None]]
"""A promise in words, and the function that raises AssertionError where it is broken."""


@dataclass(frozen=True)
class Verdict:
    """A promise, and how it is broken."""

    promise: str
    fault: str | None
    """None for one that is kept."""


@dataclass(frozen=True)
class Asked:
    """How a plug-in is tried."""

    settings: Mapping[str, object]
    """Settings of the task or planner."""
    horizon: int = 20
    """Environment steps of a task's problems."""
    observation: int | None = None
    """Number of features that a state model observes; None: as many as its states have."""
    path: str | None = None
    """A small dataset that a reader of datasets reads, or a checkpoint that an adapter does."""


def kind_of_target(plugin: Plugin) -> Kind:
    """The kind of a target, by what it has. Raises UserError where that does not tell."""
    value = plugin.value
    members = set(dir(value))
    if "plan" in members:
        return Kind.PLANNER
    if {"simulate", "problem"} & members:
        return Kind.TASK
    if {"step", "state_shape"} <= members:
        return Kind.WORLD_MODEL
    parameters = [each for each in _parameters(value) if each.default is inspect.Parameter.empty]
    if "__call__" in vars(value) if isinstance(value, type) else len(parameters) == 2:
        return Kind.GOAL_COST
    if not parameters and not isinstance(value, type):
        return Kind.WORLD_MODEL
    raise UserError(
        f"{plugin.name} could be anything: say what it is with kind=, one of {', '.join(kind.key for kind in Kind)}."
    )


def verdicts(kind: Kind, name: str, asked: Asked) -> Iterator[Verdict]:
    """The verdict on each promise of a plug-in, as it is checked.

    Raises UserError for a plug-in that cannot be made, and for a kind without a suite.
    """
    makers = {
        Kind.TASK: _task_checks,
        Kind.PLANNER: _planner_checks,
        Kind.WORLD_MODEL: _model_checks,
        Kind.GOAL_COST: _goal_cost_checks,
        Kind.DATASET: _dataset_checks,
        Kind.ADAPTER: _adapter_checks,
    }
    require(kind in makers, f"there is no suite for a {kind.value}: give a {', a '.join(each.value for each in makers)}.")
    for promise, check in makers[kind](name, asked):
        yield Verdict(promise, _fault(check))


def _fault(check: Callable[[], None]) -> str | None:
    try:
        check()
    except AssertionError as error:
        return " ".join(str(error).split())[:400] or "it does not hold"
    except Exception as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())}"[:400]
    return None


def _promise(check: Callable[..., None]) -> str:
    return (inspect.getdoc(check) or check.__name__).splitlines()[0].rstrip(".")


def _task_checks(name: str, asked: Asked) -> Iterator[Check]:
    def remade(**changes: object) -> Any:
        return make_task(name, **{**asked.settings, **changes})

    case = TaskCase(remade(), asked.horizon, remake=remade)
    yield from ((_promise(check), lambda check=check: check(case)) for check in TASK_CHECKS)
    yield "Another process draws the same problems", lambda: check_problems_elsewhere([(case.task, case.horizon)])


def _planner_checks(name: str, asked: Asked) -> Iterator[Check]:
    settings_class, make = planner_kind(name)
    known = {field.name for field in settings_class.__dataclass_fields__.values()}
    short: dict[str, Any] = {"iterations": 12, **asked.settings} if "iterations" in known else dict(asked.settings)

    def made(changes: Mapping[str, Scalar]) -> Any:
        return make(settings_class.of(name, {**short, **{key: value for key, value in changes.items() if key in known}}))

    case = PlannerCase(made, {"iterations": 60}, improves_every_row=False, finds_corners=False, knows_classes=False)
    for check in PLANNER_CHECKS:
        for world in WORLDS if check in ON_EVERY_WORLD else ("mlp",):
            yield f"{_promise(check)} ({world})", lambda check=check, world=world: check(case, world)


def _model_checks(name: str, asked: Asked) -> Iterator[Check]:
    return _checks_of_parts(f"world model {name!r}", lambda: plugin_parts(name), asked)


def archive_verdicts(path: Path, asked: Asked) -> Iterator[Verdict]:
    """The verdict on each promise of a model in an archive. Raises UserError for one that cannot be loaded."""
    files = read_exported(path)
    for promise, check in _checks_of_parts(f"world model {path}", lambda: exported_parts(files), asked):
        yield Verdict(promise, _fault(check))


def _checks_of_parts(what: str, make: Callable[[], Parts], asked: Asked) -> Iterator[Check]:
    case = ModelCase(lambda dtype: moved(what, make(), "cpu", dtype).model, _observe(make(), asked))
    return ((_promise(check), lambda check=check: check(case)) for check in MODEL_CHECKS)


def _goal_cost_checks(name: str, asked: Asked) -> Iterator[Check]:
    case = GoalCostCase(plugin_goal_cost(name, ()), asked.observation or 4)
    return ((_promise(check), lambda check=check: check(case)) for check in GOAL_COST_CHECKS)


def _dataset_checks(name: str, asked: Asked) -> Iterator[Check]:
    path = asked.path
    if path is None:
        raise UserError(f"the suite of dataset {name!r} reads a small dataset of its kind: give one with path=PATH.")
    case = DatasetCase(lambda: open_dataset(path, name))
    require(bool((case.open().lengths > 0).any()), f"{path} has no rows to try dataset {name!r} with: give another path.")
    return ((_promise(check), lambda check=check: check(case)) for check in DATASET_CHECKS)


def _adapter_checks(name: str, asked: Asked) -> Iterator[Check]:
    if asked.path is None:
        raise UserError(f"the suite of adapter {name!r} reads a checkpoint of its kind: give one with path=PATH.")
    settings = dict(asked.settings)
    task = settings.pop("task", None)
    made = None if task is None else make_task(str(task), **settings)
    case = AdapterCase(adapter(name), Path(asked.path), made)
    return ((_promise(check), lambda check=check: check(case)) for check in ADAPTER_CHECKS)


def _observe(parts: Parts, asked: Asked) -> Observe:
    if parts.sensors.kind == "pixels":
        return pixel_observations(parts.sensors.size, parts.sensors.proprioception)
    return vectors(asked.observation or _features(parts.model))


def _features(model: WorldModel) -> int:
    """The likely number of observed features: those of a state, without what our own wrappers add to it."""
    if isinstance(model, Ensemble):
        return _features(model.models[0])
    if isinstance(model, HiddenState) and isinstance(model.encoder, nn.Identity):
        return model.features
    return torch.Size(model.state_shape).numel()


def _parameters(value: Any) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(value).parameters.values())
    except (TypeError, ValueError):
        return []


def plugin_of(kind: Kind | None, text: str, plain: str) -> tuple[Kind, Plugin]:
    """The plug-in behind a target or name, whose kind is found out if it is None. Raises UserError for an unknown one."""
    kinds = [kind] if kind is not None else list(Kind)
    found = [plugin for each in kinds if (plugin := PLUGINS.find(each, plain)) is not None]
    require(bool(found), f"{text!r} is neither a target nor the name of a plug-in: grasp plugins lists those that are known.")
    first = found[0]
    return (kind or (first.kind if len(found) == 1 else kind_of_target(first))), first
