"""PyTorch's zip layout: `NAME/data.pkl` next to `NAME/data/KEY`, stored without compression; claimed sizes are never
trusted."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from world_models.adapters.pickles.machine import DamagedPickleError
from world_models.adapters.pickles.records import Name

DTYPES: Mapping[str, torch.dtype] = {
    "torch.FloatStorage": torch.float32,
    "torch.DoubleStorage": torch.float64,
    "torch.HalfStorage": torch.float16,
    "torch.BFloat16Storage": torch.bfloat16,
    "torch.LongStorage": torch.int64,
    "torch.IntStorage": torch.int32,
    "torch.ShortStorage": torch.int16,
    "torch.CharStorage": torch.int8,
    "torch.ByteStorage": torch.uint8,
    "torch.BoolStorage": torch.bool,
}
"""Element types by the storage classes named in files."""

MAX_DIMENSIONS = 16
"""Largest number of axes of a tensor."""


@dataclass(frozen=True)
class Storage:
    """A flat tensor with all elements of one storage of the file."""

    flat: Tensor


def rebuilt(arguments: tuple[object, ...]) -> Tensor:
    """A view of a storage of the file, after a check that it stays inside and is not larger than the storage."""
    storage, offset, shape, strides = (*arguments, None, None, None, None)[:4]
    if not (isinstance(storage, Storage) and isinstance(offset, int) and _counts(shape) and _counts(strides)):
        raise DamagedPickleError("it describes a tensor in an unknown way")
    assert isinstance(shape, tuple)
    assert isinstance(strides, tuple)
    if len(shape) != len(strides) or len(shape) > MAX_DIMENSIONS:
        raise DamagedPickleError("it describes a tensor in an unknown way")
    held, wanted = storage.flat.numel(), math.prod(shape)
    end = offset + 1 + sum((length - 1) * stride for length, stride in zip(shape, strides, strict=True)) if wanted else 0
    if offset < 0 or wanted > held or end > held:
        raise DamagedPickleError(f"it describes a tensor of {wanted} elements in a storage of {held}")
    if not wanted:
        return storage.flat.new_empty(shape)
    return storage.flat.as_strided(shape, strides, offset)


def _counts(value: object) -> bool:
    return isinstance(value, tuple) and all(isinstance(part, int) and 0 <= part < 2**31 for part in value)


class Archive:
    """A file in PyTorch's zip layout."""

    def __init__(self, archive: zipfile.ZipFile, size: int) -> None:
        self._archive = archive
        self._entries = {info.filename: info for info in archive.infolist()}
        pickles = [name for name in self._entries if name.count("/") <= 1 and name.split("/")[-1] == "data.pkl"]
        if len(pickles) != 1:
            raise DamagedPickleError("its zip holds no data.pkl, so PyTorch did not write it")
        self._folder = pickles[0].removesuffix("data.pkl")
        self._check_sizes(size)
        self._storages: dict[str, Storage] = {}

    def _check_sizes(self, size: int) -> None:
        entries = self._archive.infolist()
        if len(entries) != len(self._entries):
            raise DamagedPickleError("its zip holds two entries with the same name")
        if any(info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size for info in entries):
            raise DamagedPickleError("its zip is compressed, which PyTorch never does")
        total = sum(info.file_size for info in entries)
        if total > size:
            raise DamagedPickleError(f"its zip claims {total} bytes in a file of {size}")

    def pickle(self) -> bytes:
        """The content of `data.pkl`."""
        if self._text("byteorder", "little") != "little":
            raise DamagedPickleError("it was written on a big-endian machine")
        return self._archive.read(self._folder + "data.pkl")

    def _text(self, name: str, default: str) -> str:
        if self._folder + name not in self._entries:
            return default
        return self._archive.read(self._folder + name)[:16].decode("ascii", "replace").strip()

    def storage(self, identity: object) -> Storage:
        """The storage that `("storage", class, key, location, elements)` refers to, on the CPU."""
        if not (isinstance(identity, tuple) and len(identity) == 5 and identity[0] == "storage"):
            raise DamagedPickleError("it refers to storages in an unknown way")
        _, kind, key, _, count = identity
        if not (isinstance(kind, Name) and kind.name in DTYPES and isinstance(key, str) and isinstance(count, int)):
            raise DamagedPickleError("it refers to storages in an unknown way")
        if key not in self._storages:
            self._storages[key] = self._load(key, DTYPES[kind.name], count)
        return self._storages[key]

    def _load(self, key: str, dtype: torch.dtype, count: int) -> Storage:
        entry = self._entries.get(f"{self._folder}data/{key}")
        held = entry.file_size if entry else 0
        if count < 0 or held != count * dtype.itemsize:
            raise DamagedPickleError(f"storage {key[:20]!r} should have {count} elements and has {held} bytes")
        if entry is None or not count:
            return Storage(torch.empty(0, dtype=dtype))
        return Storage(torch.frombuffer(bytearray(self._archive.read(entry)), dtype=dtype))
