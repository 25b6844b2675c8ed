"""The results table of the planning-quality study: one Parquet file, the only source of the page and its figures."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from orchestrator.ledger.ledger import Ledger
from sweeps.analysis.point_cells import records_of
from sweeps.config.grid import Grid
from sweeps.quality.generated_configs import all_tuned_settings
from sweeps.quality.spec import QualitySpec
from sweeps.quality.stages import Stages, claims_of
from sweeps.quality.sweeps import factors_of
from world_models.errors import UserError, require
from world_models.files.reading import parse_json
from world_models.files.writing import whole_file

VERSION = 1
METADATA_KEY = b"grasp.quality"
"""Key of the schema's metadata that holds the facts as JSON."""
MAX_BYTES = 5_000_000
"""Limit on the size of the file, in bytes."""
RESULTS = "results.parquet"

_LEDGER_COLUMNS = (
    ("seed", pa.int64()),
    ("status", pa.string()),
    ("success", pa.bool_()),
    ("distance", pa.float64()),
    ("start_distance", pa.float64()),
    ("model_success", pa.bool_()),
    ("steps_to_success", pa.int32()),
    ("plan_seconds", pa.float64()),
    ("evaluations", pa.int64()),
    ("cell_id", pa.string()),
)
SCHEMA: pa.Schema = pa.schema(
    [
        ("part", pa.string()),
        ("task", pa.string()),
        ("horizon", pa.int32()),
        ("mode", pa.string()),
        ("planner", pa.string()),
        *_LEDGER_COLUMNS,
        ("planner_settings", pa.string()),
        ("unit", pa.string()),
    ]
)
"""One row per cell and part; `planner` is the label that tables use, `planner_settings` is JSON with defaults filled in."""
_ORDER = [(name, "ascending") for name in ("part", "task", "horizon", "mode", "planner", "seed")]


@dataclass(frozen=True)
class Results:
    """Cells in a table of `SCHEMA`, and the facts about the study that the page states."""

    table: pa.Table
    facts: Mapping[str, Any]


def collect(stages: Stages, grids: Sequence[tuple[str, Grid]]) -> Results:
    """The results from the ledger and the studies' reports; UserError if cells are missing."""
    ledger = stages.ledger
    parts = [_rows(part, grid, ledger) for part, grid in grids]
    table = pa.concat_tables(parts).sort_by(_ORDER) if parts else SCHEMA.empty_table()
    require(table.num_rows > 0, "the study has no finished cell: run grasp quality first.")
    return Results(table, _facts(stages.spec, ledger, grids))


def _rows(part: str, grid: Grid, ledger: Ledger) -> pa.Table:
    names = [name for name, _ in _LEDGER_COLUMNS]
    found = records_of(grid, ledger, ["point_id", "horizon", "mode", "planner_settings", *names])
    missing = len(grid.entries) * len(grid.seeds) - found.num_rows
    require(missing == 0, f"sweep {grid.name} lacks {missing} cells: run grasp quality until it ends.")
    entries = {entry.point.point_id: entry for entry in grid.entries}
    points = [entries[point_id] for point_id in found["point_id"].to_pylist()]
    columns: dict[str, Any] = {name: found[name] for name in ("horizon", "mode", "planner_settings", *names)}
    columns |= {
        "part": [part] * len(points),
        "task": [entry.task for entry in points],
        "planner": [entry.planner.split(" ")[0] for entry in points],  # the mode has a column of its own
        "unit": [entry.unit for entry in points],
    }
    return pa.table({field.name: columns[field.name] for field in SCHEMA}).cast(SCHEMA)


