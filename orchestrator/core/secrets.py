"""The secrets that a command was given, which are replaced wherever they appear in what it prints and writes."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, quote_plus, unquote

from orchestrator.core.messages import HIDDEN, addresses, is_sensitive, mask_text, user_info_end

_SHORTEST, _SHORTEST_VARIABLE = 3, 6
"""Characters of a secret; variables also hold words such as `true`."""
_WHOLE_QUERY = re.compile(r"[?&;#]([\w.-]+)=([^&]+)")
"""Here a value may have spaces and quotes."""
_QUERY = re.compile(r"[?&;#]([\w.-]+)=([^&;#\s'\"}\])]+)")


@dataclass(frozen=True)
class Secrets:
    """Known secrets, in every spelling in which a message may quote them."""

    spellings: tuple[str, ...] = field(default=(), repr=False)
    """Longest first."""

    @staticmethod
    def of(texts: Iterable[str], environment: Mapping[str, str]) -> Secrets:
        """The secrets in the addresses of some texts, e.g. a command's arguments, and in the environment's variables."""
        found = {secret for text in texts for secret in _in_addresses(text)}
        for name, value in environment.items():
            found.update(_in_addresses(value))
            if is_sensitive(name) and len(value) >= _SHORTEST_VARIABLE and "/" not in value[:1]:
                found.add(value)
        spellings = {each for secret in found for each in _spellings(secret) if len(each) >= _SHORTEST}
        return Secrets(tuple(sorted(spellings, key=lambda each: (-len(each), each))))

    def scrub(self, text: str) -> str:
        """The text without these secrets, and without passwords in any other address."""
        for secret in self.spellings:
            text = text.replace(secret, HIDDEN)
        return mask_text(text)


def _in_addresses(text: str) -> Iterator[str]:
    """Passwords, tokens that stand alone before the `@`, keys of object stores, and secret query parameters."""
    for scheme, rest in addresses(text):
        end = user_info_end(scheme, rest)
        user, colon, password = rest[: max(0, end - 1)].partition(":")
        odd = re.search(r"[?#]", rest[:end]) is not None
        if rest.count("@") > 1 or odd:
            yield rest  # where the password ends is unknown
        if password:
            yield password
            # A library that splits such an address elsewhere quotes a part.
            yield from (part for part in re.split(r"[/?#@]", password) if len(part) >= _SHORTEST_VARIABLE)
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


def _spellings(secret: str) -> Iterator[str]:
    """The secret as typed, decoded, encoded, and quoted for Python, JSON, a shell or one line."""
    for plain in dict.fromkeys((secret, unquote(secret), secret.replace("\\'", "'").replace("\\\\", "\\"))):
        yield from (plain, quote(plain, safe=""), quote(plain), quote_plus(plain), " ".join(plain.split()))
        for quoted in (repr(plain)[1:-1], json.dumps(plain)[1:-1], json.dumps(plain, ensure_ascii=False)[1:-1]):
            yield from (quoted, repr(quoted)[1:-1])
        yield from (plain.replace("'", "'\"'\"'"), shlex.quote(plain).strip("'"), plain.replace("'", "''"))
