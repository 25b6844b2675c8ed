"""A backend that runs batches on Ray actors, which keep their world models loaded.

The pool is our own, because ray.util.ActorPool loses what is queued behind a dead actor. At most two batches per actor are in
flight, so that none waits for the driver. A dead actor is replaced on any node with room; nodes that join get actors, and nodes
that leave cost what was in flight on them. The scheduler decides what happens to the batches.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from types import TracebackType

import ray
import ray.exceptions

from orchestrator.artifacts.drawing import Drawn
from orchestrator.core.batch import Assignment
from orchestrator.core.secrets import one_line
from orchestrator.evaluation.results import BatchFailure
from orchestrator.scheduling.scheduler import AvailableWorker, Scheduler
from orchestrator.workers.backend import MakeEvaluator, WorkerView
from orchestrator.workers.evaluator import BatchResult, Evaluator
from orchestrator.workers.ray_actor import SETTLE, Hello, Worker, last_words, start_actor
from orchestrator.workers.ray_cluster import (
    Need,
    Node,
    RayConfig,
    check_room,
    connect,
    gpus_here,
    living_nodes,
    need_of,
    room,
    wanted,
)
from world_models.errors import UserError
from world_models.processors import cpus_here

__all__ = ["RayBackend", "RayConfig"]

IN_FLIGHT = 2
"""Most unfinished batches of an actor."""
LOOK = 2.0
"""Seconds between two checks of the cluster's nodes."""
CALL = 15.0
"""Seconds without an answer after which a busy actor is called. An answer that was sent while the network was cut is lost with
its connection, of which only a driver that sends something hears: Ray itself sends nothing for five minutes."""
STARTS = 3
"""Actors per wanted worker that may fail to start in a row."""
_log = logging.getLogger(__name__)