def _facts(spec: QualitySpec, ledger: Ledger, grids: Sequence[tuple[str, Grid]]) -> dict[str, Any]:
    found = all_tuned_settings(spec)
    models = {
        entry.task: [Path(entry.point.model).name, entry.point.model_digest] for _, grid in grids for entry in grid.entries
    }
    return {
        "version": VERSION,
        "variant": spec.variant,
        "planners": list(spec.planners),
        "ours": list(spec.ours),
        "tuning": {
            "trials": spec.tuning.trials,
            "top": spec.tuning.top,
            "seeds": [min(spec.tuning.seeds), len(spec.tuning.seeds)],
            "choice_seeds": [min(spec.tuning.choice_seeds), len(spec.tuning.choice_seeds)],
        },
        "places": {
            name: {
                "task": condition.task,
                "horizon": condition.horizon,
                "for": list(condition.serves),
                "fixed": dict(condition.fixed),
            }
            for name, condition in spec.tuning_conditions.items()
        },
        "tuned": [
            {"planner": label, "place": condition, "settings": dict(one.settings), "provenance": dict(one.provenance)}
            for (label, condition), one in sorted(found.items())
        ],
        "timed_attempts": spec.timed_attempts,
        "changes": {name: dict(settings) for name, settings in spec.changes.items()},
        "factors": {label: list(factors) for label, factors in factors_of(spec).items()},
        "aims": dict(spec.targets),
        "worst": [list(spec.shown_failures[0]), spec.shown_failures[1]],
        "claims": {task: _claims(file) for task in spec.diagnose if (file := claims_of(spec, task)) is not None},
        "models": dict(sorted(models.items())),
        "machine": spec.machine,
        **_history(spec, ledger, {entry.point.point_id for _, grid in grids for entry in grid.entries}),
    }


def _claims(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as stream:
        return [{key: row[key] for key in ("claim", "verdict", "measured")} for row in csv.DictReader(stream)]


_HISTORY = (
    "point_id",
    "seed",
    "status",
    "worker_seconds",
    "plan_seconds",
    "device",
    "threads",
    "versions",
    "git_revision",
    "finished_at",
)


def _history(spec: QualitySpec, ledger: Ledger, points: Collection[str]) -> dict[str, Any]:
    """Dates, devices, versions and hours of the tests' cells and of all cells on the tuning and choice seeds."""
    tuning = {*spec.tuning.seeds, *spec.tuning.choice_seeds}
    tested = {seed for test in spec.tests for seed in test.seeds}
    seeds = pa.array(sorted(tuning | tested), pa.int64())
    rows = ledger.table(columns=_HISTORY).filter(pc.field("seed").isin(seeds)).to_pylist()
    rows_by_use = {
        "tuning": [row for row in rows if row["seed"] in tuning],
        "tests": [row for row in rows if row["seed"] in tested and row["point_id"] in points],
    }
    mine = [row for group in rows_by_use.values() for row in group]
    days = [row["finished_at"].date().isoformat() for row in mine]
    return {
        "cells": len(mine),
        "failed": sum(row["status"] == "failed" for row in mine),
        "hours": {name: _hours(some) for name, some in rows_by_use.items()},
        "dates": [min(days), max(days)],
        "devices": sorted({row["device"] for row in mine}),
        "threads": sorted({row["threads"] for row in mine}),
        "versions": [json.loads(text) for text in sorted({row["versions"] for row in mine})],
        "revisions": sorted({row["git_revision"] for row in mine}),
    }


def _hours(rows: Iterable[Mapping[str, Any]]) -> float:
    """Worker hours of cells, by fsum: a plain sum would depend on the order in which the ledger's parts are read."""
    seconds = (row["worker_seconds"] if row["worker_seconds"] is not None else row["plan_seconds"] or 0.0 for row in rows)
    return round(math.fsum(seconds) / 3600, 3)


def write(results: Results, file: Path) -> None:
    """Write results to a file, byte for byte the same each time; UserError if it would be too large or cannot be written."""
    facts = json.dumps(results.facts, separators=(",", ":")).encode()
    table = results.table.combine_chunks().replace_schema_metadata({METADATA_KEY: facts})
    with whole_file(file) as temporary:
        pq.write_table(table, temporary, compression="zstd", compression_level=15, store_schema=True)
        size = temporary.stat().st_size
        require(size < MAX_BYTES, f"{file} would take {size} bytes, and {MAX_BYTES} are allowed: give fewer tests or seeds.")


def read(file: Path) -> Results:
    """Read results that `write` wrote; UserError for any other file."""
    require(file.is_file(), f"{file} is not a file: give the results.parquet of a study of planning quality.")
    try:
        table = pq.read_table(file)
        text = (table.schema.metadata or {})[METADATA_KEY]
        facts = parse_json(text, dict[str, Any], "the facts of a study", "run the study again", str(file))
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise UserError(f"{file} holds no results of grasp quality: give the results.parquet that it wrote.") from error
    sound = facts.get("version") == VERSION and table.schema.names == SCHEMA.names
    require(
        sound, f"{file} is of another version of grasp quality ({facts.get('version')!r}, not {VERSION}): run the study again."
    )
    return Results(table.cast(SCHEMA), facts)
