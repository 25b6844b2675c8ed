"""A cell's trajectory as Parquet: one row per environment step; the start is step 0."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float

from orchestrator.artifacts.frames import RolloutView
from world_models.tasks.base import pose_of

_NUMBERS = pa.list_(pa.float64())

SCHEMA: pa.Schema = pa.schema(
    [
        pa.field("step", pa.int32(), nullable=False),
        pa.field("action", _NUMBERS),
        pa.field("state", _NUMBERS, nullable=False),
        pa.field("pose", _NUMBERS, nullable=False),
        pa.field("distance", pa.float64(), nullable=False),
        pa.field("model_pose", _NUMBERS),
        pa.field("model_distance", pa.float64()),
    ]
)
"""`action` is taken at that step (null at the end), `state` and `pose` are the simulator's, and `model_*` is predicted by the
model at steps that end a model step: null elsewhere, and if the model's states cannot be decoded."""


def trajectory(view: RolloutView, actions: Float[np.ndarray, "time action"]) -> bytes:
    """The contents of the file; its metadata has the title and the unit of distance."""
    steps = len(view.states)
    expected = view.expected
    every = 1 if expected is None else (steps - 1) // max(1, len(expected.poses) - 1)
    predicted_rows = {} if expected is None else {row * every: row for row in range(len(expected.poses))}
    columns = {
        "step": range(steps),
        "action": [*actions.tolist(), None],
        "state": view.states.tolist(),
        "pose": pose_of(view.task, view.states).tolist(),
        "distance": view.distance.tolist(),
        "model_pose": [
            None if expected is None or t not in predicted_rows else expected.poses[predicted_rows[t]].tolist()
            for t in range(steps)
        ],
        "model_distance": [
            None if expected is None or t not in predicted_rows else float(expected.distance[predicted_rows[t]])
            for t in range(steps)
        ],
    }
    metadata = {"title": view.title, "distance_unit": view.task.distance_unit}
    table = pa.table(columns, SCHEMA.with_metadata(metadata))
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()
