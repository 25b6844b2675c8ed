"""Ray clusters: starting or joining one, and how many workers its nodes have room for."""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import ray
import torch
from ray._private import worker

from orchestrator.core.messages import mask_uri
from orchestrator.core.secrets import one_line
from orchestrator.workers.local_ray import SETTINGS, environment_of, python_path, start_local_ray
from world_models.errors import UserError, require

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclass(frozen=True)
class RayConfig:
    """The cluster, and the number and size of its workers. By default as many as fit, and more when nodes join."""

    address: str | None = None
    """`host:port` of a running cluster, or `auto`; None starts one on this machine."""
    num_workers: int | None = None
    """Exact number of workers; refused if they do not fit."""
    max_workers: int | None = None
    """Most workers, if `num_workers` is None."""
    cpus_per_worker: int | float | None = None
    """CPUs per worker; None: 1, or an even share for `num_workers`."""
    gpus_per_worker: int | float | None = None
    """GPUs per worker, a whole number or 1/k; None: 1 if there are GPUs, otherwise 0."""
    memory_per_worker: int | float | str | None = None
    """Memory per worker in bytes, or text such as `4GiB`; None: an even share of the node's, not reserved."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Labels that a node must have."""
    wait_for_nodes: int | float = 120.0
    """Seconds to wait for a node with room while the cluster has none."""

    def __post_init__(self) -> None:
        workers, most, cpus, gpus = self.num_workers, self.max_workers, self.cpus_per_worker, self.gpus_per_worker
        require(workers is None or workers >= 1, f"num_workers {workers} is not a valid number of workers: give at least 1.")
        require(most is None or most >= 1, f"max_workers {most} is not a valid number of workers: give at least 1.")
        require(cpus is None or cpus > 0, f"cpus_per_worker {cpus} is not positive: give CPUs, e.g. 1.")
        require(gpus is None or gpus >= 0, f"gpus_per_worker {gpus} is negative: give 0, 1 or a fraction 1/k.")
        if gpus is not None and gpus != int(gpus):
            even = gpus < 1 and abs(1 / gpus - round(1 / gpus)) < 1e-6
            near = f"1/{int(1 / gpus)} = {1 / int(1 / gpus):.4g}" if gpus < 1 else f"{int(gpus)}"
            require(even, f"gpus_per_worker {gpus} is neither a whole number nor 1/k: give {near}.")
        require(self.wait_for_nodes >= 0, f"wait_for_nodes {self.wait_for_nodes} is negative: give seconds.")
        bytes_of(self.memory_per_worker)


@dataclass(frozen=True)
class Need:
    """The resources that each worker takes of its node."""

    cpus: float
    gpus: float
    memory: int | None
    labels: Mapping[str, str]

    @property
    def device(self) -> str:
        """The device on which a worker plans."""
        return "cuda" if self.gpus > 0 else "cpu"

    @property
    def threads(self) -> int:
        """Number of torch threads in a worker (Ray would leave it at one)."""
        return max(1, int(self.cpus))

    @property
    def description(self) -> str:
        """The resources in words, for messages."""
        parts = [f"{self.cpus:g} CPUs", *([f"{self.gpus:g} GPUs"] if self.gpus else [])]
        parts += [f"{self.memory / 2**30:.3g} GiB"] if self.memory else []
        return ", ".join(parts + [f"{key}={value}" for key, value in self.labels.items()])


@dataclass(frozen=True)
class Node:
    """A living node."""

    node_id: str
    name: str
    cpus: float
    gpus: float
    memory: float
    """Memory in bytes."""
    labels: Mapping[str, str]

    def room(self, need: Need) -> int:
        """Number of workers that fit if nothing else runs on the node."""
        if any(self.labels.get(key) != value for key, value in need.labels.items()):
            return 0
        wants = ((self.cpus, need.cpus), (self.gpus, need.gpus), (self.memory, need.memory or 0))
        return min(int(available / required + 1e-6) for available, required in wants if required > 0)


def living_nodes() -> list[Node]:
    """The cluster's nodes that are alive now."""
    found = []
    for raw in ray.nodes():
        if raw["Alive"]:
            resources = raw["Resources"]
            amounts = resources.get("CPU", 0.0), resources.get("GPU", 0.0), resources.get("memory", 0.0)
            found.append(Node(raw["NodeID"], raw["NodeManagerHostname"], *amounts, raw.get("Labels") or {}))
    return found


