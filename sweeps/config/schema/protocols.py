"""Protocols: how an evaluation draws its problems, executes plans and judges them; as config and as entries of a grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

from orchestrator.core.cell import Named
from orchestrator.core.modes import OPEN_LOOP, ExecutionMode
from orchestrator.core.success import FINAL, SuccessRule
from sweeps.config.schema.kinds import flag, number, one_of, text, whole
from sweeps.config.schema.sections import STRICT, DrawConfig, ProblemsConfig, TaskSettings
from world_models.datasets.problems.clear_manifests import TERMS, check_terms
from world_models.datasets.problems.settings import ALL, GOALS, RECORDED, SPLITS, RecordedProblems
from world_models.errors import UnknownNameError, UserError, require
from world_models.history import History
from world_models.tasks.base import LONGEST_HORIZON


@dataclass(frozen=True)
class ProtocolConfig:
    """A protocol of the grid; without a `budget`, only changes to one that another config selects."""

    __pydantic_config__ = STRICT
    budget: Annotated[int | None, whole(1, LONGEST_HORIZON, 50, null=True)] = None
    """Environment steps that are executed."""
    mode: Annotated[str, text("execution mode", "mpc:25:25")] = OPEN_LOOP
    offset: Annotated[int | None, whole(1, LONGEST_HORIZON, 25, null=True)] = None
    """Rows from start to goal; none: the budget."""
    success: Annotated[str, text("success rule", "first_hit")] = FINAL
    history: Annotated[str | None, text("history mode", "grow:1", null=True)] = None
    """None: that of each model's card."""
    rows: Annotated[bool, flag()] = True
    """Whether problems are rows of a dataset, and not drawn by the task."""
    manifest: Annotated[bool, flag()] = False
    """Whether a file lists the rows."""
    clear: Annotated[str | None, text("terms of CLEAR-LeWM", "strict", null=True)] = None
    """The terms that a manifest of CLEAR-LeWM has to be of."""
    split: Annotated[str, one_of("split of a dataset", SPLITS)] = ALL
    validation: Annotated[float, number(0, 0.9, example="0.1", what="share of the episodes")] = 0.1
    split_seed: Annotated[int, whole(0)] = 0
    draw: DrawConfig = field(default_factory=DrawConfig)
    goal: Annotated[str, one_of("goal", GOALS)] = RECORDED
    trained_on: Annotated[bool, flag()] = False
    pictures: Annotated[bool, flag()] = False
    """Whether pixel models see recorded pictures, if the dataset has a column of them."""
    tasks: dict[str, TaskSettings] = field(default_factory=dict)
    """Settings that it gives to tasks, by their names."""

    @property
    def length(self) -> int:
        """Environment steps of its first plan."""
        return ExecutionMode.of(self.mode).planned(0, self.budget or 1)


@dataclass(frozen=True)
class ProtocolEntry:
    """A protocol of a grid."""

    name: str
    label: str
    """Its name in tables, with what the command line changed of it."""
    config: ProtocolConfig

    @property
    def budget(self) -> int:
        """Environment steps that are executed."""
        assert self.config.budget is not None
        return self.config.budget

    def task(self, task: Named) -> Named:
        """A task with the settings that the protocol gives to it."""
        return Named.of(task.name, task.as_dict() | self.config.tasks.get(task.name, {}))

    def problems(self, found: RecordedProblems | None, pictures: str | None, task: str) -> RecordedProblems | None:
        """The recorded problems as the protocol draws them; `pictures` is the dataset's column of them.

        Raises UserError where it needs a dataset or a list that is not given, and for a list of another protocol or task.
        """
        config = self.config
        if not config.rows:
            return None
        if found is None:
            raise UserError(f"protocol {self.label} takes its problems from a recorded dataset: give problems.data=PATH.")
        shown = found.pictures or (pictures if config.pictures else None)
        kept = replace(found, goal=config.goal, trained_on=config.trained_on, pictures=shown)
        if config.manifest:
            listed = found.manifest is not None
            require(listed, f"protocol {self.label} plans the pairs of a manifest: give problems.manifest=FILE.json.")
            if config.clear is not None and found.manifest is not None:
                check_terms(Path(found.manifest), config.clear, task)
            return kept
        return replace(
            kept,
            manifest=None,
            manifest_digest=None,
            split=config.split,
            validation=config.validation,
            split_seed=config.split_seed,
            offset=config.offset or self.budget,
            seed=config.draw.seed,
            rows=config.draw.rows,
            calls=config.draw.calls,
        )


def protocol_entries(configs: Mapping[str, ProtocolConfig], changes: Mapping[str, Sequence[str]]) -> tuple[ProtocolEntry, ...]:
    """The protocols of a grid; `changes` are the words of the command line for each.

    Raises UserError for a protocol without a budget, and for an unknown mode, rule or history.
    """
    entries = []
    for label, config in configs.items():
        require(config.budget is not None, f"protocol {label!r} has no budget: give protocols.{label}.budget=50.")
        ExecutionMode.of(config.mode)
        SuccessRule.of(config.success)
        if config.clear is not None and config.clear not in TERMS:
            raise UnknownNameError("terms of CLEAR-LeWM", config.clear, TERMS)
        if config.history is not None:
            config = replace(config, history=str(History.of(config.history)))
        entries.append(ProtocolEntry(label, " ".join([label, *changes.get(label, ())]), config))
    return tuple(entries)


def check_draws(protocols: Mapping[str, ProtocolConfig], problems: ProblemsConfig) -> None:
    """Raise UserError for keys of problems whose values a protocol gives, and for those that none of the protocols uses."""
    used = {
        "data": any(each.rows for each in protocols.values()),
        "manifest": any(each.manifest for each in protocols.values()),
    }
    for name, uses in used.items():
        if protocols and getattr(problems, name) is not None and not uses:
            own = "whose problems the task draws" if name == "data" else "which draws its rows"
            raise UserError(f"problems.{name} has no effect under protocol {next(iter(protocols))}, {own}: leave it out.")
    fixed = ("split", "validation", "split_seed", "offset", "draw", "goal", "trained_on")
    given = [name for name in fixed if getattr(problems, name) != getattr(ProblemsConfig(), name)]
    if protocols and given:
        name = next(iter(protocols))
        raise UserError(
            f"problems.{given[0]} has no effect under protocol {name}, which says how problems are drawn: give "
            f"protocols.{name}.{given[0]} in its place."
        )
