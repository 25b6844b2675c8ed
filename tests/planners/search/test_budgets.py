"""Runs end in time: budgets of model steps and of seconds, goals that are reached early, and lack of memory."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from planners import PLANNERS, PlannerMemoryError, PlanStatus, make_planner
from planners.settings import Scalar
from tests.support.planning import SETTINGS, WORLDS, Counting, plan, problems_for
from world_models.models.analytic import LinearQuadratic

F64 = torch.float64
STEPS = 6
every_planner = pytest.mark.parametrize("name", sorted(PLANNERS))


def iteration_costs(name: str, **settings: Scalar) -> list[int]:
    """Model steps of one row's iterations, counted on the model."""
    counting = Counting(WORLDS["pendulums"](F64))
    ends: list[int] = []
    planner = make_planner(name, {**SETTINGS[name], **settings})
    planner.plan(counting, problems_for(counting, batch=1), [1], lambda done, total: ends.append(counting.count))
    return torch.tensor([STEPS, *ends]).diff().tolist()


@every_planner
@pytest.mark.parametrize("share", [0.2, 0.6])
def test_model_steps_exceed_the_budget_by_less_than_an_iteration_and_the_last_check(name: str, share: float) -> None:
    model = WORLDS["pendulums"](F64)
    problems, costs = problems_for(model), iteration_costs(name)
    full = plan(name, model, problems, [1, 2, 3])
    budget = int(share * full.evaluations[0])
    done = plan(name, model, problems, [1, 2, 3], max_evaluations=budget)
    assert done.status == (PlanStatus.OUT_OF_BUDGET,) * 3
    assert (done.evaluations >= budget).all()
    assert (done.evaluations < budget + max(costs) + 2 * STEPS).all()
    checks = done.trace.shape[1] - 1
    torch.testing.assert_close(done.trace[:, :checks], full.trace[:, :checks], rtol=0, atol=0)


def test_equal_budgets_are_equal_for_all_planners() -> None:
    """With a budget of many iterations, all planners spend the same up to one iteration."""
    model = WORLDS["linear_quadratic"](torch.float32)
    problems = problems_for(model)
    spent = {}
    for name in PLANNERS:
        few = {"samples": 8} if "samples" in SETTINGS[name] else {}
        few |= {"final_sync_steps": 0} if name == "grasp" else {}
        done = plan(name, model, problems, [1, 2, 3], iterations=400, max_evaluations=1000, **few)
        assert done.status == (PlanStatus.OUT_OF_BUDGET,) * 3
        spent[name] = done.evaluations[0].item()
    assert min(spent.values()) >= 1000
    assert max(spent.values()) < 1000 * 1.08


@every_planner
def test_the_budget_counts_restarts_and_attempts(name: str) -> None:
    model = WORLDS["pendulums"](F64)
    problems, most = problems_for(model), max(iteration_costs(name))
    one = plan(name, model, problems, [1, 2, 3]).evaluations[0].item()
    budget = 5 * one
    done = plan(name, model, problems, [1, 2, 3], restarts=2, attempts=10, max_evaluations=budget)
    assert (done.evaluations >= budget).all()
    assert (done.evaluations < budget + 2 * (most + 2 * STEPS) + STEPS).all()
    assert (done.cost <= plan(name, model, problems, [1, 2, 3]).cost + 1e-12).all()


@every_planner
def test_a_budget_that_is_spent_at_once_leaves_the_start(name: str) -> None:
    model = WORLDS["pendulums"](F64)
    problems = problems_for(model)
    done = plan(name, model, problems, [1, 2, 3], max_evaluations=1)
    assert done.status == (PlanStatus.OUT_OF_BUDGET,) * 3
    if name not in ("gd", "gd_dino"):  # whose initial noise is on the actions
        assert torch.equal(done.actions, torch.zeros_like(done.actions))
    assert torch.isfinite(done.cost).all()


@dataclass
class FakeClock:
    """A clock that advances by `tick` seconds whenever it is read."""

    tick: float
    now: float = 100.0

    def perf_counter(self) -> float:
        self.now += self.tick
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeClock]:
    fake = FakeClock(1.0)
    for module in ("planners.search.loop", "planners.search.search_planner"):
        monkeypatch.setattr(f"{module}.time", SimpleNamespace(perf_counter=fake.perf_counter))
    return fake


@every_planner
def test_seconds_are_counted_by_problem(name: str, clock: FakeClock) -> None:
    model = WORLDS["linear_quadratic"](F64)
    for batch in (1, 3):
        seen: list[int] = []
        planner = make_planner(name, {**SETTINGS[name], "max_seconds": 2.5})
        problems = problems_for(model, batch=batch)
        done = planner.plan(model, problems, range(batch), lambda i, n, seen=seen: seen.append(i))
        assert done.status == (PlanStatus.OUT_OF_BUDGET,) * batch
        # The clock is read once before each iteration: after int(2.5 * batch) readings there is time left.
        assert seen == [*range(1, int(2.5 * batch) + 1), 12]


