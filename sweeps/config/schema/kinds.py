"""Kinds of config values: what a key accepts, in words, with an example for whoever gave something else."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from orchestrator.core.cell import Scalar
from orchestrator.core.messages import mask_uri, texts_in
from world_models.errors import UnknownNameError, UserError
from world_models.files.names import file_name

DEEPEST = 8
"""Levels of lists and mappings within a setting."""
MANY = 10**9
"""Upper bound of whole numbers that have no lower one of their own."""


@dataclass(frozen=True)
class Kind:
    """The values that a key accepts: annotate a field with it, and pydantic checks values by it."""

    expected: str
    """The value that the key takes, to be read after "is not", e.g. `a whole number from 1 to 10`."""
    accept: Callable[[Any], object]
    """The value to use. Raises UserError with a sentence of its own, or ValueError for the usual one."""
    example: str = ""
    text: bool = False
    """Whether the value is a text, which stays as it was typed."""
    listed: bool = False
    """Whether several texts may be given, in brackets or with commas."""
    optional: bool = False
    """Whether null is a value."""

    def __get_pydantic_core_schema__(self, source: object, handler: object) -> CoreSchema:
        """The schema that validates by `accept`."""
        return core_schema.no_info_plain_validator_function(self._checked)

    def _checked(self, value: object) -> object:
        if value is None and self.optional:
            return None
        try:
            for each in texts_in(value):
                each.encode()  # bytes that are not UTF-8 cannot be written to a config
            return self.accept(value)
        except UserError:
            raise
        except (ValueError, TypeError, OverflowError) as error:
            raise PydanticCustomError("kind", "{expected}", {"expected": self.expected, "example": self.example}) from error


def _one(what: str) -> str:
    return f"{'an' if what[0] in 'aeiou' else 'a'} {what}"


def whole(low: int, high: int = MANY, example: int | None = None, null: bool = False) -> Kind:
    """A whole number from `low` to `high`."""

    def accept(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ValueError
        return value

    bounds = f">= {low}" if high == MANY else f"from {low} to {high}"
    return Kind(f"a whole number {bounds}{' or null' if null else ''}", accept, str(example or low), optional=null)


def number(
    low: int | float = 0,
    high: int | float = math.inf,
    above: bool = False,
    example: str = "1",
    what: str = "number",
    null: bool = False,
) -> Kind:
    """A finite number >= `low` (> `low` if `above`) and <= `high`."""

    def accept(value: object) -> float:
        if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
            raise ValueError
        if value < low or (above and value == low) or value > high:
            raise ValueError
        return float(value)

    bounds = f"{'>' if above else '>='} {low:g}" + ("" if high == math.inf else f" and <= {high:g}")
    return Kind(f"{_one(what)} {bounds}{' or null' if null else ''}", accept, example, optional=null)


def seconds(example: int | float) -> Kind:
    """A positive number of seconds, at most a year."""
    return number(0.0, 366 * 86400.0, above=True, example=f"{example:g}", what="number of seconds")


def flag(example: str = "true") -> Kind:
    """`true` or `false`."""

    def accept(value: object) -> bool:
        if not isinstance(value, bool):
            raise ValueError
        return value

    return Kind("true or false", accept, example)


def text(what: str = "text", example: str = "TEXT", null: bool = False) -> Kind:
    """A text that is not empty."""

    def accept(value: object) -> str:
        if not isinstance(value, str) or not value.strip() or "\0" in value:
            raise ValueError
        return value

    return Kind(f"{_one(what)} (in a file, put it in quotes)", accept, example, text=True, optional=null)


def folder(example: str = "FOLDER", null: bool = False) -> Kind:
    """A folder, or a file; `~` at its beginning is the home folder."""

    def accept(value: object) -> Path:
        if not isinstance(value, str) or not value.strip() or value == "null" or "\0" in value:
            raise ValueError
        if "://" in value:
            raise UserError(
                f"{mask_uri(value)!r} is an address, not a path: give a folder; an object store is given as storage=URI."
            )
        try:
            return Path(value).expanduser()
        except RuntimeError as error:  # no home folder
            raise UserError(f"{value!r} begins with a home folder that does not exist here: give the whole path.") from error

    return Kind("a path", accept, example, text=True, optional=null)


def location(example: str) -> Kind:
    """A folder or a URI, or null; `~` at its beginning is the home folder."""
    as_folder = folder(null=True)

    def accept(value: object) -> str:
        return value if isinstance(value, str) and "://" in value else str(as_folder.accept(value))

    return Kind("a folder, a URI or null", accept, example, text=True, optional=True)


def amount(example: str) -> Kind:
    """An amount of memory, as a number of bytes or a text with a unit, or null; its reader checks the unit."""

    def accept(value: object) -> int | float | str:
        if not isinstance(value, int | float | str) or isinstance(value, bool):
            raise ValueError
        return value

    return Kind("an amount of memory or null", accept, example, optional=True)


def folder_name(what: str, null: bool = False) -> Kind:
    """A name that becomes a folder."""

    def accept(value: object) -> str:
        if not isinstance(value, str):
            raise ValueError
        return file_name(what, value)

    return Kind(f"{_one(what)} (in a file, put it in quotes)", accept, "NAME", text=True, optional=null)


def one_of(what: str, names: Collection[str]) -> Kind:
    """One of some names; the refusal has the nearest."""

    def accept(value: object) -> str:
        if value not in names:
            raise UnknownNameError(what, value, names)
        return str(value)

    return Kind(f"{_one(what)}", accept, text=True)


def axis(of: Callable[[Any], object], text: bool = False, null: bool = False) -> Kind:
    """An axis of the grid, read by a function that raises UserError with a sentence of its own."""
    return Kind("", of, text=text, listed=text, optional=null)


def texts(what: str, null: bool = False, example: str = "[A,B]") -> Kind:
    """A text or a list of texts."""

    def accept(value: object) -> tuple[str, ...]:
        if value is None and not null:
            raise ValueError
        found = []
        for each in value if isinstance(value, list | tuple) else [] if value is None else [value]:
            if not isinstance(each, str) or not each.strip():
                raise ValueError
            if each in found:
                raise UserError(f"{what} {each!r} is given twice: name each once.")
            found.append(each)
        return tuple(found)

    return Kind(f"{_one(what)} or a list of them (in a file, put each in quotes)", accept, example, text=True, listed=True)


def plain() -> Kind:
    """A setting of a task: a number, text, flag or null, or a list or mapping of them."""

    def accept(value: object) -> object:
        _check_plain(value, DEEPEST)
        return value

    return Kind("a setting: a number, a word, or a list or mapping of them", accept, "1")


def _check_plain(value: object, depth: int) -> None:
    if depth < 0 or not (value is None or isinstance(value, bool | int | float | str | list | dict)):
        raise ValueError
    items = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else ()
    for item in items:
        _check_plain(item, depth - 1)


def scalar() -> Kind:
    """A setting: one number, text, flag or null."""

    def accept(value: object) -> Scalar:
        if value is not None and not isinstance(value, bool | int | float | str):
            raise ValueError
        return value

    return Kind("a setting, which is one number or word (write one config file per variant)", accept, "1")
