"""Promises of every backend: every batch yields exactly one result, whatever happens in it, and results are the same."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from orchestrator.artifacts.artifact_store import ArtifactStore
from orchestrator.artifacts.selection import NO_ARTIFACTS, ArtifactSelection, Scored, select_cells
from orchestrator.core.batch import Batch
from orchestrator.core.cell import Point
from orchestrator.core.portion import Portion, by_point
from orchestrator.driver.run_cells import Hooks, run_cells
from orchestrator.evaluation.results import BatchResult
from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.records import CellResult
from orchestrator.scheduling.durations import DurationModel
from orchestrator.scheduling.scheduler import Limits, Scheduler
from orchestrator.storage.local import LocalStorage
from orchestrator.testing.faults import HUNGRY, RAISING, UNDRAWABLE, Faulty
from orchestrator.testing.plane import plane_evaluator, plane_point
from orchestrator.workers.backend import Backend, InlineBackend, MakeEvaluator

WORK = [Portion.of(plane_point(horizon), range(8)) for horizon in (4, 8, 12)]
"""Cells that all succeed."""
CLOSE = ("distance", "predicted_cost", "last_cost", "model_distance")
"""Fields of a record that batches of another size round differently."""
TIMES = ("plan_seconds", "batch_seconds", "worker_seconds", "finished_at")
CIRCUMSTANCES = (*TIMES, "threads", "device", "host", "batch_size", "actions")
"""Fields of a record that say how it came about, or are compared apart."""


class Untouchable(InlineBackend):
    """A backend that must not be asked for anything."""

    def run(self, scheduler: Scheduler) -> Iterator[BatchResult]:
        """Raises AssertionError."""
        raise AssertionError("the backend was used although nothing is missing")


def check_backend(make_backend: Callable[[MakeEvaluator], Backend]) -> None:
    """Check everything that sweeps count on; AssertionError for the first promise that is broken.

    `make_backend` makes a backend whose workers use the given maker of evaluators, which can be pickled and works in any
    process that sees this machine's temporary folder.
    """
    with TemporaryDirectory() as folder, make_backend(Faulty(folder)) as backend:
        for check in BACKEND_CHECKS:
            scratch = Path(folder) / check.__name__
            scratch.mkdir()
            check(backend, scratch)


def plan_all(backend: Backend, portions: Sequence[Portion], max_rows: int = 4) -> list[BatchResult]:
    """Everything that a backend answers."""
    scheduler = Scheduler(DurationModel(), Limits(max_rows))
    scheduler.add(portions)
    return list(backend.run(scheduler))


def records_by_cell(results: Sequence[BatchResult]) -> dict[str, CellResult]:
    """Records by cell id; AssertionError where a cell has two."""
    found = [record for result in results for record in result.results]
    assert len({record.cell_id for record in found}) == len(found), "a cell has two records"
    return {record.cell_id: record for record in found}


def every_cell_yields_exactly_one_record(backend: Backend, folder: Path) -> None:
    """Sound cells succeed at the first attempt."""
    found = records_by_cell(plan_all(backend, WORK))
    check_cells(found, WORK)
    for record in found.values():
        assert record.status == "completed", f"a sound cell ends as {record.status}: {record.error}"
        assert record.success, "a plan that must succeed does not in the simulator"
        assert record.model_success, "a plan that must succeed does not in the model"
        assert record.attempts == 1, f"a sound cell takes {record.attempts} attempts"
        assert record.worker_seconds is not None, "a record lacks its worker's seconds"
        assert record.worker_seconds >= (record.plan_seconds or 0), "a cell took its worker less time than its planning"
    assert backend.capacity() >= 1, f"the backend has room for {backend.capacity()} workers"


def results_do_not_depend_on_the_backend_or_the_batches(backend: Backend, folder: Path) -> None:
    """Records are those of an evaluator in this process, up to rounding."""
    evaluator = plane_evaluator()
    batches = [Batch.of(portion.point, tuple(portion.seeds.tolist())) for portion in WORK]
    expected = {record.cell_id: record for batch in batches for record in evaluator.evaluate(batch).results}
    found = records_by_cell(plan_all(backend, WORK))
    check_cells(found, WORK)
    for cell_id, record in found.items():
        for field in fields(CellResult):
            here, there = getattr(expected[cell_id], field.name), getattr(record, field.name)
            if field.name in CLOSE:
                same = math.isclose(here, there, rel_tol=1e-3, abs_tol=1e-6)
            elif field.name in ("costs", "distances") and here is not None and there is not None:
                same = np.allclose(here, there, rtol=1e-3, atol=1e-4)
            else:
                same = field.name in CIRCUMSTANCES or here == there
            assert same, f"{field.name} of a record is {there!r}, and {here!r} in this process"
        assert np.allclose(record.actions, expected[cell_id].actions, atol=1e-4), "a plan's actions depend on the backend"


def a_cell_that_raises_is_found_among_its_neighbours(backend: Backend, folder: Path) -> None:
    """One bad cell costs itself and nothing else."""
    work = [WORK[0], Portion.of(plane_point(), [1, 2, RAISING, 3]), WORK[2]]
    found = records_by_cell(plan_all(backend, work))
    check_cells(found, work)
    failed = [record for record in found.values() if record.status == "failed"]
    assert [record.seed for record in failed] == [RAISING], f"seeds {[one.seed for one in failed]} failed, not {[RAISING]}"
    said = "RuntimeError: raised on purpose with a second line"
    assert failed[0].error == said, f"a failed record says {failed[0].error!r}, not {said!r}"
    assert (failed[0].attempts or 0) <= 2, f"a cell that raises takes {failed[0].attempts} attempts"


def a_batch_that_runs_out_of_memory_is_planned_in_smaller_ones(backend: Backend, folder: Path) -> None:
    """Memory that runs out costs an attempt and no cell."""
    portion = Portion.of(plane_point(16), [HUNGRY, *range(10)])
    found = records_by_cell(plan_all(backend, [portion], 64))
    check_cells(found, [portion])
    _check_completed(found)
    hungry = next(record for record in found.values() if record.seed == HUNGRY)
    assert hungry.batch_size <= 2, f"a cell that fits beside one other was planned in a batch of {hungry.batch_size}"
    assert (hungry.attempts or 0) > 1, "a cell whose batch ran out of memory says that it took one attempt"


def problems_that_cannot_be_made_are_failed_records(backend: Backend, folder: Path) -> None:
    """An error of the task is said in the record."""
    (record,) = records_by_cell(plan_all(backend, [Portion.of(plane_point(), [-3])])).values()
    assert record.status == "failed", f"a problem that cannot be made ends as {record.status}"
    assert record.error == "UserError: plane: seed -3 is negative: give 0 or more.", f"its record says {record.error!r}"
    assert record.distance is None, "its record has a distance"


def no_work_gives_no_results(backend: Backend, folder: Path) -> None:
    """A backend that has nothing to do ends at once."""
    assert plan_all(backend, []) == [], "a backend without work answers"


def selected_cells_are_drawn_when_all_is_planned(backend: Backend, folder: Path) -> None:
    """Files and manifest of each point are those of its selected cells."""
    ledger, seen, artifacts = Ledger(folder / "ledger"), [], folder / "artifacts"
    hooks = Hooks(on_result=lambda result: seen.append(artifacts.exists()))
    summary = run_cells(WORK, ledger, backend, Limits(3), hooks, artifacts=artifacts)
    assert not any(seen), "cells were drawn while others were still to be planned"
    assert summary.planning_seconds > 0 < summary.drawing_seconds, "planning or drawing took no time"
    drawn = 0
    for portion in WORK:
        rows = ledger.table([portion.point.point_id]).to_pylist()
        selection = select_cells(Scored(row["seed"], row["distance"], row["success"]) for row in rows)
        names = {f"{each.seed}.{kind}" for each in selection for kind in ("gif", "mp4", "parquet", "png")}
        _check_files(artifacts, portion.point, {*names, "chosen.json"})
        record = ArtifactStore(LocalStorage(artifacts)).manifest(portion.point.point_id)
        assert record is not None, "a point that was drawn has no manifest"
        assert record.selected == selection, "a manifest names other cells than those that were selected"
        drawn += len(selection)
    assert summary.drawn == drawn, f"{summary.drawn} cells are said to be drawn, and {drawn} were selected"


def only_what_is_lacking_is_drawn_again(backend: Backend, folder: Path) -> None:
    """Files that are there stay as they are."""
    ledger, artifacts = Ledger(folder / "ledger"), folder / "artifacts"

    def drawn(selection: ArtifactSelection, on: Backend = backend) -> int:
        summary = run_cells(WORK, ledger, on, artifacts=artifacts, selection=selection)
        return summary.drawn

    best, both = ArtifactSelection(("best",), video=False), ArtifactSelection(("best", "worst"), video=False)
    assert drawn(NO_ARTIFACTS) == 0, "cells are drawn that nobody selected"
    assert not artifacts.exists(), "a folder is made for nothing"
    assert drawn(best) == 3, "one cell of each of three points must be drawn"
    times = {path: path.stat().st_mtime_ns for path in artifacts.rglob("*.gif")}
    assert drawn(best, Untouchable()) == 0, "cells are drawn twice"
    assert drawn(both) == 3, "one more cell of each of three points must be drawn"
    assert {path: path.stat().st_mtime_ns for path in times} == times, "files that were there are written again"
    gone = next(iter(times))
    gone.unlink()
    (gone.parent / "chosen.json").unlink()  # as if killed in between
    assert drawn(both) == 1, "one cell whose file is gone must be drawn again"
    assert gone.exists(), "a file that was gone is not back"


def a_drawing_that_fails_costs_the_images_only(backend: Backend, folder: Path) -> None:
    """A manifest says what could not be drawn, and it is not tried again."""
    ledger, artifacts = Ledger(folder / "ledger"), folder / "artifacts"
    good, bad = Portion.of(plane_point(4), [1]), Portion.of(plane_point(8), [UNDRAWABLE])
    summary = run_cells([good, bad], ledger, backend, artifacts=artifacts)
    counts = (summary.computed, summary.failed, summary.drawn)
    assert counts == (2, 0, 1), f"planned, failed and drawn are {counts}, not (2, 0, 1)"
    _check_files(artifacts, bad.point, {"chosen.json"})
    record = ArtifactStore(LocalStorage(artifacts)).manifest(bad.point.point_id)
    assert record is not None, "a point that could not be drawn has no manifest"
    assert record.troubles == ("RuntimeError: cannot be drawn",), f"its manifest says {record.troubles}"
    again = run_cells([good, bad], ledger, Untouchable(), artifacts=artifacts).drawn
    assert again == 0, "what could not be drawn is drawn again"


def a_run_computes_what_is_missing_only(backend: Backend, folder: Path) -> None:
    """Cells of the ledger are not planned again."""
    ledger, cells = Ledger(folder / "ledger"), [plane_point(h).cell(seed) for h in (4, 8) for seed in range(6)]
    seen: list[BatchResult] = []
    first = run_cells(by_point(cells[:4]), ledger, backend, Limits(2), config_digest="c0ffee")
    _check_counts((first.computed, first.skipped, first.failed), (4, 0, 0))
    rest = run_cells(by_point(cells), ledger, backend, Limits(3), Hooks(on_result=seen.append))
    _check_counts((rest.computed, rest.skipped, rest.failed), (8, 4, 0))
    assert records_by_cell(seen).keys() == {cell.cell_id for cell in cells[4:]}, "other cells were planned than were missing"
    table = {row["cell_id"]: row for row in ledger.table().to_pylist()}
    assert table.keys() == {cell.cell_id for cell in cells}, "the ledger has other cells than were asked for"
    assert table[cells[0].cell_id]["config_digest"] == "c0ffee", "a record lacks its config's digest"
    again = run_cells(by_point(cells), ledger, Untouchable())
    _check_counts((again.computed, again.skipped, again.failed), (0, 12, 0))


def a_run_that_is_left_early_does_not_leak_into_the_next(backend: Backend, folder: Path) -> None:
    """Results of a run that nobody reads do not come up in the next."""
    scheduler = Scheduler(DurationModel(), Limits(4))
    scheduler.add(WORK)
    for _ in backend.run(scheduler):
        break
    check_cells(records_by_cell(plan_all(backend, WORK[1:])), WORK[1:])


def a_stopped_run_keeps_what_was_in_flight_and_is_continued(backend: Backend, folder: Path) -> None:
    """After a stop, what was planned is in the ledger, and the rest is what the next run plans."""
    ledger, stop = Ledger(folder / "ledger"), threading.Event()
    hooks = Hooks(on_result=lambda result: stop.set(), stop=stop)
    first = run_cells(WORK, ledger, backend, Limits(2), hooks)
    assert first.computed == ledger.table().num_rows, "the ledger has other cells than a stopped run says"
    assert first.computed < 24, "a stopped run went on to its end"
    assert first.left == 24 - first.computed, f"a stopped run says that {first.left} cells are left"
    second = run_cells(WORK, ledger, backend, Limits(2))
    _check_counts((second.computed, second.skipped, second.failed), (24 - first.computed, first.computed, 0))


def closing_twice_is_fine(backend: Backend, folder: Path) -> None:
    """A backend that was closed may be closed again."""
    backend.close()
    backend.close()


BACKEND_CHECKS: tuple[Callable[[Backend, Path], None], ...] = (
    every_cell_yields_exactly_one_record,
    results_do_not_depend_on_the_backend_or_the_batches,
    a_cell_that_raises_is_found_among_its_neighbours,
    a_batch_that_runs_out_of_memory_is_planned_in_smaller_ones,
    problems_that_cannot_be_made_are_failed_records,
    no_work_gives_no_results,
    selected_cells_are_drawn_when_all_is_planned,
    only_what_is_lacking_is_drawn_again,
    a_drawing_that_fails_costs_the_images_only,
    a_run_computes_what_is_missing_only,
    a_run_that_is_left_early_does_not_leak_into_the_next,
    a_stopped_run_keeps_what_was_in_flight_and_is_continued,
    closing_twice_is_fine,
)
"""Each takes a backend of `Faulty` evaluators and an empty folder, and raises AssertionError; the last one closes it."""


def check_cells(found: dict[str, CellResult], portions: Sequence[Portion]) -> None:
    """AssertionError unless the records are those of all cells of the portions."""
    asked = {cell.cell_id for portion in portions for cell in portion.cells()}
    assert found.keys() == asked, (
        f"{len(asked - found.keys())} cells have no record, {len(found.keys() - asked)} are not asked for"
    )


def _check_completed(found: dict[str, CellResult]) -> None:
    statuses = {record.status for record in found.values()}
    assert statuses == {"completed"}, f"sound cells end as {', '.join(sorted(statuses))}"


def _check_files(artifacts: Path, point: Point, expected: set[str]) -> None:
    found = {path.name for path in (artifacts / point.point_id).iterdir()}
    assert found == expected, f"a point's files are {sorted(found)}, not {sorted(expected)}"


def _check_counts(found: tuple[int, int, int], expected: tuple[int, int, int]) -> None:
    assert found == expected, f"planned, skipped and failed are {found}, not {expected}"
