"""Settings are refused by name and value before anything runs."""

from __future__ import annotations

import pytest
import torch

from planners import GRASP, PLANNERS, CEMSettings, GDSettings, GraspSettings, Settings, make_planner, planner_settings
from planners.settings import Setting
from tests.support.planning import plan, problems_for, small_mlp
from world_models.errors import UnknownNameError, UserError


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("grasp", {"noise": -0.1}, "noise -0.1 is negative: give a number >= 0"),
        ("grasp", {"iterations": 0}, "iterations 0 is below 1"),
        ("grasp", {"iterations": 2.5}, "iterations 2.5 is not a whole number"),
        ("grasp", {"lr_states": 0.0}, "lr_states 0 is not positive"),
        ("grasp", {"goal_weight": float("nan")}, "goal_weight nan is not a finite number"),
        ("grasp", {"sync_lr": "fast"}, "sync_lr 'fast' is not a finite number"),
        ("grasp", {"iterations": True}, "iterations True is not a finite number"),
        ("grasp", {"noise_schedule": "cubic"}, "noise_schedule 'cubic' is unknown: give one of constant, linear, cosine"),
        ("grasp", {"double_last": 1}, "double_last 1 is neither true nor false"),
        ("gd", {"lr": float("inf")}, "lr inf is not a finite number"),
        ("gd", {"optimizer": "sgd"}, "optimizer 'sgd' is unknown"),
        ("cem", {"elites": 31, "samples": 30}, "elites 31 exceeds samples 30"),
        ("cem", {"momentum": 1.5}, "momentum 1.5 is above 1"),
        ("cem", {"std": 0}, "std 0 is not positive"),
        ("cem", {"samples": 0}, "samples 0 is below 1"),
        ("grasp", {"sync_every": 301}, "sync_every 301 exceeds iterations 300"),
        ("grasp", {"sync_elites": 65}, "sync_elites 65 exceeds sync_samples 64"),
        ("grasp", {"sync": "adam"}, "sync 'adam' is unknown: give one of gd, cem, newton, auto, none"),
        ("icem", {"elites": 301}, "elites 301 exceeds samples 300"),
        ("icem", {"shrink": 0.9}, "shrink 0.9 is below 1"),
        ("icem", {"kept_elites": 1.1}, "kept_elites 1.1 is above 1"),
        ("icem", {"noise_exponent": -1}, "noise_exponent -1 is negative"),
        ("mppi", {"temperature": 0.0}, "temperature 0 is not positive"),
        ("mppi", {"std_decay": 1.01}, "std_decay 1.01 is above 1"),
        ("latco", {"tolerance": 0}, "tolerance 0 is not positive"),
        ("latco", {"check_every": 0}, "check_every 0 is below 1"),
        ("random_shooting", {"samples": 2.5}, "samples 2.5 is not a whole number"),
    ],
)
def test_nonsense_settings_are_refused_by_name_and_value(name: str, settings: dict, words: str) -> None:
    with pytest.raises(UserError, match=words.replace("(", r"\(")):
        make_planner(name, settings)


@pytest.mark.parametrize("name", sorted(PLANNERS))
def test_typed_settings_make_their_planner(name: str) -> None:
    kind, planner_class = PLANNERS[name]
    settings = kind()
    made = make_planner(settings)
    assert type(made) is planner_class
    assert made == make_planner(name)
    assert planner_settings(name) == settings


def test_a_planner_holds_the_settings_that_it_was_made_of() -> None:
    settings = GraspSettings(iterations=40)
    planner = make_planner(settings)
    assert isinstance(planner, GRASP)
    assert planner.settings is settings


def test_settings_of_no_planner_are_refused() -> None:
    class OtherSettings(GDSettings):
        pass

    with pytest.raises(UserError, match="OtherSettings are settings of no planner of ours"):
        make_planner(OtherSettings())


def test_unknown_names_get_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="unknown planner 'grisp': did you mean 'grasp'"):
        make_planner("grisp")
    with pytest.raises(UnknownNameError, match="did you mean 'lr_states'"):
        make_planner("grasp", {"lr_state": 0.1})


