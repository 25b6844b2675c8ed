"""Conformance suites for world models, tasks, datasets and adapters, to be called from the tests of whoever writes one.

`check_world_model(model, vectors(4))`, `check_task(task, horizon=20)` and `check_dataset(DatasetCase(open))` raise
AssertionError, in one sentence, for the first promise that is broken. `MODEL_CHECKS`, `TASK_CHECKS` and `DATASET_CHECKS` are
the single checks, to be parametrised over.
"""

from __future__ import annotations

from world_models.testing.adapters import ADAPTER_CHECKS, AdapterCase, check_adapter
from world_models.testing.datasets import DATASET_CHECKS, DatasetCase, check_dataset
from world_models.testing.goal_costs import GOAL_COST_CHECKS, GoalCostCase, check_goal_cost
from world_models.testing.models import (
    MODEL_CHECKS,
    ModelCase,
    Observe,
    check_world_model,
    pixel_observations,
    vectors,
)
from world_models.testing.refusals import refuses
from world_models.testing.tasks import (
    TASK_CHECKS,
    TaskCase,
    check_problems_elsewhere,
    check_task,
)

__all__ = [
    "ADAPTER_CHECKS",
    "DATASET_CHECKS",
    "GOAL_COST_CHECKS",
    "MODEL_CHECKS",
    "TASK_CHECKS",
    "AdapterCase",
    "DatasetCase",
    "GoalCostCase",
    "ModelCase",
    "Observe",
    "TaskCase",
    "check_adapter",
    "check_dataset",
    "check_goal_cost",
    "check_problems_elsewhere",
    "check_task",
    "check_world_model",
    "pixel_observations",
    "refuses",
    "vectors",
]
