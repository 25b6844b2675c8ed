"""The task registry: `make_task("push_t", action_block=5)`."""

from collections.abc import Callable

from world_models.errors import UnknownNameError, UserError
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


def _gymnasium(**settings: object) -> Task:
    from world_models.tasks.gym import gym_task

    return gym_task(**settings)


TASKS: dict[str, Callable[..., Task]] = {
    "wall": _wall,
    "point_maze": _point_maze,
    "push_t": _push_t,
    "gymnasium": _gymnasium,
}
"""Task constructors by name; simulators are imported on first use."""


def make_task(name: str, **settings: object) -> Task:
    """The task called `name` with the given settings; raises UserError for an unknown name or setting."""
    if name not in TASKS:
        raise UnknownNameError("task", name, TASKS)
    try:
        return TASKS[name](**settings)
    except TypeError as error:
        raise UserError(f"task {name!r} does not take these settings ({error}).") from error


__all__ = ["TASKS", "Problem", "Rollout", "Task", "execute", "make_task"]
