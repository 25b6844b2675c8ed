"""Texts for records and messages: one line each, and no password in an address."""

from __future__ import annotations

import re
from urllib.parse import urlsplit, urlunsplit

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}://\S+")
"""URI schemes are short; without a limit, a long line of letters takes minutes to search."""


def mask_uri(uri: str) -> str:
    """The URI without its user, password and query, for records and messages."""
    parts = urlsplit(uri)
    port = parts.netloc.rpartition(":")[2]
    if "@" not in parts.netloc and "@" in uri and ":" in parts.netloc and not port.isdigit():
        # A slash in the password ends the host part too early.
        return f"{parts.scheme}://{uri.rpartition('@')[2]}"
    if "@" not in parts.netloc and not parts.query:
        return uri
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def mask_text(text: str) -> str:
    """The text with every URI in it masked, for commands, configurations and error messages."""
    return _URI.sub(_masked, text)


def _masked(match: re.Match[str]) -> str:
    try:
        return mask_uri(match[0])
    except ValueError:  # not a URI after all, e.g. an unclosed bracket instead of a host
        return match[0].partition("://")[0] + "://"


def one_line(error: BaseException) -> str:
    """The exception as one line, at most 500 characters of message."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:500] if text else type(error).__name__
