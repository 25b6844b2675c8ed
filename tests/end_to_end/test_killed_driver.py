"""kill -9 of the whole driver, three times in one sweep: every cell once in the ledger, nothing finished is planned again."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestrator.ledger.ledger import Ledger
from sweeps.cli.main import main
from tests.support.small_sweeps import GRID, ledger_rows, start_grasp, tiny_model, until

ROOT = Path(__file__).parents[2]
CELLS = 48
ARGUMENTS = [
    "sweep",
    "name=killed",
    "task=wall",
    "planner=grasp,gd",
    "horizons=[20,40]",
    "seeds=12",
    "max_rows=2",
    "planners.grasp.settings.iterations=160",
    "planners.grasp.settings.attempts=1",
    "planners.gd.settings.iterations=100",
    "planners.gd.settings.attempts=1",
    # Slow enough to be killed, whatever the processor.
    *(f"planners.{name}.settings.precision=highest" for name in ("grasp", "gd")),
]


def start(output: Path, log: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "sweeps", *ARGUMENTS, f"output={output}"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with log.open("wb") as file:
        return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT)


def records(output: Path) -> dict[str, str]:
    """Time at which each recorded cell was finished."""
    table = Ledger(output / "ledger").table(columns=["cell_id", "finished_at"])
    assert table.num_rows == len(table["cell_id"].unique())
    return dict(zip(table["cell_id"].to_pylist(), map(str, table["finished_at"].to_pylist()), strict=True))


def left_to_plan(log: Path) -> int:
    """Number of cells that a driver said it would plan."""
    found = re.search(r"(\d+)\s+to\s+plan", log.read_text(encoding="utf-8"))
    assert found is not None, log.read_text(encoding="utf-8")
    return int(found[1])


@pytest.mark.timeout(400)
def test_every_cell_once_whatever_dies_when(tmp_path):
    rng = random.Random(4)
    output, log = tmp_path / "out", tmp_path / "log"
    seen: dict[str, str] = {}
    for _ in range(3):
        driver = start(output, log)
        wanted = len(seen) + rng.randint(2, 8)
        deadline = time.monotonic() + 120
        while len(records(output)) < wanted and driver.poll() is None and time.monotonic() < deadline:
            time.sleep(rng.uniform(0.02, 0.4))
        assert driver.poll() is None, "the sweep ended before it could be killed: make it longer"
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait()
        assert left_to_plan(log) == CELLS - len(seen), "what was recorded is planned again"
        now = records(output)
        assert now.items() >= seen.items(), "what was finished has changed"
        assert len(now) > len(seen)
        seen = now
    assert start(output, log).wait(timeout=240) == 0
    assert left_to_plan(log) == CELLS - len(seen)
    final = records(output)
    assert final.items() >= seen.items()
    grid = json.loads((output / "sweeps" / "killed" / "sweep.json").read_text(encoding="utf-8"))
    assert len(final) == 12 * len(grid["entries"]) == CELLS


@pytest.mark.timeout(400)
def test_pictures_are_drawn_by_the_next_run_where_the_driver_died_drawing(tmp_path):
    model, cells = tiny_model(tmp_path / "model"), 40
    words = ["sweep", *GRID, f"world_models={model}", f"seeds={cells // 2}"]
    words += ["artifacts.cells=all", "tracking.enabled=false", f"output={tmp_path}"]
    driver = start_grasp(*words)
    until(lambda: ledger_rows(tmp_path) == cells or driver.poll() is not None, "planning")
    driver.kill()
    driver.communicate()
    drawn = set((tmp_path / "artifacts").glob("*/*.png"))
    assert len(drawn) < cells, "everything was drawn before the driver could be killed: draw more"
    assert main(words) == 0
    assert len(set((tmp_path / "artifacts").glob("*/*.png"))) == cells
    assert len(records(tmp_path)) == ledger_rows(tmp_path) == cells
