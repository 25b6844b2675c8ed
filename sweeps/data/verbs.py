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
from sweeps.data.split import write_split
from sweeps.data.stats import print_statistics, statistics_json
from sweeps.data.task_files import write_task
from world_models.datasets import Episodes, open_dataset
from world_models.datasets.base import named_columns
from world_models.datasets.conversion import convert
from world_models.datasets.findings import review
from world_models.datasets.statistics import statistics
from world_models.errors import UnknownNameError, UserError, require
from world_models.plugins import Kind

WORDS = {
    "inspect": (),
    "stats": ("columns",),
    "view": ("episode", "out"),
    "split": ("validation", "seed", "out"),
    "convert": ("out", "columns"),
    "task": ("name", "conf", "observation", "action"),
}
"""Words of each verb besides `kind`."""
TEXTS = ("kind", "out", "name", "conf", "action")
"""Words whose values are texts, as they are typed."""


def run(arguments: argparse.Namespace) -> int:
    """Run the verb. Raises UserError for an unknown one, and for words that it does not take."""
    if arguments.verb not in WORDS:
        raise UnknownNameError("verb of grasp data", arguments.verb, WORDS)
    if stray := names_among(arguments.words):
        raise UserError(f"grasp data {arguments.verb} takes one path, and not {stray[0]!r} as well: give one.")
    words = plain_values(arguments.words, TEXTS)
    known = ("kind", *WORDS[arguments.verb])
    for key in words:
        if key not in known:
            raise UnknownNameError(f"word of grasp data {arguments.verb}", key, known)
    admit_for_all(arguments.plugin)
    data = _opened(arguments.path, words.get("kind"))
    console = Console()
    match arguments.verb:
        case "convert":
            return _convert(data, words, console)
        case "task":
            action = words.get("action")
            seen = _listed(words.get("observation"))
            return write_task(
                data, words.get("name"), words.get("conf"), seen, None if action is None else str(action), console
            )
        case "stats":
            return _stats(data, _columns(words), arguments.json, console)
        case "split":
            return write_split(data, words.get("validation", 0.1), words.get("seed", 0), words.get("out"), console)
        case "view":
            from sweeps.data.view import view_episode  # matplotlib, only where a picture is drawn

            return view_episode(data, words.get("episode", 0), words.get("out"), console)
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


def _stats(data: Episodes, columns: list[str] | None, json: bool, console: Console) -> int:
    found = statistics(data, None if columns is None else named_columns(data, columns))
    if json:
        emit(statistics_json(data, found))
    else:
        print_statistics(data, found, console)
    return 0


def _columns(words: dict[str, object]) -> list[str] | None:
    return _listed(words.get("columns"))


def _listed(names: object) -> list[str] | None:
    return None if names is None else [str(name) for name in (names if isinstance(names, list) else [names])]


def _convert(data: Episodes, words: dict[str, object], console: Console) -> int:
    out = words.get("out")
    require(out is not None, "grasp data convert needs a folder to write to: give out=FOLDER.")
    with _bar(console) as bar:
        done = convert(data, Path(str(out)), _columns(words), bar)
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
