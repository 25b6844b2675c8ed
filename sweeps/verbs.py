"""What the verbs share: checked grids, backends by config."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from orchestrator.backend import Backend, InlineBackend
from orchestrator.cells import Named
from orchestrator.evaluate import check_point
from planners import full_settings
from sweeps.config import compose
from sweeps.grid import Grid, Lookups, SweepSpec, spec_of
from sweeps.outputs import Outputs
from world_models.checkpoints import own_goal_cost, read_card
from world_models.errors import UnknownNameError, require
from world_models.tasks import make_task


@dataclass(frozen=True)
class Job:
    """A composed and expanded sweep: every point of `grid` can be planned."""

    grid: Grid
    spec: SweepSpec
    outputs: Outputs
    values: Mapping[str, Any]
    config_text: str


def read_job(config: str, overrides: Sequence[str], conf: Path | None) -> Job:
    """Compose, expand and check a sweep before anything runs; UserError names what is wrong."""
    composed = compose(config, overrides, conf)
    spec = spec_of(composed, conf)
    grid = spec.expand(lookups())
    known_card = cache(read_card)
    for entry in grid.entries:
        check_point(entry.point, read_card=known_card)
    # A horizon too short for the task's kind of problem would fail every cell: one problem of each says so at once.
    for task, horizon in dict.fromkeys((entry.point.task, entry.point.horizon) for entry in grid.entries):
        make_task(task.name, **task.as_dict()).problem(grid.seeds[0], horizon)
    return Job(grid, spec, Outputs(Path(str(composed.values["output"]))), composed.values, composed.text)


def lookups() -> Lookups:
    """The real ones."""

    def distance_unit(task: Named) -> str:
        return make_task(task.name, **task.as_dict()).distance_unit

    # A sweep asks for the same few cards at every point, and a card is only read with all its weights.
    card = cache(read_card)
    return Lookups(lambda model: card(model)[1], full_settings, distance_unit, lambda model: own_goal_cost(card(model)[0]))


def make_backend(settings: Mapping[str, Any]) -> Backend:
    """The backend that the config's `backend` describes."""
    values = dict(settings)
    name = values.pop("name", None)
    if name == "inline":
        return InlineBackend(**values)
    if name == "ray":
        from orchestrator.ray_backend import RayBackend, RayConfig

        return RayBackend(RayConfig(**values))
    raise UnknownNameError("backend", name, ("inline", "ray"))


def whole_number(name: str, value: object, low: int = 1) -> int:
    """`value` if it is a whole number >= `low`, else UserError."""
    require(
        isinstance(value, int) and not isinstance(value, bool) and value >= low,
        f"{name} {value!r} is no whole number >= {low}.",
    )
    assert isinstance(value, int)
    return value
