"""Printing that does not squeeze: tables keep their columns on narrow terminals, in pipes and in files."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping

from rich.console import Console, RenderableType


def say(console: Console, text: str) -> None:
    """Print a line as it is: not coloured by guesswork, never broken."""
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def emit(value: Mapping[str, object]) -> None:
    """One JSON object as a line of standard output, for programs that read it as it comes."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def show(console: Console, table: RenderableType, width: int = 110) -> None:
    """Print a table at least `width` columns wide."""
    wide = Console(file=console.file, width=max(console.width, width), force_terminal=console.is_terminal)
    wide.print(table, highlight=False)
