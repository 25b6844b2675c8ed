"""MLflow, on a real SQLite store: everything is there once, however often and whenever it is written."""

import json
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from orchestrator.artifacts.artifact_store import ArtifactStore
from orchestrator.artifacts.frames import SIZE
from orchestrator.artifacts.selection import NO_ARTIFACTS, ArtifactSelection
from orchestrator.core.cell import digest
from orchestrator.core.messages import mask_uri
from orchestrator.core.portion import by_point
from orchestrator.driver.run_cells import Hooks
from orchestrator.evaluation.wilson_interval import wilson
from orchestrator.ledger.records import from_table, to_table
from orchestrator.ledger.redo import Redo
from orchestrator.scheduling.scheduler import Limits
from orchestrator.storage.local import LocalStorage
from orchestrator.testing import RAISING, Faulty, plane_point
from orchestrator.tracking.content.images import STEPS
from orchestrator.tracking.content.points import contents
from orchestrator.tracking.content.sweep_info import CellSet
from orchestrator.tracking.failures import TrackingError, UnavailableError
from orchestrator.tracking.mlflow_store import MlflowStore
from orchestrator.tracking.outbox import SweepRecord
from orchestrator.tracking.tracker import Tracker
from orchestrator.tracking.tracking_store import TrackingStore
from tests.support.tracking_bench import INFO, Bench, cells_of
from world_models.errors import UserError


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an initialised store: initialising takes seconds."""
    folder = tmp_path_factory.mktemp("store")
    Tracker(TrackingStore(f"sqlite:///{folder}/mlflow.db", folder / "files", "warm")).open()
    return folder


@pytest.fixture
def bench(store: Path, tmp_path: Path) -> Bench:
    return Bench(f"sqlite:///{store}/mlflow.db", store / "files", tmp_path, tmp_path.name)


def test_a_sweep_is_a_parent_with_one_child_per_point(bench: Bench, tmp_path: Path) -> None:
    bench.plan(cells_of((4, 8), range(3)))
    figure = tmp_path / "success.png"
    figure.write_bytes(b"picture")
    bench.sync(figures=[figure])
    (parent,) = bench.runs("sweep")
    assert parent.info.run_name == INFO.name
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["mlflow.note.content"].endswith(f"\n\n{INFO.description}")
    assert parent.data.metrics["success_rate/gd"] == 1.0
    assert bench.files(parent) == ["cells.parquet", "config.yaml", "figures"]
    assert bench.files(parent, "figures") == ["figures/success.png"]
    child = bench.child(8)
    assert child.info.run_name == "plane · gd · H8"
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert {"task": "plane", "planner": "gd", "model": "plane", "kind": "free"}.items() <= child.data.tags.items()
    assert child.data.params["planner.iterations"] == "60"
    assert child.info.status == "FINISHED"
    assert bench.history(child, "seed/success") == {0: 1.0, 1: 1.0, 2: 1.0}
    rows = {row["seed"]: row for row in bench.ledger.table().to_pylist() if row["horizon"] == 8}
    assert bench.history(child, "seed/distance") == {seed: row["distance"] for seed, row in rows.items()}
    assert bench.history(child, "seed/steps_to_success") == {seed: row["steps_to_success"] for seed, row in rows.items()}
    assert child.data.metrics["success_rate_lower"] == pytest.approx(wilson(3, 3)[0])


def test_a_child_has_a_table_the_ui_shows(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", bench.tracking_store.uri)
    bench.plan(cells_of((4,), range(3)))
    bench.sync()
    run = bench.child(4)
    assert bench.files(run) == ["cells.json", "images", "rollout"]
    shown = bench.client.load_table(run.info.experiment_id, "cells.json", [run.info.run_id])
    assert shown["seed"].tolist() == [0, 1, 2]
    assert json.loads(run.data.tags["mlflow.loggedArtifacts"]) == [{"path": "cells.json", "type": "table"}]
    assert shown["cell_id"].tolist() == [cell.cell_id for cell in cells_of((4,), range(3))]
    (parent,) = bench.runs("sweep")
    local = bench.client.download_artifacts(parent.info.run_id, "cells.parquet", str(tmp_path))
    assert pq.read_table(local)["cell_id"].to_pylist() == bench.ledger.table()["cell_id"].to_pylist()


def test_selected_cells_are_shown_with_a_slider(bench: Bench) -> None:
    """Files are named by reason and images as MLflow's own client names them; newly selected cells replace the first ones."""
    bench.plan(cells_of((8,), range(3)))
    bench.sync()
    run, artifact_store = bench.child(8), ArtifactStore(LocalStorage(bench.artifacts))
    record = artifact_store.manifest(plane_point(8).point_id)
    assert record is not None
    names = {f"rollout/{selection.title}{kind}" for selection in record.selected for kind in (".mp4", ".parquet", ".png")}
    assert set(bench.files(run, "rollout")) == names
    assert run.data.tags["mlflow.loggedImages"] == "True"
    images = bench.files(run, "images")
    assert len(images) == 2 * STEPS
    named = re.compile(r"images/rollout\+step\+(\d+)\+timestamp\+\d+\+[0-9a-f]+(\+compressed)?\.png")
    found = [match.groups() for image in images if (match := named.fullmatch(image))]
    assert len(found) == len(images)
    steps = {int(step) for step, _ in found}
    assert (min(steps), max(steps), len(steps)) == (0, 8, STEPS)
    shape = Image.open(bench.client.download_artifacts(run.info.run_id, images[0])).size
    assert shape[0] > 2 * SIZE
    bench.client.log_image(run.info.run_id, Image.new("RGB", (8, 8)), key="theirs", step=3)
    (theirs,) = [image for image in bench.files(run, "images") if "theirs" in image and "compressed" not in image]
    assert re.fullmatch(r"images/theirs\+step\+3\+timestamp\+\d+\+[0-9a-f-]+\.png", theirs), "MLflow names them in another way"
    bench.plan(cells_of((8,), range(40)))
    bench.sync()
    grown = artifact_store.manifest(plane_point(8).point_id)
    assert grown is not None
    assert grown.selected != record.selected
    assert {name.rsplit(".")[0] for name in bench.files(run, "rollout")} == {f"rollout/{c.title}" for c in grown.selected}
    assert len(bench.files(run, "images")) == 2 * STEPS


