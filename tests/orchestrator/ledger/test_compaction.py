"""Merging parts: few files, little rewriting, bounded steps; readers see each cell once, whatever is going on."""

import random
import shutil
import subprocess
import sys
from dataclasses import replace
from math import ceil, log
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.ledger.compaction import Tiers
from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.parts import Part, each_once, encode, inspect, name_of, read, standing
from orchestrator.ledger.records import SCHEMA, SCHEMA_VERSION, VERSION_KEY, from_table, to_table
from orchestrator.storage.local import LocalStorage
from orchestrator.testing import plane_point, quick_result
from tests.orchestrator.ledger.test_ledger_faults import BATCH, TIERS, batch, batches

CHECKOUT = Path(__file__).resolve().parents[3]
NEVER = Tiers(fan=10**6)
GOLDEN = sorted((Path(__file__).parents[2] / "golden").glob("ledger-*.parquet"))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(1, 200), min_size=1, max_size=400), st.integers(2, 8), st.integers(2, 4), st.integers(50, 2000))
def test_rows_are_rewritten_a_logarithmic_number_of_times_and_steps_are_bounded(appends, fan, growth, rows):
    tiers = Tiers(fan, growth, rows)
    parts: list[list[int]] = []  # how often each row was rewritten
    for size in appends:
        parts.append([0] * size)
        run = tiers.run([len(part) for part in parts])
        if run is not None:
            merged = [times + 1 for part in parts[run] for times in part]
            assert len(merged) <= rows
            assert run.stop - run.start >= fan
            parts[run] = [merged]
    assert max(max(part) for part in parts) <= ceil(log(rows) / log(growth))


def test_a_million_cells_in_batches_of_64_become_few_parts_and_each_row_is_rewritten_four_times():
    tiers, sizes, rewritten, most = Tiers(), [], 0, 0
    for _ in range(1_000_000 // 64):
        sizes.append(64)
        most = max(most, len(sizes))
        run = tiers.run(sizes)
        if run is not None:
            rewritten += sum(sizes[run])
            sizes[run] = [sum(sizes[run])]
    assert most < 120
    assert rewritten < 4 * 1_000_000


def test_small_parts_become_few_and_the_records_stay_the_same(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, tiers=TIERS)
    with ledger.writer():
        for number in range(12):
            ledger.append(batch(number))
            assert batches(Ledger(tmp_path)) == set(range(number + 1))
    expected = {r.cell_id: r for number in range(12) for r in batch(number)}
    assert {r.cell_id: r for r in from_table(Ledger(tmp_path).table())} == expected
    names = [path.name for path in tmp_path.glob("*.parquet")]
    assert len(names) <= 2
    assert ds.dataset(tmp_path, format="parquet").count_rows() == len(expected)


def test_a_failed_cell_that_succeeded_later_is_one_record_in_what_is_merged(tmp_path: Path) -> None:
    failed, point = quick_result(plane_point(), (0, 1)).results, plane_point()
    good = replace(failed[0], status="completed", error=None)
    ledger = Ledger(tmp_path, tiers=NEVER)
    with ledger.writer():
        for results in (failed, (good,), (replace(good, host="later"), replace(failed[1], host="later"))):
            ledger.append(results)
        before = ledger.table().sort_by("seed")
        ledger._tiers = TIERS
        ledger.compact()
    (name,) = [path.name for path in tmp_path.glob("*.parquet")]
    assert pq.read_table(tmp_path / name).num_rows == 2
    assert Ledger(tmp_path).table().sort_by("seed") == before
    assert [(row["status"], row["host"] == "later") for row in before.to_pylist()] == [("completed", True), ("failed", True)]
    assert ledger.finished_seeds(include_failed=False)[point.point_id].tolist() == [0]


def by_hand(rows: list[dict]) -> list[int]:
    """The rows that count: the last of each cell that did not fail, else its last."""
    best: dict[tuple, int] = {}
    for number, row in enumerate(rows):
        key = row["point_id"], row["seed"]
        if key not in best or rows[best[key]]["status"] == "failed" or row["status"] != "failed":
            best[key] = number
    return sorted(best.values())


ROWS = st.lists(
    st.fixed_dictionaries(
        {"point_id": st.sampled_from("abc"), "seed": st.integers(0, 3), "status": st.sampled_from(["failed", "completed"])}
    ),
    max_size=30,
)


@settings(max_examples=200, deadline=None)
@given(ROWS, st.data())
def test_which_duplicate_counts_does_not_depend_on_earlier_merges(rows, data):
    schema = pa.schema([SCHEMA.field(name) for name in ("point_id", "seed", "status")])
    numbered = pa.Table.from_pylist(rows, schema=schema).append_column("n", pa.array(range(len(rows)), pa.int64()))
    assert each_once(numbered)["n"].to_pylist() == by_hand(rows)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=4)))
    pieces = [each_once(numbered.slice(a, b - a)) for a, b in zip([0, *cuts], [*cuts, len(rows)], strict=True)]
    assert each_once(pa.concat_tables(pieces))["n"].to_pylist() == by_hand(rows)


