"""Seeds from overrides: a count keeps the start that the config has, and a start keeps the count, in either order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestrator.core.messages import mask_token
from sweeps.config.overrides import Assignment
from world_models.errors import UserError, require

SEED_KEYS = ("seeds", "choice_seeds", "held_out")
"""Keys that take a count, a list, or {start, count}."""


def with_seeds(key: str, before: object, given: Sequence[Assignment]) -> object:
    """The value of a key of seeds after its overrides; `before` is the config's own.

    Raises UserError for a start or a count of a list.
    """
    whole = [each for each in given if each.key == key]
    parts = {each.key.removeprefix(f"{key}."): each for each in given if each.key != key}
    value = whole[-1].value if whole else before
    if isinstance(value, int) and not isinstance(value, bool) and whole:
        start = before.get("start", 0) if isinstance(before, Mapping) else 0
        value = {"start": start, "count": value}
    for name, each in parts.items():
        require(
            name in ("start", "count") and not each.removed,
            f"{mask_token(each.word)!r} is not one of {key}.start and {key}.count: give one of them.",
        )
        value = _with_part(key, value, name, each)
    return value


def _with_part(key: str, value: object, name: str, each: Assignment) -> object:
    if isinstance(value, Mapping):
        return {**value, name: each.value}
    if isinstance(value, int) and not isinstance(value, bool):
        return {"start": 0, "count": value, name: each.value}
    if value is None:
        return {name: each.value}
    raise UserError(
        f"{mask_token(each.word)!r} does not go with {key}={str(value)[:40].replace(' ', '')}, which is a list: "
        f"give {key}={{start:100,count:2}}, or the list alone."
    )
