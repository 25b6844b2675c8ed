"""Studies on shared batches: every trial sees the same cells, none is lost or counted twice, whatever dies when."""

from __future__ import annotations

import random
import threading
from collections import Counter, defaultdict
from itertools import pairwise

import pytest

from orchestrator.core.mixing import kind_of
from orchestrator.driver.run_cells import Hooks, run_cells
from orchestrator.ledger.ledger import Ledger
from orchestrator.scheduling.scheduler import Limits
from orchestrator.testing import plane_evaluator
from orchestrator.tuning.objectives import Bound, objective
from orchestrator.tuning.pruning import Pruning
from orchestrator.tuning.racing import instances_of
from orchestrator.tuning.samplers import Sampling
from orchestrator.tuning.trials import State
from orchestrator.tuning.tuner import Tuner, TuningPlan
from orchestrator.workers.backend import InlineBackend
from sweeps.tuning.study_run import RecordedCells
from tests.support.studies import SEEDS, KilledError, at_random, base, definition, open_study, points_of, run_study, unpruned
from world_models.errors import UserError


def cells_by_point(ledger: Ledger) -> dict[str, list[int]]:
    table = ledger.table(columns=["point_id", "seed"])
    found = defaultdict(list)
    for point, seed in zip(table["point_id"].to_pylist(), table["seed"].to_pylist(), strict=True):
        found[point].append(seed)
    assert all(len(seeds) == len(set(seeds)) for seeds in found.values()), "a cell was planned twice"
    return found


def test_unpruned_trials_see_every_cell_once(tmp_path):
    ledger = Ledger(tmp_path / "ledger")
    study = open_study(tmp_path / "journal", pruning=unpruned())
    tuner, ended = run_study(study, ledger, total=9)
    views = study.views()
    assert [view.state for view in views] == [State.COMPLETE] * 9
    assert [view.number for view in views] == list(range(9))
    assert tuner.progress.finished == len(ended) == 9
    by_point = cells_by_point(ledger)
    for view in views:
        (point,) = view.notes["points"]
        assert sorted(by_point[point]) == list(SEEDS)
        assert set(view.steps) == set(range(len(SEEDS)))
        assert view.values[0] == pytest.approx(sum(view.steps.values()) / len(view.steps))


def test_trials_share_batches_and_none_waits_for_another(tmp_path):
    mixtures, kinds = [], []

    def look(result) -> None:
        mixtures.append(len({record.point_id for record in result.results}))
        kinds.append(len({record.horizon for record in result.results}))

    study = open_study(tmp_path / "journal", pruning=unpruned(), sampling=at_random())
    run_study(study, Ledger(tmp_path / "ledger"), total=12, parallel=6, on_batch=look)
    assert max(mixtures) >= 3
    assert set(kinds) == {1}
    assert len({kind_of(points_of(base())(view.settings)[0]) for view in study.views()}) == 1


def test_values_do_not_depend_on_the_number_of_running_trials(tmp_path):
    values = []
    for parallel in (1, 5):
        study = open_study(tmp_path / f"journal-{parallel}", pruning=unpruned(), sampling=at_random(3))
        run_study(study, Ledger(tmp_path / f"ledger-{parallel}"), total=8, parallel=parallel)
        values.append([(view.settings, round(view.values[0], 5)) for view in study.views()])
    assert values[0] == values[1]


def test_pruning_saves_cells_and_keeps_the_best(tmp_path):
    whole = open_study(tmp_path / "whole", pruning=unpruned(), sampling=at_random(1))
    run_study(whole, Ledger(tmp_path / "ledger-whole"), total=24)
    pruned = open_study(tmp_path / "pruned", pruning=Pruning(warm_up=6), sampling=at_random(1))
    tuner, _ = run_study(pruned, Ledger(tmp_path / "ledger-pruned"), total=24, chunk=6)
    views = pruned.views()
    states = Counter(view.state for view in views)
    assert set(states) == {State.COMPLETE, State.PRUNED}
    assert states[State.PRUNED] >= 5
    assert tuner.progress.saved + tuner.progress.cells == 24 * len(SEEDS)
    best = min(whole.views(), key=lambda view: view.values[0])
    assert min((view for view in views if view.state is State.COMPLETE), key=lambda view: view.values[0]).number == best.number
    for view in views:
        if view.state is State.PRUNED:
            # Pruned before the end, and its value is the mean of what was seen.
            seen = {step: score for step, score in view.steps.items() if step < len(SEEDS)}
            assert 6 <= len(seen) < len(SEEDS)
            assert view.values[0] == pytest.approx(sum(seen.values()) / len(seen))
            assert view.values[0] > best.values[0]


