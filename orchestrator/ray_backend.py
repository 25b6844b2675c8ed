"""Batches on Ray actors that keep their world model loaded. The only file that imports ray.

The pool is our own (ray.util.ActorPool loses what is queued behind a dead actor): at most two batches are in flight an actor,
so that no actor waits for the driver; an actor that dies is replaced; what it had not answered is tried once more, alone, and
then recorded as failed. Results are keyed by cell, so a batch that ran twice does no harm.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import ray
import ray.exceptions
import torch

from orchestrator.backend import MakeEvaluator, guarded
from orchestrator.batching import Batch
from orchestrator.evaluate import BatchResult, Evaluator
from orchestrator.outcomes import failed_batch, one_line
from orchestrator.provenance import ROOT, Provenance, mask_uri
from world_models.errors import UserError, require

IN_FLIGHT = 2
"""Batches sent to an actor before it has answered the first."""
ATTEMPTS = 2
"""Times a batch may kill its actor before it is recorded as failed."""
_OBJECT_STORE = 256 * 1024**2
"""Bytes: results and pictures are small."""
_ENVIRONMENT = {
    # Ray's default niceness of 15 starves its workers beside any other process: 60 s to start an actor instead of 3.
    "RAY_worker_niceness": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    # A driver under `uv run` would make every worker build its environment anew.
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "0",
}


@dataclass(frozen=True)
class RayConfig:
    """Which cluster, and how many actors of which size. None: as many as fit."""

    address: str | None = None
    """`host:port` or `auto` of a running cluster; None starts one on this machine."""
    num_workers: int | None = None
    cpus_per_worker: int | float | None = None
    gpus_per_worker: int | float | None = None

    def __post_init__(self) -> None:
        workers, cpus, gpus = self.num_workers, self.cpus_per_worker, self.gpus_per_worker
        require(workers is None or workers >= 1, f"num_workers {workers} is no number of actors: give at least 1.")
        require(cpus is None or cpus > 0, f"cpus_per_worker {cpus} is not positive: give CPUs, e.g. 1.")
        require(gpus is None or gpus >= 0, f"gpus_per_worker {gpus} is negative: give 0, 1 or a fraction 1/k.")


@dataclass(frozen=True)
class _Share:
    """The pool's size, and what each actor gets."""

    workers: int
    cpus: float
    gpus: float

    @property
    def device(self) -> str:
        """Where an actor plans."""
        return "cuda" if self.gpus > 0 else "cpu"

    @property
    def threads(self) -> int:
        """Torch threads of an actor (Ray would leave it at one)."""
        return max(1, int(self.cpus))


class _Actor:
    """Keeps an evaluator, and with it its world models, for as long as it lives."""

    def __init__(self, make_evaluator: MakeEvaluator, device: str, threads: int) -> None:
        torch.set_num_threads(threads)
        self._device = device
        self._evaluator = make_evaluator(device)

    def evaluate(self, batch: Batch) -> BatchResult:
        """One record a cell."""
        return guarded(self._evaluator, batch, self._device)


@dataclass
class _Task:
    """A batch, and how many actors died with it unanswered."""

    batch: Batch
    deaths: int = 0


@dataclass
class _Worker:
    """An actor and what it was sent, oldest first: Ray runs an actor's tasks in this order."""

    handle: Any
    sent: dict[ray.ObjectRef, _Task] = field(default_factory=dict)


