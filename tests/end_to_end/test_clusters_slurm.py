"""docker/sweep.slurm as Slurm would run it: its srun and scontrol are stand-ins, its Ray nodes and its sweep are real."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.processes import descendants, kill_tree, title
from benchmarks.rehearsal_checks import Row, records
from orchestrator.ledger.ledger import Ledger

ROOT = Path(__file__).parents[2]
SWEEP = [
    *("name=slurm", "task=wall", "planner=gd", "horizons=[20,40]", "seeds=24", "max_rows=4"),
    *(f"planners.gd.settings.{key}" for key in ("iterations=150", "attempts=1", "precision=highest")),
]
CELLS = 48
SRUN = """\
    #!{python}
    '''One process a task, each with its rank; signals are handed on, and one task's end does not end the others.'''
    import os, signal, subprocess, sys
    words = sys.argv[1:]
    start = next(i for i, word in enumerate(words) if not word.startswith("-"))
    count = int(next(word for word in words if word.startswith("--ntasks=")).split("=")[1])
    if words[start] == "hostname":
        print("127.0.0.2")
        sys.exit()
    tasks = [subprocess.Popen(words[start:], env={{**os.environ, "SLURM_PROCID": str(rank)}}) for rank in range(count)]
    signal.signal(signal.SIGTERM, lambda *_: [task.terminate() for task in tasks])
    sys.exit(max(abs(task.wait()) for task in tasks))
"""
SCONTROL = """\
    #!/bin/sh
    if [ "$1" = show ]; then printf 'node1\\nnode2\\n'; else echo "$@" >> "{folder}/scontrol.log"; fi
"""


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A node's own folder with a short path: those of Ray's sockets must not exceed 107 characters."""
    folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def allocation(tmp_path: Path, scratch: Path) -> dict[str, str]:
    """The environment of a job with two nodes of one CPU each."""
    bin = tmp_path / "bin"
    bin.mkdir()
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        (bin / name).write_text(textwrap.dedent(text).format(python=sys.executable, folder=tmp_path), encoding="utf-8")
        (bin / name).chmod(0o755)
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "GRASP_"))},
        "PATH": f"{bin}:{Path(sys.executable).parent}:/usr/bin:/bin",
        "SLURM_SUBMIT_DIR": str(ROOT),
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_JOB_NODELIST": "node[1-2]",
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_CPUS_PER_TASK": "1",
        "SLURM_TMPDIR": str(scratch),
    }


def start(allocation: dict[str, str], output: Path) -> subprocess.Popen[bytes]:
    with (output.parent / "job.log").open("ab") as log:
        return subprocess.Popen(
            ["bash", ROOT / "docker" / "sweep.slurm", *SWEEP, f"output={output}"],
            env=allocation,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def once(holds: Callable[[], object], job: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 150
    while not holds():
        assert job.poll() is None, log.read_text(encoding="utf-8")[-2000:]
        assert time.monotonic() < deadline, log.read_text(encoding="utf-8")[-2000:]
        time.sleep(0.2)


def ended(job: subprocess.Popen[bytes], log: Path, seconds: float) -> None:
    """Check that the job ends well in time; if not, show its output and its processes."""
    try:
        code = job.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        running = "\n".join(title(process)[:200] for process in descendants(job.pid))
        pytest.fail(f"still running after {seconds} s:\n{running}\n{log.read_text(encoding='utf-8')[-4000:]}")
    assert code == 0, log.read_text(encoding="utf-8")[-2000:]


def named(rows: list[Row]) -> list[tuple[str, str]]:
    return sorted((row["cell_id"], str(row["finished_at"])) for row in rows)


@pytest.fixture
def jobs() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes that a test has started, none of which outlives it."""
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for job in started:
        if job.poll() is None:
            kill_tree(job.pid)
            job.wait()


@pytest.mark.timeout(900)
def test_a_job_that_runs_out_of_time_is_queued_again_and_goes_on_where_it_was(allocation, jobs, tmp_path):
    output, log = tmp_path / "outputs", tmp_path / "job.log"
    job = start(allocation, output)
    jobs.append(job)
    once(lambda: sum(map(len, Ledger(output / "ledger").finished_seeds().values())) >= 8, job, log)
    nodes = [process for process in descendants(job.pid) if "/raylet/raylet " in title(process)]
    assert len(nodes) == 2, "one Ray node a node of the allocation"
    mine = descendants(job.pid)
    job.send_signal(signal.SIGUSR1)
    ended(job, log, 200)
    assert (tmp_path / "scontrol.log").read_text(encoding="utf-8") == f"requeue {allocation['SLURM_JOB_ID']}\n"
    before = records(output)
    assert 8 <= len(before) < CELLS, "the sweep ended before it could be stopped: make it longer"
    once_gone(mine)
    jobs.append(start({**allocation, "SLURM_RESTART_COUNT": "1"}, output))
    ended(jobs[-1], log, 450)
    after = records(output)
    assert set(Counter(row["cell_id"] for row in after).values()) == {1}
    assert len(after) == CELLS
    assert set(named(before)) <= set(named(after)), "what was finished is planned again"
    assert not list(Path(allocation["SLURM_TMPDIR"]).iterdir()), "nodes leave nothing on their disks"


def once_gone(processes: list[int]) -> None:
    """Check that everything that the job had started is gone soon after it."""
    deadline = time.monotonic() + 30
    while left := [process for process in processes if "ray" in title(process)]:
        assert time.monotonic() < deadline, [title(process) for process in left]
        time.sleep(0.2)
