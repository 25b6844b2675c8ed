"""Grids: their contents, ids that stay when a sweep grows, and refusals."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core.cell import Named
from sweeps.config.compose import Composed
from sweeps.config.grid import Grid, Lookups, SweepSpec, spec_of
from sweeps.config.saved_sweep import SavedSweep
from sweeps.config.schema.check import typed
from sweeps.config.schema.configs import SweepConfig
from sweeps.config.schema.entries import PlannerEntry, Rule, TaskEntry
from world_models.errors import UserError
from world_models.files.reading import parse_json, to_json

LOOKUPS = Lookups(
    model_digest=lambda model: f"digest of {model}",
    full_settings=lambda name, given: {"iterations": 5, **given},
    distance_unit=lambda task: "px",
    own_goal_cost=lambda model: "state",
    algorithm_version=lambda planner: 1,
    task_version=lambda task: 1,
    loader_version=lambda model: 1,
)

TASK = {"name": "wall", "settings": {"kind": "free"}, "world_model": "m", "horizons": [10, 20]}


def spec(horizons=(10, 20), seeds=(0, 1), planners=("gd", "cem"), models=("m",)):
    task = TaskEntry("wall", Named.of("wall", {"kind": "free"}), models, horizons)
    return SweepSpec("s", (task,), tuple(PlannerEntry(name, Named.of(name)) for name in planners), seeds)


def config(**changes):
    values = {"name": "s", "tasks": {"wall": TASK}, "planners": {"gd": {"name": "gd"}}, "seeds": 2, "horizons": None}
    return Composed(typed(SweepConfig, {**values, "world_models": None, **changes}))


def ids(grid):
    return {cell.cell_id for cell in grid.cells()}


def test_a_grid_is_the_product_of_its_axes():
    grid = spec(models=("m", "other")).expand(LOOKUPS)
    assert len(grid.entries) == 2 * 2 * 2
    assert len(ids(grid)) == len(grid.cells()) == 8 * 2
    first = grid.entries[0].point
    assert (first.model_digest, first.planner.as_dict()) == ("digest of m", {"iterations": 5})


axes = st.lists(st.integers(1, 50), min_size=1, max_size=4, unique=True).map(tuple)


@settings(max_examples=50, deadline=None)
@given(axes, axes, axes, axes)
def test_a_sweep_that_grows_keeps_its_cells(horizons, more_horizons, seeds, more_seeds):
    small = spec(horizons, seeds).expand(LOOKUPS)
    union = (tuple(dict.fromkeys((*a, *b))) for a, b in ((horizons, more_horizons), (seeds, more_seeds)))
    grown = spec(*union, planners=("cem", "gd", "grasp")).expand(LOOKUPS)
    assert ids(small) <= ids(grown)


def parsed(text: str) -> Grid:
    return parse_json(text, SavedSweep, "a saved sweep", "save it again", "a test").grid


def saved_and_read(grid: Grid) -> Grid:
    return parsed(to_json(SavedSweep.of(grid)))


def test_modes_are_an_axis_whose_open_loop_cells_are_those_of_a_sweep_without_it():
    plain = spec().expand(LOOKUPS)
    both = replace(spec(), modes=("open_loop", "mpc:5")).expand(LOOKUPS)
    assert len(both.entries) == 2 * len(plain.entries)
    assert len(ids(both)) == 2 * len(ids(plain))
    assert [entry for entry in both.entries if entry.point.mode == "open_loop"] == list(plain.entries)
    first = [entry for entry in both.entries if entry.point.horizon == 10]
    assert [entry.planner for entry in first] == ["gd", "cem", "gd mpc:5", "cem mpc:5"]
    assert [entry.point.mode for entry in first] == ["open_loop", "open_loop", "mpc:5", "mpc:5"]
    assert saved_and_read(both) == both


@pytest.mark.parametrize(
    ("changes", "modes"),
    [
        ({}, ("open_loop",)),
        ({"mode": "open_loop"}, ("open_loop",)),
        ({"mode": "mpc:10"}, ("mpc:10",)),
        ({"mode": ["mpc:10", "open_loop"]}, ("mpc:10", "open_loop")),
    ],
)
def test_a_mode_or_a_list_of_modes(changes, modes):
    assert spec_of(config(**changes)).modes == modes


def test_goal_costs_are_an_axis_and_a_models_own_needs_no_naming():
    plain = spec().expand(LOOKUPS)
    named = replace(spec(), goal_costs=("state", "probe"), disagreements=(0.0, 0.5)).expand(LOOKUPS)
    own = [entry for entry in named.entries if entry.point.goal_cost is None and not entry.point.disagreement]
    assert {entry.point.point_id for entry in own} == {entry.point.point_id for entry in plain.entries}
    assert len(named.entries) == 4 * len(plain.entries)
    said = {entry.planner for entry in named.entries if entry.planner.startswith("gd")}
    assert said == {"gd", "gd disagreement 0.5", "gd probe", "gd probe disagreement 0.5"}
    assert saved_and_read(named) == named


def test_histories_are_an_axis_and_a_models_own_needs_no_naming():
    own = replace(LOOKUPS, history=lambda model, asked: asked or "grow")
    plain = spec().expand(own)
    assert {entry.point.history for entry in plain.entries} == {"grow"}
    several = replace(spec(), histories=(None, "repeat", "grow:1")).expand(own)
    assert len(several.entries) == 3 * len(plain.entries)
    assert {entry.planner for entry in several.entries if entry.planner.startswith("gd")} == {"gd", "gd grow", "gd grow:1"}
    assert {entry.point.point_id for entry in spec().expand(LOOKUPS).entries} == {
        entry.point.point_id for entry in several.entries if entry.point.history == "repeat"
    }, "what repeats has the ids from before there were modes"
    assert saved_and_read(several) == several
    with pytest.raises(UserError, match="is the same as"):
        replace(spec(), histories=(None, "grow")).expand(own)


@pytest.mark.parametrize(
    ("given", "found"), [(None, (None,)), ("grow", ("grow",)), (["grow:1", None], ("grow:1", None)), ([], (None,))]
)
def test_a_history_or_a_list_of_histories(given, found):
    assert spec_of(config(history=given)).histories == found


@pytest.mark.parametrize("value", ["growing", "grow:0", "repeat:", 3, ["grow", "grow"]])
def test_histories_that_are_none_are_refused(value):
    with pytest.raises(UserError, match="history"):
        spec_of(config(history=value))


def test_noises_are_an_axis_of_points_over_the_same_problems():
    plain = spec().expand(LOOKUPS)
    noisy = replace(spec(), noise_seeds=(None, 0, 7)).expand(LOOKUPS)
    assert len(noisy.entries) == 3 * len(plain.entries)
    assert {entry.point for entry in noisy.entries if entry.point.noise_seed is None} == {e.point for e in plain.entries}
    assert {entry.planner for entry in noisy.entries if entry.planner.startswith("gd")} == {"gd", "gd noise 0", "gd noise 7"}
    assert noisy.seeds == plain.seeds
    assert saved_and_read(noisy) == noisy


@pytest.mark.parametrize(
    ("given", "noises"),
    [(None, (None,)), (3, (0, 1, 2)), ([None, 4], (None, 4)), ([7], (7,)), ([], (None,))],
)
def test_noise_seeds_are_a_count_or_a_list(given, noises):
    assert spec_of(config(noise_seeds=given)).noise_seeds == noises


@pytest.mark.parametrize("value", [0, -1, True, "many", 1.5, [-1], [0.5], ["x"], [1, 1]])
def test_noise_seeds_that_are_none_are_refused(value):
    with pytest.raises(UserError, match="noise"):
        spec_of(config(noise_seeds=value))


def test_a_sweep_saved_without_versions_and_noises_has_the_same_ids():
    grid = spec().expand(LOOKUPS)
    raw = json.loads(to_json(SavedSweep.of(grid)))
    for entry in raw["entries"]:
        for name in ("algorithm_version", "task_version", "loader_version", "noise_seed"):
            del entry["point"][name]
    assert ids(parsed(json.dumps(raw))) == ids(grid)


@pytest.mark.parametrize("value", [-0.1, "much", True, float("nan"), float("inf")])
def test_invalid_weights_of_disagreement_are_refused(value):
    with pytest.raises(UserError, match="is not a weight >= 0"):
        spec_of(config(disagreement=value))


def test_a_grid_round_trips_through_json():
    grid = spec().expand(LOOKUPS)
    again = saved_and_read(grid)
    assert again == grid
    assert ids(again) == ids(grid)


def test_rules_apply_in_order_where_task_and_horizon_match():
    wall = TaskEntry("wall_deep", Named.of("wall"), ("m",), (10, 20))
    rules = (
        Rule((("lr", 1.0),)),
        Rule((("lr", 2.0),), task="wall"),
        Rule((("lr", 3.0),), task="wall_deep", horizon=20),
        Rule((("lr", 4.0),), task="push_t"),
        Rule((("lr", 5.0),), file="wall"),
    )
    planner = PlannerEntry("gd", Named.of("gd", {"lr": 0.0}), rules)
    assert [planner.at(wall, horizon).as_dict()["lr"] for horizon in (10, 20)] == [2.0, 3.0]
    assert planner.at(replace(wall, label="wall"), 10).as_dict()["lr"] == 5.0


def test_two_labels_for_the_same_point_are_refused_by_name():
    planners = (PlannerEntry("gd", Named.of("gd")), PlannerEntry("copy", Named.of("gd", {"iterations": 5})))
    with pytest.raises(UserError, match=r"copy .* is the same as .* gd"):
        SweepSpec("s", spec().tasks, planners, (0,)).expand(LOOKUPS)


def test_one_model_under_two_names_is_refused():
    same = replace(LOOKUPS, model_digest=lambda model: "one digest")
    with pytest.raises(UserError, match="the same as"):
        spec(models=("m", "copy_of_m")).expand(same)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"horizons": [0]}, "horizon 0 is not a positive"),
        ({"horizons": [-3]}, "horizon -3 is not a positive"),
        ({"horizons": ["ten"]}, "horizon 'ten' is not a positive"),
        ({"horizons": [2.5]}, "horizon 2.5 is not a positive"),
        ({"horizons": [True]}, "horizon True is not a positive"),
        ({"horizons": [10, 10]}, "horizon 10 is given twice"),
        ({"horizons": []}, "the grid is empty"),
        ({"seeds": [1, 1]}, "seed 1 is given twice"),
        ({"seeds": []}, "the grid is empty: it has no seeds"),
        ({"seeds": 0}, "the grid is empty: it has no seeds"),
        ({"seeds": -3}, "seeds -3 is not a number of seeds"),
        ({"seeds": "many"}, "seeds 'many' is not a number of seeds"),
        ({"seeds": [-1]}, "seed -1 is not"),
        ({"seeds": {"from": 3}}, "seeds has"),
        ({"seeds": None}, "seeds None is not a number"),
        ({"planners": {}}, "the grid is empty: it has no planner"),
        ({"tasks": {}}, "the grid is empty: it has no task"),
        ({"world_models": ["a", "a"]}, "world model 'a' is given twice"),
        ({"mode": []}, "the grid is empty: it has no execution mode"),
        ({"mode": None}, "the grid is empty: it has no execution mode"),
        ({"mode": ["mpc:5", "mpc:5"]}, "mode 'mpc:5' is given twice"),
        ({"mode": "mcp:5"}, "unknown execution mode 'mcp:5': did you mean 'mpc:K'?"),
        ({"mode": ["open_loop", "mpc:0"]}, "execution mode 'mpc:0' does not say"),
        ({"mode": 10}, "unknown execution mode '10'"),
        ({"name": "../up"}, "is not a file name"),
        ({"name": ".."}, "is not a file name"),
        ({"name": "."}, "is not a file name"),
        ({"name": "n" * 300}, "is too long for a file name"),
        ({"name": None}, "is not a sweep name"),
        ({"planners": {"gd": {"name": "gd", "settings": {"lr": [1, 2]}}}}, "planners.gd.settings.lr [1, 2] is not a setting"),
        (
            {"planners": {"gd": {"name": "gd", "overrides": [{"tsk": "wall"}]}}},
            "unknown config key 'planners.gd.overrides.0.tsk'",
        ),
        ({"tasks": {"wall": {**TASK, "world_model": None}}}, "task 'wall' has no world model"),
        ({"tasks": {"wal": {"horizons": [5]}}}, "did you mean 'wall'"),
    ],
)
def test_nonsense_is_refused_in_one_sentence(changes, said):
    with pytest.raises(UserError) as caught:
        spec_of(config(**changes))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_patch_for_a_task_that_is_not_chosen_is_left_alone():
    tasks = {"wall": TASK, "push_t": {"horizons": [99]}}
    assert [task.label for task in spec_of(config(tasks=tasks)).tasks] == ["wall"]
