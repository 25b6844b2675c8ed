"""Plug-ins of tests: files in a folder of their own, which leave nothing behind in this process."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from world_models.checkpoints.store import LoadedModel, load
from world_models.plugins import PLUGINS, Kind

GLIDER = Path(__file__).parents[2] / "examples" / "outside" / "glider"
"""The package of a user's own that ships as an example."""
OWN_MODELS = Path(__file__).parents[2] / "examples" / "own_models"
"""Files with a world model of a user's own."""


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


@contextmanager
def own_model(target: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoadedModel]:
    """A model of `examples/own_models`, named by its path, with the example's task beside it."""
    with clean_plugins():
        monkeypatch.syspath_prepend(str(GLIDER.parent))
        PLUGINS.admit(Kind.TASK, "glider.tasks:Glide")
        admitted = PLUGINS.admit(Kind.WORLD_MODEL, f"{OWN_MODELS / target}")
        try:
            yield load(admitted.text)
        finally:
            # They are in folders of the repository, whose modules `clean_plugins` keeps.
            for name in [name for name in sys.modules if name.partition(".")[0] in ("glider", admitted.top)]:
                del sys.modules[name]
