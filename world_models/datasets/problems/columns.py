"""The columns of a dataset that a task's state model learns from: observations and actions as the task has them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Num

from world_models.datasets import Episodes, Role, columns_with
from world_models.errors import UnknownNameError, UserError, require
from world_models.tasks import Task
from world_models.tasks.base import classes_of, normalised_actions
from world_models.tasks.recorded.protocols import NamedActionUnits

SLACK = 1e-3
"""How far beyond the bounds a recorded action may be, which rounding explains."""


@dataclass(frozen=True)
class ActionColumn:
    """The column of a task's actions."""

    task: Task
    name: str
    unit: str = ""
    """Unit of the recorded values, as far as the dataset says."""

    def values(self, recorded: np.ndarray, lead: int) -> Float[np.ndarray, "*rows action"]:
        """The task's actions, float32, of recorded ones with `lead` axes before those of one row.

        Raises UserError for actions outside of the task's bounds.
        """
        found = self._in_task_units(recorded, lead)
        worst = float(np.abs(found).max()) if found.size else 0.0
        require(
            worst <= 1.0 + SLACK,
            f"column {self.name!r} has actions {worst:.4g} times as large as task {self.task.name} takes: give data whose "
            "actions are in the environment's units and bounds.",
        )
        return np.clip(found, -1.0, 1.0).astype(np.float32)

    def clipped(self, recorded: np.ndarray, lead: int) -> Float[np.ndarray, "*rows action"]:
        """The same with actions outside of the bounds put onto them, for rows that nothing is executed from."""
        return np.clip(self._in_task_units(recorded, lead), -1.0, 1.0).astype(np.float32)

    def _in_task_units(self, recorded: np.ndarray, lead: int) -> Float[np.ndarray, "*rows action"]:
        rows = recorded.reshape(-1, *recorded.shape[lead:])
        units = self.task.action_units if isinstance(self.task, NamedActionUnits) else {}
        if self.unit in units:
            rows = rows / units[self.unit]
        try:
            flat = normalised_actions(self.task, rows).reshape(len(rows), self.task.action_dim)
        except (ValueError, UserError) as error:
            raise UserError(
                f"column {self.name!r} has actions {list(rows.shape[1:])} that are none of task {self.task.name}, which takes "
                f"{self.task.action_dim} values or classes ({error}): name another column."
            ) from error
        return flat.reshape(*recorded.shape[:lead], self.task.action_dim)


@dataclass(frozen=True)
class Columns:
    """Which columns are observations and actions of a task."""

    task: Task
    observation: tuple[str, ...]
    """Joined in this order."""
    action: str
    action_unit: str = ""
    """Unit of recorded actions, as far as the dataset says."""

    @property
    def names(self) -> list[str]:
        """All of them."""
        return [*self.observation, self.action]

    def observations(self, values: dict[str, np.ndarray], lead: int) -> Float[np.ndarray, "*rows observation"]:
        """The task's observations, float32; the columns' values have `lead` axes before those of one row."""
        return self.joined(values, lead).astype(np.float32)

    def joined(self, values: dict[str, np.ndarray], lead: int) -> Num[np.ndarray, "*rows observation"]:
        """The task's observations as they were recorded."""
        parts = [values[name].reshape(*values[name].shape[:lead], -1) for name in self.observation]
        return np.concatenate(parts, axis=-1)

    def actions(self, recorded: np.ndarray, lead: int) -> Float[np.ndarray, "*rows action"]:
        """The task's actions. Raises what `ActionColumn.values` raises."""
        return ActionColumn(self.task, self.action, self.action_unit).values(recorded, lead)


def columns_for(
    task: Task,
    data: Episodes,
    observation: Sequence[str] | None = None,
    action: str | None = None,
    section: str = "recorded",
) -> Columns:
    """The columns that were named, else those whose role and size fit the task.

    Raises UserError where none fit, naming the dataset's columns, their sizes, and the section of the config that names others.
    """
    for name in observation or ():
        if name not in data.columns:
            raise UnknownNameError(f"column of {data.path}", name, data.columns)
    seen = tuple(observation or ()) or observed(task, data)
    size = sum(_size(data, name) for name in seen)
    if not seen or size != task.observation_dim:
        raise UserError(
            f"{data.path} has no columns for the {task.observation_dim} observed features of task {task.name}: it has "
            f"{_described(data)}; name them with {section}.observation=[...]."
        )
    acted = action_column(task, data, action, section)
    return Columns(task, seen, acted.name, acted.unit)


def action_column(task: Task, data: Episodes, name: str | None, section: str) -> ActionColumn:
    """The column that is named, else the only one that fits. Raises UserError as `columns_for` does."""
    if name is not None and name not in data.columns:
        raise UnknownNameError(f"column of {data.path}", name, data.columns)
    chosen = name or _acted(task, data, section)
    return ActionColumn(task, chosen, data.columns[chosen].unit)


def observed(task: Task, data: Episodes) -> tuple[str, ...]:
    """One column of the right size, or all observation columns together."""
    for role in (Role.OBSERVATION, Role.STATE):
        names = columns_with(data, role)
        for name in names:
            if _size(data, name) == task.observation_dim:
                return (name,)
        if names and sum(_size(data, name) for name in names) == task.observation_dim:
            return tuple(names)
    return ()


def _acted(task: Task, data: Episodes, section: str) -> str:
    names = columns_with(data, Role.ACTION)
    sizes = (task.action_dim,) if classes_of(task) is None else (1, task.action_dim)
    fitting = [name for name in names if _size(data, name) in sizes]
    if len(fitting) != 1:
        raise UserError(
            f"{data.path} has {len(fitting)} columns for the {task.action_dim} action values of task {task.name}: it has "
            f"{_described(data)}; name one with {section}.action=NAME."
        )
    return fitting[0]


def _size(data: Episodes, name: str) -> int:
    return int(np.prod(data.columns[name].shape, dtype=np.int64))


def _described(data: Episodes) -> str:
    return ", ".join(f"{name} {list(column.shape)}" for name, column in data.columns.items()) or "none"
