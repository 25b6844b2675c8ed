"""Groups of keys that several configs share: tasks, planners, backend, tracking, artifacts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from orchestrator.artifacts.selection import REASONS, ArtifactSelection
from orchestrator.core.cell import Scalar
from sweeps.config.axes import horizons_of
from sweeps.config.schema.kinds import amount, axis, flag, folder_name, number, one_of, plain, scalar, text, texts, whole
from world_models.datasets.problems.settings import CALLS, GOALS, OURS, RECORDED, SPLITS, VALIDATION
from world_models.tasks.base import LONGEST_HORIZON

STRICT = ConfigDict(extra="forbid")
"""Pydantic's configuration of every section: a key that is not listed is refused."""

Settings = dict[str, Annotated[Scalar, scalar()]]
"""Settings by name; their own names and bounds are the planner's or the task's."""


TaskSettings = dict[str, Annotated[object, plain()]]
"""Settings of a task, some of which may be lists and mappings."""


@dataclass(frozen=True)
class TaskConfig:
    """A task of the grid; without a `name` or `target`, only changes to a task that another config selects."""

    __pydantic_config__ = STRICT
    name: Annotated[str | None, text("task's name", "wall", null=True)] = None
    target: Annotated[str | None, text("target", "package.module:Name", null=True)] = None
    """A task of the user's own, in place of the name of one."""
    settings: TaskSettings = field(default_factory=dict)
    world_model: Annotated[tuple[str, ...], texts("world model", null=True)] = ()
    horizons: Annotated[tuple[int, ...], axis(horizons_of)] = ()
    """Environment steps."""


@dataclass(frozen=True)
class RuleConfig:
    """Settings for some tasks and horizons of a planner."""

    __pydantic_config__ = STRICT
    settings: Settings = field(default_factory=dict)
    task: Annotated[str | None, text("task", "wall", null=True)] = None
    file: Annotated[str | None, text("task's file", "wall", null=True)] = None
    horizon: Annotated[int | None, whole(1, LONGEST_HORIZON, null=True)] = None
    source: Annotated[str | None, text(null=True)] = None
    """The tuned file that the rule comes from; None for a rule of the planner's own file."""
    provenance: dict[str, object] | None = None
    """Where a tuned file's settings come from."""


@dataclass(frozen=True)
class PlannerConfig:
    """A planner of the grid, with rules that apply in order; without a name or target, only changes to a selected one."""

    __pydantic_config__ = STRICT
    name: Annotated[str | None, text("planner's name", "grasp", null=True)] = None
    target: Annotated[str | None, text("target", "package.module:Name", null=True)] = None
    """A planner of the user's own, in place of the name of one."""
    settings: Settings = field(default_factory=dict)
    overrides: list[RuleConfig] = field(default_factory=list)


@dataclass(frozen=True)
class TrackingConfig:
    """Whether and where MLflow records are written."""

    __pydantic_config__ = STRICT
    enabled: Annotated[bool, flag("false")] = True
    uri: Annotated[str | None, text("tracking store's address", "http://HOST:PORT", null=True)] = None
    experiment: Annotated[str, text("experiment's name", "grasp")] = "grasp"


@dataclass(frozen=True)
class InlineConfig:
    """Planning in this process."""

    __pydantic_config__ = STRICT
    name: Literal["inline"] = "inline"
    device: Annotated[str, text("device", "cpu")] = "cpu"
    threads: Annotated[int | None, whole(1, 10_000, null=True)] = None


@dataclass(frozen=True)
class RayBackendConfig:
    """Planning on Ray's workers."""

    __pydantic_config__ = STRICT
    name: Literal["ray"] = "ray"
    address: Annotated[str | None, text("address", "auto", null=True)] = None
    num_workers: Annotated[int | None, whole(1, 100_000, null=True)] = None
    max_workers: Annotated[int | None, whole(1, 100_000, null=True)] = None
    cpus_per_worker: Annotated[float | None, number(0, 10_000, above=True, null=True)] = None
    gpus_per_worker: Annotated[float | None, number(0, 1_000, null=True)] = None
    memory_per_worker: Annotated[int | float | str | None, amount("4GiB")] = None
    labels: Mapping[str, Annotated[str, text("label", "a")]] = field(default_factory=dict)
    wait_for_nodes: Annotated[float, number(0, 10**7, example="120", what="number of seconds")] = 120.0


BackendConfig = Annotated[InlineConfig | RayBackendConfig, Field(discriminator="name")]
"""The backend that plans."""


