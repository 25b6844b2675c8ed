"""The log of a sweep: tracebacks of errors that it survived. It can neither fail nor print, and shows no password."""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path

from orchestrator.core.messages import mask_text


def log_to(file: Path) -> None:
    """Log what the orchestrator survives to a file; the terminal shows sentences."""
    logger = logging.getLogger("orchestrator")
    for old in logger.handlers:
        old.close()
    logger.handlers = [LogFile(file)]


class LogFile(logging.FileHandler):
    """A handler that masks passwords; a record that cannot be written, e.g. on a full disk, is dropped."""

    def __init__(self, file: Path) -> None:
        super().__init__(file, delay=True, encoding="utf-8", errors="backslashreplace")
        self.setFormatter(logging.Formatter("%(asctime)s %(name)s: %(message)s"))

    def format(self, record: logging.LogRecord) -> str:
        """The record as text, without passwords."""
        return mask_text(super().format(record))

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record."""
        with suppress(OSError):  # the file cannot be opened
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Drop the record: by default a traceback is printed, with the record and its arguments."""

    def close(self) -> None:
        """Close the file."""
        with suppress(OSError):
            super().close()
