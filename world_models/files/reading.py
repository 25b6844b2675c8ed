"""The one reader of small JSON files: bounded, decoded, checked against a type; a spoilt one is named and can be set aside."""

from __future__ import annotations

import json
import logging
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, Union

from pydantic import Field, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from world_models.errors import UserError
from world_models.files.writing import WriteError, write_error

MAX_BYTES = 256 * 2**20
"""The largest file that is read; ours are far smaller."""

Count = Annotated[int, Field(ge=0, lt=2**63)]
"""A field that counts something, or a seed: not negative, and within 64 bits."""

Finite = Annotated[float, Field(allow_inf_nan=False)]
"""A field with a finite number."""

T = TypeVar("T")

if TYPE_CHECKING:
    Kind = type
else:  # at run time, `dict[str, int]` is not a `type`
    Kind = Union

_log = logging.getLogger(__name__)


class SpoiltFileError(UserError):
    """A file that does not hold what it should: the sentence names the file, the field and what is wrong."""


def read_json(file: Path, kind: Kind[T], what: str, remedy: str, max_bytes: int = MAX_BYTES) -> T:
    """The value of type `kind` (a dataclass, `dict[str, int]`, ...) in a JSON file; `what` names it, e.g. "a saved sweep".

    Types are taken strictly: a text is not a number. Raises FileNotFoundError if there is no file, and SpoiltFileError, with
    `remedy` as its last words, for one that cannot be read, is too large, or does not hold the type.
    """
    return parse_json(_read(file, what, remedy, max_bytes), kind, what, remedy, str(file))


def read_text(file: Path, what: str, remedy: str, max_bytes: int = MAX_BYTES) -> str:
    """The text of a file in UTF-8. Raises what `read_json` raises."""
    try:
        return _read(file, what, remedy, max_bytes).decode()
    except UnicodeDecodeError as error:
        raise SpoiltFileError(f"{str(file)!r} is not {what} (byte {error.start} is not UTF-8): {remedy}.") from error


def read_or_set_aside(file: Path, kind: Kind[T], what: str) -> T | None:
    """The same as `read_json` for a file that is made again without loss: None if there is none.

    None for a spoilt one too, which is set aside, with a warning in one line.
    """
    try:
        return read_json(file, kind, what, "it is made again")
    except FileNotFoundError:
        return None
    except SpoiltFileError as error:
        try:
            _log.warning("%s The old one is now %s.", error, set_aside(file).name)
        except WriteError:
            _log.warning("%s", error)
        return None


def parse_json(data: bytes | str, kind: Kind[T], what: str, remedy: str, where: str) -> T:
    """The same for JSON that was read already; `where` names its source."""
    try:
        return _adapter(kind).validate_json(data, strict=True)
    except ValidationError as error:
        raise SpoiltFileError(f"{where!r} is not {what} ({first_fault(error)}): {remedy}.") from error


def to_json(value: object, indent: int | None = None) -> str:
    """The JSON that `read_json` reads, for a dataclass or plain values; bytes that are not text, as in a path, become `?`."""
    adapter = _adapter(type(value))
    try:
        return adapter.dump_json(value, indent=indent).decode()
    except PydanticSerializationError:
        text = json.dumps(adapter.dump_python(value, mode="json"), indent=indent, ensure_ascii=False)
        return text.encode("utf-8", "replace").decode()


def first_fault(error: ValidationError) -> str:
    """The first fault of a validation in a few words: where it is, and what was expected there."""
    fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(str(part) for part in fault["loc"])
    words = " ".join(str(fault["msg"]).split())[:200]
    return f"{place}: {words}" if place else words


def set_aside(file: Path) -> Path:
    """Rename a spoilt file to NAME.spoilt-N beside it and return its new path. Raises WriteError if that cannot be done."""
    number = 1
    while (aside := file.with_name(f"{file.name}.spoilt-{number}")).exists():
        number += 1
    try:
        return file.replace(aside)
    except OSError as error:
        raise write_error(aside, error) from error


def _read(file: Path, what: str, remedy: str, max_bytes: int) -> bytes:
    try:
        with file.open("rb") as stream:
            data = stream.read(max_bytes + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise SpoiltFileError(f"cannot read {str(file)!r} ({error.strerror}): {remedy}.") from error
    if len(data) > max_bytes:
        raise SpoiltFileError(f"{str(file)!r} is not {what} (it has more than {max_bytes} bytes): {remedy}.")
    return data


@cache
def _adapter(kind: Any) -> Any:  # beartype does not know the type TypeAdapter
    return TypeAdapter(kind)