@dataclass(frozen=True)
class VideoConfig:
    """How a plan's pictures are made."""

    __pydantic_config__ = STRICT
    video: Annotated[bool, flag("false")] = True


@dataclass(frozen=True)
class ArtifactsConfig:
    """Which cells are drawn, and whether with a video."""

    __pydantic_config__ = STRICT
    cells: Annotated[tuple[str, ...], texts("reason to draw a cell", null=True, example="[best,worst]")] = REASONS
    video: Annotated[bool, flag("false")] = True

    @property
    def selection(self) -> ArtifactSelection:
        """The selection of cells. Raises UserError for an unknown reason."""
        return ArtifactSelection(self.cells, self.video)


@dataclass(frozen=True)
class RecordedConfig:
    """How a recorded dataset is used in training."""

    __pydantic_config__ = STRICT
    kind: Annotated[str | None, text("kind of dataset", "hdf5", null=True)] = None
    """None: found by its content."""
    observation: Annotated[tuple[str, ...], texts("column", null=True)] = ()
    """Columns that make up the observation; none: found by role and size."""
    action: Annotated[str | None, text("column", "action", null=True)] = None
    pixels: Annotated[str | None, text("column", "pixels", null=True)] = None
    """Column of the pictures that a pixel model learns from; None: the only one."""
    proprioception: Annotated[str | None, text("column", "proprio", null=True)] = None
    """Column of a pixel model's proprioception; None: it is taken from the observation."""
    validation: Annotated[float, number(0, 0.9, example="0.1", what="share of the episodes")] = 0.1
    seed: Annotated[int, whole(0)] = 0
    """Seed of the split."""


@dataclass(frozen=True)
class DrawConfig:
    """How recorded problems are drawn."""

    __pydantic_config__ = STRICT
    rows: Annotated[int | None, whole(1, example=50, null=True)] = None
    """Length of the list; none: as many as there are."""
    seed: Annotated[int, whole(0, example=42)] = 42
    calls: Annotated[str, one_of("way to draw problems", CALLS)] = OURS
    """Whose random calls draw them."""


@dataclass(frozen=True)
class ProblemsConfig:
    """Problems that are rows of a recorded dataset; without `data`, the task draws them."""

    __pydantic_config__ = STRICT
    data: Annotated[str | None, text("dataset", "pusht_expert.h5", null=True)] = None
    kind: Annotated[str | None, text("kind of dataset", "hdf5", null=True)] = None
    """None: found by its content."""
    split: Annotated[str, one_of("split of a dataset", SPLITS)] = VALIDATION
    validation: Annotated[float, number(0, 0.9, example="0.1", what="share of the episodes")] = 0.1
    split_seed: Annotated[int, whole(0)] = 0
    offset: Annotated[int | None, whole(1, LONGEST_HORIZON, 25, null=True)] = None
    """Rows from start to goal; none: the horizon."""
    draw: DrawConfig = field(default_factory=DrawConfig)
    manifest: Annotated[str | None, text("list of problems", "problems.csv", null=True)] = None
    history: Annotated[bool, flag()] = True
    observation: Annotated[tuple[str, ...], texts("column", null=True)] = ()
    action: Annotated[str | None, text("column", "action", null=True)] = None
    pictures: Annotated[str | None, text("column", "pixels", null=True)] = None
    """Recorded pictures for pixel models; none: the task draws them."""
    goal: Annotated[str, one_of("goal", GOALS)] = RECORDED
    """The recorded row, or where the recorded actions lead the simulator."""
    trained_on: Annotated[bool, flag()] = False


@dataclass(frozen=True)
class ModelTaskConfig:
    """The task that a world model learns."""

    __pydantic_config__ = STRICT
    name: Annotated[str | None, text("task's name", "wall", null=True)] = None
    target: Annotated[str | None, text("target", "package.module:Name", null=True)] = None
    """A task of the user's own, in place of the name of one."""
    settings: TaskSettings = field(default_factory=dict)


@dataclass(frozen=True)
class WorldModelConfig:
    """A world model to train; `train` holds the recipe's settings, which the recipe checks."""

    __pydantic_config__ = STRICT
    name: Annotated[str, folder_name("model's name")]
    task: ModelTaskConfig
    kind: Annotated[str, text("kind of world model", "mlp")] = "mlp"
    zoo: Annotated[bool, flag()] = True
    """Whether `grasp train all` trains it."""
    train: dict[str, object] = field(default_factory=dict)
