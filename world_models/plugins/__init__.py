"""Plug-ins: a user's own tasks, world models, goal costs, planners and samplers, found by name without editing the package."""

from __future__ import annotations

from world_models.plugins.kinds import Kind
from world_models.plugins.members import require_members
from world_models.plugins.registry import PLUGINS, Plugin, Registry
from world_models.plugins.shipping import Parcel, pack, unpack
from world_models.plugins.targets import Target, is_target, read_label, read_target

__all__ = [
    "PLUGINS",
    "Kind",
    "Parcel",
    "Plugin",
    "Registry",
    "Target",
    "is_target",
    "pack",
    "read_label",
    "read_target",
    "require_members",
    "unpack",
]
