"""Join requests: sweeps that a running driver is asked to plan as well, as small files in one folder.

A request names a sweep saved next to the ledger. Accepting a request removes it: the second driver watches the ledger until
its cells are there, and plans them itself if the first driver ends before that. So a lost request costs nothing.
"""

from __future__ import annotations

import os
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from world_models.files.reading import SpoiltFileError, read_or_set_aside, read_text, to_json
from world_models.files.writing import WriteError, write_file


@dataclass(frozen=True)
class JoinRequest:
    """A sweep that another driver is asked to plan."""

    sweep: str


class JoinRequests:
    """Requests in a folder, written by many drivers and accepted by the one that holds the ledger."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def submit(self, request: JoinRequest) -> str:
        """Submit a request and return its id. Raises WriteError if the folder cannot be written."""
        request_id = f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
        write_file(self._request_file(request_id), to_json(request))
        return request_id

    def take(self) -> list[tuple[str, JoinRequest]]:
        """Remove and return the requests with their ids; a spoilt file is set aside."""
        found = []
        for file in sorted(self._root.glob("*.json")) if self._root.is_dir() else ():
            request = read_or_set_aside(file, JoinRequest, "a request to join")
            if request is not None:
                found.append((file.stem, request))
            with suppress(OSError):  # a disk that can only be read
                file.unlink(missing_ok=True)
        return found

    def refuse(self, request_id: str, reason: str) -> None:
        """Tell the second driver why its request is refused."""
        with suppress(WriteError):  # it plans its cells itself once this driver has ended, told or not
            write_file(self._answer_file(request_id), reason)

    def is_pending(self, request_id: str) -> bool:
        """Whether a request has not been accepted yet."""
        return self._request_file(request_id).exists()

    def refusal(self, request_id: str) -> str | None:
        """The reason for refusing a request; None if it was not refused."""
        try:
            return read_text(self._answer_file(request_id), "an answer", "the request waits")
        except (FileNotFoundError, SpoiltFileError):
            return None

    def withdraw(self, request_id: str) -> None:
        """Remove the files of a request."""
        for file in (self._request_file(request_id), self._answer_file(request_id)):
            with suppress(OSError):
                file.unlink(missing_ok=True)

    def _request_file(self, request_id: str) -> Path:
        return self._root / f"{request_id}.json"

    def _answer_file(self, request_id: str) -> Path:
        return self._root / f"{request_id}.refused"
