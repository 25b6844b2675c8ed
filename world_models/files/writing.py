"""The one writer of small files: a reader sees the old content or the new, never a part."""

from __future__ import annotations

import errno
import os
import re
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from world_models.errors import UserError

TEMPORARY = re.compile(r"\.(.*)-(\d+)-[0-9a-f]{8}\.tmp")
"""Name of a file that is being written: the machine and the process id of its writer, and a random word."""


REMEDIES = {
    errno.ENOSPC: "free some space and run again; what was recorded is kept",
    errno.EDQUOT: "free some of your quota and run again; what was recorded is kept",
    errno.EROFS: "choose a folder that can be written to",
    errno.EACCES: "choose a folder that you may write to",
    errno.ENAMETOOLONG: "give a shorter name",
    errno.ENOTDIR: "a part of the path is a file; choose another folder",
    errno.ELOOP: "its links lead in a circle; choose another folder",
}
"""The remedy for an error of the system, by its number."""


class WriteError(UserError):
    """A file could not be written; the error of the system is its cause, and the old file is unchanged."""


def write_file(file: Path, content: str | bytes, durable: bool = False) -> None:
    """Write a whole file, text as UTF-8, making its folder if necessary; `durable`: it survives a power failure.

    Raises WriteError, a sentence with the system's reason and a remedy.
    """
    data = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
    with whole_file(file, durable) as temporary:
        temporary.write_bytes(data)


@contextmanager
def whole_file(file: Path, durable: bool = False) -> Iterator[Path]:
    """A temporary path beside `file`, for a library that writes it; at the end of the block it takes the file's place.

    The folder is made if necessary. Raises WriteError as `write_file`; after any error the old file is unchanged.
    """
    temporary = file.with_name(f".{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.tmp")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        if durable:
            _sync(temporary, os.O_RDONLY)
        temporary.replace(file)
        if durable:
            _sync(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise write_error(file, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def write_error(file: Path, error: OSError) -> WriteError:
    """The sentence for a file that could not be written."""
    remedy = REMEDIES.get(error.errno or 0, "choose another folder or file")
    return WriteError(f"cannot write {str(file)!r} ({error.strerror or type(error).__name__}): {remedy}.")


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
