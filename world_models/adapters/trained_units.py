"""Units in which the public checkpoints were trained, and the maps from our tasks' actions and proprioception to them.

Means and deviations are those of DINO-WM's datasets: Push-T's from `datasets/pusht_dset.py` of gaoyuezhou/dino_wm; those of
wall and point maze, which DINO-WM computes on loading the data, from facebookresearch/jepa-wms, which publishes them for the
same data (`app/plan_common/datasets/__init__.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from world_models.errors import UserError
from world_models.tasks.base import Task

Matrix = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Affine:
    """The map y = (matrix x + offset - mean) / deviation, for one environment action or proprioception vector."""

    matrix: Matrix
    offset: tuple[float, ...]
    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    def tensors(self, normalised: bool) -> tuple[Tensor, Tensor]:
        """Weight and bias of the map, without mean and deviation if the model was trained on raw values."""
        weight = torch.tensor(self.matrix, dtype=torch.float64)
        bias = torch.tensor(self.offset, dtype=torch.float64)
        if normalised:
            deviation = torch.tensor(self.deviation, dtype=torch.float64)
            weight, bias = weight / deviation.unsqueeze(1), (bias - torch.tensor(self.mean, dtype=torch.float64)) / deviation
        return weight.float(), bias.float()


@dataclass(frozen=True)
class TrainedUnits:
    """Maps from one of our tasks to models that were trained on DINO-WM's data of it."""

    environment: str
    """DINO-WM's name of the task."""
    action: Affine
    proprioception: Affine
    quarter_turns: int = 0
    """Counter-clockwise quarter turns by which images must be rotated."""
    proprioception_is_observation: bool = True
    """Whether the task's state observation equals its proprioception."""


def trained_units(task: Task) -> TrainedUnits:
    """Units for a task's settings; raises UserError for a task that DINO-WM's data do not cover."""
    if task.name in ("push_t", "push_t_upstream"):
        return _PUSH_T
    if task.name == "wall":
        speed = task.dynamics["speed"]
        assert isinstance(speed, float)
        return _wall(speed)
    if task.name == "wall_dino":
        bound = task.dynamics["bound"]
        assert isinstance(bound, float)
        return _wall(2.0 * bound)
    if task.name == "point_maze":
        maze = task.dynamics.get("maze")
        if maze != "umaze":
            raise UserError(f"the public models of point_maze know only the maze 'umaze', not {maze!r}: choose maze=umaze.")
        return _POINT_MAZE
    if task.name == "point_maze_dino":
        return _POINT_MAZE_DINO
    raise UserError(f"no public model was trained on task {task.name!r}: choose push_t, wall_dino, wall or point_maze.")


def _diagonal(*values: float) -> Matrix:
    return tuple(tuple(value if row == column else 0.0 for column in range(len(values))) for row, value in enumerate(values))


_PUSH_T = TrainedUnits(
    environment="pusht",
    # Relative targets in hundreds of px, as ours; positions in px of a 512 px arena and velocities in px/s, as ours.
    action=Affine(_diagonal(1.0, 1.0), (0.0, 0.0), (-0.0087, 0.0068), (0.2019, 0.2002)),
    proprioception=Affine(
        _diagonal(1.0, 1.0, 1.0, 1.0),
        (0.0,) * 4,
        (236.6155, 264.5674, -2.93032027, 2.54307914),
        (101.1202, 87.0112, 74.84556075, 74.14009094),
    ),
    proprioception_is_observation=False,
)


def _wall(speed: float) -> TrainedUnits:
    """Units of wall: an action of 1 moves theirs by 2 px and ours by `speed` px; positions are px of the same arena."""
    return TrainedUnits(
        environment="wall",
        action=Affine(
            _diagonal(speed / 2, speed / 2),
            (0.0, 0.0),
            (-0.005564616061747074, 0.013197818771004677),
            (0.752332866191864, 0.7466897964477539),
        ),
        proprioception=Affine(
            _diagonal(1.0, 1.0), (0.0, 0.0), (31.89451026916504, 31.81402015686035), (17.663522720336914, 17.27516746520996)
        ),
    )


_POINT_MAZE = TrainedUnits(
    environment="point_maze",
    # D4RL's U opens downwards and lies in [0.3, 3.3]^2; ours (gymnasium-robotics) opens to the left and is centred at the
    # origin: theirs is ours rotated by 90 degrees and shifted by 1.8 m. Forces act alike in both.
    action=Affine(
        ((0.0, -1.0), (1.0, 0.0)),
        (0.0, 0.0),
        (7.821338658686727e-05, 0.0006003659800626338),
        (0.5769129991531372, 0.577587902545929),
    ),
    proprioception=Affine(
        ((0.0, -1.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0, -1.0), (0.0, 0.0, 1.0, 0.0)),
        (1.8, 1.8, 0.0, 0.0),
        (1.8130563497543335, 1.9377127885818481, -0.0039275349117815495, -0.019777977839112282),
        (1.0055010318756104, 0.9630089402198792, 1.6802769899368286, 1.9319307804107666),
    ),
    quarter_turns=1,
)

_POINT_MAZE_DINO = replace(
    _POINT_MAZE,
    action=replace(_POINT_MAZE.action, matrix=_diagonal(1.0, 1.0)),
    proprioception=replace(_POINT_MAZE.proprioception, matrix=_diagonal(1.0, 1.0, 1.0, 1.0), offset=(0.0,) * 4),
    quarter_turns=0,
)
"""The same in DINO-WM's own coordinates and with its own pictures."""
