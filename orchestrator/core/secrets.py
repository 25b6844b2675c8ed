"""The secrets that a command was given, which are replaced wherever they appear in what it prints and writes."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, quote_plus, unquote

from orchestrator.core.messages import (
    HIDDEN,
    addresses,
    is_sensitive,
    loose_passwords,
    mask_text,
    misplaced_password,
    user_info_end,
)

_SHORTEST, _SHORTEST_VARIABLE, _SHORTEST_IN_VALUES = 3, 6, 8
"""Characters of a secret; variables also hold words such as `true`."""
_WHOLE_QUERY = re.compile(r"[?&;#]([\w.-]+)=([^&]+)")
"""Here a value may have spaces and quotes."""
_PLACES = re.compile(r"(?i)^(OLD)?PWD$|_(FILE|PATH|DIR|DIRECTORY)$")
"""Variables that say where something is; shells set the first two."""
_QUERY = re.compile(r"[?&;#]([\w.-]+)=([^&;#\s'\"}\])]+)")


@dataclass(frozen=True)
class Secrets:
    """Known secrets, in every spelling in which a message may quote them."""

    spellings: tuple[str, ...] = field(default=(), repr=False)
    """Longest first."""

    @staticmethod
    def of(texts: Iterable[str], environment: Mapping[str, str]) -> Secrets:
        """The secrets in the addresses of some texts, e.g. a command's arguments, and in the environment's variables."""
        texts = list(texts)
        found = {secret for text in texts for secret in _in_addresses(text)}
        for name, value in environment.items():
            found.update(_in_addresses(value))
            if len(value) >= _SHORTEST_VARIABLE and _is_secret(name, value):
                found.add(value)
        unclear = {rest for text in (*texts, *environment.values()) for rest in _unclear(text)}
        spellings = {each for secret in found | unclear for each in _spellings(secret) if len(each) >= _SHORTEST}
        spellings.update(part for secret in found for part in _parts(secret))
        return Secrets(tuple(sorted(spellings, key=lambda each: (-len(each), each))))

    def scrub(self, text: str) -> str:
        """The text without these secrets, and without passwords in any other address."""
        for secret in self.spellings:
            text = text.replace(secret, HIDDEN)
        return mask_text(text)


def one_line(error: BaseException) -> str:
    """The exception as one line without the secrets of the environment, at most 500 characters of message."""
    text = Secrets.of((), os.environ).scrub(" ".join(str(error).split()))
    return f"{type(error).__name__}: {text}"[:500] if text else type(error).__name__


def variable_in(text: str, environment: Mapping[str, str]) -> str | None:
    """The name of a variable of the environment whose secret stands in the text; None without one."""
    held = (name for name, value in environment.items() if len(value) >= _SHORTEST_IN_VALUES and value in text)
    return next((name for name in held if _is_secret(name, environment[name])), None)


def _is_secret(name: str, value: str) -> bool:
    """Whether a variable holds a secret itself, not the folder one is in or the file that a secret is kept in."""
    is_place = _PLACES.search(name) is not None or (value.startswith("/") and os.path.exists(value))  # noqa: PTH110
    return is_sensitive(name) and not is_place


def _in_addresses(text: str) -> Iterator[str]:
    """Passwords, tokens that stand alone before the `@`, keys of object stores, and secret query parameters."""
    yield from loose_passwords(text)
    for scheme, rest in addresses(text):
        end = user_info_end(scheme, rest)
        user, colon, password = rest[: max(0, end - 1)].partition(":")
        odd = re.search(r"[?#]", rest[:end]) is not None
        if password:
            yield password
        if misplaced := misplaced_password(rest):
            yield misplaced
        if (
            user
            and not odd
            and (not colon or not scheme.startswith(("http", "postgresql")))
            and len(user) >= _SHORTEST_VARIABLE
        ):
            yield user
        for name, value in [*_QUERY.findall(rest), *_WHOLE_QUERY.findall(rest)]:
            if is_sensitive(name):
                yield value


def _unclear(text: str) -> Iterator[str]:
    """The rest of each address whose password has no clear end."""
    for scheme, rest in addresses(text):
        if rest.count("@") > 1 or re.search(r"[?#]", rest[: user_info_end(scheme, rest)]):
            yield rest


def _parts(secret: str) -> list[str]:
    """Runs of plain characters: a library that splits an address elsewhere, or takes its bytes for others, quotes these."""
    return [part for part in re.split(r"%[0-9A-Fa-f]{2}|[^A-Za-z0-9_.-]", secret) if len(part) >= _SHORTEST_VARIABLE]


def _spellings(secret: str) -> Iterator[str]:
    """The secret as typed, decoded, encoded, and quoted for Python, JSON, a shell or one line."""
    for plain in dict.fromkeys((secret, unquote(secret), secret.replace("\\'", "'").replace("\\\\", "\\"))):
        yield from (plain, quote(plain, safe=""), quote(plain), quote_plus(plain), " ".join(plain.split()))
        for quoted in (repr(plain)[1:-1], json.dumps(plain)[1:-1], json.dumps(plain, ensure_ascii=False)[1:-1]):
            yield from (quoted, repr(quoted)[1:-1])
        yield from (plain.replace("'", "'\"'\"'"), shlex.quote(plain).strip("'"), plain.replace("'", "''"))
