"""GRASP is what the paper says: its reshaped gradient, its update, its noise, its sync; and it reaches goals."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from planners import GRASP, GraspSettings, ModelProblems
from planners.methods.grasp import GraspSearch
from planners.objectives import lifted_gradients
from planners.search.noise import RowNoise
from planners.search.search_run import begin
from tests.support.planning import WORLDS, Wrapped, problems_for, small_mlp
from world_models.base import Context, SquaredDistance, WorldModel, rollout
from world_models.models.analytic import LinearQuadratic
from world_models.models.mlp import StateGoalCost
from world_models.time_windows import windows

F64 = torch.float64


def variables(model: WorldModel, problems: ModelProblems, seed: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Random virtual states and actions, and goal weights that differ by row and time."""
    generator = torch.Generator().manual_seed(seed)
    states = torch.randn(problems.batch, problems.steps - 1, *model.state_shape, generator=generator, dtype=F64)
    actions = torch.randn(problems.batch, problems.steps, model.action_dim, generator=generator, dtype=F64)
    weights = torch.rand(problems.batch, problems.steps, generator=generator, dtype=F64)
    return states, actions, weights


def reference_loss(model: WorldModel, problems: ModelProblems, states: Tensor, actions: Tensor, weights: Tensor) -> Tensor:
    """The reshaped loss written out problem by problem and step by step: state inputs detached, targets not."""
    loss = torch.zeros((), dtype=actions.dtype)
    h = model.history
    for b in range(problems.batch):
        goal = problems.goal[b : b + 1]
        sequence = torch.cat([problems.context.states[b], states[b]])
        taken = torch.cat([problems.context.actions[b], actions[b]])
        for t in range(problems.steps):
            known = problems.context.known + t
            seen = slice(max(0, known - h), known)
            predicted = model.step(sequence[seen].detach()[None], taken[seen][None])
            loss = loss + weights[b, t] * problems.goal_cost(predicted, goal)[0]
            if t + 1 < problems.steps:
                loss = loss + (predicted[0] - states[b, t]).square().mean()
    return loss


def test_action_gradient_is_the_analytic_one_on_a_linear_world() -> None:
    """For F(s, a) = A s + B a: dL/da_t = B' (2/D) ((F_t - s_{t+1}) [t < T-1] + w_t weights (F_t - g))."""
    model = LinearQuadratic.random(3, 5, 2, dtype=F64)
    cost = StateGoalCost(torch.tensor([1.0, 0.0, 2.0, 0.5, 0.0], dtype=F64))
    problems = replace(problems_for(model, batch=3, steps=7), goal_cost=cost)
    states, actions, weights = variables(model, problems)
    state_gradient, action_gradient = lifted_gradients(model, problems, states, actions, weights)
    before = torch.cat([problems.context.states, states], 1)
    predicted = before @ model.A.T + actions @ model.B.T
    residual = predicted[:, :-1] - states
    error = weights[..., None] * cost.weights * (predicted - problems.goal[:, None])
    error[:, :-1] += residual
    torch.testing.assert_close(action_gradient, (2 / 5) * error @ model.B, rtol=0, atol=1e-12)
    torch.testing.assert_close(state_gradient, -(2 / 5) * residual, rtol=0, atol=1e-12)


@pytest.mark.parametrize("world", sorted(WORLDS))
def test_gradients_equal_autograd_of_the_loss_written_out(world: str) -> None:
    model = WORLDS[world](F64)
    problems = problems_for(model, batch=2, steps=5)
    states, actions, weights = variables(model, problems)
    ours = lifted_gradients(model, problems, states, actions, weights)
    leaves = states.clone().requires_grad_(), actions.clone().requires_grad_()
    theirs = torch.autograd.grad(reference_loss(model, problems, *leaves, weights), leaves)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-12)


@dataclass(frozen=True)
class TwistedStates(Wrapped):
    """A world with the same values but another Jacobian with respect to its state input."""

    factor: float = 1.0

    def step(self, states: Float[Tensor, "n h *state"], actions: Float[Tensor, "n h action"]) -> Float[Tensor, "n *state"]:
        return self.world.step(states, actions) + (self.factor * (states - states.detach())).sum(1)


@pytest.mark.parametrize("world", ["mlp", "pendulums", "linear_quadratic"])
def test_the_state_inputs_jacobian_changes_nothing(world: str) -> None:
    model = WORLDS[world](F64)
    twisted = TwistedStates(model, factor=100.0)
    problems = problems_for(model)
    probe = torch.zeros(1, model.history, *model.state_shape, dtype=F64, requires_grad=True)
    null = torch.zeros(1, model.history, model.action_dim, dtype=F64)
    jacobians = [torch.autograd.grad(m.step(probe, null).sum(), probe)[0] for m in (model, twisted)]
    assert (jacobians[1] - jacobians[0]).abs().min() > 99, "the twist is real"
    settings = GraspSettings(iterations=15, sync_every=0)
    plain, other = (GRASP(settings).plan(m, problems, [1, 2, 3]) for m in (model, twisted))
    assert torch.equal(plain.actions, other.actions)
    assert torch.equal(plain.last_cost, other.last_cost)
    search = [GraspSearch(settings, begin(m, problems, [1, 2, 3])) for m in (model, twisted)]
    for iteration in range(5):
        for s in search:
            s.step(iteration)
    assert torch.equal(search[0].states, search[1].states)
    assert torch.equal(search[0].actions, search[1].actions)


