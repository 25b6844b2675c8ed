"""Cells: an id covers everything that determines a result, and nothing else."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core.cell import Cell, Named, Point, canonical
from orchestrator.core.modes import ExecutionMode, check_mode, planned_steps
from world_models.datasets.problems.settings import RecordedProblems
from world_models.errors import UserError

POINT = Point(Named.of("wall", {"speed": 2.0, "kind": "deep"}), "wall", "abc", Named.of("gd", {"lr": 0.1, "sync": None}), 50)

ROWS = RecordedProblems("pusht.h5", "0123")
OTHER_ROWS = {
    "digest": "4567",
    "split": "training",
    "validation": 0.2,
    "split_seed": 1,
    "offset": 25,
    "seed": 43,
    "history": False,
    "observation": ("state",),
    "action": "rel_action",
    "manifest_digest": "89ab",
}

scalars = st.one_of(st.booleans(), st.integers(-(10**9), 10**9), st.floats(allow_nan=False, allow_infinity=False), st.text())
settings_of = st.dictionaries(st.text(min_size=1, max_size=8), scalars, max_size=5)


@settings(deadline=None)
@given(settings_of, settings_of, st.integers(1, 1000), st.integers(0, 2**40))
def test_round_trip_through_json_keeps_cell_and_id(task: dict, planner: dict, horizon: int, seed: int) -> None:
    point = Point(Named.of("wall", task), "wall", "abc", Named.of("cem", planner), horizon)
    point = replace(point, goal_cost="probe" if seed % 2 else None, disagreement=float(horizon % 3))
    cell = replace(point, noise_seed=seed if seed % 3 else None, algorithm_version=1 + seed % 2, task_version=2).cell(seed)
    again = Cell.from_json(cell.to_json())
    assert again == cell
    assert again.cell_id == cell.cell_id
    assert again.point.point_id == cell.point.point_id
    assert again.to_json() == cell.to_json()


def test_id_changes_with_every_field_that_determines_the_result() -> None:
    variants = [
        POINT,
        replace(POINT, task=Named.of("push_t", POINT.task.as_dict())),
        replace(POINT, task=Named.of("wall", {"speed": 3.0, "kind": "deep"})),
        replace(POINT, model_digest="abd"),
        replace(POINT, planner=Named.of("cem", POINT.planner.as_dict())),
        replace(POINT, planner=Named.of("gd", {"lr": 0.2, "sync": None})),
        replace(POINT, planner=Named.of("gd", {"lr": 0.1})),
        replace(POINT, horizon=51),
        replace(POINT, mode="mpc:10"),
        replace(POINT, mode="mpc:5"),
        replace(POINT, goal_cost="latent"),
        replace(POINT, goal_cost="temporal"),
        replace(POINT, disagreement=0.1),
        replace(POINT, disagreement=1.0),
        replace(POINT, noise_seed=0),
        replace(POINT, history="grow"),
        replace(POINT, history="grow:1"),
        replace(POINT, noise_seed=1),
        replace(POINT, algorithm_version=2),
        replace(POINT, task_version=2),
        replace(POINT, loader_version=2),
        replace(POINT, problems=ROWS),
        *(replace(POINT, problems=replace(ROWS, **{name: value})) for name, value in OTHER_ROWS.items()),
    ]
    cells = [variant.cell(seed) for variant in variants for seed in (0, 1)]
    assert len({cell.cell_id for cell in cells}) == len(cells)
    assert len({variant.point_id for variant in variants}) == len(variants)


def test_id_does_not_depend_on_the_models_name_or_the_order_of_settings() -> None:
    assert replace(POINT, model="elsewhere/wall").cell(3).cell_id == POINT.cell(3).cell_id
    shuffled = replace(POINT, task=Named("wall", (("speed", 2.0), ("kind", "deep"))))
    assert shuffled == POINT
    assert shuffled.point_id == POINT.point_id
    assert Named.of("wall", {"a": 1, "b": 2}) == Named.of("wall", {"b": 2, "a": 1})


def test_id_depends_on_recorded_rows_and_not_on_where_they_are_or_how_many_are_listed() -> None:
    point = replace(POINT, problems=ROWS)
    moved = replace(ROWS, path="elsewhere/pusht.h5", kind="hdf5", rows=50, offset=point.horizon, trained_on=True)
    assert replace(POINT, problems=moved).point_id == point.point_id
    listed = replace(ROWS, manifest="list.csv", manifest_digest="89ab")
    assert (
        replace(POINT, problems=replace(listed, manifest="moved.json", seed=1, split="all")).point_id
        == replace(POINT, problems=listed).point_id
    )
    whole, half = (replace(point, problems=replace(ROWS, split="all", validation=share)) for share in (0.1, 0.5))
    assert whole.point_id == half.point_id, "without a split its share does not matter"
    cell = replace(point, problems=replace(ROWS, observation=("a", "b"))).cell(3)
    assert Cell.from_json(cell.to_json()) == cell


def test_whole_floats_are_integers_but_booleans_are_not() -> None:
    def with_speed(speed: bool | float | str) -> str:
        return replace(POINT, task=Named.of("wall", {"speed": speed})).point_id

    assert with_speed(2) == with_speed(2.0)
    assert len({with_speed(1), with_speed(True), with_speed("1"), with_speed(1.5)}) == 4
    assert canonical({"b": 1e300, "a": [2.0, 0.1]}) == canonical({"a": (2, 0.1), "b": 10**300 * 1.0})


def test_modes_say_when_to_replan() -> None:
    assert [ExecutionMode.of(mode).every for mode in ("open_loop", "mpc:1", "mpc:10", "mpc:5:25")] == [None, 1, 10, 5]
    assert [planned_steps(mode, 10) for mode in ("open_loop", "mpc:10", "mpc:4", "mpc:1")] == [10, 10, 10 + 6 + 2, 55]
    assert [planned_steps(mode, 50) for mode in ("mpc:25:25", "mpc:20:30", "mpc:25:50")] == [50, 90, 100]
    assert [ExecutionMode.of(mode).ends(10) for mode in ("open_loop", "mpc:5", "mpc:4:8")] == [[10], [5, 10], [4, 8, 10]]
    for mode, horizon, block in (
        ("open_loop", 7, 7),
        ("mpc:10", 10, 5),
        ("mpc:5", 20, 5),
        ("mpc:3", 4, 1),
        ("mpc:5:25", 10, 5),
    ):
        check_mode(mode, horizon, block)


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("mcp:10", "unknown execution mode 'mcp:10': did you mean 'mpc:K'?"),
        ("openloop", "unknown execution mode 'openloop': did you mean 'open_loop'?"),
        ("mpc", "'mpc' does not say after how many environment steps to replan: give mpc:K with K from 1 to 999999"),
        ("mpc:0", "'mpc:0' does not say"),
        ("mpc:-5", "'mpc:-5' does not say"),
        ("mpc:2.5", "'mpc:2.5' does not say"),
        ("mpc:05", "'mpc:05' does not say"),
        ("mpc:5:", "'mpc:5:' does not say"),
        ("mpc:5:5:5", "'mpc:5:5:5' does not say"),
        ("mpc:10:5", "'mpc:10:5' plans 5 steps and executes 10 of them: plan as many or more, up to 10000"),
        ("mpc:5:99999", "'mpc:5:99999' plans 99999 steps"),
        (
            "mpc:5:12",
            "'mpc:5:12' plans to the middle of a model step, which takes 5 environment steps: choose 10 in place of 12",
        ),
        ("mpc:7", "'mpc:7' replans inside a model step, which takes 5 environment steps: choose 5"),
        ("mpc:2", "'mpc:2' replans inside a model step, which takes 5 environment steps: choose 5"),
        ("mpc:25", "'mpc:25' never replans within horizon 20: choose 20 or less"),
    ],
)
def test_modes_that_make_no_sense_are_refused_in_one_sentence(mode: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        check_mode(mode, 20, 5)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object()])
def test_what_has_no_canonical_form_is_refused(value: object) -> None:
    with pytest.raises(UserError, match="cannot be part of a cell's identity"):
        canonical({"x": value})
