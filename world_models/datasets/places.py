"""Where a dataset lies: a file or folder on a disk, or an address of an object store that Arrow knows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pyarrow as pa
from pyarrow import fs

from world_models.datasets.base import DatasetError
from world_models.datasets.refusals import READ_ERRORS, damaged
from world_models.errors import UserError

S3_ATTEMPTS, S3_SECONDS = 4, 10.0
"""How often a request to S3 is tried, and how long connecting and each answer may take. Arrow would try for minutes."""
SMALL_BYTES = 64 * 2**20
"""The largest file that is read as a whole, such as a JSON file of metadata."""


@dataclass(frozen=True)
class Place:
    """A file or folder by its path, or by an address such as `s3://bucket/folder`."""

    text: str

    @property
    def local(self) -> Path | None:
        """The path on a disk; None for an address."""
        return None if "://" in self.text else Path(self.text)

    @property
    def is_file(self) -> bool:
        """Whether it is one file. Raises DatasetError if there is nothing."""
        found = self._info().type
        if found is fs.FileType.NotFound:
            raise DatasetError(f"{self.text} does not exist: give the path of a dataset.")
        return found is fs.FileType.File

    def files(self) -> list[tuple[str, int]]:
        """Names relative to the place, and sizes in bytes, of all files below it; of a file, its own name."""
        store, path = _opened(self.text)
        if self.is_file:
            return [("", self._info().size)]
        infos = store.get_file_info(fs.FileSelector(path, recursive=True))
        prefix = path.rstrip("/") + "/"
        return [(info.path.removeprefix(prefix), info.size) for info in infos if info.type is fs.FileType.File]

    def children(self, name: str = "", most: int = 1000) -> list[tuple[str, bool]]:
        """Names of the files (True) and folders (False) right below the place, or a folder in it; at most some of them."""
        store, path = _opened(self.text)
        infos = store.get_file_info(fs.FileSelector(_joined(path, name)))
        return [(info.base_name, info.type is fs.FileType.File) for info in infos[:most]]

    def size(self, name: str = "") -> int | None:
        """Bytes of a file below the place; None if there is none."""
        info = self._info(name)
        return info.size if info.type is fs.FileType.File else None

    def open(self, name: str = "") -> pa.NativeFile:
        """Open a file below the place for reading at any position."""
        store, path = _opened(self.text)
        return store.open_input_file(_joined(path, name))

    def mapped(self, name: str = "") -> pa.NativeFile:
        """Open a file, mapped into memory if it is on a disk."""
        _, path = _opened(self.text)
        return pa.memory_map(_joined(path, name)) if self.local is not None else self.open(name)

    def read(self, name: str = "") -> bytes:
        """The content of a small file. Raises DatasetError if it is missing or too large."""
        size = self.size(name)
        where = self.named(name)
        if size is None or size > SMALL_BYTES:
            found = "is missing" if size is None else f"has {size} bytes"
            raise DatasetError(f"{where} {found}, and a file of at most {SMALL_BYTES} bytes is expected: copy it again.")
        with self.open(name) as stream:
            return stream.read()

    def named(self, name: str) -> str:
        """A file below the place, for sentences."""
        return _joined(self.text.rstrip("/"), name) if name else self.text

    def _info(self, name: str = "") -> Any:
        store, path = _opened(self.text)
        try:
            return store.get_file_info(_joined(path, name))
        except READ_ERRORS as error:
            raise damaged(self.named(name), error) from error


def place_of(path: str | Path | Place) -> Place:
    """The place of a path or an address. Raises UserError for an address that Arrow does not know."""
    if isinstance(path, Place):
        return path
    found = Place(str(path))
    _opened(found.text)
    return found


def local_path(place: Place, kind: str) -> Path:
    """The path of a place on a disk; raises UserError for an address, from which only Arrow and Parquet are read."""
    path = place.local
    if path is None:
        raise UserError(f"{place.text}: a dataset of the kind {kind} is read from a disk: copy it, and give its path.")
    return path


def _joined(path: str, name: str) -> str:
    return f"{path}/{name}" if name else path


@cache
def _opened(text: str) -> tuple[fs.FileSystem, str]:
    if "://" not in text:
        return fs.LocalFileSystem(), text.rstrip("/") or text
    try:
        return _patient(text) if text.startswith("s3://") else fs.FileSystem.from_uri(text)
    except (*READ_ERRORS, TypeError) as error:
        reason = " ".join(str(error).split())[:200].rstrip(".")
        raise UserError(
            f"{text!r} is not an address that can be read ({reason}): give a path, s3://, gs:// or hdfs://."
        ) from error


def _patient(uri: str) -> tuple[fs.FileSystem, str]:
    """The file system of an S3 address, which tries a failed request again, and the path in it."""
    parts = urlsplit(uri)
    options = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    if parts.username is not None:
        options |= {"access_key": unquote(parts.username), "secret_key": unquote(parts.password or "")}
    bucket = parts.netloc.rpartition("@")[2]
    if not options.keys() & {"region", "endpoint_override"}:
        options["region"] = fs.resolve_s3_region(bucket)
    retries = fs.AwsStandardS3RetryStrategy(max_attempts=S3_ATTEMPTS)
    store = fs.S3FileSystem(**options, connect_timeout=S3_SECONDS, request_timeout=S3_SECONDS, retry_strategy=retries)
    return store, f"{bucket}{unquote(parts.path)}"
