"""Writes down what ids are made of: `python -m tests.golden.make_identities`.

Adds to `planners/frozen_defaults.json` the settings and versions that it lacks (what stands there never changes), and writes
`identities.json`, the ids of some cells. Run it after a new setting, planner or version. Where it changes an id that
was not meant to change, put the default back, or raise the planner's `algorithm_version`.
"""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

from orchestrator.core.cell import Named, Point
from planners import BASELINES, PLANNERS, full_settings
from planners.identity import FROZEN, algorithm_version

IDENTITIES = Path(__file__).with_name("identities.json")
SEED = 7


def ids() -> dict[str, str]:
    """Cell ids by what the cells are."""
    return {label: point.cell(SEED).cell_id for label, point in points().items()}


def points() -> dict[str, Point]:
    """Points by what they are: every planner, every task, every axis."""
    found = {}
    for name in PLANNERS:
        found[name] = _point(name)
        found[f"{name}, iterations 77"] = _point(name, iterations=77)
    for name in BASELINES:
        found[name] = _point(name)
    grasp = found["grasp"]
    return found | {
        "point maze": replace(grasp, task=Named.of("point_maze", {"maze": "umaze", "action_block": 1})),
        "push-t": replace(grasp, task=Named.of("push_t", {"action_block": 5})),
        "mpc": replace(grasp, mode="mpc:10"),
        "goal cost": replace(grasp, goal_cost="probe"),
        "disagreement": replace(grasp, disagreement=0.1),
        "noise": replace(grasp, noise_seed=3),
        "task version": replace(grasp, task_version=2),
        "loader version": replace(grasp, loader_version=2),
        "mpc of a fixed length": replace(grasp, mode="mpc:25:25"),
        "success": replace(grasp, success="first_hit"),
        "history": replace(grasp, history="grow"),
        "history of one state": replace(grasp, history="grow:1"),
    }


def _point(name: str, **settings: int) -> Point:
    planner, task = Named.of(name, full_settings(name, settings)), Named.of("wall", {"kind": "deep", "speed": 1.0})
    return Point(task, "wall", "0123456789abcdef", planner, 50, algorithm_version=algorithm_version(name))


def freeze(frozen: dict[str, dict[str, dict[str, dict]]]) -> None:
    """Add the settings that a planner's current version has and the table lacks."""
    for name, (settings, _) in PLANNERS.items():
        tables = frozen.setdefault(name, {}).setdefault(str(settings.algorithm_version), {"always": {}, "unless_default": {}})
        known = {**tables["always"], **tables["unless_default"]}
        tables["unless_default"] |= {one.name: one.default for one in fields(settings) if one.name not in known}


if __name__ == "__main__":
    table = json.loads(FROZEN.read_text(encoding="utf-8"))
    freeze(table)
    FROZEN.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    IDENTITIES.write_text(json.dumps(ids(), indent=1) + "\n", encoding="utf-8")
