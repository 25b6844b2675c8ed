"""A zarr store that refuses truncated chunks; import it only where zarr is installed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from zarr.abc.store import RangeByteRequest
from zarr.storage import LocalStore, WrapperStore

from world_models.datasets.base import DatasetError

if TYPE_CHECKING:
    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import Buffer, BufferPrototype

HEADERS = (".zarray", ".zgroup", ".zattrs", "zarr.json")
BLOSC_HEADER = 16
"""Bytes of a Blosc chunk's header, whose last four are the length of the whole chunk."""


class CheckedStore(WrapperStore[LocalStore]):
    """A folder, read only, whose chunks are checked before they are unpacked.

    Blosc unpacks as many bytes as a chunk's header names, beyond the chunk's end if it is truncated, and gives what lies
    there in memory. Reading such a chunk raises DatasetError.
    """

    _store: LocalStore

    def __init__(self, store: LocalStore) -> None:
        super().__init__(store)
        self._packed: dict[Path, bool] = {}
        """Whether Blosc packed the chunks of a folder, where that is known."""

    @classmethod
    def of(cls, path: Path) -> CheckedStore:
        """The store of a folder."""
        return cls(LocalStore(path, read_only=True))

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """The content of a file, or a part of it. Raises DatasetError for a chunk that is too short."""
        found = await super().get(key, prototype, byte_range)
        if found is None:
            return None
        if isinstance(byte_range, RangeByteRequest) and len(found) < byte_range.end - byte_range.start:
            raise self._short(key, len(found), byte_range.end - byte_range.start)
        if byte_range is None and self._is_blosc(key):
            header = found[:BLOSC_HEADER].to_bytes()
            claimed = int.from_bytes(header[12:16], "little")
            if len(header) < BLOSC_HEADER or len(found) < claimed:
                raise self._short(key, len(found), max(claimed, BLOSC_HEADER))
        return found

    def _is_blosc(self, key: str) -> bool:
        """Whether a file is a chunk that Blosc packed last."""
        file = Path(self._store.root, key)
        if file.name in HEADERS:
            return False
        if file.parent not in self._packed:
            self._packed[file.parent] = packed_by_blosc(file.parent, self._store.root)
        return self._packed[file.parent]

    def _short(self, key: str, size: int, expected: int) -> DatasetError:
        return DatasetError(
            f"{self._store.root}: the chunk {key} has {size} bytes, and {expected} are expected: it is truncated; "
            "copy the dataset again."
        )


def packed_by_blosc(folder: Path, root: Path) -> bool:
    """Whether the nearest header of an array, from a folder of chunks up to the root, names Blosc as the last step."""
    for above in (folder, *folder.parents):
        if (above / ".zarray").is_file():
            compressor = json.loads((above / ".zarray").read_text(encoding="utf-8")).get("compressor") or {}
            return compressor.get("id") == "blosc"
        if (above / "zarr.json").is_file():
            codecs = json.loads((above / "zarr.json").read_text(encoding="utf-8")).get("codecs") or [{}]
            return codecs[-1].get("name") == "blosc"
        if above == root:
            break
    return False
