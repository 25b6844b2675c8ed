"""One suite for all backends: every batch yields exactly one result, whatever happens in it; and results are the same."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import ray

from orchestrator.core.cell import Point
from orchestrator.core.portion import Portion
from orchestrator.driver.run_cells import Hooks, run_cells
from orchestrator.evaluation.results import BatchResult
from orchestrator.ledger.ledger import Ledger, StorageFull, StorageWaitError
from orchestrator.ledger.redo import Redo
from orchestrator.scheduling.scheduler import DEATHS, Scheduler
from orchestrator.testing import (
    BACKEND_CHECKS,
    DIGEST,
    DRAWN_ONCE,
    KILL_ONCE,
    LAST_WORDS,
    POISON,
    RAISING,
    WORK,
    Faulty,
    check_backend,
    plan_all,
    plane_evaluator,
    plane_point,
    records_by_cell,
)
from orchestrator.testing.backends import check_cells, closing_twice_is_fine
from orchestrator.workers.backend import Backend, InlineBackend
from orchestrator.workers.ray_backend import RayBackend, RayConfig
from world_models.errors import UserError

SHARED = [check for check in BACKEND_CHECKS if check is not closing_twice_is_fine]
"""Checks that leave the backend open for the next."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("faults")


@pytest.fixture(scope="module")
def ray_backend(folder: Path) -> Iterator[RayBackend]:
    with RayBackend(RayConfig(num_workers=2), Faulty(str(folder))) as backend:
        backend.start()
        yield backend


@pytest.fixture(params=["inline", "ray"])
def backend(request: pytest.FixtureRequest, folder: Path) -> Backend:
    if request.param == "ray":
        return request.getfixturevalue("ray_backend")
    return InlineBackend(make_evaluator=Faulty(str(folder)))


@pytest.mark.parametrize("check", SHARED, ids=lambda check: check.__name__)
def test_every_backend_keeps_its_promises(check: Callable[[Backend, Path], None], backend: Backend, tmp_path: Path) -> None:
    check(backend, tmp_path)


class Forgetful(InlineBackend):
    """A backend that loses every third result."""

    def run(self, scheduler: Scheduler) -> Iterator[BatchResult]:
        return (result for number, result in enumerate(super().run(scheduler)) if number % 3)


def test_check_backend_says_in_a_sentence_what_is_broken() -> None:
    with pytest.raises(AssertionError, match="8 cells have no record, 0 are not asked for"):
        check_backend(lambda make: Forgetful(make_evaluator=make))


def await_all(backend: RayBackend) -> None:
    """Plan until all workers are up: those that came in place of the dead may still be starting."""
    while len(backend.workers()) < 2:
        plan_all(backend, WORK[:1])


def files_of(artifacts: Path, point: Point) -> set[str]:
    return {path.name for path in (artifacts / point.point_id).iterdir()}


def test_a_worker_that_dies_drawing_is_replaced(ray_backend: RayBackend, tmp_path: Path) -> None:
    ledger, artifacts = Ledger(tmp_path / "ledger"), tmp_path / "artifacts"
    point = plane_point(20)
    summary = run_cells([Portion.of(point, [DRAWN_ONCE, 0])], ledger, ray_backend, artifacts=artifacts)
    assert (summary.computed, summary.failed, summary.drawn) == (2, 0, 2)
    assert f"{DRAWN_ONCE}.mp4" in files_of(artifacts, point)


def test_failed_cells_are_run_again_only_when_asked(tmp_path: Path) -> None:
    def backend(make: Callable) -> InlineBackend:
        return InlineBackend(make_evaluator=make)

    ledger, work = Ledger(tmp_path / "ledger"), [Portion.of(plane_point(), [RAISING, 0])]
    broken = run_cells(work, ledger, backend(Faulty(str(tmp_path))))
    assert (broken.computed, broken.failed) == (2, 1)
    assert run_cells(work, ledger, backend(plane_evaluator)).computed == 0
    mended = run_cells(work, ledger, backend(plane_evaluator), redo=Redo(failed=True))
    assert (mended.computed, mended.skipped, mended.failed) == (1, 1, 0)
    assert set(ledger.table()["status"].to_pylist()) == {"completed"}


