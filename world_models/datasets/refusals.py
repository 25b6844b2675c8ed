"""Sentences for datasets that cannot be read, and for libraries that are not installed."""

from __future__ import annotations

import importlib
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from world_models.datasets.base import DatasetError
from world_models.errors import UserError

READ_ERRORS = (
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
    MemoryError,
    EOFError,
    NotImplementedError,
    RecursionError,
    AssertionError,
    pa.ArrowException,
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
)
"""Errors that libraries raise over damaged files."""


def damaged(where: str, error: BaseException) -> UserError:
    """The sentence for a place that a library could not read; an error that is a sentence already stays as it is."""
    if isinstance(error, UserError):
        return error
    said = " ".join(str(error).split())
    reason = said if isinstance(error, OSError) and said else f"{type(error).__name__}: {said}".rstrip(": ")
    return DatasetError(f"{where} cannot be read ({reason[:200].rstrip('.')}): copy the dataset again.")


@contextmanager
def reading(where: str) -> Iterator[None]:
    """Within it, errors of libraries become one sentence that names the place."""
    try:
        yield
    except READ_ERRORS as error:
        raise damaged(where, error) from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # of a library written in Rust; its class cannot be imported
            raise
        raise damaged(where, error) from error


def library(name: str, kind: str, package: str = "") -> Any:
    """A library of the extra `data`, imported now; raises UserError, naming its installation, if it is missing."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(
            f"reading a dataset of the kind {kind} needs {name}, which cannot be imported ({error}): "
            f"pip install '{package or 'grasp-orchestrator[data]'}'."
        ) from error
