"""Mazes on a grid of unit cells: positions of cells, shortest paths and distances. Lengths are in m, x points right and y
up."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from jaxtyping import Bool, Float, Int

LAYOUTS = {
    "umaze": ("#####", "#   #", "### #", "#   #", "#####"),
    "medium": ("########", "#  ##  #", "#  #   #", "##   ###", "#  #   #", "# #  # #", "#   #  #", "########"),
}
"""gymnasium-robotics' U_MAZE and MEDIUM_MAZE, rows from top to bottom; `#` is wall."""


@dataclass(frozen=True)
class Grid:
    """A maze, centred at the origin. Free cells are numbered row by row."""

    rows: tuple[str, ...]

    @cached_property
    def walls(self) -> Bool[np.ndarray, "height width"]:
        """Mask of the wall cells."""
        return np.array([[mark == "#" for mark in row] for row in self.rows])

    @cached_property
    def cells(self) -> Int[np.ndarray, "cells 2"]:
        """Row and column of each free cell."""
        return np.argwhere(~self.walls)

    @cached_property
    def centres(self) -> Float[np.ndarray, "cells 2"]:
        """Position of each free cell's centre."""
        return self.position(self.cells)

    def position(self, cells: Int[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
        """Centres of cells given by row and column."""
        height, width = self.walls.shape
        return np.stack([cells[:, 1] + 0.5 - width / 2, height / 2 - cells[:, 0] - 0.5], 1)

    def cell_of(self, points: Float[np.ndarray, "n 2"]) -> Int[np.ndarray, "n 2"]:
        """Row and column of each point's cell, clipped to the grid."""
        height, width = self.walls.shape
        row = np.floor(height / 2 - points[:, 1]).astype(int)
        column = np.floor(points[:, 0] + width / 2).astype(int)
        return np.stack([np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)], 1)

    def is_wall(self, points: Float[np.ndarray, "n 2"]) -> Bool[np.ndarray, " n"]:
        """Whether points lie in wall cells."""
        row, column = self.cell_of(points).T
        return self.walls[row, column]

    def is_free(self, points: Float[np.ndarray, "n 2"], radius: float) -> Bool[np.ndarray, " n"]:
        """Whether a square of half side `radius` around each point stays out of the wall cells."""
        result = np.ones(len(points), dtype=bool)
        for dx in (-radius, radius):
            for dy in (-radius, radius):
                result &= ~self.is_wall(points + np.array([dx, dy]))
        return result

    def index_of(self, points: Float[np.ndarray, "n 2"]) -> Int[np.ndarray, " n"]:
        """Index of the free cell with the nearest centre."""
        offset = points[:, None] - self.centres[None]
        return np.square(offset).sum(2).argmin(1)

    @cached_property
    def steps(self) -> Int[np.ndarray, "cells cells"]:
        """Number of cells to cross from each free cell to each other one."""
        return self._search[0]

    @cached_property
    def following(self) -> Int[np.ndarray, "cells cells"]:
        """The cell after cell i on the shortest path to cell j."""
        return self._search[1]

    @cached_property
    def _search(self) -> tuple[Int[np.ndarray, "cells cells"], Int[np.ndarray, "cells cells"]]:
        """Breadth-first search from every cell: steps and next cells."""
        number = {(int(r), int(c)): i for i, (r, c) in enumerate(self.cells)}
        count = len(number)
        steps, following = np.zeros((count, count), dtype=int), np.zeros((count, count), dtype=int)
        for goal_cell, goal in number.items():
            seen, queue = {goal_cell}, deque([goal_cell])
            following[goal, goal] = goal
            while queue:
                r, c = queue.popleft()
                for near in ((r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)):
                    if near in number and near not in seen:
                        seen.add(near)
                        queue.append(near)
                        following[number[near], goal] = number[(r, c)]
                        steps[number[near], goal] = steps[number[(r, c)], goal] + 1
        return steps, following

    @cached_property
    def lookahead(self) -> Int[np.ndarray, "cells cells"]:
        """The cell to steer at from cell i on the path to cell j: the last one in a straight line, at most two cells ahead."""
        one = self.following
        two = np.take_along_axis(one, one, 0)
        here = np.arange(len(self.cells))[:, None]
        bend = self.cells[two] - self.cells[one] - (self.cells[one] - self.cells[here])
        return np.where((bend == 0).all(2), two, one)

    def distance(self, starts: Float[np.ndarray, "n 2"], ends: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, " n"]:
        """Length of the path through the centres of the cells between: about the distance that must be travelled."""
        return np.array([self._path_length(*pair) for pair in zip(starts, ends, strict=True)])

    def _path_length(self, start: Float[np.ndarray, " 2"], end: Float[np.ndarray, " 2"]) -> float:
        """Length of one such path."""
        here, goal = self.index_of(np.stack([start, end]))
        way = [start]
        while here != goal:
            here = self.following[here, goal]
            way.append(self.centres[here])
        legs = np.diff(np.stack([*way[: -1 if len(way) > 1 else None], end]), axis=0)
        return float(np.hypot(legs[:, 0], legs[:, 1]).sum())


@lru_cache
def grid(name: str) -> Grid:
    """The grid of a maze in `LAYOUTS`."""
    return Grid(LAYOUTS[name])
