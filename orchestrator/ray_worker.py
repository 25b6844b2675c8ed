"""A worker of the Ray backend, as the driver knows it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import ray

from orchestrator.artifacts.drawing import Drawing
from orchestrator.backend import WorkerView
from orchestrator.core.batch import Assignment
from orchestrator.ray_cluster import Node


@dataclass(eq=False)
class Worker:
    """An actor and what it was sent, oldest first: Ray runs an actor's tasks in this order."""

    name: str
    handle: Any
    greeting: ray.ObjectRef | None
    """Not answered yet: the actor is starting."""
    node: Node | None = None
    errors: str = ""
    memory: int | None = None
    sent: dict[ray.ObjectRef, Assignment] = field(default_factory=dict)
    drawing: tuple[ray.ObjectRef, Drawing] | None = None
    """What it draws; it gets one when it has nothing to plan."""
    models: tuple[str, ...] = ()
    since: float = field(default_factory=time.monotonic)
    cells: int = 0
    deaths: int = 0

    def view(self, device: str) -> WorkerView | None:
        """The worker, for those who watch; None while it starts."""
        if self.node is None:
            return None
        batch = next(iter(self.sent.values())).batch if self.sent else None
        return WorkerView(self.name, self.node.name, device, self.models, batch, self.since, self.cells, self.deaths)
