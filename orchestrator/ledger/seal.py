"""Seals: digests inside a part by which a reader checks exactly the bytes that it reads, and no others.

The name of a part has a digest of the whole file. To compare it, all must be read, which is ten times what most questions need.
So the footer of a part also lists a digest of each column chunk, and one of the footer itself (computed with that digest as
zeros). Parts of earlier versions have no seal; they are checked whole.
"""

from __future__ import annotations

import hashlib
import io
import mmap
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from world_models.errors import UserError

SEAL_KEY = "grasp.seal"
"""Key of the seal in the metadata of a part."""

TAIL = 65536
"""Bytes that are read at once from the end of a part; larger footers take a second read."""

_FOOTER_DIGITS, _CHUNK_DIGITS = 16, 8
_SEAL = re.compile(rb"seal:([0-9a-f]{%d}):((?:[0-9a-f]{%d})+);" % (_FOOTER_DIGITS, _CHUNK_DIGITS))
_ENDING = 8
"""Bytes after the footer: its length, and the magic word."""
_MAGIC = b"PAR1"
_STEP = 2**20
_HOLE = 16384


class DamagedPartError(UserError):
    """A ledger part whose bytes are not those that were written, or that is not a part of a ledger at all."""


def blank(groups: int, columns: int) -> str:
    """The placeholder of a seal for so many row groups and columns, which `sealed` fills in."""
    return f"seal:{'0' * _FOOTER_DIGITS}:{'0' * (_CHUNK_DIGITS * groups * columns)};"


def sealed(data: bytes) -> bytes:
    """The bytes of a part whose metadata has a blank seal, with the seal filled in."""
    whole = bytearray(data)
    begin = _footer_begin(data[-_ENDING:], len(data))
    match = _SEAL.search(data, begin)
    assert match is not None
    metadata = pq.read_metadata(io.BytesIO(data))
    groups = (metadata.row_group(index) for index in range(metadata.num_row_groups))
    spans = (_span(group.column(index)) for group in groups for index in range(group.num_columns))
    chunks = "".join(_digest(data[start:end], _CHUNK_DIGITS) for start, end in spans)
    whole[match.start(2) : match.end(2)] = chunks.encode()
    whole[match.start(1) : match.end(1)] = _digest(whole[begin:], _FOOTER_DIGITS).encode()
    return bytes(whole)


def whole_digest(source: pa.NativeFile) -> str:
    """The digest that a part's name has, of a file that need not fit into memory."""
    found, size = hashlib.blake2b(digest_size=4), source.size()
    for start in range(0, size, _STEP):
        found.update(source.read_at(min(_STEP, size - start), start))
    return found.hexdigest()


@dataclass(frozen=True)
class Footer:
    """The footer of a part, which was compared with its digest, and what was read with it."""

    begin: int
    """Offset of the footer in the file."""
    start: int
    """Offset of `data`."""
    data: bytes
    """The end of the file; what comes before the footer was not compared."""
    chunks: tuple[str, ...]
    """Digests of the column chunks, in the order of row groups and columns."""

    def between(self, start: int, end: int) -> bytes:
        """Bytes of the file; none if they were not read."""
        return self.data[start - self.start : end - self.start] if start >= self.start else b""


def footer_of(source: pa.NativeFile) -> Footer | None:
    """The end of a sealed part; None for a part without a seal. Raises DamagedPartError if it differs from its seal."""
    size = source.size()
    start = max(0, size - TAIL)
    data = source.read_at(size - start, start)
    begin = _footer_begin(data[-_ENDING:], size)
    if begin < 0:
        return None
    if begin < start:
        start, data = begin, source.read_at(size - begin, begin)
    footer = bytearray(data[begin - start :])
    found = _SEAL.findall(footer)
    if len(found) != 1:
        return None
    match = _SEAL.search(footer)
    assert match is not None
    said = match[1].decode()
    footer[match.start(1) : match.end(1)] = b"0" * _FOOTER_DIGITS
    if _digest(footer, _FOOTER_DIGITS) != said:
        raise DamagedPartError("its footer differs from its digest")
    digits = match[2].decode()
    return Footer(begin, start, data, tuple(digits[i : i + _CHUNK_DIGITS] for i in range(0, len(digits), _CHUNK_DIGITS)))


class SealedPart:
    """A sealed part, of which only compared bytes can be read.

    They lie where they lie in the file, in a buffer of its size whose other pages the system never has to provide.
    """

    def __init__(self, source: pa.NativeFile, footer: Footer) -> None:
        self._source, self._footer = source, footer
        self._bytes = np.frombuffer(mmap.mmap(-1, source.size()), np.uint8)
        self._put(footer.begin, footer.between(footer.begin, len(self._bytes)))
        self.file = pq.ParquetFile(pa.BufferReader(pa.py_buffer(self._bytes)), pre_buffer=False)
        """The footer and the loaded columns, for Arrow."""

    def load(self, groups: Sequence[int], names: Collection[str]) -> None:
        """Make columns of row groups readable. Raises DamagedPartError for one that differs from its digest."""
        metadata = self.file.metadata
        schema, count = metadata.schema, metadata.num_columns
        columns = [index for index in range(count) if schema.column(index).path.partition(".")[0] in names]
        wanted = [
            _Chunk(*_span(metadata.row_group(group).column(index)), self._footer.chunks[group * count + index])
            for group in groups
            for index in columns
        ]
        for near in _neighbours(wanted):
            start, end = near[0].start, near[-1].end
            data = self._footer.between(start, end) or self._source.read_at(end - start, start)
            for chunk in near:
                content = data[chunk.start - start : chunk.end - start]
                if _digest(content, _CHUNK_DIGITS) != chunk.digest:
                    raise DamagedPartError("a column differs from its digest")
                self._put(chunk.start, content)

    def _put(self, start: int, data: bytes) -> None:
        self._bytes[start : start + len(data)] = np.frombuffer(data, np.uint8)


class _Chunk(NamedTuple):
    """Where a column chunk lies, and its digest."""

    start: int
    end: int
    digest: str


def _neighbours(chunks: Iterable[_Chunk]) -> list[list[_Chunk]]:
    """Groups of chunks that are near enough to be read at once."""
    groups: list[list[_Chunk]] = []
    for chunk in sorted(chunks):
        if groups and chunk.start - groups[-1][-1].end < _HOLE:
            groups[-1].append(chunk)
        else:
            groups.append([chunk])
    return groups


def _span(column: pq.ColumnChunkMetaData) -> tuple[int, int]:
    """First offset and end of a column chunk."""
    dictionary = column.dictionary_page_offset
    start = column.data_page_offset if dictionary is None else min(dictionary, column.data_page_offset)
    return start, start + column.total_compressed_size


def _footer_begin(ending: bytes, size: int) -> int:
    """Offset of the footer; negative if a file of this size with these last bytes is not Parquet."""
    begin = size - _ENDING - int.from_bytes(ending[:4], "little")
    return begin if len(ending) == _ENDING and ending[4:] == _MAGIC else -1


def _digest(data: bytes | bytearray, digits: int) -> str:
    return hashlib.blake2b(data, digest_size=digits // 2).hexdigest()
