"""Full and read-only disks, played with a small file system of memory: sentences, and nothing that was recorded is lost."""

import logging
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.core.secrets import Secrets
from orchestrator.tracking.failures import UnavailableError
from orchestrator.tracking.mlflow_store import MlflowStore
from orchestrator.tracking.tracking_store import TrackingStore
from sweeps.console.log_file import LogFile, log_to
from tests.fuzz.small_files import OFF, SMOKE, Ended, run

SIZE = 8 * 2**20


def mounted(folder: Path, *options: str) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", ",".join((f"size={SIZE}", *options)), "tmpfs", str(folder)]
    return os.geteuid() == 0 and shutil.which("mount") is not None and subprocess.run(command, check=False).returncode == 0


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A small disk with a sweep of two cells in `out`."""
    folder = tmp_path_factory.mktemp("disk")
    if not mounted(folder):
        pytest.skip("mounting a small disk needs root: run as root, or in a container with CAP_SYS_ADMIN")
    try:
        assert run(["sweep", "--quiet", *SMOKE, "artifacts.cells=[]", OFF, f"output={folder}/out"]).code == 0
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def fill(disk: Path) -> Iterator[Path]:
    yield disk / "filler"
    (disk / "filler").unlink(missing_ok=True)


def leave(file: Path, free: int) -> None:
    """Fill the disk but for `free` bytes."""
    with file.open("wb") as stream:
        while (rest := shutil.disk_usage(file.parent).free - free) > 0:
            try:
                stream.write(b"x" * min(rest, 65536))
                stream.flush()
            except OSError:  # no room is left
                break


def is_sentence(ended: Ended) -> bool:
    return ended.code == 2 and "No space left on device" in ended.said and "free some space" in ended.said


@pytest.mark.parametrize("free", [0, 8192])
def test_a_report_on_a_full_disk_is_refused_in_one_sentence_and_the_old_one_stays(disk: Path, fill: Path, free: int) -> None:
    before = (disk / "out/sweeps/smoke/report.html").read_bytes()
    leave(fill, free)
    ended = run(["report", f"output={disk}/out"])
    assert is_sentence(ended), ended.said
    assert (disk / "out/sweeps/smoke/report.html").read_bytes() == before
    assert not list((disk / "out").rglob(".*.tmp"))


@pytest.mark.parametrize("free", [0, 4096])
def test_a_sweep_whose_first_files_find_no_room_is_refused_in_one_sentence(disk: Path, fill: Path, free: int) -> None:
    leave(fill, free)
    ended = run(["sweep", "--quiet", *SMOKE, "artifacts.cells=[]", OFF, "name=other", f"output={disk}/out"])
    assert is_sentence(ended), ended.said


def test_a_disk_that_can_only_be_read_is_refused_where_something_is_written(disk: Path) -> None:
    def remount(how: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{how}", str(disk)], check=True)

    remount("ro")
    try:
        for words in (("report",), ("sweep", *SMOKE, OFF, "seeds=3"), ("sync", "smoke", "tracking.enabled=true")):
            ended = run([*words, f"output={disk}/out"])
            assert ended.code == 2, ended.said
            assert "Read-only file system" in ended.said
        assert run(["status", f"output={disk}/out"]).code == 0
    finally:
        remount("rw")


def test_mlflow_recovers_in_the_process_that_found_the_disk_full(disk: Path, fill: Path) -> None:
    folder = disk / "tracked"
    folder.mkdir()
    store = MlflowStore(TrackingStore(f"sqlite:///{folder}/mlflow.db", folder / "mlartifacts"))
    leave(fill, 65536)
    with pytest.raises(UnavailableError, match="could not be written"):
        store.open()
    fill.unlink()
    store.open()
    assert store.create("a run", 0, {}).run_id


def test_a_log_that_cannot_be_written_prints_nothing(disk: Path, fill: Path, capfd: pytest.CaptureFixture[str]) -> None:
    leave(fill, 0)
    logger = logging.getLogger("orchestrator")
    before = logger.handlers
    try:
        for file in (disk / "log.txt", disk / "filler" / "log.txt"):
            log_to(file, Secrets())
            for _ in range(3):
                logger.warning("tracking: %s", "https://user:hunter2@host/x")
        assert [type(handler) for handler in logger.handlers] == [LogFile]
    finally:
        logger.handlers = before
    assert capfd.readouterr() == ("", "")


def test_a_log_has_no_password(tmp_path: Path) -> None:
    handler = LogFile(tmp_path / "log.txt", Secrets())
    handler.emit(logging.LogRecord("orchestrator", logging.WARNING, "", 1, "at %s: 墙", ("https://user:hunter2@host/x",), None))
    handler.close()
    said = (tmp_path / "log.txt").read_text(encoding="utf-8")
    assert "at https://host/x: 墙" in said
    assert "hunter2" not in said
