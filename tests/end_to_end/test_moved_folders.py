"""An output folder that was moved or copied: everything new lies below the folder that was given."""

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator.tracking.local_store.moved import follow_folder
from sweeps.cli.main import main
from sweeps.config.outputs import Outputs
from tests.fuzz.small_files import SMOKE

ROOT = Path(__file__).resolve().parent.parent.parent
ARTIFACTS = "SELECT artifact_uri FROM runs UNION SELECT artifact_location FROM experiments"


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output folder with a tracked sweep."""
    folder = tmp_path_factory.mktemp("moved") / "out"
    assert main(["sweep", "--quiet", *SMOKE, "artifacts.cells=[]", f"output={folder}"]) == 0
    return folder


def addresses(database: Path) -> set[str]:
    with closing(sqlite3.connect(database)) as connection:
        return {address for (address,) in connection.execute(ARTIFACTS)}


def everything(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_copy_and_a_moved_folder_write_below_themselves(out: Path, tmp_path: Path) -> None:
    copy, moved = tmp_path / "a copy", tmp_path / "moved"
    shutil.copytree(out, copy)
    before = everything(out)
    assert main(["sweep", "--quiet", *SMOKE, "artifacts.cells=[]", "seeds=3", f"output='{copy}'"]) == 0
    assert everything(out) == before
    shutil.copytree(out, tmp_path / "other")
    (tmp_path / "other").rename(moved)
    follow_folder(moved / "mlflow.db")  # as `grasp ui` does
    for folder in (copy, moved):
        here = f"{folder.as_uri()}/mlartifacts"
        assert {address[: len(here)] for address in addresses(folder / "mlflow.db")} == {here}
    assert len(list(copy.glob("mlartifacts/*/artifacts"))) == len(list(out.glob("mlartifacts/*/artifacts")))


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
    words = [*SMOKE, "artifacts.cells=[]", "tracking.enabled=false", f"output={out}", f"storage={out}/store"]
    assert main(["sweep", "--quiet", *words]) == 0
    out.rename(moved)
    assert Outputs(moved).of_sweep("smoke").ledger == moved / "store" / "ledger"


@pytest.mark.parametrize("locale", [{"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}])
def test_a_terminal_without_our_characters_gets_others_and_files_are_utf_8(out: Path, locale: dict[str, str]) -> None:
    environment = (
        {key: value for key, value in os.environ.items() if not key.startswith("LC_")} | locale | {"PYTHONPATH": str(ROOT)}
    )
    words = [sys.executable, "-m", "sweeps", "report", "smoke", f"output={out}"]
    done = subprocess.run(words, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode("utf-8", "replace")
    assert b"Error" not in done.stderr
    assert (
        "n 2" in (out / "sweeps/smoke/report.txt").read_text(encoding="utf-8")
        or (out / "sweeps/smoke/report.txt").stat().st_size
    )
    assert (out / "sweeps/smoke/report.html").read_text(encoding="utf-8")