def test_one_adam_step_is_the_formula() -> None:
    model = small_mlp(F64)
    problems = problems_for(model)
    settings = GraspSettings(noise=0.3, sync_every=0, init_noise=0.2)
    search = GraspSearch(settings, begin(model, problems, [1, 2, 3]))
    states, actions = search.states.clone(), search.actions.clone()
    weights = torch.full((3, 6), 0.02, dtype=F64)
    weights[:, -1] += 1
    gradients = lifted_gradients(model, problems, states, actions, weights)
    search.step(0)
    noise = RowNoise([1, 2, 3], "states", states.shape[1:], states).at(0)

    def adam(variable: Tensor, gradient: Tensor, lr: float) -> Tensor:
        first, second = 0.1 * gradient / (1 - 0.9), 0.001 * gradient**2 / (1 - 0.999)
        return variable - lr * first / (second.sqrt() + 1e-8)

    moved = adam(actions, gradients[1], 0.01).clamp(problems.low, problems.high)
    torch.testing.assert_close(search.actions, moved, rtol=0, atol=1e-12)
    torch.testing.assert_close(search.states, adam(states, gradients[0], 0.1) + 0.3 * noise, rtol=0, atol=1e-12)


@pytest.mark.parametrize("world", ["mlp", "pendulums"])
@pytest.mark.parametrize("optimizer", ["adam", "gd"])
def test_iterates_equal_the_method_coded_plainly(world: str, optimizer: str) -> None:
    """Twenty iterations with torch.optim on the loss written out, a sync in the middle: the same iterates."""
    model = WORLDS[world](F64)
    problems = problems_for(model, batch=2, steps=5)
    settings = GraspSettings(noise=0.1, sync_every=8, sync_steps=3, optimizer=optimizer, goal_weight=0.3)
    search = GraspSearch(settings, begin(model, problems, [4, 5]))
    states = search.states.clone().requires_grad_()
    actions = search.actions.clone().requires_grad_()
    weights = torch.full((2, 5), 0.3, dtype=F64)
    weights[:, -1] += 1
    noise = RowNoise([4, 5], "states", states.shape[1:], states.detach())
    kind = torch.optim.Adam if optimizer == "adam" else torch.optim.SGD

    def fresh() -> torch.optim.Optimizer:
        return kind([{"params": [states], "lr": 0.1}, {"params": [actions], "lr": 0.01}])

    optimiser = fresh()
    for iteration in range(20):
        search.step(iteration)
        optimiser.zero_grad()
        reference_loss(model, problems, states, actions, weights).backward()
        optimiser.step()
        with torch.no_grad():
            actions.clamp_(problems.low, problems.high)
            states.add_(0.1 * noise.at(iteration))
        if (iteration + 1) % 8 == 0:
            sync = torch.optim.Adam([actions], lr=0.05)
            for _ in range(3):
                sync.zero_grad()
                problems.goal_cost(rollout(model, problems.context, actions)[:, -1], problems.goal).sum().backward()
                sync.step()
                with torch.no_grad():
                    actions.clamp_(problems.low, problems.high)
            optimiser = fresh()
    torch.testing.assert_close(search.actions, actions.detach(), rtol=0, atol=1e-9)
    torch.testing.assert_close(search.states, states.detach(), rtol=0, atol=1e-9)


def test_the_last_step_counts_twice_only_if_set() -> None:
    """With T = 1 the loss is (1 + goal_weight) or 1 times the goal cost; plain gradient descent shows the factor."""
    model = LinearQuadratic.random(0, dtype=F64)
    problems = problems_for(model, steps=1, bound=10.0)
    moves = []
    for double in (True, False):
        settings = GraspSettings(optimizer="gd", lr_actions=0.1, goal_weight=0.5, double_last=double, sync_every=0)
        search = GraspSearch(settings, begin(model, problems, [1, 2, 3]))
        search.step(0)
        moves.append(search.actions)
    torch.testing.assert_close(moves[0], 1.5 * moves[1])


def test_noise_schedules() -> None:
    constant = GraspSettings(noise=0.2, iterations=100, sync_every=10)
    linear, cosine = (replace(constant, noise_schedule=name) for name in ("linear", "cosine"))
    assert {constant.noise_at(i) for i in range(100)} == {0.2}
    assert [linear.noise_at(i) for i in (0, 5, 10, 15)] == pytest.approx([0.2, 0.1, 0.2, 0.1])
    assert linear.noise_at(9) == pytest.approx(0.02)
    assert [cosine.noise_at(i) for i in (0, 50, 100)] == pytest.approx([0.2, 0.1, 0.0])
    unsynced = replace(linear, sync_every=0)
    assert unsynced.noise_at(50) == pytest.approx(0.1)


