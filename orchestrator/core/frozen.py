"""Plain values in a form that is hashable, for settings that are lists and mappings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping


class FrozenMapping(Mapping[str, object]):
    """A mapping of frozen values, which never changes and is hashable; equal to any mapping with the same items."""

    def __init__(self, items: Mapping[str, object]) -> None:
        self._items = {str(key): frozen(items[key]) for key in sorted(items, key=str)}

    def __getitem__(self, key: str) -> object:
        return self._items[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return hash(tuple(self._items.items()))

    def __repr__(self) -> str:
        return repr(self._items)

    def __deepcopy__(self, memo: object) -> FrozenMapping:
        return self


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
