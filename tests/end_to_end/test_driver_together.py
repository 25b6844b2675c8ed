"""Several drivers at once, and signals as a terminal sends them: no cell is lost, and no driver waits forever."""

import fcntl
import io
import json
import os
import pty
import signal
import subprocess
import termios
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.core.cell import Point
from orchestrator.core.portion import Portion, count
from orchestrator.driver.join_requests import JoinRequest, JoinRequests
from orchestrator.driver.status import Status
from orchestrator.ledger.ledger import Ledger
from orchestrator.scheduling.durations import DurationModel, Estimate
from orchestrator.storage.locks import Holder
from orchestrator.testing import plane_point, quick_result
from sweeps.cli.main import main
from sweeps.config.grid import Grid
from sweeps.config.jobs import read_job
from sweeps.config.outputs import Outputs
from sweeps.config.schema.configs import SweepConfig
from sweeps.console.signals import Interrupts, Stop
from sweeps.running.progress import Tally
from sweeps.running.second_driver import RequestedSweeps
from sweeps.running.status_view import Heartbeat, status
from tests.support.small_sweeps import GRID, ROOT, grasp_command, start_grasp, tiny_model, until
from world_models.files.reading import to_json


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("models"))


def saved(name: str, model: Path, folder: Path, *words: str) -> Grid:
    """Save a sweep without running it."""
    job = read_job(SweepConfig, [*GRID, f"name={name}", f"world_models={model}", f"output={folder}", *words], None)
    job.outputs.save(job.grid, job.config_text)
    return job.grid


def said_by(name: str, holder: Holder | None, state: str = "planning") -> Status:
    host, pid = (holder.host, holder.pid) if holder is not None else ("elsewhere", 1)
    process = holder.process if holder is not None else None
    return Status((name,), host, pid, state, 1, 65.0, 8, 2, 3, 0, 1.0, process=process)


def test_a_signal_is_heard_whatever_the_main_thread_holds() -> None:
    lock, heard, stop = threading.Lock(), [], Stop()

    def on_stop(name: str) -> None:
        with lock:
            heard.append(name)

    with Interrupts(stop, on_stop):
        with lock:
            signal.raise_signal(signal.SIGINT)
            assert stop.wait(30)
        until(lambda: heard == ["SIGINT"], "the word that it was heard", 30)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert heard == ["SIGINT"]


def test_sigterm_ends_a_process_that_ignores_ctrl_c_too() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with pytest.raises(KeyboardInterrupt), Interrupts(Stop(), lambda name: None, grace=0.05):  # noqa: PT012
            signal.raise_signal(signal.SIGTERM)
            threading.Event().wait(30)
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.timeout(400)
def test_ctrl_c_on_a_terminal_reaches_the_whole_group_and_only_the_driver_ends(model: Path, tmp_path: Path) -> None:
    """Ray's processes get the terminal's Ctrl-C too: they must go on planning what is in flight."""
    terminal, end = pty.openpty()

    def control() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    words = (*GRID, "seeds=400", "max_rows=2", "backend=ray", "backend.num_workers=1", "tracking.enabled=false")
    command = grasp_command("sweep", *words, f"world_models={model}", f"output={tmp_path}")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200", "TERM": "xterm"}
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        start_new_session=True,
        preexec_fn=control,
        stdin=end,
        stdout=end,
        stderr=end,
    )
    os.close(end)
    printed = io.BytesIO()

    def read() -> None:
        with suppress(OSError):  # the terminal is gone once the last process is
            while chunk := os.read(terminal, 4096):
                printed.write(chunk)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    until(lambda: process.poll() is not None or bool(list(tmp_path.glob("ledger/part-*"))), "a first result")
    os.write(terminal, b"\x03")
    assert process.wait(timeout=200) == 130, printed.getvalue().decode(errors="replace")
    reader.join(30)
    os.close(terminal)
    text = printed.getvalue().decode(errors="replace")
    assert "finishing" in text
    assert "go on with: grasp sweep" in text
    assert "Traceback" not in text
    table = Ledger(Outputs(tmp_path).ledger).table()
    assert 0 < table.num_rows < 800
    assert set(table["status"].to_pylist()).isdisjoint({"failed"})
    assert set(table["attempts"].to_pylist()) == {1}


