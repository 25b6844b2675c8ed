"""Pictures of cells as files: `POINT/SEED.mp4`, `.gif`, `.png`, `.parquet` in a storage, and why in `POINT/chosen.json`.

`chosen.json` is written last, so what it names is there. What is lacking is found by comparing it with what the ledger says
should be drawn: whatever dies when, the next run draws the rest.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.artifacts.drawing import Drawing, Drawn, RenderJob, kinds_of
from orchestrator.artifacts.selection import ArtifactSelection, Scored, SelectedCell, select_cells
from orchestrator.core.cell import digest
from orchestrator.core.portion import Portion
from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.parts import coded, is_failed
from orchestrator.storage.base import Storage, StorageError

SELECTION_FILE = "chosen.json"
"""In a point's folder."""

AT_ONCE = 20_000
"""Cells whose actions are read from the ledger together, unless a single point has more."""


@dataclass(frozen=True)
class DrawnCell:
    """A drawn cell, as `chosen.json` has it."""

    cell: SelectedCell
    files: tuple[str, ...]


@dataclass(frozen=True)
class ArtifactManifest:
    """What `chosen.json` says of a point."""

    cells: tuple[DrawnCell, ...]
    video: bool
    steps: tuple[int, ...]
    """Environment steps that the frames of each film show."""
    troubles: tuple[str, ...] = ()
    """What could not be made, a sentence each: it is not tried again unless the choice changes or this file is removed."""

    @property
    def selected(self) -> tuple[SelectedCell, ...]:
        """Which cells, and why."""
        return tuple(shown.cell for shown in self.cells)

    @property
    def digest(self) -> str:
        """Of what is drawn."""
        return digest(self.as_json(), 12)

    def as_json(self) -> dict[str, object]:
        """For `of`."""
        cells = [{"seed": s.cell.seed, "reasons": [*s.cell.reasons], "files": [*s.files]} for s in self.cells]
        return {"video": self.video, "steps": [*self.steps], "cells": cells, "troubles": [*self.troubles]}

    @staticmethod
    def of(data: bytes) -> ArtifactManifest:
        """From a file; ValueError for what is none."""
        try:
            said = json.loads(data)
            cells = [DrawnCell(SelectedCell(c["seed"], tuple(c["reasons"])), tuple(c["files"])) for c in said["cells"]]
            return ArtifactManifest(tuple(cells), said["video"], tuple(said["steps"]), tuple(said["troubles"]))
        except (KeyError, TypeError) as error:
            raise ValueError(f"no record of chosen cells: {error}") from error


