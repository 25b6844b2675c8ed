"""The rows of problems: drawn from a seed, or listed in a file."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int

from world_models.datasets.base import Episodes
from world_models.datasets.problems.clear_manifests import read_clear
from world_models.datasets.problems.published_draws import DinoWmStarts, SwmStarts, published_starts
from world_models.datasets.problems.settings import ALL, CALLS, OURS, SPLITS, TRAINING, RecordedProblems
from world_models.datasets.windows import Windows, split_episodes
from world_models.errors import UnknownNameError, UserError, brief, require
from world_models.files.reading import parse_json, read_text

FIELDS = ("episode", "start", "goal")
WHAT, REMEDY = "a list of problems", f"give lines, or JSON objects, with {', '.join(FIELDS)}"


@dataclass(frozen=True)
class ProblemRows:
    """The rows of one problem: both are of the same episode, and the goal comes later."""

    episode: int
    start: int
    goal: int


@runtime_checkable
class ProblemList(Protocol):
    """A list of problems that does not depend on who reads it, nor on how much of it is read."""

    @property
    def count(self) -> int:
        """Its length."""
        ...

    def at(self, number: int) -> ProblemRows:
        """The rows of a problem by its number. Raises UserError beyond the end."""
        ...


@dataclass(frozen=True)
class DrawnList:
    """Problems drawn without repetition from all starts that have a goal, each as likely as any other."""

    windows: Windows
    rows: int | None
    what: str
    """The dataset and its split, for a refusal."""

    @property
    def count(self) -> int:
        """Length of the list."""
        return self.windows.count if self.rows is None else min(self.rows, self.windows.count)

    def at(self, number: int) -> ProblemRows:
        """The window with a number in the shuffled sequence, from its first to its last row."""
        if number >= self.count:
            raise UserError(
                f"seed {number} asks for problem {number} of {self.what}, which has {self.count} of them: give seeds below "
                f"{self.count}" + (", or a larger problems.draw.rows." if self.count < self.windows.count else ".")
            )
        episodes, starts = self.windows.at(np.array([number]))
        return ProblemRows(int(episodes[0]), int(starts[0]), int(starts[0]) + self.windows.rows - 1)


@dataclass(frozen=True)
class PublishedList:
    """Problems that the random calls of a published evaluation draw."""

    starts: SwmStarts | DinoWmStarts
    span: int
    """Rows from start to goal, both included."""
    what: str
    """The dataset and its split, for a refusal."""

    @property
    def count(self) -> int:
        """Length of the list."""
        return self.starts.rows

    def at(self, number: int) -> ProblemRows:
        """The problem with a number."""
        if number >= self.count:
            raise UserError(
                f"seed {number} asks for problem {number} of {self.what}, of which {self.count} are drawn: give seeds below "
                f"{self.count}; a larger problems.draw.rows may draw others."
            )
        episode, start = self.starts.start(number)
        return ProblemRows(episode, start, start + self.span - 1)


@dataclass(frozen=True)
class _Listed:
    """A problem as a file lists it."""

    episode: int
    start: int
    goal: int
    seed: int | None = None

    @property
    def rows(self) -> ProblemRows:
        """Its rows."""
        return ProblemRows(self.episode, self.start, self.goal)


@dataclass(frozen=True)
class ListedRows:
    """Problems that a file lists."""

    problems: Mapping[int, ProblemRows]
    """By seed: the file's own, else the number of the line."""
    where: str

    @property
    def count(self) -> int:
        """Number of problems in the file."""
        return len(self.problems)

    def at(self, number: int) -> ProblemRows:
        """The problem of a seed."""
        if number not in self.problems:
            raise UserError(
                f"{self.where} lists {self.count} problems, and seed {number} is none of them: give seeds that it lists."
            )
        return self.problems[number]

    @cached_property
    def digest(self) -> str:
        """Digest of the rows."""
        text = json.dumps([[seed, each.episode, each.start, each.goal] for seed, each in sorted(self.problems.items())])
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def problem_list(data: Episodes, settings: RecordedProblems, horizon: int) -> ProblemList:
    """The list of a dataset. Raises UserError if no episode is long enough, and for a file whose rows it does not have."""
    if settings.manifest is not None:
        listed = read_manifest(settings.manifest, data.lengths)
        require(
            settings.manifest_digest in (None, listed.digest),
            f"{settings.manifest} lists other problems than when the sweep was made: run the sweep anew.",
        )
        return listed
    offset = settings.distance(horizon)
    require(offset >= 1, f"problems.offset={offset} is not a number of rows from start to goal: give at least 1.")
    episodes = episodes_of(settings, len(data.lengths))
    what = f"{data.path} ({settings.split} episodes, {offset} rows from start to goal)"
    require(
        len(episodes) > 0,
        f"{data.path} has no {settings.split} episodes: give a larger problems.validation, or problems.split=all.",
    )
    longest = int(data.lengths[episodes].max(initial=0))
    require(
        longest > offset,
        f"{what} has no problem: its longest episode has {longest} rows; give a shorter problems.offset or horizon.",
    )
    windows = Windows(data.lengths, offset + 1, settings.seed, episodes)
    if settings.calls == OURS:
        return DrawnList(windows, settings.rows, what)
    if settings.calls not in CALLS:
        raise UnknownNameError("way to draw problems", settings.calls, CALLS)
    return PublishedList(published_starts(settings.calls, windows, episodes, settings.rows, settings.seed), offset + 1, what)


