"""The members of an archive that torch wrote, read without running anything."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from world_models.errors import UserError, require

SUFFIXES = (".pt", ".pt2", ".pth", ".ts")
"""Suffixes of the archives that can be world models."""

MAX_PACKED = 64 * 2**20
"""The most bytes that an archive's compressed files may unpack to; torch compresses code, never weights."""


@dataclass(frozen=True)
class Archive:
    """The files in an archive, without the folder that torch puts them into."""

    path: Path
    members: Mapping[str, bytes]

    @property
    def is_script(self) -> bool:
        """Whether `torch.jit.save` wrote it."""
        return "data.pkl" in self.members and any(name.startswith("code/") for name in self.members)

    @property
    def programs(self) -> list[str]:
        """Names of the graphs that `torch.export.save` wrote."""
        return sorted(name for name in self.members if name.startswith("models/") and name.endswith(".json"))

    def repacked(self) -> io.BytesIO:
        """An archive of exactly these members, so that what was looked at is what torch reads."""
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as made:
            for name, content in self.members.items():
                made.writestr(f"model/{name}", content)
        stream.seek(0)
        return stream


def is_archive(name: str) -> bool:
    """Whether a world model's name is the path of an archive."""
    path = Path(name)
    return path.suffix in SUFFIXES and path.is_file()


def open_archive(path: Path, content: bytes) -> Archive:
    """An archive from a file's content. Raises UserError for one that torch did not write, or that holds something twice."""
    remedy = "write it again with torch.jit.save or torch.export.save"
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            infos = archive.infolist()
            unpacked = sum(info.file_size for info in infos if info.compress_type != zipfile.ZIP_STORED)
            require(unpacked <= MAX_PACKED, f"{path} has {unpacked} bytes of compressed code, more than any model: {remedy}.")
            names = [info.filename for info in infos]
            require(len(set(names)) == len(names), f"{path} has two files of one name: {remedy}.")
            members = {name.partition("/")[2]: archive.read(name) for name in names}
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError, EOFError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path} is not an archive of torch.jit or torch.export ({error}): {remedy}.") from error
    roots = {name.partition("/")[0] for name in names}
    require(len(roots) == 1 and len(members) == len(names), f"{path} has files outside its folder: {remedy}.")
    found = Archive(path, members)
    require(
        found.is_script or bool(found.programs),
        f"{path} holds pickled objects, not a program of torch.jit or torch.export: {remedy}, or see grasp models inspect.",
    )
    return found
