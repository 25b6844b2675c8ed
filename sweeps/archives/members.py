"""The members of an archive, checked before one is unpacked, and unpacked to their declared sizes and no further.

An archive is data from a stranger: only what `grasp export` writes is accepted, and everything else is refused by name.
"""

from __future__ import annotations

import fcntl
import io
import os
import re
import shutil
import stat
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

from world_models.errors import UserError
from world_models.files.names import inside
from world_models.files.writing import write_error

MOST_BYTES = 4 * 10**9
"""Most bytes that the members may declare together, unless more is asked for."""
MOST_EXPANSION = 50
"""Most bytes that they may declare for each byte of the file, unless more is asked for."""
MOST_MEMBERS = 1000
"""Most members; an export has one for every 20,000 cells, or fewer."""
MOST_TEXT = {"manifest.json": 2**22, "config.yaml": 2**18, "sweep.json": 2**26}
"""Most bytes of the members that are parsed as a whole."""
REMEDY = "ask for a file that grasp export wrote and nobody changed"
"""The advice for an archive that is not taken."""
NEEDED = ("manifest.json", "sweep.json", "config.yaml", "environment.txt")
"""Members that every archive has, apart from reports and cells."""

_KNOWN = re.compile(r"manifest\.json|sweep\.json|config\.yaml|environment\.txt|report\.(txt|csv)")
_PART = re.compile(r"ledger/part-[0-9]{1,20}(-[0-9]{1,20})?-[0-9a-f]{8,64}\.parquet")
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1 | 0x40 | 0x2000
"""Flags of a member that is encrypted, wholly or in its header."""
_HEADER_BYTES = 30
"""Bytes of a member's header in front of its name."""
_DIRECTORY_BYTES = 2**22
_CHUNK = 2**20
_SCRATCH = ".import-"


def refused(file: Path, reason: str) -> UserError:
    """The error for an archive that is not taken, for a reason in a few words, which may quote bytes of the archive."""
    shown = "".join(letter if letter.isprintable() else "?" for letter in reason)
    return UserError(f"{str(file)!r} cannot be read as an exported sweep ({shown}): {REMEDY}.")


def unpack(file: Path, folder: Path, max_bytes: int | None) -> None:
    """Unpack an archive into an empty folder, once its list of members is sound; `max_bytes`: how much was asked for.

    Raises UserError for a file that is not a zip, for a member that an export does not have or whose content is not what was
    declared, and for members that are too large; WriteError if they cannot be written.
    """
    try:
        with _opened(file) as stream, zipfile.ZipFile(stream) as archive:
            members = archive.infolist()
            _check_members(file, archive, members)
            _check_sizes(file, members, folder, max_bytes)
            for member in members:
                _unpack(archive, member, inside(folder, member.filename))
    except UserError:
        raise
    except Exception as error:
        # The zip module raises a dozen exceptions for bytes that are not what they should be: none of them is ours.
        raise refused(file, _reason(error)) from error


