"""Settings class and maker of a planner that is a plug-in.

Such a planner is a dataclass with a field `settings`, whose default says the settings class, like ours; or any class with a
method `plan`, made without arguments, which then has no settings.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cache
from typing import Any

from planners.base import Planner
from planners.settings import Settings
from world_models.errors import UserError
from world_models.plugins import Plugin, require_members

PlannerKind = tuple[type[Settings], Callable[[Any], Planner]]
"""Settings class and maker of a planner."""


def kind_of(plugin: Plugin) -> PlannerKind:
    """Settings class and maker of a plug-in. Raises UserError for a class that is not a planner."""
    settings = _settings_class(plugin.value, plugin.name)
    what = f"planner {plugin.name!r} of {plugin.home}"

    def make(given: Any) -> Planner:
        try:
            made = plugin.value() if settings is _without(plugin.value) else plugin.value(given)
        except TypeError as error:
            raise UserError(
                f"{what} cannot be made ({error}): give its dataclass a field settings, or no arguments."
            ) from error
        require_members(what, made, Planner)
        return made

    return settings, make


def _settings_class(value: Any, name: str) -> type[Settings]:
    """The class of the default of a dataclass's field `settings`; one without fields where there is none."""
    known = {field.name: field for field in dataclasses.fields(value)} if dataclasses.is_dataclass(value) else {}
    if "settings" not in known:
        return _without(value)
    field = known["settings"]
    made = callable(field.default_factory)  # a class that travelled by value has a MISSING of its own
    default = field.default_factory() if made else field.default  # pyright: ignore[reportCallIssue]
    if not isinstance(default, Settings):
        raise UserError(
            f"planner {name!r}: its field settings needs a default that is an object of a Settings class: "
            "write settings: MySettings = MySettings()."
        )
    return type(default)


@cache
def _without(value: Any) -> type[Settings]:
    """A settings class without settings, one for each planner."""
    return dataclasses.make_dataclass("NoSettings", [], bases=(Settings,), frozen=True)
