"""Texts fit for records and messages: one line, and no password in an address."""

from __future__ import annotations

import re
from urllib.parse import urlsplit, urlunsplit

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}://\S+")
"""Schemes are short: without a limit a long line of letters takes minutes."""


def mask_uri(uri: str) -> str:
    """The URI without user, password and query, fit for records and messages."""
    parts = urlsplit(uri)
    port = parts.netloc.rpartition(":")[2]
    if "@" not in parts.netloc and "@" in uri and ":" in parts.netloc and not port.isdigit():
        # A password with a slash in it ends the host part too early.
        return f"{parts.scheme}://{uri.rpartition('@')[2]}"
    if "@" not in parts.netloc and not parts.query:
        return uri
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def mask_text(text: str) -> str:
    """A text with every URI in it masked: commands, configurations, error messages."""
    return _URI.sub(_masked, text)


def _masked(match: re.Match[str]) -> str:
    try:
        return mask_uri(match[0])
    except ValueError:  # no URI after all, e.g. an unclosed bracket in place of a host
        return match[0].partition("://")[0] + "://"


def one_line(error: BaseException) -> str:
    """An exception as one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}"[:500] if text else type(error).__name__
