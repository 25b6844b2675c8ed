"""The one writer of small files: a reader sees the old content or the new, never a part."""

from __future__ import annotations

import errno
import os
import uuid
from contextlib import suppress
from pathlib import Path

from world_models.errors import UserError

TEMPORARY = ".tmp"
"""Suffix of a file that is being written."""


class WriteError(UserError):
    """A file could not be written; the error of the system is its cause, and the old file is unchanged."""


def write_file(file: Path, content: str | bytes, durable: bool = False) -> None:
    """Write a whole file, text as UTF-8, making its folder if necessary; `durable`: it survives a power failure.

    Raises WriteError, a sentence with the system's reason and a remedy.
    """
    data = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
    temporary = file.with_name(f".{file.name[:80]}.{os.getpid()}-{uuid.uuid4().hex[:8]}{TEMPORARY}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as stream:
            stream.write(data)
            if durable:
                stream.flush()
                os.fsync(stream.fileno())
        temporary.replace(file)
        if durable:
            _sync_folder(file.parent)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise write_error(file, error) from error


def write_error(file: Path, error: OSError) -> WriteError:
    """The sentence for a file that could not be written."""
    remedies = {
        errno.ENOSPC: "free some space and run again; what was recorded is kept",
        errno.EDQUOT: "free some of your quota and run again; what was recorded is kept",
        errno.EROFS: "choose a folder that can be written to",
        errno.EACCES: "choose a folder that you may write to",
    }
    remedy = remedies.get(error.errno or 0, "choose another folder or file")
    return WriteError(f"cannot write {str(file)!r} ({error.strerror or type(error).__name__}): {remedy}.")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
