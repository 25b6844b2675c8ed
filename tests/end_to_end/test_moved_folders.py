"""An output folder that was moved or copied: everything new lies below the folder that was given."""

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator.core.cell import Named
from orchestrator.tracking.local_store.moved import follow_folder
from orchestrator.tracking.mlflow_store import MlflowStore
from orchestrator.tracking.tracking_store import TrackingStore
from sweeps.cli.main import main
from sweeps.config.grid import SweepSpec
from sweeps.config.jobs import lookups
from sweeps.config.outputs import Outputs
from sweeps.config.schema.entries import PlannerEntry, TaskEntry
from tests.fuzz.small_files import SMOKE

ROOT = Path(__file__).resolve().parent.parent.parent
ARTIFACTS = "SELECT artifact_uri FROM runs UNION SELECT artifact_location FROM experiments"


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output folder with a run and an artifact in MLflow."""
    folder = tmp_path_factory.mktemp("moved") / "out"
    store = MlflowStore(TrackingStore(Outputs(folder).tracking_uri, Outputs(folder).tracking_artifacts))
    store.open()
    store.upload(store.create("a run", 0, {}), Path(__file__))
    return folder


@pytest.fixture(scope="module")
def copy(out: Path) -> Path:
    """A copy of it, in which a sweep was run."""
    folder = out.parent / "a copy"
    shutil.copytree(out, folder)
    before = everything(out)
    assert main(["sweep", "--quiet", *SMOKE, "artifacts.cells=[]", f"output='{folder}'"]) == 0
    assert everything(out) == before
    return folder


def addresses(database: Path) -> set[str]:
    with closing(sqlite3.connect(database)) as connection:
        return {address for (address,) in connection.execute(ARTIFACTS)}


def everything(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def all_below(folder: Path) -> bool:
    here = f"{folder.as_uri()}/mlartifacts"
    found = addresses(folder / "mlflow.db")
    return len(found) > 2 and all(address == here or address.startswith(f"{here}/") for address in found)


def test_a_copy_writes_below_itself_and_leaves_the_original_alone(copy: Path) -> None:
    assert all_below(copy)
    assert len(list(copy.glob("mlartifacts/*/artifacts"))) == 3


def test_a_moved_folder_reads_and_writes_below_itself(out: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(out, tmp_path / "there")
    (tmp_path / "there").rename(moved)
    store = MlflowStore(TrackingStore(Outputs(moved).tracking_uri, Outputs(moved).tracking_artifacts))
    (run,) = store.runs("")
    assert run.artifact_uri.startswith(moved.as_uri())
    store.upload(run, Path(__file__), "again")
    assert len(list(moved.rglob(Path(__file__).name))) == 2
    assert not (tmp_path / "there").exists()
    assert all_below(moved)


def test_a_store_of_someone_else_is_left_alone(out: Path, tmp_path: Path) -> None:
    database = tmp_path / "mlflow.db"
    shutil.copy(out / "mlflow.db", database)
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE experiments SET artifact_location = 'mlflow-artifacts:/' || experiment_id")
    before = addresses(database)
    follow_folder(database)
    assert addresses(database) == before


def test_a_storage_below_the_output_folder_moves_with_it(tmp_path: Path) -> None:
    out, moved = tmp_path / "out", tmp_path / "moved"
    task = TaskEntry("wall", Named.of("wall"), ("wall",), (10,))
    spec = SweepSpec("smoke", (task,), (PlannerEntry("gd", Named.of("gd")),), (0,))
    Outputs(out, out / "store").save(spec.expand(lookups()), "name: smoke\n")
    out.rename(moved)
    assert Outputs(moved).of_sweep("smoke").ledger == moved / "store" / "ledger"


def test_a_terminal_without_our_characters_gets_others_and_files_are_utf_8(copy: Path) -> None:
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONPATH": str(ROOT)}
    environment = {key: value for key, value in os.environ.items() if not key.startswith("LC_")} | locale
    words = [sys.executable, "-m", "sweeps", "report", "smoke", f"output='{copy}'"]
    done = subprocess.run(words, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode("utf-8", "replace")
    assert b"success" in done.stdout
    for name in ("report.txt", "report.html", "report.tex"):
        assert (copy / "sweeps/smoke" / name).read_text(encoding="utf-8")
