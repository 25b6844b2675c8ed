"""The Ray backend: what makes no sense or does not answer is refused in one sentence, and a lost connection is found."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from orchestrator.core.batch import Batch
from orchestrator.evaluation.results import BatchResult
from orchestrator.testing import WORK, plan_all, plane_evaluator, records_by_cell
from orchestrator.testing.backends import check_cells
from orchestrator.workers.ray_backend import RayBackend, RayConfig
from world_models.errors import UserError

TCP_REPAIR = 19
"""From linux/tcp.h."""


def test_sizes_that_make_no_sense_are_refused() -> None:
    with pytest.raises(UserError, match="num_workers 0"):
        RayConfig(num_workers=0)
    with pytest.raises(UserError, match="max_workers 0"):
        RayConfig(max_workers=0)
    with pytest.raises(UserError, match="cpus_per_worker 0"):
        RayConfig(cpus_per_worker=0.0)
    with pytest.raises(UserError, match="gpus_per_worker -1"):
        RayConfig(gpus_per_worker=-1.0)
    with pytest.raises(UserError, match=r"gpus_per_worker 0\.3 is neither a whole number nor 1/k: give 1/3 = 0\.3333"):
        RayConfig(gpus_per_worker=0.3)
    with pytest.raises(UserError, match="memory_per_worker 'lots' is not a valid amount of memory"):
        RayConfig(memory_per_worker="lots")


@pytest.mark.parametrize("address", ["127.0.0.1:{port}", "not-an-address", "ray://user:secret@127.0.0.1:{port}"])
def test_an_unreachable_cluster_is_one_sentence_without_secrets(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = address.format(port=free.getsockname()[1])
        monkeypatch.setattr("ray.is_initialized", lambda: False)
        with pytest.raises(UserError, match="no Ray cluster answers at") as caught:
            RayBackend(RayConfig(address=address)).start()
    assert "secret" not in str(caught.value)


def cut_once(folder: Path, driver: int) -> Callable:
    """Makes evaluators of which the first, once, drops the driver's connection without a word, as a cut of the network does."""

    class Cut:
        def __init__(self, device: str) -> None:
            self.evaluator = plane_evaluator(device)

        def evaluate(self, batch: Batch) -> BatchResult:
            mark = folder / "cut"
            if not mark.exists():
                mark.touch()
                ends = {end.laddr for end in psutil.Process(driver).net_connections("tcp")}
                for end in psutil.Process().net_connections("tcp"):
                    if end.raddr in ends:
                        with socket.socket(fileno=os.dup(end.fd)) as mine, socket.socket(mine.family) as other:
                            mine.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)  # closed, it sends nothing
                            os.dup2(other.fileno(), end.fd)
            return self.evaluator.evaluate(batch)

    return Cut


@pytest.mark.skipif(os.geteuid() != 0, reason="dropping a connection without a word takes root")
def test_an_answer_that_is_lost_with_its_connection_costs_a_retry_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray itself hears of it after five minutes, which is longer than a test may take."""
    monkeypatch.setattr("orchestrator.workers.ray_backend.CALL", 0.5)
    with RayBackend(RayConfig(num_workers=1), cut_once(tmp_path, os.getpid())) as backend:
        found = records_by_cell(plan_all(backend, WORK))
    assert (tmp_path / "cut").exists()
    check_cells(found, WORK)
    assert {r.status for r in found.values()} == {"completed"}
