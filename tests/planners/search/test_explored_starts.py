"""The tree of model rollouts: finds ways where straight lines fail, depends on its row only, and its branches are rollouts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from planners.base import ModelProblems
from planners.search.explored_starts import Branches, ExploreSettings, explore
from tests.support.planning import WORLDS, Counting, Patches, problems_for, take
from world_models.base import Context, SquaredDistance, WorldModel, rollout
from world_models.errors import UserError
from world_models.models.analytic import DoubleIntegrator, Pendulums

SMALL = ExploreSettings(rounds=6, nodes=8, hold=2, keep=0.5, candidates=4)
MEDIUM = ExploreSettings(rounds=30, nodes=32, spread=2.0, keep=0.5)
EXACT: dict[torch.dtype, float] = {torch.float32: 1e-5, torch.float64: 1e-12}


@dataclass(frozen=True)
class Pocket:
    """A point in the plane that stops at walls 0.2 thick: a pocket of 1 x 0.8 about (0.5, 0) that is open to the left.

    Straight on from (0.5, 0) to (1.5, 0) is blocked; the way leads back out of the pocket and round it.
    """

    dtype: torch.dtype = torch.float64
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    state_shape: tuple[int, ...] = (2,)
    action_dim: int = 2
    history: int = 1

    def encode(self, observation: Tensor) -> Tensor:
        return observation

    def step(self, states: Float[Tensor, "n 1 2"], actions: Float[Tensor, "n 1 2"]) -> Float[Tensor, "n 2"]:
        """A tenth of the action, unless that ends inside a wall."""
        to = states[:, 0] + 0.1 * actions[:, 0]
        x, height = to[:, 0], to[:, 1].abs()
        solid = (x > 0) & (x < 1.2) & (height < 0.6) & ~((x < 1) & (height < 0.4))
        return torch.where(solid.unsqueeze(1), states[:, 0], to)


def pose(model: WorldModel, start: list[float], goal: list[float], steps: int, batch: int = 1) -> ModelProblems:
    """The same problem `batch` times, actions within [-1, 1]."""
    first, last = (torch.tensor([values] * batch, dtype=model.dtype) for values in (start, goal))
    bound = torch.ones(model.action_dim, dtype=model.dtype)
    return ModelProblems(Context.at(model, first), last, steps, -bound, bound, SquaredDistance())


def same(a: Branches, b: Branches, rows: list[int], tolerance: float) -> None:
    torch.testing.assert_close(a.actions[rows], b.actions, atol=tolerance, rtol=tolerance)
    torch.testing.assert_close(a.states[rows], b.states, atol=tolerance, rtol=tolerance)
    torch.testing.assert_close(a.cost[rows], b.cost, atol=tolerance, rtol=tolerance)


def test_finds_the_way_out_of_a_pocket_that_descent_never_leaves():
    model = Pocket()
    problems = pose(model, [0.5, 0.0], [1.5, 0.0], 60, batch=8)
    found = explore(model, problems, range(8), 1, MEDIUM)
    distance = (found.states[:, 0, -1] - problems.goal).norm(dim=1)
    greedy = rollout(model, problems.context, torch.tensor([1.0, 0.0], dtype=model.dtype).expand(8, 60, 2))
    assert ((greedy[:, -1] - problems.goal).norm(dim=1) > 0.45).all()
    assert (distance < 0.3).sum() >= 7
    assert (found.states[:, 0, :, 0].amin(1)[distance < 0.3] < 0.0).all(), "the way leads out of the open side"


def test_without_novelty_the_tree_stays_in_the_pocket():
    model = Pocket()
    problems = pose(model, [0.5, 0.0], [1.5, 0.0], 60, batch=8)
    found = explore(model, problems, range(8), 1, replace(MEDIUM, novelty=0.0))
    assert ((found.states[:, 0, -1] - problems.goal).norm(dim=1) > 0.45).sum() >= 7


def test_double_integrator_is_brought_to_a_goal_within_its_reach():
    model = DoubleIntegrator.make(dims=1, dtype=torch.float64)
    goal = 0.5 * model.reach(40)
    problems = pose(model, [0.0, 0.0], [goal, 0.0], 40, batch=8)
    found = explore(model, problems, range(8), 1, replace(MEDIUM, spread=1.0))
    assert ((found.states[:, 0, -1] - problems.goal).abs() < 0.2 * goal).all(1).sum() >= 7


@pytest.mark.parametrize("name", WORLDS)
@pytest.mark.parametrize("dtype", EXACT, ids=str)
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_branches_are_rollouts_of_their_actions(name: str, dtype: torch.dtype, steps: int):
    model = WORLDS[name](dtype)
    problems = problems_for(model, steps=steps)
    found = explore(model, problems, [10, 11, 12], 3, SMALL)
    assert found.actions.shape == (3, 3, steps, model.action_dim)
    assert found.actions.dtype == dtype
    assert (found.actions <= problems.high).all()
    assert (found.actions >= problems.low).all()
    for branch in range(3):
        states = rollout(model, problems.context, found.actions[:, branch])
        torch.testing.assert_close(found.states[:, branch], states, atol=EXACT[dtype], rtol=EXACT[dtype])
        cost = problems.goal_cost(states[:, -1], problems.goal)
        torch.testing.assert_close(found.cost[:, branch], cost, atol=EXACT[dtype], rtol=EXACT[dtype])
    assert (found.cost.diff(dim=1) >= 0).all()


@pytest.mark.parametrize("name", WORLDS)
def test_a_row_depends_on_its_problem_and_seed_alone(name: str):
    model = WORLDS[name](torch.float64)
    problems = problems_for(model, batch=4, steps=7)
    together = explore(model, problems, [3, 4, 5, 6], 2, SMALL)
    for row in range(4):
        same(together, explore(model, take(problems, [row]), [3 + row], 2, SMALL), [row], 1e-12)
    order = [2, 0, 3, 1]
    same(together, explore(model, take(problems, order), [3 + row for row in order], 2, SMALL), order, 1e-12)


def test_rows_stay_apart_where_distances_are_counted_in_parts(monkeypatch: pytest.MonkeyPatch):
    model = Patches(dtype=torch.float64)
    problems = problems_for(model, batch=4, steps=7)
    whole = explore(model, problems, [3, 4, 5, 6], 2, SMALL)
    monkeypatch.setattr("planners.search.rollout_tree._PAIRS_PER_CALL", {"cpu": 1})
    same(whole, explore(model, problems, [3, 4, 5, 6], 2, SMALL), [0, 1, 2, 3], 0.0)


def test_the_seed_fixes_the_branches():
    model = Pocket()
    problems = pose(model, [0.5, 0.0], [1.5, 0.0], 20, batch=2)
    first, again = (explore(model, problems, [7, 8], 2, SMALL) for _ in range(2))
    assert torch.equal(first.actions, again.actions)
    assert not torch.equal(first.actions[0], first.actions[1]), "same problem, other seed"


def test_a_lost_row_leaves_the_others_as_they_are():
    model = Patches(dtype=torch.float64)
    problems = problems_for(model, batch=3, steps=6)
    sound = explore(model, problems, [0, 1, 2], 2, SMALL)
    goal = problems.goal.clone()
    goal[1] = torch.nan
    lost = explore(model, replace(problems, goal=goal), [0, 1, 2], 2, SMALL)
    assert torch.isinf(lost.cost[1]).all()
    assert torch.isfinite(lost.actions).all()
    for part in ("actions", "states", "cost"):
        assert torch.equal(getattr(lost, part)[[0, 2]], getattr(sound, part)[[0, 2]])


@dataclass(frozen=True)
class Cliff(Patches):
    """A world whose model gives NaN beyond 0.5."""

    def step(self, states: Float[Tensor, "n 1 two three"], actions: Float[Tensor, "n 1 two"]) -> Float[Tensor, "n two three"]:
        following = states[:, 0] + 0.1 * actions[:, 0].unsqueeze(-1)
        return torch.where(following > 0.5, torch.nan, following)


def test_states_that_are_not_finite_are_not_explored():
    model = Cliff(dtype=torch.float64)
    start, goal = torch.zeros(2, 2, 3, dtype=torch.float64), torch.full((2, 2, 3), 2.0, dtype=torch.float64)
    bound = torch.ones(2, dtype=torch.float64)
    problems = ModelProblems(Context.at(model, start), goal, 12, -bound, bound, SquaredDistance())
    found = explore(model, problems, [0, 1], 1, ExploreSettings(rounds=8, nodes=16, hold=2))
    assert torch.isfinite(found.states).all()
    assert (found.states[:, 0, -1].amax((1, 2)) > 0.2).all(), "it still goes to the edge"


@pytest.mark.parametrize("name", ["pendulums", "mlp"])
@pytest.mark.parametrize("steps", [1, 5])
def test_evaluations_are_the_model_steps_of_a_problem(name: str, steps: int):
    model = Counting(WORLDS[name](torch.float64))
    found = explore(model, problems_for(model.world, batch=3, steps=steps), [0, 1, 2], 2, SMALL)
    assert found.evaluations * 3 == model.count


def test_branches_differ():
    model = Pocket()
    problems = pose(model, [0.5, 0.0], [1.5, 0.0], 60, batch=4)
    found = explore(model, problems, range(4), 3, MEDIUM)
    for row in range(4):
        apart = torch.cdist(found.states[row].flatten(1), found.states[row].flatten(1))[[0, 0, 1], [1, 2, 2]]
        assert (apart > 1.0).all()


@pytest.mark.parametrize(("low", "high"), [(0.2, 1.0), (-0.3, 0.3), (0.5, 0.5), (-torch.inf, torch.inf), (0.0, torch.inf)])
def test_bounds_hold_whatever_they_are(low: float, high: float):
    model = Pendulums(dtype=torch.float64)
    bounds = (torch.full((2,), value, dtype=torch.float64) for value in (low, high))
    lowest, highest = bounds
    problems = replace(problems_for(model, steps=9), low=lowest, high=highest)
    found = explore(model, problems, [0, 1, 2], 2, SMALL)
    assert torch.isfinite(found.actions).all()
    assert (found.actions >= low).all()
    assert (found.actions <= high).all()


def test_no_gradient_is_kept():
    model = Pocket()
    problems = pose(model, [0.5, 0.0], [1.5, 0.0], 5)
    found = explore(model, replace(problems, goal=problems.goal.requires_grad_()), [0], 1, SMALL)
    assert not found.actions.requires_grad
    assert not found.cost.requires_grad


BAD: list[tuple[Callable[[], object], str]] = [
    (lambda: ExploreSettings(rounds=0), "rounds 0"),
    (lambda: ExploreSettings(nodes=0), "nodes 0"),
    (lambda: ExploreSettings(hold=0), "hold 0"),
    (lambda: ExploreSettings(spread=0.0), "spread 0"),
    (lambda: ExploreSettings(radius=-1.0), "radius -1"),
    (lambda: ExploreSettings(goal_share=1.5), "goal_share 1.5"),
    (lambda: ExploreSettings(keep=1.1), "keep 1.1"),
    (lambda: explore(Pocket(), pose(Pocket(), [0.5, 0.0], [1.5, 0.0], 5), [0], 0), "branches 0"),
    (lambda: explore(Pocket(), pose(Pocket(), [0.5, 0.0], [1.5, 0.0], 5), [0, 1]), "2 seeds for 1 problems"),
]


@pytest.mark.parametrize(("build", "sentence"), BAD, ids=[sentence for _, sentence in BAD])
def test_errors_state_name_and_value(build: Callable[[], object], sentence: str):
    with pytest.raises(UserError, match=sentence):
        build()