def test_all_trials_see_cells_in_the_same_order(tmp_path):
    ledger = Ledger(tmp_path / "ledger")
    study = open_study(tmp_path / "journal", pruning=Pruning(warm_up=6), sampling=at_random(1))
    run_study(study, ledger, total=16, chunk=6)
    by_point = cells_by_point(ledger)
    seen = {frozenset(by_point[view.notes["points"][0]]) for view in study.views()}
    chain = sorted(seen, key=len)
    assert len(chain) > 1
    assert all(one <= other for one, other in pairwise(chain))


def test_a_study_goes_on_after_deaths_and_plans_nothing_twice(tmp_path):
    ledger, rng = Ledger(tmp_path / "ledger"), random.Random(7)
    deaths = 0
    for _ in range(40):
        study = open_study(tmp_path / "journal", pruning=Pruning(warm_up=6))
        try:
            run_study(study, ledger, total=20, chunk=6, limits=Limits(8, mixed=True), die_after=rng.randint(1, 6))
            break
        except KilledError:
            deaths += 1
    assert deaths >= 5
    views = study.views()
    assert Counter(view.state in (State.COMPLETE, State.PRUNED) for view in views) == {True: 20}
    cells_by_point(ledger)


def test_a_study_with_enough_trials_requests_nothing(tmp_path):
    ledger = Ledger(tmp_path / "ledger")
    run_study(open_study(tmp_path / "journal"), ledger, total=5)
    before = cells_by_point(ledger)
    study = open_study(tmp_path / "journal")
    run_study(study, ledger, total=5)
    assert cells_by_point(ledger) == before
    run_study(study, ledger, total=7)
    assert study.finished() == 7


def test_stopping_leaves_trials_for_the_next_run(tmp_path):
    ledger, stop = Ledger(tmp_path / "ledger"), threading.Event()
    study = open_study(tmp_path / "journal", pruning=unpruned())
    run_study(study, ledger, total=10, stop=stop, on_batch=lambda result: stop.set())
    states = Counter(view.state for view in study.views())
    assert states[State.RUNNING] >= 1
    run_study(open_study(tmp_path / "journal", pruning=unpruned()), ledger, total=10)
    assert Counter(view.state for view in study.views()) == {State.COMPLETE: 10}


def test_known_cells_are_not_planned_again(tmp_path):
    ledger = Ledger(tmp_path / "ledger")
    first = open_study(tmp_path / "one", pruning=unpruned(), sampling=at_random(5))
    run_study(first, ledger, total=6)
    planned = sum(map(len, cells_by_point(ledger).values()))
    again = open_study(tmp_path / "two", pruning=unpruned(), sampling=at_random(5))
    run_study(again, ledger, total=6)
    assert sum(map(len, cells_by_point(ledger).values())) == planned
    assert [view.values for view in again.views()] == [view.values for view in first.views()]


def test_the_same_settings_twice_are_planned_once(tmp_path):
    ledger = Ledger(tmp_path / "ledger")
    study = open_study(
        tmp_path / "journal",
        definition=definition(lr={"choices": [0.1, 0.2]}, iterations={"choices": [10, 20]}),
        pruning=unpruned(),
        sampling=at_random(),
    )
    run_study(study, ledger, total=12)
    assert study.finished() == 12
    assert len(cells_by_point(ledger)) <= 4


def test_a_space_whose_settings_all_conflict_ends_the_study_in_a_sentence(tmp_path):
    def points(settings):
        raise UserError("these do not go together")

    study = open_study(tmp_path / "journal")
    ledger = Ledger(tmp_path / "ledger")

    tuner = Tuner(study, points, instances_of(1, SEEDS, 0), TuningPlan(3, 2), RecordedCells(ledger), threading.Event())
    with pytest.raises(UserError, match=r"100 settings of the space were refused in a row.*these do not go together"):
        run_cells((), ledger, InlineBackend(), hooks=Hooks(tuner.start, tuner.on_result))
    assert {(view.state, view.values, view.notes["conflict"]) for view in study.views()} == {
        (State.REFUSED, (), "these do not go together")
    }
    assert (study.finished(), study.refused(), tuner.progress.finished) == (0, 100, 0)


