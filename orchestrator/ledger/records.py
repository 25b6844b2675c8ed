"""The stored record of a cell, its Arrow schema and the schema's version."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from datetime import datetime

import pyarrow as pa

from planners.base import PlanStatus

SCHEMA_VERSION = 9
"""Version of `SCHEMA`; a ledger part of a newer one is refused, columns that an older one lacks are null.

2 added `goal_cost` and `disagreement`, and `model_success` may be null; 3 added `worker_seconds` and `attempts`; 4 added
`costs` and `distances`; 5 added `algorithm_version`, `task_version`, `loader_version`, `noise_seed`, `kernel` and `precision`;
6 added `code`; 7 added `problems`; 8 added `history`, `judged` and `first_success`;
9 added `success_rule` and `protocol`.
"""

ADDED = {
    **dict.fromkeys(("goal_cost", "disagreement"), 2),
    **dict.fromkeys(("worker_seconds", "attempts"), 3),
    **dict.fromkeys(("costs", "distances"), 4),
    **dict.fromkeys(("algorithm_version", "task_version", "loader_version", "noise_seed", "kernel", "precision"), 5),
    "code": 6,
    "problems": 7,
    **dict.fromkeys(("history", "judged", "first_success"), 8),
    **dict.fromkeys(("success_rule", "protocol"), 9),
}
"""The schema version that added a column; 1 for all others."""

VERSION_KEY = b"grasp.schema_version"
"""Key of the version in the schema's metadata."""

LISTS = ("costs", "distances", "actions")
"""Columns with many numbers per cell, which tables for people and MLflow leave out."""

STATUSES = (*(status.value for status in PlanStatus), "failed")
"""Statuses of a cell: those of planners, and `failed` if planning or execution raised."""

IN_MODEL = "model"
"""`CellResult.judged` of a cell whose task has no simulator."""

_COLUMNS: tuple[tuple[str, pa.DataType, bool], ...] = (
    ("cell_id", pa.string(), False),
    ("point_id", pa.string(), False),
    ("task", pa.string(), False),
    ("task_settings", pa.string(), False),
    ("problem_kind", pa.string(), False),
    ("model", pa.string(), False),
    ("model_digest", pa.string(), False),
    ("planner", pa.string(), False),
    ("planner_settings", pa.string(), False),
    ("horizon", pa.int32(), False),
    ("mode", pa.string(), False),
    ("goal_cost", pa.string(), True),
    ("disagreement", pa.float64(), True),
    ("algorithm_version", pa.int32(), True),
    ("task_version", pa.int32(), True),
    ("loader_version", pa.int32(), True),
    ("noise_seed", pa.int64(), True),
    ("code", pa.string(), True),
    ("problems", pa.string(), True),
    ("history", pa.string(), True),
    ("success_rule", pa.string(), True),
    ("protocol", pa.string(), True),
    ("seed", pa.int64(), False),
    ("status", pa.string(), False),
    ("error", pa.string(), True),
    ("judged", pa.string(), True),
    ("success", pa.bool_(), False),
    ("distance", pa.float64(), True),
    ("start_distance", pa.float64(), True),
    ("predicted_cost", pa.float64(), True),
    ("last_cost", pa.float64(), True),
    ("model_success", pa.bool_(), True),
    ("model_distance", pa.float64(), True),
    ("steps_to_success", pa.int32(), True),
    ("first_success", pa.int32(), True),
    ("plan_seconds", pa.float64(), True),
    ("batch_seconds", pa.float64(), True),
    ("batch_size", pa.int32(), False),
    ("worker_seconds", pa.float64(), True),
    ("attempts", pa.int32(), True),
    ("evaluations", pa.int64(), True),
    ("costs", pa.list_(pa.float32()), True),
    ("distances", pa.list_(pa.float32()), True),
    ("actions", pa.list_(pa.float32()), False),
    ("device", pa.string(), False),
    ("kernel", pa.string(), True),
    ("precision", pa.string(), True),
    ("threads", pa.int32(), False),
    ("host", pa.string(), False),
    ("torch_version", pa.string(), False),
    ("versions", pa.string(), False),
    ("git_revision", pa.string(), False),
    ("config_digest", pa.string(), False),
    ("finished_at", pa.timestamp("us", tz="UTC"), False),
)

SCHEMA: pa.Schema = pa.schema(
    [pa.field(name, kind, nullable) for name, kind, nullable in _COLUMNS],
    metadata={VERSION_KEY: str(SCHEMA_VERSION).encode()},
)
"""The ledger's columns; the version is in the metadata."""


