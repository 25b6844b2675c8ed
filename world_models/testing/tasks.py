"""Promises of every task: true simulators that replay exactly, and problems that depend on their seed alone."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from world_models.tasks import Problem, Task, execute
from world_models.tasks.base import classes_of, executed_actions, pose_of
from world_models.testing.refusals import refuses

SEEDS = range(4)
"""Seeds of the problems that are looked at."""


@dataclass(frozen=True)
class TaskCase:
    """A task, a horizon that it has problems of, and how exactly it goes on from the middle of a trajectory."""

    task: Task
    horizon: int = 20
    """Environment steps; a multiple of four and of the task's `action_block`."""
    continuation: float = 0.0
    """Largest difference of poses; 0 means bit for bit."""
    remake: Callable[..., Task] | None = None
    """Makes the task anew with some settings changed; None for a dataclass, which is made by its class."""
    trajectories: int = 32
    """Trajectories of 20 steps of training behaviour that have to cover the problems; more where contacts are rare."""

    def changed(self, **changes: object) -> Task:
        """The task, made anew, with some settings changed."""
        if self.remake is not None:
            return self.remake(**changes)
        task: Any = self.task
        return dataclasses.replace(task, **changes)

    @cached_property
    def problems(self) -> list[Problem]:
        """The problems of `SEEDS`."""
        return [self.task.problem(seed, self.horizon) for seed in SEEDS]

    @property
    def starts(self) -> np.ndarray:
        """Simulator states at the starts."""
        return np.stack([problem.start for problem in self.problems])

    @property
    def references(self) -> np.ndarray:
        """Actions that lead to the goals."""
        return np.stack([problem.reference_actions for problem in self.problems])

    @property
    def random_actions(self) -> np.ndarray:
        """Actions within the bounds, the same at every call."""
        return np.random.default_rng(0).uniform(-1.0, 1.0, self.references.shape)


def check_task(task: Task | TaskCase, horizon: int = 20, continuation: float = 0.0) -> None:
    """Check everything that planning and training count on; AssertionError for the first promise that is broken.

    `horizon` is one that the task has problems of. `continuation` is by how much poses may differ when a trajectory is gone on
    with from its middle; 0 means bit for bit. A task that is not a dataclass is given as a `TaskCase` with `remake`.
    """
    case = task if isinstance(task, TaskCase) else TaskCase(task, horizon, continuation)
    for check in TASK_CHECKS:
        check(case)
    check_problems_elsewhere([(case.task, case.horizon)])


