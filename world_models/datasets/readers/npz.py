"""NumPy's zip files of arrays with one row per step, as OGBench publishes them: `observations`, `actions`, `terminals`, ...

Nothing is unpickled. Arrays that are not compressed are mapped into memory; the others are unpacked, the large ones into a
temporary file.
"""

from __future__ import annotations

import math
import tempfile
import zipfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from world_models.datasets.base import DatasetError, column_of
from world_models.datasets.columns import FlatReader, PerProcess
from world_models.datasets.digests import FileDigest
from world_models.datasets.index import (
    EpisodeIndex,
    check_rows,
    index_of_dones,
    index_of_ends,
    index_of_ids,
    index_of_lengths,
)
from world_models.datasets.places import Place, local_path
from world_models.datasets.recording import Recording
from world_models.datasets.refusals import reading

MAX_BYTES = 256 * 2**30
"""Bytes that the arrays of a file may have when they are unpacked."""
MAX_RATIO = 200
"""How many times as large as the file its arrays may be, once they exceed `FREE_BYTES`: what is beyond is a zip bomb."""
FREE_BYTES = 64 * 2**20
IN_MEMORY = 256 * 2**20
"""Bytes of a compressed array that is kept in memory; a larger one is unpacked into a temporary file."""


@dataclass(frozen=True)
class Member:
    """An array in a zip file."""

    name: str
    dtype: np.dtype
    shape: tuple[int, ...]
    fortran: bool
    header_bytes: int
    stored: bool
    """Whether it is not compressed."""


def recognise(place: Place) -> bool:
    """Whether a file is a zip of arrays only."""
    path = place.local
    if path is None or not path.is_file() or not zipfile.is_zipfile(path):
        return False
    with reading(str(path)), zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    return bool(names) and all(name.endswith(".npy") for name in names)


def open_npz(place: Place) -> Recording:
    """Open an npz file whose episodes are told by `terminals`, `timeouts`, `episode_ends`, `ep_len` or an episode number.

    Raises DatasetError for pickled objects, zip bombs, damage, and a file whose episodes cannot be told.
    """
    path = local_path(place, "npz")
    members = npz_members(path)
    index = _episodes(path, members)
    columns, readers, notes = {}, {}, []
    for name, member in members.items():
        if name in ENDS or member.dtype.kind not in "biuf" or not member.shape:
            if name not in ENDS:
                notes.append(f"Array {name!r} is {member.dtype} {member.shape} and is left out.")
            continue
        if member.shape[0] < index.rows and index.rows:
            check_rows(index, member.shape[0], name, str(path))
        columns[name] = column_of(name, member.shape[1:], member.dtype)
        readers[name] = FlatReader(PerProcess(partial(load_member, path, member)), index.offsets, columns[name])
    return Recording("npz", place.text, index, columns, readers, FileDigest(place), {}, tuple(notes))


ENDS = ("episode_ends", "ep_len", "ep_offset", "episode_lengths")
"""Arrays that have one value per episode."""


def npz_members(path: Path) -> dict[str, Member]:
    """The arrays of a zip file by name, without unpacking them. Raises DatasetError as `open_npz` does."""
    with reading(str(path)), zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
        total, size = sum(info.file_size for info in infos), path.stat().st_size
        if total > MAX_BYTES or (total > FREE_BYTES and total > MAX_RATIO * size):
            raise DatasetError(
                f"{path} would unpack {total} bytes from {size}, which looks like a zip bomb: "
                "pack its arrays again, or convert them."
            )
        found = {}
        for info in infos:
            member = _member(path, archive, info)
            if member.name in found:
                raise DatasetError(f"{path} holds two arrays called {member.name!r}: write it again.")
            found[member.name] = member
        return found


def load_member(path: Path, member: Member) -> np.ndarray:
    """An array of a zip file: mapped if it is stored as it is, else unpacked."""
    order = "F" if member.fortran else "C"
    with reading(f"{path}, array {member.name!r}"), zipfile.ZipFile(path) as archive:
        info = archive.getinfo(f"{member.name}.npy")
        count = math.prod(member.shape)
        if member.stored and count:
            return np.memmap(path, member.dtype, "r", _begin(path, info) + member.header_bytes, member.shape, order)
        with archive.open(info) as stream:
            stream.read(member.header_bytes)
            if count * member.dtype.itemsize <= IN_MEMORY:
                data = stream.read()
                return np.frombuffer(data, member.dtype, count).reshape(member.shape, order=order)
            return _unpacked(stream, member, order)


def _unpacked(stream: object, member: Member, order: str) -> np.ndarray:
    """An array that is unpacked into a temporary file, which is gone when nobody maps it any more."""
    with tempfile.TemporaryFile() as file:
        while block := stream.read(2**20):  # pyright: ignore[reportAttributeAccessIssue]
            file.write(block)
        file.flush()
        return np.memmap(file, member.dtype, "r", 0, member.shape, order)  # pyright: ignore[reportCallIssue, reportArgumentType]


def _begin(path: Path, info: zipfile.ZipInfo) -> int:
    """Where the content of a stored entry begins: behind its own header, which may be longer than the one of the directory."""
    with path.open("rb") as file:
        file.seek(info.header_offset)
        header = file.read(30)
    return info.header_offset + 30 + int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")


def _member(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Member:
    name = info.filename.removesuffix(".npy")
    with archive.open(info) as stream:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(stream)
        header = stream.tell()
    if dtype.hasobject:
        raise DatasetError(f"{path}: array {name!r} holds pickled objects, which are never loaded: write it as numbers.")
    expected = header + math.prod(shape) * dtype.itemsize
    if info.file_size != expected:
        raise DatasetError(
            f"{path}: array {name!r} of {dtype} {shape} has {info.file_size} bytes, not {expected}: write it again."
        )
    return Member(name, dtype, tuple(shape), fortran, header, info.compress_type == zipfile.ZIP_STORED)


def _episodes(path: Path, members: dict[str, Member]) -> EpisodeIndex:
    where = str(path)

    def values(name: str) -> np.ndarray:
        return load_member(path, members[name])

    if "episode_ends" in members:
        return index_of_ends(values("episode_ends"), where)
    if "ep_len" in members or "episode_lengths" in members:
        offsets = values("ep_offset") if "ep_offset" in members else None
        return index_of_lengths(values("ep_len" if "ep_len" in members else "episode_lengths"), where, offsets)
    for name in ("ep_idx", "episode_idx", "episode_index", "episode_id"):
        if name in members:
            return index_of_ids(values(name), where)
    marks = [values(name).astype(bool) for name in ("terminals", "timeouts", "dones") if name in members]
    if marks:
        return index_of_dones(np.logical_or.reduce(marks), where)
    raise DatasetError(
        f"{where} holds the arrays {', '.join(sorted(members)[:12])}, none of which says where episodes end "
        "(terminals, timeouts, episode_ends, ep_len, episode_index): describe it in a YAML mapping."
    )
