"""Ensembles: the step is the formula, its derivatives are autograd's, disagreement has a cost; checkpoints and training."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from planners import make_planner
from planners.base import ModelProblems
from tests.support.planning import small_mlp
from world_models.base import Context, GoalCost, QuadraticCost, SquaredDistance, rollout, serial_rollout
from world_models.checkpoints import store as checkpoints
from world_models.checkpoints.ensemble_files import combine
from world_models.errors import UserError
from world_models.models.ensemble import EPSILON, Ensemble, EnsembleDecode, ensemble_cost, priced
from world_models.models.mlp import MLPConfig, ResidualMLP, StateGoalCost
from world_models.tasks import make_task
from world_models.training.train import TrainSettings, train

DOUBLE = torch.float64


def members(count: int = 3, dtype: torch.dtype = DOUBLE) -> list[ResidualMLP]:
    return [small_mlp(dtype, seed) for seed in range(count)]


def ensemble(count: int = 3, dtype: torch.dtype = DOUBLE) -> Ensemble:
    return Ensemble(members(count, dtype), torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=dtype))


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def test_the_step_is_the_formula() -> None:
    model = ensemble()
    states, actions = normal(0, 5, 1, 5), normal(1, 5, 1, 2)
    following = model.step(states, actions)
    for row in range(5):
        own = [member.step(states[row : row + 1, :, :4], actions[row : row + 1])[0] for member in members()]
        mean = torch.stack(own).mean(0)
        total = 0.0
        for prediction in own:
            for i, scale in enumerate((0.1, 0.2, 0.3, 0.4)):
                total += float((prediction[i] - mean[i]) / scale) ** 2 / (3 * 4)
        expected = math.sqrt(float(states[row, 0, 4]) ** 2 + total + EPSILON**2)
        torch.testing.assert_close(following[row, :4], mean, rtol=1e-12, atol=1e-13)
        assert float(following[row, 4]) == pytest.approx(expected, rel=1e-10)


def test_members_that_agree_are_one_model_without_disagreement() -> None:
    one = small_mlp(DOUBLE)
    model = Ensemble([small_mlp(DOUBLE), small_mlp(DOUBLE)], torch.ones(4, dtype=DOUBLE))
    observation, actions = normal(0, 3, 4), normal(1, 3, 9, 2)
    states = rollout(model, Context.at(model, model.encode(observation)), actions)
    alone = rollout(one, Context.at(one, one.encode(observation)), actions)
    torch.testing.assert_close(model.member_states(states), alone, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(states[:, -1, -1], torch.full((3,), 3 * EPSILON, dtype=DOUBLE))


def test_disagreement_adds_up_along_a_rollout_and_starts_at_zero() -> None:
    model = ensemble()
    start = model.encode(normal(0, 3, 4))
    assert start[:, -1].eq(0).all()
    actions = normal(1, 3, 6, 2)
    states = rollout(model, Context.at(model, start), actions)
    before = torch.cat([start.unsqueeze(1), states[:, :-1]], 1).clone()
    before[..., -1] = 0
    each = model.step(before.flatten(0, 1).unsqueeze(1), actions.flatten(0, 1).unsqueeze(1))[:, -1].view(3, 6)
    torch.testing.assert_close(states[..., -1].square(), each.square().cumsum(1), rtol=1e-10, atol=1e-12)


def test_permuting_members_changes_nothing() -> None:
    scale = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=DOUBLE)
    one, other = Ensemble(members(), scale), Ensemble(members()[::-1], scale)
    states, actions = normal(0, 5, 1, 5), normal(1, 5, 1, 2)
    torch.testing.assert_close(one.step(states, actions), other.step(states, actions), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("frozen", [True, False])
def test_the_rollout_and_its_derivatives_are_the_serial_ones(frozen: bool) -> None:
    model = ensemble().requires_grad_(not frozen)
    start = model.encode(normal(0, 4, 4)).unsqueeze(1)
    start[..., -1] = 0.3
    start.requires_grad_()
    actions = normal(1, 4, 7, 2).requires_grad_()
    context = Context(start, start.new_zeros(4, 0, 2))
    cotangent = normal(2, 4, 7, 5)
    fast, slow = rollout(model, context, actions), serial_rollout(model, context, actions)
    torch.testing.assert_close(fast, slow, rtol=1e-12, atol=1e-13)
    pairs = [torch.autograd.grad(states, (start, actions), cotangent) for states in (fast, slow)]
    for one, other in zip(*pairs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("base", [SquaredDistance(), StateGoalCost(torch.tensor([1.0, 2.0, 0.0, 1.0]).double())])
def test_the_penalised_cost_is_the_base_and_a_price_and_stays_quadratic(base: GoalCost) -> None:
    cost = ensemble_cost(base, (4,), 0.7)
    states, goals = normal(0, 6, 5), normal(1, 6, 5)
    goals[:, -1] = 0
    value = cost(states, goals)
    torch.testing.assert_close(value, base(states[:, :4], goals[:, :4]) + 0.7 * states[:, 4] ** 2)
    assert isinstance(cost, QuadraticCost)
    weights = cost.feature_weights(goals)
    torch.testing.assert_close(((states - goals).square() * weights).mean(1), value)
    free = priced(cost, 0.0)
    torch.testing.assert_close(free(states, goals), base(states[:, :4], goals[:, :4]))


def test_with_a_base_that_is_not_quadratic_neither_is_the_cost() -> None:
    class Distance:
        def __call__(self, states: Tensor, goals: Tensor) -> Tensor:
            return (states - goals).norm(dim=1)

    cost = ensemble_cost(Distance(), (4,), 0.5)
    assert not isinstance(cost, QuadraticCost)
    states, goals = normal(0, 6, 5), torch.zeros(6, 5, dtype=DOUBLE)
    torch.testing.assert_close(cost(states, goals), states[:, :4].norm(dim=1) + 0.5 * states[:, 4] ** 2)


def test_states_with_several_axes_are_flattened_for_the_ensemble_and_restored_for_goal_costs_and_decoders() -> None:
    states = normal(0, 3, 7)
    seen: list[Tensor] = []

    def decode(own: Tensor) -> Tensor:
        seen.append(own)
        return own.flatten(1)

    assert EnsembleDecode(decode, (2, 3))(states).equal(states[:, :6])
    assert seen[0].shape == (3, 2, 3)
    cost = ensemble_cost(SquaredDistance(), (2, 3), 1.0)
    goals = torch.zeros_like(states)
    torch.testing.assert_close(cost(states, goals), states[:, :6].square().mean(1) + states[:, 6] ** 2)


@pytest.mark.parametrize("planner", ["grasp", "gd", "cem"])
def test_planners_avoid_what_the_members_disagree_about(planner: str) -> None:
    """Both members go where the first action says; a second action moves one of them only, and helps their mean."""
    model = Ensemble([Split(0.0), Split(1.0)], torch.full((1,), 0.1, dtype=DOUBLE))
    start, goal = torch.zeros(2, 1, dtype=DOUBLE), torch.full((2, 1), 1.5, dtype=DOUBLE)
    bound = torch.ones(2, dtype=DOUBLE)
    used = {}
    for price in (0.0, 1.0):
        cost = ensemble_cost(SquaredDistance(), (1,), price)
        problems = ModelProblems(Context.at(model, model.encode(start)), model.encode(goal), 4, -bound, bound, cost)
        plans = make_planner(planner, {"iterations": 60}).plan(model, problems, [1, 2])
        used[price] = float(plans.actions[..., 1].abs().mean())
        assert float((plans.states[:, -1, 0] - 1.5).abs().max()) < 0.3
    assert used[1.0] < 0.2 * used[0.0]


class Split(torch.nn.Module):
    """s' = s + 0.5 a_0 + 0.5 weight a_1."""

    state_shape, action_dim, history = (1,), 2, 1
    device, dtype = torch.device("cpu"), DOUBLE

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = weight

    def encode(self, observation: Tensor) -> Tensor:
        return observation

    def step(self, states: Tensor, actions: Tensor) -> Tensor:
        return states[:, 0] + 0.5 * actions[:, 0, :1] + 0.5 * self.weight * actions[:, 0, 1:]


