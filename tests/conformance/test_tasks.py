"""Promises of every task, checked for each task and setting: add a line to CASES for a new one."""

from __future__ import annotations

import hashlib
import os
import pickle
import subprocess
import sys
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from world_models.errors import UserError
from world_models.tasks import TASKS, Problem, Task, execute, make_task
from world_models.tasks.base import pose_of

SEEDS = range(4)


@dataclass(frozen=True)
class Case:
    """A task with settings, a horizon that it has problems for, and the precision of resuming in the middle of a trajectory."""

    name: str
    settings: dict[str, object] = field(default_factory=dict)
    horizon: int = 20
    continuation: float = 0.0
    """Largest difference of poses; 0 means bit for bit."""

    def __str__(self) -> str:
        return "-".join([self.name, *(f"{value}" for value in self.settings.values())])


CASES = [
    *(Case("wall", {"kind": kind}, 40) for kind in ("free", "shallow", "deep", "any")),
    Case("wall", {"kind": "shallow", "speed": 2.5, "action_block": 5}, 20),
    Case("wall", {"kind": "any", "speed": 6.0}, 12),
    Case("point_maze", {"maze": "umaze"}, 50),
    Case("point_maze", {"maze": "medium", "action_block": 5}, 60),
    # pymunk warm-starts contacts from the previous step, which is not part of the simulator state.
    Case("push_t", {}, 20, continuation=0.5),
    Case("push_t", {"action_block": 5}, 25, continuation=0.5),
]


@lru_cache
def drawn(index: int) -> tuple[Task, list[Problem]]:
    """The case's task and its problems of SEEDS."""
    case = CASES[index]
    task = make_task(case.name, **case.settings)
    return task, [task.problem(seed, case.horizon) for seed in SEEDS]


@pytest.fixture(params=range(len(CASES)), ids=[str(case) for case in CASES])
def index(request: pytest.FixtureRequest) -> int:
    return request.param


@pytest.fixture
def case(index: int) -> Case:
    return CASES[index]


@pytest.fixture
def task(index: int) -> Task:
    return drawn(index)[0]


@pytest.fixture
def problems(index: int) -> list[Problem]:
    return drawn(index)[1]


def same(a: Problem, b: Problem) -> bool:
    arrays = [(a.start, b.start), (a.goal, b.goal), (a.reference_actions, b.reference_actions)]
    return (a.seed, a.horizon, a.kind) == (b.seed, b.horizon, b.kind) and all(np.array_equal(x, y) for x, y in arrays)


def references(problems: list[Problem]) -> np.ndarray:
    return np.stack([problem.reference_actions for problem in problems])


def starts(problems: list[Problem]) -> np.ndarray:
    return np.stack([problem.start for problem in problems])


def random_actions(problems: list[Problem], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1.0, 1.0, references(problems).shape)


def digest(problems: list[Problem]) -> str:
    parts = [a for p in problems for a in (p.start, p.goal, p.reference_actions)]
    return hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in parts)).hexdigest()


def test_every_registered_task_is_here() -> None:
    assert {case.name for case in CASES} == set(TASKS)


def test_says_what_it_is(task: Task, case: Case) -> None:
    assert isinstance(task, Task)
    assert task.name == case.name
    assert task.dynamics["name"] == case.name
    assert task.dynamics["action_block"] == task.action_block == case.settings.get("action_block", 1)
    assert task.goal_tolerance.shape == (task.observation_dim,)
    assert (task.goal_tolerance > 0.0).all()
    assert np.isfinite(task.goal_tolerance).any()


def test_problems_depend_on_their_arguments_only(task: Task, case: Case, problems: list[Problem]) -> None:
    fresh = make_task(case.name, **case.settings)
    for problem in reversed(problems):
        assert same(fresh.problem(problem.seed, case.horizon), problem)
        fresh.problem(problem.seed + 100, case.horizon)
    assert problems[0].horizon == case.horizon
    assert references(problems).shape == (len(problems), case.horizon, task.action_dim)