def test_refused_settings_are_not_among_the_trials_asked_for(tmp_path):
    condition, asked = base(), []

    def points(settings):
        asked.append(dict(settings))
        if len(asked) % 3:
            raise UserError("these do not go together")
        return points_of(condition)(settings)

    study, ledger = open_study(tmp_path / "journal"), Ledger(tmp_path / "ledger")
    tuner = Tuner(study, points, instances_of(1, SEEDS, 0), TuningPlan(3, 2), RecordedCells(ledger), threading.Event())
    run_cells((), ledger, InlineBackend(make_evaluator=plane_evaluator), hooks=Hooks(tuner.start, tuner.on_result))
    states = [view.state for view in study.views()]
    assert (study.finished(), study.refused(), states.count(State.REFUSED)) == (3, len(asked) - 3, len(asked) - 3)
    assert all(len(view.values) == 1 for view in study.views() if view.state is State.COMPLETE)


def test_failed_cells_count_as_the_worst(tmp_path):
    condition = base()
    broken = points_of(condition)

    def points(settings):
        from dataclasses import replace

        (point,) = broken(settings)
        return (replace(point, model_digest="wrong"),)

    ledger = Ledger(tmp_path / "ledger")
    study = open_study(tmp_path / "journal")
    tuner = Tuner(study, points, instances_of(1, SEEDS, 0), TuningPlan(2, 1), RecordedCells(ledger), threading.Event())
    backend = InlineBackend(make_evaluator=plane_evaluator)
    run_cells((), ledger, backend, hooks=Hooks(tuner.start, tuner.on_result))
    assert [view.values for view in study.views()] == [(1.0,)] * 2


@pytest.mark.parametrize("join", ["mean", "worst", "best"])
def test_several_conditions_are_joined(tmp_path, join):
    conditions = (base(8), base(40))
    study = open_study(tmp_path / "journal", pruning=unpruned(), sampling=at_random(2))
    run_study(study, Ledger(tmp_path / "ledger"), total=4, conditions=conditions, join=join)
    for view in study.views():
        assert len(view.notes["points"]) == 2
        assert len(view.steps) == 2 * len(SEEDS)
    mean = open_study(tmp_path / "mean", pruning=unpruned(), sampling=at_random(2))
    run_study(mean, Ledger(tmp_path / "ledger"), total=4, conditions=conditions)
    signs = {"mean": 0, "worst": 1, "best": -1}[join]
    for view, other in zip(study.views(), mean.views(), strict=True):
        gap = view.values[0] - other.values[0]
        assert gap == pytest.approx(0, abs=1e-12) if signs == 0 else gap * signs > 0


def test_several_objectives_and_a_constraint(tmp_path):
    described = definition(objectives=("success", "evaluations"), bounds=(Bound(objective("evaluations"), 250.0),))
    study = open_study(tmp_path / "journal", definition=described, sampling=at_random())
    run_study(study, Ledger(tmp_path / "ledger"), total=10)
    views = study.views()
    assert all(view.state is State.COMPLETE and len(view.values) == 2 for view in views)
    assert [view.feasible for view in views] == [view.values[1] <= 250.0 for view in views]
    assert len({view.feasible for view in views}) == 2


@pytest.mark.parametrize("sampler", ["tpe", "random", "cmaes", "gp", "nsga2", "nsga3"])
def test_every_sampler_runs_a_study(tmp_path, sampler):
    study = open_study(tmp_path / "journal", sampling=Sampling(sampler, seed=1, startup=4))
    run_study(study, Ledger(tmp_path / "ledger"), total=8, parallel=1)
    assert study.finished() == 8
    # A Gaussian process returns to its best point: with whole numbers, to the very same settings.
    assert len({tuple(view.settings.values()) for view in study.views()}) >= (3 if sampler == "gp" else 8)


def test_tpe_finds_the_optimum(tmp_path):
    study = open_study(tmp_path / "journal", pruning=Pruning(warm_up=6))
    run_study(study, Ledger(tmp_path / "ledger"), total=30, parallel=3)
    views = study.views()
    late = sorted(view.values[0] for view in views[15:])
    early = sorted(view.values[0] for view in views[:15])
    assert late[len(late) // 2] < early[len(early) // 2]
