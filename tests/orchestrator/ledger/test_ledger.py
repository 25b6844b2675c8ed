"""The ledger: whole batches whatever dies when, one writer, readable by others, and clear errors."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from orchestrator.core.batch import Batch
from orchestrator.ledger.compaction import Tiers
from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.parts import name_of
from orchestrator.ledger.records import SCHEMA, SCHEMA_VERSION, VERSION_KEY, CellResult, from_table, to_table
from orchestrator.testing import plane_evaluator, plane_point, quick_result
from orchestrator.workers.evaluator import BatchResult
from world_models.errors import UserError

ROOT = Path(__file__).resolve().parents[3]

WRITER = """
import sys
from pathlib import Path
from orchestrator.ledger.ledger import Ledger
from orchestrator.testing import plane_point, quick_result

ledger, point, batch = Ledger(Path(sys.argv[1])), plane_point(), int(sys.argv[2])
with ledger.writer():
    print("writing", flush=True)
    while True:
        ledger.append(quick_result(point, tuple(range(10 * batch, 10 * batch + 10))).results)
        print(batch, flush=True)
        batch += 1
"""


def writer_process(root: Path, batch: int = 0) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", WRITER, str(root), str(batch)], cwd=ROOT, stdout=subprocess.PIPE, text=True)


def append(ledger: Ledger, *batches: BatchResult) -> None:
    with ledger.writer():
        for batch in batches:
            ledger.append(batch.results)


def completed(batch: BatchResult) -> BatchResult:
    records = tuple(replace(r, status="completed", error=None, success=True, actions=(0.5, -0.25)) for r in batch.results)
    return replace(batch, results=records)


def test_records_survive_arrow_exactly(tmp_path: Path) -> None:
    batch = completed(quick_result(plane_point(), (1, 2)))
    first = replace(batch.results[0], distance=0.1, steps_to_success=None, finished_at=datetime(2026, 1, 2, 3, 4, 5, 6, UTC))
    assert from_table(to_table([first])) == [first]
    ledger = Ledger(tmp_path / "ledger")
    append(ledger, batch)
    assert from_table(ledger.table()) == list(batch.results)
    assert [field.name for field in SCHEMA] == list(CellResult.__dataclass_fields__)


def seeds(ledger: Ledger, **options: bool) -> dict[str, list[int]]:
    return {point: found.tolist() for point, found in ledger.finished_seeds(**options).items()}


def test_recorded_cells_are_finished_and_failed_ones_only_on_request(tmp_path: Path) -> None:
    ledger, point, other = Ledger(tmp_path / "ledger"), plane_point(), plane_point(4)
    assert seeds(ledger) == {}
    assert ledger.table().num_rows == 0
    assert ledger.holder() is None
    assert not (tmp_path / "ledger").exists()
    append(ledger, quick_result(point, (1, 0)), completed(quick_result(point, (3, 2))), completed(quick_result(other, (7,))))
    assert seeds(ledger) == {point.point_id: [0, 1, 2, 3], other.point_id: [7]}
    assert seeds(ledger, include_failed=False) == {point.point_id: [2, 3], other.point_id: [7]}
    append(ledger, completed(quick_result(point, (0,))))
    assert seeds(ledger, include_failed=False)[point.point_id] == [0, 2, 3], "planned again, with success"
    assert ledger.table([other.point_id, "unknown"], columns=["seed"]).to_pydict() == {"seed": [7]}
    assert ledger.table([], columns=["seed"]).num_rows == 0


def test_each_cell_once_and_a_success_replaces_a_failure(tmp_path: Path) -> None:
    ledger, point = Ledger(tmp_path / "ledger"), plane_point()
    failed, good = quick_result(point, (0, 1)), completed(quick_result(point, (0,)))
    later = replace(good, results=tuple(replace(r, host="later") for r in good.results))
    append(ledger, failed, good, later, quick_result(point, (0,)))
    rows = {row["seed"]: row for row in ledger.table().to_pylist()}
    assert len(ledger.table()) == 2
    assert rows[0]["status"] == "completed"
    assert rows[0]["host"] == "later"
    assert rows[1]["status"] == "failed"


def test_the_latest_parts_are_those_written_last(tmp_path: Path) -> None:
    ledger, point = Ledger(tmp_path, tiers=Tiers(fan=100)), plane_point()
    with ledger.writer():
        for batch in ((9, 8), (1, 2, 3), (7,)):
            ledger.append(quick_result(point, batch).results)
        found = {rows: ledger.table(columns=["seed"], latest=rows)["seed"].to_pylist() for rows in (0, 1, 2, 4, 5, 99)}
    assert found == {0: [], 1: [7], 2: [1, 2, 3, 7], 4: [1, 2, 3, 7], 5: [9, 8, 1, 2, 3, 7], 99: [9, 8, 1, 2, 3, 7]}


def test_other_readers_see_parts_while_the_ledger_is_written(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    with ledger.writer():
        ledger.append(quick_result(plane_point(), (0, 1)).results)
        (Path(ledger.root) / ".part-00000009-00000000.tmp").write_bytes(b"half a part")
        assert Ledger(ledger.root).table().num_rows == 2
        assert ds.dataset(ledger.root, format="parquet").to_table().num_rows == 2


def test_duckdb_reads_the_ledger_while_it_is_written(tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb", reason="duckdb is not installed: pip install duckdb")
    ledger = Ledger(tmp_path / "ledger")
    with ledger.writer():
        ledger.append(quick_result(plane_point(), (0, 1)).results)
        assert duckdb.sql(f"select count(*) from '{ledger.root}/*.parquet'").fetchall()[0] == (2,)


def test_kill_at_random_moments_loses_no_acknowledged_batch(tmp_path: Path) -> None:
    rng, root, next_batch, acknowledged = random.Random(0), tmp_path / "ledger", 0, set()
    for _ in range(2):
        process = writer_process(root, next_batch)
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        acknowledged |= {int(process.stdout.readline()) for _ in range(rng.randint(1, 4))}
        time.sleep(rng.uniform(0.0, 0.05))
        process.send_signal(signal.SIGKILL)
        acknowledged |= {int(line) for line in process.stdout.read().splitlines()}
        process.wait()
        seeds = Ledger(root).table(columns=["seed"])["seed"].to_pylist()
        batches = {seed // 10 for seed in seeds}
        assert len(seeds) == len(set(seeds)) == 10 * len(batches)
        assert acknowledged <= batches
        next_batch = max(batches, default=-1) + 1
    ledger = Ledger(root)
    (root / ".part-00000099-abcdef01.tmp").write_bytes(b"leftover")
    with ledger.writer():
        assert not list(root.glob(".part-*"))


def test_a_second_writer_is_refused_until_the_first_dies(tmp_path: Path) -> None:
    root = tmp_path / "ledger"
    process = writer_process(root)
    assert process.stdout is not None
    process.stdout.readline()
    with pytest.raises(UserError, match=f"host {os.uname().nodename}, pid {process.pid}"), Ledger(root).writer():
        pass
    assert Ledger(root).finished_seeds() is not None
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    with Ledger(root).writer(), pytest.raises(UserError, match=f"pid {os.getpid()}"), Ledger(root).writer():
        pass
    with Ledger(root).writer():
        pass


def write_part(root: Path, version: bytes | None) -> None:
    root.mkdir()
    metadata = {} if version is None else {VERSION_KEY: version}
    table = pa.table({"cell_id": ["a"]}).replace_schema_metadata(metadata)
    written = BytesIO()
    pq.write_table(table, written)
    (root / name_of(written.getvalue(), 0)).write_bytes(written.getvalue())


GOLDEN = sorted((Path(__file__).parents[2] / "golden").glob("ledger-*.parquet"))
"""A part for each schema version: three cells of `plane_point(6)` as written by that version."""


def test_there_is_a_golden_part_of_every_schema_version() -> None:
    assert [path.stem for path in GOLDEN] == [f"ledger-{version + 1}" for version in range(SCHEMA_VERSION)]


@pytest.mark.parametrize("part", GOLDEN, ids=lambda path: path.stem)
def test_parts_of_every_schema_version_are_read_and_their_cells_are_not_planned_again(part: Path, tmp_path: Path) -> None:
    (tmp_path / name_of(part.read_bytes(), 0)).write_bytes(part.read_bytes())
    ledger, cells = Ledger(tmp_path), [plane_point(6).cell(seed) for seed in range(4)]
    assert seeds(ledger) == {plane_point(6).point_id: [0, 1, 2]}
    assert set(ledger.table()["cell_id"].to_pylist()) == {cell.cell_id for cell in cells[:3]}
    records = from_table(ledger.table())
    assert [record.seed for record in records] == [0, 1, 2]
    assert all(record.success and record.model_success for record in records)
    assert {(record.goal_cost, record.disagreement) for record in records} == {(None, None)}
    with ledger.writer():
        ledger.append(plane_evaluator().evaluate(Batch.of(plane_point(6), (3,))).results)
    assert len(from_table(Ledger(tmp_path).table())) == 4


def test_a_newer_schema_is_refused_with_its_version(tmp_path: Path) -> None:
    write_part(tmp_path / "ledger", str(SCHEMA_VERSION + 1).encode())
    with pytest.raises(UserError, match=f"schema version {SCHEMA_VERSION + 1}, newer than {SCHEMA_VERSION}: update"):
        Ledger(tmp_path / "ledger").finished_seeds()
    with pytest.raises(UserError, match="schema version"), Ledger(tmp_path / "ledger").writer():
        pass


def test_foreign_and_corrupt_files_are_named(tmp_path: Path) -> None:
    write_part(tmp_path / "foreign", None)
    with pytest.raises(UserError, match="not a ledger part"):
        Ledger(tmp_path / "foreign").table()
    truncated = Ledger(tmp_path / "truncated")
    append(truncated, quick_result(plane_point(), (0,)))
    (part,) = Path(truncated.root).glob("*.parquet")
    part.write_bytes(part.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"part-.*is damaged"):
        Ledger(truncated.root).table()
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "readme.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(UserError, match=r"readme\.txt is not a part of a ledger"):
        Ledger(tmp_path / "notes").table()


def test_a_location_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(UserError, match="cannot write to the folder"), Ledger(tmp_path / "file" / "ledger").writer():
        pass
    with pytest.raises(UserError, match="not open for writing"):
        Ledger(tmp_path / "ledger").append(quick_result(plane_point(), (0,)).results)


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    ledger, batch = Ledger(tmp_path / "ledger"), quick_result(plane_point(), (0,))
    with ledger.writer():
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(UserError, match="No space left on device"):
                ledger.append(batch.results)
        assert seeds(ledger) == {}
        assert not list((tmp_path / "ledger").glob(".part-*"))
        ledger.append(batch.results)
    assert ledger.table().num_rows == 1


def test_settings_are_json(tmp_path: Path) -> None:
    record = quick_result(plane_point(), (0,)).results[0]
    assert json.loads(record.planner_settings)["iterations"] == 60
    assert json.loads(record.task_settings) == {}
    assert set(json.loads(record.versions)) >= {"python", "torch", "numpy"}
