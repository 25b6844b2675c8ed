"""Composed values become a typed config, or one sentence that names the key, the value and what was expected."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Mapping
from functools import cache
from types import UnionType
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from orchestrator.core.messages import mask_text, mask_token
from sweeps.config.schema.configs import COMMANDS
from sweeps.config.schema.kinds import Kind
from world_models.errors import UnknownNameError, UserError, brief

C = TypeVar("C")

_LONGEST = 80
"""Characters of a value that a message repeats."""


def typed(kind: type[C], values: Mapping[str, object], where: Callable[[str], str] = lambda key: "") -> C:
    """The config that the values hold.

    Raises UserError for the first value that does not fit; `where` gives words on a key's source, which end the sentence.
    """
    try:
        return _adapter(kind).validate_python(dict(values))
    except ValidationError as error:
        raise _refusal(kind, error, where) from error


def kind_at(kind: Any, key: str) -> Kind | None:
    """The kind of value that a dotted key takes; None for a group of keys and for a key that the config does not have."""
    found = _annotation(kind, key.split("."))
    return next((each for each in getattr(found, "__metadata__", ()) if isinstance(each, Kind)), None)


def is_entry(kind: Any, key: str) -> bool:
    """Whether a dotted key names an entry of an open group, such as `space.noise`, which a config may have or not."""
    *parents, _ = key.split(".")
    found = _annotation(kind, parents) if parents else None
    return any(_entry_type(each) is not None for each in _alternatives(found))


def has_key(kind: Any, key: str) -> bool:
    """Whether a dotted key may be in a config of this kind."""
    return _annotation(kind, key.split(".")) is not None


def children_of(kind: Any, key: str) -> list[str]:
    """Names of the keys of a group; none for a single value and for an open group."""
    names = (set(_hints(each)) for each in _alternatives(_annotation(kind, key.split(".") if key else [])) if _is_section(each))
    return sorted(set().union(*names))


def _annotation(kind: Any, parts: list[str]) -> Any:
    """The annotation at the end of a path of keys; None where the path leads nowhere."""
    if not parts:
        return kind
    for each in _alternatives(kind):
        entry = _hints(each).get(parts[0]) if _is_section(each) else _entry_type(each)
        if entry is not None and (found := _annotation(entry, parts[1:])) is not None:
            return found
    return None


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and dataclasses.is_dataclass(kind)


def _alternatives(kind: Any) -> tuple[Any, ...]:
    """The members of a union, without the metadata of `Annotated`; the kind itself if it is neither."""
    if isinstance(kind, typing._AnnotatedAlias):  # pyright: ignore[reportAttributeAccessIssue]
        return () if any(isinstance(each, Kind) for each in kind.__metadata__) else _alternatives(kind.__origin__)
    if isinstance(kind, UnionType) or typing.get_origin(kind) is typing.Union:
        return tuple(each for member in typing.get_args(kind) for each in _alternatives(member))
    return (kind,)


def _entry_type(kind: Any) -> Any:
    """The type of a mapping's values; None if it is not a mapping. An open value may hold anything."""
    if kind is object:
        return object
    origin = typing.get_origin(kind)
    return typing.get_args(kind)[1] if isinstance(origin, type) and issubclass(origin, Mapping) else None


@cache
def _hints(kind: type) -> dict[str, Any]:
    names = {field.name for field in dataclasses.fields(kind)}
    return {name: hint for name, hint in typing.get_type_hints(kind, include_extras=True).items() if name in names}


@cache
def _adapter(kind: Any) -> Any:  # beartype does not know the type TypeAdapter
    return TypeAdapter(kind)


def _refusal(kind: Any, error: ValidationError, where: Callable[[str], str]) -> UserError:
    """The sentence for the first fault of a validation."""
    fault = error.errors(include_url=False)[0]
    key, value, context = _key(fault["loc"]), fault["input"], fault.get("ctx", {})
    source = where(key)
    if isinstance(original := context.get("error"), UserError):
        return UserError(f"{original}{source}") if source else original
    if fault["type"] == "unexpected_keyword_argument":
        return unknown_key(kind, key, source)
    if fault["type"] == "missing":
        return UserError(f"the config has no {key}, which it needs: give {key}=VALUE{source}.")
    if fault["type"] == "union_tag_invalid":
        return UnknownNameError(key, context.get("tag"), context["expected_tags"].replace("'", "").split(", "))
    if fault["type"] == "kind":
        example = context["example"]
        hint = f"give e.g. {example if '=' in example else f'{key}={example}'}"
        return UserError(f"{key} {shown(value)} is not {context['expected']}: {hint}{source}.")
    if fault["type"] == "list_type":
        return UserError(
            f"{key} {shown(value)} is not a list of groups of keys: give it in a file, or as [{{KEY:VALUE}}]{source}."
        )
    return not_a_group(kind, key, value, source)


def not_a_group(kind: Any, key: str, value: object, source: str = "") -> UserError:
    """The sentence for a single value where a group of keys belongs."""
    known = children_of(kind, key)
    first = known[0] if known else "KEY"
    expected = kind_at(kind, f"{key}.{first}")
    listed = f" ({', '.join(known)})" if known else ""
    example = f"{key}.{first}={expected.example if expected else 'VALUE'}"
    return UserError(f"{key} {shown(value)} is not a group of keys{listed}: give e.g. {example}{source}.")


def unknown_key(kind: Any, key: str, source: str = "") -> UserError:
    """The sentence for a key that the config does not have: the command or group that has it, or the nearest names."""
    if has_key(kind, key):
        group = key.rpartition(".")[0]
        return UserError(f"{key} does not go with the {group} that is chosen: leave it out, or choose another {group}{source}.")
    first = key.partition(".")[0]
    others = [f"grasp {name}" for name, other in COMMANDS.items() if has_key(other, first) and has_key(other, key)]
    if others and not has_key(kind, first):
        return UserError(f"unknown config key {key!r}: it is a key of {' and '.join(others)}{source}.")
    parent = key.rpartition(".")[0]
    while parent and not children_of(kind, parent):
        parent = parent.rpartition(".")[0]
    known = {f"{parent}.{name}".lstrip(".") for name in children_of(kind, parent)} | ({*kind.GROUPS} if not parent else set())
    error = UnknownNameError("config key", key, known)
    return UserError(f"{str(error)[:-1]}{source}{str(error)[-1]}") if source else error


def shown(value: object) -> str:
    """The value for a message, as it is written in a config: without passwords, and not too long."""
    plain = {None: "null", True: "true", False: "false"}.get(value) if value is None or isinstance(value, bool) else None
    text = plain or (repr(mask_token(value)) if isinstance(value, str) else _number(value))
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def _number(value: object) -> str:
    return brief(value) if isinstance(value, int | float) else mask_text(str(value))


def _key(location: tuple[int | str, ...]) -> str:
    """The dotted key of a fault's location; the kind of backend, which pydantic adds, is not part of it."""
    parts = [str(part) for part in location]
    if parts[:1] == ["backend"] and len(parts) > 1:
        parts.pop(1)
    return ".".join(parts)
