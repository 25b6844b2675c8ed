"""The Ray actor that plans, and the driver's record of it."""

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
from orchestrator.core.secrets import one_line
from orchestrator.evaluation.results import BatchFailure
from orchestrator.workers.backend import MakeEvaluator, WorkerView, attempt
from orchestrator.workers.devices import device_memory, is_broken, keep_to_share
from orchestrator.workers.evaluator import BatchResult
from orchestrator.workers.ray_cluster import Need, Node
from world_models.plugins import PLUGINS, Parcel, pack, unpack

SETTLE = 20.0
"""Seconds that Ray may take to report the outcome of a dead actor's calls."""


@dataclass(frozen=True)
class Hello:
    """An actor's description of itself once it has started."""

    node_id: str
    pid: int
    errors: str
    """File on its node that receives its standard error; empty if it is not a file."""
    memory: int | None
    """Bytes that it may use of its GPU; None for a CPU."""


class PlanningActor:
    """An actor that keeps an evaluator, and so its loaded world models, as long as it lives."""

    def __init__(
        self, make_evaluator: MakeEvaluator, device: str, threads: int, share: float, plugins: tuple[Parcel, ...] = ()
    ) -> None:
        """`share` is the part of a GPU that it may use. Raises UserError for a plug-in that is missing or another here."""
        unpack(plugins, PLUGINS)
        torch.set_num_threads(threads)
        keep_to_share(device, share)
        self._device = device
        self._share = share
        self._evaluator = make_evaluator(device)

    def hello(self) -> Hello:
        """The actor's description of itself."""
        errors = Path("/proc/self/fd/2")
        file = str(errors.readlink()) if errors.is_symlink() else ""
        node_id = ray.get_runtime_context().get_node_id()
        return Hello(node_id, os.getpid(), file, device_memory(self._device, self._share))

    def heed(self) -> None:
        """Do nothing: that the call can be sent tells the driver that the connection stands."""

    def evaluate(self, batch: Batch) -> BatchResult | BatchFailure:
        """Return one record per cell, or a failure. Ends the actor if it has lost its GPU, so that it is replaced."""
        answer = attempt(self._evaluator, batch)
        if isinstance(answer, BatchFailure) and is_broken(self._device):
            sys.stderr.write(f"the GPU can no longer be used by this process ({answer.message})\n")
            sys.stderr.flush()
            os._exit(1)
        return answer

    def draw(self, drawing: Drawing) -> Drawn:
        """Draw recorded cells."""
        return attempt_drawing(self._evaluator, drawing)


def start_actor(make_evaluator: MakeEvaluator, need: Need) -> Any:
    """Start an actor and return its handle at once; it starts in the background when a node has room."""
    # Not a decorator, because runtime type checks cannot look into a decorated class. Restarts and retries are done here.
    remote: Any = ray.remote(PlanningActor)
    options: dict[str, Any] = {"num_cpus": need.cpus, "num_gpus": need.gpus, "max_restarts": 0, "max_task_retries": 0}
    if need.memory:
        options["memory"] = need.memory
    if need.labels:
        options["label_selector"] = dict(need.labels)
    return remote.options(**options).remote(make_evaluator, need.device, need.threads, need.gpus, pack(PLUGINS))


def last_words(node_id: str, errors: str, error: Exception) -> str:
    """An actor's error and the end of its standard error, read on its node, on one line."""
    affinity = NodeAffinitySchedulingStrategy(node_id, soft=False)
    reader: Any = ray.remote(_tail)
    try:
        words = ray.get(reader.options(num_cpus=0, scheduling_strategy=affinity).remote(errors), timeout=SETTLE)
    except ray.exceptions.RayError:
        words = ""
    return f"{one_line(error)[:200]} {words}".strip()


def _tail(file: str) -> str:
    """The end of a file, as one line."""
    try:
        return " ".join(Path(file).read_bytes()[-2000:].decode(errors="replace").split())[-250:]
    except OSError:
        return ""


@dataclass(eq=False)
class Worker:
    """An actor and its unfinished batches, oldest first, which is the order in which Ray runs them."""

    name: str
    handle: Any
    greeting: ray.ObjectRef | None
    """The unanswered call of `hello` while the actor starts; then None."""
    node: Node | None = None
    errors: str = ""
    memory: int | None = None
    sent: dict[ray.ObjectRef, Assignment] = field(default_factory=dict)
    drawing: tuple[ray.ObjectRef, Drawing] | None = None
    """The drawing that it works on; it gets one when it has nothing to plan."""
    models: tuple[str, ...] = ()
    calls: set[ray.ObjectRef] = field(default_factory=set)
    """Unanswered calls of `heed`."""
    heard: float = field(default_factory=time.monotonic)
    """When it last answered, or was last called."""
    since: float = field(default_factory=time.monotonic)
    cells: int = 0
    deaths: int = 0

    @property
    def busy(self) -> bool:
        """Whether it owes an answer."""
        return bool(self.sent) or self.drawing is not None or self.greeting is not None

    def view(self, device: str) -> WorkerView | None:
        """The worker's state for observers; None while it starts."""
        if self.node is None:
            return None
        batch = next(iter(self.sent.values())).batch if self.sent else None
        return WorkerView(self.name, self.node.name, device, self.models, batch, self.since, self.cells, self.deaths)
