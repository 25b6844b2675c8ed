"""The code of a cell's plug-ins, a part of its identity: results of old code never pass for those of edited code."""

from __future__ import annotations

from collections.abc import Container

from planners import BUILT_IN
from world_models.errors import require
from world_models.plugins import PLUGINS, Kind
from world_models.tasks import TASKS

Code = tuple[tuple[str, str], ...]
"""Version or digest of the code of each plug-in, by its kind."""


def code_of(task: str, planner: str, goal_cost: str | None = None) -> Code:
    """The code of those among a task, a planner and a goal cost that are plug-ins, by their names.

    Raises UserError for a plug-in that cannot be imported.
    """
    names: tuple[tuple[Kind, str | None, Container[str]], ...] = (
        (Kind.TASK, task, TASKS),
        (Kind.PLANNER, planner, BUILT_IN),
        (Kind.GOAL_COST, goal_cost, ()),
    )
    found = ((kind, PLUGINS.find(kind, name)) for kind, name, ours in names if name is not None and name not in ours)
    return tuple(sorted((kind.key, plugin.code) for kind, plugin in found if plugin is not None))


def check_code(asked: Code, task: str, planner: str, goal_cost: str | None = None) -> None:
    """Raise UserError unless the plug-ins of this process have the code that cells were made for."""
    here = dict(code_of(task, planner, goal_cost))
    for kind, code in asked:
        found = here.get(kind)
        named = {"task": task, "planner": planner}.get(kind, goal_cost)
        require(
            found == code,
            f"the cells are of code {code} of {kind} {named}, and here it is {found or 'not known'}: "
            "install the same version everywhere, or run the sweep anew.",
        )
