"""What the tracker is told of a sweep."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SweepInfo:
    """What the parent run says about a sweep."""

    name: str
    config_text: str
    """The composed configuration, as YAML."""
    command: str
    description: str
    """Markdown."""