def need_of(config: RayConfig, nodes: Sequence[Node]) -> Need:
    """The resources that a worker of this config takes on these nodes."""
    gpus = float(config.gpus_per_worker) if config.gpus_per_worker is not None else float(any(n.gpus >= 1 for n in nodes))
    cpus = config.cpus_per_worker
    if cpus is None:
        even = sum(node.cpus for node in nodes) / config.num_workers if config.num_workers else 1.0
        # On several nodes an even share may fit nowhere: it is reduced until all workers fit.
        cpus = even if even < 1 else float(int(even))
        while cpus > 1 and config.num_workers and room(nodes, Need(cpus, gpus, None, config.labels)) < config.num_workers:
            cpus -= 1
    return Need(float(cpus), gpus, bytes_of(config.memory_per_worker), config.labels)


def room(nodes: Sequence[Node], need: Need) -> int:
    """Number of workers that fit on all nodes together."""
    return sum(node.room(need) for node in nodes)


def wanted(config: RayConfig, nodes: Sequence[Node], need: Need) -> int:
    """Number of workers that the config wants on these nodes."""
    return config.num_workers or min(room(nodes, need), config.max_workers or 2**31)


def check_room(config: RayConfig, nodes: Sequence[Node], need: Need) -> None:
    """Raise UserError unless the config's workers fit."""
    requested = config.num_workers or 1
    for kind, each, available in (
        ("CPUs", need.cpus, sum(n.cpus for n in nodes)),
        ("GPUs", need.gpus, sum(n.gpus for n in nodes)),
    ):
        if requested * each > available + 1e-6:
            raise UserError(
                f"{_workers(requested)} for {requested * each:g} {kind} but there are {available:g}: "
                "ask for fewer or smaller ones."
            )
    fits = room(nodes, need)
    if fits < requested:
        raise UserError(
            f"the cluster's {len(nodes)} nodes have room for {fits} of {requested} workers of {need.description} each: "
            "ask for fewer or smaller ones, or add nodes."
        )


def bytes_of(value: int | float | str | None) -> int | None:
    """Bytes from a number or a text such as `512MiB`, `4GB` or `4G` (all binary). Raises UserError for anything else."""
    if value is None:
        return None
    match = re.fullmatch(r"([0-9.]+) *([KMGT]?)(?:i?B)?", str(value).strip())
    size = float(match[1]) * _UNITS[match[2]] if match and match[1].count(".") <= 1 and match[1] != "." else 0.0
    require(size > 0, f"memory_per_worker {value!r} is not a valid amount of memory: give bytes, or e.g. 4GiB.")
    return int(size)


def gpus_here() -> int:
    """Number of CUDA devices that this process sees."""
    return torch.cuda.device_count()


def connect(address: str | None) -> ExitStack:
    """Start a cluster on this machine, or join the one at `address`; closing what is returned stops or leaves it.

    Raises UserError if none starts, or none answers at the address.
    """
    # Ray would print what happens to nodes, e.g. that one is lost, on standard output, which may be JSON for a program.
    worker._worker_logs_enabled = False
    if address is None:
        with _own_signals():
            return start_local_ray()
    _probe(address)
    # Code uploaded by `ray job submit` is already on every worker's path.
    submitted = "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ
    environment: dict[str, Any] = {} if submitted else {"runtime_env": {"env_vars": {"PYTHONPATH": python_path()}}}
    try:
        with _own_signals(), environment_of(os.environ | SETTINGS):
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **environment)
    # Ray raises errors of every kind, among them plain exceptions, when a cluster refuses a driver.
    except Exception as error:
        ray.shutdown()
        raise _unreachable(address, one_line(error)[:300]) from error
    joined = ExitStack()
    joined.callback(ray.shutdown)
    return joined


def _probe(address: str) -> None:
    """Check that something listens at the address, because Ray would retry a dead one for minutes."""
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
        "or omit the address to plan on this machine."
    )


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep the driver's SIGTERM handler: Ray would replace it by its own, which loses what is in flight."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    if threading.current_thread() is threading.main_thread() and before is not None:
        signal.signal(signal.SIGTERM, before)


def _workers(count: int) -> str:
    return "1 worker asks" if count == 1 else f"{count} workers ask"
