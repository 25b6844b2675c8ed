"""Plans of a fixed length: beyond the horizon, and what a next plan takes over; and actions of any size."""

from __future__ import annotations

import numpy as np
import torch

from orchestrator.core.modes import ExecutionMode
from orchestrator.evaluation.execution import predicted_states
from orchestrator.testing.plane import Plane, load_plane
from planners import make_planner
from tests.orchestrator.evaluation.test_execution import QUICK, Scripted, Watched, drawn, plane, run


def test_plans_of_a_fixed_length_look_beyond_the_horizon_and_go_on_at_rest() -> None:
    task, loaded = plane(2)
    watched = Watched(make_planner("cem", QUICK["cem"]))
    problems = drawn(task, 3, horizon=20)
    done = run(task, loaded, watched, problems, 8, 12)
    assert [posed.steps for posed in watched.problems] == [6, 6, 6]
    for number in (1, 2):
        start, before = watched.starts[number], watched.plans[number - 1]
        assert start is not None
        assert torch.equal(start.actions[:, :2], before.actions[:, 4:])
        assert not start.actions[:, 2:].any()
        assert start.states.shape[1] == 5
        assert torch.equal(start.states[:, 0], before.states[:, 4])
        assert torch.equal(start.states[:, 1:], before.states[:, 4:5].expand_as(start.states[:, 1:]))
    parts = [plans.actions[:, :steps] for plans, steps in zip(watched.plans, (4, 4, 2), strict=True)]
    assert np.array_equal(done.actions, torch.cat(parts, 1).double().reshape(3, 20, 2).numpy())
    again = predicted_states(task, loaded, done.rollout.states, done.actions, ExecutionMode(8, 12))
    assert torch.allclose(again, done.predicted)


def test_plans_that_are_executed_whole_begin_afresh() -> None:
    task, loaded = plane(2)
    watched = Watched(make_planner("grasp", QUICK["grasp"]))
    run(task, loaded, watched, drawn(task, 3, horizon=20), 10, 10)
    assert [posed.steps for posed in watched.problems] == [5, 5]
    assert watched.starts == [None, None]


class Unclipped(Plane):
    takes_any_action = True


def test_actions_beyond_the_bounds_are_clipped_unless_the_task_takes_any() -> None:
    loaded, bold = load_plane("plane", "cpu"), Scripted(torch.full((4, 12, 2), 2.5))
    ends = [run(task, loaded, bold, drawn(task), 6).rollout.states[:, -1] for task in (Plane(1), Unclipped(1))]
    starts = np.stack([problem.start for problem in drawn(Plane(1))])
    assert np.allclose(2.5 * (ends[0] - starts), ends[1] - starts)
