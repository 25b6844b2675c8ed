"""Hidden states within the planner's state: goal costs do not see them, replans remember, lifted planners satisfy them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from orchestrator.evaluation.contexts import context_of
from planners import make_planner
from planners.base import ModelProblems
from tests.support.plugins import own_model
from world_models.base import Context, SquaredDistance, WorldModel, adapted_goal_cost, remembered, rollout
from world_models.checkpoints.store import LoadedModel
from world_models.errors import UserError
from world_models.models.ensemble import Ensemble
from world_models.models.recurrent import HiddenState
from world_models.tasks import make_task
from world_models.testing import check_world_model, vectors


class Gru(nn.Module):
    """A cell with memory, whose features follow it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.gru, self.out = nn.GRUCell(5, 4), nn.Linear(4, 3)

    def forward(self, features: Tensor, action: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        memory = self.gru(torch.cat([features, action], 1), hidden)
        return features + self.out(memory), memory


def test_a_gru_keeps_every_promise_of_a_world_model() -> None:
    check_world_model(HiddenState(Gru(), features=3, action_dim=2, hidden=4), vectors(3))


def test_goal_costs_see_features_only() -> None:
    model = HiddenState(Gru(), features=3, action_dim=2, hidden=4)
    assert isinstance(model, WorldModel)
    cost = adapted_goal_cost(model, SquaredDistance())
    states, goals = torch.randn(6, 7), torch.randn(6, 7)
    expected = SquaredDistance()(states[:, :3], goals[:, :3])
    torch.testing.assert_close(cost(states, goals), expected)
    weights = cost.feature_weights(goals)  # pyright: ignore[reportAttributeAccessIssue]
    torch.testing.assert_close((weights * (states - goals).square()).mean(1), expected)
    both = Ensemble([model, HiddenState(Gru(), 3, 2, 4)], torch.ones(7))
    more = torch.randn(6, 8)
    torch.testing.assert_close(
        adapted_goal_cost(both, SquaredDistance())(more, more.flip(0)), cost(more[:, :7], more.flip(0)[:, :7])
    )
    plain = adapted_goal_cost(model, lambda states, goals: (states - goals).abs().sum(1))
    torch.testing.assert_close(plain(states, goals), (states - goals)[:, :3].abs().sum(1))


def test_a_replan_has_the_hidden_state_of_what_was_observed(monkeypatch: pytest.MonkeyPatch) -> None:
    with own_model("recurrent.py:load", monkeypatch) as loaded:
        task = make_task("glider.tasks:Glide")
        rng = np.random.default_rng(0)
        actions = rng.uniform(-1, 1, (3, 12, 2))
        start = np.concatenate([rng.uniform(-1, 1, (3, 2)), rng.normal(0, 0.1, (3, 2))], 1)
        states = task.simulate(start, actions)
        found = context_of(loaded, task, None, states, actions)
        torch.testing.assert_close(found.last, torch.tensor(states[:, -1], dtype=torch.float32), rtol=1e-4, atol=1e-5)
        assert found.states.shape == (3, 1, 4)
        assert found.actions.shape == (3, 0, 2)
        first = context_of(loaded, task, None, states[:, :1], actions[:, :0]).last
        torch.testing.assert_close(first, torch.tensor(start, dtype=torch.float32))


def test_memory_is_that_of_the_whole_path_and_of_no_other_model() -> None:
    model = HiddenState(Gru(), features=3, action_dim=2, hidden=4)
    seen, actions = torch.randn(5, 4, 3), torch.randn(5, 3, 2)
    encoded = model.encode(seen.flatten(0, 1)).unflatten(0, (5, 4))
    found = remembered(model, encoded, actions)
    hidden = torch.zeros(5, 4)
    for t in range(3):
        assert torch.equal(found[:, t, :3], seen[:, t])
        torch.testing.assert_close(found[:, t, 3:], hidden)
        hidden = model.cell(seen[:, t], actions[:, t], hidden)[1]
    torch.testing.assert_close(found[:, 3, 3:], hidden)


@pytest.mark.parametrize(
    ("planner", "settings"),
    [
        ("gd", {"iterations": 80}),
        ("grasp", {"iterations": 120, "sync_every": 40, "sync_steps": 20}),
        ("latco", {"iterations": 250}),
        ("cem", {"iterations": 12}),
        ("mppi", {"iterations": 12}),
        ("icem", {"iterations": 12}),
        ("random_shooting", {"iterations": 20, "samples": 400}),
    ],
)
def test_every_planner_brings_the_features_to_the_goal(planner: str, settings: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    """Including those that treat hidden states as virtual states, which begin wrong on the straight line between zeros."""
    with own_model("recurrent.py:load", monkeypatch) as loaded:
        problems, goal = reachable(loaded)
        plans = make_planner(planner, settings).plan(loaded.model, problems, seeds=range(4))
        reached = rollout(loaded.model, problems.context, plans.actions)[:, -1]
        miss = (reached - goal)[:, :2].norm(dim=1)
        away = (problems.context.last - goal)[:, :2].norm(dim=1)
        assert (miss < (0.6 if planner == "random_shooting" else 0.25) * away).all(), miss / away


def reachable(loaded: LoadedModel) -> tuple[ModelProblems, Tensor]:
    """Four problems of 12 steps whose goals smooth pushes reach."""
    model = loaded.model
    start = model.encode(torch.zeros(4, 4))
    ways = torch.tensor([[0.8, 0.0], [0.0, -0.8], [0.5, 0.5], [-0.6, 0.3]])
    goal = rollout(model, Context.at(model, start), ways.unsqueeze(1).repeat(1, 12, 1))[:, -1].detach()
    goal = model.encode(torch.cat([goal[:, :2], torch.zeros(4, 2)], 1))
    bound = torch.ones(2)
    return ModelProblems(Context.at(model, start), goal, 12, -bound, bound, loaded.goal_cost), goal


def test_senseless_sizes_are_refused() -> None:
    with pytest.raises(UserError, match="hidden 0 is below 1"):
        HiddenState(Gru(), features=3, action_dim=2, hidden=0)