@pytest.mark.parametrize("name", sorted(PLANNERS))
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"restarts": 0}, "restarts 0 is below 1: give a number >= 1"),
        ({"attempts": 0}, "attempts 0 is below 1"),
        ({"max_seconds": 0}, "max_seconds 0 is not positive: give a number > 0"),
        ({"max_seconds": -1.0}, "max_seconds -1 is negative"),
        ({"max_evaluations": 0}, "max_evaluations 0 is below 1"),
        ({"max_evaluations": 10.5}, "max_evaluations 10.5 is not a whole number"),
        ({"finish_cost": -0.1}, "finish_cost -0.1 is negative"),
        ({"init": "random"}, "init 'random' is unknown: give one of linear, zeros"),
        ({"iterations": None}, "iterations None is not a finite number"),
        ({"iterations": torch.tensor([5.0, 2.5])}, "iterations 2.5 is not a whole number"),
        ({"iterations": torch.tensor([5, 0])}, "iterations 0 is below 1"),
        ({"finish_cost": torch.tensor([0.1, torch.nan])}, "finish_cost nan is not a finite number"),
        ({"finish_cost": torch.tensor(0.1)}, r"finish_cost has shape \(\): give one number, or one per problem"),
        ({"finish_cost": torch.zeros(2, 2)}, r"finish_cost has shape \(2, 2\)"),
        ({"finish_cost": torch.zeros(0)}, r"finish_cost has shape \(0,\)"),
        ({"restarts": torch.tensor([1, 2])}, r"restarts \[1, 2\] cannot differ between the rows of one batch: give one number"),
        ({"max_evaluations": torch.tensor([10, 20])}, "max_evaluations .* cannot differ"),
        ({"max_seconds": torch.tensor([1.0, 2.0])}, "max_seconds .* cannot differ"),
        (
            {"iterations": torch.tensor([30, 40]), "finish_cost": torch.zeros(3)},
            r"different lengths \(iterations has 2, finish_cost has 3\)",
        ),
    ],
)
def test_every_planner_refuses(name: str, settings: dict[str, Setting], words: str) -> None:
    few = {"sync_every": 1} if name == "grasp" else {}
    with pytest.raises(UserError, match=words):
        make_planner(name, {**few, **settings})


def test_conflicts_are_found_row_by_row() -> None:
    with pytest.raises(UserError, match="sync_every 9 exceeds iterations 8"):
        GraspSettings(iterations=torch.tensor([10, 8]), sync_every=torch.tensor([9, 9]))
    GraspSettings(iterations=torch.tensor([10, 8]), sync_every=torch.tensor([9, 8]))
    with pytest.raises(UserError, match=r"samples .* cannot differ"):
        make_planner("cem", {"samples": torch.tensor([100, 200])})


def test_a_setting_by_row_needs_a_value_for_every_problem() -> None:
    model = small_mlp(torch.float32)
    with pytest.raises(UserError, match="lr has 2 values for 3 problems: give one number, or one per problem"):
        plan("gd", model, problems_for(model), [1, 2, 3], lr=torch.tensor([0.1, 0.2]))


def test_settings_that_cannot_differ_are_not_stacked() -> None:
    with pytest.raises(UserError, match=r"samples \[10, 20\] cannot differ between the rows of one batch"):
        Settings.stack([CEMSettings(samples=10, elites=2), CEMSettings(samples=20, elites=2)])
    with pytest.raises(UserError, match=r"optimizer \['adam', 'gd'\] cannot differ"):
        Settings.stack([GDSettings(), GDSettings(optimizer="gd")])
    with pytest.raises(UserError, match=r"final_goal_weight .* cannot differ"):
        Settings.stack([GraspSettings(), GraspSettings(final_goal_weight=0.1)])
    with pytest.raises(UserError, match="lr differs by row"):
        Settings.stack([GDSettings(), GDSettings(lr=torch.tensor([0.1, 0.2]))])


def test_settings_by_row_have_no_canonical_form() -> None:
    with pytest.raises(UserError, match="lr differs by row"):
        GDSettings(lr=torch.tensor([0.1, 0.2])).as_dict()