@contextmanager
def scratch_folder(root: Path) -> Iterator[Path]:
    """A new hidden folder below `root`, removed at the end, as are those that killed imports have left there.

    Raises WriteError if it cannot be made.
    """
    for left in root.glob(f"{_SCRATCH}*"):
        with _held(left) as mine:
            if mine:
                shutil.rmtree(left, ignore_errors=True)
    try:
        folder = Path(mkdtemp(prefix=_SCRATCH, dir=root))
    except OSError as error:
        raise write_error(root, error) from error
    with _held(folder):
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _held(folder: Path) -> Iterator[bool]:
    """Hold a folder's lock; whether nobody else does."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        yield False
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(descriptor)


class _BoundedReader(io.BufferedReader):
    """A file of which no more is read at once than a sound list of members has: the zip module reads it whole."""

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(_DIRECTORY_BYTES + 1 if size is None or size < 0 else min(size, _DIRECTORY_BYTES + 1))
        if len(data) > _DIRECTORY_BYTES:
            raise zipfile.BadZipFile(f"its list of members has more than {_DIRECTORY_BYTES} bytes")
        return data


def _opened(file: Path) -> _BoundedReader:
    try:
        kind = file.stat().st_mode
        if not stat.S_ISREG(kind):
            raise refused(file, "it is a folder" if stat.S_ISDIR(kind) else "it is not a regular file")
        return _BoundedReader(io.FileIO(file))
    except OSError as error:
        raise refused(file, error.strerror or type(error).__name__) from error


def _check_members(file: Path, archive: zipfile.ZipFile, members: Sequence[zipfile.ZipInfo]) -> None:
    """Raise UserError unless there is one of each, with nothing between, before or after them, and all are plain files."""
    if len(members) > MOST_MEMBERS:
        raise refused(file, f"it has {len(members)} members and at most {MOST_MEMBERS} are read")
    seen: set[str] = set()
    for member in members:
        fault = _fault(member) or ("is there twice" if member.filename in seen else None)
        if fault is not None:
            raise refused(file, f"its member {_shown(member)} {fault}")
        seen.add(member.filename)
    lacking = [name for name in NEEDED if name not in seen]
    if lacking:
        raise refused(file, f"it has no {', '.join(lacking)}")
    end = 0
    for member in sorted(members, key=lambda one: one.header_offset):
        if member.header_offset < end:
            raise refused(file, f"its member {_shown(member)} overlaps another")
        if end == 0 < member.header_offset:
            raise refused(file, "it begins with something else")
        end = member.header_offset + _HEADER_BYTES + len(member.orig_filename.encode()) + member.compress_size
    if archive.fp is not None and end > os.fstat(archive.fp.fileno()).st_size:
        raise refused(file, "it ends too early")


def _fault(member: zipfile.ZipInfo) -> str | None:
    """The reason why a member is not one of an export, in a few words; None for a sound one."""
    name, mode = member.orig_filename, member.external_attr >> 16
    if name.startswith("/") or "\\" in name or ".." in name.split("/") or "\0" in name:
        return "leads out of the archive"
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        return "is not a plain file"
    if not _KNOWN.fullmatch(name) and not _PART.fullmatch(name):
        return "is none of an exported sweep"
    if member.flag_bits & _ENCRYPTED:
        return "is encrypted"
    if member.compress_type not in _METHODS:
        return f"has the unknown compression {member.compress_type}"
    most = MOST_TEXT.get(name)
    if most is not None and member.file_size > most:
        return f"declares {member.file_size} bytes and at most {most} are read"
    return None


def _check_sizes(file: Path, members: Sequence[zipfile.ZipInfo], folder: Path, max_bytes: int | None) -> None:
    """Raise UserError if the members declare more bytes than is safe, than was asked for, or than the disk has."""
    declared, size = sum(member.file_size for member in members), file.stat().st_size
    most = min(MOST_BYTES, MOST_EXPANSION * size) if max_bytes is None else max_bytes
    if declared > most:
        raise UserError(
            f"{str(file)!r} has {size} bytes and unpacks to {declared}, more than the {most} that are accepted: "
            f"if you trust it, give --max-bytes {declared}."
        )
    free = shutil.disk_usage(folder).free
    if declared > free:
        raise UserError(
            f"{str(file)!r} unpacks to {declared} bytes and {str(folder.parent)!r} has {free} free: free some space, "
            "or choose another folder with output=FOLDER."
        )


def _unpack(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> None:
    """Write one member; what is longer or shorter than declared, or has another checksum, is an error of the zip module."""
    written = 0
    try:
        target.parent.mkdir(exist_ok=True)
        sink = target.open("xb")
    except OSError as error:
        raise write_error(target, error) from error
    with sink, archive.open(member) as source:
        while chunk := source.read(_CHUNK):
            written += len(chunk)
            try:
                sink.write(chunk)
            except OSError as error:
                raise write_error(target, error) from error
    if written != member.file_size:
        raise zipfile.BadZipFile(f"its member {member.filename} has {written} bytes and declares {member.file_size}")


def _shown(member: zipfile.ZipInfo) -> str:
    name = member.orig_filename
    return repr(name if len(name) <= 60 else f"{name[:60]}...")


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())[:200]
    return text if isinstance(error, zipfile.BadZipFile) and text else f"it is damaged: {text or type(error).__name__}"
