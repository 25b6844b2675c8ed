"""One suite for all backends: every batch yields exactly one result, whatever happens in it; and results are the same."""

import json
import os
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrator.backend import Backend, InlineBackend
from orchestrator.batching import Batch, make_batches
from orchestrator.evaluate import BatchResult
from orchestrator.ledger import Ledger
from orchestrator.ray_backend import RayBackend, RayConfig
from orchestrator.records import CellResult
from orchestrator.run import run_cells
from tests.fakes import KILL_ONCE, POISON, RAISING, Faulty, plane_evaluator, plane_point
from world_models.errors import UserError

BATCHES = [Batch(plane_point(horizon), tuple(range(first, first + 4))) for horizon in (4, 8, 12) for first in (0, 4)]


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

    def run(self, batches: Iterable[Batch]) -> Iterator[BatchResult]:
        raise AssertionError("the backend was used although nothing is missing")


def outcome(record: CellResult) -> CellResult:
    """A record without how it came about."""
    then = datetime(2026, 1, 1, tzinfo=UTC)
    return replace(record, plan_seconds=0.0, batch_seconds=0.0, finished_at=then, threads=1, device="", host="")


def cells_of(results: list[BatchResult]) -> Counter[str]:
    return Counter(record.cell_id for result in results for record in result.results)


def asked(batches: list[Batch]) -> Counter[str]:
    return Counter(cell.cell_id for batch in batches for cell in batch.cells)


def test_every_batch_yields_exactly_one_result(backend: Backend) -> None:
    results = list(backend.run(BATCHES))
    assert len(results) == len(BATCHES)
    assert cells_of(results) == asked(BATCHES)
    assert all(r.status == "completed" and r.success and r.model_success for result in results for r in result.results)
    assert backend.workers >= 1


def test_results_do_not_depend_on_the_backend(backend: Backend) -> None:
    evaluator = plane_evaluator()
    expected = {r.cell_id: outcome(r) for batch in BATCHES for r in evaluator.evaluate(batch).results}
    found = {r.cell_id: outcome(r) for result in backend.run(BATCHES) for r in result.results}
    assert found == expected


def test_an_evaluator_that_raises_costs_its_batch_only(backend: Backend) -> None:
    bad = Batch(plane_point(), (1, RAISING))
    results = list(backend.run([*BATCHES[:2], bad, *BATCHES[2:]]))
    assert cells_of(results) == asked([*BATCHES, bad])
    failed = [r for result in results for r in result.results if r.status == "failed"]
    assert {r.seed for r in failed} == {1, RAISING}
    assert {r.error for r in failed} == {"RuntimeError: raised on purpose with a second line"}


def test_problems_that_cannot_be_drawn_are_failed_records(backend: Backend) -> None:
    (result,) = backend.run([Batch(plane_point(), (-3,))])
    assert result.results[0].status == "failed"
    assert result.results[0].error == "UserError: plane: seed -3 is negative."
    assert result.results[0].distance is None


def test_no_batches_no_results_and_closing_twice_is_fine(backend: Backend) -> None:
    assert list(backend.run([])) == []
    closed = InlineBackend()
    closed.close()
    closed.close()


def test_pictures_are_made_for_the_seeds_asked_for(backend: Backend) -> None:
    (result,) = backend.run([Batch(plane_point(), (0, 1, 2), frozenset({1}))])
    assert [artifact.name for artifact in result.artifacts] == ["1.gif", "1.png"]
    assert result.artifacts[0].cell_id == plane_point().cell(1).cell_id


def test_a_run_computes_what_is_missing_only(backend: Backend, tmp_path: Path) -> None:
    ledger, cells = Ledger(tmp_path / "ledger"), [plane_point(h).cell(seed) for h in (4, 8) for seed in range(6)]
    seen: list[BatchResult] = []
    first = run_cells(cells[:4], ledger, backend, 2, artifacts=tmp_path / "artifacts", config_digest="c0ffee")
    assert (first.computed, first.skipped, first.failed) == (4, 0, 0)
    rest = run_cells(cells, ledger, backend, 3, seen.append, artifacts=tmp_path / "artifacts")
    assert (rest.computed, rest.skipped) == (8, 4)
    assert cells_of(seen) == Counter(cell.cell_id for cell in cells[4:])
    assert ledger.finished() == {cell.cell_id for cell in cells}
    assert ledger.table([cells[0].cell_id]).to_pylist()[0]["config_digest"] == "c0ffee"
    again = run_cells(cells, ledger, Untouchable())
    assert (again.computed, again.skipped) == (0, 12)
    point = cells[0].point.point_id
    assert sorted(path.name for path in (tmp_path / "artifacts" / point).iterdir()) == ["0.gif", "0.png", "4.gif", "4.png"]


