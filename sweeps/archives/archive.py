"""`grasp export` and `grasp import`: a sweep as one file, with all that its tables need and the provenance of its cells."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
from rich.console import Console

from orchestrator.core.cell import digest
from orchestrator.core.provenance import git_revision, versions
from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.records import CellResult, from_table
from sweeps.analysis.point_cells import records_of
from sweeps.config.grid import Grid
from sweeps.config.outputs import Outputs
from sweeps.config.saved_sweep import WHAT, SavedSweep
from sweeps.console.terminal import say
from world_models.checkpoints import store as checkpoints
from world_models.errors import UserError, require
from world_models.files.reading import parse_json

FORMAT = "grasp-sweep-1"
"""Format that an archive's manifest names."""
CHUNK = 20_000
"""Records held as objects at a time."""
_TEXTS = ("manifest.json", "sweep.json", "config.yaml", "environment.txt")
"""Members that every archive has, apart from reports and cells."""


def export(name: str | None, outputs: Outputs, file: Path | None, console: Console) -> int:
    """Write a sweep's grid, config, records, reports and environment to one zip file."""
    grid = outputs.load(name)
    outputs, folder = outputs.of_sweep(grid.name), outputs.sweep(grid.name)
    target = file or Path(f"{grid.name}.grasp.zip")
    require(not target.exists(), f"{target} already exists: remove it, or give another file with --to FILE.")
    table = records_of(grid, Ledger(outputs.ledger))
    missing = len(grid.entries) * len(grid.seeds) - table.num_rows
    partial = target.with_name(f".{target.name}.partial")
    try:
        with TemporaryDirectory() as scratch, zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("manifest.json", json.dumps(_manifest(grid, table.num_rows, missing), indent=1))
            archive.writestr("environment.txt", _environment())
            for part in ("sweep.json", "config.yaml", "report.txt", "report.csv"):
                if (folder / part).exists():
                    archive.write(folder / part, part)
            for part in _ledger_parts(table, Path(scratch)):
                archive.write(part, f"ledger/{part.name}", zipfile.ZIP_STORED)
        partial.replace(target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise UserError(f"cannot write {target} ({error.strerror}): choose another path with --to FILE.") from error
    lacking = f", {missing} are missing" if missing else ""
    say(console, f"{table.num_rows} cells of sweep {grid.name} are in {target}{lacking}; read it with: grasp import {target}")
    return 0


def import_archive(file: Path, outputs: Outputs, name: str | None, console: Console) -> int:
    """Read an exported sweep into these outputs; cells that are already there stay as they are.

    UserError for a file that is not an exported sweep, for records that do not belong to its grid, and for a name that another
    grid has here.
    """
    outputs.prepare()
    try:
        with zipfile.ZipFile(file) as archive, TemporaryDirectory() as scratch:
            manifest, grid, config = _read(archive, file)
            if name is not None:
                grid = Grid(name, grid.entries, grid.seeds)
            difference = outputs.difference(grid)
            require(
                difference is None,
                f"a sweep named {grid.name} exists here with another grid ({difference}): give another name with --name NAME.",
            )
            incoming = _unpacked(archive, Path(scratch))
            fresh = _append(grid, incoming, Ledger(outputs.ledger), file)
    except (OSError, zipfile.BadZipFile, KeyError) as error:
        raise UserError(f"{file} cannot be read as an exported sweep ({error}): make it with grasp export.") from error
    outputs.save(grid, config)
    say(console, f"{fresh} of {manifest['cells']} cells are new here; see them with: grasp report {grid.name}")
    for model in manifest["models"]:
        if (words := _model_warning(model)) is not None:
            say(console, words)
    return 0


def _manifest(grid: Grid, cells: int, missing: int) -> dict[str, Any]:
    models = {entry.point.model_digest: entry.point.model for entry in grid.entries}
    return {
        "format": FORMAT,
        "name": grid.name,
        "cells": cells,
        "missing": missing,
        "models": [{"name": model, "digest": found} for found, model in sorted(models.items())],
        "revision": git_revision(),
        "versions": versions(),
    }


def _environment() -> str:
    """Every installed distribution with its version, as `pip freeze` writes it."""
    found = {f"{one.metadata['Name']}=={one.version}" for one in metadata.distributions() if one.metadata["Name"]}
    return "\n".join(sorted(found, key=str.lower)) + "\n"


def _ledger_parts(table: pa.Table, folder: Path) -> list[Path]:
    """Files of the records, written as parts of a ledger of their own in `folder`."""
    ledger = Ledger(folder)
    with ledger.writer():
        for records in _chunks(table):
            ledger.append(records)
    return sorted(folder.rglob("part-*.parquet"))


def _chunks(table: pa.Table) -> Iterator[list[CellResult]]:
    for first in range(0, table.num_rows, CHUNK):
        yield from_table(table.slice(first, CHUNK))


def _read(archive: zipfile.ZipFile, file: Path) -> tuple[dict[str, Any], Grid, str]:
    """Manifest, grid and config of an archive; UserError where one is missing or cannot be read."""
    lacking = [part for part in _TEXTS if part not in archive.namelist()]
    require(not lacking, f"{file} is not an exported sweep (it has no {', '.join(lacking)}): make it with grasp export.")
    try:
        manifest = json.loads(archive.read("manifest.json"))
        require(
            manifest["format"] == FORMAT,
            f"{file} has format {manifest['format']!r} and this version reads {FORMAT!r}: update grasp-orchestrator.",
        )
        return (
            manifest,
            parse_json(archive.read("sweep.json"), SavedSweep, WHAT, "export it again", "sweep.json").grid,
            archive.read("config.yaml").decode(),
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{file} is not an exported sweep ({error}): make it with grasp export.") from error


def _unpacked(archive: zipfile.ZipFile, folder: Path) -> Ledger:
    """The archive's records as a ledger in `folder`; of each name only the last part is used, so that none leads elsewhere."""
    for part in archive.infolist():
        if part.filename.startswith("ledger/") and not part.is_dir():
            with archive.open(part) as source, (folder / Path(part.filename).name).open("wb") as sink:
                shutil.copyfileobj(source, sink)
    return Ledger(folder)


def _append(grid: Grid, incoming: Ledger, ledger: Ledger, file: Path) -> int:
    """Add the cells that the ledger lacks and return their number; UserError for records that do not match their ids."""
    table = incoming.table()
    points, seeds = {entry.point.point_id for entry in grid.entries}, set(grid.seeds)
    for row in table.select(["cell_id", "point_id", "seed"]).to_pylist():
        own = row["point_id"] in points and row["seed"] in seeds
        require(
            own and row["cell_id"] == digest([row["point_id"], row["seed"]]),
            f"{file} holds cell {row['cell_id']}, which does not belong to its sweep: ask for a copy that nobody changed.",
        )
    fresh = 0
    with ledger.writer():
        known = {
            failed: {point: set(found.tolist()) for point, found in ledger.finished_seeds(include_failed=failed).items()}
            for failed in (False, True)
        }
        for records in _chunks(table):
            new = [r for r in records if r.seed not in known[r.status == "failed"].get(r.point_id, ())]
            ledger.append(new)
            fresh += len(new)
    return fresh


def _model_warning(model: dict[str, str]) -> str | None:
    """A sentence if the world model is missing here or has changed; None if it is the same."""
    try:
        current_digest = checkpoints.read_card(model["name"])[1]
    except UserError:
        return (
            f"world model {model['name']} is not here: reports work, but planning its cells needs it (digest {model['digest']})"
        )
    if current_digest == model["digest"]:
        return None
    return (
        f"world model {model['name']} has another content here (digest {current_digest}, not {model['digest']}): "
        "its cells cannot be planned again"
    )
