"""Starts and goals that are seen on recorded pictures: those that the task would draw change nothing, others do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from orchestrator.core.modes import ExecutionMode
from orchestrator.evaluation.execution import Execution, plan_and_execute
from planners import make_planner
from tests.support.recorded_episodes import behaved, write_swm
from world_models.checkpoints.store import LoadedModel, load
from world_models.datasets import open_dataset
from world_models.datasets.problems.drawing import RecordedSource
from world_models.datasets.problems.settings import RecordedProblems
from world_models.errors import UserError
from world_models.tasks import Problem, make_task

WALL = make_task("wall")
STEPS = 20


@pytest.fixture(scope="module")
def pixels() -> LoadedModel:
    return load("wall_pixels")


@pytest.fixture(scope="module")
def problems(tmp_path_factory: pytest.TempPathFactory, pixels: LoadedModel) -> list[Problem]:
    """Problems of recorded rows whose pictures are those that the task draws."""
    states, actions = behaved(WALL, 4, 60)
    size = pixels.sensors.size
    drawn = np.stack([WALL.pixels(episode, size) for episode in states])  # pyright: ignore[reportAttributeAccessIssue]
    path = write_swm(
        tmp_path_factory.mktemp("rows") / "wall.h5", {"observation": WALL.observe(states), "action": actions, "pixels": drawn}
    )
    settings = RecordedProblems(str(path), open_dataset(path).digest(), split="all", pictures="pixels")
    source = RecordedSource.open(WALL, settings, STEPS)
    return [source.problem(seed, past=2, size=size) for seed in range(3)]


def planned(loaded: LoadedModel, problems: list[Problem], replan: int | None = None) -> Execution:
    planner = make_planner("gd", {"iterations": 3})
    return plan_and_execute(WALL, loaded, planner, problems, [0, 1, 2], ExecutionMode(replan))


@pytest.mark.parametrize("replan", [None, 10])
def test_recorded_pictures_of_what_is_drawn_change_nothing(
    replan: int | None, pixels: LoadedModel, problems: list[Problem]
) -> None:
    assert problems[0].pictures is not None
    drawn = planned(pixels, [replace(each, pictures=None) for each in problems], replan)
    seen = planned(pixels, problems, replan)
    torch.testing.assert_close(torch.from_numpy(seen.actions), torch.from_numpy(drawn.actions), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("part", ["seen", "goal"])
def test_other_pictures_lead_to_other_plans(part: str, pixels: LoadedModel, problems: list[Problem]) -> None:
    others = []
    for each in problems:
        assert each.pictures is not None
        others.append(replace(each, pictures=replace(each.pictures, **{part: 255 - getattr(each.pictures, part)})))
    assert np.abs(planned(pixels, others).actions - planned(pixels, problems).actions).max() > 1e-2


def test_a_larger_recorded_picture_is_made_small(pixels: LoadedModel, problems: list[Problem]) -> None:
    doubled = []
    for each in problems:
        assert each.pictures is not None
        seen, goal = (np.repeat(np.repeat(picture, 2, -3), 2, -2) for picture in (each.pictures.seen, each.pictures.goal))
        doubled.append(replace(each, pictures=replace(each.pictures, seen=seen, goal=goal)))
    np.testing.assert_allclose(planned(pixels, doubled).actions, planned(pixels, problems).actions, atol=1e-5)


def test_a_model_that_sees_pictures_needs_a_task_that_draws_them_or_recorded_ones(pixels: LoadedModel) -> None:
    arm = make_task("recorded", tolerance=[1.0], low=[0.0], high=[1.0])
    with pytest.raises(UserError, match=r"or take recorded ones with problems\.pictures=COLUMN"):
        pixels.sensors.check(arm, "wall_pixels")
    replace(pixels.sensors, proprioception=0).check(arm, "wall_pixels", recorded=True)
