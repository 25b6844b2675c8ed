"""Notes below tables: how planners treat discrete actions."""

from __future__ import annotations

from orchestrator.core.cell import Named, Point
from sweeps.config.grid import Entry
from sweeps.reports.notes import class_notes


def entry(task: str, label: str, planner: str, classes: int | None) -> Entry:
    return Entry(task, label, "px", Point(Named.of(task), "m", "ab" * 8, Named.of(planner), 20), classes)


def test_a_task_with_classes_has_a_line_that_says_who_draws_and_who_rounds_them() -> None:
    entries = [
        entry("wall", "gd", "gd", None),
        entry("cartpole", "cem", "cem", 2),
        entry("cartpole", "cem mpc:5", "cem", 2),
        entry("cartpole", "cem", "cem", 2),
        entry("cartpole", "gd_explore", "gd", 2),
        entry("cartpole", "climbing", "climbing", 2),
        entry("car", "mppi", "mppi", 3),
    ]
    assert class_notes(entries) == [
        "cartpole: actions are 2 classes, drawn as classes by cem, cem mpc:5; relaxed and rounded by gd_explore; "
        "rounded after planning by climbing.",
        "car: actions are 3 classes, drawn as classes by mppi.",
    ]
    assert class_notes(entries[:1]) == []
