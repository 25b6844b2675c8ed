"""Analytic worlds: their steps are differentiable and equal the formula, and their optima are optimal."""

import pytest
import torch

from world_models.base import Context, SquaredDistance, WorldModel, lifted_step, rollout
from world_models.errors import UserError
from world_models.models.analytic import DoubleIntegrator, EffortCost, LinearQuadratic, Pendulums, WithEffort, reachability

WORLDS = {
    "linear": lambda: LinearQuadratic.random(0, 5, 2, dtype=torch.float64),
    "double": lambda: DoubleIntegrator.make(2, 0.1, dtype=torch.float64),
    "effort": lambda: WithEffort(LinearQuadratic.random(1, 3, 2, dtype=torch.float64), 0.1),
    "pendulums": lambda: Pendulums(3, dtype=torch.float64),
}


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def context(world: WorldModel, batch: int = 4) -> Context:
    h = world.history
    return Context(normal(1, batch, h, *world.state_shape), normal(2, batch, h - 1, world.action_dim))


@pytest.fixture(params=WORLDS)
def world(request: pytest.FixtureRequest) -> WorldModel:
    return WORLDS[request.param]()


def test_is_a_world_model(world: WorldModel) -> None:
    assert isinstance(world, WorldModel)
    assert world.device == torch.device("cpu")
    assert world.dtype == torch.float64


def test_gradients_of_step(world: WorldModel) -> None:
    states = normal(3, 4, world.history, *world.state_shape).requires_grad_()
    actions = normal(4, 4, world.history, world.action_dim).requires_grad_()
    assert torch.autograd.gradcheck(world.step, (states, actions))


def test_lifted_step_through_the_rollout_is_the_rollout(world: WorldModel) -> None:
    start, actions = context(world), normal(5, 4, 7, world.action_dim)
    states = rollout(world, start, actions)
    assert torch.allclose(lifted_step(world, start, states[:, :-1], actions), states, rtol=1e-12, atol=1e-12)


def test_lifted_step_sees_only_its_window(world: WorldModel) -> None:
    start, actions = context(world), normal(5, 4, 7, world.action_dim)
    states = rollout(world, start, actions)[:, :-1]
    other = states.clone()
    other[:, 3] += 1.0  # s_4: what follows s_4 .. s_{3+h} changes, nothing else does
    changed = (lifted_step(world, start, other, actions) != lifted_step(world, start, states, actions)).flatten(2).any(2).any(0)
    assert changed.nonzero().flatten().tolist() == [4 + i for i in range(world.history)]


def test_the_history_of_pendulums_matters() -> None:
    world = Pendulums(2, dtype=torch.float64)
    start = context(world)
    actions = normal(6, 4, 3, 2)
    standing = Context.at(world, start.last)
    assert (rollout(world, start, actions) - rollout(world, standing, actions)).abs().min() > 1e-3


def test_a_pendulum_at_rest_stays_and_swings_with_its_period() -> None:
    world = Pendulums(1, dt=0.01, damping=1.0, dtype=torch.float64)
    rest = Context.at(world, torch.zeros(1, 1, dtype=torch.float64))
    assert rollout(world, rest, torch.zeros(1, 50, 1, dtype=torch.float64)).abs().max() == 0.0
    held = Context.at(world, torch.full((1, 1), 0.05, dtype=torch.float64))
    swing = rollout(world, held, torch.zeros(1, 628, 1, dtype=torch.float64))[0, :, 0]
    assert swing[313].item() == pytest.approx(-0.05, rel=1e-3)  # half of 2 pi s
    assert swing[627].item() == pytest.approx(0.05, rel=1e-3)


def test_rollout_is_the_matrix_formula() -> None:
    world = LinearQuadratic.random(7, 5, 2, dtype=torch.float64)
    start, actions, steps = normal(8, 3, 5), normal(9, 3, 6, 2), 6
    expected = (
        start @ torch.linalg.matrix_power(world.A, steps).T + actions.flatten(1) @ reachability(world.A, world.B, steps).T
    )
    assert torch.allclose(rollout(world, Context.at(world, start), actions)[:, -1], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("state_dim", "action_dim"), [(1, 1), (4, 2), (6, 1), (3, 5)])
def test_random_worlds_are_stable_and_controllable(seed: int, state_dim: int, action_dim: int) -> None:
    world = LinearQuadratic.random(seed, state_dim, action_dim, dtype=torch.float64)
    assert torch.linalg.eigvals(world.A).abs().max().item() == pytest.approx(0.95)
    assert torch.linalg.matrix_rank(reachability(world.A, world.B, state_dim)) == state_dim
    again = LinearQuadratic.random(seed, state_dim, action_dim, dtype=torch.float64)
    assert torch.equal(world.A, again.A)
    assert torch.equal(world.B, again.B)