def test_nonsense_is_refused() -> None:
    with pytest.raises(UserError, match="ensemble of 1"):
        Ensemble(members(1), torch.ones(4))
    with pytest.raises(UserError, match="share \\(state shape"):
        Ensemble([*members(1), ResidualMLP(MLPConfig(3, 2, width=8))], torch.ones(4))
    with pytest.raises(UserError, match="must be 4 finite numbers"):
        Ensemble(members(), torch.tensor([1.0, 0.0, 1.0, 1.0]))
    with pytest.raises(UserError, match="disagreement -1"):
        ensemble_cost(SquaredDistance(), (4,), -1.0)
    with pytest.raises(TypeError, match="SquaredDistance"):
        priced(SquaredDistance(), 1.0)
    with pytest.raises(UserError, match="ensemble 0"):
        TrainSettings(ensemble=0)


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    card = {"dynamics": dict(make_task("wall").dynamics)}
    goal = torch.tensor([1.0, 2.0, 0.0, 1.0])
    return [checkpoints.save(tmp_path / str(k), "m", m, goal, card) for k, m in enumerate(members(3, torch.float32))]


def test_checkpoints_round_trip(folders: list[Path], tmp_path: Path) -> None:
    scale = torch.full((4,), 0.1)
    path = combine(tmp_path / "e", "e", folders, scale, lambda parts: {"note": parts.default_goal_cost})
    loaded = checkpoints.load(str(path), dtype=DOUBLE)
    assert loaded.card["note"] == "state"
    assert isinstance(loaded.model, Ensemble)
    assert not any(weight.requires_grad for weight in loaded.model.parameters())
    expected = Ensemble([m.double() for m in members(3, torch.float32)], scale.double())
    states, actions = normal(0, 4, 1, 5), normal(1, 4, 1, 2)
    torch.testing.assert_close(loaded.model.step(states, actions), expected.step(states, actions), rtol=1e-12, atol=1e-12)
    assert loaded.decode is not None
    torch.testing.assert_close(loaded.decode(loaded.model.encode(states[:, 0, :4])), states[:, 0, :4])
    goals = loaded.model.encode(normal(2, 4, 4))
    plain, dear = loaded.goal_cost(states[:, 0], goals), loaded.with_goal_cost(None, 0.5).goal_cost(states[:, 0], goals)
    torch.testing.assert_close(dear, plain + 0.5 * states[:, 0, 4] ** 2)
    torch.testing.assert_close(loaded.with_goal_cost("state").goal_cost(states[:, 0], goals), plain)
    checkpoints.check_fit(loaded.card, make_task("wall").dynamics, 2)
    shared = checkpoints.read_tensors(str(path))
    assert "shared/observation_mean" in shared
    assert "2/out.weight" in shared


