"""Readers for entries of the quality study's config; for a wrong value they raise a UserError that names it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import cast

from orchestrator.core.cell import Scalar
from planners.settings import LARGEST_NUMBER
from world_models.errors import UnknownNameError, brief, require

MOST = 1_000_000
"""Largest count in a study."""


def mapping(where: str, raw: object, known: Collection[str] | None = None) -> Mapping[str, object]:
    """`raw` if it is a mapping with keys of `known` only; UserError otherwise. None counts as an empty mapping."""
    raw = {} if raw is None else raw
    require(isinstance(raw, Mapping), f"{where} {raw!r} is not a mapping: write KEY: VALUE pairs.")
    found = cast("Mapping[str, object]", raw)
    for key in found:
        if known is not None and key not in known:
            raise UnknownNameError(f"key of {where}:", key, known)
    return found


def entries(where: str, raw: object, known: Collection[str]) -> list[tuple[str, Mapping[str, object]]]:
    """The mappings of a list, each with its position as `where[i]` for messages; UserError for anything else."""
    require(isinstance(raw, list | None), f"{where} {raw!r} is not a list: write each entry as - {{{', '.join(known)}}}.")
    return [(f"{where}[{i}]", mapping(f"{where}[{i}]", each, known)) for i, each in enumerate(cast("list[object]", raw or []))]


def text(where: str, raw: Mapping[str, object], key: str, known: Collection[str] | None = None) -> str:
    """The word at `key`, which must be in `known` if that is given; UserError otherwise."""
    value = raw.get(key)
    require(isinstance(value, str) and bool(value), f"{where} has {key} {value!r}: give a name.")
    if known is not None and value not in known:
        raise UnknownNameError(f"{key} in {where}:", value, known)
    return str(value)


def positive_integer(where: str, raw: Mapping[str, object], key: str) -> int:
    """The whole number from 1 to `MOST` at `key`; UserError otherwise."""
    value = raw.get(key)
    require(
        isinstance(value, int) and not isinstance(value, bool) and 0 < value <= MOST,
        f"{where} has {key} {brief(value)}: give a whole number above 0, at most {MOST}.",
    )
    return cast(int, value)


def positive_number(where: str, value: object) -> float:
    """`value` if it is a number above 0 and at most 1e9; UserError otherwise."""
    sound = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= LARGEST_NUMBER
    require(sound, f"{where} is {brief(value)}: give a number above 0, at most {LARGEST_NUMBER:g}.")
    return float(cast(float, value))


def string_list(where: str, raw: object, known: Collection[str] | None = None) -> tuple[str, ...]:
    """`raw` if it is a list of words, all in `known` if that is given; UserError otherwise."""
    sound = isinstance(raw, list | None) and all(isinstance(word, str) for word in cast("Sequence[object]", raw or []))
    require(sound, f"{where} {raw!r} is not a list of names: write [NAME, NAME].")
    found = tuple(cast("list[str]", raw or []))
    for word in found:
        if known is not None and word not in known:
            raise UnknownNameError(f"name in {where}:", word, known)
    return found


def settings(where: str, raw: object) -> dict[str, Scalar]:
    """A planner's settings, not yet checked against the planner; UserError for values that are neither numbers nor words."""
    found = mapping(where, raw)
    for key, value in found.items():
        require(
            value is None or isinstance(value, bool | int | float | str),
            f"{where}.{key} is {value!r}: give a number or a word.",
        )
    return cast("dict[str, Scalar]", dict(found))
