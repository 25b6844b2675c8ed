"""Names for a user's own classes and functions, given by a decorator in a notebook or a module."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from sweeps.config.plugin_names import is_ours
from world_models.errors import UnknownNameError, UserError
from world_models.files.names import file_name
from world_models.plugins import PLUGINS, Kind

T = TypeVar("T")


def register(kind: str, name: str) -> Callable[[T], T]:
    """A decorator that gives a class or function a name, e.g. `@grasp.register("planner", "climbing")`.

    `kind` is `task`, `world_model`, `goal_cost`, `planner` or `sampler`. What a notebook's cell defines travels to workers by
    value and is never stored; what a module defines travels as its file. Raises UserError for an unknown kind, and for a
    name that is not one or that another has.
    """
    known = {each.key: each for each in Kind}
    if kind not in known:
        raise UnknownNameError("kind of plug-in", kind, known)
    found = known[kind]
    file_name(f"{found.value} name", name)
    if is_ours(found, name):
        raise UserError(f"{found.value} {name!r} is one of grasp-orchestrator's: give yours another name.")

    def decorate(value: T) -> T:
        PLUGINS.register(found, name, value)
        return value

    return decorate
