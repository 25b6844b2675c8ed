"""The task registry: `make_task("push_t", action_block=5)`."""

from collections.abc import Callable, Mapping

from world_models.errors import UserError
from world_models.plugins import PLUGINS, Kind, require_members
from world_models.tasks.base import Problem, Rollout, Task, execute


def _wall(**settings: object) -> Task:
    from world_models.tasks.wall import Wall

    return Wall(**settings)  # pyright: ignore[reportArgumentType]


def _point_maze(**settings: object) -> Task:
    from world_models.tasks.point_maze import PointMaze

    return PointMaze(**settings)  # pyright: ignore[reportArgumentType]


def _push_t(**settings: object) -> Task:
    from world_models.tasks.push_t import PushT

    return PushT(**settings)  # pyright: ignore[reportArgumentType]


def _push_t_upstream(**settings: object) -> Task:
    from world_models.tasks.push_t import PushTUpstream

    return PushTUpstream(**settings)  # pyright: ignore[reportArgumentType]


def _two_room(**settings: object) -> Task:
    from world_models.tasks.rooms import TwoRoom

    return TwoRoom(**settings)  # pyright: ignore[reportArgumentType]


def _wall_dino(**settings: object) -> Task:
    from world_models.tasks.rooms import WallDino

    return WallDino(**settings)  # pyright: ignore[reportArgumentType]


def _point_maze_dino(**settings: object) -> Task:
    from world_models.tasks.point_maze_dino import PointMazeDino

    return PointMazeDino(**settings)  # pyright: ignore[reportArgumentType]


def _gymnasium(**settings: object) -> Task:
    from world_models.tasks.gym import gym_task

    return gym_task(**settings)


def _recorded(**settings: object) -> Task:
    from world_models.tasks.recorded import recorded_task

    return recorded_task(**settings)


TASKS: dict[str, Callable[..., Task]] = {
    "wall": _wall,
    "point_maze": _point_maze,
    "push_t": _push_t,
    "push_t_upstream": _push_t_upstream,
    "two_room": _two_room,
    "wall_dino": _wall_dino,
    "point_maze_dino": _point_maze_dino,
    "gymnasium": _gymnasium,
    "recorded": _recorded,
}
"""Constructors of our tasks by name; simulators are imported on first use."""

COMPLETE = tuple(name for name in TASKS if name not in ("gymnasium", "recorded"))
"""Our tasks that can be made without settings."""


SPEED = {"gymnasium": ("processes",)}
"""Settings of our tasks by which they are only faster: they are in no cell's id."""


def identity_settings(name: str, settings: Mapping[str, object]) -> dict[str, object]:
    """The settings of a task that enter a cell's id."""
    return {key: value for key, value in settings.items() if key not in SPEED.get(name, ())}


def make_task(name: str, **settings: object) -> Task:
    """The task called `name`, one of ours or a plug-in, with the given settings.

    Raises UserError for an unknown name or setting, and for a plug-in that is not a task.
    """
    plugin = None if name in TASKS else PLUGINS.demand(Kind.TASK, name, TASKS)
    maker: Callable[..., Task] = TASKS[name] if plugin is None else plugin.value
    try:
        made = maker(**settings)
    except (TypeError, OverflowError) as error:
        raise UserError(f"task {name!r} does not take these settings ({error}).") from error
    if plugin is not None:
        require_members(f"task {name!r} of {plugin.home}", made, Task)
    return made


__all__ = ["COMPLETE", "SPEED", "TASKS", "Problem", "Rollout", "Task", "execute", "identity_settings", "make_task"]
