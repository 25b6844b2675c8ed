"""Batches of windows of recorded episodes, held in memory where they fit, else read while training goes on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int

from world_models.datasets import Column, Episodes, Windows, from_arrays
from world_models.datasets.blocks import blocks
from world_models.datasets.problems.columns import Columns
from world_models.datasets.statistics import Moments
from world_models.errors import require
from world_models.seeding import step_seed
from world_models.training.fit_states import ABRUPT, WindowBatch

IN_MEMORY = 2**30
"""Most bytes of columns that are held in memory."""


@dataclass(frozen=True)
class Scale:
    """Means and deviations of observations, and of their changes over a model step, `[observation]`."""

    mean: Float[np.ndarray, " observation"]
    std: Float[np.ndarray, " observation"]
    change: Float[np.ndarray, " observation"]


@dataclass(frozen=True)
class Source:
    """Recorded episodes as a state model's training reads them."""

    data: Episodes
    columns: Columns
    episodes: Int[np.ndarray, " chosen"]
    """Those to learn from."""
    block: int
    """Environment steps, and rows, per model step."""

    @staticmethod
    def of(data: Episodes, columns: Columns, episodes: Int[np.ndarray, " chosen"], block: int) -> Source:
        """The source, with its columns in memory if they fit."""
        row = sum(data.columns[name].row_bytes for name in columns.names)
        held = _held(data, columns) if row * int(data.lengths.sum()) <= IN_MEMORY else data
        return Source(held, columns, episodes, block)

    def windows(self, steps: int, seed: int) -> Windows:
        """The sequence of windows of `steps` model steps. Raises UserError where no episode is that long."""
        return Windows(self.data.lengths, steps * self.block + 1, seed, self.episodes)

    def read(
        self, episodes: Int[np.ndarray, " n"], starts: Int[np.ndarray, " n"], steps: int
    ) -> tuple[Float[np.ndarray, "n time_plus_one observation"], Float[np.ndarray, "n time action"]]:
        """Observations at every environment step and the actions between them, of windows of `steps` model steps."""
        rows = steps * self.block + 1
        values = self.data.windows(episodes, starts, rows, self.columns.names)
        return self.columns.observations(values, 2), self.columns.actions(values[self.columns.action][:, : rows - 1], 2)

    def draw(self, step: int, batch: int, unroll: int, seed: int, abrupt_share: float) -> WindowBatch:
        """The windows of a gradient step, `unroll` model steps long; they depend on the step's number alone."""
        if (unroll, seed) not in self._sequences:
            self._sequences[unroll, seed] = self.windows(unroll, seed)
        windows = self._sequences[unroll, seed]
        episodes, starts = windows.at(np.arange(step * batch, (step + 1) * batch))
        count = round(abrupt_share * batch)
        if count and len(self.abrupt):
            rng = np.random.default_rng(step_seed(seed, step))
            event = self.abrupt[rng.integers(len(self.abrupt), size=count)]
            last = self.data.lengths[event[:, 0]] - windows.rows
            fits = last >= 0  # an episode may be shorter than the window
            begun = np.clip(event[:, 1] - rng.integers(windows.rows - 1, size=count), 0, np.maximum(last, 0))
            episodes[:count] = np.where(fits, event[:, 0], episodes[:count])
            starts[:count] = np.where(fits, begun, starts[:count])
        observations, actions = self.read(episodes, starts, unroll)
        return torch.from_numpy(observations[:, :: self.block]), torch.from_numpy(actions).reshape(batch, unroll, -1)

    @cached_property
    def _sequences(self) -> dict[tuple[int, int], Windows]:
        """Sequences that batches are drawn from, by steps and seed: making one takes a pass over all episodes."""
        return {}

    @cached_property
    def scale(self) -> Scale:
        """Statistics of the training episodes, in one pass."""
        names = list(self.columns.observation)
        chosen = np.zeros(len(self.data.lengths), bool)
        chosen[self.episodes] = True
        values, changes = self._moments(), self._moments()
        for block in blocks(self.data, names):
            seen = self.columns.observations(block.values, 1).astype(np.float64)
            values.add(seen[chosen[block.episodes]])
            ahead = self.block
            same = (block.episodes[ahead:] == block.episodes[:-ahead]) & chosen[block.episodes[ahead:]]
            changes.add((seen[ahead:] - seen[:-ahead])[same])
        seen, moved = values.result(), changes.result()
        require(bool(seen.count.min() > 0), f"{self.data.path} has no rows to learn from: give a dataset with episodes.")
        odd = int(seen.odd.max())
        require(odd == 0, f"{self.data.path} has {odd} observations that are not numbers: `grasp data inspect` says where.")
        return Scale(seen.mean, np.maximum(seen.std, 1e-6), np.maximum(np.nan_to_num(moved.std), 1e-6))

    @cached_property
    def abrupt(self) -> Int[np.ndarray, "events two"]:
        """Episode and row of every environment step in which some feature changes abruptly (a contact)."""
        steps = self._moments()
        for _, change in self._changes():
            steps.add(change)
        scale = np.maximum(steps.result().std, 1e-6)
        found = [np.empty((0, 2), np.int64)]
        for episode, change in self._changes():
            rows = np.flatnonzero((np.abs(change / scale) > ABRUPT).any(-1))
            found.append(np.stack([np.full(len(rows), episode), rows], axis=1))
        return np.concatenate(found)

    def _changes(self) -> Iterator[tuple[int, Float[np.ndarray, "steps observation"]]]:
        """The changes from step to step of each episode to learn from."""
        for episode in self.episodes.tolist():
            values = self.data.episode(episode, list(self.columns.observation))
            yield episode, np.diff(self.columns.observations(values, 1).astype(np.float64), axis=0)

    def _moments(self) -> Moments:
        return Moments(Column("observation", (self.columns.task.observation_dim,), "float64"))


def _held(data: Episodes, columns: Columns) -> Episodes:
    """The columns in memory; facts and path are the dataset's own."""
    parts: dict[str, list[np.ndarray]] = {name: [] for name in columns.names}
    for block in blocks(data, columns.names):
        for name, values in block.values.items():
            parts[name].append(values)
    none = {name: np.empty((0, *data.columns[name].shape), data.columns[name].dtype) for name in columns.names}
    joined = {name: np.concatenate([none[name], *values]) for name, values in parts.items()}
    held = from_arrays(joined, data.lengths, data.open_ended, data.columns, data.facts)
    return replace(held, path=data.path)
