"""Cells, the unit of work and of results: frozen, canonical, with an id that hashes what determines the outcome."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from orchestrator.core.frozen import frozen, thawed
from orchestrator.core.modes import OPEN_LOOP
from orchestrator.core.success import FINAL
from planners.identity import identity_settings
from world_models import tasks
from world_models.datasets.problems.settings import RecordedProblems
from world_models.errors import UserError
from world_models.history import REPEAT

Scalar = bool | int | float | str | None


def canonical(value: object) -> str:
    """The canonical JSON text of a value: sorted keys, no spaces, floats by shortest repr, whole floats as integers (2.0 is 2).

    Raises UserError for NaN, infinities and what JSON does not know.
    """
    try:
        return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise UserError(f"{value!r} cannot be part of a cell's identity ({error}): use finite numbers and text.") from error


def _plain(value: object) -> object:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def digest(value: object, length: int = 16) -> str:
    """Hex digest of a value's canonical form."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()[:length]


@dataclass(frozen=True)
class Named:
    """A registry name with its settings, e.g. task `wall` with kind and speed. Settings are sorted pairs: hashable.

    A list among the settings is kept as a tuple, and a mapping as a `FrozenMapping`.
    """

    name: str
    settings: tuple[tuple[str, Any], ...] = ()

    def __post_init__(self) -> None:
        pairs = sorted(self.settings, key=lambda pair: pair[0])
        object.__setattr__(self, "settings", tuple((name, frozen(value)) for name, value in pairs))

    @staticmethod
    def of(name: str, settings: Mapping[str, Any] | None = None) -> Named:
        """The name with the settings in a mapping."""
        return Named(name, tuple((settings or {}).items()))

    def as_dict(self) -> dict[str, Any]:
        """The settings as a mapping of plain values."""
        return {name: thawed(value) for name, value in self.settings}


@dataclass(frozen=True)
class Point:
    """All cells that differ only in seed: one MLflow run."""

    task: Named
    model: str
    """World model name (zoo) or path."""
    model_digest: str
    """Content digest of the model's weights and card config: the same name with other weights makes another point."""
    planner: Named
    """`name` is the planner kind; `settings` are all its settings, with defaults filled in."""
    horizon: int
    mode: str = OPEN_LOOP
    """`open_loop`, `mpc:K` or `mpc:K:H` (`orchestrator.core.modes`)."""
    goal_cost: str | None = None
    """The goal cost to plan with, one of the model's; None: the model's default."""
    disagreement: float = 0.0
    """Weight of an ensemble's disagreement in the goal cost."""
    algorithm_version: int = 1
    """Version of the planner's algorithm (`planners.identity`)."""
    task_version: int = 1
    """Version of the task's simulator and problems."""
    loader_version: int = 1
    """Version of what makes a model of the checkpoint's format."""
    noise_seed: int | None = None
    """Which noise the problems are planned with; None: each problem's seed is that of its noise, too."""
    code: tuple[tuple[str, str], ...] = ()
    """Version or digest of the code of each plug-in that takes part, by its kind: `task`, `planner` or `goal_cost`."""
    problems: RecordedProblems | None = None
    """The dataset whose rows are the problems; None: those that the task draws."""
    history: str = REPEAT
    """How the known past becomes the model's context: a text of `world_models.history.History`, as `within` spells it."""
    success: str = FINAL
    """When the task's success test has to hold: a text of `orchestrator.core.success.SuccessRule`."""
    protocol: str | None = None
    """How tables call the published protocol that the point follows; None: none was named."""

    @cached_property
    def point_id(self) -> str:
        """Deterministic id: the digest of `identity_of` the point."""
        return digest(identity_of(self))

    @staticmethod
    def of_plain(raw: Mapping[str, Any]) -> Point:
        """The point in the plain values of `asdict` or JSON."""
        named = {key: Named(raw[key]["name"], tuple((k, v) for k, v in raw[key]["settings"])) for key in ("task", "planner")}
        weight = float(raw.get("disagreement", 0.0))  # whole floats may have become integers
        code = tuple((kind, code) for kind, code in raw.get("code", ()))
        problems = raw.get("problems")
        return Point(
            **{**raw, **named, "disagreement": weight, "code": code, "problems": problems and recorded_problems(problems)}
        )

    def cell(self, seed: int) -> Cell:
        """The point's cell for a seed."""
        return Cell(self, seed)


@dataclass(frozen=True)
class Cell:
    """One (task, world model, planner + settings, horizon, mode, seed)."""

    point: Point
    seed: int

    @property
    def cell_id(self) -> str:
        """Deterministic id of the cell."""
        return cell_id_of(self.point.point_id, self.seed)

    @property
    def planner_seed(self) -> int:
        """The seed of the planner's noise: the problem's own, or one that follows from it and the point's `noise_seed`."""
        noise = self.point.noise_seed
        if noise is None:
            return self.seed
        text = f"{self.seed}/noise {noise}"
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=6).digest(), "little")

    def to_json(self) -> str:
        """Canonical JSON, from which `from_json` makes an equal cell."""
        return canonical(asdict(self))

    @staticmethod
    def from_json(text: str) -> Cell:
        """The cell that `to_json` wrote."""
        raw = json.loads(text)
        return Cell(Point.of_plain(raw["point"]), raw["seed"])


def recorded_problems(raw: Mapping[str, Any]) -> RecordedProblems:
    """The recorded problems in the plain values of `asdict` or JSON."""
    return RecordedProblems(**{**raw, "observation": tuple(raw.get("observation", ()))})


def identity_of(point: Point) -> dict[str, object]:
    """The canonical form of a point, whose digest is its id. What is absent has its default, and adds nothing.

    Always in it: the task with its settings but those that only make it faster (`world_models.tasks.SPEED`), the model's
    content digest, the planner with the settings that `planners.identity.identity_settings` gives, the horizon and the
    execution mode. In it where it is not the default: the goal cost, the disagreement, the noise seed, the versions of
    algorithm, task and loader, the code of plug-ins, the digest and split of recorded problems (`dataset`), the history mode,
    whose default is `repeat` whatever a model's card says, and the success rule.

    Never in it, only recorded (`orchestrator.ledger.records`): the model's name, how tables call task, planner and protocol,
    the kernel and precision that were used, versions of simulators and libraries, device, threads, host, revision and config.
    A protocol takes part by what it fixes: the horizon, the mode, the problems, the history and the success rule.
    """
    settings = identity_settings(point.planner.name, point.algorithm_version, point.planner.as_dict())
    identity: dict[str, object] = {
        "task": vars(
            Named(point.task.name, tuple(tasks.identity_settings(point.task.name, dict(point.task.settings)).items()))
        ),
        "model_digest": point.model_digest,
        "planner": vars(Named.of(point.planner.name, settings)),
        "horizon": point.horizon,
        "mode": point.mode,
    }
    unless_default: dict[str, tuple[object, object]] = {
        "history": (point.history, REPEAT),
        "success": (point.success, FINAL),
        "goal_cost": (point.goal_cost, None),
        "disagreement": (point.disagreement, 0.0),
        "noise_seed": (point.noise_seed, None),
        "algorithm_version": (point.algorithm_version, 1),
        "task_version": (point.task_version, 1),
        "loader_version": (point.loader_version, 1),
        "code": (dict(point.code), {}),
        "dataset": (point.problems and point.problems.identity(point.horizon), None),
    }
    return identity | {name: value for name, (value, default) in unless_default.items() if value != default}


def cell_id_of(point_id: str, seed: int) -> str:
    """The id of a point's cell."""
    return digest([point_id, seed])
