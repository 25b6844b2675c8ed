"""One batch plans with different settings per row: each row equals a separate run, for every setting that may differ."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from planners import PLANNERS, ModelProblems, Plans, PlanStatus, Settings, full_settings, make_planner
from planners.settings import Scalar
from tests.support.optima import reachable
from tests.support.planning import SETTINGS, WORLDS, problems_for, take

MODEL = WORLDS["pendulums"](torch.float64)
BASE: dict[str, dict[str, Scalar]] = {name: {**settings, "iterations": 20} for name, settings in SETTINGS.items()}
"""Twenty iterations, and noise and schedules on, so that every setting has something to act on."""
BASE["grasp"] |= {"noise_schedule": "linear", "goal_weight": 0.3}
BASE["latco"] |= {"lr_multipliers": 0.2}

VALUES: dict[str, tuple[Scalar, ...]] = {
    "iterations": (20, 6, 11),
    "reached_cost": (0.0, 0.3, 100.0),
    "finish_cost": (0.0, 0.3, 100.0),
    "noise_schedule": ("linear", "constant", "cosine"),
    "sync_every": (4, 0, 7),
    "sync_steps": (3, 0, 5),
    "final_sync_steps": (0, 6, 2),
    "final_goal_weight": (0.0, 2.0, 0.3),
    "kept_elites": (0.0, 0.5, 1.0),
    "momentum": (0.0, 0.4, 0.9),
    "std_decay": (0.8, 0.95, 1.0),
    "tolerance": (1e-4, 0.05, 1.0),
    "update_every": (1, 4, 30),
    "check_every": (1, 7, 30),
}
"""Settings whose default cannot be simply scaled."""
COMPANION_SETTINGS: dict[tuple[str | None, str], dict[str, Scalar]] = {
    (None, "reached_cost"): {"attempts": 2},
    ("grasp", "sync_damping"): {"sync": "newton"},
    ("grasp", "sync_std"): {"sync": "cem"},
    ("random_shooting", "std"): {"bound": 40.0},
    ("gd_dino", "weight_decay"): {"optimizer": "adamw", "lr": 0.1},
    ("gd_dino", "std"): {"samples": 3},
    ("grasp_author", "sync_variance_scale"): {"sync": "cem", "sync_samples": 12, "sync_elites": 3},
    ("grasp_author", "sync_variance_floor"): {"sync": "cem", "sync_samples": 12, "sync_elites": 3},
}
"""Other settings that a setting (of one planner or of all) needs to have an effect; `bound` is that of the actions."""


def by_row(name: str) -> list[str]:
    return [field.name for field in dataclasses.fields(PLANNERS[name][0]) if field.metadata.get("by_row")]


def values_of(name: str, field: str) -> list[Scalar]:
    if field in VALUES:
        return list(VALUES[field])
    default = full_settings(name)[field]
    assert isinstance(default, float)
    return [0.5 * default, default, 2 * default] if default > 0 else [0.0, 0.05, 0.2]


def assert_equal_apart(
    name: str, rows: list[dict[str, Scalar]], problems: ModelProblems | None = None, seeds: Sequence[int] = (1, 2, 3)
) -> list[Plans]:
    """Plan rows together and one by one, and compare; returns the plans one by one."""
    problems = problems or problems_for(MODEL, steps=3)
    kind, planner = PLANNERS[name]
    stacked = kind.stack([kind.of(name, row) for row in rows])
    together = planner(stacked).plan(MODEL, problems, seeds)  # pyright: ignore[reportCallIssue]
    apart = []
    for row, settings in enumerate(rows):
        alone = make_planner(name, settings).plan(MODEL, take(problems, [row]), [seeds[row]])
        torch.testing.assert_close(together.actions[row], alone.actions[0], rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(together.last_cost[row], alone.last_cost[0], rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(together.trace[row, -1], alone.trace[0, -1], rtol=1e-9, atol=1e-9)
        assert together.evaluations[row] == alone.evaluations[0]
        assert together.status[row] == alone.status[0]
        apart.append(alone)
    return apart


@pytest.mark.parametrize(("name", "field"), [(name, field) for name in sorted(PLANNERS) for field in by_row(name)])
def test_rows_with_settings_of_their_own_equal_separate_runs(name: str, field: str) -> None:
    """The same problem and seed in all rows, so that the test also shows that the setting matters."""
    companions = dict(COMPANION_SETTINGS.get((name, field)) or COMPANION_SETTINGS.get((None, field)) or {})
    bound = companions.pop("bound", 1.0)
    assert isinstance(bound, float)
    problems = take(reachable(MODEL, 4, bound).problems, [0, 0, 0])
    rows = [{**BASE[name], **companions, field: value} for value in values_of(name, field)]
    apart = assert_equal_apart(name, rows, problems, (1, 1, 1))
    distinct = {(plans.last_cost.item(), plans.cost.item(), plans.evaluations.item()) for plans in apart}
    assert len(distinct) >= (2 if field in ("reached_cost", "finish_cost") else 3)
    if field == "finish_cost":
        assert PlanStatus.REACHED in [plans.status[0] for plans in apart]


@pytest.mark.parametrize("name", sorted(PLANNERS))
@hypothesis_settings(max_examples=2, deadline=None, derandomize=True, database=None)
@given(data=st.data())
def test_any_mixture_with_restarts_and_attempts_equals_separate_runs(name: str, data: st.DataObject) -> None:
    common = {**BASE[name], "restarts": 2, "attempts": 2}
    fields = [field for field in by_row(name) if field != "sync_every"]
    rows = []
    for _ in range(3):
        chosen = {field: data.draw(st.sampled_from(values_of(name, field)), label=field) for field in fields}
        if name == "grasp":
            chosen["sync_every"] = data.draw(st.integers(0, int(chosen["iterations"] or 0)), label="sync_every")
        rows.append({**common, **chosen})
    assert_equal_apart(name, rows)


def test_cem_sync_takes_rounds_by_row() -> None:
    base = {**BASE["grasp"], "sync": "cem", "sync_samples": 12, "sync_elites": 3}
    rows = [{**base, "sync_every": every, "sync_steps": steps} for every, steps in ((4, 3), (6, 1), (0, 5))]
    assert_equal_apart("grasp", rows)


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_schedules_follow_the_rows_own_iterations(schedule: str) -> None:
    base = {**BASE["grasp"], "noise_schedule": schedule, "final_goal_weight": 1.5}
    assert_equal_apart("grasp", [{**base, "iterations": 20}, {**base, "iterations": 7}, {**base, "iterations": 12}])
    unsynced = {**base, "sync_every": 0}
    assert_equal_apart(
        "grasp", [{**unsynced, "iterations": n, "noise": noise} for n, noise in ((20, 0.1), (7, 0.0), (12, 0.4))]
    )


@pytest.mark.parametrize("optimizer", ["adam", "gd"])
@pytest.mark.parametrize("name", ["grasp", "gd", "latco"])
def test_both_update_rules_take_learning_rates_by_row(name: str, optimizer: str) -> None:
    rates = [field for field in by_row(name) if field.startswith("lr") or field == "sync_lr"]
    rows = [{**BASE[name], "optimizer": optimizer, **dict.fromkeys(rates, rate)} for rate in (0.01, 0.05, 0.1)]
    assert_equal_apart(name, rows)


@pytest.mark.parametrize("name", sorted(PLANNERS))
def test_stack_and_rows_are_inverse(name: str) -> None:
    kind: type[Settings] = PLANNERS[name][0]
    fields = by_row(name)
    columns = {field: values_of(name, field) for field in fields}
    rows = [kind.of(name, {**SETTINGS[name], **{field: columns[field][i] for field in fields}}) for i in range(3)]
    stacked = Settings.stack(rows)
    assert set(stacked.tensors()) == set(fields)
    for i, row in enumerate(rows):
        one = stacked.rows(torch.tensor([i]))
        for field in dataclasses.fields(kind):
            value = getattr(one, field.name)
            plain = value.item() if isinstance(value, torch.Tensor) else value
            names = field.metadata.get("names", ())
            plain = names[plain] if names and isinstance(value, torch.Tensor) else plain
            assert plain == getattr(row, field.name)
    alike = Settings.stack([rows[0], rows[0]])
    assert alike == rows[0]
