"""Studies with seconds as an objective plan each trial by itself; studies that find nothing better keep the given settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.tuning.trials import State, TrialView
from sweeps.tuning.spec import StudySpec, read_study
from sweeps.tuning.study_run import study_limits
from sweeps.tuning.verdict import select_candidates
from world_models.errors import UserError


def read(tmp_path: Path, *words: str) -> StudySpec:
    return read_study(["task=push_t", "horizons=[25]", f"output={tmp_path}", *words], None)


@pytest.mark.parametrize("words", [["objectives=[success,seconds]"], ["constraints.seconds=0.5"]])
def test_with_seconds_as_an_objective_trials_share_no_batches_and_batches_have_one_size(
    tmp_path: Path, words: list[str]
) -> None:
    spec = read(tmp_path, *words)
    assert spec.plan.timed
    limits = study_limits(spec.config, spec.plan.timed)
    assert limits.even
    assert not limits.mixed


def test_without_it_they_share_batches(tmp_path: Path) -> None:
    spec = read(tmp_path, "objectives=[success,evaluations]")
    limits = study_limits(spec.config, spec.plan.timed)
    assert limits.mixed
    assert not limits.even


@pytest.mark.parametrize(
    ("words", "parallel"),
    [
        ([], 30),  # 8 cells at a time fill 2 batches of 128 with 32 trials, and half of 60 are 30
        (["trials=200"], 32),
        (["pruning.enabled=false"], 8),
        (["objectives=[success,evaluations]"], 8),
        (["objectives=[success,seconds]"], 8),
        (["pruning.enabled=false", "max_rows=256"], 16),
        (["pruning.enabled=false", "max_rows=4"], 2),
        (["parallel=3"], 3),
    ],
)
def test_parallel_trials_fill_the_workers_and_no_more_since_a_sampler_learns_from_ended_ones(
    tmp_path: Path, words: list[str], parallel: int
) -> None:
    assert read(tmp_path, *words).for_workers(2).plan.parallel == parallel


def trial(spec: StudySpec, number: int, state: State, settings: dict[str, float]) -> TrialView:
    points = [point.point_id for point in spec.points(settings)]
    steps = dict.fromkeys(range(len(spec.instances)), 0.5)
    return TrialView(number, state, settings, (0.5,), True, "me", {"points": points}, None, None, steps)


def test_the_planners_own_settings_win_where_every_other_trial_was_pruned(tmp_path: Path) -> None:
    spec = read(tmp_path)
    own, other = trial(spec, 0, State.COMPLETE, {}), trial(spec, 1, State.PRUNED, {"noise": 0.1})
    assert select_candidates(spec, [own, other]) == {}
    assert list(select_candidates(spec, [own, trial(spec, 1, State.COMPLETE, {"noise": 0.1})])) == ["trial 1"]
    with pytest.raises(UserError, match="no trial is complete"):
        select_candidates(spec, [other])
