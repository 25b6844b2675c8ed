"""Cells, the unit of work and of results: frozen, canonical, with an id that hashes what determines the outcome."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any

from world_models.errors import UnknownNameError, UserError, require

Scalar = bool | int | float | str | None

OPEN_LOOP = "open_loop"
"""The execution mode in which a problem is planned once and its plan executed to the end."""
MPC = "mpc"
"""With the suffix `:K`, the mode in which a problem is replanned after every K environment steps."""


def replan_every(mode: str) -> int | None:
    """Environment steps between two plans of a mode; None for `open_loop`.

    Raises UserError for anything but `open_loop` and `mpc:K` with a whole number K >= 1.
    """
    if mode == OPEN_LOOP:
        return None
    name, _, steps = str(mode).partition(":")
    if name != MPC:
        raise UnknownNameError("execution mode", mode, (OPEN_LOOP, f"{MPC}:K"))
    # One spelling per mode, because it belongs to a cell's identity.
    sentence = f"execution mode {mode!r} does not say after how many environment steps to replan: give {MPC}:K with K >= 1."
    require(re.fullmatch("[1-9][0-9]*", steps) is not None, sentence)
    return int(steps)


def check_mode(mode: str, horizon: int, action_block: int) -> None:
    """Raise UserError unless a mode replans between model steps, at or before the horizon."""
    every = replan_every(mode)
    if every is None:
        return
    near = max(1, round(every / action_block)) * action_block
    sentence = (
        f"execution mode {mode!r} replans inside a model step, which takes {action_block} environment steps: choose {near}."
    )
    require(every % action_block == 0, sentence)
    require(every <= horizon, f"execution mode {mode!r} never replans within horizon {horizon}: choose {horizon} or less.")


def canonical(value: object) -> str:
    """The canonical JSON text of a value: sorted keys, no spaces, floats by shortest repr, whole floats as integers (2.0 is 2).

    Raises UserError for NaN, infinities and what JSON does not know.
    """
    try:
        return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise UserError(f"{value!r} cannot be part of a cell's identity ({error}): use finite numbers and text.") from error


def _plain(value: object) -> object:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def digest(value: object, length: int = 16) -> str:
    """Hex digest of a value's canonical form."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:length]


def planned_steps(mode: str, horizon: int) -> int:
    """Environment steps of all plans of a cell together, a relative measure of its planning time."""
    return sum(range(horizon, 0, -(replan_every(mode) or horizon)))


@dataclass(frozen=True)
class Named:
    """A registry name with its settings, e.g. task `wall` with kind and speed. Settings are sorted pairs: hashable."""

    name: str
    settings: tuple[tuple[str, Scalar], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "settings", tuple(sorted(self.settings, key=lambda pair: pair[0])))

    @staticmethod
    def of(name: str, settings: Mapping[str, Scalar] | None = None) -> Named:
        """The name with the settings in a mapping."""
        return Named(name, tuple((settings or {}).items()))

    def as_dict(self) -> dict[str, Scalar]:
        """The settings as a mapping."""
        return dict(self.settings)


@dataclass(frozen=True)
class Point:
    """All cells that differ only in seed: one MLflow run."""

    task: Named
    model: str
    """World model name (zoo) or path."""
    model_digest: str
    """Content digest of the model's weights and card config: the same name with other weights makes another point."""
    planner: Named
    """`name` is the planner kind; `settings` are all its settings, with defaults filled in."""
    horizon: int
    mode: str = OPEN_LOOP
    """`open_loop`, or `mpc:K`: replanned after every K environment steps."""
    goal_cost: str | None = None
    """The goal cost to plan with, one of the model's; None: the model's default."""
    disagreement: float = 0.0
    """Weight of an ensemble's disagreement in the goal cost."""

    @cached_property
    def point_id(self) -> str:
        """Deterministic id; the model's *name* does not enter, its content does."""
        # What `asdict` would give, without its deep copies: a sweep may have thousands of points.
        identity = {field.name: getattr(self, field.name) for field in fields(self)}
        identity |= {"task": vars(self.task), "planner": vars(self.planner)}
        del identity["model"]
        # A point that leaves these to the model has the id that it had before there was a choice.
        if self.goal_cost is None:
            del identity["goal_cost"]
        if self.disagreement == 0.0:
            del identity["disagreement"]
        return digest(identity)

    @staticmethod
    def of_plain(raw: Mapping[str, Any]) -> Point:
        """The point in the plain values of `asdict` or JSON."""
        named = {key: Named(raw[key]["name"], tuple((k, v) for k, v in raw[key]["settings"])) for key in ("task", "planner")}
        weight = float(raw.get("disagreement", 0.0))  # whole floats may have become integers
        return Point(**{**raw, **named, "disagreement": weight})

    def cell(self, seed: int) -> Cell:
        """The point's cell for a seed."""
        return Cell(self, seed)


@dataclass(frozen=True)
class Cell:
    """One (task, world model, planner + settings, horizon, mode, seed)."""

    point: Point
    seed: int

    @property
    def cell_id(self) -> str:
        """Deterministic id of the cell."""
        return digest([self.point.point_id, self.seed])

    def to_json(self) -> str:
        """Canonical JSON, from which `from_json` makes an equal cell."""
        return canonical(asdict(self))

    @staticmethod
    def from_json(text: str) -> Cell:
        """The cell that `to_json` wrote."""
        raw = json.loads(text)
        return Cell(Point.of_plain(raw["point"]), raw["seed"])
