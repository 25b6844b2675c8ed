"""Files of selected cells: `POINT/SEED.mp4`, `.gif`, `.png` and `.parquet`, and a manifest `POINT/chosen.json`.

The manifest is written last, so the files that it names exist. Missing files are found by comparing it with the selection
from the ledger: whatever dies when, the next run draws the rest.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import AfterValidator

from orchestrator.artifacts.drawing import Drawing, Drawn, RenderJob, kinds_of
from orchestrator.artifacts.selection import ArtifactSelection, Scored, SelectedCell, select_cells
from orchestrator.core.cell import digest
from orchestrator.core.portion import Portion
from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.parts import coded, is_failed
from orchestrator.storage.base import Storage, StorageError
from world_models.files.names import file_name
from world_models.files.reading import Count, SpoiltFileError, parse_json

_log = logging.getLogger(__name__)

SELECTION_FILE = "chosen.json"
"""Name of the manifest in a point's folder."""

AT_ONCE = 20_000
"""Most cells whose actions are read from the ledger at once, unless a single point has more."""


@dataclass(frozen=True)
class DrawnCell:
    """A drawn cell, as the manifest records it."""

    cell: SelectedCell
    files: tuple[str, ...]
    plan: str = ""
    """A digest of the actions drawn; empty where an older version drew them."""


@dataclass(frozen=True)
class ArtifactManifest:
    """The contents of a point's `chosen.json`."""

    cells: tuple[DrawnCell, ...]
    video: bool
    steps: tuple[int, ...]
    """Environment steps that the frames of each animation show."""
    troubles: tuple[str, ...] = ()
    """One sentence per file that could not be made; it is retried only if the selection changes or the manifest is removed."""

    @property
    def selected(self) -> tuple[SelectedCell, ...]:
        """The selected cells and their reasons."""
        return tuple(drawn.cell for drawn in self.cells)

    @property
    def digest(self) -> str:
        """A digest of the manifest's contents."""
        return digest(self.as_json(), 12)

    def as_json(self) -> dict[str, object]:
        """Plain values, for the digest and the file."""
        cells = [_as_json(drawn) for drawn in self.cells]
        return {"video": self.video, "steps": [*self.steps], "cells": cells, "troubles": [*self.troubles]}

    def without(self, seeds: Collection[int]) -> ArtifactManifest:
        """The manifest without some cells."""
        return replace(self, cells=tuple(drawn for drawn in self.cells if drawn.cell.seed not in seeds))

    @staticmethod
    def of(data: bytes, where: str = "") -> ArtifactManifest:
        """The manifest in a file's contents. Raises SpoiltFileError for anything else."""
        saved = parse_json(data, _SavedManifest, "a manifest of drawn cells", "they are drawn again", where)
        cells = tuple(DrawnCell(SelectedCell(cell.seed, cell.reasons), cell.files, cell.plan) for cell in saved.cells)
        return ArtifactManifest(cells, saved.video, saved.steps, saved.troubles)


@dataclass(frozen=True)
class _SavedCell:
    """A `DrawnCell` as the file holds it."""

    seed: Count
    reasons: tuple[Literal["best", "median", "worst", "first_failure"], ...]
    files: tuple[Annotated[str, AfterValidator(lambda name: file_name("file", name))], ...]
    plan: str = ""


@dataclass(frozen=True)
class _SavedManifest:
    """An `ArtifactManifest` as the file holds it."""

    cells: tuple[_SavedCell, ...]
    video: bool
    steps: tuple[Count, ...]
    troubles: tuple[str, ...] = ()


