"""Ways to spoil a file, for fuzzers: each gives other bytes, and the same for the same random state."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import yaml

Mutation = Callable[[bytes, Random], bytes]

ODD_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, -(2**63) - 1, 10**400, 0.5, -0.0, 1e308),
    *(float("nan"), float("inf"), float("-inf"), "", "0", "..", "../evil", "/etc/passwd", "a" * 5000, "[/b]", "$x^{$"),
    *("\x1b[2J", "=cmd", "\u0000", "墙", [], {}, [[]], [None], {"": None}),
)
"""Values that a field may be replaced by."""

DEEP = 100_000
"""Levels of a deeply nested file."""


def flip_bits(data: bytes, random: Random) -> bytes:
    """One to three bits flipped."""
    spoilt = bytearray(data or b"\0")
    for _ in range(random.randint(1, 3)):
        spoilt[random.randrange(len(spoilt))] ^= 1 << random.randrange(8)
    return bytes(spoilt)


def truncate(data: bytes, random: Random) -> bytes:
    """The beginning of the file."""
    return data[: random.randrange(len(data) + 1)]


def repeat_part(data: bytes, random: Random) -> bytes:
    """A part of the file twice."""
    first, last = sorted(random.randrange(len(data) + 1) for _ in range(2))
    return data[:last] + data[first:]


def replace_whole(data: bytes, random: Random) -> bytes:
    """Another file altogether: empty, zeros, another encoding, another kind of JSON, deep nesting."""
    others = (b"", b"\0" * 4096, b"\xff\xfe" * 20, b"null", b"[]", b"{}", b'"text"', b"NaN", b"7", b"[" * DEEP, b'{"a":' * DEEP)
    text = data.decode("utf-8", "replace")
    encoded = text.encode("utf-16"), b"\xef\xbb\xbf" + data, text.replace("e", "é").encode("latin-1", "replace")
    return random.choice((*others, *encoded))


def change_field(data: bytes, random: Random) -> bytes:
    """A JSON file with a field of another value, without one, or with one more; other files get flipped bits."""
    lines = data.splitlines()
    number = random.randrange(len(lines)) if lines else 0
    whole = _parsed(data)
    content = whole if whole is not None else _parsed(lines[number]) if lines else None
    if content is None:
        return flip_bits(data, random)
    holders = [content, *(held for held in _walk(content) if isinstance(held, dict | list) and held)]
    _spoil(random.choice(holders), random)
    spoilt = json.dumps(content).encode("utf-8", "replace")
    return spoilt if whole is not None else b"\n".join([*lines[:number], spoilt, *lines[number + 1 :]]) + b"\n"


def change_yaml(data: bytes, random: Random) -> bytes:
    """A YAML file with a field of another value, without one, or with one more; its header stays."""
    content = yaml.safe_load(data)
    holders = [content, *(held for held in _walk(content) if isinstance(held, dict | list) and held)]
    for _ in range(random.choice((1, 1, 2))):
        holder = random.choice(holders)
        if holder:
            _spoil(holder, random)
    spoilt = yaml.safe_dump(content, allow_unicode=True, sort_keys=False).encode("utf-8", "replace")
    return data.partition(b"\n")[0] + b"\n" + spoilt if data.startswith(b"#") else spoilt


MUTATIONS: tuple[Mutation, ...] = (
    change_field,
    change_field,
    change_field,
    flip_bits,
    flip_bits,
    truncate,
    repeat_part,
    replace_whole,
)
"""All of them; what finds most stands more than once."""


def mutate(data: bytes, random: Random) -> bytes:
    """The data after one or two mutations."""
    for _ in range(random.choice((1, 1, 2))):
        data = random.choice(MUTATIONS)(data, random)
    return data


def _parsed(data: bytes) -> Any:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict | list) and found else None


def _walk(value: Any) -> Iterator[Any]:
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for child in children:
        yield child
        yield from _walk(child)


def _spoil(holder: Any, random: Random) -> None:
    keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
    key = random.choice(keys)
    match random.randrange(4):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, list):
            holder.append(holder[key])
        case 1:
            holder["unknown"] = random.choice(ODD_VALUES)
        case _:
            holder[key] = random.choice(ODD_VALUES)