@dataclass(frozen=True)
class CellResult:
    """The outcome of one cell. Numbers are finite, or None if unknown, as in a failed cell."""

    cell_id: str
    point_id: str
    task: str
    task_settings: str
    """JSON object."""
    problem_kind: str
    """The problem's kind as the task names it; empty if the problem could not be drawn."""
    model: str
    model_digest: str
    planner: str
    planner_settings: str
    """JSON object, defaults filled in."""
    horizon: int
    """Environment steps."""
    mode: str
    """`open_loop`, or replanned every K environment steps: `mpc:K`, or `mpc:K:H` for H steps each time."""
    goal_cost: str | None
    """The goal cost of the plan, one of the model's; None: the model's default."""
    disagreement: float | None
    """Weight of an ensemble's disagreement in the goal cost; None: 0."""
    algorithm_version: int | None
    """Version of the planner's algorithm; None, here and below: 1, recorded before there were versions."""
    task_version: int | None
    """Version of the task."""
    loader_version: int | None
    """Version of the loader of the model's checkpoint format."""
    noise_seed: int | None
    """Which noise the problem was planned with; None: that of its own seed."""
    code: str | None
    """Version or digest of the code of each plug-in by its kind, as a JSON object; None: none took part."""
    problems: str | None
    """The dataset whose rows are the problems, as a JSON object; None: the task drew them."""
    history: str | None
    """How the known past became the model's context: `grow`, `repeat:K` or `grow:K`; None: `repeat`."""
    success_rule: str | None
    """When the task's success test had to hold: `first_hit`, `replans` or `hold:K`; None: at the end."""
    protocol: str | None
    """How tables call the published protocol that was followed; None: none was named."""
    seed: int
    status: str
    """One of `STATUSES`."""
    error: str | None
    """One line; None unless the status is `failed`."""
    judged: str | None
    """`IN_MODEL` where there is no simulator: success and distances are what the world model predicts; else None."""
    success: bool
    """Whether the plan succeeds in the simulator: by the task's test, held when `success_rule` says."""
    distance: float | None
    """Final distance to the goal in the simulator, in the task's unit."""
    start_distance: float | None
    """Distance to the goal at the start, in the task's unit."""
    predicted_cost: float | None
    """Goal cost of the model's rollout of the plan; for a replanned cell, of the last plan."""
    last_cost: float | None
    """Goal cost of the planner's last iterate instead of its best."""
    model_success: bool | None
    """Whether the model's decoded final state passes the success test; if only this holds, the plan exploits model errors.

    None if the model's states cannot be decoded.

    For a replanned cell it is the end of the last plan's rollout, which began at the true state.
    """
    model_distance: float | None
    """Distance to the goal of the model's final state."""
    steps_to_success: int | None
    """First environment step from which on the rollout stays successful."""
    first_success: int | None
    """First environment step that is successful, whether or not the rollout stays so."""
    plan_seconds: float | None
    """This row's share of the batch's planning seconds, including replans; by model steps if the batch mixes points."""
    batch_seconds: float | None
    """Planning seconds of the whole batch."""
    batch_size: int
    """Rows planned together."""
    worker_seconds: float | None
    """This row's share of the batch's seconds on its worker, including the simulator but not the loading of a model."""
    attempts: int | None
    """How often the cell was handed to a worker; more than once if workers died with it or its batch was split."""
    evaluations: int | None
    """Model steps spent, including replans."""
    costs: tuple[float | None, ...] | None
    """The best predicted cost so far after 0, 1/32, 2/32, ... of the first plan's evaluations; None: not recorded."""
    distances: tuple[float | None, ...] | None
    """Distance to the goal in the simulator at evenly spaced environment steps, at most 51, including both ends."""
    actions: tuple[float, ...]
    """The executed actions, flat and time-major: horizon times environment action size numbers."""
    device: str
    kernel: str | None
    """The kernel that computed the model during planning, e.g. `torch` or `c AMX`; None if unknown."""
    precision: str | None
    """How precise its matrix products were, e.g. `float32` or `bfloat16`; None: not known."""
    threads: int
    host: str
    torch_version: str
    versions: str
    """JSON object of library versions."""
    git_revision: str
    config_digest: str
    finished_at: datetime
    """Time when the cell was finished, in UTC."""


def to_table(results: Iterable[CellResult]) -> pa.Table:
    """Records as an Arrow table of `SCHEMA`."""
    records = list(results)
    # Column by column: an append holds up a sweep's driver, and turning every record into a dict takes ten times as long.
    columns = [pa.array([getattr(record, field.name) for record in records], field.type) for field in SCHEMA]
    return pa.Table.from_arrays(columns, schema=SCHEMA)


def from_table(table: pa.Table) -> list[CellResult]:
    """Records of a table that has all columns of `SCHEMA`."""
    names = [field.name for field in fields(CellResult)]
    rows = table.select(names).to_pylist()
    return [CellResult(**{**row, **{name: None if row[name] is None else tuple(row[name]) for name in LISTS}}) for row in rows]


def stamped(result: CellResult, git_revision: str, config_digest: str) -> CellResult:
    """The record with the fields that only the driver knows."""
    return replace(result, git_revision=git_revision, config_digest=config_digest)
