"""Optuna's samplers by name, which suggest a study's settings."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, NSGAIIISampler, NSGAIISampler, RandomSampler, TPESampler

from orchestrator.tuning.search_space import Space
from world_models.errors import UserError, require
from world_models.plugins import PLUGINS, Kind


@dataclass(frozen=True)
class Sampling:
    """How a study suggests settings."""

    sampler: str = "tpe"
    seed: int = 0
    startup: int = 10
    """Random trials before the sampler trusts its model of the objective."""


SAMPLERS = ("tpe", "random", "cmaes", "gp", "nsga2", "nsga3")


def make_sampler(sampling: Sampling, space: Space, objectives: int, salt: str) -> BaseSampler:
    """A new sampler, not shared between studies or between the drivers of one study.

    Raises UserError for a plug-in that is not a sampler, and for one that does not take several objectives.
    """
    seed = int.from_bytes(hashlib.blake2b(f"{sampling.seed}/{salt}".encode(), digest_size=4).digest(), "little")
    if sampling.sampler in ("cmaes",):
        require(objectives == 1, f"sampler {sampling.sampler} takes one objective, not {objectives}: choose tpe or nsga2.")
    makers: Mapping[str, Callable[[], BaseSampler]] = {
        "tpe": lambda: TPESampler(seed=seed, n_startup_trials=sampling.startup, group=space.conditional),
        "random": lambda: RandomSampler(seed=seed),
        "cmaes": lambda: CmaEsSampler(seed=seed, n_startup_trials=sampling.startup, warn_independent_sampling=False),
        "gp": lambda: GPSampler(seed=seed, n_startup_trials=sampling.startup, deterministic_objective=False),
        "nsga2": lambda: NSGAIISampler(seed=seed, population_size=max(4, sampling.startup)),
        "nsga3": lambda: NSGAIIISampler(seed=seed, population_size=max(4, sampling.startup)),
    }
    with calm():
        return makers[sampling.sampler]() if sampling.sampler in makers else _plugin_sampler(sampling.sampler, seed)


def _plugin_sampler(name: str, seed: int) -> BaseSampler:
    """A sampler of a user's own: a class or function that is called with a seed. Raises UserError for anything else."""
    plugin = PLUGINS.demand(Kind.SAMPLER, name, SAMPLERS)
    try:
        made = plugin.value(seed)
    except TypeError as error:
        raise UserError(
            f"sampler {name!r} of {plugin.home} cannot be made ({error}): let it take one argument, a seed."
        ) from error
    require(
        isinstance(made, BaseSampler),
        f"sampler {name!r} of {plugin.home} is {type(made).__name__}, not one of optuna.samplers.BaseSampler.",
    )
    return made


@contextmanager
def calm() -> Iterator[None]:
    """Silence Optuna's warnings about experimental features: they have been so for years, and our tests cover them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield
