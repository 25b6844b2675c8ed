"""Pages of sweeps and points besides the numbers: descriptions, inputs, environment, the table of points."""

import json
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch

from orchestrator.core.repositories import DIFF_LIMIT, repositories
from orchestrator.ledger.records import to_table
from orchestrator.testing import plane_point, quick_result
from orchestrator.tracking.content.inputs import inputs_of, read_models
from orchestrator.tracking.content.overview import overview
from orchestrator.tracking.content.pages import COLUMNS, point_page, sweep_tags, view_key
from orchestrator.tracking.content.points import contents
from orchestrator.tracking.content.sweep_info import PointLabels, SweepInfo
from orchestrator.tracking.environment import describe, git_diff, write_environment
from orchestrator.tracking.tracker import Tracker
from orchestrator.tracking.tracking_store import TrackingStore
from tests.support.plugins import CLIMBING, clean_plugins
from tests.support.tracking_bench import INFO, Bench, cells_of
from world_models.base import Context, rollout
from world_models.checkpoints.store import load
from world_models.files.reading import parse_json
from world_models.plugins import PLUGINS, Kind


def rows(**changes: object) -> list[dict]:
    good = {"status": "completed", "success": True, "error": None}
    results = [replace(result, **good) for result in quick_result(plane_point(4), (0, 1, 2, 3)).results]
    return to_table([replace(results[0], **changes), *results[1:]]).to_pylist()


def page_of(cells: list[dict]) -> str:
    (point,) = contents(cells)
    return point_page(point)


def test_a_points_page_has_its_headline_and_says_how_to_look_at_what_failed() -> None:
    lost = rows(success=False)
    said = page_of(lost).splitlines()
    assert said[0] == "**plane · gd · H4**: success **0.75** (95 % interval 0.30 to 0.95, n = 4)"
    assert f"seed 0: `grasp rerun {lost[0]['cell_id']}`" in said[2]
    assert "All succeeded; the first is seed 0: `grasp rerun" in page_of([{**row, "success": True} for row in lost])


def test_what_could_not_be_planned_comes_before_what_missed() -> None:
    broken = rows(success=False)
    broken[2] |= {"success": False, "status": "failed", "error": "it `broke`"}
    said = page_of(broken)
    assert "success **0.67** (95 % interval 0.21 to 0.94, n = 3)" in said
    assert "1 cells could not be planned; the first error: `it 'broke'`" in said
    assert broken[2]["cell_id"] in said


def test_where_everything_failed_no_rate_is_shown() -> None:
    said = page_of([{**row, "success": False, "status": "failed", "error": "no"} for row in rows()])
    assert said.startswith(
        "**plane · gd · H4**: no cell has a result\n\nIts first cell without success is seed 0: `grasp rerun "
    )
    assert "4 cells could not be planned" in said


def test_a_model_is_an_input_by_its_card_and_by_its_data() -> None:
    model, data = inputs_of(read_models(["push_t", "gone"]))
    assert (model.name, model.context) == ("push_t", "world model")
    assert (data.name, data.context) == ("push_t training data", "training")
    assert json.loads(data.profile)["trajectories"] == 6000
    assert json.loads(model.profile)["model"]["width"] == 256


def test_the_diff_is_the_checkouts_masked_and_bounded(tmp_path: Path) -> None:
    assert git_diff(tmp_path) == "# not a git checkout"
    file = tmp_path / "file"
    file.write_text("one\n", encoding="utf-8")
    for words in (["init", "-q"], ["add", "file"], ["-c", "user.name=n", "-c", "user.email=e", "commit", "-qm", "first"]):
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True)
    assert git_diff(tmp_path) == "# nothing was changed"
    file.write_text("postgresql://me:secret@db/runs\n", encoding="utf-8")
    assert "+postgresql://db/runs" in git_diff(tmp_path)
    assert "secret" not in git_diff(tmp_path)
    file.write_text("x" * (DIFF_LIMIT + 1000), encoding="utf-8")
    assert "# cut here" in git_diff(tmp_path)


