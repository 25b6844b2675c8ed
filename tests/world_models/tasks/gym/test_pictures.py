"""Environments that observe pictures, and numbers that they tell in info only."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest

from tests.world_models.tasks.gym.made_up import register
from world_models.errors import UserError
from world_models.tasks import make_task
from world_models.tasks.base import Visible
from world_models.tasks.gym import GymTask
from world_models.testing import TASK_CHECKS, TaskCase

register()
TOLD: dict[str, Any] = {"info": ["where"], "features": ["where_0"], "tolerance": 0.05}
PICTURED: dict[str, Any] = {
    "Filmed": {"picture": "observation", **TOLD},
    "FilmedToo": {"picture": "camera", **TOLD},
}


def filmed(name: str, **changes: Any) -> Any:
    task = make_task("gymnasium", id=f"MadeUp/{name}-v0", **{**PICTURED[name], **changes})
    assert isinstance(task, GymTask)
    return task


@pytest.mark.parametrize("name", PICTURED)
def test_pictures_are_those_that_the_environment_observes(name: str) -> None:
    task = filmed(name)
    assert isinstance(task, Visible)
    assert task.state_kind == "replay"
    plan = np.random.default_rng(0).uniform(-1, 1, (1, 12, 1))
    states = task.simulate(task.simulator.reset(5)[None], plan)[0]
    env: Any = gymnasium.make(task.id, disable_env_checker=True).unwrapped
    seen = [env.reset(seed=5)[0], *(env.step((2.0 * action).astype(np.float32))[0] for action in plan[0])]
    pictures = np.array([one["camera"] if isinstance(one, dict) else one for one in seen])
    assert np.array_equal(task.pixels(states, 32), pictures)
    order = np.random.default_rng(1).permutation(13)
    assert np.array_equal(filmed(name).pixels(states[order], 32), pictures[order])
    assert task.feature_names[-2:] == ("where_0", "where_1")
    assert task.observation_dim == 2 + (name == "FilmedToo")


@pytest.mark.parametrize("check", TASK_CHECKS, ids=lambda check: check.__name__)
def test_a_task_of_pictures_keeps_its_promises(check: Any) -> None:
    check(TaskCase(filmed("Filmed"), 20, remake=lambda **changes: filmed("Filmed", **changes)))


def test_pictures_and_what_is_told_are_part_of_the_dynamics() -> None:
    task = filmed("Filmed")
    assert task.dynamics["picture"] == "observation"
    assert task.dynamics["info"] == ["where"]
    assert task == filmed("Filmed")


def test_a_replayed_state_goes_on_from_where_the_environment_is() -> None:
    task = filmed("Filmed")
    states = task.simulate(task.simulator.reset(3)[None], np.ones((1, 30, 1)))[0]
    taken: list[int] = []
    env = task.simulator.env
    task.pixels(states[:1], 32)
    for state in states[1:]:
        before = env.steps
        task.pixels(state[None], 32)
        taken.append(env.steps - before)
    assert taken == [1] * 30
    task.pixels(states[4:5], 32)
    assert env.steps == 4


REFUSED = {
    "none": ("Filmed", {"picture": None, "info": None}, "3072 numbers as 'observation', an image: give `picture: observation`"),
    "key": ("FilmedToo", {"picture": "camra"}, "unknown picture of .* 'camra': did you mean 'camera'"),
    "vector": ("FilmedToo", {"picture": "wheel"}, "not an RGB picture of bytes"),
    "state": ("Filmed", {"state": "attribute"}, "had by replay only, not by state attribute"),
    "told": ("Filmed", {"info": ["were"]}, "unknown key in info of .*did you mean 'where'"),
    "text": ("Filmed", {"info": ["maker"]}, "tells 'us' as 'maker' in info, which is not"),
    "type": ("Filmed", {"picture": 3}, "picture 3 is not the key"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_picture_is_refused_in_a_sentence(case: str) -> None:
    name, changes, pattern = REFUSED[case]
    settings = {**changes} if case != "none" else {**changes, "features": [0], "tolerance": 0.05}
    with pytest.raises(UserError, match=pattern) as refusal:
        filmed(name, **settings)
    assert "\n" not in str(refusal.value)
