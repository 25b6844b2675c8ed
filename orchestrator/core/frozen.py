"""Plain values in a form that is hashable, for settings that are lists and mappings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn


class FrozenMapping(dict[str, Any]):
    """A mapping of frozen values that never changes and is hashable. It is a `dict`, so that every library can write it."""

    def __init__(self, items: Any = ()) -> None:
        plain = dict(items)
        super().__init__({str(key): frozen(plain[key]) for key in sorted(plain, key=str)})

    def __hash__(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return hash(tuple(self.items()))

    def __reduce__(self) -> tuple[type[FrozenMapping], tuple[dict[str, Any]]]:
        return FrozenMapping, (dict(self),)

    def _refused(self, *_: object, **__: object) -> NoReturn:
        raise TypeError("a frozen mapping does not change")

    __setitem__ = __delitem__ = update = pop = popitem = clear = setdefault = __ior__ = _refused  # pyright: ignore


def frozen(value: object) -> object:
    """The value with lists as tuples and mappings as `FrozenMapping`, at any depth."""
    if isinstance(value, FrozenMapping):
        return value
    if isinstance(value, Mapping):
        return FrozenMapping(value)
    return tuple(frozen(item) for item in value) if isinstance(value, list | tuple) else value


def thawed(value: object) -> object:
    """The value with tuples as lists and mappings as dictionaries, as a config has them."""
    if isinstance(value, Mapping):
        return {key: thawed(item) for key, item in value.items()}
    return [thawed(item) for item in value] if isinstance(value, tuple) else value