def test_a_disagreement_needs_an_ensemble(folders: list[Path]) -> None:
    loaded = checkpoints.load(str(folders[0]))
    with pytest.raises(UserError, match=r"disagreement 0\.1 needs an ensemble"):
        loaded.with_goal_cost(None, 0.1)
    with pytest.raises(UserError, match="disagreement -1"):
        loaded.with_goal_cost(None, -1.0)


def test_members_that_do_not_belong_together_are_refused(folders: list[Path], tmp_path: Path) -> None:
    def described(parts: object) -> dict[str, object]:
        return {}

    card = {"dynamics": dict(make_task("wall").dynamics)}
    shifted = small_mlp(torch.float32)
    shifted.observation_mean.fill_(1.0)
    other = checkpoints.save(tmp_path / "shifted", "m", shifted, torch.ones(4), card)
    with pytest.raises(UserError, match="shifted encodes observations differently"):
        combine(tmp_path / "e", "e", [folders[0], other], torch.ones(4), described)
    wide = checkpoints.save(tmp_path / "wide", "m", ResidualMLP(MLPConfig(4, 2, width=24)), torch.ones(4), card)
    with pytest.raises(UserError, match=r"wide differs from .* in kind, size or task"):
        combine(tmp_path / "e", "e", [folders[0], wide], torch.ones(4), described)


SETTINGS = {
    "trajectories": 50,
    "length": 20,
    "width": 16,
    "depth": 1,
    "ensemble": 3,
    "fit": {"unrolls": [1], "steps": [120], "batch_size": 32, "seed": 5},
}


def test_training_makes_one_checkpoint_of_members_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    task, settings = make_task("wall"), TrainSettings.of(SETTINGS)
    stages: list[str] = []

    class InterruptError(Exception):
        pass

    def stop(stage: str, done: int, total: int, loss: float) -> None:
        if stage == "train 2 of 3":
            raise InterruptError

    with pytest.raises(InterruptError):
        train("w", task, settings, tmp_path / "w", stop)
    assert not (tmp_path / "w" / "card.json").exists()
    path = train("w", task, settings, tmp_path / "w", lambda stage, *_: stages.append(stage))
    trained = [stage for stage in dict.fromkeys(stages) if stage.startswith("train")]
    assert trained == ["train 2 of 3", "train 3 of 3"], "the first member was finished"
    assert not (path / "members").exists()
    loaded = checkpoints.load(str(path))
    assert isinstance(loaded.model, Ensemble)
    card = json.loads((path / "card.json").read_text(encoding="utf-8"))
    assert card["training"]["ensemble"] == 3
    assert card["open_loop_error"]["position_px"]["1"]["model"] < card["open_loop_error"]["position_px"]["1"]["persistence"]
    alone = TrainSettings.of({**SETTINGS, "ensemble": 1, "fit": {**SETTINGS["fit"], "seed": 6}})
    single = checkpoints.load(str(train("s", task, alone, tmp_path / "s", data_folder=tmp_path / "data")))
    assert isinstance(single.model, ResidualMLP)
    for key, value in single.model.state_dict().items():
        torch.testing.assert_close(loaded.model.members[1].state_dict()[key], value, rtol=0, atol=0)
