"""Storage in an object store, through pyarrow.fs: S3 and stores with its protocol, Google Cloud and Azure.

Credentials come from the environment, where each store's own tools look for them, never from the URI.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import parse_qs, urlsplit

import pyarrow as pa
import pyarrow.fs as pafs

from orchestrator.core.messages import mask_uri
from orchestrator.storage.base import StorageError, StorageWaitError, below, reason_of
from orchestrator.storage.leases import Lease
from orchestrator.storage.locks import Lock
from orchestrator.storage.probe import probe
from world_models.errors import UserError, require

SCHEMES = {"s3": "AWS_ACCESS_KEY_ID", "gs": "GOOGLE_APPLICATION_CREDENTIALS", "gcs": "GOOGLE_APPLICATION_CREDENTIALS"}
"""Schemes of stores whose objects appear whole, with the variable that holds their credentials."""
SCHEMES |= dict.fromkeys(("abfs", "abfss"), "AZURE_STORAGE_ACCOUNT")

_S3_OPTIONS = ("region", "scheme", "endpoint_override")
_REFUSED = re.compile(r"ACCESS_DENIED|ACCESS_KEY|SIGNATURE|TOKEN|CREDENTIALS|HTTP status 40[13]\b", re.I)
_ABSENT = re.compile(r"NO_SUCH_BUCKET|NoSuchBucket|bucket.*not (?:exist|found)", re.I)
_UNAVAILABLE = re.compile(
    r"NETWORK_CONNECTION|curlCode|SLOW_DOWN|SERVICE_UNAVAILABLE|INTERNAL_FAILURE|REQUEST_TIMEOUT|HTTP status 5\d\d", re.I
)


@dataclass(frozen=True)
class ObjectStorage:
    """Objects below one URI. The store is first contacted when something is read or written."""

    uri: str
    connect: Callable[[str], tuple[pafs.FileSystem, str]]
    """A function from a URI to the file system and the path in it."""

    @staticmethod
    def of_uri(uri: str) -> ObjectStorage:
        """The storage at a URI like s3://bucket/path?endpoint_override=localhost:9000&scheme=http. UserError for others."""
        parts = urlsplit(uri)
        kinds = "://, ".join(SCHEMES)
        require(
            parts.scheme in SCHEMES,
            f"{mask_uri(uri)} is not a valid storage: give a folder, or a URI that begins with file://, {kinds}://.",
        )
        require(
            "@" not in parts.netloc or parts.scheme.startswith("abfs"),
            f"{mask_uri(uri)} was given with credentials: leave them out and set {SCHEMES[parts.scheme]} and the like.",
        )
        require(bool(parts.netloc), f"{mask_uri(uri)} names no bucket: give e.g. {parts.scheme}://bucket/folder.")
        return ObjectStorage(uri, _connected)

    @property
    def where(self) -> str:
        """The URI without its query."""
        return mask_uri(self.uri)

    @property
    def readers(self) -> int:
        """Many, because reading is limited by the store's latency."""
        return 16

    def write(self, name: str, data: bytes) -> None:
        """Write a whole object, replacing one of the same name."""
        with self._translated_errors("written"):
            filesystem, root = self._reached
            stream = filesystem.open_output_stream(f"{root}/{name}")
            # One write, then the close that makes the object appear: closing after a failed write would publish a part of it.
            stream.write(data)
            stream.close()

    def read(self, name: str) -> bytes:
        """The contents of an object. Raises FileNotFoundError if there is none."""
        with self._translated_errors("read"), self.open(name) as file:
            return file.read()

    def open(self, name: str) -> pa.NativeFile:
        """An object opened for Arrow's readers. Raises FileNotFoundError if there is none."""
        with self._translated_errors("read"):
            filesystem, root = self._reached
            return filesystem.open_input_file(f"{root}/{name}")

    def names(self, folder: str = "") -> list[str]:
        """Sorted names in a folder, without hidden objects."""
        with self._translated_errors("read"):
            filesystem, root = self._reached
            selector = pafs.FileSelector(f"{root}/{folder}".rstrip("/"), allow_not_found=True)
            found = [info.base_name for info in filesystem.get_file_info(selector)]
        return sorted(name for name in found if not name.startswith("."))

    def remove(self, name: str) -> None:
        """Remove an object if it exists."""
        with self._translated_errors("written"), suppress(FileNotFoundError):
            filesystem, root = self._reached
            filesystem.delete_file(f"{root}/{name}")

    def sweep(self, folder: str = "") -> None:
        """Do nothing: an object that was not closed never appears."""

    def prepare(self) -> None:
        """Raise StorageError unless the bucket can be reached; there is nothing to create."""
        with self._translated_errors("written"):
            _ = self._reached

    def child(self, folder: str) -> ObjectStorage:
        """The storage of a folder below."""
        return ObjectStorage(str(below(self.uri, folder)), self.connect)

    def lock(self) -> Lock:
        """A lease, because object stores have no locks."""
        return Lease(self)

    @cached_property
    def _reached(self) -> tuple[pafs.FileSystem, str]:
        """File system and root, once the bucket has answered."""
        filesystem, path = self.connect(self.uri)
        bucket = path.split("/", 1)[0]
        if filesystem.get_file_info(bucket).type == pafs.FileType.NotFound:
            raise StorageError(f"there is no bucket {bucket!r} at {self.where}: create it, or correct the URI.")
        return filesystem, path.rstrip("/")

    @contextmanager
    def _translated_errors(self, what: str) -> Iterator[None]:
        """Turn the store's errors into storage errors of one sentence."""
        try:
            yield
        except FileNotFoundError:
            raise
        except (OSError, pa.ArrowException) as error:
            reason, variable = reason_of(error), SCHEMES[urlsplit(self.uri).scheme]
            if _ABSENT.search(reason):
                sentence = f"there is no such bucket at {self.where}: create it, or correct the URI."
                raise StorageError(sentence) from error
            if _REFUSED.search(reason):
                raise StorageError(
                    f"{self.where} cannot be {what}, its store refuses the credentials: set {variable} and the like ({reason})."
                ) from error
            kind = StorageWaitError if _UNAVAILABLE.search(reason) else StorageError
            raise kind(f"{self.where} cannot be {what} ({reason}): check that its store can be reached.") from error


def _connected(uri: str) -> tuple[pafs.FileSystem, str]:
    """The file system of a URI, and the path in it."""
    parts = urlsplit(uri)
    if parts.scheme != "s3":
        probe(uri, mask_uri(uri))
        if parts.scheme.startswith("g") and "retry_limit_seconds" not in parts.query:  # Google's client would try for minutes
            uri = parts._replace(query="&".join(filter(None, (parts.query, "retry_limit_seconds=60")))).geturl()
        return pafs.FileSystem.from_uri(uri)
    options = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    unknown = sorted(set(options) - set(_S3_OPTIONS))
    if unknown:
        raise UserError(f"{mask_uri(uri)} has the unknown option {unknown[0]!r}: give one of {', '.join(_S3_OPTIONS)}.")
    retries = pafs.AwsStandardS3RetryStrategy(max_attempts=3)
    filesystem = pafs.S3FileSystem(**options, connect_timeout=5.0, retry_strategy=retries, allow_delayed_open=True)
    return filesystem, f"{parts.netloc}{parts.path}"
