"""One suite for all backends: every batch yields exactly one result, whatever happens in it, and results are equal."""

import json
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from orchestrator.artifacts.artifact_store import ArtifactStore
from orchestrator.artifacts.selection import NO_ARTIFACTS, ArtifactSelection, Scored, select_cells
from orchestrator.core.batch import Batch
from orchestrator.core.cell import Point
from orchestrator.core.portion import Portion, by_point
from orchestrator.driver.run_cells import Hooks, run_cells
from orchestrator.ledger.ledger import Ledger, StorageFull
from orchestrator.ledger.records import CellResult
from orchestrator.scheduling.durations import DurationModel
from orchestrator.scheduling.scheduler import DEATHS, Limits, Scheduler
from orchestrator.storage.local import LocalStorage
from orchestrator.testing import (
    DIGEST,
    DRAWN_ONCE,
    HUNGRY,
    KILL_ONCE,
    LAST_WORDS,
    POISON,
    RAISING,
    UNDRAWABLE,
    Faulty,
    plane_evaluator,
    plane_point,
)
from orchestrator.workers.backend import Backend, InlineBackend
from orchestrator.workers.evaluator import BatchResult
from orchestrator.workers.ray_backend import RayBackend, RayConfig
from world_models.errors import UserError

WORK = [Portion.of(plane_point(horizon), range(8)) for horizon in (4, 8, 12)]


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


class Untouchable(InlineBackend):
    """A backend that must not be asked for anything."""

    def run(self, scheduler: Scheduler) -> Iterator[BatchResult]:
        raise AssertionError("the backend was used although nothing is missing")


def plan(backend: Backend, portions: list[Portion], max_rows: int = 4) -> list[BatchResult]:
    """All results of a backend."""
    scheduler = Scheduler(DurationModel(), Limits(max_rows))
    scheduler.add(portions)
    return list(backend.run(scheduler))


def await_all(backend: RayBackend) -> None:
    """Plan until all workers are up: those that replace dead ones may still be starting."""
    while len(backend.workers()) < 2:
        plan(backend, WORK[:1])


def without_timings(record: CellResult) -> CellResult:
    """A record without its timings, device and batch."""
    then = datetime(2026, 1, 1, tzinfo=UTC)
    timeless = replace(record, plan_seconds=0.0, batch_seconds=0.0, worker_seconds=0.0, finished_at=then)
    return replace(timeless, threads=1, device="", host="", batch_size=0, actions=())


def records(results: list[BatchResult]) -> dict[str, CellResult]:
    """Records by cell; checks that there is one each."""
    found = [record for result in results for record in result.results]
    assert len({record.cell_id for record in found}) == len(found)
    return {record.cell_id: record for record in found}


def cell_ids(portions: list[Portion]) -> set[str]:
    return {cell.cell_id for portion in portions for cell in portion.cells()}


def test_every_cell_yields_exactly_one_record(backend: Backend) -> None:
    found = records(plan(backend, WORK))
    assert found.keys() == cell_ids(WORK)
    assert all(r.status == "completed" and r.success and r.model_success and r.attempts == 1 for r in found.values())
    assert all(r.worker_seconds is not None and r.worker_seconds >= (r.plan_seconds or 0) for r in found.values())
    assert backend.capacity() >= 1


def test_results_do_not_depend_on_the_backend_or_the_batches(backend: Backend) -> None:
    evaluator = plane_evaluator()
    expected = {r.cell_id: r for p in WORK for r in evaluator.evaluate(Batch.of(p.point, tuple(p.seeds.tolist()))).results}
    found = records(plan(backend, WORK))
    assert found.keys() == expected.keys()
    for cell_id, record in found.items():
        close = without_timings(expected[cell_id])
        floats = ("distance", "predicted_cost", "last_cost", "model_distance")
        for name in floats:
            assert getattr(record, name) == pytest.approx(getattr(close, name), rel=1e-3, abs=1e-6)
        same = {name: getattr(close, name) for name in floats}
        assert replace(without_timings(record), **same) == close
        assert np.allclose(record.actions, expected[cell_id].actions, atol=1e-4)


def test_a_cell_that_raises_is_found_among_its_neighbours(backend: Backend) -> None:
    bad = Portion.of(plane_point(), [1, 2, RAISING, 3])
    found = records(plan(backend, [WORK[0], bad, WORK[2]]))
    assert found.keys() == cell_ids([WORK[0], bad, WORK[2]])
    (failed,) = (r for r in found.values() if r.status == "failed")
    assert failed.seed == RAISING
    assert failed.error == "RuntimeError: raised on purpose with a second line"
    assert (failed.attempts or 0) <= 2


def test_a_batch_that_runs_out_of_memory_is_planned_in_smaller_ones(backend: Backend) -> None:
    portion = Portion.of(plane_point(16), [HUNGRY, *range(10)])
    found = records(plan(backend, [portion], 64))
    assert found.keys() == cell_ids([portion])
    assert {r.status for r in found.values()} == {"completed"}
    hungry = next(r for r in found.values() if r.seed == HUNGRY)
    assert hungry.batch_size <= 2
    assert (hungry.attempts or 0) > 1


