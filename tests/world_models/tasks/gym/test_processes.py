"""Batches simulated in several processes: the same results, and nothing is left behind."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from orchestrator.core.cell import Named, Point
from tests.world_models.tasks.gym.made_up import Cart, register
from world_models.errors import UserError
from world_models.tasks import make_task
from world_models.tasks.gym import GymTask

register()


def task_of(processes: int, name: str = "Pendulum-v1", **settings: Any) -> GymTask:
    task = make_task("gymnasium", id=name, processes=processes, **settings)
    assert isinstance(task, GymTask)
    return task


def drawn(task: GymTask, rows: int = 5) -> tuple[np.ndarray, np.ndarray]:
    states = np.stack([task.simulator.reset(seed) for seed in range(rows)])
    return states, np.random.default_rng(0).uniform(-1, 1, (rows, 12, task.action_dim))


def in_daemon(answers: Any) -> None:
    task = task_of(2)
    answers.put(task.simulate(*drawn(task)))


def test_results_are_the_same_to_the_last_bit_also_in_a_daemonic_process() -> None:
    alone, together = task_of(1), task_of(3)
    states, actions = drawn(alone)
    expected = alone.simulate(states, actions)
    for rows in (5, 2, 1, 0):
        assert np.array_equal(together.simulate(states[:rows], actions[:rows]), expected[:rows])
    assert pickle.loads(pickle.dumps(together)) == together
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    daemon = context.Process(target=in_daemon, args=(answers,), daemon=True)
    daemon.start()
    assert np.array_equal(answers.get(timeout=120), expected)
    daemon.join(60)


def test_helpers_end_with_the_task_and_with_a_process_that_is_killed() -> None:
    task = task_of(2)
    task.simulate(*drawn(task))
    (helper,) = task._helpers._running
    del task
    assert helper.wait(30) is not None
    code = (
        "import time, numpy as np; from world_models.tasks import make_task;"
        "task = make_task('gymnasium', id='Pendulum-v1', processes=2);"
        "states = np.stack([task.simulator.reset(seed) for seed in range(2)]);"
        "task.simulate(states, np.zeros((2, 3, 1))); print(task._helpers._running[0].pid, flush=True); time.sleep(100)"
    )
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    pid = int(other.stdout.readline())
    other.kill()
    other.communicate()
    deadline = time.monotonic() + 30
    while _runs(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _runs(pid)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def test_what_only_this_process_knows_is_refused_and_a_helper_that_died_is_replaced() -> None:
    hidden = task_of(2, "MadeUp/Cart-v0", features=[0], tolerance=0.05)
    batch = drawn(hidden)
    with pytest.raises(UserError, match=r"another process cannot simulate the task .*leave `processes` out") as refusal:
        hidden.simulate(*batch)
    assert "\n" not in str(refusal.value)
    local = task_of(2, success=lambda poses, goals: poses[..., 0] > 0)
    batch = drawn(local)
    with pytest.raises(UserError, match="cannot go to other processes"):
        local.simulate(*batch)
    task = task_of(2)
    states, actions = drawn(task)
    task._helpers._running[0].kill()
    task._helpers._running[0].wait()
    with pytest.raises(UserError, match="it ended"):
        task.simulate(states, actions)
    assert np.array_equal(task.simulate(states, actions), task_of(1).simulate(states, actions))


@pytest.mark.parametrize("value", [0, 2.5, True, 1000])
def test_senseless_numbers_of_processes_are_refused(value: Any) -> None:
    with pytest.raises(UserError, match="not a whole number from 1 to 256"):
        task_of(value)


def test_ids_of_cells_do_not_depend_on_processes() -> None:
    ids = {
        Point(Named.of("gymnasium", {"id": "Pendulum-v1", **more}), "m", "0", Named.of("gd"), 20).point_id
        for more in ({}, {"processes": 1}, {"processes": 4})
    }
    assert len(ids) == 1
    other = Point(Named.of("gymnasium", {"id": "Pendulum-v1", "away": 3.0}), "m", "0", Named.of("gd"), 20).point_id
    assert other not in ids
    assert gymnasium.registry["MadeUp/Cart-v0"].entry_point is Cart