@pytest.mark.parametrize("effort", [0.0, 1e-3, 0.5])
@pytest.mark.parametrize("steps", [1, 2, 8])
def test_riccati_equals_least_squares(effort: float, steps: int) -> None:
    world = LinearQuadratic.random(10, 5, 2, dtype=torch.float64)
    start, goal = normal(11, 4, 5), normal(12, 4, 5)
    cost, actions = world.optimal(start, goal, steps, effort)
    final = rollout(world, Context.at(world, start), actions)[:, -1]
    spent = effort * actions.square().sum((1, 2))
    assert torch.allclose(SquaredDistance()(final, goal) + spent, cost, atol=1e-9)

    reach = reachability(world.A, world.B, steps) / 5**0.5
    missing = (goal - start @ torch.linalg.matrix_power(world.A, steps).T) / 5**0.5
    stacked = torch.cat([reach, effort**0.5 * torch.eye(2 * steps, dtype=torch.float64)])
    wanted = torch.cat([missing, torch.zeros(4, 2 * steps, dtype=torch.float64)], 1)
    best = torch.linalg.lstsq(stacked, wanted.T, driver="gelsd").solution.T
    assert torch.allclose((best @ stacked.T - wanted).square().sum(1), cost, atol=1e-9)
    reachable = effort == 0.0 and steps * 2 >= 5
    assert (cost < 1e-9).all() if reachable else (cost > 1e-4).all()


def test_with_effort_the_final_state_carries_riccatis_cost() -> None:
    world = LinearQuadratic.random(13, 4, 2, dtype=torch.float64)
    start, goal = normal(14, 3, 4), normal(15, 3, 4)
    cost, actions = world.optimal(start, goal, 6, 0.05)
    priced = WithEffort(world, 0.05)
    final = rollout(priced, Context.at(priced, priced.encode(start)), actions)[:, -1]
    assert torch.allclose(EffortCost()(final, priced.encode(goal)), cost, atol=1e-10)


def test_least_norm_reaches_the_goal_with_less_than_riccati_without_effort() -> None:
    world = DoubleIntegrator.make(2, 0.1, dtype=torch.float64)
    start, goal = normal(16, 3, 4), normal(17, 3, 4)
    least = world.least_norm(start, goal, 20)
    assert torch.allclose(rollout(world, Context.at(world, start), least)[:, -1], goal, atol=1e-9)
    other = world.optimal(start, goal, 20, 0.0)[1]
    assert torch.allclose(rollout(world, Context.at(world, start), other)[:, -1], goal, atol=1e-6)
    assert (least.square().sum((1, 2)) <= other.square().sum((1, 2)) + 1e-9).all()
    # Any other plan with the same end differs by something orthogonal to the least one.
    assert ((other - least) * least).sum((1, 2)).abs().max() < 1e-4


@pytest.mark.parametrize("steps", [1, 2, 5, 10, 11])
def test_bang_bang_is_the_fastest_way(steps: int) -> None:
    world = DoubleIntegrator.make(3, 0.2, dtype=torch.float64)
    rest = torch.zeros(1, 6, dtype=torch.float64)
    final = rollout(world, Context.at(world, rest), world.bang_bang(steps)[None])[0, -1]
    assert torch.allclose(final[:3], torch.full((3,), world.reach(steps), dtype=torch.float64), atol=1e-12)
    assert torch.allclose(final[3:], torch.zeros(3, dtype=torch.float64), atol=1e-12)
    if steps > 1:
        assert world.fastest(world.reach(steps)) == steps
        assert world.fastest(world.reach(steps) + 1e-6) == steps + 1
        goal = torch.cat([final[:3], rest[0, 3:]])[None]
        one_less = world.least_norm(rest, goal, steps - 1)
        assert one_less.abs().max() > 1.0 or steps == 2


def test_nonsense_is_refused() -> None:
    with pytest.raises(UserError, match="sizes 0 and 2"):
        LinearQuadratic.random(0, 0, 2)
    with pytest.raises(UserError, match="not positive"):
        LinearQuadratic.random(0, 2, 2, radius=0.0)
    with pytest.raises(UserError, match="at least 1"):
        DoubleIntegrator.make(0)
    with pytest.raises(UserError, match="time step -1"):
        DoubleIntegrator.make(2, -1.0)