def test_problems_that_cannot_be_drawn_are_failed_records(backend: Backend) -> None:
    (record,) = records(plan(backend, [Portion.of(plane_point(), [-3])])).values()
    assert record.status == "failed"
    assert record.error == "UserError: plane: seed -3 is negative: give 0 or more."
    assert record.distance is None


def test_without_work_there_are_no_results_and_closing_twice_is_fine(backend: Backend) -> None:
    assert plan(backend, []) == []
    closed = InlineBackend()
    closed.close()
    closed.close()


def files_of(artifacts: Path, point: Point) -> set[str]:
    return {path.name for path in (artifacts / point.point_id).iterdir()}


def test_selected_cells_are_drawn_when_all_is_planned(backend: Backend, tmp_path: Path) -> None:
    ledger, seen, artifacts = Ledger(tmp_path / "ledger"), [], tmp_path / "artifacts"
    hooks = Hooks(on_result=lambda result: seen.append(artifacts.exists()))
    summary = run_cells(WORK, ledger, backend, Limits(3), hooks, artifacts=artifacts)
    assert not any(seen)
    assert summary.planning_seconds > 0 < summary.drawing_seconds
    drawn = 0
    for portion in WORK:
        rows = ledger.table([portion.point.point_id]).to_pylist()
        selection = select_cells(Scored(row["seed"], row["distance"], row["success"]) for row in rows)
        names = {f"{each.seed}.{kind}" for each in selection for kind in ("gif", "mp4", "parquet", "png")}
        assert files_of(artifacts, portion.point) == {*names, "chosen.json"}
        record = ArtifactStore(LocalStorage(artifacts)).manifest(portion.point.point_id)
        assert record is not None
        assert record.selected == selection
        drawn += len(selection)
    assert summary.drawn == drawn


def test_only_what_is_lacking_is_drawn_again(backend: Backend, tmp_path: Path) -> None:
    ledger, artifacts = Ledger(tmp_path / "ledger"), tmp_path / "artifacts"
    nothing = run_cells(WORK, ledger, backend, artifacts=artifacts, selection=NO_ARTIFACTS)
    assert nothing.drawn == 0
    assert not artifacts.exists()
    best = ArtifactSelection(("best",), video=False)
    assert run_cells(WORK, ledger, backend, artifacts=artifacts, selection=best).drawn == 3
    times = {path: path.stat().st_mtime_ns for path in artifacts.rglob("*.gif")}
    assert run_cells(WORK, ledger, Untouchable(), artifacts=artifacts, selection=best).drawn == 0
    more = run_cells(WORK, ledger, backend, artifacts=artifacts, selection=ArtifactSelection(("best", "worst"), video=False))
    assert (more.computed, more.drawn) == (0, 3)
    assert {path: path.stat().st_mtime_ns for path in times} == times
    gone = next(iter(times))
    gone.unlink()
    (gone.parent / "chosen.json").unlink()  # killed in between
    assert (
        run_cells(WORK, ledger, backend, artifacts=artifacts, selection=ArtifactSelection(("best", "worst"), video=False)).drawn
        == 1
    )
    assert gone.exists()


def test_a_drawing_that_fails_costs_the_pictures_only(backend: Backend, tmp_path: Path) -> None:
    ledger, artifacts = Ledger(tmp_path / "ledger"), tmp_path / "artifacts"
    good, bad = Portion.of(plane_point(4), [1]), Portion.of(plane_point(8), [UNDRAWABLE])
    summary = run_cells([good, bad], ledger, backend, artifacts=artifacts)
    assert (summary.computed, summary.failed, summary.drawn) == (2, 0, 1)
    assert files_of(artifacts, bad.point) == {"chosen.json"}
    record = ArtifactStore(LocalStorage(artifacts)).manifest(bad.point.point_id)
    assert record is not None
    assert record.troubles == ("RuntimeError: cannot be drawn",)
    assert run_cells([good, bad], ledger, Untouchable(), artifacts=artifacts).drawn == 0


def test_a_worker_that_dies_drawing_is_replaced(ray_backend: RayBackend, tmp_path: Path) -> None:
    ledger, artifacts = Ledger(tmp_path / "ledger"), tmp_path / "artifacts"
    point = plane_point(20)
    summary = run_cells([Portion.of(point, [DRAWN_ONCE, 0])], ledger, ray_backend, artifacts=artifacts)
    assert (summary.computed, summary.failed, summary.drawn) == (2, 0, 2)
    assert f"{DRAWN_ONCE}.mp4" in files_of(artifacts, point)


