"""Batched trajectory optimisation on any world model; depends on torch only.

`plans = make_planner("grasp", {"iterations": 300}).plan(model, problems, seeds)`

The names in `__all__` are public, and so are those of `planners.testing` and the solvers in `planners.hosts`. Everything else
is private by convention: it may move or change from one version to the next.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any, overload

from planners.base import ModelProblems, OnStep, Planner, PlannerMemoryError, Plans, PlanStatus, Start
from planners.methods.baselines import BaselineSettings, NullActions, RandomActions, ReferenceActions
from planners.methods.cem import CEM, CEMSettings
from planners.methods.gd import GD, GDSettings
from planners.methods.grasp import GRASP, GraspSettings
from planners.methods.icem import ICEM, ICEMSettings
from planners.methods.latco import LatCo, LatCoSettings
from planners.methods.mppi import MPPI, MPPISettings
from planners.methods.published.cem import CEMSWM, CEMDino, CEMDinoSettings, CEMSWMSettings
from planners.methods.published.gd import GDSWM, GDDino, GDDinoSettings, GDSWMSettings
from planners.methods.published.grasp import GraspAuthor, GraspAuthorSettings
from planners.methods.random_shooting import RandomShooting, RandomShootingSettings
from planners.plugin_kinds import PlannerKind, kind_of
from planners.search.search_planner import SearchPlanner, SearchSettings
from planners.search.search_run import check_problems
from planners.settings import Scalar, Setting, Settings
from world_models.errors import require
from world_models.plugins import PLUGINS, Kind

PLANNERS: dict[str, tuple[type[Settings], Callable[[Any], Planner]]] = {
    "grasp": (GraspSettings, GRASP),
    "gd": (GDSettings, GD),
    "cem": (CEMSettings, CEM),
    "icem": (ICEMSettings, ICEM),
    "mppi": (MPPISettings, MPPI),
    "latco": (LatCoSettings, LatCo),
    "random_shooting": (RandomShootingSettings, RandomShooting),
    "cem_swm": (CEMSWMSettings, CEMSWM),
    "cem_dino": (CEMDinoSettings, CEMDino),
    "gd_swm": (GDSWMSettings, GDSWM),
    "gd_dino": (GDDinoSettings, GDDino),
    "grasp_author": (GraspAuthorSettings, GraspAuthor),
}
"""Settings class and planner class of the planners that search, by name."""

BASELINES: dict[str, tuple[type[Settings], Callable[[Any], Planner]]] = {
    "null_actions": (BaselineSettings, NullActions),
    "random_actions": (BaselineSettings, RandomActions),
    "reference_actions": (BaselineSettings, ReferenceActions),
}
"""Those that search for nothing, which are the floors of a table."""

BUILT_IN: Mapping[str, tuple[type[Settings], Callable[[Any], Planner]]] = ChainMap(PLANNERS, BASELINES)
"""All planners that are not plug-ins."""


def planner_kind(name: str) -> PlannerKind:
    """Settings class and maker of the planner called `name`, one of ours or a plug-in.

    Raises UserError for an unknown name and for a plug-in that is not a planner.
    """
    if name in BUILT_IN:
        return BUILT_IN[name]
    return kind_of(PLUGINS.demand(Kind.PLANNER, name, BUILT_IN))


def knows_planner(name: str) -> bool:
    """Whether a planner is one of ours or a plug-in that may be imported here."""
    return name in BUILT_IN or PLUGINS.find(Kind.PLANNER, name) is not None


def planner_settings(name: str, settings: Mapping[str, Setting] | None = None) -> Settings:
    """Typed settings of the planner called `name`; raises UserError for an unknown name or setting, or a value out of range."""
    return planner_kind(name)[0].of(name, settings or {})


@overload
def make_planner(planner: Settings) -> Planner: ...
@overload
def make_planner(planner: str, settings: Mapping[str, Setting] | None = None) -> Planner: ...
def make_planner(planner: str | Settings, settings: Mapping[str, Setting] | None = None) -> Planner:
    """The planner that typed settings belong to, or the one called by a name, with a mapping of settings.

    Raises UserError for settings of no planner of ours, an unknown name or setting, or a value out of range.
    """
    if isinstance(planner, str):
        kind, make = planner_kind(planner)
        return make(kind.of(planner, settings or {}))
    found = [made for kind, made in PLANNERS.values() if kind is type(planner)]
    require(bool(found), f"{type(planner).__name__} are settings of no planner of ours: build your planner with them itself.")
    return found[0](planner)


def full_settings(name: str, settings: Mapping[str, Scalar] | None = None) -> dict[str, Scalar]:
    """All settings of a planner with defaults filled in and numbers in canonical types; cell ids are hashes of these."""
    return planner_settings(name, settings).as_dict()


def setting_kinds(name: str) -> dict[str, str]:
    """Kinds of a planner's settings: `count`, `number`, `flag` or `choice`; UnknownNameError for an unknown planner."""
    return {field.name: str(field.metadata["kind"]) for field in fields(planner_kind(name)[0])}


def check_setting(name: str, setting: str, value: Scalar) -> None:
    """Raise UserError unless one setting of a planner may have a value, whatever the others are."""
    planner_kind(name)[0].check_one(name, setting, value)


def row_settings(name: str) -> frozenset[str]:
    """Settings of a planner that may differ between the rows of one batch."""
    return frozenset(field.name for field in fields(planner_kind(name)[0]) if field.metadata.get("by_row"))


def stacked_settings(name: str, rows: Sequence[Mapping[str, Setting]]) -> dict[str, Setting]:
    """Settings of a batch whose row i is planned with `rows[i]`: settings that differ are tensors `[batch]`.

    Raises UserError as `Settings.stack` does.
    """
    stacked = Settings.stack([planner_settings(name, row) for row in rows])
    return {field.name: getattr(stacked, field.name) for field in fields(stacked)}


__all__ = [
    "BASELINES",
    "BUILT_IN",
    "CEM",
    "GD",
    "GRASP",
    "ICEM",
    "MPPI",
    "PLANNERS",
    "CEMSettings",
    "GDSettings",
    "GraspSettings",
    "ICEMSettings",
    "LatCo",
    "LatCoSettings",
    "MPPISettings",
    "ModelProblems",
    "OnStep",
    "PlanStatus",
    "Planner",
    "PlannerMemoryError",
    "Plans",
    "RandomShooting",
    "RandomShootingSettings",
    "Scalar",
    "SearchPlanner",
    "SearchSettings",
    "Setting",
    "Settings",
    "Start",
    "check_problems",
    "check_setting",
    "full_settings",
    "knows_planner",
    "make_planner",
    "planner_kind",
    "planner_settings",
    "row_settings",
    "setting_kinds",
    "stacked_settings",
]
