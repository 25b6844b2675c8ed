"""What the texts of an archive say: its manifest, its grid and its config, each checked before it is believed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from orchestrator.core.cell import Scalar, replan_every
from sweeps.archives.members import REMEDY, refused
from sweeps.config.grid import Entry, Grid
from world_models.errors import UserError
from world_models.files.names import file_name
from world_models.files.reading import SpoiltFileError, read_json

FORMAT = "grasp-sweep-1"
"""Format that an archive's manifest names."""
MOST_POINTS = 100_000
"""Most points of a grid that is imported."""
MOST_CELLS = 10**8
"""Most cells of a grid that is imported, planned or not."""
OWN_KEYS = ("backend", "optuna", "output", "storage", "tracking")
"""Keys of a config that say where things go: those of an archive are never followed."""

_LONGEST_LABEL = 500
_DEEPEST = 50
"""Levels of a config: reading thousands takes minutes."""
_LONGEST_NUMBER = 64
"""Characters of a number in YAML: longer ones take minutes to read."""
_HIGHEST_SEED = 2**63 - 1
_HIGHEST_HORIZON = 2**31 - 1
_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null", "map", "seq")}


@dataclass(frozen=True)
class ModelNote:
    """A world model that cells of the archive were planned with."""

    name: str
    digest: str


@dataclass(frozen=True)
class Manifest:
    """What an archive says of itself."""

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
        grid = read_json(folder / "sweep.json", Grid, "a grid", REMEDY)
    except SpoiltFileError as error:
        raise refused(file, _without(folder, error)) from error
    fault = grid_fault(grid) or _manifest_fault(manifest, grid)
    if fault is not None:
        raise refused(file, fault)
    text, left_out = _own_config(folder / "config.yaml", file)
    return Content(manifest, replace(grid, name=file_name("sweep name", grid.name)), text, left_out)


def grid_fault(grid: Grid) -> str | None:
    """What is wrong with the values of a grid whose types are right, in a few words; None for a sound one."""
    if not 1 <= len(grid.entries) <= MOST_POINTS or not grid.seeds or len(grid.entries) * len(grid.seeds) > MOST_CELLS:
        return f"its grid has {len(grid.entries)} points and {len(grid.seeds)} seeds"
    if len(set(grid.seeds)) < len(grid.seeds) or min(grid.seeds) < 0 or max(grid.seeds) > _HIGHEST_SEED:
        return "the seeds of its grid are not whole numbers >= 0, each once"
    for number, entry in enumerate(grid.entries):
        if (fault := _entry_fault(entry)) is not None:
            return f"point {number} of its grid {fault}"
    if len({entry.point.point_id for entry in grid.entries}) < len(grid.entries):
        return "a point of its grid is there twice"
    return None


def _entry_fault(entry: Entry) -> str | None:
    point = entry.point
    for value in _values(entry):
        if isinstance(value, float) and not math.isfinite(value):
            return "has a number that is not finite"
        if isinstance(value, str) and not (value.isprintable() and len(value) <= _LONGEST_LABEL):
            return f"has the text {value[:40]!r}, which is no label or setting"
    if not 0 < point.horizon <= _HIGHEST_HORIZON or point.disagreement < 0:
        return f"has horizon {point.horizon} and disagreement {point.disagreement:g}"
    if not all(0 < version < 2**31 for version in (point.algorithm_version, point.task_version, point.loader_version)):
        return "has a version that is not a whole number > 0"
    if point.noise_seed is not None and not 0 <= point.noise_seed <= _HIGHEST_SEED:
        return f"has noise seed {point.noise_seed}"
    try:
        replan_every(point.mode)
        _ = point.point_id
    except UserError as error:
        return f"is not sound: {' '.join(str(error).split())[:200].rstrip('.')}"
    return None


def _values(entry: Entry) -> Iterator[Scalar]:
    point = entry.point
    yield from (entry.task, entry.planner, entry.unit, point.model, point.model_digest, point.mode, point.goal_cost)
    yield point.disagreement
    for named in (point.task, point.planner):
        yield named.name
        for key, value in named.settings:
            yield from (key, value)


def _manifest_fault(manifest: Manifest, grid: Grid) -> str | None:
    if manifest.name != grid.name:
        return f"its manifest is of sweep {manifest.name[:60]!r} and its grid of {grid.name[:60]!r}"
    whole = len(grid.entries) * len(grid.seeds)
    if manifest.cells < 0 or manifest.missing < 0 or manifest.cells + manifest.missing != whole:
        return f"its manifest counts {manifest.cells} cells and {manifest.missing} missing ones, and its grid has {whole}"
    return None


def _own_config(source: Path, file: Path) -> tuple[str, tuple[str, ...]]:
    """The config without `OWN_KEYS`, and those it had; only its structure is read, so that no value of it does anything."""
    try:
        text = source.read_bytes().decode("utf-8")
        top = None if (fault := _event_fault(text)) else yaml.compose(text, yaml.SafeLoader)
    except (OSError, UnicodeError, yaml.YAMLError) as error:
        raise refused(file, f"its config.yaml is not YAML: {' '.join(str(error).split())[:120]}") from error
    fault = fault or _top_fault(top)
    if fault is not None:
        raise refused(file, f"its config.yaml {fault}")
    assert isinstance(top, yaml.MappingNode)
    keys = [key.value for key, _ in top.value]
    top.value = [(key, value) for key, value in top.value if key.value not in OWN_KEYS]
    return yaml.serialize(top, Dumper=yaml.SafeDumper, allow_unicode=True), tuple(sorted(set(keys) & set(OWN_KEYS)))


def _event_fault(text: str) -> str | None:
    """What makes a YAML text dangerous to read whole; it is read no further than up to there."""
    depth = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            return "has aliases"
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            return f"has more than {_DEEPEST} levels"
    return None


def _top_fault(top: yaml.Node | None) -> str | None:
    """What makes a YAML document another than the configs that are saved."""
    if not isinstance(top, yaml.MappingNode):
        return "has no keys"
    for node in _nodes(top):
        if (fault := _node_fault(node)) is not None:
            return fault
    keys = [key.value for key, _ in top.value]
    return "has a key twice" if len(set(keys)) < len(keys) else None


def _nodes(node: yaml.Node) -> Iterator[yaml.Node]:
    """A node and all below it."""
    waiting = [node]
    while waiting:
        one = waiting.pop()
        yield one
        if isinstance(one, yaml.MappingNode):
            waiting += [half for pair in one.value for half in pair]
        elif isinstance(one, yaml.SequenceNode):
            waiting += one.value


def _node_fault(node: yaml.Node) -> str | None:
    if node.tag not in _TAGS:
        return f"has a value of the kind {node.tag[:60]!r}"
    if isinstance(node, yaml.MappingNode) and not all(isinstance(key, yaml.ScalarNode) for key, _ in node.value):
        return "has a key that is not a word"
    if isinstance(node, yaml.ScalarNode) and not node.tag.endswith(":str") and len(node.value) > _LONGEST_NUMBER:
        return f"has a number of {len(node.value)} characters"
    return None


def _without(folder: Path, error: UserError) -> str:
    """An error's reason without the name of the folder that the archive was unpacked in, and without its remedy."""
    return str(error).replace(f"{folder}/", "").removesuffix(f": {REMEDY}.")
