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


def brief(value: object) -> str:
    """A number or text for a sentence, at most about 60 characters: a number too large for a float by its first digits."""
    if isinstance(value, int) and abs(value) >= 10**300:
        return f"about 10^{round((abs(value).bit_length() - 1) * 0.30103)}" if value > 0 else "below -10^300"
    text = f"{value:g}" if isinstance(value, float) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def require(condition: bool, sentence: str) -> None:
    """Raise `UserError(sentence)` unless `condition` holds."""
    if not condition:
        raise UserError(sentence)
