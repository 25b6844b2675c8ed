"""Checked grids and backends from a config, shared by the commands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Generic, TypeVar

from orchestrator.core.cell import Named
from orchestrator.core.messages import texts_in
from orchestrator.core.plugin_code import code_of
from orchestrator.scheduling.scheduler import Limits
from orchestrator.workers.backend import Backend, InlineBackend, inline_threads
from orchestrator.workers.evaluator import check_point
from planners import full_settings
from planners.identity import algorithm_version
from sweeps.config.compose import compose, several
from sweeps.config.grid import Grid, Lookups, spec_of
from sweeps.config.outputs import Outputs
from sweeps.config.problems import check_recorded, pictures_for, recorded_problems
from sweeps.config.schema.configs import PlanConfig, RunConfig, SweepConfig, TuneConfig
from sweeps.config.schema.protocols import check_draws
from sweeps.config.schema.sections import BackendConfig, InlineConfig
from world_models.checkpoints.formats import loader_version
from world_models.checkpoints.histories import history_of
from world_models.checkpoints.store import own_goal_cost, read_card
from world_models.datasets.problems.leakage import trained_episodes
from world_models.errors import require
from world_models.tasks import make_task
from world_models.tasks.base import classes_of
from world_models.tasks.recorded.judging import NoSimulator

SHARED = ("backend", "output", "storage", "max_rows", "target_seconds", "even_batches", "grace_seconds", "artifacts")
"""Keys whose values the sweeps of one run must share."""

C = TypeVar("C", SweepConfig, TuneConfig, PlanConfig)


@dataclass(frozen=True)
class Job(Generic[C]):
    """A composed and expanded sweep: every point of `grid` can be planned."""

    grid: Grid
    outputs: Outputs
    config: C
    config_text: str
    addresses: tuple[str, ...] = field(default=(), repr=False)
    """Texts of the config that may hold credentials."""


SweepJob = Job[SweepConfig] | Job[TuneConfig]
"""A job whose cells go to a ledger."""


def read_job(kind: type[C], overrides: Sequence[str], conf: Path | None) -> Job[C]:
    """Compose, expand and check a sweep before anything runs; UserError names what is wrong."""
    composed = compose(kind, overrides, conf)
    protocols = composed.config.chosen_protocols
    check_draws(protocols, composed.config.problems)
    problems = recorded_problems(composed.config.problems, conf)
    spec = spec_of(composed, conf, problems, pictures_for(protocols, problems))
    grid = spec.expand(lookups())
    check_grid(grid)
    return Job(grid, Outputs.of(composed.config), composed.config, composed.text, tuple(texts_in(composed.values)))


def read_jobs(overrides: Sequence[str], conf: Path | None) -> list[Job[SweepConfig]]:
    """The jobs of one or several sweeps (`sweep=h50,h100`), each composed with the other overrides.

    Raises UserError as `read_job` does, and when the sweeps differ in a key of `SHARED`.
    """
    named = several("sweep", overrides, SweepConfig, conf)
    if named is None:
        return [read_job(SweepConfig, overrides, conf)]
    position, names = named
    before, after = overrides[:position], overrides[position + 1 :]
    jobs = [read_job(SweepConfig, [*before, f"sweep={name}", *after], conf) for name in names]
    titles = [job.grid.name for job in jobs]
    for title in titles:
        require(titles.count(title) == 1, f"name={title} names one sweep, but {len(jobs)} are given: leave it out.")
    for job in jobs:
        for key in SHARED:
            sentence = f"sweeps {titles[0]} and {job.grid.name} differ in {key}: give it on the command line for both."
            require(getattr(job.config, key) == getattr(jobs[0].config, key), sentence)
    return jobs


def check_grid(grid: Grid) -> None:
    """Raise UserError unless every point can be planned here: its model is known, fits, and has the expected digest."""
    require(bool(grid.seeds), f"sweep {grid.name} has no seeds: give seeds=16 for 16 problems, or a list of them.")
    known_card = cache(read_card)
    for entry in grid.entries:
        check_point(entry.point, read_card=known_card)
    # A horizon too short for the task's kind of problem would fail every cell: making one problem of each reports it at once.
    drawn = (entry.point for entry in grid.entries if entry.point.problems is None)
    for task, horizon in dict.fromkeys((point.task, point.horizon) for point in drawn):
        make_task(task.name, **task.as_dict()).problem(grid.seeds[0], horizon)
    check_recorded(grid)


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
        classes=lambda task: classes_of(make_task(task.name, **task.as_dict())),
        judged_in_model=lambda task: isinstance(make_task(task.name, **task.as_dict()), NoSimulator),
        loader_version=lambda model: loader_version(card(model)[0]),
        code=code_of,
        history=lambda model, asked: str(history_of(card(model)[0], asked)),
        trained_on=cache(lambda model, problems: len(trained_episodes(card(model)[0], problems))),
    )


def limits_of(config: RunConfig) -> Limits:
    """Limits of a batch."""
    return Limits(config.max_rows, config.target_seconds, even=config.even_batches)


def make_backend(config: BackendConfig) -> Backend:
    """The backend that a config describes. Raises UserError for settings that do not go together."""
    settings = asdict(config)
    del settings["name"]
    if isinstance(config, InlineConfig):
        return InlineBackend(**settings)
    from orchestrator.workers.ray_backend import RayBackend, RayConfig

    return RayBackend(RayConfig(**settings))


def is_here(config: BackendConfig) -> bool:
    """Whether this machine's processor plans: inline on the CPU, or in a Ray that starts here, unless that finds a GPU."""
    return config.device == "cpu" if isinstance(config, InlineConfig) else config.address is None and not config.gpus_per_worker


def backend_words(config: BackendConfig) -> str:
    """The backend in words: `ray`, or `inline with 2 threads`."""
    return f"inline with {inline_threads(config.threads)} threads" if isinstance(config, InlineConfig) else config.name
