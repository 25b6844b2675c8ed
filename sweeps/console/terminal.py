"""Printing that keeps the columns of tables on narrow terminals, in pipes and in files."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping

from rich.console import Console, RenderableType

from orchestrator.core.messages import visible
from orchestrator.scheduling.durations import Estimate
from orchestrator.storage.base import StorageWaitError


def say(console: Console, text: str) -> None:
    """Print a line unchanged, without automatic colours or line breaks; only control characters are spelt out."""
    console.print(visible(text), highlight=False, markup=False, soft_wrap=True)


def waiting_sentence(error: StorageWaitError) -> str:
    """The sentence for a terminal while results cannot be written."""
    return f"{error} Nothing is lost: this waits until {error.until}; Ctrl-C stops."


def emit(value: Mapping[str, object]) -> None:
    """Print one JSON object as a line of standard output, for programs that read along."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def show(console: Console, table: RenderableType, width: int = 110) -> None:
    """Print a table at least `width` columns wide."""
    if console.quiet:
        return
    wide = Console(
        file=console.file,
        width=max(console.width, width),
        force_terminal=console.is_terminal,
        force_jupyter=console.is_jupyter,
        markup=False,
        emoji=False,
    )
    wide.print(table, highlight=False)


def duration(seconds: float) -> str:
    """A duration in words: `45 s`, `3 min 20 s`, `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def roughly(estimate: Estimate) -> str:
    """An estimate in words: `12 min 5 s (8 min 2 s to 19 min 0 s)`, without the interval if it is empty."""
    middle, low, high = (duration(value) for value in (estimate.seconds, estimate.low, estimate.high))
    return middle if low == high else f"{middle} ({low} to {high})"
