"""Promises of every planner on every world, in both precisions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch

from planners import PLANNERS, ModelProblems, OnStep, Plans, Start, full_settings, make_planner
from planners.testing import PLANNER_CHECKS, SHORT, WORLDS, PlannerCase, check_planner, problems_for
from planners.testing.planners import ON_EVERY_WORLD
from world_models.base import WorldModel

every_planner = pytest.mark.parametrize("name", sorted(PLANNERS))
ON_ONE = [check for check in PLANNER_CHECKS if check not in ON_EVERY_WORLD]


@every_planner
@pytest.mark.parametrize("world", sorted(WORLDS))
@pytest.mark.parametrize("check", ON_EVERY_WORLD, ids=lambda check: check.__name__)
def test_every_planner_keeps_its_promises_on_every_world(check: Callable, world: str, name: str) -> None:
    check(PlannerCase.named(name), world)


@every_planner
@pytest.mark.parametrize("check", ON_ONE, ids=lambda check: check.__name__)
def test_every_planner_keeps_its_promises(check: Callable, name: str) -> None:
    check(PlannerCase.named(name), "mlp")


def test_every_registered_planner_has_a_short_run() -> None:
    assert set(SHORT) == set(PLANNERS)


@every_planner
def test_progress_is_reported_for_each_iteration(name: str) -> None:
    seen: list[tuple[int, int]] = []
    model = WORLDS["scalar"](torch.float32)
    PlannerCase.named(name).make({}).plan(model, problems_for(model), [1, 2, 3], lambda i, n: seen.append((i, n)))
    assert seen == [(i + 1, 12) for i in range(12)]


@every_planner
def test_full_settings_are_canonical(name: str) -> None:
    full = full_settings(name)
    assert full == full_settings(name, full)
    key = next(k for k, v in full.items() if isinstance(v, float) and k != "momentum")
    spelled = full_settings(name, {key: 1})
    assert spelled == full_settings(name, {key: 1.0})
    assert type(spelled[key]) is float
    assert type(full_settings(name, {"iterations": 30.0})["iterations"]) is int


class Bold:
    """A planner that plans well, and then acts twice as strongly."""

    def __init__(self) -> None:
        self.gd = make_planner("gd", SHORT["gd"])

    def plan(
        self,
        model: WorldModel,
        problems: ModelProblems,
        seeds: Sequence[int],
        on_step: OnStep | None = None,
        start: Start | None = None,
    ) -> Plans:
        plans = self.gd.plan(model, problems, seeds, on_step, start)
        return replace(plans, actions=20 * plans.actions)


def test_check_planner_takes_names_and_planners_and_says_in_a_sentence_what_is_broken() -> None:
    check_planner("mppi")
    with pytest.raises(AssertionError, match="actions lie below their lower bounds"):
        check_planner(Bold())
