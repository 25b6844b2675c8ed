"""Pruning: which trials are pruned, which never are, and how often the test is wrong."""

from __future__ import annotations

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from orchestrator.tuning.pruning import Pruning, RacePruner, beaten, worse
from world_models.errors import UserError


def study_of(direction: str, *trials: tuple[TrialState, list[float]]) -> optuna.Study:
    """A study with trials that have these scores; a running trial has no value."""
    study = optuna.create_study(direction=direction)
    for state, scores in trials:
        study.add_trial(
            create_trial(
                state=state,
                values=[float(np.mean(scores))] if state is TrialState.COMPLETE else None,
                params={"x": 0.5},
                distributions={"x": FloatDistribution(0, 1)},
                intermediate_values=dict(enumerate(scores)),
            )
        )
    return study


def given_up(study: optuna.Study, number: int, **options) -> bool:
    return RacePruner(Pruning(**options)).prune(study, study.trials[number])


GOOD, BAD = [0.1 + 0.01 * i for i in range(16)], [0.5 + 0.02 * i for i in range(16)]


@pytest.mark.parametrize("state", [TrialState.COMPLETE, TrialState.RUNNING])
@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_a_trial_worse_than_the_leader_is_pruned(state, direction):
    sign = 1 if direction == "minimize" else -1
    study = study_of(
        direction, (state, [sign * score for score in GOOD]), (TrialState.RUNNING, [sign * score for score in BAD[:8]])
    )
    assert given_up(study, 1)
    assert not given_up(study, 0)


def test_nothing_is_pruned_before_the_warm_up_or_without_a_rival():
    study = study_of("minimize", (TrialState.COMPLETE, GOOD), (TrialState.RUNNING, BAD[:5]))
    assert not given_up(study, 1, warm_up=6)
    assert given_up(study, 1, warm_up=5)
    assert not given_up(study_of("minimize", (TrialState.RUNNING, BAD)), 0)


def test_a_rival_that_has_seen_less_or_was_pruned_does_not_count():
    study = study_of("minimize", (TrialState.RUNNING, GOOD[:7]), (TrialState.PRUNED, GOOD), (TrialState.RUNNING, BAD[:8]))
    assert not given_up(study, 2)


def test_a_leader_that_had_the_easier_half_does_not_count():
    lucky = [0.0] * 8 + [1.0] * 8
    study = study_of("minimize", (TrialState.COMPLETE, lucky), (TrialState.RUNNING, [0.2] * 8))
    assert not given_up(study, 1)


def test_equal_trials_are_never_pruned():
    study = study_of("minimize", (TrialState.COMPLETE, GOOD), (TrialState.RUNNING, GOOD[:8]))
    assert not given_up(study, 1)
    assert worse(np.zeros(8)) == 1.0


@pytest.mark.parametrize("p_value", [0.05, 0.15])
def test_a_trial_as_good_as_the_leader_is_pruned_at_most_at_the_stated_rate(p_value):
    rng = np.random.default_rng(0)
    lost = 0
    for _ in range(400):
        problems = rng.uniform(size=8)
        study = study_of(
            "minimize",
            (TrialState.COMPLETE, [*(problems + 0.1 * rng.normal(size=8)), *np.zeros(8)]),
            (TrialState.RUNNING, list(problems + 0.1 * rng.normal(size=8))),
        )
        lost += given_up(study, 1, p_value=p_value)
    assert lost / 400 <= p_value + 0.04


@pytest.mark.parametrize(
    ("options", "words"), [({"p_value": 0.0}, "is not a valid probability"), ({"warm_up": 1}, "too few to compare")]
)
def test_bad_options(options, words):
    with pytest.raises(UserError, match=words):
        Pruning(**options)


def test_only_ended_trials_near_the_best_remain_candidates() -> None:
    draw = np.random.default_rng(0)
    best = dict(enumerate(draw.random(32).tolist()))
    near = {step: score + 0.01 * (-1) ** step for step, score in best.items()}
    far = {step: score + 0.2 for step, score in best.items()}
    rules = Pruning(p_value=0.05)
    assert beaten(far, best, larger=False, pruning=rules)
    assert not beaten(near, best, larger=False, pruning=rules)
    assert not beaten(best, far, larger=False, pruning=rules)
    assert beaten(best, far, larger=True, pruning=rules)
    assert not beaten(far, best, larger=False, pruning=Pruning(enabled=False))
    assert not beaten(dict(list(far.items())[:7]), best, larger=False, pruning=rules)