def test_failed_cells_are_run_again_only_when_asked(tmp_path: Path) -> None:
    def backend(make: Callable) -> InlineBackend:
        return InlineBackend(make_evaluator=make)

    ledger, cells = Ledger(tmp_path / "ledger"), [plane_point().cell(RAISING), plane_point().cell(0)]
    broken = run_cells(cells, ledger, backend(Faulty(str(tmp_path))), 1)
    assert (broken.computed, broken.failed) == (2, 1)
    assert run_cells(cells, ledger, backend(plane_evaluator)).computed == 0
    mended = run_cells(cells, ledger, backend(plane_evaluator), retry_failed=True)
    assert (mended.computed, mended.skipped, mended.failed) == (1, 1, 0)
    assert set(ledger.table()["status"].to_pylist()) == {"completed"}


def test_a_run_that_is_left_early_does_not_leak_into_the_next(backend: Backend) -> None:
    for _ in backend.run(BATCHES):
        break
    assert cells_of(list(backend.run(BATCHES[3:]))) == asked(BATCHES[3:])


def test_an_actor_that_is_killed_costs_a_retry_only(ray_backend: RayBackend, folder: Path) -> None:
    fatal = [Batch(plane_point(horizon), (KILL_ONCE, 0)) for horizon in (6, 10)]
    batches = [BATCHES[0], fatal[0], *BATCHES[1:4], fatal[1], *BATCHES[4:]]
    results = list(ray_backend.run(batches))
    assert len(results) == len(batches)
    assert cells_of(results) == asked(batches)
    assert {r.status for result in results for r in result.results} == {"completed"}
    assert all((folder / f"killed-{batch.point.point_id}").exists() for batch in fatal)


def test_a_poison_batch_is_recorded_as_failed_and_the_rest_is_fine(ray_backend: RayBackend, folder: Path) -> None:
    poison = [Batch(plane_point(horizon), (POISON, 7)) for horizon in (6, 10)]
    batches = [poison[0], *BATCHES, poison[1]]
    results = list(ray_backend.run(batches))
    assert len(results) == len(batches)
    assert cells_of(results) == asked(batches)
    by_cell = {r.cell_id: r for result in results for r in result.results}
    for batch in poison:
        for cell in batch.cells:
            assert by_cell[cell.cell_id].status == "failed"
            error = by_cell[cell.cell_id].error
            assert error is not None
            assert error.startswith("its worker died 2 times: ")
            assert "\n" not in error
    assert all(by_cell[cell.cell_id].status == "completed" for batch in BATCHES for cell in batch.cells)
    tries = Counter(line for log in folder.glob("log-*") for line in log.read_text().splitlines() if f"({POISON}, 7)" in line)
    assert set(tries.values()) <= {1, 2}


def test_actors_keep_their_evaluator_and_share_the_work(ray_backend: RayBackend, folder: Path) -> None:
    for log in folder.glob("log-*"):
        log.unlink()
    cells = [plane_point(h).cell(seed) for h in range(20, 32) for seed in range(8)]
    list(ray_backend.run(make_batches(cells, 8, ray_backend.workers)))
    pids = {path.name.removeprefix("log-") for path in folder.glob("log-*")}
    assert len(pids) == ray_backend.workers == 2
    assert str(os.getpid()) not in pids


def test_workers_plan_with_their_share_of_threads_at_normal_priority(ray_backend: RayBackend) -> None:
    (result,) = ray_backend.run(BATCHES[:1])
    assert {record.threads for record in result.results} == {max(1, len(os.sched_getaffinity(0)) // 2)}
    assert json.loads(result.results[0].versions)["ray"]


def test_too_many_workers_or_gpus_are_refused() -> None:
    with pytest.raises(UserError, match="num_workers 0"):
        RayConfig(num_workers=0)
    with pytest.raises(UserError, match="cpus_per_worker 0"):
        RayConfig(cpus_per_worker=0.0)
    with pytest.raises(UserError, match="gpus_per_worker -1"):
        RayConfig(gpus_per_worker=-1.0)


@pytest.mark.usefixtures("ray_backend")
def test_more_than_the_cluster_has_is_refused() -> None:
    with pytest.raises(UserError, match="2 workers ask for 2000 CPUs but there are"):
        RayBackend(RayConfig(num_workers=2, cpus_per_worker=1000.0)).start()
    with pytest.raises(UserError, match="ask for 64 GPUs but there are 0"):
        RayBackend(RayConfig(num_workers=1, gpus_per_worker=64.0)).start()


@pytest.mark.parametrize("address", ["127.0.0.1:{port}", "not-an-address", "ray://user:secret@127.0.0.1:{port}"])
def test_an_unreachable_cluster_is_one_sentence_without_secrets(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = address.format(port=free.getsockname()[1])
        monkeypatch.setattr("ray.is_initialized", lambda: False)
        with pytest.raises(UserError, match="no Ray cluster answers at") as caught:
            RayBackend(RayConfig(address=address)).start()
    assert "secret" not in str(caught.value)
