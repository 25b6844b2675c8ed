"""`grasp import`: an exported sweep, checked whole before anything of it is written, and never followed anywhere."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
from rich.console import Console

from orchestrator.ledger.ledger import Ledger
from sweeps.archives.content import ModelNote, read_content
from sweeps.archives.exporting import chunks, models_of
from sweeps.archives.members import MOST_BYTES, scratch_folder, unpack
from sweeps.archives.records import checked_records
from sweeps.config.outputs import Outputs
from sweeps.console.terminal import say
from world_models.checkpoints import store as checkpoints
from world_models.errors import UserError, require
from world_models.files.names import file_name


def import_archive(file: Path, outputs: Outputs, name: str | None, console: Console, max_bytes: int | None = None) -> int:
    """Read an exported sweep into these outputs; cells that are already there stay as they are.

    `max_bytes` is how much it may unpack to, if that was asked for. UserError for a file that is not an exported sweep, for
    records that do not belong to its grid, and for a name that another grid has here.
    """
    if name is not None:
        file_name("sweep name", name)
    outputs.prepare()
    with scratch_folder(outputs.root) as scratch:
        unpack(file, scratch, max_bytes)
        content = read_content(scratch, file)
        grid = content.grid if name is None else replace(content.grid, name=name)
        table = checked_records(scratch / "ledger", grid, content.manifest.cells, max_bytes or MOST_BYTES, file)
        difference = outputs.difference(grid)
        require(
            difference is None,
            f"a sweep named {grid.name} exists here with another grid ({difference}): give another name with --name NAME.",
        )
        fresh = _append(table, Ledger(outputs.ledger))
    outputs.save(grid, content.config_text)
    say(console, f"{fresh} of {table.num_rows} cells are new here; see them with: grasp report {grid.name}")
    if content.left_out:
        say(console, f"left out of its config, since they are yours to choose: {', '.join(content.left_out)}")
    for model in models_of(grid):
        if (words := _model_warning(model)) is not None:
            say(console, words)
    return 0


def _append(table: pa.Table, ledger: Ledger) -> int:
    """Add the cells that the ledger lacks and return their number."""
    fresh = 0
    with ledger.writer():
        known = {
            failed: {point: set(found.tolist()) for point, found in ledger.finished_seeds(include_failed=failed).items()}
            for failed in (False, True)
        }
        for records in chunks(table):
            new = [r for r in records if r.seed not in known[r.status == "failed"].get(r.point_id, ())]
            ledger.append(new)
            fresh += len(new)
    return fresh


def _model_warning(model: ModelNote) -> str | None:
    """A sentence if the world model is missing here or has changed; None if it is the same. A path is not followed."""
    unknown = f"world model {model.name} is not here: reports work, but planning its cells needs it (digest {model.digest})"
    try:
        current_digest = checkpoints.read_card(file_name("world model", model.name))[1]
    except UserError:
        return unknown
    if current_digest == model.digest:
        return None
    return (
        f"world model {model.name} has another content here (digest {current_digest}, not {model.digest}): "
        "its cells cannot be planned again"
    )
