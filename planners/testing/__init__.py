"""A conformance suite for planners, to be called from the tests of whoever writes one.

`check_planner(MyPlanner(settings))` raises AssertionError, in one sentence, for the first promise that is broken.
`PLANNER_CHECKS` are the single checks, to be parametrised over; `WORLDS` are small world models to plan in.
"""

from __future__ import annotations

from planners.testing.planners import ON_EVERY_WORLD, PLANNER_CHECKS, SHORT, PlannerCase, check_planner
from planners.testing.worlds import WORLDS, Chances, Cliff, Counting, Patches, Wrapped, problems_for, small_mlp, take

__all__ = [
    "ON_EVERY_WORLD",
    "PLANNER_CHECKS",
    "SHORT",
    "WORLDS",
    "Chances",
    "Cliff",
    "Counting",
    "Patches",
    "PlannerCase",
    "Wrapped",
    "check_planner",
    "problems_for",
    "small_mlp",
    "take",
]
