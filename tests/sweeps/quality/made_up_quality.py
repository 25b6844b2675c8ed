"""Made-up results of a planning-quality study: what every planner did on every problem is known."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa

from orchestrator.core.cell import digest
from sweeps.quality.results import SCHEMA, VERSION, Results

Solves = Callable[[str, str, int], bool]
"""Whether a planner (by part and label) solves a seed."""


def row(part: str, planner: str, seed: int, success: bool, horizon: int = 50, mode: str = "open_loop") -> dict:
    """Result of one cell."""
    return {
        "part": part,
        "task": "push_t",
        "horizon": horizon,
        "mode": mode,
        "planner": planner,
        "seed": seed,
        "status": "failed" if seed == 2000 and planner == "cem" else "ok",
        "success": success,
        "distance": 3.0 if success else 40.0 + seed % 7,
        "start_distance": 100.0,
        "model_success": success or seed % 2 == 0,
        "steps_to_success": 20 if success else None,
        "plan_seconds": 0.25 if planner == "grasp" else 1.0 + seed / 10000,
        "evaluations": 1000 + seed,
        "cell_id": digest([part, planner, seed, horizon, mode]),
        "planner_settings": "{}",
        "unit": "px",
    }


def made_up(solves: Solves, seeds: int = 32) -> Results:
    """Three planners on Push-T at 50 steps, in three parts, with GRASP's ablation and sensitivity."""
    labels = {
        "own": ("grasp", "gd", "cem"),
        "equal": ("grasp", "gd_timed", "cem_timed"),
        "ablation": ("grasp", "grasp_no_noise"),
        "sensitivity": ("grasp_gamma1_sigma1", "grasp_gamma3_sigma1"),
    }
    rows = [
        row(part, planner, seed, solves(part, planner, seed))
        for part in sorted(labels)
        for planner in sorted(labels[part])
        for seed in range(2000, 2000 + seeds)
    ]
    return Results(pa.Table.from_pylist(rows, SCHEMA), FACTS)


FACTS = {
    "version": VERSION,
    "variant": "full",
    "planners": ["grasp", "gd", "cem"],
    "ours": ["grasp"],
    "tuning": {"trials": 16, "top": 2, "seeds": [10000, 16], "choice_seeds": [11000, 24]},
    "places": {"push": {"task": "push_t", "horizon": 50, "for": ["push_t"], "fixed": {}}},
    "tuned": [
        {
            "planner": "grasp",
            "place": "push",
            "settings": {"noise": 0.5},
            "provenance": {"winner": "default", "tuning_success": None, "choice_success": 0.9, "held_out_success": 0.8},
        }
    ],
    "timed_attempts": 100,
    "changes": {"no_noise": {"noise": 0.0, "init_noise": 0.0}},
    "factors": {"grasp_gamma1_sigma1": [1.0, 1.0], "grasp_gamma3_sigma1": [3.0, 1.0]},
    "aims": {
        "targets": [
            {"task": "push_t", "horizon": 50, "mode": "open_loop", "at_least": 0.85},
            {"task": "push_t", "horizon": 50, "mode": "open_loop", "at_least": 0.25},
        ],
        "faster": [{"task": "push_t", "horizon": 50, "than": "cem", "share": 0.25}],
    },
    "worst": [["grasp"], 3],
    "claims": {"wall": [{"claim": "no sync | lowers success", "verdict": "shown", "measured": "0/32 against 28/32"}]},
    "models": {"push_t": ["push_t", "0123456789abcdef"]},
    "machine": "2 cores at 2.1 GHz",
    "cells": 100,
    "failed": 1,
    "hours": {"tuning": 1.5, "tests": 0.5},
    "dates": ["2026-11-22", "2026-11-23"],
    "devices": ["cpu: some processor"],
    "threads": [1],
    "versions": [{"torch": "2.13.0"}],
    "revisions": ["abc"],
}
