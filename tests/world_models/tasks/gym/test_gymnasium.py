"""Any Gymnasium environment: exact states by every means, problems that are not trivial, and refusals in one sentence."""

from __future__ import annotations

import hashlib
import importlib.util
import pickle
from typing import Any

import gymnasium
import numpy as np
import pytest

from tests.world_models.tasks.gym.made_up import register
from world_models.errors import UserError
from world_models.tasks import execute, make_task
from world_models.tasks.base import Visible
from world_models.tasks.gym import GymTask
from world_models.tasks.gym.behaviour import BEHAVIOURS, behave, varied
from world_models.tasks.gym.presets import PRESETS
from world_models.tasks.gym.spaces import Actions
from world_models.tasks.gym.states.packing import PackingError, form_of, pack, unpack

register()
GOAL: dict[str, Any] = {"features": [0], "tolerance": 0.05}


def task_of(name: str, **settings: Any) -> GymTask:
    task = make_task("gymnasium", id=name, **settings)
    assert isinstance(task, GymTask)
    return task


def made_up(name: str, **settings: Any) -> GymTask:
    return task_of(f"MadeUp/{name}-v0", **{**GOAL, **settings})


def get_body(env: Any) -> list[float]:
    return [env.unwrapped.position, env.unwrapped.speed]


def set_body(env: Any, state: list[float]) -> None:
    env.unwrapped.position, env.unwrapped.speed = state


OWN = {"get_state": get_body, "set_state": set_body}

MEANS = {
    "Pendulum-v1": ("attribute", {}),
    "MountainCar-v0": ("attribute", {}),
    "Acrobot-v1": ("attribute", {"features": [4, 5], "tolerance": 1.0}),
    "Reacher-v5": ("mujoco", {}),
    "Pusher-v5": ("mujoco", {}),
    "InvertedPendulum-v5": ("mujoco", {}),
    "MadeUp/Cart-v0": ("attribute", GOAL),
    "MadeUp/SeededNoise-v0": ("replay", GOAL),
    "MadeUp/SharedStart-v0": ("attribute", GOAL),
    "MadeUp/Hiding-v0": ("replay", GOAL),
    "MadeUp/Declaring-v0": ("callables", GOAL),
    "MadeUp/Hiding-v0 by functions": ("callables", {**GOAL, **OWN}),
    "MadeUp/Choosing-v0": ("attribute", GOAL),
}


@pytest.mark.parametrize("name", MEANS)
def test_states_are_taken_by_the_best_means_and_restored_exactly(name: str) -> None:
    kind, settings = MEANS[name]
    here, there = (task_of(name.partition(" ")[0], **settings) for _ in range(2))
    assert here.state_kind == kind
    states, actions = here.sample(np.random.default_rng(3), 3, 30)
    there.simulate(states[:1, 9], actions[:1, :5])
    assert np.array_equal(there.simulate(states[:, 12], actions[:, 12:]), states[:, 12:])


@pytest.mark.parametrize("name", ["Pendulum-v1", "Reacher-v5", "MountainCarContinuous-v0"])
def test_trajectories_are_the_environments_own_beyond_its_time_limit(name: str) -> None:
    task = task_of(name)
    plan = np.random.default_rng(0).uniform(-1, 1, (1, 220, task.action_dim))
    start = task.simulator.reset(5)
    states = task.simulate(start[None], plan)[0]
    env: Any = gymnasium.make(name).unwrapped
    seen = [env.reset(seed=5)[0]]
    low, high = env.action_space.low, env.action_space.high
    seen += [env.step((low + 0.5 * (action + 1) * (high - low)).astype(np.float32))[0] for action in plan[0]]
    assert np.array_equal(task.observe(states), np.array(seen, dtype=np.float64))


@pytest.mark.parametrize("name", ["MadeUp/SeededNoise-v0", "MadeUp/Hiding-v0"])
def test_replay_and_functions_agree_and_replay_ends_where_it_says(name: str) -> None:
    task = task_of(name, **GOAL, longest=12)
    state = task.simulator.reset(1)[None]
    assert task.simulate(state, np.zeros((1, 12, 1))).shape == (1, 13, 2 + 2 + 12)
    with pytest.raises(UserError, match="at most 12 steps"):
        task.simulate(state, np.zeros((1, 13, 1)))