def test_another_process_draws_the_same_problems() -> None:
    """The process has another hash seed, and gets the tasks pickled."""
    code = (
        "import pickle, sys; sys.path.insert(0, '.');"
        "from tests.conformance.test_tasks import SEEDS, digest;"
        "jobs = pickle.load(sys.stdin.buffer);"
        "print(*[digest([task.problem(seed, horizon) for seed in SEEDS]) for task, horizon in jobs])"
    )
    jobs = pickle.dumps([(drawn(i)[0], case.horizon) for i, case in enumerate(CASES)])
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    root = Path(__file__).parents[2]
    out = subprocess.run([sys.executable, "-c", code], input=jobs, capture_output=True, cwd=root, env=environment, check=True)
    assert out.stdout.decode().split() == [digest(drawn(i)[1]) for i in range(len(CASES))]


def test_action_block_does_not_change_problems(case: Case, problems: list[Problem]) -> None:
    other = make_task(case.name, **{**case.settings, "action_block": 1})
    assert same(other.problem(2, case.horizon), problems[2])


def test_seeds_and_horizons_make_different_problems(task: Task, case: Case, problems: list[Problem]) -> None:
    assert len({problem.start.tobytes() for problem in problems}) == len(problems)
    assert not np.array_equal(task.problem(0, 2 * case.horizon).start, problems[0].start)


def test_references_stay_in_bounds_and_succeed_exactly(task: Task, problems: list[Problem]) -> None:
    assert np.abs(references(problems)).max() <= 1.0
    replay = execute(task, problems, references(problems))
    assert np.array_equal(replay.states[:, -1], np.stack([p.goal for p in problems]))
    assert replay.success.all()
    assert (replay.final_distance == 0.0).all()


def test_doing_nothing_fails(task: Task, problems: list[Problem]) -> None:
    idle = execute(task, problems, np.zeros_like(references(problems)))
    assert not idle.success.any()
    assert not idle.reached[:, 0].any()


def test_distance_is_zero_and_reached_at_the_goal(task: Task, problems: list[Problem]) -> None:
    goals, begins = pose_of(task, np.stack([p.goal for p in problems])), pose_of(task, starts(problems))
    assert (task.distance(goals, goals) == 0.0).all()
    assert task.reached(goals, goals).all()
    assert (task.distance(begins, goals) > 0.0).all()
    assert np.allclose(task.distance(begins, goals), task.distance(goals, begins))
    errors, none = task.pose_errors(begins, goals), task.pose_errors(goals, goals)
    assert all((error == 0.0).all() for error in none.values())
    assert sum(error.sum() for error in errors.values()) > 0.0
    assert all("_" in name for name in errors), "names carry their unit"


def test_simulation_repeats_bit_for_bit_alone_batched_and_permuted(task: Task, problems: list[Problem]) -> None:
    begin, actions = starts(problems), random_actions(problems)
    together = task.simulate(begin, actions)
    assert np.array_equal(task.simulate(begin, actions), together)
    for i in range(len(problems)):
        assert np.array_equal(task.simulate(begin[i : i + 1], actions[i : i + 1])[0], together[i])
    order = np.random.default_rng(1).permutation(len(problems))
    assert np.array_equal(task.simulate(begin[order], actions[order]), together[order])


def test_simulation_keeps_its_inputs_and_starts_at_the_start(task: Task, problems: list[Problem]) -> None:
    begin, actions = starts(problems), random_actions(problems)
    copies = begin.copy(), actions.copy()
    states = task.simulate(begin, actions)
    assert np.array_equal(begin, copies[0])
    assert np.array_equal(actions, copies[1])
    assert np.array_equal(states[:, 0], begin)
    assert states.shape == (len(problems), actions.shape[1] + 1, begin.shape[1])
    assert np.array_equal(task.simulate(begin, actions[:, :0]), begin[:, None])


def test_what_happens_first_does_not_depend_on_what_comes_later(task: Task, problems: list[Problem]) -> None:
    begin, actions = starts(problems), random_actions(problems)
    half = actions.shape[1] // 2
    assert np.array_equal(task.simulate(begin, actions[:, :half]), task.simulate(begin, actions)[:, : half + 1])


def test_simulation_goes_on_from_the_middle(task: Task, case: Case, problems: list[Problem]) -> None:
    actions = references(problems)
    states = task.simulate(starts(problems), actions)
    half = actions.shape[1] // 2
    rest = task.simulate(states[:, half], actions[:, half:])
    if case.continuation == 0.0:
        assert np.array_equal(rest, states[:, half:])
    assert np.abs(pose_of(task, rest) - pose_of(task, states[:, half:])).max() <= case.continuation


