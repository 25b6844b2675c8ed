"""The description of a dataset: as tables, and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from orchestrator.core.messages import mask_uri, visible
from sweeps.console.terminal import say, show
from world_models.datasets import Episodes, Role
from world_models.datasets.findings import Review, uses
from world_models.datasets.statistics import ColumnStatistics
from world_models.tasks import COMPLETE, make_task

FEATURES = 2
"""Features of a column that are shown one by one."""
WIDTH = 130
"""Characters of the widest table."""


def print_inspection(data: Episodes, found: Review, console: Console) -> None:
    """Print what a dataset is and what is wrong with it."""
    lengths = data.lengths
    say(console, f"{data.path}: kind {data.kind}, digest {data.digest()}")
    spread = f"{lengths.min()} to {lengths.max()}, median {np.median(lengths):g}" if len(lengths) else "none"
    say(console, f"{len(lengths)} episodes, {lengths.sum()} rows; rows per episode: {spread}")
    if data.open_ended.any():
        say(console, f"{data.open_ended.sum()} episodes end with an observation without an action")
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in ("column", "role", "type", "unit", "range", "mean", "std", "odd"):
        table.add_column(name, no_wrap=True)
    for name, column in data.columns.items():
        numbers = _numbers(found.statistics.get(name))
        kind = f"{column.dtype}[{', '.join(str(side) for side in column.shape)}]" if column.shape else column.dtype
        cells = [name, column.role.value, kind, column.unit or "-", *numbers]
        table.add_row(*(escape(visible(cell)) for cell in cells))
    show(console, table, WIDTH)
    for key, value in list(data.facts.items())[:12]:
        say(console, f"{key}: {str(value)[:100]}")
    for use in uses(data):
        say(console, f"can be used for {use}")
    fits = fitting_tasks(data)
    say(console, f"tasks that fit by their sizes: {', '.join(fits)}" if fits else "no task of ours has its sizes")
    for note in data.notes:
        say(console, f"note: {note}")
    for fault in found.faults:
        say(console, f"wrong: {fault}")
    say(console, "nothing is wrong with it" if not found.faults else f"{len(found.faults)} lines say what is wrong with it")


def as_json(data: Episodes, found: Review) -> dict[str, Any]:
    """The same as JSON values."""
    lengths = data.lengths
    return {
        "path": mask_uri(data.path),
        "kind": data.kind,
        "digest": data.digest(),
        "episodes": len(lengths),
        "rows": int(lengths.sum()),
        "lengths": {"min": int(lengths.min()), "max": int(lengths.max())} if len(lengths) else {},
        "open_ended": int(data.open_ended.sum()),
        "columns": {
            name: {
                "role": column.role.value,
                "type": column.dtype,
                "shape": list(column.shape),
                "unit": column.unit,
                "features": list(column.features),
                "transition": column.transition,
                **_values(found.statistics.get(name)),
            }
            for name, column in data.columns.items()
        },
        "facts": _plain(data.facts),
        "uses": list(uses(data)),
        "tasks": fitting_tasks(data),
        "notes": list(data.notes),
        "wrong": found.faults,
    }


def fitting_tasks(data: Episodes) -> list[str]:
    """Our tasks whose actions and observations have the sizes of columns of a dataset."""
    actions = {column.shape for column in data.columns.values() if column.role is Role.ACTION}
    others = [column.shape for column in data.columns.values() if column.role in (Role.OBSERVATION, Role.STATE)]
    pictures = any(column.role is Role.PIXELS for column in data.columns.values())
    found = []
    for name in COMPLETE:
        task = make_task(name)
        if (task.action_dim,) in actions and ((task.observation_dim,) in others or pictures):
            found.append(name)
    return found


def _numbers(found: ColumnStatistics | None) -> list[str]:
    if found is None:
        return ["-"] * 4
    known = found.count > 0
    bounds = f"{found.minimum[known].min():.3g} to {found.maximum[known].max():.3g}" if known.any() else "none"
    return [bounds, _few(found.mean), _few(found.std), str(int(found.odd.sum()))]


def _few(values: np.ndarray) -> str:
    words = [f"{value:.3g}" for value in values[:FEATURES]]
    return ", ".join(words) + (", ..." if len(values) > FEATURES else "")


def _values(found: ColumnStatistics | None) -> dict[str, Any]:
    if found is None:
        return {}
    parts = {"minimum": found.minimum, "maximum": found.maximum, "mean": found.mean, "std": found.std}
    numbers = {name: [float(v) if np.isfinite(v) else None for v in values] for name, values in parts.items()}
    return {**numbers, "odd": int(found.odd.sum())}


def _plain(facts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value if isinstance(value, str | int | float | bool) else str(value) for name, value in facts.items()}