@pytest.mark.timeout(400)
def test_two_second_drivers_both_go_on_when_the_first_driver_is_gone(model: Path, tmp_path: Path) -> None:
    """One of them takes the ledger and the other joins it: neither is refused, and nothing is planned twice."""
    shared = (f"world_models={model}", f"output={tmp_path}", "tracking.enabled=false", "backend=inline", "planner=gd")
    with Ledger(Outputs(tmp_path).ledger).writer():
        processes = [
            start_grasp("sweep", "--join", *GRID[:1], f"name=s{h}", f"horizons=[{h}]", "seeds=3", *shared) for h in (10, 12)
        ]
        requests_folder = tmp_path / "inbox"
        until(lambda: len(list(requests_folder.glob("*.json"))) == 2, "both to ask")
    for process in processes:
        printed, said = process.communicate(timeout=300)
        assert process.returncode == 0, said
        assert f"joined the driver on host {Holder.here().host}, pid {os.getpid()}" in printed
    table = Ledger(Outputs(tmp_path).ledger).table(columns=["cell_id", "horizon"])
    assert Counter(table["horizon"].to_pylist()) == {10: 3, 12: 3}
    assert len(set(table["cell_id"].to_pylist())) == 6
    assert not list(requests_folder.iterdir())


def test_joining_sweeps_are_planned_once_and_unplannable_ones_are_refused(model: Path, tmp_path: Path) -> None:
    outputs = Outputs(tmp_path)
    mine, more = saved("mine", model, tmp_path), saved("more", model, tmp_path, "seeds=5")
    strange = saved("strange", model, tmp_path)
    entries = tuple(replace(e, point=replace(e.point, model="gone", model_digest="0")) for e in strange.entries)
    outputs.save(replace(strange, entries=entries), "")
    accepted: list[tuple[str, int]] = []
    refused: list[str] = []
    second_drivers = RequestedSweeps(
        outputs, Ledger(outputs.ledger), mine.portions(), lambda g, p: accepted.append((g.name, count(p))), refused.append
    )
    join_requests = JoinRequests(outputs.join_requests)
    request_ids = [join_requests.submit(JoinRequest(name)) for name in ("mine", "more", "strange", "nobody", "more")]
    portions = second_drivers.take()
    assert sorted(accepted) == [("mine", 0), ("more", 0), ("more", 3 * len(more.entries))]
    assert count(portions) == 3 * len(more.entries)
    assert len(refused) == 2
    assert [join_requests.refusal(request_id) is not None for request_id in request_ids] == [False, False, True, True, False]
    assert "'gone'" in str(join_requests.refusal(request_ids[2]))
    assert second_drivers.take() == []


def test_a_name_is_free_again_when_the_driver_that_had_it_is_dead(model: Path, tmp_path: Path) -> None:
    """Its last status still says `planning`; the driver that runs now has nothing to do with it."""
    saved("old", model, tmp_path)
    file = tmp_path / "sweeps" / "old" / "status.json"
    words = ["sweep", *GRID, "name=old", "seeds=3", f"world_models={model}", f"output={tmp_path}"]
    ledger = Ledger(Outputs(tmp_path).ledger)
    with ledger.writer():
        file.write_text(to_json(said_by("old", None)), encoding="utf-8")
        assert _sentence(words).endswith("or let it plan this sweep too with --join.")
        file.write_text(to_json(said_by("old", ledger.holder())), encoding="utf-8")
        assert "a sweep named old is running with another grid" in _sentence(words)


def _sentence(words: list[str]) -> str:
    """Error message of a refused command."""
    stream = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stderr", stream)
        assert main(words) == 2
    return stream.getvalue().strip()


