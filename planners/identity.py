"""Parts of a planner that enter a cell's id: the version of its algorithm, and its settings in a form that outlives upgrades.

`frozen_defaults.json` holds, by planner and version, the defaults that ids were made with, and is only ever added to. Settings
under `always` enter an id whatever their value (all that there were when ids were first made); those under
`unless_default` enter it only where they differ from the default that stands there, and so does a setting that the file does
not know yet, with the default of its class. A setting that a record lacks has the file's default. It follows that

- a new setting with a default changes no id: the cells that exist were planned with that default;
- another default changes the ids of the cells that are planned with it, so no earlier result passes for one of theirs;
- a planner that plans otherwise with the same settings needs a higher `algorithm_version` in its settings class, which changes
  the ids of all its cells and of no other planner's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import cast

from planners import BUILT_IN, planner_kind
from planners.settings import Scalar

FROZEN = Path(__file__).with_name("frozen_defaults.json")
"""The defaults that ids are made with; `python -m tests.golden.make_identities` adds what it lacks."""


@dataclass(frozen=True)
class FrozenDefaults:
    """Defaults of one version of a planner, as its ids are made with them."""

    always: Mapping[str, Scalar] = field(default_factory=dict)
    """Settings that enter an id whatever their value."""
    unless_default: Mapping[str, Scalar] = field(default_factory=dict)
    """Settings that enter an id where they differ from this value."""


def algorithm_version(name: str) -> int:
    """The version of a planner's algorithm, as its settings class says it; UnknownNameError for an unknown planner."""
    return planner_kind(name)[0].algorithm_version


def identity_settings(name: str, version: int, settings: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """The settings that enter an id, of a planner that was run in a version of its algorithm.

    Of a planner that is not ours, such as a plug-in, all settings that are given enter it.
    """
    frozen = _frozen().get((name, version), FrozenDefaults())
    defaults = {**_declared(name), **frozen.unless_default}
    found = dict(frozen.always)
    for key, value in settings.items():
        if key in frozen.always or key not in defaults or not _equal(value, defaults[key]):
            found[key] = value
    return found


def _declared(name: str) -> Mapping[str, Scalar]:
    """The defaults of a planner's settings class; none for one that is not ours."""
    return {one.name: cast(Scalar, one.default) for one in fields(BUILT_IN[name][0])} if name in BUILT_IN else {}


def _equal(value: Scalar, default: Scalar) -> bool:
    """Whether two settings are the same; true is not 1."""
    return isinstance(value, bool) == isinstance(default, bool) and value == default


@cache
def _frozen() -> Mapping[tuple[str, int], FrozenDefaults]:
    """The file, by planner and version."""
    read = json.loads(FROZEN.read_text(encoding="utf-8"))
    return {
        (name, int(version)): FrozenDefaults(**tables)
        for name, versions in read.items()
        for version, tables in versions.items()
    }
