"""Points whose cells were not all computed alike are marked, with what differs."""

import csv
import io
import json

import pyarrow as pa

from orchestrator.ledger.records import SCHEMA
from sweeps.analysis import mixtures
from sweeps.analysis.mixtures import mark_mixed, mixtures_of
from sweeps.analysis.rows import COLUMNS, summarise
from sweeps.analysis.summary import COLUMNS as SUMMARY_COLUMNS
from sweeps.analysis.summary import summary_of
from sweeps.reports.html_report import html_report
from sweeps.reports.notes import mixed_note
from sweeps.reports.tables import headline, to_csv, to_latex, to_text
from tests.support.made_up_review import grid_of
from world_models.precision import Arithmetic

GRID = grid_of(2, {"wall": (50,)})
MIXED = ("kernel (c AMX and torch)", "precision (bfloat16 and float32)", "pymunk (6 and 7)")


def cell(entry, seed, kernel="torch", precision="float32", pymunk="6", status="completed", **versions):
    said = json.dumps({"python": "3", "pymunk": pymunk, **versions})
    facts = {"status": status, "success": True, "distance": 1.0, "start_distance": 2.0, "plan_seconds": 1.0, "error": None}
    facts |= {"model_success": True, "steps_to_success": 5, "evaluations": 10, "git_revision": "r", "device": "cpu"}
    facts |= {"torch_version": "2", "kernel": kernel, "precision": precision, "versions": said}
    return {"point_id": entry.point.point_id, "seed": seed, **facts}


def table():
    alike, differing, failed = GRID.entries
    rows = [
        cell(alike, 0, torch="1"),
        cell(alike, 1, torch="2"),
        cell(differing, 0),
        cell(differing, 1, kernel="c AMX", precision="bfloat16", pymunk="7"),
        cell(failed, 0),
        cell(failed, 1, kernel=None, precision=None, pymunk="7", status="failed"),
    ]
    names = dict.fromkeys([*SUMMARY_COLUMNS, *COLUMNS, *mixtures.COLUMNS])
    return pa.Table.from_pylist(rows, schema=pa.schema([SCHEMA.field(name) for name in names]))


def test_a_point_mixes_what_differs_between_the_cells_that_ran() -> None:
    found = mixtures_of(GRID, table())
    assert list(found.values()) == [(), MIXED, ()]


def test_rows_and_facts_say_what_computed_the_cells() -> None:
    summary = summary_of(GRID, table())
    torch, tiles = Arithmetic("torch", "float32"), Arithmetic("c AMX", "bfloat16")
    assert [set(row.computed) for row in summary.rows] == [{torch}, {torch, tiles}, {torch}]
    assert dict(summary.facts)["kernel"] == "c AMX (bfloat16), torch (float32)"


def test_cells_recorded_before_the_kernel_was_do_not_count_as_another_one() -> None:
    entry = GRID.entries[0]
    rows = [cell(entry, 0, kernel=None, precision=None), cell(entry, 1)]
    schema = pa.schema([SCHEMA.field(name) for name in mixtures.COLUMNS])
    assert not any(mixtures_of(GRID, pa.Table.from_pylist(rows, schema=schema)).values())


def test_tables_mark_the_point_and_say_what_is_mixed() -> None:
    summary = summary_of(GRID, table())
    note = mixed_note(summary.rows)
    assert note == [f"*: not all cells of the point were computed with the same {'; '.join(MIXED)}."]
    for text in (to_text(summary.rows, "t"), headline(summary.rows), html_report(summary, [])):
        assert "2*" in text
        assert " ".join(note) in " ".join(text.split())
    assert "2*" in to_latex(summary.rows, "t")
    assert [row["mixed"] for row in csv.DictReader(io.StringIO(to_csv(summary.rows)))] == ["", "; ".join(MIXED), ""]
    plain = summarise(GRID, table())
    assert mixed_note(plain) == []
    assert to_csv(mark_mixed(plain, GRID, table())) == to_csv(summary.rows)