def test_pictures_that_come_later_are_tracked_in_the_end(bench: Bench) -> None:
    bench.plan(cells_of((4, 8), range(3)), selection=NO_ARTIFACTS)
    bench.sync()
    assert bench.files(bench.child(4)) == ["cells.json"]
    bench.plan(cells_of((4, 8), range(3)), selection=ArtifactSelection(("worst",), video=False))
    relay = bench.relay()
    extent = CellSet.of(by_point(cells_of((4, 8), range(3))))
    relay.outbox.add(SweepRecord(INFO, extent, ended=True))
    assert relay.deliver_next(lambda record: False)
    for horizon in (4, 8):
        names = bench.files(bench.child(horizon), "rollout")
        assert [Path(name).suffix for name in names] == [".gif", ".parquet", ".png"]
        assert all(name.startswith("rollout/worst_seed") for name in names)
    requests = bench.tracker.requests
    seeds = {point: np.arange(3) for point in extent.points}
    assert bench.tracker.log_pictures(INFO.name, seeds, bench.artifacts) == []
    assert bench.tracker.requests == requests, "what is there is not written again"


def test_writing_again_adds_nothing(bench: Bench) -> None:
    bench.plan(cells_of((4, 8), range(3)))
    assert not bench.tracked()
    bench.sync()
    before = bench.everything()
    requests = bench.tracker.requests
    assert bench.tracked()
    assert bench.tracker.requests == requests, "the marker alone says so"
    bench.sync()
    folder = bench.ledger.root.parent
    other = Bench(bench.tracking_store.uri, bench.tracking_store.artifact_root, folder, bench.experiment)
    assert other.tracked()
    other.sync()
    assert bench.everything() == before


def test_more_seeds_add_only_those(bench: Bench) -> None:
    bench.plan(cells_of((4, 8), range(2)))
    bench.sync()
    first = {h: bench.child(h).info.run_id for h in (4, 8)}
    untouched = bench.child(8).data
    bench.plan(cells_of((4,), range(5)))
    assert not bench.tracked()
    bench.sync()
    assert {h: bench.child(h).info.run_id for h in (4, 8)} == first
    assert len(bench.runs("sweep")) == 1
    assert set(bench.history(bench.child(4), "seed/success")) == set(range(5))
    assert bench.child(4).data.metrics["cells"] == 5
    assert bench.child(8).data.to_dictionary() == untouched.to_dictionary()


