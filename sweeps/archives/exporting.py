"""`grasp export`: a sweep as one file, with all that its tables need and the provenance of its cells."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
from rich.console import Console

from orchestrator.core.provenance import git_revision, versions
from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.records import CellResult, from_table
from sweeps.analysis.point_cells import records_of
from sweeps.archives.content import FORMAT, Manifest, ModelNote
from sweeps.config.grid import Grid
from sweeps.config.outputs import Outputs
from sweeps.config.saved_sweep import SavedSweep
from sweeps.console.terminal import say
from world_models.errors import UserError, require
from world_models.files.names import inside
from world_models.files.reading import to_json

CHUNK = 20_000
"""Records held as objects at a time."""


def export(name: str | None, outputs: Outputs, file: Path | None, console: Console) -> int:
    """Write a sweep's grid, config, records, reports and environment to one zip file.

    UserError if there is no such sweep, if the file exists, or if it cannot be written.
    """
    grid = outputs.load(name)
    outputs, folder = outputs.of_sweep(grid.name), outputs.sweep(grid.name)
    target = file or inside(Path(), f"{grid.name}.grasp.zip")
    require(not target.exists(), f"{target} already exists: remove it, or give another file with --to FILE.")
    require((folder / "config.yaml").exists(), f"sweep {grid.name} has lost its config.yaml: run the sweep again first.")
    table = records_of(grid, Ledger(outputs.ledger))
    missing = len(grid.entries) * len(grid.seeds) - table.num_rows
    partial = target.with_name(f".{target.name}.partial")
    try:
        with TemporaryDirectory() as scratch, zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("manifest.json", to_json(_manifest(grid, table.num_rows, missing), indent=1))
            archive.writestr("environment.txt", _environment())
            archive.writestr("sweep.json", to_json(SavedSweep.of(grid)))
            for part in ("config.yaml", "report.txt", "report.csv"):
                if (folder / part).exists():
                    archive.writestr(part, (folder / part).read_bytes())
            for part in _ledger_parts(table, Path(scratch)):
                archive.write(part, f"ledger/{part.name}", zipfile.ZIP_STORED)
        partial.replace(target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise UserError(f"cannot write {target} ({error.strerror}): choose another path with --to FILE.") from error
    lacking = f", {missing} are missing" if missing else ""
    say(console, f"{table.num_rows} cells of sweep {grid.name} are in {target}{lacking}; read it with: grasp import {target}")
    return 0


def chunks(table: pa.Table) -> Iterator[list[CellResult]]:
    """A table's records, `CHUNK` at a time."""
    for first in range(0, table.num_rows, CHUNK):
        yield from_table(table.slice(first, CHUNK))


def models_of(grid: Grid) -> tuple[ModelNote, ...]:
    """The world models of a grid, each once."""
    found = {entry.point.model_digest: entry.point.model for entry in grid.entries}
    return tuple(ModelNote(name, digest) for digest, name in sorted(found.items()))


def _manifest(grid: Grid, cells: int, missing: int) -> Manifest:
    return Manifest(FORMAT, grid.name, cells, missing, models_of(grid), git_revision(), versions())


def _environment() -> str:
    """Every installed distribution with its version, as `pip freeze` writes it."""
    found = {f"{one.metadata['Name']}=={one.version}" for one in metadata.distributions() if one.metadata["Name"]}
    return "\n".join(sorted(found, key=str.lower)) + "\n"


def _ledger_parts(table: pa.Table, folder: Path) -> list[Path]:
    """Files of the records, written as parts of a ledger of their own in `folder`."""
    ledger = Ledger(folder)
    with ledger.writer():
        for records in chunks(table):
            ledger.append(records)
    return sorted(folder.rglob("part-*.parquet"))
