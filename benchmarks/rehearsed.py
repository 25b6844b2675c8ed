"""The commands of a cluster: what docker/ holds, and in which form the rehearsal records what it ran.

A command's form is what does not depend on the place where it runs: ports, folders and what to sweep are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parent.parent
"""The checkout."""
COMMANDS = ROOT / "docker" / "commands"
"""What the image, compose, KubeRay, Slurm and the rehearsal all call."""
LIST = ROOT / "docker" / "rehearsed.txt"
"""The forms of all commands that the rehearsal ran; it fails when it ran others."""


def form(words: Sequence[str]) -> str:
    """The form of a command: its program and script, of a health check also what it asks."""
    program, *rest = words
    if Path(program).name == "env":
        return form([word for word in rest if "=" not in word.partition("/")[0]])
    named = next((Path(word) for word in rest if Path(word).parent.name == COMMANDS.name), None)
    if named is None:
        return " ".join([Path(program).name, *sorted(word for word in rest if word.startswith("--"))])
    said = f"{Path(program).name} docker/commands/{named.name}"
    asked = [urlsplit(word) for word in rest if "://" in word]
    return " ".join([said, *(f"{url.scheme}:{url.path}" for url in asked if named.suffix == ".py")])


def as_text(commands: Iterable[Sequence[str]]) -> str:
    """The forms, one a line, sorted."""
    return "".join(f"{line}\n" for line in sorted({form(words) for words in commands}))
