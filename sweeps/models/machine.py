"""The machine that trains: this one's share, side by side in processes, or a Ray cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace

from orchestrator.workers.backend import inline_threads
from orchestrator.workers.devices import check_device
from sweeps.config.schema.configs import TrainConfig
from sweeps.config.schema.sections import InlineConfig
from world_models.errors import require
from world_models.training.machine.allocation import Allocation
from world_models.training.machine.pools import Pool, Processes, Series


@dataclass(frozen=True)
class Machine:
    """The devices and processes that train a model."""

    allocation: Allocation
    """Allocation of each job."""
    pool: Pool
    is_remote: bool
    """Whether jobs run on a cluster."""

    @property
    def words(self) -> str:
        """The machine in a few words."""
        count = self.pool.count if isinstance(self.pool, Processes) else 1
        threads = self.allocation.threads or 1
        where = "on Ray, each with" if self.is_remote else f"in {count} processes, each with" if count > 1 else "with"
        return f"on {self.allocation.place.type} {where} {threads} thread{'s' if threads > 1 else ''}"


@contextmanager
def machine_of(config: TrainConfig, members: int) -> Iterator[Machine]:
    """The machine of a config, for a model of so many members. Raises UserError for a device or cluster that is not there."""
    backend = config.backend
    if not isinstance(backend, InlineConfig):
        with _cluster(config) as machine:
            yield machine
        return
    own = None if backend.device == InlineConfig().device else backend.device
    require(
        own is None or config.device in (None, own), f"device {config.device!r} and backend.device {own!r} differ: give one."
    )
    asked = config.device or own
    if asked is not None:
        check_device(asked)
    allocation = Allocation(asked, config.threads or backend.threads, config.precision)
    yield _here(allocation, members)


def _here(allocation: Allocation, members: int) -> Machine:
    """This machine's share: as many members at a time as it has processors, each with an even share of them.

    On a GPU, which one member already fills, they are trained one after another.
    """
    available = inline_threads(None)
    at_once = min(members, max(1, available // (allocation.threads or 1))) if allocation.place.type == "cpu" else 1
    threads = allocation.threads or max(1, available // at_once)
    pool = Processes(at_once) if at_once > 1 else Series()
    return Machine(replace(allocation, threads=threads), pool, is_remote=False)


@contextmanager
def _cluster(config: TrainConfig) -> Iterator[Machine]:
    from orchestrator.workers.ray_cluster import RayConfig
    from orchestrator.workers.ray_training import RayPool

    require(
        config.device is None and config.threads is None,
        "device and threads are a worker's share on Ray: give backend.gpus_per_worker and backend.cpus_per_worker instead.",
    )
    settings = asdict(config.backend)
    del settings["name"]
    with RayPool(RayConfig(**settings)) as pool:
        yield Machine(Allocation(pool.need.device, pool.need.threads, config.precision), pool, is_remote=True)
