"""Texts for records and messages: one line each, and no password in an address."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import urlsplit, urlunsplit

HIDDEN = "***"
"""Stands where a secret stood."""

_GAP = r"(?:\s|\\[nrt])?"
_SCHEME = rf"[A-Za-z][A-Za-z0-9+.-]{{0,30}}:{_GAP}/{_GAP}/"
"""URI schemes are short; without a limit, a long line of letters takes minutes to search. Lines may break at a slash."""
_START = re.compile(_SCHEME)
_URI = re.compile(rf"({_SCHEME}\S*)")
_SPACED = re.compile(rf"{_SCHEME}[^\s/?#@:]*:(?!\d{{1,5}}\b)[^/?#@]{{0,200}}@\S*")
"""An address whose password has spaces: the user's colon is followed by more than a port, and an `@` comes later."""
_LOOSE = re.compile(
    r"(?:(?<=//)[\w.%+-]{0,100}:(?P<after_slashes>[^@/]{1,200})@"
    r"|(?<![\w.%+-])[A-Za-z_][\w.%+-]{0,100}:(?P<password>[^\s@/'\",:]{1,200})@(?!sha256:))"
)
"""User and password of an address whose scheme is missing or misspelt, e.g. `//me:secret@host`."""
_PLACEHOLDERS = ("USER", "USER:PASSWORD")
"""User and password in our own sentences."""
_SENSITIVE = re.compile(r"(?i)pass(word|wd)?$|pwd$|token|secret|credential|api_?key|access_?key|ssl_?key|signature$|^sig$")
_PAIR = re.compile(r"(?i)\b((?:\w*_)?(?:password|passwd|pwd|token|secret|api_?key|access_key|sslkey)=)[^\s&;,'\")\]}]+")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_HEADER = re.compile(r"(?i)\b(Bearer|Basic) +[\w.~+/=-]{8,}")


def is_sensitive(name: str) -> bool:
    """Whether a query parameter or a variable of this name holds a secret."""
    return _SENSITIVE.search(name) is not None


def mask_uri(uri: str) -> str:
    """The URI without its user, password, query and fragment, for records and messages."""
    start = _START.match(uri)
    if start is None:
        return uri
    scheme, rest = start[0], uri[start.end() :]
    end = user_info_end(scheme, rest)
    if rest[: max(0, end - 1)] in _PLACEHOLDERS:
        return uri
    if misplaced_password(rest):
        return scheme + HIDDEN
    first = rest.find("@")
    if re.search(r"[/?#]", rest[first:end]) or re.search(r"[?#]", rest[:end]) or rest.count("@") > 1:
        return scheme + HIDDEN  # the password has such characters, or an `@` stands in the host, path or query
    try:
        parts = urlsplit(scheme + rest[end:])
    except ValueError:  # not a URI after all, e.g. an unclosed bracket instead of a host
        return scheme + HIDDEN
    return urlunsplit((parts.scheme, parts.netloc, parts.path, "", "")) if end or parts.query or parts.fragment else uri


def user_info_end(scheme: str, rest: str) -> int:
    """Where the host begins in what follows the scheme: after the last `@`, which passwords may hold too; 0 without user."""
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    port = authority.rpartition(":")[2]
    in_path = scheme.lower() in ("http://", "https://") and "@" not in authority and (":" not in authority or port.isdigit())
    in_path = in_path and "@" not in _query_of(rest)
    return 0 if in_path else rest.rfind("@") + 1


def misplaced_password(rest: str) -> str:
    """The text where the port of an address without `@` should be, if it cannot be one: a password; else empty."""
    authority = re.split(r"[/?#\s]", rest, maxsplit=1)[0]
    host, _, port = authority.partition(":")
    misplaced = host and port and "@" not in rest and not host.startswith("[") and not re.fullmatch(r"\d+\W*|PORT\W*", port)
    return port if misplaced else ""


def _query_of(rest: str) -> str:
    """The query and fragment of an address."""
    found = re.search(r"[?#]", rest)
    return rest[found.start() :] if found else ""


def mask_token(token: str) -> str:
    """The token, e.g. one argument or one value of a config, with its address masked wherever that ends: it may hold spaces."""
    start = _START.search(token)
    return mask_text(token) if start is None else mask_text(token[: start.start()]) + mask_uri(token[start.start() :])


def mask_words(words: Sequence[str]) -> str:
    """A command line of these words, each masked before they are joined."""
    return shlex.join(mask_token(word) for word in words)


def mask_values(value: object) -> object:
    """The plain value (mappings, lists, texts) with every text in it masked as a token."""
    if isinstance(value, Mapping):
        return {key: mask_values(item) for key, item in value.items()}
    if isinstance(value, list):
        return [mask_values(item) for item in value]
    return mask_token(value) if isinstance(value, str) else value


def mask_text(text: str) -> str:
    """The text with every address, `password=...` and authorization in it masked, for error messages and files."""
    text = _SPACED.sub(lambda found: mask_uri(found[0]), text) if "@" in text else text
    text = _URI.sub(lambda found: mask_uri(found[0]), text)
    text = "".join(part if _URI.fullmatch(part) else _masked_loosely(part) for part in _URI.split(text))
    return _HEADER.sub(rf"\1 {HIDDEN}", _PAIR.sub(rf"\1{HIDDEN}", text))


def _masked_loosely(text: str) -> str:
    return _LOOSE.sub(lambda found: found[0] if found[0][:-1] in _PLACEHOLDERS else f"{HIDDEN}@", text)


def visible(text: str) -> str:
    """The text with control characters, which could move a terminal's cursor or change its colours, spelt out; lines stay."""
    return _CONTROL.sub(lambda found: repr(found[0])[1:-1], text)


def texts_in(value: object) -> Iterator[str]:
    """Every text in a plain value: mappings, lists and texts."""
    if isinstance(value, str):
        yield value
    for item in value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ():
        yield from texts_in(item)


def loose_passwords(text: str) -> list[str]:
    """Passwords before an `@` that no scheme precedes."""
    found = (each for each in _LOOSE.finditer(_URI.sub(" ", text)) if each[0][:-1] not in _PLACEHOLDERS)
    return [each["after_slashes"] or each["password"] for each in found]


def addresses(text: str) -> Iterator[tuple[str, str]]:
    """Scheme and rest of each address in a token; a rest reaches to the next address."""
    starts = list(_START.finditer(text))
    ends = [found.start() for found in starts[1:]] + [len(text)]
    for found, end in zip(starts, ends, strict=False):
        yield found[0], text[found.end() : end]
