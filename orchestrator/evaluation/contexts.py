"""The context in which a plan begins: states of the simulator, recorded ones before them, and how the model sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from world_models.base import Context, RememberingModel, remembered
from world_models.checkpoints.store import LoadedModel
from world_models.tasks import Problem, Task


@dataclass(frozen=True)
class Past:
    """The simulator's states before the starts of a batch of problems, and the actions from there to the starts."""

    states: Float[np.ndarray, "batch past simulator_state"]
    """A model step apart."""
    actions: Float[np.ndarray, "batch past_steps action"]
    pictures: UInt8[np.ndarray, "batch past_and_start height width 3"] | None = None
    """Recorded pictures of these states and the start."""


def past_of(problems: Sequence[Problem], block: int) -> Past | None:
    """The past of problems, as long as the longest: before the others' nothing moved.

    None if none has a past, nor a picture of its start.
    """
    known = _past_lengths(problems)
    longest = max(known)
    if not longest and problems[0].pictures is None:
        return None
    states, actions, pictures = [], [], []
    for problem, count in zip(problems, known, strict=True):
        path, taken = problem.start[None], np.zeros((0, problem.reference_actions.shape[1]))
        if problem.past_states is not None and problem.past_actions is not None:
            path, taken = np.concatenate([problem.past_states, path]), problem.past_actions
        missing = longest - count
        states.append(np.concatenate([np.repeat(path[:1], missing, 0), path[:-1]]))
        actions.append(np.concatenate([np.zeros((missing * block, taken.shape[1])), taken]))
        if problem.pictures is not None:
            seen = problem.pictures.seen
            pictures.append(np.concatenate([np.repeat(seen[:1], missing, 0), seen]))
    return Past(np.stack(states), np.stack(actions), np.stack(pictures) if pictures else None)


def alike(problems: Sequence[Problem], loaded: LoadedModel) -> list[list[int]]:
    """The rows of problems that are planned in one batch.

    All, but where contexts grow or a memory is warmed up those that know equally many states before their start.
    """
    remembers = isinstance(loaded.model, RememberingModel)
    if not loaded.history.grows and not remembers:
        return [list(range(len(problems)))]
    past = _past_lengths(problems)
    known = past if remembers else [min(loaded.history.seen(loaded.model) - 1, count) for count in past]
    return [[row for row, count in enumerate(known) if count == length] for length in sorted(set(known))]


def order_of(groups: Sequence[Sequence[int]]) -> Int[np.ndarray, " rows"]:
    """Where each row is found once the rows of all groups stand one after another."""
    return np.argsort(np.concatenate(groups))


def context_of(
    loaded: LoadedModel,
    task: Task,
    past: Past | None,
    states: Float[np.ndarray, "batch time_plus_one simulator_state"],
    actions: Float[np.ndarray, "batch time action"],
) -> Context:
    """The context after some environment steps, by the model's history mode; its states are a model step apart.

    A model that remembers more than a context holds sees everything since the start.
    """
    model = loaded.model
    whole = states[:, :: task.action_block]
    if past is not None:
        whole, actions = np.concatenate([past.states, whole], 1), np.concatenate([past.actions, actions], 1)
    seen = whole if isinstance(model, RememberingModel) else whole[:, -loaded.history.seen(model) :]
    batch, known = seen.shape[:2]
    encoded = _encoded(loaded, task, seen, _pictured(past, whole.shape[1] - known))
    if known == 1:
        return loaded.history.context(model, encoded)
    recent = actions.reshape(batch, -1, model.action_dim)[:, 1 - known :]
    taken = torch.as_tensor(recent, dtype=model.dtype, device=model.device)
    with torch.no_grad():
        path = remembered(model, encoded, taken)
    return loaded.history.context(model, path, taken)


def _past_lengths(problems: Sequence[Problem]) -> list[int]:
    """States that each problem knows before its start."""
    return [0 if problem.past_states is None else len(problem.past_states) for problem in problems]


def _pictured(past: Past | None, first: int) -> UInt8[np.ndarray, "batch pictured height width 3"] | None:
    """The recorded pictures from state number `first` on; None if there are none."""
    return None if past is None or past.pictures is None or first >= past.pictures.shape[1] else past.pictures[:, first:]


def _encoded(
    loaded: LoadedModel,
    task: Task,
    states: Float[np.ndarray, "batch known simulator_state"],
    pictures: UInt8[np.ndarray, "batch pictured height width 3"] | None,
) -> Float[Tensor, "batch known *state"]:
    """Model states; the first ones are seen on recorded pictures, the others as the task draws them."""
    count = 0 if pictures is None else pictures.shape[1]
    parts = []
    for part, shown in ((states[:, :count], pictures), (states[:, count:], None)):
        batch, known = part.shape[:2]
        if known:
            flat = None if shown is None else shown.reshape(batch * known, *shown.shape[2:])
            found = loaded.sensors.encode(loaded.model, task, part.reshape(batch * known, -1), flat)
            parts.append(found.unflatten(0, (batch, known)))
    return torch.cat(parts, 1)
