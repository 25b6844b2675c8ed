"""The machinery that runs sweeps: cells, batches, workers, the ledger and tracking.

`run_cells(portions, Ledger("outputs/ledger"), InlineBackend())` plans what the ledger lacks.

The names in `__all__` are public, and so are those of `orchestrator.testing`. Everything else is private by convention:
it may move or change from one version to the next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from world_models.lazy import lazy_names

if TYPE_CHECKING:
    from orchestrator.core.batch import Batch
    from orchestrator.core.cell import Cell, Named, Point
    from orchestrator.core.portion import Portion
    from orchestrator.driver.run_cells import Hooks, RunSummary, run_cells
    from orchestrator.ledger.ledger import Ledger
    from orchestrator.ledger.records import SCHEMA, CellResult
    from orchestrator.scheduling.scheduler import Limits, Scheduler
    from orchestrator.workers.backend import Backend, InlineBackend
    from orchestrator.workers.evaluator import Evaluator
    from orchestrator.workers.ray_backend import RayBackend, RayConfig

__all__ = [
    "SCHEMA",
    "Backend",
    "Batch",
    "Cell",
    "CellResult",
    "Evaluator",
    "Hooks",
    "InlineBackend",
    "Ledger",
    "Limits",
    "Named",
    "Point",
    "Portion",
    "RayBackend",
    "RayConfig",
    "RunSummary",
    "Scheduler",
    "run_cells",
]

__getattr__, __dir__ = lazy_names(
    "orchestrator",
    {
        "core.batch": ("Batch",),
        "core.cell": ("Cell", "Named", "Point"),
        "core.portion": ("Portion",),
        "driver.run_cells": ("Hooks", "RunSummary", "run_cells"),
        "ledger.ledger": ("Ledger",),
        "ledger.records": ("SCHEMA", "CellResult"),
        "scheduling.scheduler": ("Limits", "Scheduler"),
        "workers.backend": ("Backend", "InlineBackend"),
        "workers.evaluator": ("Evaluator",),
        "workers.ray_backend": ("RayBackend", "RayConfig"),
    },
)