def test_a_sync_that_is_interrupted_is_completed_by_the_next(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.plan(cells_of((4, 8), range(3)))
    original, calls = MlflowStore.log, []

    def breaks(self: MlflowStore, *args):
        calls.append(1)
        if len(calls) == 2:
            raise UnavailableError("the server went away")
        return original(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(MlflowStore, "log", breaks)
        with pytest.raises(TrackingError, match="went away"):
            bench.sync()
    bench.sync()
    assert len(bench.runs("sweep")) == 1
    assert len(bench.runs("point")) == 2
    assert all(
        set(bench.history(run, key)) == {0, 1, 2} for run in bench.runs("point") for key in ("seed/success", "seed/distance")
    )


def test_failed_cells_are_tracked_and_replaced(bench: Bench) -> None:
    cells = [plane_point(4).cell(seed) for seed in (0, RAISING)]
    bench.plan(cells, Faulty(str(bench.ledger.root.parent)), limits=Limits(1))
    bench.sync()
    logged = bench.child(4).data.metrics
    assert (logged["failed"], logged["cells"], logged["success_rate"]) == (1.0, 2.0, 1.0), "an error counts in no rate"
    assert set(bench.history(bench.child(4), "seed/success")) == {0}
    bench.plan(cells, redo=Redo(failed=True))
    bench.sync()
    run = bench.child(4)
    assert run.data.metrics["seed/success"] == 1.0
    assert [r["status"] for r in bench.ledger.table().to_pylist()] == ["completed", "completed"]


def test_the_background_tracker_writes_points_as_they_finish(bench: Bench) -> None:
    cells = cells_of((4, 8), range(4))
    bench.plan(cells[:2])
    tracker = bench.background(cells, cells[2:])
    tracker.start()
    bench.plan(cells, hooks=Hooks(on_result=tracker.on_result), limits=Limits(2))
    assert tracker.finish(replace(INFO, description="# the end")) is None
    (parent,) = bench.runs("sweep")
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["mlflow.note.content"].endswith("\n\n# the end")
    assert {run.data.metrics["cells"] for run in bench.runs("point")} == {4.0}
    assert bench.tracked(replace(INFO, description="# the end"))
    assert bench.outbox.names() == []


def test_runs_say_how_plans_were_executed(bench: Bench) -> None:
    bench.plan([plane_point(4).cell(0), replace(plane_point(4), mode="mpc:2").cell(0)])
    assert [point.name for point in contents(bench.ledger.table().to_pylist())] == [
        "plane · gd · H4",
        "plane · gd · H4 · mpc:2",
    ]


def test_long_settings_are_clipped_and_secrets_masked(bench: Bench) -> None:
    bench.plan([plane_point(4).cell(0)])
    table = bench.ledger.table()
    settings = json.dumps({"text": "x" * 9000})
    table = table.set_column(table.schema.get_field_index("task_settings"), "task_settings", [[settings]])
    (point,) = contents(table.to_pylist())
    assert len(point.params["task.text"]) == 6000
    assert mask_uri("postgresql://me:secret@db:5432/mlflow") == "postgresql://db:5432/mlflow"
    assert mask_uri("sqlite:////tmp/mlflow.db") == "sqlite:////tmp/mlflow.db"


def test_a_point_with_thousands_of_seeds_is_tracked_in_parts_and_goes_on_where_it_stopped(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.plan([plane_point(4).cell(0)])
    (record,) = from_table(bench.ledger.table())
    count = 2500
    records = [
        replace(record, cell_id=plane_point(4).cell(seed).cell_id, seed=seed, distance=0.25 * seed) for seed in range(count)
    ]
    table = to_table(records)
    original, calls = MlflowStore._log, []

    def breaks(self: MlflowStore, *args) -> None:
        calls.append(1)
        if len(calls) == 8:
            raise UnavailableError("away")
        original(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(MlflowStore, "_log", breaks)
        with pytest.raises(UnavailableError):
            bench.tracker.sync(INFO, table, bench.artifacts)
    assert bench.tracker.sync(INFO, table, bench.artifacts) == []
    run = bench.child(4)
    for key in ("seed/success", "seed/distance"):
        assert set(bench.history(run, key)) == set(range(count))
    assert bench.history(run, "seed/distance")[2499] == 0.25 * 2499
    assert bench.files(run) == ["cells.json", "cells.parquet", "images", "rollout"]
    shown = json.loads(
        Path(bench.client.download_artifacts(run.info.run_id, "cells.json", str(tmp_path))).read_text(encoding="utf-8")
    )
    assert len(shown["data"]) == 1000
    whole = bench.client.download_artifacts(run.info.run_id, "cells.parquet", str(tmp_path))
    assert pq.read_table(whole)["seed"].to_pylist() == list(range(count))


def test_a_sweep_made_twice_keeps_the_run_with_points(bench: Bench) -> None:
    bench.plan(cells_of((4,), range(2)))
    early = {"grasp.kind": "sweep", "grasp.sweep": INFO.name, "grasp.sweep_id": digest(INFO.name)}
    bench.tracker.log_points(INFO.name, contents(bench.ledger.table().to_pylist()))
    (true,) = bench.runs("sweep")
    bench.client.create_run(true.info.experiment_id, 1, early, INFO.name)
    assert len(bench.runs("sweep")) == 2
    fresh = Tracker(bench.tracking_store)
    fresh.sync(INFO, bench.ledger.table(), bench.artifacts)
    (left,) = bench.runs("sweep")
    assert left.info.run_id == true.info.run_id
    assert len(bench.runs("point")) == 1


def test_what_another_process_delivers_is_left_to_it(bench: Bench) -> None:
    cells = cells_of((4,), range(2))
    bench.plan(cells)
    lock = bench.outbox.claim()
    assert lock is not None
    tracker = bench.background(cells, [], finish_timeout=0.3)
    tracker.start()
    said = tracker.finish()
    assert said is not None
    assert "written by host" in said
    assert bench.outbox.waiting() == 1
    again = bench.background(cells, [])
    again.start()
    os.close(lock)
    assert again.finish() is None
    assert bench.outbox.names() == []
    assert len(bench.runs("point")) == 1


def test_a_deleted_experiment_is_refused_before_anything_is_planned(bench: Bench) -> None:
    assert bench.tracking_store.check() is None
    bench.client.delete_experiment(bench.client.create_experiment(bench.experiment))
    with pytest.raises(UserError, match=f"has deleted experiment '{bench.experiment}': restore it or set tracking.experiment"):
        bench.tracking_store.check()
