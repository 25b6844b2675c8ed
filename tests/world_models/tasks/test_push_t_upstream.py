"""Push-T as others have it, against values that their code printed (`python -m benchmarks.upstream_push_t --write`)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from world_models.errors import UserError
from world_models.tasks import make_task
from world_models.tasks.base import pose_of
from world_models.tasks.push_t import PushT, PushTUpstream
from world_models.tasks.push_t.resets import asked, dino_wm_states, settled, swm_states, upstream_rows
from world_models.tasks.push_t.upstream_pictures import AGENT_COLOUR, CONTACT_COLOUR, TARGET_COLOUR

GOLDEN = Path(__file__).parents[2] / "golden" / "push_t_upstream.npz"
WHO = ("dino_wm", "swm")


def golden(who: str) -> dict[str, np.ndarray]:
    """The values of one of the two projects, by name."""
    with np.load(GOLDEN) as file:
        return {name.partition("/")[2]: file[name] for name in file.files if name.startswith(f"{who}/")}


def begin(who: str, values: dict[str, np.ndarray]) -> np.ndarray:
    """Our states of its resets."""
    return asked(values["starts"], values["goals"] if who == "swm" else None)


@pytest.mark.parametrize("who", WHO)
def test_states_after_resets_and_random_actions_are_theirs(who: str) -> None:
    values = golden(who)
    states = PushTUpstream(settling=who).simulate(begin(who, values), values["actions"])
    assert np.abs(states[:, 1:, :10] - values["states"][:, 1:]).max() <= 1e-9
    assert np.abs(settled(begin(who, values))[:, :10] - values["states"][:, 0]).max() <= 1e-9
    assert np.ptp(values["states"][:, :, 4:6], axis=1).max() > 5.0, "a block is pushed"


def test_a_goal_that_was_visited_first_can_move_the_start() -> None:
    values = golden("swm")
    plain, visited = settled(asked(values["starts"])), settled(asked(values["starts"], values["goals"]))
    apart = np.abs(plain - visited)[:, :10].max(1)
    assert (apart == 0.0).any()
    assert (apart > 1e-3).any()


@pytest.mark.parametrize("who", WHO)
def test_a_start_that_is_settled_and_one_that_is_not_move_alike(who: str) -> None:
    values, task = golden(who), PushTUpstream(settling=who)
    states = begin(who, values)
    plain, known = (task.simulate(each, values["actions"][:, :5])[:, 1:] for each in (states, settled(states)))
    assert np.array_equal(plain, known)


@pytest.mark.parametrize("who", WHO)
def test_verdicts_are_theirs_and_not_those_of_push_t(who: str) -> None:
    values, task, ours = golden(who), PushTUpstream(settling=who), PushT()
    goals, states = asked(values["verdict_goals"]), asked(values["verdict_states"])
    assert np.array_equal(task.reached(pose_of(task, states), pose_of(task, goals)), values["verdicts"])
    by_gravity = ours.reached(pose_of(ours, states[:, :10]), pose_of(ours, goals[:, :10]))
    half = len(goals) // 2
    assert (by_gravity != values["verdicts"]).any()
    assert by_gravity[half:].mean() > values["verdicts"][half:].mean(), (
        "where pushes turn the block, push_t's test is the easier"
    )


@pytest.mark.parametrize("who", WHO)
def test_pictures_are_theirs(who: str) -> None:
    values = golden(who)
    drawn = PushTUpstream(settling=who).pixels(settled(begin(who, values)), 224)
    assert np.array_equal(drawn, values["pictures"])


def test_a_picture_shows_target_agent_and_contact() -> None:
    task = PushTUpstream()
    touching = np.array([[245.0, 190.0, 256.0, 200.0, np.pi, 0.0, 0.0]])
    apart = touching + np.array([0.0, 90.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    first, second = (task.pixels(asked(rows), 512)[0] for rows in (touching, apart))
    for colour in (TARGET_COLOUR, AGENT_COLOUR):
        assert (second == colour).all(-1).any()
    assert (first == CONTACT_COLOUR).all(-1).any()
    assert not (second == CONTACT_COLOUR).all(-1).any()


def test_random_starts_and_goals_are_theirs() -> None:
    for who, drawn in (("dino_wm", dino_wm_states), ("swm", swm_states)):
        expected = golden(who)["random"]
        assert np.array_equal([np.stack(drawn(seed)) for seed in range(len(expected))], expected)
        task = PushTUpstream(settling=who, problems="random")
        problem = task.problem(3, 25)
        assert np.array_equal(upstream_rows(problem.goal), expected[3, 1])
        assert np.array_equal(problem.start, task.reset_state(3))
        assert np.array_equal(problem.start[18:], expected[3, 0])


def test_targets_are_not_clipped_and_angles_are_wrapped() -> None:
    row = np.array([[20.0, 256.0, 256.0, 256.0, -1.0, 0.0, 0.0]])
    states = make_task("push_t_upstream").simulate(asked(row), np.array([[[-1.0, 0.0]] * 10]))
    assert states[0, -1, 0] < -50.0
    np.testing.assert_allclose(states[0, 1:, 6], 2 * np.pi - 1.0)


@pytest.mark.parametrize("settings", [{"settling": "swmm"}, {"problems": "dset"}])
def test_unknown_settings_are_refused(settings: dict[str, str]) -> None:
    with pytest.raises(UserError, match=r"swm'\?|random, scripted"):
        make_task("push_t_upstream", **settings)
