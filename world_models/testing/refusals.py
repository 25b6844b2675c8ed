"""Checks that senseless input is refused in one sentence."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from world_models.errors import UserError


@contextmanager
def refuses(what: str, pattern: str) -> Iterator[None]:
    """Within it, UserError with a sentence that has the pattern must be raised; AssertionError otherwise."""
    said = None
    try:
        yield
    except UserError as error:
        said = str(error)
    assert said is not None, f"{what} must be refused with a UserError that says {pattern!r}, and nothing was raised"
    assert re.search(pattern, said), f"the refusal of {what} does not say {pattern!r}: {said}"
