"""Real sweeps in surroundings that other tools have made: variables, folders, streams, and what listens meanwhile."""

import os
import re
import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from orchestrator.core.provenance import git_revision
from orchestrator.ledger.ledger import Ledger
from sweeps.config.outputs import Outputs
from tests.support.listening import family, is_loopback, listening_addresses
from tests.support.small_sweeps import GRID, ROOT, grasp_command, ledger_rows, tiny_model, until

ODD = {
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    "PYTHONWARNINGS": "error",
    "PYTHONOPTIMIZE": "2",
    "OMP_NUM_THREADS": "abc",
    "COLUMNS": "0",
    "HOME": "/proc/nohome",
    "GIT_DIR": "/proc/nowhere",
    "GIT_INDEX_FILE": "/proc/nowhere",
    "MLFLOW_TRACKING_URI": "http://elsewhere:5000",
    "CUDA_VISIBLE_DEVICES": "odd",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "http_proxy": "http://127.0.0.1:9",
    "RAY_ADDRESS": "elsewhere:6379",
    "RAY_worker_register_timeout_seconds": "odd",
}
"""Variables that a notebook, a git hook, a container and a proxy leave behind, with values that nothing can use."""
QUICK = ("artifacts.cells=[]", "tracking.enabled=false")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("model"))


def odd_sweep(folder: Path, *words: object, **variables: str) -> tuple[list[str], dict[str, str]]:
    """The command of a sweep, and an environment as odd as they come."""
    command = grasp_command("sweep", *GRID, *QUICK, f"output={folder}", *words)
    return command, {**os.environ, **ODD, "PYTHONPATH": str(ROOT), **variables}


def test_a_sweep_in_odd_surroundings_whose_output_nobody_reads(model: Path, tmp_path: Path) -> None:
    command, environment = odd_sweep(tmp_path, f"world_models={model}", "backend=inline", TMPDIR="/proc/nowhere")
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", '"$@" | head -1', "bash", *command],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert re.search(r"4 cells, 4 to plan on inline with \d+ threads", done.stdout)
    table = Ledger(Outputs(tmp_path).ledger).table(columns=["git_revision"])
    assert set(table["git_revision"].to_pylist()) == {git_revision()}
    files = {file.name for file in (tmp_path / "sweeps" / "smoke").iterdir()}
    assert {"report.txt", "report.csv", "report.html", "figures"} <= files


@pytest.mark.timeout(400)
def test_a_sweep_on_ray_listens_on_loopback_only_and_ends_with_its_terminal(model: Path, tmp_path: Path) -> None:
    long = tmp_path / ("x" * 90)
    long.mkdir()
    words = (f"world_models={model}", "backend=ray", "backend.num_workers=1", "seeds=2000", "max_rows=2")
    command, environment = odd_sweep(tmp_path / "run", *words, TMPDIR=str(long))
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    until(lambda: process.poll() is not None or bool(list(tmp_path.glob("run/ledger/part-*"))), "a first result", 300)
    if process.poll() is None:
        addresses = listening_addresses(process.pid)
        started = family(process.pid)[1:]
        process.send_signal(signal.SIGHUP)
    printed, said = process.communicate(timeout=120)
    assert process.returncode == 143, said
    assert len(started) > 3
    assert addresses
    assert all(map(is_loopback, addresses)), addresses
    assert "SIGHUP: finishing" in printed
    assert "Traceback" not in said
    assert 0 < ledger_rows(tmp_path / "run") < 4000
    _, alive = psutil.wait_procs(started, timeout=30)
    assert not alive