def test_actions_beyond_the_bounds_are_clipped(task: Task, problems: list[Problem]) -> None:
    wild = 3.0 * random_actions(problems)
    clipped = execute(task, problems, np.clip(wild, -1.0, 1.0))
    assert np.array_equal(execute(task, problems, wild).states, clipped.states)


def test_observations_and_poses_take_any_leading_axes(task: Task, problems: list[Problem]) -> None:
    states = task.simulate(starts(problems), references(problems))
    observations = task.observe(states)
    poses = task.pose(observations)
    assert observations.shape == (*states.shape[:2], task.observation_dim)
    assert np.array_equal(task.observe(states[1, 2]), observations[1, 2])
    assert np.array_equal(task.pose(observations[1, 2]), poses[1, 2])
    assert task.distance(poses, poses).shape == states.shape[:2]
    assert np.isfinite(observations).all()


@pytest.mark.parametrize("size", [64, 96])
def test_pictures_show_the_state(task: Task, problems: list[Problem], size: int) -> None:
    for problem in problems:
        start, goal = task.render(problem.start, size), task.render(problem.goal, size)
        assert start.shape == goal.shape == (size, size, 3)
        assert start.dtype == np.uint8
        assert (start != goal).any()
        assert np.array_equal(task.render(problem.start, size), start)


@pytest.mark.parametrize("horizon", [0, -3])
def test_senseless_horizons_are_refused(task: Task, horizon: int) -> None:
    with pytest.raises(UserError, match=f"horizon {horizon} "):
        task.problem(0, horizon)


def test_horizons_must_be_whole_blocks(case: Case) -> None:
    task = make_task(case.name, **{**case.settings, "action_block": 4})
    with pytest.raises(UserError, match="not a multiple of action_block 4: choose 20"):
        task.problem(0, 21)


def test_senseless_settings_are_refused(case: Case) -> None:
    for block in (0, -1, 2.5):
        with pytest.raises(UserError, match="action_block"):
            make_task(case.name, **{**case.settings, "action_block": block})
    with pytest.raises(UserError, match="colour"):
        make_task(case.name, colour="red")


def test_plans_must_fit_their_problems(task: Task, problems: list[Problem]) -> None:
    actions = references(problems)
    with pytest.raises(UserError, match="plan"):
        execute(task, problems, actions[:-1])
    with pytest.raises(UserError, match="horizons"):
        execute(task, problems, actions[:, :-1])


def test_behaviour_is_simulated_broad_and_drawn_from_its_generator(task: Task, problems: list[Problem]) -> None:
    states, actions = task.sample(np.random.default_rng(0), 32, 20)
    again = task.sample(np.random.default_rng(0), 32, 20)
    assert np.array_equal(states, again[0])
    assert np.array_equal(actions, again[1])
    assert not np.array_equal(actions, task.sample(np.random.default_rng(1), 32, 20)[1])
    assert states.shape == (32, 21, problems[0].start.shape[0])
    assert actions.shape == (32, 20, task.action_dim)
    assert np.abs(actions).max() <= 1.0
    assert np.array_equal(task.simulate(states[:, 0], actions), states)
    assert (actions.std((0, 1)) > 0.15).all()
    seen, asked = (
        pose_of(task, states).reshape(32 * 21, -1),
        pose_of(task, task.simulate(starts(problems), references(problems))),
    )
    slack = 0.1 * (seen.max(0) - seen.min(0))
    assert (asked >= seen.min(0) - slack).all(), "problems lie where behaviour goes"
    assert (asked <= seen.max(0) + slack).all(), "problems lie where behaviour goes"


def test_tasks_are_values_that_pickle_small(task: Task, case: Case, problems: list[Problem]) -> None:
    packed = pickle.dumps(task)
    assert len(packed) < 1000
    copy = pickle.loads(packed)
    assert copy == task
    assert hash(copy) == hash(task)
    assert same(copy.problem(0, case.horizon), problems[0])
    assert same(pickle.loads(pickle.dumps(problems[0])), problems[0])
