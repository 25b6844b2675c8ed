"""Stable derivation of seeds: random numbers that depend only on an explicit key."""

from __future__ import annotations

import hashlib
import json

import numpy as np
from jaxtyping import Float


def stable_rng(*key: str | int | float) -> np.random.Generator:
    """A generator seeded by a key, such as task, settings, horizon and seed: the same in every process and on every machine."""
    text = json.dumps(key, separators=(",", ":"))
    return np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big"))


def stable_seed(text: str, size: int) -> int:
    """A seed of `size` bytes derived from a text: the same in every process and on every machine."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=size).digest(), "little")


def step_seed(seed: int, step: int) -> int:
    """The seed of a training step's random draws."""
    return seed * 1_000_003 + step


def member_seeds(seed: int, names: str) -> dict[str, int]:
    """The seeds that a Gymnasium `Dict` space of these members, sorted names in one text, gives to each."""
    members = names.split()
    seeds = np.random.default_rng(seed).integers(np.iinfo(np.int32).max, size=len(members))
    return {name: int(each) for name, each in zip(members, seeds, strict=True)}


def smooth_noise(
    rng: np.random.Generator, count: int, length: int, size: int, memory: float = 0.9
) -> Float[np.ndarray, "count length size"]:
    """Autoregressive Gaussian noise of unit variance at every step; `memory` in [0, 1) is its correlation over one step."""
    shocks = rng.standard_normal((count, length, size))
    result = np.empty_like(shocks)
    result[:, :1] = shocks[:, :1]
    scale = float(np.sqrt(1.0 - memory**2))
    for t in range(1, length):
        result[:, t] = memory * result[:, t - 1] + scale * shocks[:, t]
    return result
