"""Problems of recorded rows: the simulator is put into what was recorded, goals are where recorded actions lead."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.recorded_episodes import behaved, write_minari, write_swm
from world_models.datasets import open_dataset
from world_models.datasets.problems.drawing import RecordedSource
from world_models.datasets.problems.settings import RecordedProblems
from world_models.errors import UserError
from world_models.tasks import Task, execute, make_task
from world_models.tasks.push_t.resets import asked, settled, upstream_rows

HORIZON = 20


def source(task: Task, path: Path, **more: object) -> RecordedSource:
    """The problems of a file."""
    settings = RecordedProblems(str(path), open_dataset(path).digest(), split="all")
    return RecordedSource.open(task, replace(settings, **more), HORIZON)


def in_units(actions: np.ndarray, task: Task) -> np.ndarray:
    """Actions in the environment's units."""
    return 2 * actions if "Pendulum" in str(task.dynamics) else actions


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("wall", {}),
        ("wall", {"action_block": 5}),
        ("point_maze", {}),
        ("push_t", {}),
        ("two_room", {}),
        ("gymnasium", {"id": "Pendulum-v1"}),
        ("gymnasium", {"id": "Acrobot-v1", "tolerance": 0.1}),
        ("gymnasium", {"id": "CartPole-v1"}),
        ("gymnasium", {"id": "MountainCarContinuous-v0"}),
    ],
)
def test_start_goal_and_past_are_the_recorded_states(name: str, more: dict[str, object], tmp_path: Path) -> None:
    task = make_task(name, **more)
    states, actions = behaved(task, 6, 60)
    if getattr(task, "action_kind", "box") == "discrete":
        recorded = np.argmax(np.nan_to_num(actions, nan=-1.0), axis=-1)[..., None]
    else:
        recorded = in_units(actions, task)
    path = write_swm(tmp_path / "rows.h5", {"observation": task.observe(states), "action": recorded})
    problems, block = source(task, path), task.action_block
    for seed in range(5):
        rows, problem = problems.problems.at(seed), problems.problem(seed, past=2)
        known = min(2, rows.start // block)
        before = [rows.start - (known - k) * block for k in range(known)]
        assert problem.past_states is not None
        for found, row in zip(
            [*problem.past_states, problem.start, problem.goal], [*before, rows.start, rows.goal], strict=True
        ):
            np.testing.assert_allclose(task.observe(found), task.observe(states[rows.episode, row]), atol=1e-6)
        np.testing.assert_allclose(problem.reference_actions, actions[rows.episode, rows.start : rows.goal], atol=1e-6)
        assert problem.past_actions is not None
        np.testing.assert_allclose(
            problem.past_actions, actions[rows.episode, rows.start - known * block : rows.start], atol=1e-6
        )
        again = execute(task, [problem], problem.reference_actions[None])
        assert again.success[0] or name == "push_t", "what was recorded leads to the goal"
        assert again.final_distance[0] < 5 * float(np.min(task.goal_tolerance))


def test_push_t_is_put_into_the_state_column_of_upstream(tmp_path: Path) -> None:
    task = make_task("push_t")
    states, actions = behaved(task, 4, 60)
    theirs = states[..., [0, 1, 4, 5, 6, 2, 3]]
    whole = source(task, write_swm(tmp_path / "ours.h5", {"simulator_state": states, "action": actions}))
    swm = source(task, write_swm(tmp_path / "swm.h5", {"state": theirs, "action": actions}))
    gym_pusht = source(task, write_swm(tmp_path / "gym.h5", {"state": theirs[..., :5], "action": actions}))
    seen = source(task, write_swm(tmp_path / "seen.h5", {"observation": task.observe(states), "action": actions}))
    both = {"observation": task.observe(states), "state": theirs[..., :5], "action": actions}
    with_speed = source(task, write_swm(tmp_path / "both.h5", both))
    named = source(
        task, write_swm(tmp_path / "named.h5", {"state": task.observe(states), "action": actions}), observation=("state",)
    )
    for seed in range(8):
        rows = whole.problems.at(seed)
        true, exact = states[rows.episode, rows.start], whole.problem(seed).start
        assert np.array_equal(exact, true)
        assert np.array_equal(swm.problem(seed).start[:7], true[:7])
        assert np.array_equal(gym_pusht.problem(seed).start[[0, 1, 4, 5, 6]], true[[0, 1, 4, 5, 6]])
        np.testing.assert_allclose(with_speed.problem(seed).start[:7], true[:7], atol=1e-9)
        for problems in (seen, named):
            turned = problems.problem(seed).start - true
            np.testing.assert_allclose(turned[:6], 0, atol=1e-9)
            np.testing.assert_allclose(np.sin(turned[6]), 0, atol=1e-9)


def test_push_t_upstream_is_put_into_rows_of_both_layouts(tmp_path: Path) -> None:
    import torch

    task, other = make_task("push_t_upstream"), make_task("push_t_upstream", settling="swm")
    states, actions = behaved(task, 4, 60)
    theirs = upstream_rows(states).astype(np.float32)
    folder = tmp_path / "dino"
    folder.mkdir()
    held = {"states": theirs[..., :5], "velocities": theirs[..., 5:], "rel_actions": 100 * actions.astype(np.float32)}
    for name, values in held.items():
        torch.save(torch.from_numpy(values), folder / f"{name}.pth")
    torch.save(torch.full((4,), 61), folder / "seq_lengths.pth")
    swm = write_swm(tmp_path / "swm.h5", {"state": theirs, "action": actions})
    ours = source(task, write_swm(tmp_path / "ours.h5", {"simulator_state": states, "action": actions}))
    for seed in range(6):
        rows = ours.problems.at(seed)
        start, goal = (asked(theirs[rows.episode, row].astype(float)) for row in (rows.start, rows.goal))
        for made, begun in ((source(task, folder), settled(start[None])[0]), (source(other, swm), start)):
            problem = made.problem(seed)
            assert np.array_equal(problem.start, begun), "DINO-WM observes the settled row, stable-worldmodel shows it as it is"
            assert np.array_equal(problem.goal, goal)
            taken = actions[rows.episode, rows.start : rows.goal]
            np.testing.assert_allclose(problem.reference_actions, taken, atol=1e-6)
        assert np.array_equal(ours.problem(seed).goal, states[rows.episode, rows.goal])


def test_rooms_are_put_into_rows_of_their_projects_layouts(tmp_path: Path) -> None:
    import torch

    room, wall = make_task("two_room"), make_task("wall_dino")
    states, actions = behaved(room, 4, 60)
    columns = {"pos_agent": states, "goal_pos_agent": states[:, ::-1].copy(), "action": actions}
    problem = source(room, write_swm(tmp_path / "swm.h5", columns)).problem(0)
    assert np.array_equal(execute(room, [problem], problem.reference_actions[None]).states[0, -1], problem.goal)
    states, actions = behaved(wall, 4, 60)
    folder = tmp_path / "dino"
    folder.mkdir()
    for name, values in {"states": states, "actions": 1.8 * np.nan_to_num(actions)}.items():
        torch.save(torch.from_numpy(values.astype(np.float32)), folder / f"{name}.pth")
    problem = source(wall, folder).problem(0)
    ended = execute(wall, [problem], problem.reference_actions[None])
    assert ended.final_distance[0] < 1e-3, "the recorded actions, in float32, lead to the recorded goal"


def test_mujoco_is_put_into_positions_and_velocities(tmp_path: Path) -> None:
    gymnasium = pytest.importorskip("gymnasium")
    pytest.importorskip("mujoco")
    env = gymnasium.make("InvertedPendulum-v5")
    rng, observations, taken, qpos, qvel = np.random.default_rng(0), [], [], [], []
    for seed in range(3):
        seen, _ = env.reset(seed=seed)
        rows, steps, positions, speeds = [seen], [], [], []
        for _ in range(40):
            positions.append(env.unwrapped.data.qpos.copy())
            speeds.append(env.unwrapped.data.qvel.copy())
            steps.append(rng.uniform(-3, 3, 1).astype(np.float32))
            rows.append(env.step(steps[-1])[0])
        observations.append(rows)
        taken.append(steps)
        qpos.append([*positions, env.unwrapped.data.qpos.copy()])
        qvel.append([*speeds, env.unwrapped.data.qvel.copy()])
    seen, acted = np.array(observations), np.array(taken)
    task = make_task("gymnasium", id="InvertedPendulum-v5", tolerance=0.01)
    ended = np.concatenate([acted, np.full((3, 1, 1), np.nan, np.float32)], axis=1)
    columns = {"observation": seen, "action": ended, "qpos": np.array(qpos), "qvel": np.array(qvel)}
    by_columns = source(task, write_swm(tmp_path / "rows.h5", columns))
    replayed = source(task, write_minari(tmp_path / "minari", seen, acted, seeds=[0, 1, 2]))
    for seed in range(4):
        rows = by_columns.problems.at(seed)
        assert replayed.problems.at(seed) == rows
        for problem in (by_columns.problem(seed), replayed.problem(seed)):
            end = task.simulate(problem.start[None], problem.reference_actions[None])[0, -1]
            np.testing.assert_allclose(task.observe(end), seen[rows.episode, rows.goal], atol=1e-5)
    wrong = source(task, write_minari(tmp_path / "wrong", seen, acted, seeds=[100, 101, 102]))
    with pytest.raises(UserError, match=r"replayed from its reset with seed 10\d, it ends .* from what was recorded"):
        wrong.problem(0)
    unseeded = source(task, write_minari(tmp_path / "unseeded", seen, acted))
    with pytest.raises(UserError, match=r"cannot be put into the rows of .*: it takes simulator_state, observations with qpos"):
        unseeded.problem(0)


def test_the_rows_before_the_start_are_left_out_on_request(tmp_path: Path) -> None:
    task = make_task("wall")
    states, actions = behaved(task, 3, 40)
    path = write_swm(tmp_path / "rows.h5", {"observation": states, "action": actions})
    past = source(task, path, history=False).problem(0, past=3).past_states
    assert past is not None
    assert len(past) == 0


def test_actions_beyond_the_bounds_are_refused_only_in_the_rows_of_a_problem(tmp_path: Path) -> None:
    task = make_task("wall")
    states, actions = behaved(task, 4, 60)
    wild = actions.copy()
    wild[3] *= 9.0
    made = source(task, write_swm(tmp_path / "wild.h5", {"observation": states, "action": wild}))
    drawn = {made.problems.at(seed).episode: seed for seed in range(40)}
    bounded = made.problem(drawn[0])
    assert bounded.action_statistics is not None
    seen = np.clip(wild[:, :-1], -1.0, 1.0).reshape(-1, 2)
    np.testing.assert_allclose(bounded.action_statistics, [seen.mean(0), seen.std(0)], atol=1e-6)
    with pytest.raises(UserError, match="times as large as task wall takes"):
        made.problem(drawn[3])


def test_a_changed_dataset_a_missing_column_and_values_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    task = make_task("wall")
    states, actions = behaved(task, 3, 40)
    path = write_swm(tmp_path / "rows.h5", {"observation": states, "action": actions})
    before = RecordedProblems(str(path), open_dataset(path).digest(), split="all")
    holes = states.copy()
    holes[:, :, 0] = np.nan
    write_swm(path, {"observation": holes, "action": actions})
    with pytest.raises(UserError, match="has changed since the sweep was made; run it anew"):
        RecordedSource.open(task, before, HORIZON)
    with pytest.raises(UserError, match=r"episode \d, row \d+: the state is not a number"):
        source(task, path).problem(0)
    write_swm(path, {"observation": states, "action": np.full_like(actions, np.nan)})
    with pytest.raises(UserError, match=r"episode \d, row \d+: the action is not a number"):
        source(task, path).problem(0)
    pendulum = make_task("gymnasium", id="Pendulum-v1")
    swings, torques = behaved(pendulum, 3, 40)
    one_bad = pendulum.observe(swings).copy()
    one_bad[0] = np.nan
    swinging = source(pendulum, write_swm(tmp_path / "bad.h5", {"observation": one_bad, "action": 2 * torques}))
    bad = [seed for seed in range(20) if swinging.problems.at(seed).episode == 0]
    good = [seed for seed in range(20) if seed not in bad]
    with pytest.raises(UserError, match=r"episode 0, row \d+: the state is not a number"):
        swinging.problem(bad[0])
    swinging.problem(good[0])  # the row before leaves nothing behind
    path = write_swm(tmp_path / "wide.h5", {"observation": pendulum.observe(swings), "action": np.tile(torques, 2)})
    with pytest.raises(UserError, match=r"0 columns for the 1 action values of task gymnasium"):
        source(pendulum, path).problem(0)
    with pytest.raises(UserError, match=r"column 'action' has actions \[2\] that are none of task gymnasium, which takes 1"):
        source(pendulum, path, action="action").problem(0)
    path = write_swm(tmp_path / "narrow.h5", {"observation": states[..., :1], "action": actions})
    with pytest.raises(UserError, match=r"no columns for the 2 observed features of task wall.*problems.observation="):
        source(task, path).problem(0)
    with pytest.raises(UserError, match="did you mean 'observation'"):
        source(task, path, observation=("observatoin",)).problem(0)