def test_the_environment_names_versions_and_hardware(tmp_path: Path) -> None:
    files = write_environment(tmp_path / "new", "grasp sweep")
    assert [file.name for file in files] == ["command.txt", "environment.txt", "git.diff"]
    said = describe()
    assert all(word in said for word in ("python: 3.", "torch: ", "cores: ", "numpy=="))
    assert write_environment(Path("/proc/nothing"), "grasp sweep") == []


def test_the_repository_of_a_users_own_code_is_recorded_beside_ours(tmp_path: Path) -> None:
    repository, loose = tmp_path / "my-planners", tmp_path / "loose"
    for folder in (repository / "src", loose):
        folder.mkdir(parents=True)
        (folder / f"{folder.name}_climb.py").write_text(CLIMBING, encoding="utf-8")
    commit = ["-c", "user.name=n", "-c", "user.email=e", "commit", "-qm", "first"]
    for words in (["init", "-q"], ["add", "."], commit):
        subprocess.run(["git", "-C", str(repository), *words], check=True)
    (repository / "src" / "src_climb.py").write_text(f"{CLIMBING}# postgresql://me:secret@db/runs\n", encoding="utf-8")
    with clean_plugins():
        for file in (repository / "src" / "src_climb.py", loose / "loose_climb.py"):
            PLUGINS.demand(Kind.PLANNER, PLUGINS.admit(Kind.PLANNER, f"{file}:Climbing").text, ())
        (found,) = repositories()
        assert re.fullmatch(r"revision of my-planners: [0-9a-f]{40}-dirty \(planner \S+ [0-9a-f]{16}\)", found.sentence)
        assert found.sentence in describe().splitlines()
        files = write_environment(tmp_path / "new", "grasp sweep")
    text = files[-1].read_text(encoding="utf-8")
    assert files[-1].name == "1-my-planners.diff"
    assert "+# postgresql://db/runs" in text
    assert "secret" not in text


def test_records_of_earlier_versions_are_read() -> None:
    old = '{"name": "a", "config_text": "", "command": "", "description": ""}'
    info = parse_json(old, SweepInfo, "an info", "write it again", "a test")
    assert (info.files, info.labels) == ((), {})


def test_a_point_is_named_by_the_labels_of_its_sweep() -> None:
    own = rows()
    labels = {own[0]["point_id"]: PointLabels("plane_far", "gd_quick", 4, ("mpc:2",), "m")}
    (named,), (plain,) = contents(own, labels), contents(own)
    assert (named.name, plain.name) == ("plane_far · gd_quick · H4 · mpc:2", "plane · gd · H4")
    assert (named.params["task"], named.params["planner"]) == ("plane_far", "gd_quick")
    assert (named.tags["simulator"], named.tags["algorithm"]) == ("plane", "gd")
    far = [{**row, "distance": 0.25} for row in own]
    assert "| distance at the end, median | 0.25 m |" in point_page(contents(far, labels)[0])
    assert {key: value for key, value in named.params.items() if "." in key} == {
        key: value for key, value in plain.params.items() if "." in key
    }


def test_the_recorded_problems_of_a_point_are_its_input() -> None:
    problems = json.dumps({"path": "/data/pusht.h5", "digest": "abc", "kind": None, "offset": 25, "observation": []})
    (point,) = contents([{**row, "problems": problems} for row in rows()])
    (found,) = point.inputs
    assert (found.name, found.digest, found.context) == ("pusht.h5", "abc", "problems")
    assert json.loads(found.profile) == {"offset": 25}
    assert contents(rows())[0].inputs == ()


