"""Archives that somebody made to do harm, by kind, each changed from a real one in memory."""

from __future__ import annotations

import io
import json
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.ledger.parts import encode, name_of
from orchestrator.ledger.records import SCHEMA, VERSION_KEY, CellResult, from_table, to_table

Members = dict[str, bytes]


@dataclass(frozen=True)
class Base:
    """A real archive."""

    members: Mapping[str, bytes]
    records: list[CellResult]

    @staticmethod
    def of(data: bytes) -> Base:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        (part,) = (content for name, content in members.items() if name.startswith("ledger/"))
        return Base(members, from_table(pq.read_table(io.BytesIO(part))))


def packed(members: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip of these members."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return stream.getvalue()


def with_text(base: Base, name: str, data: bytes) -> bytes:
    return packed({**base.members, name: data})


def with_json(base: Base, name: str, change: Callable[[Any], object]) -> bytes:
    """The archive with a JSON member changed in place, or replaced by what `change` returns."""
    value = json.loads(base.members[name])
    other = change(value)
    return with_text(base, name, json.dumps(value if other is None else other).encode())


def with_parts(base: Base, *parts: bytes) -> bytes:
    """The archive with other parts of its ledger, named as they should be."""
    texts = {name: data for name, data in base.members.items() if not name.startswith("ledger/")}
    return packed(texts | {f"ledger/{name_of(data, number)}": data for number, data in enumerate(parts)})


def with_record(base: Base, **changes: object) -> bytes:
    """The archive with one record changed."""
    return with_parts(base, encode(to_table([replace(base.records[0], **changes), *base.records[1:]])))  # type: ignore[arg-type]


def with_column(base: Base, name: str, column: pa.Array | None) -> bytes:
    """The archive with a column of its records replaced, or left out."""
    table = to_table(base.records)
    at = table.schema.get_field_index(name)
    table = table.remove_column(at) if column is None else table.set_column(at, name, column)
    stream = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(SCHEMA.metadata), stream)
    return with_parts(base, stream.getvalue())


def patched(data: bytes, name: str, central: Mapping[int, bytes], local: Mapping[int, bytes]) -> bytes:
    """The zip with bytes of a member's two headers replaced, at offsets from their starts."""
    changed, raw = bytearray(data), name.encode()
    for start in _headers(data, b"PK\x01\x02", 46, raw):
        for offset, value in central.items():
            changed[start + offset : start + offset + len(value)] = value
    for start in _headers(data, b"PK\x03\x04", 30, raw):
        for offset, value in local.items():
            changed[start + offset : start + offset + len(value)] = value
    return bytes(changed)


def _headers(data: bytes, mark: bytes, size: int, name: bytes) -> Iterator[int]:
    at = data.find(mark)
    while at >= 0:
        if data[at + size : at + size + len(name)] == name:
            yield at
        at = data.find(mark, at + 1)


def sized(base: Base, declared: int) -> bytes:
    """The archive whose report declares another size than it has."""
    raw = struct.pack("<I", declared)
    return patched(packed(base.members), "report.txt", {24: raw}, {22: raw})


