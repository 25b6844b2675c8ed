"""Overrides on the command line, read once by Hydra's own parser: `key=value` becomes an assignment to a dotted key.

What a key takes decides how its value is read: a text stays as it was typed, everything else has Hydra's grammar. There is no
multirun, so that `a,b`, `choice(a,b)` and `range(3)` are lists. Hydra's syntax that would mean nothing here is refused by name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString, RangeSweep
from hydra.errors import HydraException

from orchestrator.core.messages import mask_token
from sweeps.config.axes import MAX_VALUES
from sweeps.config.schema.check import is_entry, kind_at
from sweeps.config.schema.configs import TrainConfig
from world_models.errors import UserError, require

ALIASES = {
    "world_model": "world_models",
    "horizon": "horizons",
    "seed": "seeds",
    "goal_cost": "goal_costs",
    "noise_seed": "noise_seeds",
}
"""Singular keys that people type where a grid wants lists."""

_KEY = re.compile(r"[^\s=@:,'\"\[\]{}()$\\]+")
_LIST = re.compile(r"(?P<bracket>\[)?(?P<texts>[^'\"{}()\\$\[\]]*)(?(bracket)\])")
"""A plain text, or a list of them in brackets or with commas, without quotes and brackets of their own."""


@dataclass(frozen=True)
class Assignment:
    """A key and the value that it is given; with `removed`, the key is taken out instead."""

    word: str
    """The override as it was typed."""
    given: str
    """The key as it was typed, without marks."""
    key: str
    """The dotted key, with shorthands resolved."""
    value: object = None
    removed: bool = False


def assignments(words: Sequence[str], kind: Any) -> list[Assignment]:
    """The overrides of a config in their order. Raises UserError for one that cannot be read or means nothing here."""
    return [_assignment(word, kind) for word in words]


def plain_values(words: Sequence[str], texts: Collection[str] = ()) -> dict[str, object]:
    """The values of `key=value` words that belong to no config, by their keys; those of `texts` stay as they were typed.

    Raises UserError for one that cannot be read.
    """
    found: dict[str, object] = {}
    for word in words:
        key, _, raw = word.partition("=")
        _check_key(word, key, key)
        found[key] = _typed_text(word, raw, optional=True) if key in texts else _value(_parsed(word), key)
    return found


def override_text(value: object) -> str:
    """The value written in Hydra's grammar, as in an override."""
    if isinstance(value, list | tuple):
        return "[" + ",".join(override_text(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{_key_text(key)}:{override_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, str):
        return QuotedString(value, Quote.single).with_quotes()
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _key_text(key: object) -> str:
    text = str(key)
    return text if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", text) else QuotedString(text, Quote.single).with_quotes()


def _assignment(word: str, kind: Any) -> Assignment:
    marked, equals, raw = word.partition("=")
    given = marked.lstrip("+~")
    key = _full_key(given, kind)
    _check_key(word, marked, given)
    if marked.startswith("~"):
        require(
            is_entry(kind, key),
            f"{mask_token(word)!r} would remove {given}, which every run needs: give {given}=VALUE instead.",
        )
        return Assignment(word, given, key, removed=True)
    require(
        bool(equals),
        f"cannot read {mask_token(word)!r}: overrides look like key=value, e.g. seeds=16 or horizons=[25,50].",
    )
    expected = kind_at(kind, key)
    if expected is not None and expected.text and not expected.listed:
        return Assignment(word, given, key, _typed_text(word, raw, expected.optional))
    listed = key in kind.GROUPS or (expected is not None and expected.listed)
    if listed and (plain := _LIST.fullmatch(raw)):
        return Assignment(word, given, key, _texts(plain))
    value = _value(_parsed(word), given)
    if given in ALIASES and key != given and not isinstance(value, list):
        value = [value]  # `seed=7` is seed 7, whereas `seeds=7` is seven seeds
    return Assignment(word, given, key, value)


def _full_key(given: str, kind: Any) -> str:
    """The full key behind a shorthand."""
    if kind is TrainConfig:
        first, _, rest = given.partition(".")
        if first == "task" and rest and rest.partition(".")[0] not in ("name", "target", "settings"):
            return f"world_model.task.settings.{rest}"
        return f"world_model.{given}" if first in ("train", "task") else given
    return ALIASES.get(given, given)


def _check_key(word: str, marked: str, given: str) -> None:
    """Raise UserError for a key that Hydra could read and we cannot use, or that neither can."""
    name = mask_token(word)
    require(
        given.partition(".")[0] != "hydra",
        f"{name!r} sets Hydra itself, which runs nothing here: leave it out; results go to output=FOLDER.",
    )
    require(
        "@" not in given,
        f"{name!r} moves a group to another package with @, which has no meaning here: give {given.partition('@')[0]}=NAME.",
    )
    sound = all(_KEY.fullmatch(part) for part in given.split(".")) and marked.lstrip("+").lstrip("~") == given
    require(sound, f"cannot read {name!r}: overrides look like key=value, e.g. seeds=16 or horizons=[25,50].")


def _typed_text(word: str, raw: str, optional: bool) -> str | None:
    """A text as it was typed; quotes around all of it are Hydra's."""
    if optional and raw == "null":
        return None
    if len(raw) > 1 and raw[0] == raw[-1] and raw[0] in "'\"":
        found = _parsed(word).value()
        if isinstance(found, str):
            return found
    return raw


def _texts(plain: re.Match[str]) -> object:
    """A text, or the list of the texts between commas, each as it was typed."""
    parts = [part.strip() for part in plain["texts"].split(",")] if plain["texts"].strip() else []
    found = [None if part == "null" else part for part in parts]
    return found if plain["bracket"] or len(found) > 1 else found[0] if found else ""


def _parsed(word: str) -> Override:
    try:
        return OverridesParser.create().parse_override(word)
    except HydraException as error:
        key, _, raw = word.partition("=")
        quoted = f"{key}={QuotedString(mask_token(raw), Quote.single).with_quotes()}"
        raise UserError(
            f"cannot read {mask_token(word)!r} ({_reason(error)}): if the value is one text, quote it twice, for Hydra and the "
            f'shell: "{quoted}".'
        ) from error


def _reason(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:120]


def _value(override: Override, key: str) -> object:
    """The override's value in plain types; sweeps are lists."""
    if not override.is_sweep_override():
        return _plain(override.value(), override, key)
    sentence = f"{mask_token(str(override.input_line))!r} is not a list of values: write {key}=[1,2,3]."
    require(override.is_discrete_sweep(), sentence)
    many = f"{mask_token(str(override.input_line))!r} has more than {MAX_VALUES} values: give fewer."
    asked = override.value()
    found = []
    try:
        if isinstance(asked, RangeSweep):
            require(_count(asked) <= MAX_VALUES, many)  # before Hydra shuffles them, and before they are gone through
        for item in override.sweep_iterator():
            require(len(found) < MAX_VALUES, many)
            found.append(_plain(item, override, key))
    except (HydraException, ValueError, ArithmeticError) as error:
        raise (error if isinstance(error, UserError) else UserError(sentence)) from error
    return found


def _plain(value: object, override: Override, key: str) -> object:
    """The value if it is of plain types all through. Raises UserError for functions within lists and mappings."""
    if not _is_plain(value):
        word = mask_token(str(override.input_line))
        raise UserError(f"{word!r} extends a list, which means nothing here: give the whole list.")
    for item in value if isinstance(value, list) else value.values() if isinstance(value, dict) else ():
        if not _is_plain(item):
            word = mask_token(str(override.input_line))
            raise UserError(
                f"{word!r} has one of Hydra's functions within a list or mapping: write its values out, such as {key}=[0,1,2]."
            )
        _plain(item, override, key)
    return value


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, bool | int | float | str | list | dict)


def _count(numbers: RangeSweep) -> float:
    """How many numbers a range has, without going through them; 0 for a step of 0, which Hydra refuses."""
    start, stop, step = (math.nan if each is None else float(each) for each in (numbers.start, numbers.stop, numbers.step))
    span = (stop - start) / step if step else 0.0
    return math.inf if math.isnan(span) else max(0.0, span)