class ArtifactStore:
    """The pictures of a storage. One writer at a time: who holds the ledger."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def manifest(self, point_id: str) -> ArtifactManifest | None:
        """What is drawn of a point; None where nothing is, or what is there cannot be read as such."""
        with suppress(FileNotFoundError, ValueError):
            return ArtifactManifest.of(self._storage.read(f"{point_id}/{SELECTION_FILE}"))
        return None

    def read(self, point_id: str, name: str) -> bytes:
        """A file of a point; StorageError where it is gone."""
        try:
            return self._storage.read(f"{point_id}/{name}")
        except FileNotFoundError as error:
            raise StorageError(
                f"{self._storage.where}/{point_id}/{name} has gone away while it was read: try again."
            ) from error

    def keep(self, drawn: Drawn) -> None:
        """Write what was drawn, and that it was; StorageError where the storage refuses, and then this may be called again."""
        drawing, point_id = drawn.drawing, drawn.drawing.point.point_id
        for artifact in drawn.artifacts:
            self._storage.write(f"{point_id}/{artifact.name}", artifact.data)
        names = set(self._storage.names(point_id))
        cells = tuple(DrawnCell(cell, _files(cell.seed, drawing.kinds, names)) for cell in drawing.selected)
        manifest = ArtifactManifest(cells, drawing.video, drawing.steps, drawn.troubles)
        self._storage.write(f"{point_id}/{SELECTION_FILE}", (json.dumps(manifest.as_json(), indent=1) + "\n").encode())

    def lacking(self, portions: Iterable[Portion], ledger: Ledger, selection: ArtifactSelection) -> Iterator[Drawing]:
        """What is to be drawn of points, by all that the ledger has of them; read as it is asked for."""
        points = {portion.point.point_id: portion.point for portion in portions}
        if not points or not selection.reasons:
            return
        counts: dict[str, int] = {}
        wanted: dict[str, tuple[SelectedCell, ...]] = {}
        for point, cells in _scored(ledger, list(points)):
            counts[point], wanted[point] = len(cells), select_cells(cells, selection.reasons)
        with ThreadPoolExecutor(max(1, self._storage.readers)) as readers:
            found = list(readers.map(lambda point: self._missing_jobs(point, wanted[point], selection.video), wanted))
        drawings = {
            point: Drawing(points[point], wanted[point], jobs, selection.video)
            for point, jobs in zip(wanted, found, strict=True)
            if jobs is not None
        }
        for part in _parts({point: counts[point] for point in drawings}):
            seeds = {(point, job.seed) for point in part for job in drawings[point].jobs}
            actions = _actions(ledger, part, seeds)
            for point in part:
                jobs = (RenderJob(job.seed, actions[point, job.seed]) for job in drawings[point].jobs)
                yield replace(drawings[point], jobs=tuple(jobs))

    def _missing_jobs(self, point_id: str, selected: tuple[SelectedCell, ...], video: bool) -> tuple[RenderJob, ...] | None:
        """Which of a point's chosen cells have to be drawn, without their actions; None where nothing has to be done."""
        names = set(self._storage.names(point_id))
        manifest = self.manifest(point_id) if SELECTION_FILE in names else None
        as_wanted = manifest is not None and (manifest.selected, manifest.video) == (selected, video)
        if manifest is not None and as_wanted and names.issuperset(name for shown in manifest.cells for name in shown.files):
            return None
        kinds = kinds_of(video)
        return tuple(RenderJob(c.seed, ()) for c in selected if len(_files(c.seed, kinds, names)) < len(kinds))


def _files(seed: int, kinds: Sequence[str], names: set[str]) -> tuple[str, ...]:
    """Which files of a cell are among some names."""
    return tuple(name for kind in kinds if (name := f"{seed}.{kind}") in names)


def _scored(ledger: Ledger, points: Sequence[str]) -> Iterator[tuple[str, list[Scored]]]:
    """What became of the cells of each point that were executed, point by point: a ledger may have a million."""
    table = ledger.table(points, ["point_id", "seed", "status", "distance", "success"])
    table = table.filter(pa.array(~is_failed(table["status"])))
    codes, ids = coded(table["point_id"])
    order = np.argsort(codes, kind="stable")
    columns = table["seed"].to_numpy(), table["distance"].cast(pa.float64()).to_numpy(), table["success"].to_numpy()
    for rows in np.split(order, np.flatnonzero(np.diff(codes[order])) + 1):
        if len(rows):
            yield (
                ids[codes[rows[0]]],
                [Scored(*cell) for cell in zip(*(column[rows].tolist() for column in columns), strict=True)],
            )


def _parts(counts: Mapping[str, int]) -> Iterator[list[str]]:
    """Points in parts of about `AT_ONCE` cells."""
    part: list[str] = []
    cells = 0
    for point, count in counts.items():
        if part and cells + count > AT_ONCE:
            yield part
            part, cells = [], 0
        part.append(point)
        cells += count
    if part:
        yield part


def _actions(ledger: Ledger, points: Sequence[str], wanted: set[tuple[str, int]]) -> dict[tuple[str, int], tuple[float, ...]]:
    """Actions of some cells, by point and seed."""
    if not wanted:
        return {}
    seeds = pa.array(sorted({seed for _, seed in wanted}), pa.int64())
    table = ledger.table(points, ["point_id", "seed", "actions"]).filter(pc.field("seed").isin(seeds))
    return {key: tuple(row["actions"]) for row in table.to_pylist() if (key := (row["point_id"], row["seed"])) in wanted}
