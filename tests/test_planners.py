"""What every planner promises on every world, in both precisions."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from planners import PLANNERS, Planner, PlanStatus, full_settings, make_planner
from planners.noise import RowNoise
from tests.planning import SETTINGS, WORLDS, plan, problems_for, small_mlp, take
from world_models.analytic import LinearQuadratic
from world_models.base import Context, WorldModel, rollout
from world_models.errors import UnknownNameError, UserError

DTYPES = (torch.float32, torch.float64)
every_planner = pytest.mark.parametrize("name", sorted(PLANNERS))
every_world = pytest.mark.parametrize("world", sorted(WORLDS))
both_dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=["float32", "float64"])


def tolerance(dtype: torch.dtype) -> float:
    return 1e-4 if dtype == torch.float32 else 1e-9


@every_planner
@every_world
@both_dtypes
def test_plan_is_the_best_rollout_seen_within_bounds(name: str, world: str, dtype: torch.dtype) -> None:
    model = WORLDS[world](dtype)
    problems = problems_for(model)
    done = plan(name, model, problems, [1, 2, 3])
    assert isinstance(make_planner(name), Planner)
    assert done.actions.dtype == done.states.dtype == dtype
    assert (done.actions >= problems.low).all()
    assert (done.actions <= problems.high).all()
    assert done.status == (PlanStatus.COMPLETED,) * 3
    torch.testing.assert_close(done.states, rollout(model, problems.context, done.actions))
    torch.testing.assert_close(done.cost, problems.goal_cost(done.states[:, -1], problems.goal))
    assert (done.trace.diff(dim=1) <= 0).all()
    torch.testing.assert_close(done.trace[:, -1], done.cost, rtol=tolerance(dtype), atol=tolerance(dtype))
    assert (done.cost <= done.last_cost + tolerance(dtype)).all()
    assert (done.trace[:, -1] < done.trace[:, 0]).all(), "planning improves on the initial plan"


@every_planner
@every_world
@both_dtypes
def test_batch_equals_one_by_one_and_permutes(name: str, world: str, dtype: torch.dtype) -> None:
    model = WORLDS[world](dtype)
    problems, seeds, order = problems_for(model, batch=4), [7, 8, 9, 10], [2, 0, 3, 1]
    together = plan(name, model, problems, seeds)
    close = {"rtol": tolerance(dtype), "atol": tolerance(dtype)}
    for row in range(4):
        alone = plan(name, model, take(problems, [row]), [seeds[row]])
        torch.testing.assert_close(alone.actions[0], together.actions[row], **close)
        torch.testing.assert_close(alone.last_cost[0], together.last_cost[row], **close)
    permuted = plan(name, model, take(problems, order), [seeds[i] for i in order])
    torch.testing.assert_close(permuted.actions, together.actions[order], **close)


@every_planner
@every_world
def test_horizon_one(name: str, world: str) -> None:
    model = WORLDS[world](torch.float64)
    problems = problems_for(model, steps=1)
    done = plan(name, model, problems, [1, 2, 3])
    assert done.actions.shape == (3, 1, model.action_dim)
    assert (done.trace[:, -1] < done.trace[:, 0]).all()


@every_planner
def test_seed_fixes_the_plan(name: str) -> None:
    model = small_mlp(torch.float32)
    problems = problems_for(model)
    one, same, other = (plan(name, model, problems, seeds) for seeds in ([1, 2, 3], [1, 2, 3], [1, 2, 4]))
    assert torch.equal(one.actions, same.actions)
    assert torch.equal(one.trace, same.trace)
    assert torch.equal(one.actions[:2], other.actions[:2]), "another row's seed changes nothing"
    assert not torch.equal(one.last_cost[2], other.last_cost[2])


@every_planner
def test_global_generator_neither_matters_nor_moves(name: str) -> None:
    model = small_mlp(torch.float32)
    problems = problems_for(model)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = plan(name, model, problems, [1, 2, 3])
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(plan(name, model, problems, [1, 2, 3]).actions, one.actions)


@dataclass(frozen=True, eq=False)
class Cliff(LinearQuadratic):
    """A linear world that gives NaN for strong actions."""

    def step(self, states: Float[Tensor, "n 1 state"], actions: Float[Tensor, "n 1 action"]) -> Float[Tensor, "n state"]:
        strong = actions[:, 0].abs().amax(1, keepdim=True) > 0.3
        return torch.where(strong, torch.nan, super().step(states, actions))


@every_planner
@pytest.mark.parametrize("start", [torch.nan, torch.inf, 1e38])
def test_a_row_that_cannot_be_planned_leaves_its_neighbours_bit_for_bit(name: str, start: float) -> None:
    model = small_mlp(torch.float32)
    sound = problems_for(model)
    broken = sound.context.states.clone()
    broken[1] = start
    before = plan(name, model, sound, [1, 2, 3])
    after = plan(name, model, replace(sound, context=Context(broken, sound.context.actions)), [1, 2, 3])
    assert after.status == (PlanStatus.COMPLETED, PlanStatus.NON_FINITE, PlanStatus.COMPLETED)
    assert torch.isfinite(after.actions).all(), "even a failed row has a plan that can be executed"
    for row in (0, 2):
        assert torch.equal(before.actions[row], after.actions[row])
        assert torch.equal(before.trace[row], after.trace[row])


@pytest.mark.parametrize("name", ["gd", "grasp"])
def test_a_row_that_turns_nan_keeps_its_best_plan_from_before(name: str) -> None:
    """The goal of row 1 is out of reach of weak actions: descending towards it ends in NaN."""
    one = torch.eye(1, dtype=torch.float64)
    model = Cliff(one, one)
    context = Context.at(model, torch.zeros(2, 1, dtype=torch.float64))
    goal = torch.tensor([[0.5], [9.0]], dtype=torch.float64)
    problems = replace(problems_for(model, batch=2, bound=5.0), context=context, goal=goal)
    settings = {"lr": 0.1} if name == "gd" else {"sync_lr": 0.1, "sync_steps": 20}
    done = plan(name, model, problems, [1, 2], iterations=40, init_noise=0.0, **settings)
    assert done.status == (PlanStatus.COMPLETED, PlanStatus.NON_FINITE)
    assert torch.isfinite(done.cost).all()
    assert done.cost[1] < done.trace[1, 0], "it had come nearer before it fell"
    assert not torch.isfinite(done.last_cost[1])
    assert done.cost[0] < 1e-2


@every_planner
def test_bounds_bind_where_they_should(name: str) -> None:
    """An integrator whose goal is out of reach: the best plan is the upper bound throughout."""
    one = torch.eye(1, dtype=torch.float64)
    model = LinearQuadratic(one, one)
    problems = replace(
        problems_for(model, batch=1, bound=0.25),
        context=Context.at(model, torch.zeros(1, 1, dtype=torch.float64)),
        goal=torch.full((1, 1), 9.0, dtype=torch.float64),
    )
    iterations = 60
    done = plan(name, model, problems, [0], iterations=iterations)
    torch.testing.assert_close(done.actions, problems.high.expand_as(done.actions))


@every_planner
def test_bounds_without_zero(name: str) -> None:
    model = WORLDS["double_integrator"](torch.float32)
    problems = replace(problems_for(model), low=torch.tensor([0.2, -1.0]), high=torch.tensor([0.4, -0.5]))
    done = plan(name, model, problems, [1, 2, 3])
    assert (done.actions >= problems.low).all()
    assert (done.actions <= problems.high).all()


@every_planner
@pytest.mark.parametrize("frozen", [True, False])
def test_the_model_is_left_as_it_was(name: str, frozen: bool) -> None:
    model = small_mlp(torch.float32).requires_grad_(not frozen)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    done = plan(name, model, problems_for(model), [1, 2, 3])
    for parameter in model.parameters():
        assert parameter.requires_grad is not frozen
        assert parameter.grad is None
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key])
    assert not done.actions.requires_grad
    assert not done.states.requires_grad
    assert not done.trace.requires_grad


@dataclass
class Counting:
    """A world that counts the states it steps."""

    world: WorldModel
    count: int = 0

    @property
    def state_shape(self) -> tuple[int, ...]:
        return self.world.state_shape

    @property
    def action_dim(self) -> int:
        return self.world.action_dim

    @property
    def history(self) -> int:
        return self.world.history

    @property
    def device(self) -> torch.device:
        return self.world.device

    @property
    def dtype(self) -> torch.dtype:
        return self.world.dtype

    def encode(self, observation: Tensor) -> Tensor:
        return self.world.encode(observation)

    def step(self, states: Tensor, actions: Tensor) -> Tensor:
        self.count += states.shape[0]
        return self.world.step(states, actions)


@every_planner
def test_evaluations_are_the_model_steps_taken_and_progress_is_told(name: str) -> None:
    model = Counting(WORLDS["pendulums"](torch.float32))
    seen: list[tuple[int, int]] = []
    planner = make_planner(name, SETTINGS[name])
    done = planner.plan(model, problems_for(model), [1, 2, 3], lambda i, n: seen.append((i, n)))
    assert done.evaluations.tolist() == [model.count // 3] * 3
    assert seen == [(i + 1, 20) for i in range(20)]


def test_noise_belongs_to_the_row() -> None:
    like = torch.zeros(1)
    many = RowNoise([5, 6, 7], "states", (40, 4), like)
    alone = RowNoise([6], "states", (40, 4), like)
    other = RowNoise([6], "actions", (40, 4), like)
    later = RowNoise([6], "states", (40, 4), like)
    draws = [many.at(i) for i in range(200)]
    for i, draw in enumerate(draws):
        assert torch.equal(alone.at(i)[0], draw[1])
    assert torch.equal(later.at(150)[0], draws[150][1]), "iterations may be skipped"
    assert not torch.equal(other.at(0)[0], draws[0][1])
    flat = torch.stack(draws)
    assert abs(flat.mean()) < 0.01
    assert abs(flat.std() - 1) < 0.01
    assert len({float(x) for x in flat[:, :, 0, 0].flatten()}) == 600, "no number is drawn twice"
    rows = flat.movedim(1, 0).flatten(1)
    assert (torch.corrcoef(rows) - torch.eye(3)).abs().max() < 0.03


def test_noise_in_double_precision_is_the_same_noise() -> None:
    single = RowNoise([3], "states", (5, 2), torch.zeros(1)).at(4)
    double = RowNoise([3], "states", (5, 2), torch.zeros(1, dtype=torch.float64)).at(4)
    assert torch.equal(single.double(), double)


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("grasp", {"noise": -0.1}, "noise -0.1 is negative: give a number >= 0"),
        ("grasp", {"iterations": 0}, "iterations 0 is below 1"),
        ("grasp", {"iterations": 2.5}, "iterations 2.5 is no whole number"),
        ("grasp", {"lr_states": 0.0}, "lr_states 0 is not positive"),
        ("grasp", {"goal_weight": float("nan")}, "goal_weight nan is no finite number"),
        ("grasp", {"sync_lr": "fast"}, "sync_lr 'fast' is no finite number"),
        ("grasp", {"iterations": True}, "iterations True is no finite number"),
        ("grasp", {"noise_schedule": "cubic"}, "noise_schedule 'cubic' is unknown: give one of constant, linear, cosine"),
        ("grasp", {"double_last": 1}, "double_last 1 is neither true nor false"),
        ("gd", {"lr": float("inf")}, "lr inf is no finite number"),
        ("gd", {"optimizer": "sgd"}, "optimizer 'sgd' is unknown"),
        ("cem", {"elites": 31, "samples": 30}, "elites 31 exceeds samples 30"),
        ("cem", {"momentum": 1.5}, "momentum 1.5 is above 1"),
        ("cem", {"std": 0}, "std 0 is not positive"),
    ],
)
def test_nonsense_settings_are_refused_by_name_and_value(name: str, settings: dict, words: str) -> None:
    with pytest.raises(UserError, match=words.replace("(", r"\(")):
        make_planner(name, settings)


def test_unknown_names_get_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="unknown planner 'grisp': did you mean 'grasp'"):
        make_planner("grisp")
    with pytest.raises(UnknownNameError, match="did you mean 'lr_states'"):
        make_planner("grasp", {"lr_state": 0.1})


@every_planner
def test_full_settings_are_canonical(name: str) -> None:
    full = full_settings(name)
    assert full == full_settings(name, full)
    key = next(k for k, v in full.items() if isinstance(v, float) and k != "momentum")
    spelled = full_settings(name, {key: 1})
    assert spelled == full_settings(name, {key: 1.0})
    assert type(spelled[key]) is float
    assert type(full_settings(name, {"iterations": 30.0})["iterations"]) is int


@every_planner
def test_problems_that_do_not_fit_are_refused(name: str) -> None:
    model = small_mlp(torch.float32)
    problems = problems_for(model)
    with pytest.raises(UserError, match="2 seeds for 3 problems"):
        plan(name, model, problems, [1, 2])
    with pytest.raises(UserError, match="steps 0"):
        plan(name, model, replace(problems, steps=0), [1, 2, 3])
    with pytest.raises(UserError, match="no problems"):
        plan(name, model, take(problems, []), [])
    with pytest.raises(UserError, match="action bounds"):
        plan(name, model, replace(problems, low=torch.zeros(3), high=torch.ones(3)), [1, 2, 3])
    with pytest.raises(UserError, match="exceed"):
        plan(name, model, replace(problems, low=problems.high + 1), [1, 2, 3])
    with pytest.raises(UserError, match="context of 1 states for a model with history 2"):
        plan(name, WORLDS["pendulums"](torch.float32), replace(problems, low=-torch.ones(2)), [1, 2, 3])
