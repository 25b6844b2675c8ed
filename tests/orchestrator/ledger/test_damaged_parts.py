"""Damaged and foreign parts: what is read is what was written, or the part is refused by name."""

from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.parts import encode, inspect, name_of, read
from orchestrator.ledger.records import SCHEMA, CellResult, from_table, to_table
from orchestrator.ledger.seal import DamagedPartError, SealedPart
from orchestrator.storage.local import LocalStorage
from orchestrator.testing import plane_point, quick_result
from tests.fuzz import ledger_parts

RECORDS = quick_result(plane_point(), (0, 1, 2)).results


def store(folder: Path, data: bytes, number: int = 0) -> Path:
    file = folder / name_of(data, number)
    file.write_bytes(data)
    return file


def flipped(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


def unsealed(table: pa.Table) -> bytes:
    """A part as a version without seals, or another program, writes it."""
    written = BytesIO()
    pq.write_table(table, written)
    return written.getvalue()


def test_flipped_bits_never_give_other_data_nor_another_error_than_a_sentence() -> None:
    outcomes = ledger_parts.run(60, seed=1)
    assert outcomes["other"] == 0
    assert outcomes["refused"] > 55


def test_every_byte_of_a_column_is_compared_before_it_is_used(tmp_path: Path) -> None:
    data = encode(to_table(RECORDS))
    for index in range(0, len(SCHEMA), 4):
        column = pq.read_metadata(BytesIO(data)).row_group(0).column(index)
        start = column.dictionary_page_offset or column.data_page_offset
        file = tmp_path / name_of(data, 0)
        # Its last byte is data; its first ones are a page's header, which no checksum of Parquet covers.
        for position in (start + 1, start + column.total_compressed_size - 1):
            file.write_bytes(flipped(data, position))
            storage = LocalStorage(tmp_path)
            part = inspect(storage, file.name)
            with pytest.raises(DamagedPartError, match=r"a column differs from its digest.*grasp check --set-aside"):
                read(storage, part, SCHEMA.names)


def test_a_part_is_read_in_whole_columns_and_only_in_those_that_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    rows = [replace(RECORDS[0], seed=seed, actions=tuple(rng.normal(size=200).tolist())) for seed in range(200)]
    data = encode(to_table(rows))
    file = store(tmp_path, data)
    loaded, original = [0], SealedPart._put

    def counting(self: SealedPart, start: int, data: bytes) -> None:
        loaded[0] += len(data)
        original(self, start, data)

    monkeypatch.setattr(SealedPart, "_put", counting)
    storage = LocalStorage(tmp_path)
    part = inspect(storage, file.name)
    assert read(storage, part, ["seed", "status"]).num_rows == 200
    assert loaded[0] < len(data) // 4


def test_a_part_without_a_seal_is_compared_with_its_name(tmp_path: Path) -> None:
    data = unsealed(to_table(RECORDS))
    file = store(tmp_path, data)
    assert from_table(Ledger(tmp_path).table()) == list(RECORDS)
    file.write_bytes(flipped(data, len(data) // 2))
    with pytest.raises(DamagedPartError, match=f"{file.name} is damaged .its bytes differ from the digest in its name"):
        Ledger(tmp_path).finished_seeds()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda table: table.drop_columns(["distance"]), "lacks the column 'distance'"),
        (lambda table: table.append_column("mine", pa.array([1, 2, 3])), "has the column 'mine'"),
        (lambda table: table.rename_columns(["succesz" if n == "success" else n for n in SCHEMA.names]), "lacks the column"),
        (lambda table: recast(table, "seed", pa.int32()), "'seed' has the type int32, not int64"),
        (lambda table: recast(table, "success", pa.int8()), "'success' has the type int8, not bool"),
    ],
)
def test_other_columns_under_our_schema_version_are_refused(change, said: str, tmp_path: Path) -> None:
    store(tmp_path, unsealed(change(to_table(RECORDS)).replace_schema_metadata(SCHEMA.metadata)))
    with pytest.raises(DamagedPartError, match=said):
        Ledger(tmp_path).table()


def recast(table: pa.Table, name: str, kind: pa.DataType) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, table[name].cast(kind))


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (replace(RECORDS[0], status="great"), "unknown status 'great'"),
        (replace(RECORDS[0], distance=float("nan")), "'distance' has a number that is not finite"),
        (replace(RECORDS[0], plan_seconds=float("inf")), "'plan_seconds' has a number that is not finite"),
    ],
)
def test_values_that_no_record_has_are_refused(record: CellResult, said: str, tmp_path: Path) -> None:
    store(tmp_path, encode(to_table([record])))
    with pytest.raises(DamagedPartError, match=said):
        Ledger(tmp_path).table()


def test_a_missing_value_is_refused(tmp_path: Path) -> None:
    table = to_table(RECORDS)
    nullable = pa.schema([field.with_nullable(True) for field in SCHEMA], SCHEMA.metadata)
    columns = [pa.array([None, True, True]) if name == "success" else table[name] for name in SCHEMA.names]
    store(tmp_path, unsealed(pa.Table.from_arrays(columns, schema=nullable)))
    with pytest.raises(DamagedPartError, match="'success' lacks a value"):
        Ledger(tmp_path).table(columns=["success"])


def test_part_numbers_may_have_more_than_eight_digits(tmp_path: Path) -> None:
    store(tmp_path, encode(to_table(RECORDS[:1])), 99_999_999)
    ledger = Ledger(tmp_path)
    with ledger.writer():
        ledger.append(RECORDS[1:2])
        ledger.append(RECORDS[2:])
        ledger.compact()
    (merged,) = tmp_path.glob("*.parquet")
    assert merged.name.startswith("part-99999999-100000001-")
    assert sorted(record.seed for record in from_table(Ledger(tmp_path).table())) == [0, 1, 2]
    with Ledger(tmp_path).writer():
        pass


def test_a_damaged_part_is_not_merged_into_a_sound_one(tmp_path: Path) -> None:
    """Merging would give what it read a new digest."""
    ledger = Ledger(tmp_path)
    with ledger.writer():
        for record in RECORDS:
            ledger.append([record])
        first = min(tmp_path.glob("*.parquet"))
        data = first.read_bytes()
        column = pq.read_metadata(first).row_group(0).column(SCHEMA.names.index("success"))
        first.write_bytes(flipped(data, column.data_page_offset + column.total_compressed_size - 1))
        ledger.compact()
        assert len([*tmp_path.glob("*.parquet")]) == 3
    with pytest.raises(DamagedPartError, match=first.name):
        Ledger(tmp_path).table()