REFUSED = {
    "LooseNoise": ({}, r"cannot be restored exactly \(attribute: off by .*replay: off by .*reset\(seed\)"),
    "LooseStart": ({}, r"cannot be restored exactly \(attribute: off by .*replay: off by .*reset\(seed\)"),
    "Hiding": ({"state": "attribute"}, "no attribute of numbers"),
    "SeededNoise": ({"state": "attribute"}, r"attribute: off by .*choose state auto"),
    "Cart": ({"state": "mujoco"}, "keeps no MuJoCo model"),
    "Declaring": ({"state": "everything"}, "unknown state"),
    "Choosing": ({"state": "callables"}, "declares no get_state"),
    "Unbounded": ({}, "without finite bounds"),
    "Several": ({}, "MultiDiscrete.*bounded Box"),
    "Image": ({}, "12288 numbers .*an image"),
    "Judging": ({"keys": ["colour"]}, "unknown observation key"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_environments_that_cannot_be_driven_are_refused_in_a_sentence(name: str) -> None:
    settings, pattern = REFUSED[name]
    with pytest.raises(UserError, match=pattern) as refusal:
        made_up(name, **settings)
    assert "\n" not in str(refusal.value)


BAD = {
    "id": ({"id": "Pendulm-v1"}, "did you mean Pendulum-v1"),
    "no id": ({}, "not a Gymnasium id"),
    "module": ({"id": "no_such_module:Thing-v0"}, "names a module, which an id may not"),
    "kwargs": ({"id": "Pendulum-v1", "kwargs": {"mass": 2}}, "check its id and kwargs"),
    "kwargs list": ({"id": "Pendulum-v1", "kwargs": [1]}, "mapping of names"),
    "no preset": ({"id": "Acrobot-v1"}, "no preset for Acrobot-v1"),
    "feature": ({"id": "Pendulum-v1", "features": ["sin_angel"], "tolerance": 1.0}, "did you mean 'sin_angle'"),
    "index": ({"id": "Pendulum-v1", "features": [3], "tolerance": 1.0}, "index from 0 to 2"),
    "twice": ({"id": "Pendulum-v1", "features": [0, "cos_angle"], "tolerance": 1.0}, "each once"),
    "tolerance": ({"id": "Pendulum-v1", "features": [0], "tolerance": -1.0}, "positive number"),
    "tolerances": ({"id": "Pendulum-v1", "features": [0], "tolerance": [1, 2]}, "2 values for 1 features"),
    "behaviour": ({"id": "Pendulum-v1", "behaviour": "smoth"}, "did you mean 'smooth'"),
    "away": ({"id": "Pendulum-v1", "away": "far"}, "not a number of tolerances"),
    "success": ({"id": "Pendulum-v1", "success": 3}, "neither 'tolerance'"),
    "strength": ({"id": "Pendulum-v1", "strength": 2}, "strength 2 is not a number above 0, up to 1"),
    "info": ({"id": "Pendulum-v1", "success": "is_success"}, "gives no 'is_success' in info"),
    "one function": ({"id": "Pendulum-v1", "get_state": get_body}, "belong together"),
    "keys": ({"id": "Pendulum-v1", "keys": ["observation"]}, "leave them out"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_settings_are_refused_in_a_sentence(case: str) -> None:
    settings, pattern = BAD[case]
    with pytest.raises(UserError, match=pattern) as refusal:
        make_task("gymnasium", **settings)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("package", ["gymnasium", "gymnasium_robotics"])
def test_a_missing_package_is_named(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else found(name))
    with pytest.raises(UserError, match=r"needs the package gymnasium.*pip install"):
        make_task("gymnasium", id="FetchReach-v4", longest=7)


def test_kwargs_are_values_and_part_of_the_dynamics() -> None:
    low, same, text = (made_up("Cart", kwargs=kwargs) for kwargs in ({"drag": 0.5}, {"drag": 0.5}, '{"drag": 0.5}'))
    assert low == same == text
    assert len({hash(low), hash(text)}) == 1
    low.problem(0, 20)
    assert pickle.loads(pickle.dumps(low)) == low
    assert low != made_up("Cart")
    assert low.dynamics == {"name": "gymnasium", "id": "MadeUp/Cart-v0", "action_block": 1, "kwargs": {"drag": 0.5}}
    rebuilt = make_task("gymnasium", **{k: v for k, v in low.dynamics.items() if k != "name"}, **GOAL)
    assert rebuilt == low


def test_actions_are_scaled_to_their_bounds_and_classes_are_the_largest_value() -> None:
    box = made_up("Skewed").simulator.interface.actions
    assert [float(box.of(np.array([a]))[0]) for a in (-1.0, 0.0, 1.0)] == [-2.0, 1.0, 4.0]
    classes = made_up("Choosing").simulator.interface.actions
    assert classes.size == 3
    plans = ([0.0, 0.0, 0.0], [-1.0, 0.0, 0.0], [0.1, 0.1, 0.2], [0.5, -1.0, 0.5])
    assert [classes.of(np.array(plan)) for plan in plans] == [5, 6, 7, 5]


def test_strength_scales_the_actions_that_lead_to_goals() -> None:
    strong, weak = made_up("Cart", tolerance=0.001), made_up("Cart", tolerance=0.001, strength=0.1)
    assert np.abs(strong.problem(0, 20).reference_actions).max() > 0.5
    assert np.abs(weak.problem(0, 20).reference_actions).max() <= 0.1
    assert weak.dynamics == strong.dynamics
    assert weak != strong


def test_problems_of_an_environment_that_begins_alike_start_apart() -> None:
    task = made_up("FixedStart")
    starts = {task.problem(seed, 20).start.tobytes() for seed in range(6)}
    assert len(starts) == 6
    assert not task.simulator.varies
    assert made_up("Cart").simulator.varies


@pytest.mark.parametrize("kind", BEHAVIOURS)
def test_discrete_behaviour_takes_every_class(kind: str) -> None:
    actions = behave(np.random.default_rng(0), kind, Actions("discrete", 3), 20, 50)
    assert (np.sort(actions, -1) == [-1.0, -1.0, 1.0]).all()
    assert set(actions.argmax(-1).ravel().tolist()) == {0, 1, 2}


def test_training_behaviour_takes_all_classes_and_nothing_in_between() -> None:
    actions = varied(np.random.default_rng(0), Actions("discrete", 3), 12, 200)
    assert (np.sort(actions, -1) == [-1.0, -1.0, 1.0]).all()
    share = np.bincount(actions.argmax(-1).ravel(), minlength=3) / actions[..., 0].size
    assert (share > 0.25).all()


@pytest.mark.parametrize("name", ["Pendulum-v1", "Reacher-v5", "MountainCarContinuous-v0", "CartPole-v1"])
def test_neither_null_nor_random_actions_solve_problems(name: str) -> None:
    task = task_of(name)
    problems = [task.problem(seed, 40) for seed in range(12)]
    references = np.stack([problem.reference_actions for problem in problems])
    null = execute(task, problems, np.zeros_like(references))
    assert not null.success.any()
    assert null.distance[:, [0, -1]].min() >= task.away
    chance = execute(task, problems, np.random.default_rng(0).uniform(-1, 1, references.shape)).success
    assert chance.mean() <= 0.1
    assert execute(task, problems, references).success.all()


def test_horizons_without_problems_are_refused() -> None:
    with pytest.raises(UserError, match="none of 200 trajectories of 4 steps"):
        made_up("Cart", tolerance=1.0).problem(0, 4)


def test_success_by_info_restores_what_the_environment_hides() -> None:
    task = made_up("Judging", success="is_success", features=None, tolerance=None)
    assert task.state_kind == "replay"
    assert (task.observation_dim, task.feature_names[-1]) == (3, "success")
    problems = [task.problem(seed, 30) for seed in range(4)]
    references = np.stack([problem.reference_actions for problem in problems])
    run = execute(task, problems, references)
    assert run.success.all()
    assert not run.reached[:, 0].any()
    assert np.array_equal(run.reached, task.observe(run.states)[..., -1] == 1.0)


def test_success_by_termination_and_by_functions() -> None:
    ended = made_up("Cart", success="terminated", features=None, tolerance=None)
    problem = ended.problem(0, 60)
    run = execute(ended, [problem], problem.reference_actions[None])
    assert np.array_equal(run.reached[0], ended.observe(run.states)[0, :, 0] > 1.0)
    assert ended.dynamics["success"] == "terminated"
    far = made_up("Cart", success=near, distance_by=gap)
    poses, goals = np.array([[0.0], [0.9]]), np.array([[1.0], [1.0]])
    assert far.reached(poses, goals).tolist() == [False, True]
    assert far.distance(poses, goals) == pytest.approx([1.0, 0.1])


def near(poses: np.ndarray, goals: np.ndarray) -> np.ndarray:
    return gap(poses, goals) < 0.5


def gap(poses: np.ndarray, goals: np.ndarray) -> np.ndarray:
    return np.abs(poses - goals)[..., 0]


def test_pictures_are_the_environments_own_or_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    pendulum, reacher = task_of("Pendulum-v1"), task_of("Reacher-v5")
    assert isinstance(pendulum, Visible)
    assert not isinstance(reacher, Visible)
    states, _ = pendulum.sample(np.random.default_rng(0), 3, 2)
    pictures = pendulum.pixels(states[:, -1], 32)
    assert np.array_equal(pictures[1], pendulum.render(states[1, -1], 32))
    assert (pictures[0] != pictures[1]).any()
    assert reacher.render(reacher.simulator.reset(0), 48).shape == (48, 48, 3)


@pytest.mark.parametrize(
    "value",
    [
        3,
        0.5,
        True,
        np.float32(0.1),
        np.array([[1, 2], [3, 4]], np.int32),
        (1.0, np.float64(2.0)),
        [1, (2.5, False)],
        {"b": 1, "a": [0.1]},
    ],
)
def test_values_of_numbers_are_packed_and_unpacked(value: Any) -> None:
    again = unpack(pack(value, form_of(value)), form_of(value))
    assert form_of(again) == form_of(value)
    assert repr(again) == repr(value if not isinstance(value, dict) else dict(sorted(value.items())))


@pytest.mark.parametrize("value", [None, "x", object(), [np.array(["a"])], 2**60 + 1, np.array([2**60 + 1])])
def test_values_that_float64_cannot_hold_are_refused(value: Any) -> None:
    with pytest.raises(PackingError):
        pack(value, form_of(value))


def test_presets_are_those_of_this_version() -> None:
    """They decide what a problem is, and only the task's version is in a cell's id: a change of one raises it."""
    known = hashlib.sha256(repr(sorted(PRESETS.items())).encode()).hexdigest()[:16]
    assert (task_of("Pendulum-v1").version, known) == (1, "c5feea4dd908a014")


def test_a_setting_that_no_float_holds_is_refused() -> None:
    with pytest.raises(UserError, match=r"task 'wall' does not take these settings .int too large"):
        make_task("wall", speed=10**400)
