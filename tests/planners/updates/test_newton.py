"""Gauss-Newton steps: exact Jacobians, one step to the goal of a linear world, independent rows."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from planners import GRASP, GraspSettings, ModelProblems, PlanStatus
from planners.search.search_run import Run, begin
from planners.settings import Settings
from planners.updates import newton
from planners.updates.newton import LevenbergMarquardt, final_state_jacobian, goal_quadratic
from tests.support.planning import WORLDS, problems_for, small_mlp, take
from world_models.base import Context, SquaredDistance, WorldModel, rollout
from world_models.errors import UserError
from world_models.models.analytic import LinearQuadratic
from world_models.models.mlp import MLPConfig, ResidualMLP, StateGoalCost

F64 = torch.float64


def some_actions(problems: ModelProblems, size: int, scale: float = 0.3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return scale * torch.randn(problems.batch, problems.steps, size, generator=generator, dtype=F64)


@pytest.mark.parametrize("world", sorted(WORLDS))
@pytest.mark.parametrize("steps", [1, 5])
def test_the_jacobian_is_autograds_through_the_rollout(world: str, steps: int) -> None:
    model = WORLDS[world](F64)
    problems = problems_for(model, batch=2, steps=steps)
    actions = some_actions(problems, model.action_dim)
    states = rollout(model, problems.context, actions)
    ours = final_state_jacobian(model, problems, actions, states)
    for row in range(2):
        context = take(problems, [row]).context

        def last(plan: torch.Tensor, context: Context = context) -> torch.Tensor:
            return rollout(model, context, plan.unsqueeze(0))[0, -1].flatten()

        theirs = torch.autograd.functional.jacobian(last, actions[row])
        torch.testing.assert_close(ours[row], theirs, rtol=1e-10, atol=1e-12)


def test_more_problems_than_a_call_takes_change_nothing() -> None:
    model = small_mlp(F64)
    problems = problems_for(model, batch=5, steps=700)
    actions = some_actions(problems, 2)
    states = rollout(model, problems.context, actions)
    row = slice(4, 5)
    alone = final_state_jacobian(model, problems.rows(row), actions[row], states[row])
    torch.testing.assert_close(final_state_jacobian(model, problems, actions, states)[row], alone, rtol=1e-9, atol=1e-12)


def test_the_goals_quadratic_is_exact_for_a_quadratic_and_convex_for_any() -> None:
    model = small_mlp(F64)
    cost = StateGoalCost(torch.tensor([1.0, 0.0, 2.0, 0.5], dtype=F64))
    problems = replace(problems_for(model), goal_cost=cost)
    states = torch.randn(3, 4, generator=torch.Generator().manual_seed(1), dtype=F64)
    value, gradient, hessian = goal_quadratic(problems, states)
    gap = states - problems.goal
    torch.testing.assert_close(value, cost(states, problems.goal))
    torch.testing.assert_close(gradient, 2 * cost.weights * gap / 4)
    torch.testing.assert_close(hessian, torch.diag(cost.weights / 2).expand(3, 4, 4))

    def saturating(states: torch.Tensor, goals: torch.Tensor) -> torch.Tensor:
        return 1 - torch.exp(-(states - goals).square().sum(1))

    curved = goal_quadratic(replace(problems, goal_cost=saturating), states)[2]
    assert (torch.linalg.eigvalsh(curved) >= -1e-12).all()


def test_the_closed_form_is_what_autograd_gives_bit_for_bit() -> None:
    problems = problems_for(small_mlp(torch.float32), batch=6)
    for cost in (StateGoalCost(torch.tensor([1.0, 0.0, 2.3, 0.7])), SquaredDistance()):
        states = torch.randn(6, 4, generator=torch.Generator().manual_seed(2))
        given = goal_quadratic(replace(problems, goal_cost=cost), states)
        derived = goal_quadratic(replace(problems, goal_cost=lambda states, goals, cost=cost: cost(states, goals)), states)
        assert all(torch.equal(one, other) for one, other in zip(given, derived, strict=True))


def linear_run(batch: int = 4) -> Run:
    """A linear world whose goals plans within the bounds reach."""
    model = LinearQuadratic.random(2, dtype=F64)
    generator = torch.Generator().manual_seed(1)
    context = Context.at(model, torch.randn(batch, 4, generator=generator, dtype=F64))
    known = torch.rand(batch, 12, 2, generator=generator, dtype=F64) - 0.5
    bound = torch.full((2,), 5.0, dtype=F64)
    problems = ModelProblems(context, rollout(model, context, known)[:, -1], 12, -bound, bound, SquaredDistance())
    return begin(model, problems, range(batch))


def test_one_step_without_damping_is_the_least_norm_plan_of_a_linear_world() -> None:
    run = linear_run()
    model = run.model
    assert isinstance(model, LinearQuadratic)
    newton, actions = LevenbergMarquardt(run, 1e-12), run.start.actions.clone()
    run_refiner(newton, actions, 1)
    assert (run.best_cost < 1e-12).all()
    least = model.least_norm(run.problems.context.last, run.problems.goal, 12)
    torch.testing.assert_close(actions, least, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("world", ["mlp", "pendulums", "patches"])
def test_cost_never_rises_and_bounds_hold(world: str) -> None:
    model = WORLDS[world](F64)
    problems = problems_for(model, bound=0.2)
    run = begin(model, problems, [1, 2, 3])
    newton, actions = LevenbergMarquardt(run, 0.01), run.start.actions.clone()
    costs = []
    for _ in range(13):
        newton.step(actions)
        costs.append(problems.goal_cost(rollout(model, problems.context, actions)[:, -1], problems.goal))
        assert (actions >= problems.low).all()
        assert (actions <= problems.high).all()
    assert (torch.stack(costs).diff(dim=0) <= 0).all()
    assert (costs[-1] < run.trace[0]).all()
    torch.testing.assert_close(run.best_cost, costs[-1])


def run_refiner(newton: LevenbergMarquardt, actions: torch.Tensor, steps: int) -> None:
    """The given number of steps, and a last one that only evaluates."""
    for _ in range(steps + newton.extra_steps):
        newton.step(actions)


def test_rows_that_begin_and_wait_at_different_times_go_as_they_go_alone() -> None:
    run, damping = linear_run(), [0.5, 0.1, 2.0, 0.3]
    together, actions = LevenbergMarquardt(run, torch.tensor(damping)), run.start.actions.clone()
    for rows in ([0, 2], [0, 2], [2, 3], [2, 3], [0], [1, 3], [2]):
        together.step(actions, torch.tensor(rows))
    together.begin(torch.tensor([3]))
    for rows in ([3, 1], [3, 2], None):
        together.step(actions, None if rows is None else torch.tensor(rows))
    for row, (before, after) in enumerate([(4, 0), (3, 0), (7, 0), (3, 3)]):
        alone = begin(run.model, take(run.problems, [row]), [row])
        newton, own = LevenbergMarquardt(alone, damping[row]), alone.start.actions.clone()
        for stretch in (before, after):
            newton.begin()
            for _ in range(stretch):
                newton.step(own)
        torch.testing.assert_close(actions[row], own[0], rtol=1e-9, atol=1e-12)
        assert run.evaluations[row] == alone.evaluations[0]


def test_a_refused_step_keeps_the_linearisation_and_plans_stay_the_same_bit_for_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_mlp(torch.float32)
    problems = problems_for(model, batch=6, steps=8)
    asked: list[int] = []

    def counted(model: WorldModel, problems: ModelProblems, actions: Tensor, states: Tensor) -> Tensor:
        asked.append(len(actions))
        # Row by row, since the number of rows in a product may change its last bits.
        each = [
            final_state_jacobian(model, take(problems, [i]), actions[i : i + 1], states[i : i + 1]) for i in range(len(actions))
        ]
        return torch.cat(each)

    monkeypatch.setattr(newton, "final_state_jacobian", counted)
    planner = GRASP(GraspSettings(iterations=20, sync="newton", sync_every=10, sync_steps=12, final_sync_steps=6))
    kept = planner.plan(model, problems, range(6))
    with_keeping, asked[:] = sum(asked), []
    step = LevenbergMarquardt.step

    def forgetful(self: LevenbergMarquardt, actions: Tensor, rows: Tensor | None = None) -> None:
        self._linear[:] = False  # pyright: ignore[reportPrivateUsage]
        step(self, actions, rows)

    monkeypatch.setattr(LevenbergMarquardt, "step", forgetful)
    anew = planner.plan(model, problems, range(6))
    assert torch.equal(kept.actions, anew.actions)
    assert torch.equal(kept.evaluations, anew.evaluations)
    assert 0 < with_keeping < 0.9 * sum(asked)


def test_a_broken_row_leaves_its_neighbours_bit_for_bit() -> None:
    model = small_mlp(torch.float32)
    sound = problems_for(model)
    broken = sound.context.states.clone()
    broken[1] = torch.nan
    planner = GRASP(GraspSettings(iterations=10, sync="newton", sync_every=5, sync_steps=2, final_sync_steps=2))
    before = planner.plan(model, sound, [1, 2, 3])
    after = planner.plan(model, replace(sound, context=Context(broken, sound.context.actions)), [1, 2, 3])
    assert after.status == (PlanStatus.COMPLETED, PlanStatus.NON_FINITE, PlanStatus.COMPLETED)
    for row in (0, 2):
        assert torch.equal(before.actions[row], after.actions[row])


def test_mixed_settings_equal_separate_runs() -> None:
    model = small_mlp(F64)
    problems = problems_for(model, batch=3)
    own = [
        GraspSettings(
            iterations=20, sync="newton", sync_every=4 + i, sync_steps=1 + i, final_sync_steps=i, sync_damping=0.1 * (i + 1)
        )
        for i in range(3)
    ]
    together = GRASP(Settings.stack(own)).plan(model, problems, [1, 2, 3])
    for row in range(3):
        alone = GRASP(own[row]).plan(model, take(problems, [row]), [row + 1])
        torch.testing.assert_close(together.actions[row], alone.actions[0], rtol=1e-5, atol=1e-5)
        assert together.evaluations[row] == alone.evaluations[0]


def test_large_states_are_refused_before_anything_is_planned() -> None:
    model = ResidualMLP(MLPConfig(observation_dim=65, action_dim=2, width=8)).requires_grad_(False)
    planner = GRASP(GraspSettings(iterations=10, sync="newton", sync_every=5))
    with pytest.raises(UserError, match="at most 64 numbers, and this model's have 65"):
        planner.plan(model, problems_for(model), [1, 2, 3])


@pytest.mark.parametrize(("features", "taken"), [(4, "newton"), (65, "gd")])
def test_auto_takes_gauss_newton_steps_where_states_are_small_and_gradient_steps_elsewhere(features: int, taken: str) -> None:
    torch.manual_seed(0)
    model = ResidualMLP(MLPConfig(features, 2, width=8, depth=2)).double().requires_grad_(False)
    problems = problems_for(model)
    settings = GraspSettings(iterations=6, sync_every=3, sync_steps=2, final_sync_steps=2)
    automatic, named = (GRASP(replace(settings, sync=sync)).plan(model, problems, [1, 2, 3]) for sync in ("auto", taken))
    assert torch.equal(automatic.actions, named.actions)
    assert torch.equal(automatic.evaluations, named.evaluations)
