"""The verbs of `grasp data`, and their words."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from sweeps.config.overrides import plain_values
from sweeps.config.plugin_names import admit_for_all, admitted
from sweeps.console.command import names_among
from sweeps.console.terminal import emit, say
from sweeps.data.inspection import as_json, print_inspection
from world_models.datasets import Episodes, open_dataset
from world_models.datasets.conversion import convert
from world_models.datasets.findings import review
from world_models.errors import UnknownNameError, UserError, require
from world_models.plugins import Kind

VERBS = ("inspect", "convert")


def run(arguments: argparse.Namespace) -> int:
    """Run the verb. Raises UserError for an unknown one, and for words that it does not take."""
    if arguments.verb not in VERBS:
        raise UnknownNameError("verb of grasp data", arguments.verb, VERBS)
    if stray := names_among(arguments.words):
        raise UserError(f"grasp data {arguments.verb} takes one path, and not {stray[0]!r} as well: give one.")
    words = plain_values(arguments.words)
    known = {"kind"} | ({"out", "columns"} if arguments.verb == "convert" else set())
    for key in words:
        if key not in known:
            raise UnknownNameError(f"word of grasp data {arguments.verb}", key, known)
    admit_for_all(arguments.plugin)
    data = _opened(arguments.path, words.get("kind"))
    console = Console()
    if arguments.verb == "convert":
        return _convert(data, words, console)
    return _inspect(data, arguments.frames, arguments.json, console)


def _opened(path: str, kind: object) -> Episodes:
    return open_dataset(path, None if kind is None else admitted(Kind.DATASET, str(kind), None))


def _inspect(data: Episodes, frames: bool, json: bool, console: Console) -> int:
    with _bar(Console(stderr=True), quiet=json) as bar:
        found = review(data, frames, lambda done, total: bar("reading", done, total))
    if json:
        emit(as_json(data, found))
    else:
        print_inspection(data, found, console)
    return int(bool(found.faults))


def _convert(data: Episodes, words: dict[str, object], console: Console) -> int:
    out, columns = words.get("out"), words.get("columns")
    require(out is not None, "grasp data convert needs a folder to write to: give out=FOLDER.")
    names = None if columns is None else [str(name) for name in (columns if isinstance(columns, list) else [columns])]
    with _bar(console) as bar:
        done = convert(data, Path(str(out)), names, bar)
    before = f", {done.resumed} of them in an earlier run" if done.resumed else ""
    say(console, f"{done.folder} holds {done.episodes} episodes{before}; each was read back and compared.")
    say(console, f"full digest {done.digest}, the same as that of the columns of {data.path}")
    return 0


class _Bar:
    """A progress bar with a label."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=None)

    def __call__(self, label: str, done: int, total: int) -> None:
        self._progress.update(self._task, description=label, completed=done, total=total)


@contextmanager
def _bar(console: Console, quiet: bool = False) -> Iterator[_Bar]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as progress:
        yield _Bar(progress)
