"""Environments of other packages by their ids: the suite of tasks on each, and training and planning with little of both.

Not collected by itself, because it takes minutes: `make test-long` runs it. A package that is missing skips its environments.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from sweeps.config.files import CONF
from world_models.tasks import make_task
from world_models.testing import TaskCase, check_task

PACKAGES = {"ogbench": "ogbench", "fetch": "gymnasium_robotics", "ant": "gymnasium_robotics", "push": "gym_pusht"}
"""Packages that tasks need, by the beginnings of their names."""

CONFORMANCE = {
    "pusher": (20, 32),
    "ant_maze": (40, 32),
    "fetch_reach": (20, 32),
    "fetch_push": (24, 400),
    "ogbench_point_maze_large": (40, 32),
    "ogbench_point_maze_giant": (40, 32),
    "ogbench_cube_single": (40, 32),
    "push_t_gym": (24, 200),
}
"""Horizons, and trajectories of behaviour that have to cover the problems; the other shipped ids are in tests/conformance."""

PICTURED: dict[str, Any] = {
    "id": "gym_pusht/PushT-v0",
    "kwargs": {"obs_type": "pixels", "observation_width": 32, "observation_height": 32},
    "picture": "observation",
    "info": ["pos_agent", "block_pose"],
    "features": ["pos_agent_0", "pos_agent_1"],
    "tolerance": 30.0,
}
"""An environment that observes a picture and nothing else."""

TINY_STATES = ("train.trajectories=40", "train.fit.unrolls=[1,4]", "train.fit.steps=[40,20]")
TINY_PICTURES = (
    *("train.trajectories=60", "train.length=20", "train.encoder.steps=20", "train.predictor.steps=20"),
    "train.probe.steps=20",
)


def settings_of(label: str) -> dict[str, Any]:
    """The settings of a shipped task, whose package is installed."""
    package = next((needed for begin, needed in PACKAGES.items() if label.startswith(begin)), "gymnasium")
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"task {label} needs the package {package}: pip install {package.replace('_', '-')}.")
    return yaml.safe_load((CONF / "task" / f"{label}.yaml").read_text(encoding="utf-8"))["settings"]


def case(settings: dict[str, Any], horizon: int, trajectories: int = 32) -> TaskCase:
    """A case of the suite."""

    def remake(**changes: object) -> Any:
        return make_task("gymnasium", **{**settings, **changes})

    return TaskCase(remake(), horizon, remake=remake, trajectories=trajectories)


@pytest.mark.parametrize("label", CONFORMANCE)
def test_a_shipped_task_keeps_the_promises_of_every_task(label: str) -> None:
    check_task(case(settings_of(label), *CONFORMANCE[label]))


def test_a_task_that_observes_pictures_keeps_the_promises_of_every_task() -> None:
    settings_of("push_t_gym")
    check_task(case(PICTURED, 20))


@pytest.mark.parametrize(
    ("label", "training"),
    [("mountain_car_pixels", TINY_PICTURES), ("fetch_reach", TINY_STATES), ("ogbench_point_maze_large", TINY_STATES)],
)
def test_a_model_is_trained_and_swept_by_two_commands(label: str, training: tuple[str, ...], tmp_path: Path) -> None:
    settings_of(label)
    grasp(tmp_path, "train", label, *training)
    quick = ("planner=cem", "planners.cem.settings.iterations=2", "seeds=2")
    plain = ("backend=inline", "tracking.enabled=false", "artifacts.cells=[]", "--quiet")
    assert "2 cells planned" in " ".join(grasp(tmp_path, "sweep", f"task={label}", *quick, *plain).split())


def grasp(folder: Path, *words: str) -> str:
    """The output of a command that succeeds."""
    done = subprocess.run(
        [sys.executable, "-m", "sweeps", *words, f"output={folder}"], capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
