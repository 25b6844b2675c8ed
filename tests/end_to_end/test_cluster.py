"""A cluster of several nodes on this machine: nodes that join take work, those that leave lose none."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster

from orchestrator.core.portion import Portion
from orchestrator.driver.run_cells import Hooks, run_cells
from orchestrator.evaluation.results import BatchResult
from orchestrator.ledger.ledger import Ledger
from orchestrator.scheduling.durations import DurationModel
from orchestrator.scheduling.scheduler import Limits, Scheduler
from orchestrator.testing import Slow, plane_point
from orchestrator.workers.ray_backend import RayBackend, RayConfig
from world_models.errors import UserError

TIMEOUT = 60.0
"""Longest wait for a change in the cluster, in seconds."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head without CPUs; tests add nodes."""
    assert not ray.is_initialized()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_worker_niceness", "0")
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        yield made
        made.shutdown()


@pytest.fixture
def address(cluster: Cluster) -> Iterator[str]:
    yield cluster.address
    if ray.is_initialized():
        ray.shutdown()
    for node in list(cluster.worker_nodes):
        cluster.remove_node(node, allow_graceful=False)
    cluster.wait_for_nodes(TIMEOUT)


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {TIMEOUT:g} s"
        time.sleep(0.1)


class Watched:
    """A sweep that runs in a thread, so that a test can break its cluster meanwhile."""

    def __init__(self, backend: RayBackend, ledger: Ledger, work: list[Portion]) -> None:
        self.results: list[BatchResult] = []
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(backend, ledger, work))
        self._thread.start()

    def _run(self, backend: RayBackend, ledger: Ledger, work: list[Portion]) -> None:
        try:
            run_cells(work, ledger, backend, Limits(2), Hooks(on_result=self.results.append))
        except BaseException as error:
            self.error = error

    @property
    def hosts(self) -> set[int]:
        """Processes that have answered."""
        return {int(record.host) for result in self.results for record in result.results}

    def join(self) -> None:
        self._thread.join(timeout=3 * TIMEOUT)
        assert not self._thread.is_alive(), "the sweep hangs"
        if self.error is not None:
            raise self.error


WORK = [Portion.of(plane_point(horizon, iterations=5), range(1000)) for horizon in (4, 8)]
SHORT = [Portion.of(plane_point(4, iterations=5), range(40))]


def test_a_cluster_without_any_node_is_waited_for_and_then_left_with_a_sentence(
    cluster: Cluster, address: str, tmp_path: Path
) -> None:
    with (
        RayBackend(RayConfig(address, cpus_per_worker=1, wait_for_nodes=1.0), Slow(0.0)) as backend,
        pytest.raises(UserError, match="1 worker asks for 1 CPUs but there are 0"),
    ):
        backend.start()
    with RayBackend(RayConfig(address, cpus_per_worker=1), Slow(0.0)) as backend:
        sweep = Watched(backend, Ledger(tmp_path / "ledger"), SHORT)
        cluster.add_node(num_cpus=1)
        sweep.join()
    assert sum(len(result.results) for result in sweep.results) == 40


def test_nodes_that_join_take_work_and_nodes_that_leave_lose_none(cluster: Cluster, address: str, tmp_path: Path) -> None:
    first = cluster.add_node(num_cpus=1)
    ledger = Ledger(tmp_path / "ledger")
    with RayBackend(RayConfig(address, cpus_per_worker=1), Slow(0.2, str(tmp_path / "hurry"))) as backend:
        sweep = Watched(backend, ledger, WORK)
        until(lambda: len(sweep.results) >= 2, "a first result")
        assert len(backend.workers()) == 1
        second = cluster.add_node(num_cpus=1)
        until(lambda: len(sweep.hosts) >= 2, "work on the node that joined")
        cluster.remove_node(first, allow_graceful=False)
        until(lambda: len(backend.workers()) == 1, "the loss of the first node's worker")
        cluster.add_node(num_cpus=1)
        until(lambda: len(sweep.hosts) >= 3, "work on the third node")
        (tmp_path / "hurry").touch()
        sweep.join()
        assert second in cluster.worker_nodes
    table = ledger.table(columns=["cell_id", "status", "attempts"])
    assert table.num_rows == len(set(table["cell_id"].to_pylist())) == 2000
    assert set(table["status"].to_pylist()) == {"completed"}


def test_workers_go_where_they_fit(cluster: Cluster, address: str) -> None:
    cluster.add_node(num_cpus=3, memory=4 * 2**30, labels={"zone": "a"})
    cluster.add_node(num_cpus=1, memory=2**30, labels={"zone": "b"})
    ray.init(address=address, log_to_driver=False)
    sizes = [
        (RayConfig(address), 4),
        (RayConfig(address, cpus_per_worker=2), 1),
        (RayConfig(address, cpus_per_worker=0.5), 8),
        (RayConfig(address, memory_per_worker="1GiB"), 4),
        (RayConfig(address, memory_per_worker="2GiB"), 2),
        (RayConfig(address, max_workers=2), 2),
    ]
    for config, workers in sizes:
        assert RayBackend(config).capacity() == workers
    with RayBackend(RayConfig(address, labels={"zone": "b"}), Slow(0.0)) as backend:
        scheduler = Scheduler(DurationModel(), Limits(4))
        scheduler.add(SHORT)
        assert sum(len(result.results) for result in backend.run(scheduler)) == 40
        assert len(backend.workers()) == 1
