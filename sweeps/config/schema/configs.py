"""The config of each command as a typed object; `FILE` is its file in `sweeps/conf`, `GROUPS` the folders it chooses from.

Each class lists every key that its command takes: an unknown one is refused, and `grasp config COMMAND` shows them all.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, ClassVar

from orchestrator.core.modes import OPEN_LOOP
from orchestrator.core.success import FINAL
from orchestrator.tuning.objectives import JOINS
from sweeps.config.axes import (
    disagreements_of,
    goal_costs_of,
    histories_of,
    horizons_of,
    modes_of,
    noise_seeds_of,
    seeds_of,
    successes_of,
)
from sweeps.config.schema.kinds import axis, flag, folder, folder_name, location, number, one_of, seconds, text, texts, whole
from sweeps.config.schema.protocols import ProtocolConfig
from sweeps.config.schema.sections import (
    STRICT,
    ArtifactsConfig,
    BackendConfig,
    InlineConfig,
    PlannerConfig,
    ProblemsConfig,
    RayBackendConfig,
    RecordedConfig,
    Settings,
    TaskConfig,
    TrackingConfig,
    VideoConfig,
    WorldModelConfig,
)
from world_models.precision import PRECISIONS

MAX_ROWS = 1_000_000
"""Most rows of a batch."""


@dataclass(frozen=True, kw_only=True)
class GridConfig:
    """The keys that every config of a grid has."""

    FILE: ClassVar[str]
    GROUPS: ClassVar[tuple[str, ...]] = ("task", "planner")
    __pydantic_config__ = STRICT

    name: Annotated[str | None, folder_name("sweep name")] = None
    output: Annotated[Path, folder()] = Path("outputs")
    horizons: Annotated[tuple[int, ...] | None, axis(horizons_of, null=True)] = None
    """Environment steps for every task; none: each task's own."""
    world_models: Annotated[tuple[str, ...], texts("world model", null=True)] = ()
    """Zoo names or checkpoint folders for every task; none: each task's own."""
    mode: Annotated[tuple[str, ...], axis(modes_of, text=True)] = (OPEN_LOOP,)
    history: Annotated[tuple[str | None, ...], axis(histories_of, text=True)] = (None,)
    success: Annotated[tuple[str, ...], axis(successes_of, text=True)] = (FINAL,)
    goal_costs: Annotated[tuple[str | None, ...], axis(goal_costs_of, text=True)] = (None,)
    disagreement: Annotated[tuple[float, ...], axis(disagreements_of)] = (0.0,)
    noise_seeds: Annotated[tuple[int | None, ...], axis(noise_seeds_of)] = (None,)
    seeds: Annotated[tuple[int, ...], axis(seeds_of)] = ()
    tasks: dict[str, TaskConfig] = field(default_factory=dict)
    planners: dict[str, PlannerConfig] = field(default_factory=dict)

    @property
    def chosen_protocols(self) -> dict[str, ProtocolConfig]:
        """The protocols of a config that may have some."""
        return {}


@dataclass(frozen=True, kw_only=True)
class RunConfig(GridConfig):
    """The further keys of every config whose cells go to a ledger."""

    storage: Annotated[str | None, location("s3://bucket/folder")] = None
    problems: ProblemsConfig = field(default_factory=ProblemsConfig)
    max_rows: Annotated[int, whole(1, MAX_ROWS, 64)] = 64
    target_seconds: Annotated[float, seconds(60)] = 60.0
    even_batches: Annotated[bool, flag()] = False
    grace_seconds: Annotated[float, seconds(25)] = 25.0
    artifacts: ArtifactsConfig = field(default_factory=ArtifactsConfig)
    backend: BackendConfig = field(default_factory=RayBackendConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)


@dataclass(frozen=True, kw_only=True)
class SweepConfig(RunConfig):
    """The config of `grasp sweep`."""

    FILE = "config"
    GROUPS = ("task", "planner", "protocol", "backend", "sweep")
    protocols: dict[str, ProtocolConfig] = field(default_factory=dict)

    @property
    def chosen_protocols(self) -> dict[str, ProtocolConfig]:
        """Those of the group `protocol`."""
        return self.protocols


@dataclass(frozen=True, kw_only=True)
class PlanConfig(GridConfig):
    """The config of `grasp plan`."""

    FILE = "plan"
    GROUPS = ("task", "planner", "protocol")
    protocols: dict[str, ProtocolConfig] = field(default_factory=dict)
    problems: ProblemsConfig = field(default_factory=ProblemsConfig)
    device: Annotated[str, text("device", "cpu")] = "cpu"
    artifacts: VideoConfig = field(default_factory=VideoConfig)

    @property
    def chosen_protocols(self) -> dict[str, ProtocolConfig]:
        """Those of the group `protocol`."""
        return self.protocols


@dataclass(frozen=True)
class SamplerConfig:
    """How a study suggests settings."""

    __pydantic_config__ = STRICT
    name: Annotated[str, text("sampler", "tpe")] = "tpe"
    seed: Annotated[int, whole(0, 2**32 - 1, 0)] = 0
    startup: Annotated[int, whole(1, 100_000, 10)] = 10


@dataclass(frozen=True)
class PruningConfig:
    """When a study gives up a trial."""

    __pydantic_config__ = STRICT
    enabled: Annotated[bool, flag("false")] = True
    p_value: Annotated[float, number(0, 1, above=True, example="0.15", what="probability")] = 0.15
    warm_up: Annotated[int, whole(2, 1_000_000, 8)] = 8
    chunk: Annotated[int, whole(1, 1_000_000, 8)] = 8


