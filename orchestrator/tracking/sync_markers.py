"""Marker files: a sweep that is completely tracked in a store is recognised without asking MLflow."""

from __future__ import annotations

from pathlib import Path

from orchestrator.core.cell import digest
from orchestrator.tracking.content.overview import Overview
from orchestrator.tracking.content.sweep_info import SweepInfo
from orchestrator.tracking.failures import UnavailableError
from orchestrator.tracking.tracking_store import TrackingStore
from world_models.files.names import inside


def marker_of(folder: Path | None, store: TrackingStore, info: SweepInfo, sweep_overview: Overview) -> Path | None:
    """The marker file for a store that has all of this, None without a folder. A store created again has another inode."""
    if folder is None:
        return None
    database = store.sqlite_file
    inode = database.stat().st_ino if database is not None and database.exists() else 0
    name = digest([store.key, inode, info.name, info.config_text, sweep_overview.digest])
    return inside(folder, f"{name}.tracked")


def mark(marker: Path | None) -> None:
    """Write a marker file; UnavailableError when its folder cannot be written."""
    if marker is None:
        return
    try:
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()
    except OSError as error:
        raise UnavailableError(f"{marker.parent} cannot be written ({error.strerror or error})") from error
