"""Planner settings: frozen dataclasses whose fields carry their own limits, checked by name and value when built."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, TypeVar

from torch import Tensor

from world_models.errors import UnknownNameError, UserError, require

Scalar = bool | int | float | str | None

S = TypeVar("S", bound="Settings")


def count(default: int, low: int = 1) -> Any:
    """A field that holds a whole number >= `low`."""
    return dataclasses.field(default=default, metadata={"kind": "count", "low": low})


def number(default: float, low: float = 0.0, high: float = math.inf, positive: bool = False) -> Any:
    """A field that holds a finite number in `[low, high]`; `positive` refuses 0."""
    return dataclasses.field(default=default, metadata={"kind": "number", "low": low, "high": high, "positive": positive})


def flag(default: bool) -> Any:
    """A field that holds true or false."""
    return dataclasses.field(default=default, metadata={"kind": "flag"})


def choice(default: str, *others: str) -> Any:
    """A field that holds one of some names."""
    return dataclasses.field(default=default, metadata={"kind": "choice", "names": (default, *others)})


@dataclasses.dataclass(frozen=True)
class Settings:
    """Base of every planner's settings. Building one with a value out of its limits raises UserError by name and value."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = _checked(field.name, getattr(self, field.name), field.metadata)
            object.__setattr__(self, field.name, value)

    @classmethod
    def of(cls: type[S], planner: str, settings: Mapping[str, Scalar]) -> S:
        """Settings of a mapping; a name that `planner` does not take raises UnknownNameError with the nearest names."""
        limits = {field.name: field.metadata for field in dataclasses.fields(cls)}
        for name in settings:
            if name not in limits:
                raise UnknownNameError(f"setting of planner {planner!r}:", name, limits)
        # Checked here as well, so that a value of a wrong type never reaches a typed constructor.
        checked: dict[str, Any] = {name: _checked(name, value, limits[name]) for name, value in settings.items()}
        return cls(**checked)

    def as_dict(self) -> dict[str, Scalar]:
        """All settings, defaults filled in, numbers in one canonical type."""
        return dataclasses.asdict(self)


def _checked(name: str, value: object, limits: Mapping[str, Any]) -> object:
    """`value` in the field's canonical type, or UserError."""
    if limits["kind"] == "flag":
        require(isinstance(value, bool), f"{name} {value!r} is neither true nor false: give one of them.")
        return value
    if limits["kind"] == "choice":
        require(value in limits["names"], f"{name} {value!r} is unknown: give one of {', '.join(limits['names'])}.")
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise UserError(f"{name} {value!r} is no finite number: give a number >= {limits['low']:g}.")
    low = limits["low"]
    if value < low:
        flaw = "negative" if value < 0 and low == 0 else f"below {low:g}"
        raise UserError(f"{name} {value:g} is {flaw}: give a number >= {low:g}.")
    if limits["kind"] == "count":
        require(float(value).is_integer(), f"{name} {value:g} is no whole number: give one >= {low:g}.")
        return int(value)
    require(value <= limits["high"], f"{name} {value:g} is above {limits['high']:g}: give a number <= {limits['high']:g}.")
    require(value > 0 or not limits["positive"], f"{name} {value:g} is not positive: give a number > 0.")
    return float(value)


def per_row(value: float | Tensor, like: Tensor) -> float | Tensor:
    """A setting ready to multiply `like` `[batch, ...]`: a number as it is, a tensor `[batch]` with axes added behind."""
    if isinstance(value, Tensor):
        return value.reshape(-1, *[1] * (like.ndim - 1))
    return value