@dataclass(frozen=True)
class OptunaConfig:
    """Where studies are kept."""

    __pydantic_config__ = STRICT
    storage: Annotated[str | None, location("postgresql://USER@HOST/DATABASE")] = None


@dataclass(frozen=True, kw_only=True)
class TuneConfig(RunConfig):
    """The config of `grasp tune`."""

    FILE = "tune"
    GROUPS = ("task", "planner", "space", "backend", "study")
    name: Annotated[str | None, folder_name("study name", null=True)] = None
    max_rows: Annotated[int, whole(1, MAX_ROWS, 128)] = 128
    space: dict[str, object] | None = None
    """The settings to search; checked with the planner's own."""
    trials: Annotated[int, whole(1, 1_000_000, 60)] = 60
    parallel: Annotated[int | None, whole(1, 100_000, 8, null=True)] = None
    objectives: Annotated[tuple[str, ...], texts("objective")] = ("cost",)
    constraints: dict[str, Annotated[float, number(0, example="0.5", what="bound")]] | None = None
    join: Annotated[str, one_of("way of joining tasks and horizons", JOINS)] = "mean"
    choice_seeds: Annotated[tuple[int, ...], axis(partial(seeds_of, key="choice_seeds"))] = ()
    held_out: Annotated[tuple[int, ...], axis(partial(seeds_of, key="held_out"))] = ()
    top: Annotated[int, whole(1, 100_000, 5)] = 5
    digits: Annotated[int | None, whole(1, 17, 3, null=True)] = None
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    pruning: PruningConfig = field(default_factory=PruningConfig)
    starts: dict[str, Settings] | None = None
    warm_start: Annotated[tuple[str, ...], texts("study", null=True)] = ()
    adopt: Annotated[bool, flag()] = False
    optuna: OptunaConfig = field(default_factory=OptunaConfig)


@dataclass(frozen=True)
class IteratesConfig:
    """The iterations at which GD and GRASP are examined."""

    __pydantic_config__ = STRICT
    early: Annotated[int, whole(1, 1_000_000, 10)] = 10
    late: Annotated[int, whole(1, 1_000_000, 40)] = 40
    gd_lr: Annotated[float, number(0, 1e6, above=True, example="0.1", what="learning rate")] = 0.1


@dataclass(frozen=True, kw_only=True)
class DiagnoseConfig(GridConfig):
    """The config of `grasp diagnose`."""

    FILE = "diagnose"
    GROUPS = ("task", "planner", "backend")
    problems: Annotated[int, whole(2, 1_000_000, 16)] = 16
    places: IteratesConfig = field(default_factory=IteratesConfig)
    ablation: Settings | None = None
    """Settings of all planners in the ablation."""
    device: Annotated[str, text("device", "cpu")] = "cpu"
    threads: Annotated[int, whole(1, 4096, 1)] = 1
    backend: BackendConfig = field(default_factory=InlineConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The config of `grasp train`."""

    FILE: ClassVar[str] = "train"
    GROUPS: ClassVar[tuple[str, ...]] = ("world_model", "backend")
    __pydantic_config__ = STRICT
    output: Annotated[Path, folder()] = Path("outputs")
    out: Annotated[Path | None, folder(null=True)] = None
    device: Annotated[str | None, text("device", "cuda", null=True)] = None
    """None: a GPU where there is one, otherwise the CPU."""
    threads: Annotated[int | None, whole(1, 10_000, null=True)] = None
    """Threads of each process; none: an even share of the processors that may be used."""
    precision: Annotated[str, one_of("precision", PRECISIONS)] = "highest"
    backend: BackendConfig = field(default_factory=InlineConfig)
    data: Annotated[str | None, text("dataset", "pusht_expert.h5", null=True)] = None
    """A recorded dataset to learn from; None: data are collected in the simulator."""
    recorded: RecordedConfig = field(default_factory=RecordedConfig)
    world_model: WorldModelConfig


@dataclass(frozen=True, kw_only=True)
class QualityConfig:
    """The config of `grasp quality`; `sweeps.quality.spec` checks the sections that are `object` here."""

    FILE: ClassVar[str] = "quality"
    GROUPS: ClassVar[tuple[str, ...]] = ("backend", "planning_quality")
    __pydantic_config__ = STRICT
    variant: Annotated[str, folder_name("variant")]
    output: Annotated[Path, folder()] = Path("outputs")
    page: Annotated[Path | None, folder(null=True)] = None
    machine: Annotated[str | None, text("description", "'2 cores'", null=True)] = None
    hours: Annotated[float, number(0, 100_000, above=True, example="8", what="number of hours")] = 8.0
    backend: BackendConfig = field(default_factory=RayBackendConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    planners: object = None
    ours: object = None
    tuning: object = None
    places: object = None
    tests: object = None
    ablation: object = None
    sensitivity: object = None
    equal_seconds: object = None
    worst: object = None
    diagnose: object = None
    targets: object = None
    faster: object = None
    guess: object = None


Config = SweepConfig | PlanConfig | TuneConfig | DiagnoseConfig | TrainConfig | QualityConfig
"""The config of a command."""

COMMANDS: dict[str, type[Config]] = {
    "sweep": SweepConfig,
    "plan": PlanConfig,
    "tune": TuneConfig,
    "diagnose": DiagnoseConfig,
    "train": TrainConfig,
    "quality": QualityConfig,
}
"""Configs by command."""
