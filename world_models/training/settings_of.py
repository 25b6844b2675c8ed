"""Settings dataclasses from config mappings, including nested ones."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from world_models.errors import UnknownNameError, UserError, brief

LARGEST = 1e9
"""The largest number of a setting."""

Settings = TypeVar("Settings")


def settings_of(kind: type[Settings], values: Mapping[str, object], where: str) -> Settings:
    """The settings dataclass `kind` with some fields set; lists become tuples, and mappings the dataclass of their field.

    Raises UnknownNameError for an unknown field, UserError for a value of another kind or a number that is too large.
    """
    assert dataclasses.is_dataclass(kind)
    known = {f.name for f in dataclasses.fields(kind)}
    hints = typing.get_type_hints(kind)
    found: dict[str, Any] = {}
    for key, value in values.items():
        if key not in known:
            raise UnknownNameError(f"setting of {where}", key, known)
        if isinstance(value, int | float) and not -LARGEST <= value <= LARGEST:
            raise UserError(f"{where}.{key} {brief(value)} is not a number up to {LARGEST:g}: give a smaller one.")
        nested = next((t for t in (hints[key], *typing.get_args(hints[key])) if dataclasses.is_dataclass(t)), None)
        if nested is not None and value is not None:
            if not isinstance(value, Mapping):
                raise UserError(f"{where}.{key} {value!r} must be a mapping of settings.")
            value = settings_of(nested, value, f"{where}.{key}")  # pyright: ignore[reportArgumentType]
        found[key] = tuple(value) if isinstance(value, list) else value
        if nested is None:
            _check_kind(f"{where}.{key}", hints[key], found[key])
    try:
        return kind(**found)
    except TypeError as error:
        raise UserError(f"{where}: {error}.") from error


def _check_kind(name: str, hint: Any, value: object) -> None:
    try:
        TypeAdapter(hint).validate_python(value, strict=True)
    except ValidationError as error:
        reason = error.errors(include_url=False)[0]["msg"].removeprefix("Input should be ")
        raise UserError(f"{name} {value!r:.80} does not fit: it should be {reason}.") from error
