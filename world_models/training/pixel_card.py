"""Card of a pixel model: open-loop errors by the probe, and rank correlations of goal costs with true distance, by band."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import rankdata
from torch import Tensor

from world_models.base import Context, Decode, GoalCost, PixelObservation, WorldModel, rollout
from world_models.parts import Parts
from world_models.tasks import Task
from world_models.tasks.geometry import PathDistance
from world_models.training.assess import STEPS
from world_models.training.encoder_stage import about_labels
from world_models.training.frames import PictureData
from world_models.training.windows import rows_of

if TYPE_CHECKING:
    from world_models.training.pixel_settings import PixelTrainSettings

PER_BAND = 2000
"""Pairs per band for its rank correlation; a band with fewer than a tenth of these is left out."""
BANDS = 5
"""Number of equally filled bands, for tasks that define none."""
EXTRA_STEPS = (25,)
ENCODED_AT_ONCE = 64
"""Images per encoder call: three times as fast as a thousand, whose feature maps exceed a CPU's cache."""


def pixel_card(
    parts: Parts,
    task: Task,
    settings: PixelTrainSettings,
    held_out: PictureData,
    steps: tuple[int, ...] = (*STEPS, *EXTRA_STEPS),
) -> Mapping[str, object]:
    """Entries of the card that are measured on held-out trajectories, and the labels used by each part."""
    states = encode_frames(parts.model, held_out)
    shaped = "observation" if settings.align else about_labels(settings.encoder)
    own = {"latent": shaped, "probe": "observation", "temporal": shaped}
    assert parts.decode is not None, "pixel models have a probe"
    return {
        "labels": {"encoder": shaped, **{name: own[name] for name in parts.goal_costs}},
        "open_loop_error": probe_errors(parts.model, parts.decode, task, held_out, states, steps),
        "goal_cost_rank_correlation": rank_correlations(parts.goal_costs, task, held_out.observations, states),
    }


@torch.no_grad()
def encode_frames(model: WorldModel, frames: PictureData) -> Float[Tensor, "trajectories time_plus_one state"]:
    """States of all frames, on the model's device."""
    proprioception = torch.from_numpy(frames.proprioception.copy()).flatten(0, 1).to(model.device)
    parts = [
        model.encode(PixelObservation(frames.pixels(rows).to(model.device), proprioception[rows]))
        for rows in rows_of(len(proprioception), ENCODED_AT_ONCE)
    ]
    return torch.cat(parts).unflatten(0, (frames.trajectories, frames.length + 1))


@torch.no_grad()
def probe_errors(
    model: WorldModel,
    probe: Decode,
    task: Task,
    frames: PictureData,
    states: Float[Tensor, "trajectories time_plus_one state"],
    steps: tuple[int, ...] = (*STEPS, *EXTRA_STEPS),
) -> dict[str, dict[str, dict[str, float]]]:
    """Mean pose errors of the probe after n environment steps with the data's actions, `{part: {n: {...}}}`.

    `readout` is the probe's own error on the encoded image of that time, without prediction. Persistence predicts that nothing
    moves.
    """
    block = task.action_block
    count = frames.length // block
    actions = torch.from_numpy(frames.actions[:, : count * block].copy()).to(model.device, model.dtype)
    seen = states[:, : count * block + 1 : block]
    future = rollout(model, Context.at(model, seen[:, 0]), actions.reshape(len(actions), count, -1))
    predicted, read = (task.pose(_observations(probe, part)) for part in (future, seen))
    true = task.pose(frames.observations[:, : count * block + 1 : block].astype(np.float64))
    result: dict[str, dict[str, dict[str, float]]] = {}
    for n in sorted(steps):
        if n % block or n > frames.length:
            continue
        k = n // block
        errors = {
            "model": task.pose_errors(predicted[:, k - 1], true[:, k]),
            "persistence": task.pose_errors(true[:, 0], true[:, k]),
            "readout": task.pose_errors(read[:, k], true[:, k]),
        }
        for part in errors["model"]:
            entry = {kind: round(float(values[part].mean()), 5) for kind, values in errors.items()}
            result.setdefault(part, {})[str(n)] = entry
    return result


def _observations(probe: Decode, states: Float[Tensor, "batch time state"]) -> Float[np.ndarray, "batch time observation"]:
    return probe(states.flatten(0, 1)).unflatten(0, states.shape[:2]).double().cpu().numpy()


@torch.no_grad()
def rank_correlations(
    costs: Mapping[str, GoalCost],
    task: Task,
    observations: Float[np.ndarray, "trajectories time observation"],
    states: Float[Tensor, "trajectories time state"],
    seed: int = 0,
) -> dict[str, dict[str, float]]:
    """Spearman correlation of each goal cost with the true distance of held-out observations: overall and within each band.

    The distance is the task's path distance if it has one, else its plain distance.
    """
    rng = np.random.default_rng(seed)
    flat = observations.reshape(-1, observations.shape[2]).astype(np.float64)
    flat_states = states.flatten(0, 1)
    first, second = _pairs(rng, observations.shape[0], observations.shape[1])
    a, b = task.pose(flat[first]), task.pose(flat[second])
    far = task.path_distance(a, b) if isinstance(task, PathDistance) else task.distance(a, b)
    if isinstance(task, PathDistance):
        edges = [*task.distance_bands, np.inf]
    else:
        edges = [*np.quantile(far, np.linspace(0, 1, BANDS + 1))[:-1], np.inf]
    random = len(first) // 2
    pairs_by_band = {"all": np.arange(random)[: 2 * PER_BAND]}
    for low, high in pairwise(edges):
        within = np.flatnonzero((far >= low) & (far < high) & (far > 0))
        if len(within) >= PER_BAND // 10:
            name = f"{low:.3g}-{high:.3g}" if np.isfinite(high) else f"{low:.3g}+"
            pairs_by_band[name] = rng.permutation(within)[:PER_BAND]
    result: dict[str, dict[str, float]] = {}
    for name, cost in costs.items():
        result[name] = {}
        for band, rows in pairs_by_band.items():
            costs_of = cost(flat_states[first[rows]], flat_states[second[rows]]).double().cpu().numpy()
            result[name][band] = round(float(np.corrcoef(rankdata(costs_of), rankdata(far[rows]))[0, 1]), 4)
    return result


def _pairs(rng: np.random.Generator, trajectories: int, times: int, count: int = 40_000):
    """Random pairs of observations, followed by as many pairs from within trajectories, which are closer."""
    total = trajectories * times
    rows = rng.integers(trajectories, size=count)
    near = rows[:, None] * times + rng.integers(times, size=(count, 2))
    return np.concatenate([rng.integers(total, size=count), near[:, 0]]), np.concatenate(
        [rng.integers(total, size=count), near[:, 1]]
    )