class RayBackend:
    """A pool of Ray actors, started when first needed (`start`, `run`, or `workers` of a remote cluster)."""

    def __init__(self, config: RayConfig | None = None, make_evaluator: MakeEvaluator = Evaluator) -> None:
        self._config = config or RayConfig()
        self._make_evaluator = make_evaluator
        self._lock = threading.Lock()
        self._owns_cluster = False
        self._share: _Share | None = None
        self._pool: list[_Worker] = []

    @property
    def workers(self) -> int:
        """Number of actors. Does not start a local cluster."""
        if self._share is None and self._config.address is None and not ray.is_initialized():
            return _share(self._config, _cpus_here(), _gpus_here()).workers
        return self._started().workers

    def start(self) -> None:
        """Start or join the cluster (3-5 s); UserError when it cannot be reached or is too small. Idempotent, thread-safe."""
        self._started()

    def run(self, batches: Iterable[Batch]) -> Iterator[BatchResult]:
        """Results as they arrive; every batch yields exactly one."""
        self._started()
        fresh, suspects = deque(_Task(batch) for batch in batches), deque[_Task]()
        try:
            while fresh or suspects or any(worker.sent for worker in self._pool):
                self._send(fresh, suspects)
                refs = [ref for worker in self._pool for ref in worker.sent]
                for ref in ray.wait(refs, num_returns=1)[0]:
                    worker = next(worker for worker in self._pool if ref in worker.sent)
                    yield from self._collect(worker, ref, suspects)
        finally:
            # A caller that stops early must not find these results in its next run.
            for worker in self._pool:
                worker.sent.clear()

    def close(self) -> None:
        """End the actors, and the cluster if we started it."""
        with self._lock:
            if ray.is_initialized():
                for worker in self._pool:
                    ray.kill(worker.handle)
                if self._owns_cluster:
                    ray.shutdown()
            self._pool, self._share, self._owns_cluster = [], None, False

    def __enter__(self) -> RayBackend:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _started(self) -> _Share:
        with self._lock:
            if self._share is None:
                if not ray.is_initialized():
                    _connect(self._config.address)
                    self._owns_cluster = True
                resources = ray.cluster_resources()
                self._share = _share(self._config, resources.get("CPU", 0), resources.get("GPU", 0))
                self._pool = [_Worker(self._actor(self._share)) for _ in range(self._share.workers)]
            return self._share

    def _actor(self, share: _Share) -> Any:
        # Not a decorator: the type checker of the tests cannot look into a decorated class. Restarts and retries are ours.
        remote: Any = ray.remote(_Actor)
        options = remote.options(num_cpus=share.cpus, num_gpus=share.gpus, max_restarts=0, max_task_retries=0)
        return options.remote(self._make_evaluator, share.device, share.threads)

    def _send(self, fresh: deque[_Task], suspects: deque[_Task]) -> None:
        """One batch to every actor before any gets its second. A suspect shares its actor with nothing else."""
        for worker in self._pool:
            if not worker.sent and (fresh or suspects):
                self._hand(worker, (fresh or suspects).popleft())
        for worker in self._pool:
            alone = any(task.deaths for task in worker.sent.values())
            while fresh and not alone and len(worker.sent) < IN_FLIGHT:
                self._hand(worker, fresh.popleft())

    def _hand(self, worker: _Worker, task: _Task) -> None:
        worker.sent[worker.handle.evaluate.remote(task.batch)] = task

    def _collect(self, worker: _Worker, ref: ray.ObjectRef, suspects: deque[_Task]) -> Iterator[BatchResult]:
        """The result of a finished task; of an actor that died, what it had finished and what becomes of the rest."""
        try:
            result = ray.get(ref)
        except ray.exceptions.RayTaskError as error:
            yield self._failed(worker.sent.pop(ref), error.cause if isinstance(error.cause, Exception) else error)
        except ray.exceptions.RayError as error:
            yield from self._bury(worker, error, suspects)
        else:
            del worker.sent[ref]
            yield result

    def _bury(self, worker: _Worker, error: ray.exceptions.RayError, suspects: deque[_Task]) -> Iterator[BatchResult]:
        """Replace a dead actor. Whatever it had not answered is suspect and is tried again alone.

        Which of two killed it cannot be known: the answer of the first may have died with the actor that the second killed.
        Alone it can, so an innocent batch never fails because of its neighbour.
        """
        self._pool[self._pool.index(worker)] = _Worker(self._actor(self._started()))
        for ref, task in worker.sent.items():
            try:
                result = ray.get(ref)
            except ray.exceptions.RayError:
                task.deaths += 1
                if task.deaths < ATTEMPTS:
                    suspects.append(task)
                else:
                    yield self._failed(task, error)
            else:
                yield result

    def _failed(self, task: _Task, error: Exception) -> BatchResult:
        words = one_line(error)
        if task.deaths:
            words = f"its worker died {task.deaths} times: {words}"[:500]
        return failed_batch(task.batch, words, Provenance.here("cpu"))


def _connect(address: str | None) -> None:
    """Start a cluster on this machine, or join the one at `address`."""
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": True}
    if address is None:
        with _environment({**_ENVIRONMENT, "PYTHONPATH": _python_path()}):
            ray.init(num_cpus=_cpus_here(), include_dashboard=False, object_store_memory=_OBJECT_STORE, **quiet)
        return
    _probe(address)
    try:
        with _environment(_ENVIRONMENT):
            ray.init(address=address, runtime_env={"env_vars": {"PYTHONPATH": _python_path()}}, **quiet)
    except (ConnectionError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        raise _unreachable(address, one_line(error)) from error


def _probe(address: str) -> None:
    """Ray would retry a dead address for minutes: see first whether anything listens there."""
    if address in ("auto", "local"):
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except (OSError, ValueError, OverflowError) as error:
        raise _unreachable(address, str(error)) from error


def _unreachable(address: str, reason: str) -> UserError:
    return UserError(
        f"no Ray cluster answers at {mask_uri(address)!r} ({reason}): start one with `ray start --head`, "
        "or leave the address out to plan on this machine."
    )


def _share(config: RayConfig, cpus: int | float, gpus: int | float) -> _Share:
    """One actor a GPU where there are GPUs, else one a CPU; CPUs are shared evenly. UserError when they don't fit."""
    gpus_each = config.gpus_per_worker if config.gpus_per_worker is not None else float(gpus >= 1)
    workers = config.num_workers
    if workers is None:
        by_cpu = int(cpus / (config.cpus_per_worker or 1))
        workers = max(1, min(by_cpu, int(gpus / gpus_each)) if gpus_each else by_cpu)
    even = cpus / workers
    cpus_each = config.cpus_per_worker or (even if even < 1 else float(int(even)))
    for kind, asked, there in (("CPUs", workers * cpus_each, cpus), ("GPUs", workers * gpus_each, gpus)):
        if asked > there + 1e-6:
            raise UserError(
                f"{workers} workers ask for {asked:g} {kind} but there are {there:g}: ask for fewer or smaller ones."
            )
    return _Share(workers, float(cpus_each), float(gpus_each))


def _cpus_here() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0))


def _gpus_here() -> int:
    return torch.cuda.device_count()


def _python_path() -> str:
    """Workers must import the code the driver runs, also from a checkout that is not installed."""
    return os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))


@contextlib.contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    """Environment variables for the processes started meanwhile."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
