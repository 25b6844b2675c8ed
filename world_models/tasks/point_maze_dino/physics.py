"""The physics of DINO-WM's point maze: D4RL's U maze in MuJoCo, five steps of 0.01 s for each action.

Velocities are clipped to 5 m/s before each action. The constraint solver begins with the accelerations of the step before, so
that they are part of a simulator state: x, y, velocity x, y (m, m/s), and those accelerations (m/s^2), 0 after a reset.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
from jaxtyping import Float

from world_models.tasks.maze_physics import TOP_SPEED

SIZE = 6
FRAMES = 5
ROWS = ("#####", "#GOO#", "###O#", "#OOO#", "#####")
"""D4RL's U maze: rows run along x and columns along y."""
OFFSET = 1.2
"""Position in the world of the ball at (0, 0), in both coordinates, m."""
CENTRE = 1.8
"""Position of the maze's middle, in both coordinates."""

Four = Float[np.ndarray, "n 4"]


@cache
def model() -> Any:
    """The MuJoCo model, built once per process."""
    boxes = "".join(
        f'<geom type="box" pos="{row + 1.0} {column + 1.0} 0" size="0.5 0.5 0.2" conaffinity="1"/>'
        for row, marks in enumerate(ROWS)
        for column, mark in enumerate(marks)
        if mark == "#"
    )
    joints = "".join(f'<joint name="{name}" type="slide" axis="{axis}"/>' for name, axis in (("x", "1 0 0"), ("y", "0 1 0")))
    motors = "".join(f'<motor joint="{name}" ctrlrange="-1 1" ctrllimited="true" gear="100"/>' for name in "xy")
    return _mujoco().MjModel.from_xml_string(
        f"""<mujoco>
        <compiler inertiafromgeom="true"/>
        <option timestep="0.01" gravity="0 0 0" iterations="20" integrator="Euler"/>
        <default>
          <joint damping="1" limited="false"/>
          <geom friction=".5 .1 .1" density="1000" margin="0.002" condim="1" contype="2" conaffinity="1"/>
        </default>
        <worldbody>
          <geom type="plane" size="40 40 0.25" pos="0 0 -0.1" contype="1" conaffinity="0"/>
          <body pos="{OFFSET} {OFFSET} 0"><geom type="sphere" size="0.1" contype="1"/>{joints}</body>
          {boxes}
        </worldbody>
        <actuator>{motors}</actuator>
        </mujoco>"""
    )


class Ball:
    """A simulation buffer; create one per thread."""

    def __init__(self) -> None:
        self._model = model()
        self._data = _mujoco().MjData(self._model)
        self._step = _mujoco().mj_step

    def move(self, states: Float[np.ndarray, "n 6"], actions: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 6"]:
        """States one action later."""
        data, result = self._data, np.empty_like(states)
        velocities, forces = np.clip(states[:, 2:4], -TOP_SPEED, TOP_SPEED), np.clip(actions, -1.0, 1.0)
        for i in range(len(states)):
            data.qpos[:], data.qvel[:], data.qacc_warmstart[:] = states[i, :2], velocities[i], states[i, 4:]
            data.ctrl[:] = forces[i]
            for _ in range(FRAMES):
                self._step(self._model, data)
            result[i, :2], result[i, 2:4], result[i, 4:] = data.qpos, data.qvel, data.qacc_warmstart
        return result


class Turned:
    """The same ball in the coordinates of `point_maze`'s U maze, which this one is after a quarter turn and a shift."""

    def __init__(self) -> None:
        self._ball = Ball()

    def advance(self, states: Four, actions: Float[np.ndarray, "n 2"]) -> Four:
        """States one action later, of a solver that begins cold: for behaviour, which is then simulated again."""
        return back(self._ball.move(turned(states), rotated(actions))[:, :4])


def rotated(vectors: Float[np.ndarray, "*batch 2"]) -> Float[np.ndarray, "*batch 2"]:
    """Directions of `point_maze` in this maze."""
    return np.stack([-vectors[..., 1], vectors[..., 0]], -1)


def turned(states: Four) -> Float[np.ndarray, "n 6"]:
    """States of `point_maze` as they are here, just reset."""
    return np.concatenate([rotated(states[:, :2]) + CENTRE, rotated(states[:, 2:]), np.zeros((len(states), 2))], 1)


def back(states: Four) -> Four:
    """States of this maze as they are in `point_maze`."""
    place, speed = states[:, :2] - CENTRE, states[:, 2:4]
    return np.stack([place[:, 1], -place[:, 0], speed[:, 1], -speed[:, 0]], -1)


def _mujoco() -> Any:
    """MuJoCo's bindings, imported on first use; they are compiled and unknown to type checkers."""
    return import_module("mujoco")
