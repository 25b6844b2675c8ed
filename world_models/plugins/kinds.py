"""The kinds of plug-ins, and the groups of entry points under which installed packages offer them."""

from __future__ import annotations

from enum import Enum


class Kind(Enum):
    """A kind of object that a user can bring along; the value is its name in messages."""

    TASK = "task"
    WORLD_MODEL = "world model"
    GOAL_COST = "goal cost"
    PLANNER = "planner"
    SAMPLER = "sampler"
    DATASET = "dataset"
    ADAPTER = "adapter"

    @property
    def key(self) -> str:
        """The kind as one word, e.g. `world_model`."""
        return self.value.replace(" ", "_")

    @property
    def group(self) -> str:
        """The group of entry points of an installed package, e.g. `grasp_orchestrator.world_models`."""
        return f"grasp_orchestrator.{self.key}s"
