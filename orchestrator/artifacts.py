"""Pictures of a cell: what the simulator did with the plan beside what the model imagined."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Artifact:
    """A file made of one cell."""

    cell_id: str
    point_id: str
    seed: int
    name: str
    """File name, e.g. `7.gif`."""
    data: bytes
    media_type: str
