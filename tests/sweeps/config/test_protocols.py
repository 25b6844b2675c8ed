"""Protocols of a grid: what they fix, what they give to tasks, and what they refuse; ours are all complete."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.core.cell import Named
from orchestrator.core.modes import check_mode
from orchestrator.core.success import check_rule
from sweeps.config.compose import compose
from sweeps.config.files import groups
from sweeps.config.grid import spec_of
from sweeps.config.schema.configs import SweepConfig
from sweeps.config.schema.entries import PlannerEntry, Rule
from sweeps.config.schema.protocols import ProtocolConfig, ProtocolEntry, check_draws, protocol_entries
from sweeps.config.schema.sections import DrawConfig, ProblemsConfig
from tests.sweeps.config.test_grid import LOOKUPS, config, ids, saved_and_read, spec
from world_models.datasets.problems.settings import RecordedProblems
from world_models.errors import UserError
from world_models.tasks import make_task

LEWM = ProtocolEntry(
    "lewm", "lewm", ProtocolConfig(budget=50, mode="mpc:25:25", offset=25, success="first_hit", history="grow:1")
)
LATER = ProtocolEntry("later", "later", ProtocolConfig(budget=50, offset=50, tasks={"wall": {"kind": "deep"}}))
ROWS = RecordedProblems("data.h5", "d")


def test_protocols_take_the_place_of_horizons_modes_histories_and_rules():
    grid = replace(spec(planners=("gd",)), protocols=(LEWM, LATER), problems=ROWS).expand(LOOKUPS)
    assert [entry.planner for entry in grid.entries] == ["gd lewm", "gd later"]
    first, second = (entry.point for entry in grid.entries)
    assert (first.horizon, first.mode, first.history, first.success) == (50, "mpc:25:25", "grow:1", "first_hit")
    assert (first.problems.offset, first.problems.split, first.task.as_dict()) == (25, "all", {"kind": "free"})
    assert (second.problems.offset, second.success, second.task.as_dict()) == (50, "final", {"kind": "deep"})
    assert saved_and_read(grid) == grid


def test_a_protocols_cells_are_those_of_a_sweep_that_says_the_same():
    named = replace(spec(planners=("gd",)), protocols=(LEWM,), problems=ROWS).expand(LOOKUPS)
    said = replace(
        spec(horizons=(50,), planners=("gd",)),
        modes=("mpc:25:25",),
        histories=("grow:1",),
        successes=("first_hit",),
        problems=replace(ROWS, split="all", offset=25),
    )
    assert ids(said.expand(LOOKUPS)) == ids(named)
    assert ids(replace(said, successes=("final",)).expand(LOOKUPS)).isdisjoint(ids(named))


def test_rules_of_a_horizon_are_for_plans_of_that_length():
    planner = PlannerEntry("gd", Named.of("gd"), (Rule((("iterations", 9),), horizon=25), Rule((("lr", 1.0),), horizon=50)))
    grid = replace(spec(), planners=(planner,), protocols=(LEWM,), problems=ROWS).expand(LOOKUPS)
    assert grid.entries[0].point.planner.as_dict() == {"iterations": 9}


def test_a_sweep_under_a_protocol_also_plans_at_random():
    found = spec_of(config(horizons=None, protocols={"lewm": {"budget": 50}}))
    assert [planner.label for planner in found.planners] == ["gd", "random_actions"]
    assert [planner.label for planner in spec_of(config()).planners] == ["gd"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"mode": "mpc:5"}, "mode has no effect under protocol lewm: give protocols.lewm.mode in its place"),
        ({"horizons": [5]}, "horizons has no effect under protocol lewm: give protocols.lewm.budget in its place"),
        ({"success": "first_hit"}, "success has no effect under protocol lewm"),
        ({"history": "grow"}, "history has no effect under protocol lewm"),
        ({"protocols": {"mine": {"mode": "open_loop"}}}, "protocol 'mine' has no budget: give protocols.mine.budget=50"),
        ({"protocols": {"mine": {"budget": 5, "success": "ever"}}}, "unknown success rule 'ever'"),
        ({"protocols": {"mine": {"budget": 5, "history": "all"}}}, "unknown history 'all'"),
    ],
)
def test_what_a_protocol_fixes_is_not_given_beside_it(changes, said):
    with pytest.raises(UserError) as caught:
        spec_of(config(**{"protocols": {"lewm": {"budget": 50}}, **changes}))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("entry", "problems", "said"),
    [
        (LEWM, None, "protocol lewm takes its problems from a recorded dataset: give problems.data=PATH"),
        (replace(LEWM, config=replace(LEWM.config, manifest=True)), ROWS, "plans the pairs of a manifest"),
    ],
)
def test_a_protocol_says_what_it_lacks(entry, problems, said):
    with pytest.raises(UserError, match=said):
        replace(spec(), protocols=(entry,), problems=problems).expand(LOOKUPS)


def test_every_shipped_protocol_is_complete_and_names_tasks_and_settings_that_exist():
    shipped = groups()["protocol"]
    assert {"lewm", "dino_wm", "jepa_wms", "grasp_75", "clear_official", "clear_moderate", "clear_strict"} <= set(shipped)
    for name in shipped:
        (entry,) = spec_of(compose(SweepConfig, [f"protocol={name}"])).protocols
        assert entry.label == name
        check_mode(entry.config.mode, entry.budget, 5)
        check_rule(entry.config.success, entry.budget)
        for task, settings in entry.config.tasks.items():
            make_task(task, **settings)


def test_what_the_command_line_changes_stands_in_the_label():
    (entry,) = spec_of(compose(SweepConfig, ["protocol=lewm", "protocols.lewm.history=grow:3"])).protocols
    assert (entry.label, entry.config.history) == ("lewm history=grow:3", "grow:3")


@pytest.mark.parametrize(
    ("protocols", "problems", "said"),
    [
        ("lewm", {"manifest": "pairs.json"}, "problems.manifest has no effect under protocol lewm, which draws its rows"),
        ("dino_wm_random", {}, "problems.data has no effect under protocol dino_wm_random, whose problems the task draws"),
        ("lewm", {"offset": 5}, "problems.offset has no effect under protocol lewm"),
        ("lewm", {"draw": DrawConfig(rows=5)}, "problems.draw has no effect under protocol lewm"),
    ],
)
def test_keys_of_problems_that_no_protocol_uses_are_refused(protocols, problems, said):
    configs = compose(SweepConfig, [f"protocol={protocols}"]).config.protocols
    with pytest.raises(UserError, match=said):
        check_draws(configs, ProblemsConfig(data="rows.h5", **problems))


def test_protocols_that_draw_and_protocols_that_list_go_together(tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.json"
    pairs.write_text('[{"episode": 0, "start": 0, "goal": 25}]', encoding="utf-8")
    configs = compose(SweepConfig, ["protocol=[lewm,clear_strict,dino_wm_random]"]).config.protocols
    check_draws(configs, ProblemsConfig(data="rows.h5", manifest=str(pairs)))
    entries = tuple(ProtocolEntry(name, name, each) for name, each in configs.items())
    listed = replace(ROWS, manifest=str(pairs), manifest_digest="m")
    grid = replace(spec(planners=("gd",)), protocols=entries, problems=listed).expand(LOOKUPS)
    found = {entry.point.protocol: entry.point.problems for entry in grid.entries}
    assert (found["lewm"].manifest, found["lewm"].calls) == (None, "swm")
    assert found["clear_strict"].manifest == str(pairs)
    assert found["dino_wm_random"] is None


def test_a_manifest_of_another_protocol_is_refused(tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.json"
    pairs.write_text(json.dumps({"pairs": [], "protocol": {"name": "moderate"}}), encoding="utf-8")
    configs = compose(SweepConfig, ["protocol=clear_strict"]).config.protocols
    entries = protocol_entries(configs, {})
    listed = replace(ROWS, manifest=str(pairs), manifest_digest="m")
    with pytest.raises(UserError, match=r"pairs\.json is of CLEAR-LeWM's protocol moderate, .* give protocol=clear_moderate"):
        replace(spec(planners=("gd",)), protocols=entries, problems=listed).expand(LOOKUPS)
    with pytest.raises(UserError, match="unknown terms of CLEAR-LeWM 'severe'"):
        protocol_entries({"own": replace(configs["clear_strict"], clear="severe")}, {})