def test_a_run_computes_what_is_missing_only(backend: Backend, tmp_path: Path) -> None:
    ledger, cells = Ledger(tmp_path / "ledger"), [plane_point(h).cell(seed) for h in (4, 8) for seed in range(6)]
    seen: list[BatchResult] = []
    first = run_cells(by_point(cells[:4]), ledger, backend, Limits(2), config_digest="c0ffee")
    assert (first.computed, first.skipped, first.failed) == (4, 0, 0)
    rest = run_cells(by_point(cells), ledger, backend, Limits(3), Hooks(on_result=seen.append))
    assert (rest.computed, rest.skipped) == (8, 4)
    assert records(seen).keys() == {cell.cell_id for cell in cells[4:]}
    table = {row["cell_id"]: row for row in ledger.table().to_pylist()}
    assert table.keys() == {cell.cell_id for cell in cells}
    assert table[cells[0].cell_id]["config_digest"] == "c0ffee"
    again = run_cells(by_point(cells), ledger, Untouchable())
    assert (again.computed, again.skipped) == (0, 12)


def test_failed_cells_are_run_again_only_when_asked(tmp_path: Path) -> None:
    def backend(make: Callable) -> InlineBackend:
        return InlineBackend(make_evaluator=make)

    ledger, work = Ledger(tmp_path / "ledger"), [Portion.of(plane_point(), [RAISING, 0])]
    broken = run_cells(work, ledger, backend(Faulty(str(tmp_path))))
    assert (broken.computed, broken.failed) == (2, 1)
    assert run_cells(work, ledger, backend(plane_evaluator)).computed == 0
    mended = run_cells(work, ledger, backend(plane_evaluator), retry_failed=True)
    assert (mended.computed, mended.skipped, mended.failed) == (1, 1, 0)
    assert set(ledger.table()["status"].to_pylist()) == {"completed"}


def test_a_run_that_is_left_early_does_not_leak_into_the_next(backend: Backend) -> None:
    scheduler = Scheduler(DurationModel(), Limits(4))
    scheduler.add(WORK)
    for _ in backend.run(scheduler):
        break
    assert records(plan(backend, WORK[1:])).keys() == cell_ids(WORK[1:])


def test_a_stopped_run_keeps_what_was_in_flight_and_is_continued(backend: Backend, tmp_path: Path) -> None:
    ledger, stop = Ledger(tmp_path / "ledger"), threading.Event()
    hooks = Hooks(on_result=lambda result: stop.set(), stop=stop)
    first = run_cells(WORK, ledger, backend, Limits(2), hooks)
    assert first.computed == ledger.table().num_rows < 24
    assert first.left == 24 - first.computed
    second = run_cells(WORK, ledger, backend, Limits(2))
    assert (second.computed, second.skipped) == (24 - first.computed, first.computed)


def test_a_full_disk_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger, refused = Ledger(tmp_path / "ledger"), [3]
    written, waits = ledger.append, []

    def append(results) -> None:
        refused[0] -= 1
        if refused[0] >= 0:
            raise StorageFull("the disk is full")
        written(results)

    monkeypatch.setattr(ledger, "append", append)
    monkeypatch.setattr("orchestrator.driver.run_cells.FULL_EVERY", 0.01)
    run_cells(WORK, ledger, InlineBackend(make_evaluator=plane_evaluator), hooks=Hooks(on_full=waits.append))
    assert len(waits) == 3
    assert ledger.table().num_rows == 24


def test_an_actor_that_is_killed_costs_a_retry_only(ray_backend: RayBackend, folder: Path) -> None:
    fatal = [Portion.of(plane_point(horizon), [KILL_ONCE, 0]) for horizon in (6, 10)]
    work = [WORK[0], fatal[0], WORK[1], fatal[1], WORK[2]]
    found = records(plan(ray_backend, work))
    assert found.keys() == cell_ids(work)
    assert {r.status for r in found.values()} == {"completed"}
    assert all((folder / f"killed-{portion.point.point_id}").exists() for portion in fatal)


def test_a_poison_cell_is_quarantined_with_its_last_words_and_the_rest_is_fine(ray_backend: RayBackend) -> None:
    poison = Portion.of(plane_point(6), [7, 8, POISON, 9])
    found = records(plan(ray_backend, [poison, *WORK]))
    assert found.keys() == cell_ids([poison, *WORK])
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
    plan(ray_backend, [Portion.of(plane_point(h), range(8)) for h in range(20, 32)], 8)
    pids = {path.name.removeprefix("log-") for path in folder.glob("log-*")}
    assert len(pids) == ray_backend.capacity() == 2
    assert str(os.getpid()) not in pids
    workers = ray_backend.workers()
    assert len({view.name for view in workers}) == 2
    assert all(view.batch is None and view.models == (DIGEST,) and view.cells > 0 for view in workers)


def test_workers_plan_with_their_share_of_threads_at_normal_priority(ray_backend: RayBackend) -> None:
    found = records(plan(ray_backend, WORK[:1]))
    assert {record.threads for record in found.values()} == {max(1, len(os.sched_getaffinity(0)) // 2)}
    assert json.loads(next(iter(found.values())).versions)["ray"]


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
