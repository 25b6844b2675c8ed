"""Checked grids and backends from a config, shared by the commands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

from orchestrator.artifacts.selection import NO_ARTIFACTS, ArtifactSelection
from orchestrator.core.cell import Named
from orchestrator.scheduling.scheduler import Limits
from orchestrator.workers.backend import Backend, InlineBackend, inline_threads
from orchestrator.workers.evaluator import check_point
from planners import full_settings
from planners.identity import algorithm_version
from sweeps.config.compose import compose, several
from sweeps.config.grid import Grid, Lookups, spec_of
from sweeps.config.outputs import Outputs
from world_models.checkpoints.formats import loader_version
from world_models.checkpoints.store import own_goal_cost, read_card
from world_models.errors import UnknownNameError, require
from world_models.tasks import make_task

SHARED = ("backend", "output", "storage", "max_rows", "target_seconds", "even_batches", "grace_seconds", "artifacts")
"""Keys whose values the sweeps of one run must share."""


@dataclass(frozen=True)
class Job:
    """A composed and expanded sweep: every point of `grid` can be planned."""

    grid: Grid
    outputs: Outputs
    values: Mapping[str, Any]
    config_text: str


def read_job(config: str, overrides: Sequence[str], conf: Path | None) -> Job:
    """Compose, expand and check a sweep before anything runs; UserError names what is wrong."""
    (job,) = read_jobs(config, overrides, conf)
    return job


def read_jobs(config: str, overrides: Sequence[str], conf: Path | None) -> list[Job]:
    """The jobs of one or several sweeps (`sweep=h50,h100`), each composed with the other overrides.

    Raises UserError as `read_job` does, and when the sweeps differ in a key of `SHARED`.
    """
    named = several("sweep", overrides, conf)
    if named is None:
        return [_job(config, overrides, conf)]
    position, names = named
    jobs = [_job(config, [*overrides[:position], f"sweep={name}", *overrides[position + 1 :]], conf) for name in names]
    titles = [job.grid.name for job in jobs]
    for title in titles:
        require(titles.count(title) == 1, f"name={title} names one sweep, but {len(jobs)} are given: leave it out.")
    for job in jobs:
        for key in SHARED:
            sentence = f"sweeps {titles[0]} and {job.grid.name} differ in {key}: give it on the command line for both."
            require(job.values[key] == jobs[0].values[key], sentence)
    return jobs


def _job(config: str, overrides: Sequence[str], conf: Path | None) -> Job:
    composed = compose(config, overrides, conf)
    spec = spec_of(composed, conf)
    grid = spec.expand(lookups())
    check_grid(grid)
    return Job(grid, Outputs.of(composed.values), composed.values, composed.text)


def check_grid(grid: Grid) -> None:
    """Raise UserError unless every point can be planned here: its model is known, fits, and has the expected digest."""
    known_card = cache(read_card)
    for entry in grid.entries:
        check_point(entry.point, read_card=known_card)
    # A horizon too short for the task's kind of problem would fail every cell: making one problem of each reports it at once.
    for task, horizon in dict.fromkeys((entry.point.task, entry.point.horizon) for entry in grid.entries):
        make_task(task.name, **task.as_dict()).problem(grid.seeds[0], horizon)


def lookups() -> Lookups:
    """The look-ups that read real models, planners and tasks."""

    def distance_unit(task: Named) -> str:
        return make_task(task.name, **task.as_dict()).distance_unit

    def task_version(task: Named) -> int:
        return make_task(task.name, **task.as_dict()).version

    # Every point of a sweep needs one of the same few cards, and reading a card means reading all the weights.
    card = cache(read_card)
    return Lookups(
        model_digest=lambda model: card(model)[1],
        full_settings=full_settings,
        distance_unit=distance_unit,
        own_goal_cost=lambda model: own_goal_cost(card(model)[0]),
        algorithm_version=algorithm_version,
        task_version=task_version,
        loader_version=lambda model: loader_version(card(model)[0]),
    )


def limits_of(values: Mapping[str, Any]) -> Limits:
    """Limits of a batch; UserError for invalid ones."""
    even = values.get("even_batches", False)
    require(isinstance(even, bool), f"even_batches {even!r} is neither true nor false.")
    seconds = positive_seconds("target_seconds", values["target_seconds"], 60)
    return Limits(whole_number("max_rows", values["max_rows"]), seconds, even=even)


def artifact_selection_of(values: Mapping[str, Any]) -> ArtifactSelection:
    """Which cells are drawn: none where the config has no `artifacts`. Raises UserError for an invalid selection."""
    return ArtifactSelection.of(values["artifacts"]) if "artifacts" in values else NO_ARTIFACTS


def grace_of(values: Mapping[str, Any]) -> float:
    """Seconds that batches in flight get after SIGTERM; UserError for an invalid time."""
    return positive_seconds("grace_seconds", values["grace_seconds"], 25)


def positive_seconds(name: str, value: object, usual: int) -> float:
    """`value` if it is a positive number of seconds, else UserError."""
    sound = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf")
    require(sound, f"{name} {value!r} is not a time: give seconds, e.g. {usual}.")
    assert isinstance(value, int | float)
    return float(value)


def make_backend(settings: Mapping[str, Any]) -> Backend:
    """The backend that the config's `backend` describes."""
    values = dict(settings)
    name = values.pop("name", None)
    if name == "inline":
        return InlineBackend(**values)
    if name == "ray":
        from orchestrator.workers.ray_backend import RayBackend, RayConfig

        unknown = set(values) - {field.name for field in fields(RayConfig)}
        if unknown:
            raise UnknownNameError("setting of backend", min(unknown), [field.name for field in fields(RayConfig)])
        return RayBackend(RayConfig(**values))
    raise UnknownNameError("backend", name, ("inline", "ray"))


def backend_words(settings: Mapping[str, Any]) -> str:
    """The backend in words: `ray`, or `inline with 2 threads`."""
    if settings["name"] != "inline":
        return str(settings["name"])
    return f"inline with {inline_threads(settings.get('threads'))} threads"


def whole_number(name: str, value: object, low: int = 1) -> int:
    """`value` if it is a whole number >= `low`, else UserError."""
    require(
        isinstance(value, int) and not isinstance(value, bool) and value >= low,
        f"{name} {value!r} is not a whole number >= {low}.",
    )
    assert isinstance(value, int)
    return value
