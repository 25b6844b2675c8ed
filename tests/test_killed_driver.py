"""kill -9 of the whole driver, three times in one sweep: every cell once in the ledger, nothing finished is planned again."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.dataset as ds
import pytest

ROOT = Path(__file__).parents[1]
ARGUMENTS = [
    "sweep",
    "name=killed",
    "task=wall",
    "planner=grasp,gd",
    "horizons=[20,40]",
    "seeds=24",
    "max_rows=2",
    "planners.grasp.settings.iterations=160",
    "planners.grasp.settings.attempts=1",
    "planners.gd.settings.iterations=100",
    "planners.gd.settings.attempts=1",
]


def start(output: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "sweeps", *ARGUMENTS, f"output={output}"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def records(output: Path) -> list[tuple[str, str]]:
    """(cell, when it was finished), as they lie in the parts: nothing is deduplicated."""
    parts = sorted((output / "ledger").glob("part-*.parquet"))
    if not parts:
        return []
    table = ds.dataset([str(part) for part in parts]).to_table(columns=["cell_id", "finished_at"])
    return list(zip(table["cell_id"].to_pylist(), map(str, table["finished_at"].to_pylist()), strict=True))


@pytest.mark.timeout(400)
def test_every_cell_once_whatever_dies_when(tmp_path):
    rng = random.Random(4)
    seen: list[tuple[str, str]] = []
    for _ in range(3):
        driver = start(tmp_path)
        wanted = len(seen) + rng.randint(4, 16)
        deadline = time.monotonic() + 120
        while len(records(tmp_path)) < wanted and driver.poll() is None and time.monotonic() < deadline:
            time.sleep(rng.uniform(0.02, 0.4))
        assert driver.poll() is None, "the sweep ended before it could be killed: make it longer"
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait()
        now = records(tmp_path)
        assert now[: len(seen)] == seen, "what was finished has changed"
        assert len(now) > len(seen)
        seen = now
    assert start(tmp_path).wait(timeout=240) == 0
    final = records(tmp_path)
    assert final[: len(seen)] == seen
    grid = json.loads((tmp_path / "sweeps" / "killed" / "sweep.json").read_text())
    assert len(final) == len({cell for cell, _ in final}) == 24 * len(grid["entries"]) == 96
