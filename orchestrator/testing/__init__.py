"""A conformance suite for backends, a world without physics to run it on, and evaluators that fail on cue.

`check_backend(make_backend)` raises AssertionError, in one sentence, for the first promise that is broken. `BACKEND_CHECKS` are
the single checks, to be parametrised over.
"""

from __future__ import annotations

from orchestrator.testing.backends import BACKEND_CHECKS, WORK, check_backend, plan_all, records_by_cell
from orchestrator.testing.faults import (
    DRAWN_ONCE,
    HUNGRY,
    KILL_ONCE,
    LAST_WORDS,
    POISON,
    RAISING,
    UNDRAWABLE,
    Faulty,
    FaultyEvaluator,
    Slow,
    SlowEvaluator,
    quick_result,
)
from orchestrator.testing.plane import (
    DIGEST,
    GD,
    Plane,
    PlaneModel,
    load_plane,
    make_plane,
    plane_evaluator,
    plane_point,
)

__all__ = [
    "BACKEND_CHECKS",
    "DIGEST",
    "DRAWN_ONCE",
    "GD",
    "HUNGRY",
    "KILL_ONCE",
    "LAST_WORDS",
    "POISON",
    "RAISING",
    "UNDRAWABLE",
    "WORK",
    "Faulty",
    "FaultyEvaluator",
    "Plane",
    "PlaneModel",
    "Slow",
    "SlowEvaluator",
    "check_backend",
    "load_plane",
    "make_plane",
    "plan_all",
    "plane_evaluator",
    "plane_point",
    "quick_result",
    "records_by_cell",
]