def test_storage_that_takes_nothing_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger, refused = Ledger(tmp_path / "ledger"), [3]
    written, waits = ledger.append, []

    def append(results) -> None:
        refused[0] -= 1
        if refused[0] >= 0:
            raise StorageFull("the disk is full") if refused[0] else StorageWaitError("nobody answers")
        written(results)

    monkeypatch.setattr(ledger, "append", append)
    monkeypatch.setattr("orchestrator.driver.run_cells.RETRY_EVERY", 0.01)
    hooks = Hooks(on_wait=lambda error: waits.append(error.until), on_written=lambda: waits.append("it works"))
    run_cells(WORK, ledger, InlineBackend(make_evaluator=plane_evaluator), hooks=hooks)
    assert waits == ["there is room", "its store answers", "it works"]
    assert ledger.table().num_rows == 24


def test_an_actor_that_is_killed_costs_a_retry_only(ray_backend: RayBackend, folder: Path) -> None:
    fatal = [Portion.of(plane_point(horizon), [KILL_ONCE, 0]) for horizon in (6, 10)]
    work = [WORK[0], fatal[0], WORK[1], fatal[1], WORK[2]]
    found = records_by_cell(plan_all(ray_backend, work))
    check_cells(found, work)
    assert {r.status for r in found.values()} == {"completed"}
    assert all((folder / f"killed-{portion.point.point_id}").exists() for portion in fatal)


def test_a_poison_cell_is_quarantined_with_its_last_words_and_the_rest_is_fine(ray_backend: RayBackend) -> None:
    poison = Portion.of(plane_point(6), [7, 8, POISON, 9])
    found = records_by_cell(plan_all(ray_backend, [poison, *WORK]))
    check_cells(found, [poison, *WORK])
    (failed,) = (r for r in found.values() if r.status == "failed")
    assert failed.seed == POISON
    assert failed.error is not None
    assert failed.error.startswith(f"its worker died {DEATHS} times: ")
    assert LAST_WORDS in failed.error
    assert "\n" not in failed.error
    await_all(ray_backend)
    assert sum(view.deaths for view in ray_backend.workers()) >= DEATHS


def test_actors_keep_their_evaluator_and_share_the_work(ray_backend: RayBackend, folder: Path) -> None:
    await_all(ray_backend)
    for log in folder.glob("log-*"):
        log.unlink()
    plan_all(ray_backend, [Portion.of(plane_point(h), range(8)) for h in range(20, 32)], 8)
    pids = {path.name.removeprefix("log-") for path in folder.glob("log-*")}
    assert len(pids) == ray_backend.capacity() == 2
    assert str(os.getpid()) not in pids
    workers = ray_backend.workers()
    assert len({view.name for view in workers}) == 2
    assert all(view.batch is None and view.models == (DIGEST,) and view.cells > 0 for view in workers)


def test_workers_plan_with_their_share_of_threads_at_normal_priority(ray_backend: RayBackend) -> None:
    found = records_by_cell(plan_all(ray_backend, WORK[:1]))
    assert {record.threads for record in found.values()} == {max(1, len(os.sched_getaffinity(0)) // 2)}
    assert json.loads(next(iter(found.values())).versions)["ray"]


@pytest.mark.usefixtures("ray_backend")
def test_what_ray_says_of_lost_nodes_is_not_printed_between_our_lines(capsys: pytest.CaptureFixture[str]) -> None:
    told = {"lines": ["The node has been marked dead"], "pid": "raylet", "is_err": False}
    ray._private.worker.print_to_stdstream(told, ignore_prefix=False)
    assert capsys.readouterr().out == ""


@pytest.mark.usefixtures("ray_backend")
def test_more_than_the_cluster_has_is_refused() -> None:
    with pytest.raises(UserError, match="2 workers ask for 2000 CPUs but there are"):
        RayBackend(RayConfig(num_workers=2, cpus_per_worker=1000.0)).start()
    with pytest.raises(UserError, match="1 worker asks for 64 GPUs but there are 0"):
        RayBackend(RayConfig(num_workers=1, gpus_per_worker=64.0)).start()
    with pytest.raises(UserError, match=r"1 nodes have room for 0 of 1 workers of 1 CPUs, zone=b each"):
        RayBackend(RayConfig(cpus_per_worker=1, labels={"zone": "b"})).start()
    with pytest.raises(UserError, match=r"room for 0 of 1 workers of 1 CPUs, 4\.1e\+03 GiB each"):
        RayBackend(RayConfig(cpus_per_worker=1, memory_per_worker="4T")).start()
