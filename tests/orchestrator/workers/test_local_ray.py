"""Starts of Ray on this machine that fail are one sentence with a remedy, and leave nothing behind."""

import fcntl
import os
import tempfile
from pathlib import Path

import pytest

from orchestrator.workers import local_ray
from orchestrator.workers.ray_cluster import connect
from sweeps.cli.main import main
from world_models.errors import UserError

TIMED_OUT = "The current node timed out during startup. This could happen because some of the raylet failed to startup."


def folders(root: Path) -> list[Path]:
    return sorted(root.glob("grasp-*"))


@pytest.mark.parametrize(
    ("error", "attempts", "reason"),
    [
        (Exception(TIMED_OUT), local_ray.ATTEMPTS, "the machine is too busy for it"),
        (RuntimeError("no space left\n  in /dev/shm"), 1, "RuntimeError: no space left in /dev/shm"),
        (PermissionError(13, "Permission denied", "/r"), 1, "PermissionError: [Errno 13] Permission denied: '/r'"),
    ],
)
def test_a_failed_start_is_one_sentence_with_exit_code_2(
    error: Exception,
    attempts: int,
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tried: list[dict[str, object]] = []

    def init(*words: object, **options: object) -> None:
        tried.append(dict(os.environ))
        raise error

    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        monkeypatch.setenv("RAY_TMPDIR", short)
        monkeypatch.setenv("RAY_ADDRESS", "elsewhere:6379")
        monkeypatch.setenv("RAY_worker_register_timeout_seconds", "1")
        monkeypatch.setattr("ray.init", init)
        words = ("sweep", "--quiet", "sweep=smoke", "planner=gd", "backend=ray", "tracking.enabled=false", f"output={tmp_path}")
        before = dict(os.environ)
        assert main(words) == 2
        assert folders(Path(short)) == []
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said == (
        f"grasp: Ray did not start on this machine ({reason}): run the same command again later, or plan without Ray, with "
        "backend=inline."
    )
    assert len(tried) == attempts
    assert "RAY_ADDRESS" not in tried[0]
    assert tried[0]["RAY_worker_register_timeout_seconds"] == "180"
    assert dict(os.environ) == before


def test_a_long_temporary_folder_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = tmp_path / ("x" * 90)
    long.mkdir()
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    seen: list[Path] = []
    monkeypatch.setattr(local_ray, "_start", seen.append)
    monkeypatch.setattr("ray.shutdown", lambda: None)
    with connect(None):
        (folder,) = seen
        assert folder.parent in (Path("/tmp"), Path("/var/tmp"))
        assert folder.stat().st_mode & 0o777 == 0o700
        assert (folder / "token").stat().st_mode & 0o777 == 0o600
    assert not folder.exists()
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(UserError, match="Ray needs a folder for its sockets with a path of at most 26 letters"):
        connect(None)


def test_folders_of_dead_processes_are_removed_and_those_of_living_ones_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        monkeypatch.setenv("RAY_TMPDIR", short)
        dead, living, foreign = (Path(short) / f"grasp-{name}" for name in ("dead", "living", "foreign"))
        for folder in (dead, living, foreign):
            folder.mkdir()
        (dead / "held").touch()
        monkeypatch.setattr(local_ray, "_start", lambda folder: None)
        monkeypatch.setattr("ray.shutdown", lambda: None)
        with (living / "held").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            connect(None).close()
        assert folders(Path(short)) == [foreign, living]
