"""Running a sweep is running what the ledger lacks."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.artifacts import Artifact
from orchestrator.backend import Backend
from orchestrator.batching import make_batches
from orchestrator.cells import Cell, Point
from orchestrator.evaluate import BatchResult
from orchestrator.ledger import Ledger
from orchestrator.provenance import git_revision
from orchestrator.records import stamped
from world_models.errors import UserError


@dataclass(frozen=True)
class RunSummary:
    """What a run did."""

    computed: int
    """Cells recorded by this run, failed ones included."""
    skipped: int
    """Cells that were in the ledger already."""
    failed: int
    """Cells among `computed` that failed."""
    seconds: float


def run_cells(
    cells: Collection[Cell],
    ledger: Ledger,
    backend: Backend,
    max_rows: int = 64,
    on_result: Callable[[BatchResult], None] | None = None,
    *,
    artifacts: Path | None = None,
    cost: Callable[[Point], float] | None = None,
    retry_failed: bool = False,
    config_digest: str = "",
) -> RunSummary:
    """Plan the cells that the ledger lacks; each batch is durable before `on_result` sees it.

    `artifacts` is the folder that gets `<point_id>/<seed>.gif|.png`. The backend is not touched when nothing is missing.
    State lives on disk: a killed run is continued by calling this again.
    """
    began = time.perf_counter()
    revision = git_revision()
    computed = failed = 0
    with ledger.writer():
        missing = missing_cells(cells, ledger, retry_failed)
        if missing:
            for batch in backend.run(make_batches(missing, max_rows, backend.workers, cost)):
                done = replace(batch, results=tuple(stamped(r, revision, config_digest) for r in batch.results))
                # Pictures first: a cell in the ledger is never run again, so what belongs to it must be there already.
                if artifacts is not None:
                    write_artifacts(done.artifacts, artifacts)
                ledger.append(done.results)
                computed += len(done.results)
                failed += sum(result.status == "failed" for result in done.results)
                if on_result is not None:
                    on_result(done)
    return RunSummary(computed, len(cells) - len(missing), failed, time.perf_counter() - began)


def missing_cells(cells: Collection[Cell], ledger: Ledger, retry_failed: bool = False) -> list[Cell]:
    """Cells without a record; with `retry_failed` also those whose record says that they failed."""
    finished = ledger.finished(include_failed=not retry_failed)
    return [cell for cell in cells if cell.cell_id not in finished] if finished else list(cells)


def write_artifacts(artifacts: Iterable[Artifact], folder: Path) -> None:
    """Files `<folder>/<point_id>/<name>`, each whole or absent; UserError when the folder can't be written."""
    for artifact in artifacts:
        target = folder / artifact.point_id / artifact.name
        temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.tmp")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_bytes(artifact.data)
            temporary.replace(target)
        except OSError as error:
            with suppress(OSError):
                temporary.unlink()
            raise UserError(f"cannot write {target} ({error.strerror or error}): choose another output folder.") from error
