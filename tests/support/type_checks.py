"""Run-time checks of shapes and types that leave out most calls of what is called thousands of times.

A check costs several times as much as a small function: with all of them, tests of planners took twice the time. So a function
is checked in its first calls of each test, and now and then after that; with GRASP_CHECK_TYPES=all in the environment, always.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from types import CodeType, FunctionType
from typing import Any

import jaxtyping

FIRST = 4
"""Calls of a function in a test that are checked."""
EVERY = 256
"""After them, one call in so many is checked."""


@dataclass
class Calls:
    """Calls of each function in this test."""

    counts: dict[CodeType, int] = field(default_factory=dict)

    def checked(self, code: CodeType) -> bool:
        """Count a call; whether it is to be checked."""
        count = self.counts[code] = self.counts.get(code, 0) + 1
        return count <= FIRST or count % EVERY == 0


CALLS = Calls()


def check_types(packages: list[str]) -> None:
    """Check the functions of packages that are not imported yet."""
    if os.environ.get("GRASP_CHECK_TYPES") != "all":
        jaxtyping.jaxtyped = sampled(jaxtyping.jaxtyped)
    jaxtyping.install_import_hook(packages, "beartype.beartype")


def sampled(jaxtyped: Callable[..., Any]) -> Callable[..., Any]:
    """The decorator that checks as `jaxtyped` does, but not every call of a function."""

    def decorator(function: Any = None, *, typechecker: Any) -> Any:
        if function is None:
            return functools.partial(decorator, typechecker=typechecker)
        if not isinstance(function, FunctionType):
            return jaxtyped(function, typechecker=typechecker)
        made = functools.cache(lambda: jaxtyped(function, typechecker=typechecker))
        if "<locals>" not in function.__qualname__:
            # Now, because tests replace the names in its annotations. Not for one that each call of another makes anew.
            made()
        code = function.__code__

        @functools.wraps(function)
        def call(*args: Any, **settings: Any) -> Any:
            return (made() if CALLS.checked(code) else function)(*args, **settings)

        return call

    return decorator
