"""Fuzzed configs of the user's own, cards and weights, each read by a command in a child process."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from sweeps.config.files import CONF
from tests.fuzz.children import Room, run
from tests.fuzz.command_lines import Found, faults, note
from tests.fuzz.grammar import Line
from tests.fuzz.mutations import change_yaml, mutate
from world_models.checkpoints.store import ZOO

_SWEEP = ("sweep", "--dry-run", "task=wall", "planner=gd", "backend=inline")


@dataclass(frozen=True)
class Source:
    """A sound file of ours that a user's is made from, and the commands that read it as `mine`."""

    file: str
    at: str
    """Its place among the user's files."""
    commands: Sequence[Sequence[str]]


SOURCES: Mapping[str, Source] = {
    "planner": Source("planner/gd.yaml", "conf/planner/mine.yaml", [(*_SWEEP[:3], "planner=mine"), ("plan", "planner=mine")]),
    "task": Source(
        "task/wall.yaml", "conf/task/mine.yaml", [("sweep", "--dry-run", "task=mine", "planner=gd"), ("tune", "task=mine")]
    ),
    "sweep": Source(
        "sweep/smoke.yaml", "conf/sweep/mine.yaml", [("sweep", "--dry-run", "sweep=mine"), ("config", "sweep=mine")]
    ),
    "study": Source("study/joint.yaml", "conf/study/mine.yaml", [("tune", "study=mine"), ("config", "tune", "study=mine")]),
    "space": Source("space/gd.yaml", "conf/space/mine.yaml", [("tune", "planner=gd", "space=mine")]),
    "backend": Source(
        "backend/ray.yaml", "conf/backend/mine.yaml", [(*_SWEEP[:4], "backend=mine"), ("quality", "--dry-run", "backend=mine")]
    ),
    "world_model": Source("world_model/wall.yaml", "conf/world_model/mine.yaml", [("train", "mine"), ("train", "all")]),
    "pixels": Source("world_model/push_t_pixels.yaml", "conf/world_model/mine.yaml", [("train", "mine")]),
    "quality": Source(
        "planning_quality/quick.yaml", "conf/planning_quality/mine.yaml", [("quality", "--dry-run", "planning_quality=mine")]
    ),
    "tuned": Source("tuned/grasp/wall-50.yaml", "conf/tuned/gd/wall-50.yaml", [_SWEEP, ("config", "planner=gd", "task=wall")]),
    "card": Source(
        "card.json", "model/card.json", [("models", "model"), ("models", "inspect", "model"), (*_SWEEP, "world_model=model")]
    ),
    "weights": Source(
        "model.safetensors", "model/model.safetensors", [("models", "inspect", "model"), (*_SWEEP, "world_model=model")]
    ),
}
"""Kinds of files by name."""


def fuzz(name: str, count: int, seed: int, folder: Path, say: Callable[[str], None] = print) -> Found:
    """Spoil one kind of file `count` times, in a process that is warm."""
    source, found, random = SOURCES[name], Found(), Random(f"{seed}/{name}")
    shared = folder / "shared"
    shutil.copytree(ZOO / "wall", shared / "model")
    at = shared / source.at
    at.parent.mkdir(parents=True, exist_ok=True)
    sound = (ZOO / "wall" if source.at.startswith("model") else CONF).joinpath(source.file).read_bytes()
    sound = sound.replace(b"planners.gd", b"planners.mine").replace(b"tasks.wall", b"tasks.mine")
    room = Room(folder / "room", shared)
    for number in range(count):
        spoilt = change_yaml(sound, random) if at.suffix == ".yaml" and random.random() < 0.6 else mutate(sound, random)
        at.write_bytes(spoilt)
        words = (*random.choice(source.commands), *(("--conf", "conf") if at.suffix == ".yaml" else ()))
        line = Line("", words)
        ended = run(words, room, lambda code, out: [])
        wrong = faults(line, ended, room)
        note(found, f"{name} {number} of seed {seed}", line, ended, [*wrong, f"{spoilt[:1500]!r}"] if wrong else [], say)
    return found