def test_status_distinguishes_a_sweeps_own_driver_from_others(model: Path, tmp_path: Path) -> None:
    outputs = Outputs(tmp_path)
    saved("s", model, tmp_path)
    file = tmp_path / "sweeps" / "s" / "status.json"

    def shown(name: str | None = "s") -> str:
        stream = io.StringIO()
        assert status(name, outputs, Console(file=stream, width=200)) == 0
        return stream.getvalue()

    assert "0/4 cells are in the ledger" in shown()
    file.write_text(to_json(said_by("s", None)), encoding="utf-8")
    ledger = Ledger(outputs.ledger)
    with ledger.writer():
        holder = ledger.holder()
        text = shown()
        assert "its driver (host elsewhere, pid 1) is gone without a word, after 1 min 5 s; it was planning" in text
        assert f"another driver writes to the ledger now ({holder}): with --join" in text
        file.write_text(to_json(said_by("s", holder)), encoding="utf-8")
        assert "sweep s: planning on" in shown()
        assert "5/8 cells  2 were there" in shown()
        file.write_text(to_json(said_by("s", holder))[:40], encoding="utf-8")
        assert "is not a driver's status" in shown()
        file.write_text(to_json(said_by("s", None)), encoding="utf-8")
        saved("t", model, tmp_path, "seeds=3")
        assert "sweep s: 5/8 cells, its driver died planning" in shown(None)
    assert "the same `grasp sweep` goes on with it" in shown()


def test_silence_is_measured_by_our_own_clock() -> None:
    now = iter((0.0, 1.0, 1.0, 9.0, 12.0, 12.0, 13.0))
    news = Heartbeat(lambda: next(now))
    assert news.silence(5) == 0.0
    assert news.silence(5) == 8.0
    assert news.silence(6) == 0.0
    assert news.silence(6) == 1.0


def test_the_time_left_of_many_points_is_not_computed_for_every_batch() -> None:
    class Slow(DurationModel):
        calls = 0

        def total(self, work, today: bool = False) -> Estimate:
            self.calls += 1
            list(work)
            time.sleep(0.02)
            return Estimate(1.0, 1.0, 1.0)

    durations = Slow()
    points = [Point(plane_point().task, "m", "m", plane_point().planner, h) for h in range(1, 21)]
    tally = Tally([Portion.of(point, range(10)) for point in points], {}, durations)
    records = quick_result(points[0], (0,)).results
    tally.on_result(
        replace(quick_result(points[0], (0,)), results=(replace(records[0], status="completed", worker_seconds=1.0),))
    )
    deadline = time.monotonic() + 0.6
    while time.monotonic() < deadline:
        assert tally.time_left() is not None
    assert durations.calls <= 2


def test_nothing_depends_on_the_time_of_day(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """The clock jumps back a year whenever it is read."""

    def jumps() -> Iterator[float]:
        now = 4e9
        while True:
            yield now
            now -= 3e7

    clock = jumps()
    monkeypatch.setattr(time, "time", lambda: next(clock))
    words = (*GRID, f"world_models={model}", f"output={tmp_path}", "tracking.enabled=false", "backend=inline")
    assert main(["sweep", "--json", *words]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[-1]["done"] == lines[-1]["total"] == 4
    assert 0 <= lines[-1]["seconds"] < 300
    assert main(["status", "--json", f"output={tmp_path}"]) == 0
    assert json.loads(capsys.readouterr().out)["seconds"] >= 0


def test_a_dry_run_makes_no_list_of_cells(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(Portion, "cells", lambda self: pytest.fail("cells were listed"))
    monkeypatch.setattr(Grid, "cells", lambda self: pytest.fail("cells were listed"))
    words = (*GRID, "seeds=500000", f"world_models={model}", f"output={tmp_path}/out", "backend=inline")
    assert main(["sweep", "--dry-run", *words]) == 0
    printed = capsys.readouterr().out
    assert "2 points x 500000 seeds from 0 = 1000000 cells" in printed
    assert "1000000 cells in about 15626 batches of up to 64 rows on 1 workers" in printed
    assert "unknown: the ledger has no timed cell of gd, grasp yet" in printed
    assert "tracking MLflow at sqlite:" in printed
    assert not (tmp_path / "out").exists()