def test_noise_moves_states_and_never_actions() -> None:
    model = small_mlp(F64)
    problems = problems_for(model)
    quiet, loud = (GraspSearch(GraspSettings(noise=s), begin(model, problems, [1, 2, 3])) for s in (0.0, 0.5))
    quiet.step(0)
    loud.step(0)
    assert torch.equal(quiet.actions, loud.actions)
    assert (quiet.states - loud.states).std() == pytest.approx(0.5, rel=0.2)


def test_states_are_put_on_the_rollout_after_a_sync() -> None:
    model = small_mlp(F64)
    problems = problems_for(model)
    settings = GraspSettings(sync_every=1, sync_steps=2, reset_states_after_sync=True)
    search = GraspSearch(settings, begin(model, problems, [1, 2, 3]))
    search.step(0)
    torch.testing.assert_close(search.states, rollout(model, problems.context, search.actions)[:, :-1])


def test_initial_states_lie_on_the_straight_line() -> None:
    model = small_mlp(F64)
    problems = problems_for(model)
    states = GraspSearch(GraspSettings(), begin(model, problems, [1, 2, 3])).states
    path = torch.cat([problems.context.last[:, None], states, problems.goal[:, None]], 1)
    steps = path.diff(dim=1)
    torch.testing.assert_close(steps, ((problems.goal - problems.context.last) / 6)[:, None].expand_as(steps))


def reachable(seed: int) -> tuple[WorldModel, ModelProblems]:
    """A linear world and goals that actions within the bounds reach."""
    model = LinearQuadratic.random(seed, dtype=F64)
    generator = torch.Generator().manual_seed(1)
    context = Context.at(model, torch.randn(4, 4, generator=generator, dtype=F64))
    known = torch.rand(4, 12, 2, generator=generator, dtype=F64) * 1.6 - 0.8
    bound = torch.ones(2, dtype=F64)
    return model, ModelProblems(context, rollout(model, context, known)[:, -1], 12, -bound, bound, SquaredDistance())


@pytest.mark.parametrize("seed", range(3))
def test_reaches_the_goal_of_a_linear_world(seed: int) -> None:
    model, problems = reachable(seed)
    settings = GraspSettings(iterations=100, sync_every=50, sync_steps=300, noise_schedule="linear")
    done = GRASP(settings).plan(model, problems, range(4))
    assert (done.states[:, -1] - problems.goal).abs().max() < 1e-3


@pytest.mark.parametrize("seed", range(3))
def test_lifted_phase_alone_nears_the_goal(seed: int) -> None:
    model, problems = reachable(seed)
    done = GRASP(GraspSettings(sync_every=0, noise=0.01)).plan(model, problems, range(4))
    assert done.cost.mean() < 0.65 * done.trace[:, 0].mean()


def test_windows_hold_the_context_and_the_virtual_states() -> None:
    """A history of 2: the first window holds the two known states, each later one its virtual neighbours."""
    sequence = torch.arange(5.0)[None, :, None]
    assert windows(sequence, 2)[0, :, :, 0].tolist() == [[0, 1], [1, 2], [2, 3], [3, 4]]


def test_blocks_of_problems_change_nothing() -> None:
    """More problems than one model call takes: the same gradients as one by one."""
    model = small_mlp(F64)
    problems = problems_for(model, batch=9, steps=500)
    states, actions, weights = variables(model, problems)
    together = lifted_gradients(model, problems, states, actions, weights)
    row = slice(8, 9)
    alone = lifted_gradients(model, problems.rows(row), states[row], actions[row], weights[row])
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one[row], other, rtol=0, atol=1e-12)


def test_a_final_sync_descends_from_the_best_plan() -> None:
    """Its plans are what Adam on the rolled-out cost makes of the best plan of the run without it, and never worse."""
    model = small_mlp(F64)
    problems = problems_for(model)
    settings = GraspSettings(iterations=20, sync_every=8, sync_steps=3)
    without = GRASP(settings).plan(model, problems, [1, 2, 3])
    polished = GRASP(replace(settings, final_sync_steps=25, final_sync_lr=0.02)).plan(model, problems, [1, 2, 3])
    actions = without.actions.clone()
    leaf = torch.nn.Parameter(actions)
    optimizer = torch.optim.Adam([leaf], lr=0.02)
    best = without.cost
    for _ in range(25):
        optimizer.zero_grad()
        cost = problems.goal_cost(rollout(model, problems.context, leaf)[:, -1], problems.goal)
        best = torch.minimum(best, cost.detach())
        cost.sum().backward()
        optimizer.step()
        leaf.data.clamp_(problems.low, problems.high)
    last = problems.goal_cost(rollout(model, problems.context, leaf.detach())[:, -1], problems.goal)
    torch.testing.assert_close(polished.cost, torch.minimum(best, last), rtol=1e-6, atol=1e-9)
    assert (polished.cost < without.cost).any()