class ArtifactStore:
    """The artifacts in a storage. One writer at a time: the holder of the ledger."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def manifest(self, point_id: str) -> ArtifactManifest | None:
        """The manifest of a point; None if there is none, or a spoilt one, whose cells the next run draws again."""
        name = f"{point_id}/{SELECTION_FILE}"
        try:
            return ArtifactManifest.of(self._storage.read(name), f"{self._storage.where}/{name}")
        except FileNotFoundError:
            return None
        except SpoiltFileError as error:
            _log.warning("%s", error)
            return None

    def read(self, point_id: str, name: str) -> bytes:
        """The contents of a point's file. Raises StorageError if it is gone."""
        try:
            return self._storage.read(f"{point_id}/{name}")
        except FileNotFoundError as error:
            raise StorageError(f"{self._storage.where}/{point_id}/{name} was removed while it was read: try again.") from error

    def keep(self, drawn: Drawn) -> None:
        """Write drawn files and then the manifest. Raises StorageError if the storage fails; the call may then be repeated."""
        drawing, point_id = drawn.drawing, drawn.drawing.point.point_id
        for artifact in drawn.artifacts:
            self._storage.write(f"{point_id}/{artifact.name}", artifact.data)
        names = set(self._storage.names(point_id))
        before = self.manifest(point_id) if SELECTION_FILE in names else None
        plans = {known.cell.seed: known.plan for known in before.cells} if before is not None else {}
        plans |= {job.seed: digest([*job.actions]) for job in drawing.jobs}
        cells = tuple(
            DrawnCell(cell, _files(cell.seed, drawing.kinds, names), plans.get(cell.seed, "")) for cell in drawing.selected
        )
        self._write(point_id, ArtifactManifest(cells, drawing.video, drawing.steps, drawn.troubles))

    def forget(self, point_id: str, seeds: Iterable[int]) -> None:
        """Remove the files of some cells, which are about to be planned anew. Raises StorageError if the storage fails."""
        forgotten = set(seeds)
        names = self._storage.names(point_id)
        manifest = self.manifest(point_id) if SELECTION_FILE in names else None
        if manifest is not None and not forgotten.isdisjoint(cell.seed for cell in manifest.selected):
            self._write(point_id, manifest.without(forgotten))  # first, since it must not name a file that is gone
        for name in names:
            stem = name.partition(".")[0]
            if stem.isdigit() and int(stem) in forgotten:
                self._storage.remove(f"{point_id}/{name}")

    def _write(self, point_id: str, manifest: ArtifactManifest) -> None:
        self._storage.write(f"{point_id}/{SELECTION_FILE}", (json.dumps(manifest.as_json(), indent=1) + "\n").encode())

    def lacking(self, portions: Iterable[Portion], ledger: Ledger, selection: ArtifactSelection) -> Iterator[Drawing]:
        """The missing drawings of points, selected from all of their cells in the ledger; read lazily."""
        points = {portion.point.point_id: portion.point for portion in portions}
        names = {portion.point.point_id: portion.name for portion in portions}
        if not points or not selection.reasons:
            return
        counts: dict[str, int] = {}
        wanted: dict[str, tuple[SelectedCell, ...]] = {}
        for point, cells in _scored(ledger, list(points)):
            counts[point], wanted[point] = len(cells), select_cells(cells, selection.reasons)
        with ThreadPoolExecutor(max(1, self._storage.readers)) as readers:
            found = list(readers.map(lambda point: self._missing_jobs(point, wanted[point], selection.video), wanted))
        drawings = {
            point: Drawing(points[point], wanted[point], jobs, selection.video, name=names[point])
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
        """Jobs for the selected cells of a point that are not drawn, without actions; None if nothing needs to be done."""
        names = set(self._storage.names(point_id))
        manifest = self.manifest(point_id) if SELECTION_FILE in names else None
        as_wanted = manifest is not None and (manifest.selected, manifest.video) == (selected, video)
        if manifest is not None and as_wanted and names.issuperset(name for drawn in manifest.cells for name in drawn.files):
            return None
        kinds = kinds_of(video)
        return tuple(RenderJob(c.seed, ()) for c in selected if len(_files(c.seed, kinds, names)) < len(kinds))


def _as_json(drawn: DrawnCell) -> dict[str, object]:
    plain = {"seed": drawn.cell.seed, "reasons": [*drawn.cell.reasons], "files": [*drawn.files]}
    return {**plain, "plan": drawn.plan} if drawn.plan else plain  # so that older manifests keep their digest


def _files(seed: int, kinds: Sequence[str], names: set[str]) -> tuple[str, ...]:
    """The files of a cell among `names`."""
    return tuple(name for kind in kinds if (name := f"{seed}.{kind}") in names)


def _scored(ledger: Ledger, points: Sequence[str]) -> Iterator[tuple[str, list[Scored]]]:
    """The scores of each point's executed cells, point by point, because a ledger may hold a million cells."""
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
    """Points in groups of at most `AT_ONCE` cells, or of a single point."""
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
    """Actions of the wanted cells, by point and seed."""
    if not wanted:
        return {}
    seeds = pa.array(sorted({seed for _, seed in wanted}), pa.int64())
    table = ledger.table(points, ["point_id", "seed", "actions"]).filter(pc.field("seed").isin(seeds))
    return {key: tuple(row["actions"]) for row in table.to_pylist() if (key := (row["point_id"], row["seed"])) in wanted}
