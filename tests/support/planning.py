"""Worlds, problems and settings that the planner tests share; most of them ship as `planners.testing`."""

from __future__ import annotations

from planners import ModelProblems, Plans, make_planner
from planners.settings import Setting
from planners.testing import SHORT as SETTINGS
from planners.testing import WORLDS, Cliff, Counting, Patches, Wrapped, problems_for, small_mlp, take
from world_models.base import WorldModel

__all__ = ["SETTINGS", "WORLDS", "Cliff", "Counting", "Patches", "Wrapped", "plan", "problems_for", "small_mlp", "take"]


def plan(name: str, model: WorldModel, problems: ModelProblems, seeds: list[int], **settings: Setting) -> Plans:
    """A short run of a planner."""
    return make_planner(name, {**SETTINGS[name], **settings}).plan(model, problems, seeds)
