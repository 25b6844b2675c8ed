"""Variables of other tools: which are taken out of what we start, which are mended, and how many processors are ours."""

import os
from pathlib import Path

import pytest

from orchestrator.core.provenance import ROOT, git
from orchestrator.core.surroundings import environment_of_children, settle
from world_models.processors import cpus_here

FOREIGN = {
    "GIT_DIR": "/elsewhere/.git",
    "GIT_INDEX_FILE": "/elsewhere/index",
    "MLFLOW_TRACKING_URI": "http://elsewhere:5000",
    "MLFLOW_RUN_ID": "1",
    "MLFLOW_BACKEND_STORE_URI": "sqlite:////elsewhere/mlflow.db",
    "PYTHONWARNINGS": "error",
    "PYTHONOPTIMIZE": "2",
    "PYTHONINSPECT": "1",
    "OMP_NUM_THREADS": "abc",
    "COLUMNS": "0",
    "RAY_worker_register_timeout_seconds": "odd",
    "RAY_NUM_REDIS_GET_RETRIES": "",
    "TMPDIR": "/proc/nowhere",
}
OURS = {
    "MLFLOW_TRACKING_TOKEN": "secret",
    "CUDA_VISIBLE_DEVICES": "",
    "PYTHONPATH": "/code",
    "MKL_NUM_THREADS": "3",
    "LINES": "40",
    "RAY_ADDRESS": "head:6379",
    "RAY_health_check_timeout_ms": "10000",
    "TMP": "/tmp",
}


def test_variables_of_other_tools_go_and_those_for_us_stay() -> None:
    environment = {**FOREIGN, **OURS}
    settle(environment)
    assert not FOREIGN.keys() & environment.keys()
    assert OURS.items() <= environment.items()
    assert environment["MPLBACKEND"] == "agg"


def test_servers_on_this_machine_are_asked_without_a_proxy() -> None:
    environment = {"HTTPS_PROXY": "http://proxy:3128", "no_proxy": "intranet,localhost"}
    settle(environment)
    assert environment["NO_PROXY"] == environment["no_proxy"] == "intranet,localhost,127.0.0.1,::1"
    environment = {}
    settle(environment)
    assert "NO_PROXY" not in environment


def test_git_is_asked_about_our_checkout_whatever_a_hook_has_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("this is not a checkout")
    here = git(ROOT, "rev-parse", "HEAD")
    assert here
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.setenv(name, str(tmp_path))
    assert git(ROOT, "rev-parse", "HEAD") == here
    assert "GIT_DIR" not in environment_of_children()


@pytest.mark.parametrize(
    ("files", "processors"),
    [
        ({"cpu.max": "max 100000\n"}, 64),
        ({"cpu.max": "250000 100000\n"}, 3),
        ({"cpu.max": "5000 100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 64),
        ({"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2),
        ({"cpu.max": "odd\n"}, 64),
        ({}, 64),
    ],
)
def test_a_containers_quota_limits_the_processors(
    files: dict[str, str], processors: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert cpus_here(tmp_path) == processors
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "2")
    assert cpus_here(tmp_path) == min(2, processors)
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "many")
    assert cpus_here(tmp_path) == processors


def test_threads_follow_a_quota_unless_they_were_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "2")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    environment: dict[str, str] = {}
    settle(environment)
    assert environment["OMP_NUM_THREADS"] == "2"
    environment = {"OMP_NUM_THREADS": "5"}
    settle(environment)
    assert environment["OMP_NUM_THREADS"] == "5"
