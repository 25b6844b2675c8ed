"""Execution: open loop is MPC with one planning; replanning sees the true states and context, and the time and plan left."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
from torch import Tensor

from orchestrator.core.modes import ExecutionMode
from orchestrator.evaluation.contexts import past_of
from orchestrator.evaluation.execution import Execution, plan_and_execute, planning_seed, predicted_states
from orchestrator.testing import DIGEST, Plane, PlaneModel, load_plane
from planners import ModelProblems, Plans, PlanStatus, Start, make_planner
from planners.base import Planner
from planners.search.initialisers import linear
from world_models.base import Context, SquaredDistance, rollout
from world_models.checkpoints.store import LoadedModel
from world_models.tasks import Problem, Task, execute, make_task

QUICK = {
    "grasp": {"iterations": 12, "sync_every": 5, "sync_steps": 2, "goal_weight": 1.0, "noise": 0.3},
    "gd": {"iterations": 3, "lr": 0.05, "init_noise": 0.1},
    "cem": {"iterations": 3, "samples": 12, "elites": 3},
}


@dataclass
class Watched:
    """A planner that records its calls."""

    planner: Planner
    problems: list[ModelProblems] = field(default_factory=list)
    seeds: list[tuple[int, ...]] = field(default_factory=list)
    starts: list[Start | None] = field(default_factory=list)
    plans: list[Plans] = field(default_factory=list)

    def plan(self, model, problems, seeds, on_step=None, start=None) -> Plans:
        self.problems.append(problems)
        self.seeds.append(tuple(seeds))
        self.starts.append(start)
        self.plans.append(self.planner.plan(model, problems, seeds, on_step, start))
        return self.plans[-1]


@dataclass
class Scripted:
    """A planner that returns given actions; a row whose seed is `broken` has a rollout that is not finite."""

    actions: Tensor
    broken: int = -1
    starts: list[Start | None] = field(default_factory=list)

    def plan(self, model, problems, seeds, on_step=None, start=None) -> Plans:
        self.starts.append(start)
        actions = self.actions[:, self.actions.shape[1] - problems.steps :]
        states, status = rollout(model, problems.context, actions), [PlanStatus.REACHED] * problems.batch
        for row, seed in enumerate(seeds):
            if seed == self.broken:
                states[row], status[row] = torch.nan, PlanStatus.NON_FINITE
        cost = problems.goal_cost(states[:, -1], problems.goal)
        ones = torch.ones(problems.batch, dtype=torch.int64)
        return Plans(actions, states, cost, cost, tuple(status), ones, cost[:, None], ones[:, None])


class Drifting(PlaneModel):
    """A plane whose model predicts a drift in x that is not there and has a history that it does not need."""

    def __init__(self, block: int = 1, drift: float = 0.0, history: int = 1) -> None:
        super().__init__(block, drift)
        self.history = history


def plane(block: int = 1) -> tuple[Plane, LoadedModel]:
    return Plane(block), load_plane("plane_2" if block == 2 else "plane", "cpu")


def drawn(task: Task, count: int = 4, horizon: int = 12) -> list[Problem]:
    return [task.problem(seed, horizon) for seed in range(10000, 10000 + count)]


def run(
    task: Task, loaded: LoadedModel, planner: Planner, problems: Sequence[Problem], every: int | None, ahead: int | None = None
) -> Execution:
    seeds = [problem.seed for problem in problems]
    return plan_and_execute(task, loaded, planner, problems, seeds, ExecutionMode(every, ahead))


def same(a: Execution, b: Execution) -> bool:
    arrays = ((a.actions, b.actions), (a.rollout.states, b.rollout.states))
    tensors = ((a.predicted, b.predicted), (a.cost, b.cost), (a.last_cost, b.last_cost), (a.evaluations, b.evaluations))
    equal = all(np.array_equal(x, y) for x, y in arrays) and all(torch.equal(x, y) for x, y in tensors)
    return equal and a.status == b.status


@pytest.mark.parametrize("name", QUICK)
@pytest.mark.parametrize("block", [1, 2])
def test_open_loop_plans_once_and_executes_the_plan(name: str, block: int) -> None:
    task, loaded = plane(block)
    problems, planner = drawn(task), make_planner(name, QUICK[name])
    goal, start = (
        loaded.sensors.encode(loaded.model, task, np.stack([getattr(p, which) for p in problems]))
        for which in ("goal", "start")
    )
    ones = torch.ones(2 * block)
    posed = ModelProblems(Context.at(loaded.model, start), goal, 12 // block, -ones, ones, loaded.goal_cost)
    plans = planner.plan(loaded.model, posed, [problem.seed for problem in problems])
    done = run(task, loaded, planner, problems, None)
    actions = plans.actions.double().numpy().reshape(4, 12, 2)
    assert np.array_equal(done.actions, actions)
    assert np.array_equal(done.rollout.states, execute(task, problems, actions).states)
    assert torch.equal(done.predicted, plans.states)
    assert torch.equal(done.cost, plans.cost)
    assert done.status == plans.status
    assert torch.equal(done.evaluations, plans.evaluations)


@pytest.mark.parametrize("name", QUICK)
@pytest.mark.parametrize("block", [1, 2])
def test_replanning_at_the_horizon_is_open_loop_bit_for_bit(name: str, block: int) -> None:
    task, loaded = plane(block)
    problems, planner = drawn(task), make_planner(name, QUICK[name])
    assert same(run(task, loaded, planner, problems, 12), run(task, loaded, planner, problems, None))


@pytest.mark.parametrize("name", QUICK)
def test_with_the_exact_model_replanning_never_ends_farther_away(name: str) -> None:
    # The rest of a plan is the first plan of the next search, so that the best can only get better.
    task, loaded = plane()
    problems, planner = drawn(task, 8), make_planner(name, QUICK[name])
    once = run(task, loaded, planner, problems, None)
    for every in (1, 4, 5):
        again = run(task, loaded, planner, problems, every)
        assert (again.rollout.final_distance <= once.rollout.final_distance + 1e-5).all()
        assert (again.rollout.final_distance < 0.5 * once.rollout.final_distance).any()


def test_with_a_wrong_model_replanning_succeeds_where_open_loop_fails() -> None:
    task = Plane()
    loaded = LoadedModel("drifting", Drifting(drift=0.02), SquaredDistance(), lambda states: states, {}, DIGEST)
    problems, planner = drawn(task, 8), make_planner("gd", {"iterations": 60, "lr": 0.2})
    once, often = (run(task, loaded, planner, problems, every) for every in (None, 2))
    assert not once.rollout.success.any()
    assert often.rollout.success.all()
    assert (often.rollout.final_distance < once.rollout.final_distance / 3).all()
    predicted_distance = np.linalg.norm(once.predicted[:, -1].numpy() - np.stack([p.goal for p in problems]), axis=1)
    assert (predicted_distance < 0.05).all(), "the model believed in its plans"


@pytest.mark.parametrize("name", QUICK)
def test_rows_do_not_depend_on_the_batch_or_its_order(name: str) -> None:
    task, loaded = plane()
    problems, planner = drawn(task, 5), make_planner(name, QUICK[name])
    together = run(task, loaded, planner, problems, 4)
    order = [3, 0, 4, 2, 1]
    shuffled = run(task, loaded, planner, [problems[i] for i in order], 4)
    assert np.allclose(shuffled.actions, together.actions[order], atol=1e-4)
    for row in (0, 3):
        alone = run(task, loaded, planner, [problems[row]], 4)
        assert np.allclose(alone.actions[0], together.actions[row], atol=1e-4)
        assert torch.allclose(alone.predicted[0], together.predicted[row], atol=1e-4)


def test_a_replanning_has_the_time_left_the_plan_left_and_its_own_noise() -> None:
    task, loaded = plane(2)
    watched = Watched(make_planner("cem", QUICK["cem"]))
    problems = drawn(task, 3, horizon=20)
    done = run(task, loaded, watched, problems, 8)
    assert [posed.steps for posed in watched.problems] == [10, 6, 2]
    assert watched.starts[0] is None
    for number in (1, 2):
        start, before = watched.starts[number], watched.plans[number - 1]
        assert start is not None
        assert torch.equal(start.actions, before.actions[:, 4:])
        assert torch.equal(start.states, before.states[:, 4:-1])
    assert watched.seeds[0] == (10000, 10001, 10002)
    assert watched.seeds[1] == tuple(planning_seed(seed, 1) for seed in (10000, 10001, 10002))
    assert len({seed for seeds in watched.seeds for seed in seeds}) == 9
    parts = [plans.actions[:, :steps] for plans, steps in zip(watched.plans, (4, 4, 2), strict=True)]
    assert np.array_equal(done.actions, torch.cat(parts, 1).double().reshape(3, 20, 2).numpy())


def test_reports_over_several_plannings() -> None:
    task, loaded = plane()
    watched = Watched(make_planner("gd", QUICK["gd"]))
    problems = drawn(task, 3, horizon=8)
    done = run(task, loaded, watched, problems, 3)
    first, second, last = watched.plans
    assert torch.equal(done.predicted, torch.cat([first.states[:, :3], second.states[:, :3], last.states], 1))
    assert torch.equal(done.cost, last.cost)
    assert torch.equal(done.last_cost, last.last_cost)
    assert torch.equal(done.evaluations, first.evaluations + second.evaluations + last.evaluations)
    # The model is exact, so that each part of the prediction joins on to the one before.
    assert np.allclose(done.predicted.numpy(), done.rollout.states[:, 1:], atol=1e-5)


@pytest.mark.parametrize("history", [1, 2, 3])
def test_a_replanning_sees_the_last_states_a_model_step_apart_and_the_actions_between_them(history: int) -> None:
    task = Plane(2)
    model = Drifting(block=2, history=history)
    loaded = LoadedModel("long", model, SquaredDistance(), lambda states: states, {}, DIGEST)
    watched = Watched(make_planner("cem", QUICK["cem"]))
    done = run(task, loaded, watched, drawn(task, 3, horizon=10), 2)
    states = torch.as_tensor(done.rollout.states[:, ::2])
    actions = torch.as_tensor(done.actions).reshape(3, 5, 4).float()
    padded = torch.cat([states[:, :1].expand(-1, history - 1, -1), states], 1)
    taken = torch.cat([torch.zeros(3, history - 1, 4), actions], 1)
    assert len(watched.problems) == 5
    for number, posed in enumerate(watched.problems):
        assert torch.equal(posed.context.states, padded[:, number : number + history].float())
        assert torch.equal(posed.context.actions, taken[:, number : number + history - 1])


@pytest.mark.parametrize("history", [1, 2, 3])
def test_a_plan_sees_the_rows_before_its_start_and_rest_before_those(history: int) -> None:
    task = Plane(2)
    model = Drifting(block=2, history=history)
    loaded = LoadedModel("long", model, SquaredDistance(), lambda states: states, {}, DIGEST)
    problems, rng = drawn(task, 3, horizon=6), np.random.default_rng(0)
    whole = []
    for row, known in enumerate((0, 1, 2)):
        past = rng.normal(size=(known, 2))
        acted = rng.uniform(-1, 1, (2 * known, 2))
        problems[row] = replace(problems[row], past_states=past, past_actions=acted)
        rest = history - 1 - known
        begin = past[0] if known else problems[row].start
        states = np.stack([*[begin] * max(rest, 0), *past, problems[row].start])[-history:]
        actions = np.concatenate([np.zeros((2 * max(rest, 0), 2)), acted]).reshape(-1, 4)
        whole.append((states, actions[len(actions) + 1 - history :]))
    watched = Watched(make_planner("cem", QUICK["cem"]))
    done = run(task, loaded, watched, problems, 4)
    context = watched.problems[0].context
    assert torch.equal(context.states, torch.as_tensor(np.stack([states for states, _ in whole])).float())
    assert torch.equal(context.actions, torch.as_tensor(np.stack([actions for _, actions in whole])).float())
    past = past_of(problems, 2)
    again = predicted_states(task, loaded, done.rollout.states, done.actions, ExecutionMode(4), past)
    assert torch.equal(again, done.predicted)


@pytest.mark.parametrize(("name", "horizon"), [("push_t", 25), ("wall", 30), ("point_maze", 40)])
@pytest.mark.parametrize("every", [5, 7, None])
def test_replanning_in_the_simulator_is_one_rollout(name: str, horizon: int, every: int | None) -> None:
    # Push-T remembers contacts that are not part of its states, so the simulator must not be set to a state half way.
    task = make_task(name)
    problems = drawn(task, 3, horizon)
    goals = np.stack([problem.goal for problem in problems])
    actions = torch.as_tensor(np.stack([problem.reference_actions for problem in problems]))
    watched = Watched(Scripted(actions))
    done = run(task, loaded_for(task), watched, problems, every)
    assert np.array_equal(done.rollout.states[:, -1], goals), "the reference actions lead to the goal, exactly"
    assert np.array_equal(execute(task, problems, done.actions).states, done.rollout.states)
    for number, posed in enumerate(watched.problems):
        seen = task.observe(done.rollout.states[:, number * (every or horizon)])
        assert np.array_equal(posed.context.last.numpy(), seen)


@dataclass(frozen=True)
class Still:
    """A model, for any task, in which nothing moves."""

    state_shape: tuple[int, ...]
    action_dim: int
    history: int = 1
    dtype: torch.dtype = torch.float64

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def encode(self, observation: Tensor) -> Tensor:
        return observation

    def step(self, states: Tensor, actions: Tensor) -> Tensor:
        return states[:, -1].clone()


def loaded_for(task: Task) -> LoadedModel:
    model = Still((task.observation_dim,), task.action_dim)
    return LoadedModel("still", model, SquaredDistance(), lambda states: states, {}, DIGEST)


def test_a_row_that_was_not_finite_starts_anew_and_keeps_its_status() -> None:
    task, loaded = plane()
    problems = drawn(task, 3, horizon=8)
    actions = torch.full((3, 8, 2), 0.25)
    sound, planner = (Scripted(actions, broken) for broken in (-1, 10001))
    expected, done = (run(task, loaded, each, problems, 4) for each in (sound, planner))
    assert done.status == (PlanStatus.REACHED, PlanStatus.NON_FINITE, PlanStatus.REACHED)
    start, other = planner.starts[1], sound.starts[1]
    assert start is not None
    assert other is not None
    rows = [0, 2]
    assert torch.equal(start.states[rows], other.states[rows])
    assert torch.equal(start.actions[rows], other.actions[rows])
    now = torch.as_tensor(done.rollout.states[:, 4]).float()
    goal = torch.as_tensor(np.stack([problem.goal for problem in problems])).float()
    posed = ModelProblems(Context.at(loaded.model, now), goal, 4, -torch.ones(2), torch.ones(2), loaded.goal_cost)
    fresh = linear(loaded.model, posed)
    assert torch.equal(start.states[1], fresh.states[1])
    assert torch.equal(start.actions[1], fresh.actions[1])
    assert np.array_equal(done.rollout.states, expected.rollout.states), "the actions were sound"


def test_the_worst_status_counts() -> None:
    task, loaded = plane()

    @dataclass
    class Ending:
        statuses: list[PlanStatus]

        def plan(self, model, problems, seeds, on_step=None, start=None) -> Plans:
            plans = Scripted(torch.zeros(1, 9, 2)).plan(model, problems, seeds)
            return replace(plans, status=(self.statuses[9 // 3 - problems.steps // 3],))

    reached, completed, spent, bad = (PlanStatus(name) for name in ("reached", "completed", "out_of_budget", "non_finite"))
    for statuses, worst in (
        ([reached, reached, reached], reached),
        ([reached, completed, reached], completed),
        ([spent, completed, reached], spent),
        ([completed, spent, bad], bad),
        ([bad, reached, reached], bad),
        *([[status] * 3, status] for status in PlanStatus),
    ):
        assert run(task, loaded, Ending(statuses), drawn(task, 1, horizon=9), 3).status == (worst,)