def test_the_first_lines_of_a_sweeps_page_are_its_headline_and_its_command() -> None:
    table = to_table([replace(done, status="completed", success=True) for done in quick_result(plane_point(4), (0, 1)).results])
    said = sweep_tags(INFO, overview(table))["mlflow.note.content"].splitlines()
    assert said[0] == "**it's a sweep**: 2 cells of 1 points; success over all of them: gd 1.00"
    assert said[2] == "Run it again with `grasp sweep`"
    assert sweep_tags(INFO)["mlflow.note.content"].startswith("**it's a sweep**: being planned")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder = tmp_path_factory.mktemp("pages")
    bench = Bench(f"sqlite:///{folder}/mlflow.db", folder / "files", folder, "pages")
    bench.plan(cells_of((4, 8), range(3)))
    files = write_environment(folder / "environment", "grasp sweep")
    info = replace(INFO, files=(*map(str, files), "/nowhere/gone"), models=("push_t", "wall"))
    bench.sync(info)
    Tracker(TrackingStore(bench.tracking_store.uri, folder / "files", "pages")).sync(
        info, bench.ledger.table(), bench.artifacts
    )
    return bench


def test_the_sweeps_run_has_its_environment_and_its_models(bench: Bench) -> None:
    (parent,) = bench.runs("sweep")
    names = ["command.txt", "environment.txt", "git.diff"]
    assert bench.files(parent, "environment") == [f"environment/{name}" for name in names]
    inputs = {each.dataset.name for each in parent.inputs.dataset_inputs}
    assert inputs == {"push_t", "push_t training data", "wall", "wall training data"}
    assert len(parent.inputs.dataset_inputs) == 4
    assert parent.data.tags["mlflow.source.name"] == INFO.command
    assert parent.info.end_time >= parent.info.start_time


@pytest.mark.filterwarnings("ignore:.*Any type hint is inferred:UserWarning")  # MLflow's own, when pyfunc is imported
def test_its_models_are_loaded_back_from_mlflow(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    experiment = bench.client.get_experiment_by_name("pages")
    assert experiment is not None
    found = {model.name: model for model in bench.client.search_logged_models([experiment.experiment_id])}
    assert set(found) == {"push_t", "wall"}
    assert all(model.status == "READY" for model in found.values())
    assert len(bench.client.search_logged_models([experiment.experiment_id])) == 2
    (parent,) = bench.runs("sweep")
    inputs = bench.client.get_run(parent.info.run_id).inputs.model_inputs
    assert {each.model_id for each in inputs} == {model.model_id for model in found.values()}
    monkeypatch.setenv("MLFLOW_TRACKING_URI", bench.tracking_store.uri)
    back = mlflow.pyfunc.load_model(found["wall"].model_uri)
    own = load("wall")
    observation, actions = np.full((2, 2), 30.0), np.full((2, 3, 2), 0.5)
    start = own.model.encode(torch.as_tensor(observation, dtype=torch.float32))
    expected = rollout(own.model, Context.at(own.model, start), torch.as_tensor(actions, dtype=torch.float32))
    assert np.array_equal(back.predict({"observation": observation, "actions": actions}), expected.numpy())
    assert back.get_raw_model().digest == own.digest


def test_points_name_their_sweep_and_have_a_page(bench: Bench) -> None:
    child = bench.child(8)
    assert child.data.tags["grasp.sweep"] == INFO.name
    assert child.data.tags["mlflow.note.content"].startswith("**plane · gd · H8**: success **1.00**")


def test_the_view_of_the_points_finds_them_with_columns_that_they_have(bench: Bench) -> None:
    experiment = bench.client.get_experiment_by_name("pages")
    assert experiment is not None
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    view = json.loads(experiment.tags[f"mlflow.sharedViewState.{view_key(INFO.name)}"])
    found = bench.client.search_runs([experiment.experiment_id], view["searchFilter"], order_by=[f"{view['orderByKey']} ASC"])
    assert [run.data.params["horizon"] for run in found] == ["4", "8"]
    known = {f"params.`{key}`" for key in found[0].data.params} | {f"metrics.`{key}`" for key in found[0].data.metrics}
    assert set(COLUMNS) <= known