def test_no_further_attempt_begins_too_late(clock: FakeClock) -> None:
    model = WORLDS["linear_quadratic"](F64)
    problems = problems_for(model)
    in_time = plan("cem", model, problems, [1, 2, 3], max_seconds=1000.0, attempts=2)
    assert in_time.status == (PlanStatus.COMPLETED,) * 3
    late = plan("cem", model, problems, [1, 2, 3], max_seconds=4.5, attempts=2)
    once = plan("cem", model, problems, [1, 2, 3])
    assert torch.equal(late.evaluations, once.evaluations)
    assert (in_time.evaluations > once.evaluations).all()


@every_planner
def test_rows_that_reach_the_goal_leave_without_effect_on_the_others(name: str) -> None:
    model = Counting(WORLDS["pendulums"](F64))
    problems = problems_for(model, batch=4)
    full = plan(name, model, problems, [1, 2, 3, 4])
    spent = model.count
    # One row starts below its finish cost, one gets there halfway at best, two never do.
    halfway = full.trace[1, full.trace.shape[1] // 2].item()
    model.calls.clear()
    finish = torch.tensor([full.trace[0, 0].item() + 1, halfway, 0.0, 0.0], dtype=F64)
    done = plan(name, model, problems, [1, 2, 3, 4], finish_cost=finish)
    assert done.status[0] == PlanStatus.REACHED
    assert done.status[1] in (PlanStatus.REACHED, PlanStatus.COMPLETED)
    assert done.status[2:] == (PlanStatus.COMPLETED,) * 2
    assert done.evaluations[0] == 3 * STEPS, "first check, last check, the final rollout"
    assert done.cost[1] <= halfway + 1e-12
    torch.testing.assert_close(done.actions[2:], full.actions[2:], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(done.last_cost[2:], full.last_cost[2:], rtol=1e-9, atol=1e-9)
    assert model.count == done.evaluations.sum(), "rows that left cost nothing more"
    assert model.count < 0.8 * spent


@every_planner
def test_all_rows_reached_ends_the_run(name: str) -> None:
    model = Counting(WORLDS["pendulums"](F64))
    problems = problems_for(model)
    seen: list[tuple[int, int]] = []
    planner = make_planner(name, {**SETTINGS[name], "finish_cost": 1e6, "attempts": 3})
    done = planner.plan(model, problems, [1, 2, 3], lambda i, n: seen.append((i, n)))
    assert done.status == (PlanStatus.REACHED,) * 3
    assert model.count == 3 * 3 * STEPS, "a goal that is reached is not tried again"
    assert seen[0][0] * 3 == seen[0][1], "progress jumps to the attempt's end"


@dataclass(frozen=True, eq=False)
class Exhausting(LinearQuadratic):
    """A world that needs more memory than there is."""

    def step(self, states: Float[Tensor, "n 1 state"], actions: Float[Tensor, "n 1 action"]) -> Float[Tensor, "n state"]:
        if len(states) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return super().step(states, actions)


@every_planner
def test_a_model_that_runs_out_of_memory_raises_one_typed_error(name: str) -> None:
    world = LinearQuadratic.random(0)
    model = Exhausting(world.A, world.B)
    with pytest.raises(PlannerMemoryError, match="out of memory on cpu with 4 problems in one batch") as caught:
        plan(name, model, problems_for(model, batch=4), [1, 2, 3, 4])
    assert isinstance(caught.value.__cause__, torch.OutOfMemoryError)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (again.batch, again.device, str(again)) == (4, "cpu", str(caught.value))


@pytest.mark.parametrize("name", ["cem", "icem", "mppi", "random_shooting"])
def test_samples_that_do_not_fit_into_memory_raise_the_same(name: str) -> None:
    model = WORLDS["linear_quadratic"](torch.float32)
    with pytest.raises(PlannerMemoryError, match="with 300 problems"):
        plan(name, model, problems_for(model, batch=300, steps=2000), list(range(300)), samples=10**6)


def test_other_errors_of_a_model_are_left_alone() -> None:
    model = WORLDS["linear_quadratic"](torch.float32)
    problems = replace(problems_for(model), goal=torch.zeros(3, 5))
    with pytest.raises(Exception) as caught:  # noqa: PT011  (beartype's in tests, torch's outside)
        plan("gd", model, problems, [1, 2, 3])
    assert not isinstance(caught.value, PlannerMemoryError)
