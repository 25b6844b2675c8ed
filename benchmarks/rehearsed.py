"""The commands of a cluster in docker/, and the form in which the rehearsal records those that it ran.

A command's form is the part that does not depend on where it runs: ports, folders and the sweep are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parent.parent
"""The checkout."""
COMMANDS = ROOT / "docker" / "commands"
"""The scripts that the image, compose, KubeRay, Slurm and the rehearsal all call."""
LIST = ROOT / "docker" / "rehearsed.txt"
"""The forms of all commands that the rehearsal runs; it fails when it ran others."""


def form(words: Sequence[str]) -> str:
    """The form of a command: its program and script, and for a health check the scheme and path of its address."""
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
    """The sorted forms, one per line."""
    return "".join(f"{line}\n" for line in sorted({form(words) for words in commands}))
