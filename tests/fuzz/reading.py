"""A second reader of overrides, written from the documentation alone: what a simple value must come out as."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from tests.fuzz.grammar import Line, Word

UNSURE = object()
"""A value that is not simple."""


def expected(word: Word) -> object:
    """The value that a word must give its key; UNSURE for one that is not simple."""
    raw, takes = word.raw, word.key.takes
    if any(mark in raw for mark in ("$", "://", "\udcff", "@", "???")) or word.marked or not takes:
        return UNSURE
    if word.key.optional and raw == "null":
        return None
    if takes == "text":
        return UNSURE if raw[:1] in ("'", '"') else raw
    if takes == "bool":
        return {"true": True, "false": False}.get(raw.lower(), UNSURE)
    if takes == "list":
        return [int(part) for part in raw[1:-1].split(",")] if re.fullmatch(r"\[\d{1,9}(,\d{1,9})*\]", raw) else UNSURE
    return _number(raw)


def _number(raw: str) -> object:
    if re.fullmatch(r"[+-]?(0|[1-9](_?[0-9])*)", raw):
        return int(raw)
    return float(raw) if re.fullmatch(r"[+-]?[0-9]*\.?[0-9]+([eE][+-]?[0-9]+)?", raw) else UNSURE


def differences(line: Line, composed: Mapping[str, Any]) -> list[str]:
    """The words whose value is not what was typed."""
    found = []
    for word in _lasting(line):
        if (want := expected(word)) is UNSURE:
            continue
        got = _at(composed, word.key.name.split("."))
        if got is UNSURE or type(got) is not type(want) or got != want:
            found.append(f"{word.text!r} came out as {got!r:.200}, not {want!r:.200}")
    return found


def unsure(line: Line) -> list[Word]:
    """The words whose effect this reader cannot tell."""
    return [word for word in _lasting(line) if expected(word) is UNSURE]


def _lasting(line: Line) -> Iterator[Word]:
    """The words that no later one changes."""
    for position, word in enumerate(line.given):
        later = [other.key.name for other in line.given[position + 1 :]]
        if not any(_overlap(_canonical(name), _canonical(word.key.name)) for name in later):
            yield word


def _at(value: Any, parts: list[str]) -> Any:
    for part in parts:
        if not isinstance(value, Mapping) or part not in value:
            return UNSURE
        value = value[part]
    return value


def _canonical(name: str) -> str:
    if name.startswith(("train.", "task.")):
        return f"world_model.{name}"
    return {"seed": "seeds", "horizon": "horizons", "world_model": "world_models", "goal_cost": "goal_costs"}.get(name, name)


def _overlap(one: str, other: str) -> bool:
    return f"{one}.".startswith(f"{other}.") or f"{other}.".startswith(f"{one}.")
