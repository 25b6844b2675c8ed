"""Search spaces: valid configs, refusals in one sentence, and suggestions that stay inside."""

from __future__ import annotations

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.tuning.search_space import Known, Options, Range, space_of
from planners import PLANNERS, full_settings
from sweeps.config.compose import compose
from sweeps.config.files import groups
from sweeps.config.schema.configs import TuneConfig
from world_models.errors import UserError

GRASP = {
    "sync_lr": {"low": 0.01, "high": 1.0, "log": True, "when": {"sync": ["gd"]}},
    "sync": {"choices": ["gd", "newton"]},
    "iterations": {"low": 10, "high": 100},
    "noise": {"low": 0.0, "high": 1.0},
}


def test_settings_come_after_those_that_they_depend_on():
    space = space_of(GRASP, "grasp")
    assert space.names.index("sync") < space.names.index("sync_lr")
    assert space.conditional


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ({"noise": {"low": 2.0, "high": 1.0}}, "space.noise goes from 2 to 1: low is above high"),
        ({"noise": {"low": 1.0, "high": 1.0}}, "fix it with planners.NAME.settings.noise=1"),
        ({"noise": {"low": 0.0, "high": 1.0, "log": True}}, "a log scale from 0: it must start above 0"),
        (
            {"noize": {"low": 0.0, "high": 1.0}},
            "of planner 'grasp' in the search space: 'noize': did you mean 'noise'",
        ),
        ({"noise": {"low": 0.0}}, "space.noise.high None is not a finite number"),
        ({"noise": {"low": 0.0, "high": float("inf")}}, "space.noise.high inf is not a finite number"),
        ({"noise": {"low": -1.0, "high": 1.0}}, "noise -1 is negative"),
        ({"noise": {"low": 0.0, "high": 10**400}}, "is not a finite number"),
        ({"noise": {"low": True, "high": 1.0}}, "space.noise.low True is not a finite number"),
        ({"noise": 0.5}, "space.noise 0.5 is not a range"),
        ({"noise": {"low": 0.0, "high": 1.0, "log": "yes"}}, "space.noise.log 'yes' is neither true nor false"),
        ({"noise": {"lov": 0.0, "high": 1.0}}, "unknown key of space.noise: 'lov': did you mean 'low'"),
        ({"iterations": {"low": 1.5, "high": 10}}, "space.iterations.low 1.5 is not a whole number"),
        ({"sync": {"low": 0, "high": 1}}, "space.sync needs a list of names: give choices"),
        ({"sync": {"choices": ["gd"]}}, "give at least two"),
        ({"sync": {"choices": ["gd", "gd"]}}, "has 'gd' twice"),
        ({"sync": {"choices": ["gd", "gdd"]}}, "sync 'gdd' is unknown"),
        ({"sync": {"choices": ["gd", "cem"], "low": 1}}, "has choices and a range"),
        (
            {**GRASP, "sync_lr": {"low": 0.1, "high": 1.0, "when": {"sink": "gd"}}},
            "space.sync_lr depends on: 'sink': did you mean 'sync'",
        ),
        ({**GRASP, "sync_lr": {"low": 0.1, "high": 1.0, "when": {"sync": "cem"}}}, "sync being cem, which space.sync never is"),
        ({**GRASP, "sync_lr": {"low": 0.1, "high": 1.0, "when": "gd"}}, "space.sync_lr.when 'gd' is not a condition"),
        (
            {
                "noise": {"low": 0.0, "high": 1.0, "when": {"init_noise": 0.0}},
                "init_noise": {"low": 0.0, "high": 1.0, "when": {"noise": 0.0}},
            },
            "init_noise, noise depend on each other in a circle",
        ),
        ({}, "the search space is empty"),
    ],
)
def test_errors_are_one_sentence(raw, words):
    with pytest.raises(UserError) as error:
        space_of(raw, "grasp")
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("label", groups()["space"])
def test_shipped_spaces_fit_their_planners(label):
    composed = compose(TuneConfig, [f"planner={label}", f"space={label}"])
    planner = str(composed.config.planners[label].name)
    space = space_of(composed.config.space or {}, planner)
    assert set(space.names) <= set(full_settings(planner))


def test_every_planner_has_a_space():
    assert set(PLANNERS) <= set(groups()["space"])


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31 - 1))
def test_suggestions_are_in_the_space_and_are_recognised(seed):
    space = space_of(GRASP, "grasp")
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    trial = study.ask()
    found = space.settings(trial)
    full_settings("grasp", {**found, "sync_every": 0})
    assert ("sync_lr" in found) == (found["sync"] == "gd")
    assert isinstance(found["iterations"], int)
    assert space.part_of({**found, "attempts": 3}) == found
    assert space.settings(Known(trial.params)) == found


def test_known_settings_outside_are_left_to_the_sampler():
    space = space_of(GRASP, "grasp")
    assert space.part_of({"iterations": 1000, "noise": 0.5, "sync": "cem", "restarts": 2}) == {"noise": 0.5}


def test_words_name_ranges_and_conditions():
    words = space_of(GRASP, "grasp").words()
    assert words["sync_lr"] == "0.01 to 1, log scale, where sync is gd"
    assert words["sync"] == "gd or newton"
    assert str(Range("noise", 0.0, 1.0)) != str(Range("noise", 0.0, 2.0))
    assert Options("sync", ("gd", "cem")).holds("cem")


def test_a_flag_needs_no_range():
    (dimension,) = space_of({"reset_moments_at_sync": {}}, "grasp").dimensions
    assert isinstance(dimension, Options)
    assert dimension.choices == (False, True)
