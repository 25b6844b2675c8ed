"""The problems of a grid that are rows of a recorded dataset: found, checked, listed and described."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from orchestrator.core.cell import Named
from orchestrator.core.messages import mask_uri
from sweeps.config.grid import Grid
from sweeps.config.plugin_names import admitted
from sweeps.config.schema.protocols import ProtocolConfig
from sweeps.config.schema.sections import DrawConfig, ProblemsConfig
from world_models.datasets import Episodes, open_dataset
from world_models.datasets.problems.drawing import RecordedSource
from world_models.datasets.problems.pictures import only_picture_column, picture_column
from world_models.datasets.problems.rows import as_csv, read_manifest
from world_models.datasets.problems.settings import RecordedProblems
from world_models.errors import UserError, require
from world_models.plugins import Kind
from world_models.tasks import make_task
from world_models.tasks.base import pose_of
from world_models.tasks.recorded.judging import NoSimulator

CHECKED = 1_000
"""Most problems of a task and horizon that are drawn before a sweep begins."""
REPLAYED = 16
"""Most problems of a task and horizon whose recorded actions are executed to see how well the simulator repeats them."""


def recorded_problems(config: ProblemsConfig, conf: Path | None = None) -> RecordedProblems | None:
    """The dataset and list that a config describes; None if it names none.

    Raises UserError for keys without a dataset, an address with a password, and what cannot be opened.
    """
    if config.data is None:
        require(config == ProblemsConfig(), "problems.* is about a dataset, and none is given: add problems.data=PATH.")
        return None
    require(
        mask_uri(config.data) == config.data,
        f"problems.data={mask_uri(config.data)} holds a password, which the ledger would keep: leave it out, and give it in "
        "the environment of the workers.",
    )
    drawn = (config.split, config.offset, config.draw) != (ProblemsConfig.split, None, DrawConfig())
    require(
        config.manifest is None or not drawn,
        f"problems.manifest={config.manifest} lists the problems, and problems.split, offset and draw say how to draw them: "
        "give one or the other.",
    )
    kind = None if config.kind is None else admitted(Kind.DATASET, config.kind, conf)
    path = config.data if "://" in config.data else str(Path(config.data).absolute())
    data = open_dataset(path, kind)
    manifest = None if config.manifest is None else str(Path(config.manifest).absolute())
    return RecordedProblems(
        path,
        data.digest(),
        kind=kind,
        split=config.split,
        validation=config.validation,
        split_seed=config.split_seed,
        offset=config.offset,
        seed=config.draw.seed,
        rows=config.draw.rows,
        history=config.history,
        observation=config.observation,
        action=config.action,
        pictures=None if config.pictures is None else picture_column(data, config.pictures, "problems.pictures"),
        manifest=manifest,
        manifest_digest=None if manifest is None else read_manifest(manifest, data.lengths).digest,
        trained_on=config.trained_on,
        calls=config.draw.calls,
        goal=config.goal,
    )


def pictures_for(protocols: Mapping[str, ProtocolConfig], problems: RecordedProblems | None) -> str | None:
    """The dataset's column of pictures, if one of the protocols shows them and there is exactly one."""
    if problems is None or not any(each.pictures for each in protocols.values()):
        return None
    return only_picture_column(open_dataset(problems.path, problems.kind))


@dataclass(frozen=True)
class RecordedPart:
    """The recorded problems of one task and horizon of a grid."""

    label: str
    source: RecordedSource
    protocol: str | None = None
    """Label of the protocol that draws them."""

    @property
    def words(self) -> str:
        """Task and horizon, and the protocol if there is one."""
        return f"{self.label} H{self.source.horizon}{f' {self.protocol}' if self.protocol else ''}"


def recorded_parts(grid: Grid) -> Iterator[RecordedPart]:
    """The tasks and horizons of a grid whose problems are recorded, with their datasets open."""
    found: dict[tuple[Named, int, RecordedProblems], tuple[str, str | None]] = {}
    for entry in grid.entries:
        if entry.point.problems is not None:
            names = entry.task, entry.point.protocol
            found.setdefault((entry.point.task, entry.point.horizon, entry.point.problems), names)
    opened: dict[RecordedProblems, Episodes] = {}
    for (task, horizon, problems), (label, protocol) in found.items():
        made = make_task(task.name, **task.as_dict())
        source = RecordedSource.open(made, problems, horizon, opened.get(problems))
        opened[problems] = source.data
        yield RecordedPart(label, source, protocol)


def check_recorded(grid: Grid, key: str = "seeds") -> None:
    """Raise UserError, which names the key of the seeds, unless each has a recorded problem that the task can be put into."""
    try:
        for part in recorded_parts(grid):
            part.source.problems.at(max(grid.seeds))
            for seed in grid.seeds[:CHECKED]:
                part.source.problem(seed)
    except UserError as error:
        raise UserError(str(error) if key == "seeds" else f"{key}: {error}") from error


def manifest(part: RecordedPart, seeds: Sequence[int]) -> tuple[str, str]:
    """The name and content of the file that lists the problems of some seeds."""
    rows = ((seed, part.source.problems.at(seed)) for seed in seeds)
    # Changes of a protocol, which follow its name, are the same for all parts of a sweep.
    name = f"-{part.protocol.split(' ')[0]}" if part.protocol else ""
    return f"problems-{part.label}-H{part.source.horizon}{name}.csv", as_csv(rows)


def repeated_words(part: RecordedPart, seeds: Sequence[int]) -> str:
    """How far recorded actions lead the simulator, put into start rows, from the recorded goals; in one sentence."""
    source, chosen = part.source, seeds[:REPLAYED]
    if isinstance(source.task, NoSimulator):
        return (
            f"{part.words}: problems are rows of {source.data.path}; there is no simulator, so plans are "
            "judged by what the world model predicts"
        )
    problems = [source.problem(seed) for seed in chosen]
    ends = [source.task.simulate(each.start[None], each.reference_actions[None])[0, -1] for each in problems]
    poses, goals = pose_of(source.task, np.stack(ends)), pose_of(source.task, np.stack([each.goal for each in problems]))
    reached, farthest = int(source.task.reached(poses, goals).sum()), float(source.task.distance(poses, goals).max())
    return (
        f"{part.words}: problems are rows of {source.data.path}; its actions lead the simulator to {reached} "
        f"of {len(chosen)} recorded goals, and at most {farthest:.3g} {source.task.distance_unit} away from them"
    )