def added(base: Base, name: str, mode: int = 0, data: bytes = b"x", method: int = zipfile.ZIP_STORED) -> bytes:
    """The archive with one more member."""
    stream = io.BytesIO(packed(base.members))
    with zipfile.ZipFile(stream, "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a name that is there twice
        member = zipfile.ZipInfo(name)
        member.external_attr, member.create_system, member.compress_type = mode << 16, 3, method
        archive.writestr(member, data)
    return stream.getvalue()


def overlapping(base: Base) -> bytes:
    """Two members of the list that share their bytes."""
    data = packed({**base.members, "ledger/part-00000007-00000000.parquet": base.members["report.txt"]})
    (start,) = _headers(data, b"PK\x03\x04", 30, b"report.txt")
    at = struct.pack("<I", start)
    return patched(data, "ledger/part-00000007-00000000.parquet", {42: at}, {})


def encrypted(base: Base) -> bytes:
    return patched(packed(base.members), "config.yaml", {8: b"\x01\x00"}, {6: b"\x01\x00"})


def compressed_as(base: Base, method: int) -> bytes:
    raw = struct.pack("<H", method)
    return patched(packed(base.members), "config.yaml", {10: raw}, {8: raw})


def checksum(base: Base) -> bytes:
    return patched(packed(base.members), "report.csv", {16: struct.pack("<I", zlib.crc32(b"other"))}, {})


def nul_name(base: Base) -> bytes:
    data = added(base, "report.txtXexe")
    return data.replace(b"report.txtXexe", b"report.txt\0exe")


def grid(change: Callable[[Any], object]) -> Callable[[Base], bytes]:
    return lambda base: with_json(base, "sweep.json", change)


def named(name: object) -> Callable[[Base], bytes]:
    """Both the grid and the manifest with this name."""

    def make(base: Base) -> bytes:
        texts = {part: json.loads(base.members[part]) | {"name": name} for part in ("sweep.json", "manifest.json")}
        return packed({**base.members, **{part: json.dumps(value).encode() for part, value in texts.items()}})

    return make


def manifest(**changes: object) -> Callable[[Base], bytes]:
    return lambda base: with_json(base, "manifest.json", lambda value: value | changes)


def text(name: str, data: bytes) -> Callable[[Base], bytes]:
    return lambda base: with_text(base, name, data)


def record(**changes: object) -> Callable[[Base], bytes]:
    return lambda base: with_record(base, **changes)


def point(**changes: object) -> Callable[[Base], bytes]:
    return grid(lambda value: value["entries"][0]["point"].update(changes))


def entry(**changes: object) -> Callable[[Base], bytes]:
    return grid(lambda value: value["entries"][0].update(changes))


def repeated_text(base: Base) -> bytes:
    """A text of 60 KB in every one of many records, which Parquet says once."""
    rows = [replace(base.records[0], versions="[" + " " * 60_000 + "]")] * len(base.records)
    return with_parts(base, encode(to_table(rows)))


def long_list(base: Base) -> bytes:
    """Actions of 2 million equal numbers, which take a few bytes in Parquet."""
    actions = [np.zeros(2_000_000, np.float32), *([record.actions for record in base.records[1:]])]
    return with_column(base, "actions", pa.array(actions, pa.list_(pa.float32())))


def newer(base: Base) -> bytes:
    stream = io.BytesIO()
    pq.write_table(to_table(base.records).replace_schema_metadata({VERSION_KEY: b"99"}), stream)
    return with_parts(base, stream.getvalue())


def broken_text(base: Base) -> bytes:
    raw = [b"\xff\xfe", *(b"vm" for _ in base.records[1:])]
    return with_column(base, "host", pa.array(raw, pa.binary()))


ALIASES = b"a: &a [x]\n" + b"".join(b"%c: &%c [*%c,*%c,*%c]\n" % (n + 1, n + 1, n, n, n) for n in range(97, 120))
DEEP = b"[" * 100_000

KINDS: dict[str, Callable[[Base], bytes]] = {
    "no zip": lambda base: b"no zip",
    "empty": lambda base: b"",
    "cut": lambda base: packed(base.members)[:-40],
    "something before": lambda base: b"#!/bin/sh\n" + packed(base.members),
    "encrypted": encrypted,
    "unknown compression": lambda base: compressed_as(base, 97),
    "bzip2": lambda base: packed(base.members, zipfile.ZIP_BZIP2),
    "lzma": lambda base: packed(base.members, zipfile.ZIP_LZMA),
    "stored as deflated": lambda base: compressed_as(base, 0),
    "twice": lambda base: added(base, "sweep.json", data=base.members["sweep.json"]),
    "overlapping": overlapping,
    "symbolic link": lambda base: added(base, "ledger/part-00000009-00000000.parquet", 0o120777, b"/etc/passwd"),
    "device": lambda base: added(base, "ledger/part-00000009-00000000.parquet", 0o060666),
    "absolute": lambda base: added(base, "/tmp/escaped"),
    "out of the folder": lambda base: added(base, "ledger/../../../escaped"),
    "backslash": lambda base: added(base, "ledger\\..\\escaped"),
    "NUL in a name": nul_name,
    "case clash": lambda base: added(base, "Sweep.json"),
    "folder": lambda base: added(base, "ledger/", 0o040755, b""),
    "another member": lambda base: added(base, "run.sh"),
    "hidden": lambda base: added(base, "ledger/.part-00000009-00000000.parquet"),
    "long name": lambda base: added(base, "x" * 60_000),
    "checksum": checksum,
    "shorter than declared": lambda base: sized(base, 100_000),
    "longer than declared": lambda base: sized(base, 5),
    "declares 4 GB": lambda base: sized(base, 2**32 - 2),
    "bomb": lambda base: added(base, "ledger/part-00000009-00000000.parquet", 0, bytes(10**7), zipfile.ZIP_DEFLATED),
    "bomb in the config": lambda base: with_text(base, "config.yaml", b"#" * (2**18 + 1)),
    "many members": lambda base: packed({f"ledger/part-{n:08d}-00000000.parquet": b"" for n in range(1001)}),
    "long list of members": lambda base: packed({f"{n}{'x' * 60_000}": b"" for n in range(80)}),
    "no manifest": lambda base: packed({name: data for name, data in base.members.items() if name != "manifest.json"}),
    "manifest no JSON": text("manifest.json", b"{"),
    "manifest a list": text("manifest.json", b"[]"),
    "manifest deep": text("manifest.json", DEEP),
    "manifest in UTF-16": lambda base: with_text(
        base, "manifest.json", base.members["manifest.json"].decode().encode("utf-16")
    ),
    "manifest of another kind": manifest(cells="10"),
    "manifest without models": manifest(models=None),
    "manifest counts more": manifest(cells=11),
    "manifest counts fewer": manifest(cells=9, missing=1),
    "manifest counts below 0": manifest(cells=-1, missing=11),
    "newer format": manifest(format="grasp-sweep-9"),
    "other name in the manifest": manifest(name="other"),
    "name leads out": named("../../evil"),
    "name is the parent": named(".."),
    "name is the folder": named("."),
    "name is empty": named(""),
    "name is absolute": named("/tmp/evil"),
    "name is hidden": named(".evil"),
    "name is long": named("n" * 300),
    "name is a number": named(7),
    "grid deep": text("sweep.json", b'{"name":' + DEEP),
    "grid without points": grid(lambda value: value | {"entries": []}),
    "grid without seeds": grid(lambda value: value | {"seeds": []}),
    "grid a point twice": grid(lambda value: value["entries"].append(value["entries"][0])),
    "seed twice": grid(lambda value: value | {"seeds": [0, 0, 1, 2, 3]}),
    "seed below 0": grid(lambda value: value | {"seeds": [-1, 1, 2, 3, 4]}),
    "seed too large": grid(lambda value: value | {"seeds": [2**64, 1, 2, 3, 4]}),
    "seed true": grid(lambda value: value | {"seeds": [True, 0, 2, 3, 4]}),
    "horizon 0": point(horizon=0),
    "horizon too large": point(horizon=2**40),
    "horizon a text": point(horizon="25"),
    "mode unknown": point(mode="mpc:0"),
    "weight not finite": point(disagreement=float("nan")),
    "setting not finite": point(planner={"name": "gd", "settings": [["lr", float("inf")]]}),
    "setting a list": point(planner={"name": "gd", "settings": [["lr", [1]]]}),
    "version 0": point(task_version=0),
    "one class": entry(classes=1),
    "label with ESC": entry(planner="gd\x1b[2J"),
    "label with a line break": entry(task="wall\nx"),
    "label that is long": entry(unit="p" * 1000),
    "config no YAML": text("config.yaml", b"a: [\n"),
    "config a list": text("config.yaml", b"- a\n"),
    "config with aliases": text("config.yaml", ALIASES),
    "config with a tag": text("config.yaml", b"a: !!python/object/apply:os.system ['id']\n"),
    "config deep": text("config.yaml", DEEP),
    "config with a long number": text("config.yaml", b"a: 1" + b":59" * 100_000),
    "config not UTF-8": text("config.yaml", b"a: \xff\n"),
    "config a key twice": text("config.yaml", b"a: 1\na: 2\n"),
    "config with a list as key": text("config.yaml", b"? [a]\n: 1\n"),
    "part no Parquet": lambda base: with_parts(base, b"PAR1 but no more"),
    "part newer": newer,
    "part twice": lambda base: with_parts(base, *[encode(to_table(base.records))] * 2),
    "part lacks": lambda base: with_parts(base),
    "records fewer": lambda base: with_parts(base, encode(to_table(base.records[1:]))),
    "record lacks its actions": lambda base: with_column(base, "actions", None),
    "record with broken text": broken_text,
    "record with a long text": record(host="h" * 10**5),
    "record of another seed": record(seed=77),
    "record with another id": record(cell_id="0" * 16),
    "record of another planner": record(planner_settings='{"lr":1}'),
    "record with deep settings": record(planner_settings="[" * 50_000),
    "record of an unknown status": record(status="won"),
    "record failed with success": record(status="failed", error="x", success=True, steps_to_success=1),
    "record with an error": record(error="x"),
    "record with NaN": record(distance=float("nan")),
    "record with infinite cost": record(costs=(float("inf"),)),
    "record with infinite actions": lambda base: with_record(base, actions=(float("inf"), *base.records[0].actions[1:])),
    "record with few actions": record(actions=(0.0,)),
    "record without actions": record(actions=()),
    "record with many costs": record(costs=(0.0,) * 99),
    "record nearer than 0": record(distance=-1.0),
    "record faster than 0": record(plan_seconds=-1.0),
    "record of no batch": record(batch_size=0),
    "record later than its horizon": record(success=True, steps_to_success=26),
    "record with success and no step": record(success=True, steps_to_success=None),
    "record of the year 9999": record(finished_at=datetime(9999, 1, 1, tzinfo=UTC)),
    "record with other versions": record(versions="[]"),
    "texts that repeat": repeated_text,
    "a list without end": long_list,
}
"""How each kind is made of a real archive."""
