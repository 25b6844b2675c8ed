"""World models and the tasks (true simulators) that they model; depends on torch and numpy only.

`loaded = load("wall")`, then `loaded.model.step(states, actions)`; `make_task("wall").problem(seed=0, horizon=50)`.

The names in `__all__` are public, and so are those of `world_models.testing`. Everything else is private by convention:
it may move or change from one version to the next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from world_models.lazy import lazy_names

if TYPE_CHECKING:
    from world_models.adapters.base import Adapter, Found, Given, Imported
    from world_models.base import Context, GoalCost, PixelObservation, SquaredDistance, WorldModel, lifted_step, rollout
    from world_models.checkpoints.store import LoadedModel, load, save, zoo_names
    from world_models.datasets import Episodes, open_dataset
    from world_models.errors import UnknownNameError, UserError
    from world_models.tasks import TASKS, Problem, Rollout, Task, execute, make_task

__all__ = [
    "TASKS",
    "Adapter",
    "Context",
    "Episodes",
    "Found",
    "Given",
    "GoalCost",
    "Imported",
    "LoadedModel",
    "PixelObservation",
    "Problem",
    "Rollout",
    "SquaredDistance",
    "Task",
    "UnknownNameError",
    "UserError",
    "WorldModel",
    "execute",
    "lifted_step",
    "load",
    "make_task",
    "open_dataset",
    "rollout",
    "save",
    "zoo_names",
]

__getattr__, __dir__ = lazy_names(
    "world_models",
    {
        "adapters.base": ("Adapter", "Found", "Given", "Imported"),
        "base": ("Context", "GoalCost", "PixelObservation", "SquaredDistance", "WorldModel", "lifted_step", "rollout"),
        "checkpoints.store": ("LoadedModel", "load", "save", "zoo_names"),
        "datasets": ("Episodes", "open_dataset"),
        "errors": ("UnknownNameError", "UserError"),
        "tasks": ("TASKS", "Problem", "Rollout", "Task", "execute", "make_task"),
    },
)
