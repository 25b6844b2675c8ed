"""Studies in MLflow: one run per study and one child per trial, whatever is killed or unavailable; and their pictures."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from mlflow import MlflowClient
from PIL import Image

from benchmarks.services import free_port
from orchestrator.ledger.ledger import Ledger
from orchestrator.tracking.study_tracker import StudyInfo, StudyTracker, StudyTracking, history
from orchestrator.tracking.tracking_store import TrackingStore
from orchestrator.tuning.objectives import objective
from orchestrator.tuning.pruning import Pruning
from orchestrator.tuning.trials import State, TrialView
from sweeps.tuning.figures import draw
from tests.support.studies import SEEDS, at_random, definition, open_study, run_study


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study with pruned and complete trials."""
    folder = tmp_path_factory.mktemp("study")
    found = open_study(folder / "journal", pruning=Pruning(warm_up=6), sampling=at_random(1))
    run_study(found, Ledger(folder / "ledger"), total=16, chunk=6)
    return found


def info(name: str = "study") -> StudyInfo:
    return StudyInfo(name, "trials: 16\n", "grasp tune", (objective("cost"),), {"space.lr": "0.001 to 1"})


def tracking_store(folder: Path) -> TrackingStore:
    return TrackingStore(f"sqlite:///{folder / 'mlflow.db'}", folder / "mlartifacts")


def runs(folder: Path) -> tuple[MlflowClient, list]:
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("grasp")
    assert experiment is not None
    return client, list(client.search_runs([experiment.experiment_id], max_results=1000))


def check(folder: Path, views: list[TrialView]) -> None:
    client, found = runs(folder)
    (parent,) = [run for run in found if run.data.tags["grasp.kind"] == "study"]
    trials = {int(run.data.tags["grasp.trial"]): run for run in found if run.data.tags["grasp.kind"] == "trial"}
    assert len(found) == 1 + len(views)
    assert parent.info.status == "FINISHED"
    for view in views:
        run = trials[view.number]
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.data.tags["grasp.state"] == view.state.value
        assert run.info.status == {State.COMPLETE: "FINISHED", State.PRUNED: "KILLED"}[view.state]
        assert run.data.params == {name: str(value) for name, value in view.settings.items()}
        assert run.data.metrics["cost"] == pytest.approx(view.values[0])
        by_problem = client.get_metric_history(run.info.run_id, "cost_by_problem")
        seen = {step: score for step, score in view.steps.items() if step < len(SEEDS)}
        assert {metric.step: metric.value for metric in by_problem} == pytest.approx(seen)
    best = client.get_metric_history(parent.info.run_id, "best_cost")
    assert min(metric.value for metric in best) == pytest.approx(min(v.values[0] for v in views if v.state is State.COMPLETE))


def test_a_study_is_a_run_and_each_trial_its_child(study, tmp_path):
    views = study.views()
    assert {view.state for view in views} == {State.COMPLETE, State.PRUNED}
    table = tmp_path / "held_out.json"
    table.write_text(json.dumps({"columns": ["settings"], "data": [["default"]]}), encoding="utf-8")
    StudyTracker(tracking_store(tmp_path), info()).finish(views, [table], "what came out")
    check(tmp_path, views)
    client, found = runs(tmp_path)
    (parent,) = [run for run in found if run.data.tags["grasp.kind"] == "study"]
    assert parent.data.tags["mlflow.note.content"] == "what came out"
    assert json.loads(parent.data.tags["mlflow.loggedArtifacts"]) == [{"path": "tables/held_out.json", "type": "table"}]
    assert [each.path for each in client.list_artifacts(parent.info.run_id, "tables")] == ["tables/held_out.json"]


def test_written_again_it_adds_nothing(study, tmp_path):
    views = study.views()
    half = StudyTracker(tracking_store(tmp_path), info())
    for view in views[:7]:
        half.write(view)
    for _ in range(2):
        StudyTracker(tracking_store(tmp_path), info()).finish(views, [], "")
        check(tmp_path, views)


def test_a_trial_whose_writer_died_is_written_to_its_end(study, tmp_path):
    tracker = StudyTracker(tracking_store(tmp_path), info())
    tracker.open()
    client, found = runs(tmp_path)
    tags = {"mlflow.parentRunId": found[0].info.run_id, "grasp.kind": "trial", "grasp.study": "study", "grasp.trial": "0"}
    client.create_run(found[0].info.experiment_id, run_name="trial 0", tags=tags)
    StudyTracker(tracking_store(tmp_path), info()).finish(study.views(), [], "")
    check(tmp_path, study.views())


def test_an_unavailable_server_costs_a_sentence(study, tmp_path):
    said: list[str] = []
    away = TrackingStore(f"http://127.0.0.1:{free_port()}", tmp_path)
    tracking = StudyTracking(away, info(), said.append)
    tracking.check()
    tracking.start()
    for view in study.views()[:2]:
        tracking.on_trial_end(view)
    tracking.finish(study.views(), [], "")
    assert len(said) == 2
    assert "cannot be reached" in said[0]
    assert "run the same command again to write it" in said[1]
    assert threading.active_count() < 20


def test_tracking_during_planning_loses_nothing(study, tmp_path):
    said: list[str] = []
    tracking = StudyTracking(tracking_store(tmp_path), info(), said.append)
    tracking.start()
    views = study.views()
    for view in views:
        tracking.on_trial_end(view)
    tracking.finish(views, [], "")
    assert said == []
    check(tmp_path, views)


def test_without_a_tracking_store_nothing_happens(study):
    tracking = StudyTracking(None, info(), lambda words: pytest.fail(words))
    tracking.check()
    tracking.start()
    tracking.on_trial_end(study.views()[0])
    tracking.finish(study.views(), [], "")


def test_the_history_never_worsens(study):
    best = [metric.value for metric in history(study.views(), (objective("cost"),))]
    assert best == sorted(best, reverse=True)
    assert len(best) == sum(view.state is State.COMPLETE for view in study.views())


def test_pictures_of_one_objective(study, tmp_path):
    files = draw(tmp_path, study.views(), study.definition.space, study.definition.objectives, study.importances(), [])
    assert {file.name for file in files} == {"history.png", "parallel.png", "importances.png"}
    for file in files:
        with Image.open(file) as picture:
            assert min(picture.size) > 150
            assert len(picture.convert("RGB").getcolors(1 << 20) or ()) > 20


def test_pictures_of_a_front_and_of_nothing(tmp_path):
    described = definition(objectives=("cost", "evaluations"), optimizer={"choices": ["adam", "gd"]})
    both = open_study(tmp_path / "journal", definition=described, sampling=at_random())
    assert draw(tmp_path, [], described.space, described.objectives, {}, []) == []
    run_study(both, Ledger(tmp_path / "ledger"), total=6)
    files = draw(tmp_path / "pictures", both.views(), described.space, described.objectives, both.importances(), [0, 1])
    assert {file.name for file in files} == {"history.png", "parallel.png", "front.png"}
