"""Plug-ins of tests: files in a folder of their own, which leave nothing behind in this process."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from world_models.plugins import PLUGINS

GLIDER = Path(__file__).parents[2] / "examples" / "outside" / "glider"
"""The package of a user's own that ships as an example."""


@contextmanager
def clean_plugins() -> Iterator[None]:
    """Forget, at the end, which plug-ins were named and which modules and folders were added for them."""
    path, modules = list(sys.path), set(sys.modules)
    offers, found = dict(PLUGINS.offers), dict(PLUGINS.found)
    try:
        yield
    finally:
        sys.path[:] = path
        for name in set(sys.modules) - modules:
            file = getattr(sys.modules[name], "__file__", None)
            if file is not None and not any(Path(file).is_relative_to(folder) for folder in path if folder):
                del sys.modules[name]
        PLUGINS.offers, PLUGINS.found = offers, found


CLIMBING = (GLIDER / "planners.py").read_text(encoding="utf-8")
"""The source of a planner of a user's own."""
