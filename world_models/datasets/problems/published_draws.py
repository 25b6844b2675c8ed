"""Lists of problems drawn by the random calls of published evaluations, so that theirs and ours plan the same rows."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Int

from world_models.datasets.problems.settings import DINO_WM, SWM, SWM_BEFORE
from world_models.datasets.windows import Windows
from world_models.errors import UserError, require


@dataclass(frozen=True)
class SwmStarts:
    """Starts as stable-worldmodel draws them (`scripts/plan/eval_wm.py`), in the order of the dataset's rows.

    Before 22 July 2026 it left out the last of all starts (`swm_before_2026_07`), as LeWM's own `eval.py` had done when its
    figures were published.
    """

    windows: Windows
    rows: int
    seed: int
    leaves_out_last: bool

    @cached_property
    def _chosen(self) -> Int[np.ndarray, " rows"]:
        candidates = self.windows.count - int(self.leaves_out_last)
        require(
            self.rows <= candidates,
            f"problems.draw.rows={self.rows} asks for more starts than the {candidates} of the dataset: give fewer.",
        )
        return np.sort(np.random.default_rng(self.seed).choice(candidates, size=self.rows, replace=False))

    def start(self, number: int) -> tuple[int, int]:
        """Episode and row of a start."""
        episodes, rows = self.windows.in_order(self._chosen[[number]])
        return int(episodes[0]), int(rows[0])


@dataclass(frozen=True)
class DinoWmStarts:
    """Starts as DINO-WM draws them (`plan.py`, goal source `dset`): an episode, until one is long enough, then a row of it.

    Unlike stable-worldmodel's, they may repeat, and the first of a long list are those of a short one.
    """

    lengths: Int[np.ndarray, " episodes"]
    episodes: Int[np.ndarray, " chosen"]
    span: int
    """Rows from start to goal, both included."""
    rows: int
    seed: int

    @cached_property
    def _chosen(self) -> list[tuple[int, int]]:
        draw = random.Random(self.seed)
        found: list[tuple[int, int]] = []
        while len(found) < self.rows:
            episode = int(self.episodes[draw.randint(0, len(self.episodes) - 1)])
            spare = int(self.lengths[episode]) - self.span
            if spare >= 0:
                found.append((episode, draw.randint(0, spare)))
        return found

    def start(self, number: int) -> tuple[int, int]:
        """Episode and row of a start."""
        return self._chosen[number]


def published_starts(
    calls: str, windows: Windows, episodes: Int[np.ndarray, " chosen"], rows: int | None, seed: int
) -> SwmStarts | DinoWmStarts:
    """The starts that published random calls draw among all windows. Raises UserError if the list has no length."""
    if rows is None:
        raise UserError(
            f"problems.draw.calls={calls} draws a list whose rows depend on its length: give problems.draw.rows, e.g. 50."
        )
    if calls == DINO_WM:
        return DinoWmStarts(windows.lengths, episodes, windows.rows, rows, seed)
    assert calls in (SWM, SWM_BEFORE)
    return SwmStarts(windows, rows, seed, leaves_out_last=calls == SWM_BEFORE)
