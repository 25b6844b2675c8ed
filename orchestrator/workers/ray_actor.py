"""The actor that plans, and what it leaves behind."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ray
import ray.exceptions
import torch
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator.artifacts.drawing import Drawing, Drawn, attempt_drawing
from orchestrator.core.batch import Assignment, Batch
from orchestrator.core.messages import one_line
from orchestrator.evaluation.results import BatchFailure
from orchestrator.workers.backend import MakeEvaluator, WorkerView, attempt
from orchestrator.workers.devices import device_memory, is_broken, keep_to_share
from orchestrator.workers.evaluator import BatchResult
from orchestrator.workers.ray_cluster import Need, Node

SETTLE = 20.0
"""Seconds that Ray may take to say what became of a dead actor's calls."""


@dataclass(frozen=True)
class Hello:
    """What an actor says of itself once it is up."""

    node_id: str
    pid: int
    errors: str
    """File that its standard error goes to, on its node; empty where it goes elsewhere."""
    memory: int | None
    """Bytes of its device; None for a CPU."""


class PlanningActor:
    """Keeps an evaluator, and with it its world models, for as long as it lives."""

    def __init__(self, make_evaluator: MakeEvaluator, device: str, threads: int, share: float) -> None:
        """`share` is the part of a GPU that it may use."""
        torch.set_num_threads(threads)
        keep_to_share(device, share)
        self._device = device
        self._share = share
        self._evaluator = make_evaluator(device)

    def hello(self) -> Hello:
        """Who this is."""
        errors = Path("/proc/self/fd/2")
        file = str(errors.readlink()) if errors.is_symlink() else ""
        node_id = ray.get_runtime_context().get_node_id()
        return Hello(node_id, os.getpid(), file, device_memory(self._device, self._share))

    def evaluate(self, batch: Batch) -> BatchResult | BatchFailure:
        """One record a cell, or why there is none. Ends the actor where it has lost its GPU: another takes its place."""
        answer = attempt(self._evaluator, batch)
        if isinstance(answer, BatchFailure) and is_broken(self._device):
            sys.stderr.write(f"the GPU can no longer be used by this process ({answer.message})\n")
            sys.stderr.flush()
            os._exit(1)
        return answer

    def draw(self, drawing: Drawing) -> Drawn:
        """Pictures of recorded cells."""
        return attempt_drawing(self._evaluator, drawing)


def start_actor(make_evaluator: MakeEvaluator, need: Need) -> Any:
    """An actor's handle; it comes up, or waits for a node with room, beside us."""
    # Not a decorator: the type checker of the tests cannot look into a decorated class. Restarts and retries are ours.
    remote: Any = ray.remote(PlanningActor)
    options: dict[str, Any] = {"num_cpus": need.cpus, "num_gpus": need.gpus, "max_restarts": 0, "max_task_retries": 0}
    if need.memory:
        options["memory"] = need.memory
    if need.labels:
        options["label_selector"] = dict(need.labels)
    return remote.options(**options).remote(make_evaluator, need.device, need.threads, need.gpus)


def last_words(node_id: str, errors: str, error: Exception) -> str:
    """How an actor ended, and the end of what it wrote before, read on its node; one line."""
    affinity = NodeAffinitySchedulingStrategy(node_id, soft=False)
    reader: Any = ray.remote(_tail)
    try:
        said = ray.get(reader.options(num_cpus=0, scheduling_strategy=affinity).remote(errors), timeout=SETTLE)
    except ray.exceptions.RayError:
        said = ""
    return f"{one_line(error)[:200]} {said}".strip()


def _tail(file: str) -> str:
    """The last words in a file, as one line."""
    try:
        return " ".join(Path(file).read_bytes()[-2000:].decode(errors="replace").split())[-250:]
    except OSError:
        return ""


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
