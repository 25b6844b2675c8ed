"""Errors that a user can fix, each stated in one sentence."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(ValueError):
    """An error that the user must fix: one sentence that names the value, what was expected and what to do."""


class UnknownNameError(UserError):
    """A name that is in no registry; the message lists the nearest known names."""

    def __init__(self, kind: str, name: object, known: Iterable[str]) -> None:
        names = sorted(known)
        near = get_close_matches(str(name), names, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(repr(n) for n in near)}?" if near else f"known are {', '.join(names) or 'none'}."
        super().__init__(f"unknown {kind} {name!r}: {hint}")


def require(condition: bool, sentence: str) -> None:
    """Raise `UserError(sentence)` unless `condition` holds."""
    if not condition:
        raise UserError(sentence)
