"""Tasks and planners of a grid, as their configs describe them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from orchestrator.core.cell import Named, Scalar


@dataclass(frozen=True)
class TaskEntry:
    """A task of the grid, with the world models and horizons it is planned with."""

    label: str
    """Name in tables: the config's name, e.g. `wall_deep`."""
    task: Named
    models: tuple[str, ...]
    horizons: tuple[int, ...]
    """Environment steps."""


@dataclass(frozen=True)
class Rule:
    """Settings for the points that it matches; None matches everything."""

    settings: tuple[tuple[str, Scalar], ...]
    task: str | None = None
    """A task's name or label."""
    horizon: int | None = None
    file: str | None = None
    """The task's label only, i.e. its file's name: other files of the task may differ in world model and kind of problem."""
    source: str | None = None
    """The tuned file that the rule comes from; None for a rule of the planner's own file."""

    def matches(self, entry: TaskEntry, horizon: int) -> bool:
        """Whether the rule applies to this task and horizon."""
        same_task = self.task in (None, entry.label, entry.task.name) and self.file in (None, entry.label)
        return same_task and self.horizon in (None, horizon)


@dataclass(frozen=True)
class PlannerEntry:
    """A planner of the grid. Later settings win: its own, then matching rules in order, then the forced ones."""

    label: str
    planner: Named
    rules: tuple[Rule, ...] = ()
    forced: tuple[tuple[str, Scalar], ...] = ()
    """Settings from the command line."""

    def at(self, entry: TaskEntry, horizon: int) -> Named:
        """The planner with the settings for a task and horizon; defaults are not filled in."""
        settings = self.planner.as_dict()
        for rule in self.rules:
            if rule.matches(entry, horizon):
                settings.update(rule.settings)
        return Named.of(self.planner.name, settings | dict(self.forced))

    def untuned(self) -> PlannerEntry:
        """The planner without the rules of its tuned files."""
        return replace(self, rules=tuple(rule for rule in self.rules if rule.source is None))
