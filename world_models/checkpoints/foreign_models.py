"""Checks of models that we did not make: they can be moved, keep their weights where these count, and step as they say."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from world_models.errors import UserError, require
from world_models.parts import Parts

PROBE = 2
"""Rows of the step that is tried."""


def check_weights(what: str, parts: Parts) -> None:
    """Raise UserError for weights that can neither be moved nor be part of the digest; `what` names the model."""
    for part in (parts.model, parts.decode, *parts.goal_costs.values()):
        held = sorted(_loose(part))
        require(
            not held,
            f"{what} keeps weights in {', '.join(held)}, where they cannot be moved and do not count in its digest: "
            "let it be a torch.nn.Module, and register tensors as parameters or buffers.",
        )


def moved(what: str, parts: Parts, device: torch.device | str, dtype: torch.dtype) -> Parts:
    """The parts on a device, frozen, after a step was tried there. Raises UserError for a model that does not do as it says."""
    try:
        for module in parts.modules():
            module.to(device=device, dtype=dtype).requires_grad_(False).eval()
    except Exception as error:
        raise UserError(f"{what} cannot be moved to {device} in {_word(dtype)} ({first_line(error)}): mend it.") from error
    _check_step(what, parts, torch.device(device), dtype)
    return parts


def first_line(error: Exception) -> str:
    """An error's class and the first line of its message."""
    return f"{type(error).__name__}: {error}".splitlines()[0][:300]


def _check_step(what: str, parts: Parts, device: torch.device, dtype: torch.dtype) -> None:
    model = parts.model
    said = model.device, model.dtype
    if said[0].type != device.type or said[1] != dtype:
        raise UserError(
            f"{what} says that it is on {said[0]} in {_word(said[1])} after a move to {device} in {_word(dtype)}: let its "
            "device and dtype be those of its parameters."
        )
    shape = tuple(model.state_shape)
    states = torch.zeros(PROBE, model.history, *shape, device=device, dtype=dtype)
    actions = torch.zeros(PROBE, model.history, model.action_dim, device=device, dtype=dtype)
    try:
        with torch.no_grad():
            found = model.step(states, actions)
    except Exception as error:
        raise UserError(
            f"{what} cannot step from states {tuple(states.shape)} and actions {tuple(actions.shape)} on {device} in "
            f"{_word(dtype)} ({first_line(error)}): mend its step."
        ) from error
    check_states(f"a step of {what}", found, (PROBE, *shape), device, dtype)


def check_states(what: str, found: object, shape: tuple[int, ...], device: torch.device, dtype: torch.dtype) -> None:
    """Raise UserError unless these are states of a shape, on a device, in a floating type."""
    if not isinstance(found, Tensor):
        raise UserError(f"{what} gives {type(found).__name__}, not a tensor of states: return one.")
    has = tuple(found.shape), found.device.type, found.dtype
    if has != (shape, device.type, dtype):
        raise UserError(
            f"{what} gives states {has[0]} on {has[1]} in {_word(has[2])}, not {shape} on {device.type} in {_word(dtype)}: "
            "mend it."
        )


def _loose(part: object) -> Iterator[str]:
    """Attributes of an object that hold weights outside the parameters and buffers of a module."""
    if not isinstance(part, nn.Module):
        yield from (name for name, value in getattr(part, "__dict__", {}).items() if isinstance(value, nn.Module | Tensor))
        return
    for module in part.modules():
        yield from (name for name, value in vars(module).items() if isinstance(value, Tensor))


def _word(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
