"""Contexts at each replanning, by history mode; problems with pasts of different lengths are not planned in one batch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from orchestrator.core.batch import Batch
from orchestrator.core.cell import Point
from orchestrator.core.modes import ExecutionMode
from orchestrator.evaluation.contexts import alike, past_of
from orchestrator.evaluation.execution import plan_and_execute, predicted_states
from orchestrator.testing import DIGEST, Plane, PlaneModel, plane_point
from orchestrator.workers.evaluator import Evaluator
from planners import make_planner
from tests.orchestrator.evaluation.test_execution import QUICK, Watched, drawn
from world_models.base import SquaredDistance
from world_models.checkpoints.store import LoadedModel
from world_models.datasets.problems.settings import RecordedProblems
from world_models.history import History
from world_models.tasks import Problem


class Averaging(PlaneModel):
    """A plane whose model takes up to three states and lags behind where it sees more of them."""

    history = 3
    takes_shorter_windows = True

    def step(self, states: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        """From the mean of the window."""
        return super().step(states.mean(1, keepdim=True), actions[:, -1:])


def averaging(text: str) -> LoadedModel:
    loaded = LoadedModel("averaging", Averaging(2, 0.0), SquaredDistance(), lambda states: states, {}, DIGEST)
    return replace(loaded, history=History.of(text))


@pytest.mark.parametrize(
    ("text", "known"),
    [("grow", [1, 2, 3, 3, 3]), ("grow:1", [1] * 5), ("grow:2", [1, 2, 2, 2, 2]), ("repeat", [3] * 5), ("repeat:1", [3] * 5)],
)
def test_a_replan_sees_what_the_mode_lets_it_see(text: str, known: list[int]) -> None:
    task, loaded, problems = Plane(2), averaging(text), drawn(Plane(2), 3, horizon=10)
    watched = Watched(make_planner("grasp", QUICK["grasp"]))
    done = plan_and_execute(task, loaded, watched, problems, [1, 2, 3], ExecutionMode(2))
    assert [posed.context.known for posed in watched.problems] == known
    states = torch.as_tensor(done.rollout.states[:, ::2]).float()
    actions = torch.as_tensor(done.actions).reshape(3, 5, 4).float()
    for number, posed in enumerate(watched.problems):
        seen = min(number + 1, 3, loaded.history.most or 3)
        first = posed.context.known - seen
        assert torch.equal(posed.context.states[:, first:], states[:, number + 1 - seen : number + 1])
        assert torch.equal(posed.context.actions[:, first:], actions[:, number + 1 - seen : number])
        assert (posed.context.states[:, :first] == states[:, number + 1 - seen, None]).all()
    again = predicted_states(task, loaded, done.rollout.states, done.actions, ExecutionMode(2))
    assert torch.equal(again, done.predicted)


def with_past(problem: Problem, known: int) -> Problem:
    """The problem after `known` model steps."""
    rng = np.random.default_rng(problem.seed)
    return replace(problem, past_states=rng.normal(size=(known, 2)), past_actions=rng.uniform(-1, 1, (2 * known, 2)))


@pytest.mark.parametrize(("text", "groups"), [("repeat", 1), ("grow", 3), ("grow:2", 2), ("grow:1", 1), ("repeat:1", 1)])
def test_only_problems_that_know_equally_many_states_are_planned_together(text: str, groups: int) -> None:
    problems = [with_past(problem, known) for problem, known in zip(drawn(Plane(2), 6), (0, 4, 1, 2, 0, 1), strict=True)]
    found = alike(problems, averaging(text))
    assert len(found) == groups
    assert sorted(row for rows in found for row in rows) == list(range(6))


class Recorded(Evaluator):
    """An evaluator whose problems know seed % 4 states before their start, as rows of a dataset may."""

    def _problem(self, point: Point, seed: int, history: int) -> Problem:
        return with_past(Plane(2).problem(seed, point.horizon), seed % 4)


@pytest.mark.parametrize("text", ["grow", "grow:1", "repeat"])
def test_cells_of_different_pasts_are_the_same_in_a_batch_and_alone(text: str) -> None:
    settings = {"horizon": 8, "model": "averaging", "task": {"block": 2}}
    point = replace(plane_point(**settings), history=text, mode="mpc:2", problems=RecordedProblems("rows", "0" * 16))
    evaluator = Recorded(load_model=lambda name, device: averaging("repeat"), make_task=lambda name, **rest: Plane(2))
    seeds = (3, 0, 5, 2, 1, 7)
    together = evaluator.evaluate(Batch.of(replace(point, model_digest=DIGEST), seeds)).results
    assert [result.seed for result in together] == list(seeds)
    assert {result.history for result in together} == {None if text == "repeat" else text}
    for result in together:
        (alone,) = evaluator.evaluate(Batch.of(replace(point, model_digest=DIGEST), (result.seed,))).results
        assert alone.cell_id == result.cell_id
        assert np.allclose(alone.actions, result.actions, atol=1e-5)
        assert alone.success == result.success


def test_drawings_see_the_pasts_of_their_problems() -> None:
    task, loaded = Plane(2), averaging("grow")
    problems = [with_past(problem, known) for problem, known in zip(drawn(task, 4, horizon=8), (2, 2, 2, 2), strict=True)]
    planner = make_planner("gd", QUICK["gd"])
    done = plan_and_execute(task, loaded, planner, problems, [1, 2, 3, 4], ExecutionMode(4))
    again = predicted_states(task, loaded, done.rollout.states, done.actions, ExecutionMode(4), past_of(problems, 2))
    assert torch.equal(again, done.predicted)
