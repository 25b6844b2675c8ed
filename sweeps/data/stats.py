"""`grasp data stats`: every feature of every column, one per line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from orchestrator.core.messages import visible
from sweeps.console.terminal import say, show
from sweeps.data.inspection import WIDTH
from world_models.datasets import Episodes
from world_models.datasets.statistics import ColumnStatistics

MOST_LINES = 200
"""Features shown in a table; `--json` has all."""
HEAD = ("column", "feature", "unit", "values", "odd", "minimum", "maximum", "mean", "std")


def print_statistics(data: Episodes, found: Mapping[str, ColumnStatistics], console: Console) -> None:
    """Print the statistics as a table."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in HEAD:
        table.add_column(name, no_wrap=True, justify="left" if name in HEAD[:3] else "right")
    lines = list(_lines(data, found))
    for line in lines[:MOST_LINES]:
        table.add_row(*(escape(visible(cell)) for cell in line))
    show(console, table, WIDTH)
    if len(lines) > MOST_LINES:
        say(console, f"{len(lines) - MOST_LINES} more features are in the output of --json")


def statistics_json(data: Episodes, found: Mapping[str, ColumnStatistics]) -> dict[str, Any]:
    """The same as JSON values: lists by feature, null where a feature has no finite value."""
    return {
        name: {
            "features": list(_features(data, name, len(one.count))),
            "unit": data.columns[name].unit,
            "values": one.count.tolist(),
            "odd": one.odd.tolist(),
            "minimum": _finite(one.minimum),
            "maximum": _finite(one.maximum),
            "mean": _finite(one.mean),
            "std": _finite(one.std),
        }
        for name, one in found.items()
    }


def _lines(data: Episodes, found: Mapping[str, ColumnStatistics]) -> Iterator[list[str]]:
    for name, one in found.items():
        for i, feature in enumerate(_features(data, name, len(one.count))):
            numbers = [f"{float(part[i]):.5g}" for part in (one.minimum, one.maximum, one.mean, one.std)]
            yield [name, feature, data.columns[name].unit or "-", f"{one.count[i]:,}", f"{one.odd[i]:,}", *numbers]


def _features(data: Episodes, name: str, count: int) -> tuple[str, ...]:
    """Names of a column's features: the dataset's own, or their indices."""
    own = data.columns[name].features
    if len(own) == count:
        return own
    shape = data.columns[name].shape
    return tuple(",".join(map(str, np.unravel_index(i, shape))) for i in range(count)) if shape else ("-",) * count


def _finite(values: Float[np.ndarray, " feature"]) -> list[float | None]:
    return [value if np.isfinite(value) else None for value in values.tolist()]