class RayBackend:
    """A pool of Ray actors, started when first needed (`start`, `run`, or `capacity` of a remote cluster)."""

    def __init__(self, config: RayConfig | None = None, make_evaluator: MakeEvaluator = Evaluator) -> None:
        self._config = config or RayConfig()
        self._make_evaluator = make_evaluator
        self._lock = threading.Lock()
        self._cluster = ExitStack()
        """The cluster that this backend has started or joined."""
        self._need: Need | None = None
        self._pool: list[Worker] = []
        self._names = 0
        self._deaths: list[int] = []
        """Death counts of workers that wait to be replaced, for their successors."""
        self._failed_starts = 0
        self._looked = self._manned = time.monotonic()

    def capacity(self) -> int:
        """Number of actors that the cluster has room for. Does not start a local cluster."""
        if self._need is None and self._config.address is None and not ray.is_initialized():
            here = [Node("", "", float(cpus_here()), float(gpus_here()), float(2**62), self._config.labels)]
            need = need_of(self._config, here)
            check_room(self._config, here, need)
            return wanted(self._config, here, need)
        need = self._started()
        return max(1, wanted(self._config, living_nodes(), need))

    def start(self) -> None:
        """Start or join the cluster (3 to 5 s). UserError if it is unreachable or too small. Idempotent, thread-safe."""
        self._started()

    def run(self, scheduler: Scheduler) -> Iterator[BatchResult]:
        """Results as they arrive, until the scheduler is over."""
        self._started()
        self._manned = time.monotonic()
        try:
            while not scheduler.over:
                self._look()
                self._hand_out(scheduler)
                self._call()
                yield from self._collect(scheduler)
        finally:
            # A caller that stops early must not find these results in its next run.
            for worker in self._pool:
                worker.sent.clear()
                worker.calls.clear()
                worker.drawing = None

    def workers(self) -> tuple[WorkerView, ...]:
        """The running actors, without those that are starting."""
        device = self._need.device if self._need else "cpu"
        return tuple(view for worker in list(self._pool) if (view := worker.view(device)) is not None)

    def close(self) -> None:
        """Stop the actors, and the cluster if this backend started it."""
        with self._lock:
            if ray.is_initialized():
                for worker in self._pool:
                    ray.kill(worker.handle)
            self._cluster.close()
            self._pool, self._need = [], None

    def __enter__(self) -> RayBackend:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _started(self) -> Need:
        with self._lock:
            if self._need is None:
                if not ray.is_initialized():
                    self._cluster = connect(self._config.address)
                self._need = self._await_room()
                self._fill(self._need, living_nodes())
            return self._need

    def _await_room(self) -> Need:
        """A worker's needs, once the cluster has room for the required workers; nodes may still be joining."""
        deadline = time.monotonic() + (0.0 if self._config.address is None else self._config.wait_for_nodes)
        while True:
            nodes = living_nodes()
            need = need_of(self._config, nodes)
            # Room for too few is refused at once, as the nodes are known. With room for none, the cluster may be starting.
            if room(nodes, need) or time.monotonic() >= deadline:
                check_room(self._config, nodes, need)
                return need
            time.sleep(0.5)

    def _look(self) -> None:
        """Now and then, start actors for new nodes and dead actors. Raises UserError if no node has had room for too long."""
        now = time.monotonic()
        if now - self._looked < LOOK and all(worker.node for worker in self._pool) and not self._deaths:
            return
        if now - self._looked < 0.2:
            return
        self._looked = now
        nodes, need = living_nodes(), self._started()
        self._fill(need, nodes)
        if any(worker.node is not None for worker in self._pool) or room(nodes, need):
            self._manned = now
        elif now - self._manned > self._config.wait_for_nodes:
            raise UserError(
                f"no node of the cluster has had room for a worker ({need.description}) for {self._config.wait_for_nodes:g} s: "
                "add nodes, then run the same command again; everything finished is kept."
            )

    def _fill(self, need: Need, nodes: Sequence[Node]) -> None:
        """Start actors until there are as many as wanted; Ray chooses their nodes."""
        for _ in range(wanted(self._config, nodes, need) - len(self._pool)):
            self._names += 1
            handle = start_actor(self._make_evaluator, need)
            deaths = self._deaths.pop() if self._deaths else 0
            self._pool.append(Worker(f"worker {self._names}", handle, handle.hello.remote(), deaths=deaths))

    def _hand_out(self, scheduler: Scheduler) -> None:
        """Hand out batches: one to every actor before any gets its second."""
        up = [worker for worker in self._pool if worker.node is not None]
        device = self._started().device
        for depth in range(IN_FLIGHT):
            for worker in up:
                if len(worker.sent) != depth:
                    continue
                available = AvailableWorker(worker.name, device, worker.models, depth, worker.memory)
                task = scheduler.next(available, len(up))
                if task is not None:
                    if not worker.sent:
                        worker.since = time.monotonic()
                    worker.sent[worker.handle.evaluate.remote(task.batch)] = task
        for worker in up:
            if not worker.sent and worker.drawing is None:
                drawing = scheduler.next_drawing(AvailableWorker(worker.name, device, worker.models))
                if drawing is not None:
                    worker.drawing = worker.handle.draw.remote(drawing), drawing

    def _call(self) -> None:
        """Call busy actors that have not answered for a while."""
        now = time.monotonic()
        for worker in self._pool:
            if worker.busy and now - worker.heard > CALL:
                worker.heard = now
                worker.calls.add(worker.handle.heed.remote())

    def _collect(self, scheduler: Scheduler) -> Iterator[BatchResult]:
        """Wait briefly for answers, and yield the results that have arrived."""
        waiting = {ref: worker for worker in self._pool for ref in worker.sent}
        waiting |= {worker.drawing[0]: worker for worker in self._pool if worker.drawing is not None}
        waiting |= {worker.greeting: worker for worker in self._pool if worker.greeting is not None}
        waiting |= {ref: worker for worker in self._pool for ref in worker.calls}
        if not waiting:
            time.sleep(0.1)
            return
        ready, _ = ray.wait(list(waiting), num_returns=1, timeout=1.0)
        if ready:
            ready, _ = ray.wait(list(waiting), num_returns=len(waiting), timeout=0)
        for ref in ready:
            worker = waiting[ref]
            if worker not in self._pool:
                continue  # it died, and this answer was handled then
            worker.heard = time.monotonic()
            if ref in worker.calls:
                yield from self._heeded(worker, ref, scheduler)
            elif ref is worker.greeting:
                self._greet(worker, ref)
            elif worker.drawing is not None and ref is worker.drawing[0]:
                yield from self._drawn(worker, scheduler)
            else:
                yield from self._answer(worker, ref, scheduler)

    def _greet(self, worker: Worker, ref: ray.ObjectRef) -> None:
        """Take the greeting of an actor that has started, or that died while starting."""
        try:
            hello: Hello = ray.get(ref)
        except ray.exceptions.RayError as error:
            self._pool.remove(worker)
            self._deaths.append(worker.deaths)
            self._failed_starts += 1
            _log.warning("a worker did not start: %s", one_line(error))
            if self._failed_starts >= STARTS * max(1, len(self._pool)):
                raise UserError(
                    f"workers do not start ({one_line(error)}): fix that and run the same command again; "
                    "everything finished is kept."
                ) from error
            return
        nodes = {node.node_id: node for node in living_nodes()}
        need = self._started()
        self._failed_starts = 0
        worker.node = nodes.get(hello.node_id) or Node(hello.node_id, "a node that has left", 0, 0, 0, {})
        even = int(worker.node.memory / max(1, worker.node.room(need)))
        worker.memory = hello.memory or need.memory or even or None
        worker.errors, worker.greeting, worker.since = hello.errors, None, time.monotonic()

    def _answer(self, worker: Worker, ref: ray.ObjectRef, scheduler: Scheduler) -> Iterator[BatchResult]:
        """Take an actor's answer, or handle its batches if it has died."""
        try:
            answer = ray.get(ref)
        except ray.exceptions.RayTaskError as error:
            answer = BatchFailure(one_line(error.cause if isinstance(error.cause, Exception) else error))
        except ray.exceptions.RayError as error:
            yield from self._bury(worker, error, scheduler)
            return
        yield from self._settle(worker, ref, answer, scheduler)

    def _drawn(self, worker: Worker, scheduler: Scheduler) -> Iterator[BatchResult]:
        """Take an actor's drawing; if it has died, another actor gets the drawing."""
        assert worker.drawing is not None
        ref, drawing = worker.drawing
        try:
            made = ray.get(ref)
        except ray.exceptions.RayTaskError as error:
            made = Drawn(drawing, (), (one_line(error),))
        except ray.exceptions.RayError as error:
            yield from self._bury(worker, error, scheduler)
            return
        worker.drawing = None
        scheduler.drawn(drawing, made)

    def _heeded(self, worker: Worker, ref: ray.ObjectRef, scheduler: Scheduler) -> Iterator[BatchResult]:
        """Take the answer to a call, or handle an actor's batches if it has died."""
        worker.calls.remove(ref)
        try:
            ray.get(ref)
        except ray.exceptions.RayError as error:
            if worker.greeting is None:
                yield from self._bury(worker, error, scheduler)

    def _settle(
        self, worker: Worker, ref: ray.ObjectRef, answer: BatchResult | BatchFailure, scheduler: Scheduler
    ) -> Iterator[BatchResult]:
        task = worker.sent.pop(ref)
        worker.since = time.monotonic()
        if isinstance(answer, BatchResult):
            worker.cells += len(answer.results)
            worker.models = answer.resource_use.models if answer.resource_use is not None else worker.models
        result = scheduler.done(task, answer, self._started().device)
        if result is not None:
            yield result.of(worker.name)

    def _bury(self, worker: Worker, error: ray.exceptions.RayError, scheduler: Scheduler) -> Iterator[BatchResult]:
        """Remove a dead actor: its answers are kept, and the rest goes back to the scheduler."""
        self._pool.remove(worker)
        self._deaths.append(worker.deaths + 1)
        if worker.drawing is not None:
            scheduler.drawn(worker.drawing[1], None)
            worker.drawing = None
        lost: list[Assignment] = []
        exhausted = False
        for ref in list(worker.sent):
            try:
                answer = ray.get(ref, timeout=SETTLE)
            except ray.exceptions.RayError as why:
                # Of several batches, the first was running.
                exhausted = exhausted or (not lost and isinstance(why, ray.exceptions.OutOfMemoryError))
                lost.append(worker.sent.pop(ref))
            else:
                yield from self._settle(worker, ref, answer, scheduler)
        for ref in worker.calls:  # otherwise Ray prints their errors
            with suppress(ray.exceptions.RayError):
                ray.get(ref, timeout=SETTLE)
        gone = isinstance(error, ray.exceptions.ActorUnavailableError)
        if gone:
            ray.kill(worker.handle)  # it may come back, and must not plan what others plan by then
        if exhausted:
            answer = BatchFailure(f"out of memory: {one_line(error)}"[:500], out_of_memory=True)
            result = scheduler.done(lost.pop(0), answer, self._started().device)
            yield from () if result is None else (result,)
        if exhausted or gone or worker.node is None or self._left(worker.node):
            where = "a node" if worker.node is None else f"node {worker.node.name}"
            _log.warning("%s on %s is lost, %d batches are planned again: %s", worker.name, where, len(lost), one_line(error))
            scheduler.lost(lost, worker.name)
        elif lost:
            single = len(lost) == 1 and len(lost[0].batch.seeds) == 1
            words = last_words(worker.node.node_id, worker.errors, error) if single else one_line(error)
            yield from scheduler.died(lost, worker.name, words)

    def _left(self, node: Node) -> bool:
        return node.node_id not in {alive.node_id for alive in living_nodes()}