def test_parts_that_a_dead_writer_left_next_to_the_merged_one_are_not_read_twice_and_removed_later(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "a", tiers=NEVER)
    with ledger.writer():
        for number in range(4):
            ledger.append(batch(number))
        shutil.copytree(tmp_path / "a", tmp_path / "before")
        ledger._tiers = TIERS
        ledger.compact()
    for path in (tmp_path / "before").glob("part-*"):
        shutil.copy(path, tmp_path / "a")
    assert len(list((tmp_path / "a").glob("*.parquet"))) == 5
    assert batches(Ledger(tmp_path / "a")) == {0, 1, 2, 3}
    with Ledger(tmp_path / "a").writer():
        pass
    assert len(list((tmp_path / "a").glob("*.parquet"))) == 1


def test_two_writers_on_a_store_without_locks_lose_nothing(tmp_path: Path) -> None:
    """After a lost lease there may be another part of the same number, and a merge by a writer that does not know it."""
    ledger, files = Ledger(tmp_path, tiers=NEVER), LocalStorage(tmp_path)
    with ledger.writer():
        for number in range(3):
            ledger.append(batch(number))
        data = encode(to_table(batch(7)))
        files.write(name_of(data, 1), data)
        ledger._tiers = TIERS
        ledger.compact()
        assert batches(Ledger(tmp_path)) == {0, 1, 2, 7}
    with Ledger(tmp_path, tiers=TIERS).writer():
        pass
    assert batches(Ledger(tmp_path)) == {0, 1, 2, 7}


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda path: path.stem)
def test_ledgers_of_every_schema_version_are_merged_into_the_newest(golden: Path, tmp_path: Path) -> None:
    shutil.copy(golden, tmp_path / name_of(golden.read_bytes(), 0))
    before = from_table(Ledger(tmp_path).table())
    ledger = Ledger(tmp_path)
    with ledger.writer():
        ledger.append(replace(r, point_id="0", cell_id=f"new-{r.seed}") for r in before)
        ledger.compact()
    (part,) = tmp_path.glob("*.parquet")
    assert pq.read_schema(part).metadata[VERSION_KEY] == str(SCHEMA_VERSION).encode()
    assert [record for record in from_table(Ledger(tmp_path).table()) if record.point_id != "0"] == before
    assert len(from_table(Ledger(tmp_path).table())) == 6


def test_only_parts_and_row_groups_that_can_hold_a_point_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.ledger.parts.ROW_GROUP", 10)
    files, template = LocalStorage(tmp_path), batch(0)[0]
    ids = [f"{k:02d}" for k in range(20)]
    rows = [replace(template, point_id=point, seed=seed, cell_id=f"{point}-{seed}") for point in ids for seed in range(5)]
    files.write(name_of(b"", 0, 9), encode(to_table(rows)))
    part = inspect(files, files.names()[0])
    assert (part.first, part.last, part.rows, part.lowest, part.highest) == (0, 9, 100, "00", "19")
    assert part.may_hold(["07", "x"])
    assert not part.may_hold(["20", "3"])
    asked: list[int] = []
    original = pq.ParquetFile.read_row_groups

    def spy(self: pq.ParquetFile, groups: list[int], *rest: object, **options: object) -> pa.Table:
        asked.extend(groups)
        return original(self, groups, *rest, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_groups", spy)
    found = read(files, part, ["point_id", "seed"], ["07", "12"])
    assert found.to_pylist() == [{"point_id": point, "seed": seed} for point in ("07", "12") for seed in range(5)]
    assert asked == [3, 6]


def test_order_and_coverage_of_parts() -> None:
    def part(name: str, first: int, last: int, *covers: str) -> Part:
        return Part(name, first, last, 1, "", "", frozenset(covers))

    parts = [part("e", 4, 4), part("abc", 0, 2, "a", "b", "c"), part("c", 2, 2), part("d", 3, 3), part("b2", 1, 1)]
    random.Random(0).shuffle(parts)
    assert [p.name for p in standing(parts)] == ["b2", "abc", "d", "e"]


WRITER = """
import sys
from orchestrator.ledger.ledger import Ledger
from tests.orchestrator.ledger.test_ledger_faults import TIERS, batch
from pathlib import Path
ledger = Ledger(Path(sys.argv[1]), tiers=TIERS)
with ledger.writer():
    for number in range(int(sys.argv[2])):
        ledger.append(batch(number))
        print(number, flush=True)
"""


def test_readers_see_every_acknowledged_cell_once_while_parts_come_and_go(tmp_path: Path) -> None:
    total = 60
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path), str(total)], cwd=CHECKOUT, stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    reads, reader = 0, Ledger(tmp_path)
    for line in writer.stdout:
        table = reader.table(columns=["seed"])
        seeds = np.sort(table["seed"].to_numpy())
        assert len(seeds) >= BATCH * (int(line) + 1)
        assert (seeds == np.arange(len(seeds))).all(), "each once, none left out"
        reads += 1
    assert writer.wait() == 0
    assert reads == total
    writer.stdout.close()