def episodes_of(settings: RecordedProblems, count: int) -> Int[np.ndarray, " chosen"]:
    """The episodes of a dataset's split, in rising order. Raises UserError for an unknown split."""
    if settings.split not in SPLITS:
        raise UnknownNameError("split of a dataset", settings.split, SPLITS)
    if settings.split == ALL:
        return np.arange(count)
    training, validation = split_episodes(count, settings.validation, settings.split_seed)
    return training if settings.split == TRAINING else validation


def read_manifest(path: str | Path, lengths: Int[np.ndarray, " episodes"]) -> ListedRows:
    """The problems of a JSON or CSV file with the fields `episode`, `start` and `goal`, or of a manifest of CLEAR-LeWM.

    Raises UserError, naming the problem, for what is missing, not a number, or not in the dataset.
    """
    file = Path(path)
    try:
        found: Sequence[_Listed] = _objects(file) if file.suffix.lower() == ".json" else _lines(file)
    except FileNotFoundError as error:
        raise UserError(f"the list of problems {file} does not exist: give the path of a CSV or JSON file.") from error
    require(bool(found), f"{file} lists no problems: {REMEDY}.")
    for number, rows in enumerate(each.rows for each in found):
        where = f"{file}, problem {number}"
        inside = 0 <= rows.episode < len(lengths)
        require(inside, f"{where}: episode {rows.episode} is not one of the dataset's {len(lengths)}: {REMEDY}.")
        most = int(lengths[rows.episode])
        ordered = 0 <= rows.start < rows.goal < most
        require(ordered, f"{where}: rows {rows.start} and {rows.goal} are not in order within the episode's {most}: {REMEDY}.")
    rows = {number if each.seed is None else each.seed: each.rows for number, each in enumerate(found)}
    require(len(rows) == len(found), f"{file} lists a seed twice: give each one line.")
    return ListedRows(rows, str(file))


def _objects(file: Path) -> list[_Listed]:
    text = read_text(file, WHAT, REMEDY)
    if not text.lstrip().startswith("{"):
        return parse_json(text, list[_Listed], WHAT, REMEDY, str(file))
    pairs = read_clear(file, text).pairs
    return [_Listed(pair.episode_id, pair.start_step, pair.goal_step, pair.pair_id) for pair in pairs]


def _lines(file: Path) -> list[_Listed]:
    text = read_text(file, WHAT, REMEDY).removeprefix("\ufeff")
    try:
        lines = list(csv.DictReader(io.StringIO(text), skipinitialspace=True))
    except csv.Error as error:
        raise UserError(f"{file} is not {WHAT} ({error}): {REMEDY}.") from error
    return [_parsed(line, f"{file}, problem {number}") for number, line in enumerate(lines)]


def _parsed(line: Mapping[str | None, object], where: str) -> _Listed:
    try:
        episode, start, goal = (int(str(line[name])) for name in FIELDS)
        return _Listed(episode, start, goal, int(str(line["seed"])) if line.get("seed") else None)
    except (KeyError, ValueError) as error:
        held = ", ".join(f"{key} {value}" for key, value in line.items())
        raise UserError(f"{where} has not all of the whole numbers {', '.join(FIELDS)} ({brief(held)}): {REMEDY}.") from error


def as_csv(problems: Iterable[tuple[int, ProblemRows]]) -> str:
    """A file for `read_manifest`, of problems with their seeds."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("seed", *FIELDS))
    writer.writerows((seed, *astuple(rows)) for seed, rows in problems)
    return out.getvalue()