def check_problems_elsewhere(jobs: Sequence[tuple[Task, int]]) -> None:
    """Another process, with another hash seed, draws the same problems of tasks and horizons; tasks come there pickled."""
    code = (
        "import base64, pickle, sys; from world_models.testing.tasks import digests;"
        "print(*digests(pickle.loads(base64.b64decode(sys.stdin.read()))))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": os.pathsep.join(sys.path)}
    sent = base64.b64encode(pickle.dumps(list(jobs))).decode()
    done = subprocess.run(
        [sys.executable, "-c", code], input=sent, capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, f"another process cannot draw problems: {done.stderr.strip().splitlines()[-1:]}"
    for (task, horizon), here, there in zip(jobs, digests(jobs), done.stdout.split(), strict=True):
        assert here == there, f"{task} draws other problems of {horizon} steps in another process"


def digests(jobs: Sequence[tuple[Task, int]]) -> list[str]:
    """A digest of each task's problems of `SEEDS`."""
    return [_digest([task.problem(seed, horizon) for seed in SEEDS]) for task, horizon in jobs]


def says_what_it_is(case: TaskCase) -> None:
    """Names, sizes and tolerances agree with each other."""
    task = case.task
    assert isinstance(task, Task), f"{type(task).__name__} lacks a property or method of Task"
    assert task.dynamics["name"] == task.name, f"dynamics says {task.dynamics['name']!r}, and the task's name is {task.name!r}"
    assert task.dynamics["action_block"] == task.action_block, "dynamics has another action_block than the task"
    assert task.goal_tolerance.shape == (task.observation_dim,), "goal_tolerance needs one number for each observed feature"
    assert (task.goal_tolerance > 0.0).all(), "goal_tolerance must be positive"
    assert np.isfinite(task.goal_tolerance).any(), "goal_tolerance is infinite throughout: no feature matters"


def problems_depend_on_their_arguments_only(case: TaskCase) -> None:
    """A problem is the same whatever was drawn before, and of the horizon that was asked for."""
    fresh = case.changed()
    for problem in reversed(case.problems):
        again = fresh.problem(problem.seed, case.horizon)
        assert _same(again, problem), f"problem {problem.seed} is another one when it is drawn again"
        fresh.problem(problem.seed + 100, case.horizon)
    assert case.problems[0].horizon == case.horizon, "a problem has another horizon than was asked for"
    shape = (len(case.problems), case.horizon, case.task.action_dim)
    assert case.references.shape == shape, f"reference actions have shape {case.references.shape}, not {shape}"


def action_block_does_not_change_problems(case: TaskCase) -> None:
    """The model decides how many environment steps one of its steps takes."""
    other = case.changed(action_block=1).problem(2, case.horizon)
    assert _same(other, case.problems[2]), "action_block changes the problem of a seed"


def seeds_and_horizons_make_different_problems(case: TaskCase) -> None:
    """No two seeds share a start, and no two horizons do."""
    starts = {problem.start.tobytes() for problem in case.problems}
    assert len(starts) == len(case.problems), "two seeds have the same start"
    longer = case.task.problem(0, 2 * case.horizon).start
    assert not np.array_equal(longer, case.problems[0].start), "two horizons have the same start"


def references_stay_in_bounds_and_succeed_exactly(case: TaskCase) -> None:
    """Every problem is solved, to the last bit, by the actions that made it."""
    assert np.abs(case.references).max() <= 1.0, "reference actions leave their bounds [-1, 1]"
    replay = execute(case.task, case.problems, case.references)
    goals = np.stack([problem.goal for problem in case.problems])
    assert np.array_equal(replay.states[:, -1], goals), "reference actions do not end exactly at the goal"
    assert replay.success.all(), "reference actions do not succeed"
    assert (replay.final_distance == 0.0).all(), "reference actions end at a distance from the goal"


def doing_nothing_fails(case: TaskCase) -> None:
    """A problem that null actions solve says nothing about a planner."""
    idle = execute(case.task, case.problems, np.zeros_like(case.references))
    assert not idle.success.any(), "null actions solve a problem"
    assert not idle.reached[:, 0].any(), "a problem starts at its goal"


def distance_is_zero_and_reached_at_the_goal(case: TaskCase) -> None:
    """Distance, success test and errors agree on what the goal is."""
    task = case.task
    goals, begins = pose_of(task, np.stack([p.goal for p in case.problems])), pose_of(task, case.starts)
    assert (task.distance(goals, goals) == 0.0).all(), "the goal is at a distance from itself"
    assert task.reached(goals, goals).all(), "the goal is not reached at the goal"
    assert (task.distance(begins, goals) > 0.0).all(), "a start is at distance 0 from its goal"
    assert np.allclose(task.distance(begins, goals), task.distance(goals, begins)), "the distance is not symmetric"
    errors, none = task.pose_errors(begins, goals), task.pose_errors(goals, goals)
    assert all((error == 0.0).all() for error in none.values()), "the goal has pose errors against itself"
    assert sum(error.sum() for error in errors.values()) > 0.0, "starts have no pose errors against their goals"
    assert all("_" in name for name in errors), f"pose errors {sorted(errors)} must carry their unit, such as block_px"


def simulation_repeats_bit_for_bit_alone_batched_and_permuted(case: TaskCase) -> None:
    """The rest of a batch changes nothing."""
    task, begin, actions = case.task, case.starts, case.random_actions
    together = task.simulate(begin, actions)
    assert np.array_equal(task.simulate(begin, actions), together), "a simulation gives something else when it is repeated"
    for i in range(len(begin)):
        alone = task.simulate(begin[i : i + 1], actions[i : i + 1])[0]
        assert np.array_equal(alone, together[i]), "a simulation gives something else alone than in a batch"
    order = np.random.default_rng(1).permutation(len(begin))
    assert np.array_equal(task.simulate(begin[order], actions[order]), together[order]), "the order of a batch matters"


def simulation_keeps_its_inputs_and_starts_at_the_start(case: TaskCase) -> None:
    """The first state is the given one, and arguments are left as they are."""
    task, begin, actions = case.task, case.starts, case.random_actions
    copies = begin.copy(), actions.copy()
    states = task.simulate(begin, actions)
    assert np.array_equal(begin, copies[0]), "a simulation changed its states"
    assert np.array_equal(actions, copies[1]), "a simulation changed its actions"
    assert np.array_equal(states[:, 0], begin), "a simulation does not begin with the given states"
    shape = (len(begin), actions.shape[1] + 1, begin.shape[1])
    assert states.shape == shape, f"a simulation gives shape {states.shape}, not {shape}"
    assert np.array_equal(task.simulate(begin, actions[:, :0]), begin[:, None]), "without actions, states must stay"


def what_happens_first_does_not_depend_on_what_comes_later(case: TaskCase) -> None:
    """A simulation of the first half is the first half of a simulation."""
    half = case.horizon // 2
    whole = case.task.simulate(case.starts, case.random_actions)
    first = case.task.simulate(case.starts, case.random_actions[:, :half])
    assert np.array_equal(first, whole[:, : half + 1]), "a simulator state depends on later actions"


def simulation_goes_on_from_the_middle(case: TaskCase) -> None:
    """The simulator state is all that there is to know."""
    states = case.task.simulate(case.starts, case.references)
    half = case.horizon // 2
    rest = case.task.simulate(states[:, half], case.references[:, half:])
    if case.continuation == 0.0:
        assert np.array_equal(rest, states[:, half:]), "a simulation that goes on from its middle gives something else"
    gap = np.abs(pose_of(case.task, rest) - pose_of(case.task, states[:, half:])).max()
    assert gap <= case.continuation, f"a simulation that goes on from its middle misses by {gap:g}"


def actions_beyond_the_bounds_are_clipped(case: TaskCase) -> None:
    """Plans are executed within [-1, 1], but for tasks that say that they take any action."""
    wild = 3.0 * case.random_actions
    if np.array_equal(executed_actions(case.task, wild), wild):
        return
    clipped = execute(case.task, case.problems, np.clip(wild, -1.0, 1.0))
    assert np.array_equal(execute(case.task, case.problems, wild).states, clipped.states), "actions are not clipped"


def observations_and_poses_take_any_leading_axes(case: TaskCase) -> None:
    """One state, a batch and a batch of trajectories are observed alike."""
    task = case.task
    states = task.simulate(case.starts, case.references)
    observations = task.observe(states)
    poses = task.pose(observations)
    shape = (*states.shape[:2], task.observation_dim)
    assert observations.shape == shape, f"observations have shape {observations.shape}, not {shape}"
    assert np.array_equal(task.observe(states[1, 2]), observations[1, 2]), "a single state is observed differently"
    assert np.array_equal(task.pose(observations[1, 2]), poses[1, 2]), "a single observation has another pose"
    assert task.distance(poses, poses).shape == states.shape[:2], "distance does not keep the leading axes"
    assert np.isfinite(observations).all(), "an observation is not finite"


def images_show_the_state(case: TaskCase) -> None:
    """Images of start and goal differ, and are the same when they are drawn again."""
    for size in (64, 96):
        for problem in case.problems:
            start, goal = case.task.render(problem.start, size), case.task.render(problem.goal, size)
            assert start.shape == goal.shape == (size, size, 3), f"an image of {size} px has shape {start.shape}"
            assert start.dtype == np.uint8, f"an image holds {start.dtype}, not uint8"
            assert (start != goal).any(), "start and goal look the same"
            assert np.array_equal(case.task.render(problem.start, size), start), "an image is another one when drawn again"


def senseless_horizons_are_refused(case: TaskCase) -> None:
    """Horizons must be positive, and whole blocks."""
    for horizon in (0, -3):
        with refuses(f"horizon {horizon}", f"horizon {horizon} "):
            case.task.problem(0, horizon)
    with refuses("a horizon of 21 steps in blocks of 4", "21 .*action_block 4: choose 20"):
        case.changed(action_block=4).problem(0, 21)


def senseless_action_blocks_are_refused(case: TaskCase) -> None:
    """An action block is a positive whole number."""
    for block in (0, -1, 2.5):
        with refuses(f"action_block {block}", "action_block"):
            case.changed(action_block=block)


def plans_must_fit_their_problems(case: TaskCase) -> None:
    """One plan of the right length for each problem."""
    with refuses("a plan too few", "plan"):
        execute(case.task, case.problems, case.references[:-1])
    with refuses("plans that are too short", "horizons"):
        execute(case.task, case.problems, case.references[:, :-1])


def behaviour_is_simulated_broad_and_drawn_from_its_generator(case: TaskCase) -> None:
    """Training data are real, are repeatable, and cover the problems."""
    task, count = case.task, case.trajectories
    states, actions = task.sample(np.random.default_rng(0), count, 20)
    again, other = task.sample(np.random.default_rng(0), count, 20), task.sample(np.random.default_rng(1), count, 20)
    assert np.array_equal(states, again[0]), "behaviour gives other states when it is drawn again"
    assert np.array_equal(actions, again[1]), "behaviour gives other actions when it is drawn again"
    assert not np.array_equal(actions, other[1]), "behaviour does not depend on its generator"
    assert states.shape == (count, 21, case.starts.shape[1]), f"behaviour has states of shape {states.shape}"
    assert actions.shape == (count, 20, task.action_dim), f"behaviour has actions of shape {actions.shape}"
    assert np.abs(actions).max() <= 1.0, "actions of behaviour leave their bounds [-1, 1]"
    assert np.array_equal(task.simulate(states[:, 0], actions), states), "states of behaviour are not what its actions do"
    assert (actions.std((0, 1)) > 0.15).all(), "actions of behaviour hardly vary"
    seen = pose_of(task, states).reshape(count * 21, -1)
    asked = pose_of(task, task.simulate(case.starts, case.references))
    slack = 0.1 * (seen.max(0) - seen.min(0))
    assert (asked >= seen.min(0) - slack).all(), "problems lie where behaviour does not go"
    assert (asked <= seen.max(0) + slack).all(), "problems lie where behaviour does not go"


def actions_that_are_classes_are_executed_as_such(case: TaskCase) -> None:
    """Where actions are classes, behaviour takes one in each step, and other values act as the class they stand for."""
    task, count = case.task, classes_of(case.task)
    if count is None:
        return
    _, sampled = task.sample(np.random.default_rng(0), 8, 10)
    for actions in (case.references, sampled):
        taken = np.where(np.arange(count) == actions.argmax(-1)[..., None], 1.0, -1.0)
        assert np.array_equal(actions, taken), "an action of behaviour is not a class: 1 for one of them, -1 for the others"
    plans = case.random_actions
    taken = np.where(np.arange(count) == plans.argmax(-1)[..., None], 1.0, -1.0)
    as_observed, as_taken = (task.observe(task.simulate(case.starts, each)) for each in (plans, taken))
    assert np.array_equal(as_observed, as_taken), "values do not lead where the class leads that is largest in them"


def tasks_are_values_that_pickle_small(case: TaskCase) -> None:
    """Tasks travel to workers, and equal ones are the same."""
    packed = pickle.dumps(case.task)
    assert len(packed) < 1000, f"a pickled task has {len(packed)} bytes"
    other = pickle.loads(packed)
    assert other == case.task, "a task that was pickled is not equal to itself"
    assert hash(other) == hash(case.task), "a task that was pickled has another hash"
    assert _same(other.problem(0, case.horizon), case.problems[0]), "a task that was pickled draws other problems"
    assert _same(pickle.loads(pickle.dumps(case.problems[0])), case.problems[0]), "a problem that was pickled is another one"


TASK_CHECKS: tuple[Callable[[TaskCase], None], ...] = (
    says_what_it_is,
    problems_depend_on_their_arguments_only,
    action_block_does_not_change_problems,
    seeds_and_horizons_make_different_problems,
    references_stay_in_bounds_and_succeed_exactly,
    doing_nothing_fails,
    distance_is_zero_and_reached_at_the_goal,
    simulation_repeats_bit_for_bit_alone_batched_and_permuted,
    simulation_keeps_its_inputs_and_starts_at_the_start,
    what_happens_first_does_not_depend_on_what_comes_later,
    simulation_goes_on_from_the_middle,
    actions_beyond_the_bounds_are_clipped,
    observations_and_poses_take_any_leading_axes,
    images_show_the_state,
    senseless_horizons_are_refused,
    senseless_action_blocks_are_refused,
    plans_must_fit_their_problems,
    behaviour_is_simulated_broad_and_drawn_from_its_generator,
    actions_that_are_classes_are_executed_as_such,
    tasks_are_values_that_pickle_small,
)
"""Each takes a case and raises AssertionError."""


def _same(a: Problem, b: Problem) -> bool:
    arrays = [(a.start, b.start), (a.goal, b.goal), (a.reference_actions, b.reference_actions)]
    return (a.seed, a.horizon, a.kind) == (b.seed, b.horizon, b.kind) and all(np.array_equal(x, y) for x, y in arrays)


def _digest(problems: list[Problem]) -> str:
    parts = [a for p in problems for a in (p.start, p.goal, p.reference_actions)]
    return hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in parts)).hexdigest()
