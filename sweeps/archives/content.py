"""The texts of an archive: its manifest, its grid and its config, each checked before it is believed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import yaml

from orchestrator.core.cell import Scalar
from sweeps.archives.members import REMEDY, refused
from sweeps.config.axes import MAX_SEED, MOST_CELLS, MOST_POINTS
from sweeps.config.grid import Entry, Grid
from sweeps.config.saved_sweep import WHAT, SavedSweep
from world_models.errors import UserError
from world_models.files.names import file_name
from world_models.files.reading import SpoiltFileError, read_json
from world_models.files.yaml_reading import YamlError, load_yaml
from world_models.tasks.gym.spaces import MOST_CLASSES

FORMAT = "grasp-sweep-1"
"""Format that an archive's manifest names."""
OWN_KEYS = ("backend", "optuna", "output", "storage", "tracking")
"""Keys of a config that say where things go: those of an archive are never followed."""

_LONGEST_LABEL = 500


@dataclass(frozen=True)
class ModelNote:
    """A world model that cells of the archive were planned with."""

    name: str
    digest: str


@dataclass(frozen=True)
class Manifest:
    """The description that an archive gives of itself."""

    format: str
    name: str
    cells: int
    missing: int
    """Cells of the grid that are not in the archive."""
    models: tuple[ModelNote, ...]
    revision: str
    versions: dict[str, str]


@dataclass(frozen=True)
class Content:
    """The checked texts of an archive."""

    manifest: Manifest
    grid: Grid
    config_text: str
    """The config without `OWN_KEYS`."""
    left_out: tuple[str, ...]
    """Which of them it had."""


@dataclass(frozen=True)
class _Format:
    format: str


def read_content(folder: Path, file: Path) -> Content:
    """The texts of the archive `file`, unpacked in `folder`. Raises UserError for what an export does not write."""
    try:
        found = read_json(folder / "manifest.json", _Format, "a manifest", REMEDY).format
        if found != FORMAT:
            raise UserError(
                f"{str(file)!r} has format {found[:60]!r} and this version reads {FORMAT!r}: update grasp-orchestrator."
            )
        manifest = read_json(folder / "manifest.json", Manifest, "a manifest", REMEDY)
        grid = read_json(folder / "sweep.json", SavedSweep, WHAT, REMEDY).grid
    except SpoiltFileError as error:
        raise refused(file, _without(folder, error)) from error
    fault = _grid_fault(grid) or _manifest_fault(manifest, grid)
    if fault is not None:
        raise refused(file, fault)
    text, left_out = _own_config(folder / "config.yaml", file)
    return Content(manifest, replace(grid, name=file_name("sweep name", grid.name)), text, left_out)


def _grid_fault(grid: Grid) -> str | None:
    """The first value of a grid that no sweep makes, though it is of the right type, in a few words; None for a sound grid."""
    if len(grid.entries) > MOST_POINTS or len(grid.entries) * len(grid.seeds) > MOST_CELLS:
        return f"its grid has {len(grid.entries)} points and {len(grid.seeds)} seeds"
    if max(grid.seeds) > MAX_SEED:
        return f"its grid has the seed {max(grid.seeds)}"
    faults = ((number, _entry_fault(entry)) for number, entry in enumerate(grid.entries))
    return next((f"point {number} of its grid {fault}" for number, fault in faults if fault is not None), None)


def _entry_fault(entry: Entry) -> str | None:
    point = entry.point
    for value in _values(entry):
        if isinstance(value, float) and not math.isfinite(value):
            return "has a number that is not finite"
        if isinstance(value, str) and not (value.isprintable() and len(value) <= _LONGEST_LABEL):
            return f"has the text {value[:40]!r}, which is neither a label nor a setting"
    if not all(0 < version < 2**31 for version in (point.algorithm_version, point.task_version, point.loader_version)):
        return "has a version that is not a whole number > 0"
    if entry.classes is not None and not 2 <= entry.classes <= MOST_CLASSES:
        return f"has actions of {entry.classes} classes"
    if point.noise_seed is not None and not 0 <= point.noise_seed <= MAX_SEED:
        return f"has noise seed {point.noise_seed}"
    return None


def _values(entry: Entry) -> Iterator[Scalar]:
    point = entry.point
    yield from (
        entry.task,
        entry.planner,
        entry.unit,
        point.model,
        point.model_digest,
        point.mode,
        point.history,
        point.success,
        point.protocol,
        point.goal_cost,
    )
    yield point.disagreement
    for named in (point.task, point.planner):
        yield named.name
        for key, value in named.settings:
            yield from (key, *_scalars(value))
    for kind, code in point.code:
        yield from (kind, code)
    if point.problems is not None:
        for value in asdict(point.problems).values():
            yield from _scalars(value)


def _scalars(value: object) -> Iterator[Scalar]:
    """The numbers and texts of a setting, which may be a list or mapping."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from (key, *_scalars(item))
    elif isinstance(value, tuple):
        for item in value:
            yield from _scalars(item)
    else:
        yield value  # pyright: ignore[reportReturnType]


def _manifest_fault(manifest: Manifest, grid: Grid) -> str | None:
    if manifest.name != grid.name:
        return f"its manifest is of sweep {manifest.name[:60]!r} and its grid of {grid.name[:60]!r}"
    whole = len(grid.entries) * len(grid.seeds)
    if manifest.cells < 0 or manifest.missing < 0 or manifest.cells + manifest.missing != whole:
        return f"its manifest counts {manifest.cells} cells and {manifest.missing} missing ones, and its grid has {whole}"
    return None


def _own_config(source: Path, file: Path) -> tuple[str, tuple[str, ...]]:
    """The config without `OWN_KEYS`, and those it had."""
    try:
        values = load_yaml(source, "config")
    except YamlError as error:
        raise refused(file, _without(source.parent, error)) from error
    if not isinstance(values, dict):
        raise refused(file, "its config.yaml has no keys")
    kept = {key: value for key, value in values.items() if key not in OWN_KEYS}
    return yaml.safe_dump(kept, sort_keys=False, allow_unicode=True), tuple(key for key in OWN_KEYS if key in values)


def _without(folder: Path, error: UserError) -> str:
    """An error's reason without the name of the folder that the archive was unpacked in, and without its remedy."""
    return str(error).replace(f"{folder}/", "").removesuffix(f": {REMEDY}.")
