"""The digest of a class or function that is in no file, such as one of a notebook's cell."""

from __future__ import annotations

import hashlib
import inspect
import types
from collections.abc import Iterator
from typing import Any


def code_of_value(value: Any) -> str:
    """Digest of the code of a class or function, and of what it uses of `__main__`: 16 hex digits.

    It is of compiled code: another version of Python makes another digest, and comments make none.
    """
    found = hashlib.sha256()
    for line in _lines(value, set()):
        found.update(line.encode() + b"\n")
    return found.hexdigest()[:16]


def _lines(value: Any, seen: set[int]) -> Iterator[str]:
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, types.FunctionType):
        yield from _code_lines(value.__code__)
        yield repr(value.__defaults__)
        for name in sorted(_names(value.__code__)):
            used = value.__globals__.get(name)
            if getattr(used, "__module__", None) == "__main__":
                yield name
                yield from _lines(used, seen)
            elif isinstance(used, bool | int | float | str | tuple):
                yield f"{name}={used!r}"
    elif isinstance(value, type):
        yield value.__qualname__
        for base in value.__mro__[1:]:
            if base.__module__ == "__main__":
                yield from _lines(base, seen)
        for name, member in sorted(vars(value).items()):
            inner = member.__func__ if isinstance(member, staticmethod | classmethod) else member
            inner = inner.fget if isinstance(inner, property) else inner
            if isinstance(inner, types.FunctionType | type):
                yield name
                yield from _lines(inner, seen)
            elif isinstance(inner, bool | int | float | str | tuple) and name not in ("__module__", "__doc__"):
                yield f"{name}={inner!r}"
    elif not inspect.ismodule(value):
        yield repr(type(value))


def _code_lines(code: types.CodeType) -> Iterator[str]:
    yield code.co_code.hex()
    yield repr(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _code_lines(constant)
        else:
            yield repr(constant)


def _names(code: types.CodeType) -> set[str]:
    """Names that code looks up, also in functions within it."""
    inner = (constant for constant in code.co_consts if isinstance(constant, types.CodeType))
    return set(code.co_names).union(*(_names(each) for each in inner))
