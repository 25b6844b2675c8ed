"""Batches of training windows, which depend only on the step number: images from frames, and states from encoded frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from world_models.models.temporal import Pairs
from world_models.seeding import step_seed
from world_models.training.frames import PictureData


@dataclass(frozen=True)
class PictureWindows:
    """Windows of h + unroll model steps: images at model steps, the action blocks between them, and labels."""

    pixels: UInt8[Tensor, "batch time size size 3"]
    actions: Float[Tensor, "batch time_minus_one action"]
    proprioception: Float[Tensor, "batch time feature"]
    observations: Float[Tensor, "batch time observation"]


def picture_windows(frames: PictureData, block: int, times: int, batch: int, seed: int, step: int) -> PictureWindows:
    """The windows of a gradient step: `times` model steps of random trajectories, starting at random times."""
    rng = np.random.default_rng([seed, step])
    length = (times - 1) * block
    rows = rng.integers(frames.trajectories, size=(batch, 1))
    starts = rng.integers(frames.length - length + 1, size=(batch, 1))
    moments = starts + np.arange(0, length + 1, block)
    pictures = frames.pixels((rows * (frames.length + 1) + moments).reshape(-1))
    actions = frames.actions[rows, starts + np.arange(length)].reshape(batch, times - 1, -1)
    return PictureWindows(
        pictures.unflatten(0, (batch, times)),
        torch.from_numpy(actions),
        torch.from_numpy(frames.proprioception[rows, moments]),
        torch.from_numpy(frames.observations[rows, moments]),
    )


@dataclass(frozen=True)
class StateWindows:
    """Windows of h states, the actions taken in and after them, and the states that followed."""

    states: Float[Tensor, "batch h_plus_unroll state"]
    actions: Float[Tensor, "batch time_minus_one action"]


@dataclass(frozen=True)
class States:
    """Encoded states of all frames, on the training device."""

    states: Float[Tensor, "trajectories time_plus_one state"]
    actions: Float[Tensor, "trajectories time action"]
    """Environment actions."""
    block: int

    def windows(self, h: int, unroll: int, batch: int, start_share: float, seed: int, step: int) -> StateWindows:
        """The windows of a gradient step; `start_share` of them begin as plans do: h times the first state, with null
        actions."""
        generator = torch.Generator().manual_seed(step_seed(seed, step))
        block, past = self.block, (h - 1) * self.block
        rows = torch.randint(len(self.actions), (batch, 1), generator=generator)
        last = self.actions.shape[1] - unroll * block
        nows = torch.randint(min(past, last), last + 1, (batch, 1), generator=generator)
        nows[: round(start_share * batch)] = 0
        moments = nows + torch.arange(-past, unroll * block + 1, block)
        taken = nows + torch.arange(-past, unroll * block)
        device = self.states.device
        rows, moments, taken = rows.to(device), moments.to(device), taken.to(device)
        actions = self.actions[rows, taken.clamp_min(0)] * (taken >= 0).unsqueeze(-1)
        return StateWindows(self.states[rows, moments.clamp_min(0)], actions.reshape(batch, h - 1 + unroll, -1))

    def pairs(self, reach: int, batch: int, costs: Float[Tensor, "trajectories time"], seed: int, step: int) -> Pairs:
        """Pairs of states 1 to `reach` environment steps apart (log-uniformly), and the cost of the path between them."""
        generator = torch.Generator().manual_seed(step_seed(seed, step))
        longest = min(reach, self.actions.shape[1])
        apart = (longest ** torch.rand(batch, generator=generator)).round().long().clamp(1, longest)
        rows = torch.randint(len(self.actions), (batch,), generator=generator)
        spare = self.actions.shape[1] - apart + 1
        begins = (torch.rand(batch, generator=generator) * spare).long().clamp_max(spare - 1)
        rows, begins, apart = (part.to(self.states.device) for part in (rows, begins, apart))
        spent = torch.nn.functional.pad(costs.cumsum(1), (1, 0))
        way = spent[rows, begins + apart] - spent[rows, begins]
        return Pairs(self.states[rows, begins], self.states[rows, begins + apart], way)


def rows_of(total: int, at_once: int) -> list[Int[np.ndarray, " n"]]:
    """The indices 0..total-1 in consecutive parts of at most `at_once`."""
    return [np.arange(first, min(first + at_once, total)) for first in range(0, total, at_once)]
