"""A sampler of a user's own suggests a study's settings."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from optuna.samplers import QMCSampler, RandomSampler

from orchestrator.tuning.samplers import Sampling, make_sampler
from orchestrator.tuning.search_space import Space
from tests.support.plugins import clean_plugins
from world_models.errors import UnknownNameError, UserError
from world_models.plugins import PLUGINS, Kind

SEEDS: list[int] = []


def own(seed: int) -> RandomSampler:
    SEEDS.append(seed)
    return RandomSampler(seed=seed)


def no_sampler(seed: int) -> int:
    return seed


class Bare(QMCSampler):
    def __init__(self) -> None: ...


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    with clean_plugins():
        yield


def test_it_is_made_with_the_study_s_seed() -> None:
    PLUGINS.register(Kind.SAMPLER, "own", own)
    SEEDS.clear()
    for seed, salt in ((1, "a"), (1, "a"), (2, "a"), (1, "b")):
        assert isinstance(make_sampler(Sampling("own", seed), Space(()), 1, salt), RandomSampler)
    assert SEEDS[0] == SEEDS[1]
    assert len(set(SEEDS)) == 3


def test_what_is_no_sampler_is_refused() -> None:
    PLUGINS.register(Kind.SAMPLER, "odd", no_sampler)
    PLUGINS.register(Kind.SAMPLER, "bare", Bare)
    with pytest.raises(UserError, match=r"is int, not one of optuna.samplers.BaseSampler"):
        make_sampler(Sampling("odd"), Space(()), 1, "a")
    with pytest.raises(UserError, match="let it take one argument, a seed"):
        make_sampler(Sampling("bare"), Space(()), 1, "a")
    with pytest.raises(UnknownNameError, match="unknown sampler 'quasi'"):
        make_sampler(Sampling("quasi"), Space(()), 1, "a")
    with pytest.raises(UserError, match="give --plugin evil:Sampler"):
        make_sampler(Sampling("evil:Sampler"), Space(()), 1, "a")
