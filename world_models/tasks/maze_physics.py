"""PointMaze's physics, stepped in MuJoCo directly: the numbers of gymnasium-robotics' environment, faster and without state.

A ball of radius 0.1 m is driven by forces along x and y. As in `PointEnv.step`, velocities are clipped to 5 m/s before each
step of 0.01 s. Unlike there, the constraint solver starts cold in every step, so that a step depends only on position, velocity
and action, and a trajectory can be continued exactly from any of its states; the results differ by the solver's rounding (<
1e-9).
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from world_models.errors import UserError
from world_models.tasks.maze_grid import grid

RADIUS = 0.1
"""The ball's radius, m."""
TOP_SPEED = 5.0
"""Limit to which velocities are clipped before a step, in each coordinate, m/s."""
WALL_HEIGHT = 0.4


def _point_xml() -> Path:
    """Path of gymnasium-robotics' point mass, found without importing the package, which takes seconds and prints."""
    spec = find_spec("gymnasium_robotics")
    if spec is None or not spec.submodule_search_locations:
        raise UserError("task point_maze needs the package gymnasium-robotics: install it with pip install gymnasium-robotics.")
    return Path(spec.submodule_search_locations[0]) / "envs" / "assets" / "point" / "point.xml"


def _mujoco() -> Any:
    """MuJoCo's bindings, imported on first use; they are compiled and unknown to type checkers."""
    return import_module("mujoco")


@lru_cache
def model(maze: str) -> Any:
    """The MuJoCo model of a maze: the package's point mass and one box per wall cell. Built once per process."""
    root = ElementTree.parse(_point_xml()).getroot()
    world = root.find("worldbody")
    assert world is not None
    layout = grid(maze)
    for x, y in layout.position(np.argwhere(layout.walls)).tolist():
        size = f"0.5 0.5 {WALL_HEIGHT / 2}"
        box = {"type": "box", "pos": f"{x} {y} {WALL_HEIGHT / 2}", "size": size, "contype": "1", "conaffinity": "1"}
        ElementTree.SubElement(world, "geom", box)
    return _mujoco().MjModel.from_xml_string(ElementTree.tostring(root, encoding="unicode"))


class Stepper:
    """A simulation buffer of a maze; create one per thread. Rows of a batch share it, because steps leave no state behind."""

    def __init__(self, maze: str) -> None:
        self._model = model(maze)
        self._data = _mujoco().MjData(self._model)
        self._step = _mujoco().mj_step

    def advance(self, states: Float[np.ndarray, "n 4"], actions: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 4"]:
        """States one step later; `states` are (x, y, velocity x, velocity y), and actions are clipped to [-1, 1]."""
        model, data, step = self._model, self._data, self._step
        position, velocity, control, warm_start = data.qpos, data.qvel, data.ctrl, data.qacc_warmstart
        velocities = np.clip(states[:, 2:], -TOP_SPEED, TOP_SPEED)
        forces = np.clip(actions, -1.0, 1.0)
        result = np.empty_like(states)
        for i in range(len(states)):
            position[:] = states[i, :2]
            velocity[:] = velocities[i]
            control[:] = forces[i]
            warm_start[:] = 0.0
            step(model, data)
            result[i, :2] = position
            result[i, 2:] = velocity
        return result
