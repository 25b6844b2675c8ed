"""Simulator values as float64 vectors and back: numbers, arrays, and tuples, lists and mappings of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from world_models.errors import UserError


class PackingError(UserError):
    """A state that float64 numbers cannot hold exactly, or whose form changes."""


@dataclass(frozen=True)
class Form:
    """The form of a value: its kind, the type to restore, and the forms of its parts."""

    kind: str
    restore: Any = None
    shape: tuple[int, ...] = ()
    parts: tuple[tuple[str, Form], ...] = ()

    @property
    def size(self) -> int:
        """Number of float64 numbers."""
        return int(np.prod(self.shape)) if self.kind != "many" else sum(part.size for _, part in self.parts)


def form_of(value: object) -> Form:
    """The form of a value; PackingError for what is not made of numbers."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "bifu":
        return Form("array", value.dtype.str, value.shape)
    if isinstance(value, np.generic) and value.dtype.kind in "bifu":
        return Form("number", value.dtype.type)
    if isinstance(value, bool | int | float):
        return Form("number", type(value))
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return Form("many", dict, parts=tuple((key, form_of(value[key])) for key in sorted(value)))
    if type(value) in (tuple, list):
        items: Any = value
        return Form("many", type(value), parts=tuple((str(i), form_of(item)) for i, item in enumerate(items)))
    raise PackingError(f"a state with a {type(value).__name__} is not made of numbers: give get_state and set_state that are.")


def pack(value: Any, form: Form) -> Float[np.ndarray, " size"]:
    """The value's numbers; PackingError where its form differs or a number would change."""
    if form_of(value) != form:
        raise PackingError(
            "the state of the environment changes its form from step to step: give get_state and set_state of one form."
        )
    if form.kind == "many":
        keyed = value if form.restore is dict else {str(i): item for i, item in enumerate(value)}
        packed = [pack(keyed[key], part) for key, part in form.parts]
        return np.concatenate(packed) if packed else np.empty(0)
    numbers = np.asarray(value).astype(np.float64).reshape(-1)
    whole = form.kind == "number" and form.restore is int
    if (whole and int(numbers[0]) != value) or not np.array_equal(numbers.astype(np.asarray(value).dtype), np.ravel(value)):
        raise PackingError("the state has numbers that float64 cannot hold: give get_state and set_state without them.")
    return numbers


def unpack(numbers: Float[np.ndarray, " size"], form: Form) -> Any:
    """A new value of the form with these numbers."""
    if form.kind == "array":
        return numbers.reshape(form.shape).astype(form.restore)
    if form.kind == "number":
        return form.restore(numbers[0])
    values, first = [], 0
    for _, part in form.parts:
        values.append(unpack(numbers[first : first + part.size], part))
        first += part.size
    if form.restore is dict:
        return dict(zip((key for key, _ in form.parts), values, strict=True))
    return form.restore(values)
