"""Manifests of CLEAR-LeWM (DavidSunok/CLEAR-LeWM, v0.5): fixed pairs of start and goal, and the test that judges them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ClearPair:
    """A start and a goal, as row numbers within an episode."""

    pair_id: int
    episode_id: int
    start_step: int
    goal_step: int


@dataclass(frozen=True)
class ClearManifest:
    """The pairs of a manifest; what else it says is not read."""

    pairs: list[ClearPair]
