"""The driver as its user sees it: Ctrl-C, status, joining, several sweeps at once, names, the live view."""

import io
import json
import re
import signal
import subprocess
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.core.cell import Named, Point
from orchestrator.core.portion import Portion
from orchestrator.driver.join_requests import JoinRequest, JoinRequests
from orchestrator.driver.status import Status, StatusWriter, WorkerStatus
from orchestrator.evaluation.results import BatchResult
from orchestrator.ledger.ledger import Ledger
from orchestrator.scheduling.durations import DurationModel
from orchestrator.testing import plane_point, quick_result
from orchestrator.workers.backend import InlineBackend
from sweeps.cli.main import main
from sweeps.config.grid import Entry, Grid
from sweeps.config.outputs import Outputs
from sweeps.config.saved_sweep import read_saved
from sweeps.console.display import LINE_EVERY, View
from sweeps.console.signals import Interrupts, Stop
from sweeps.running.progress import SweepProgress, Tally
from tests.support.small_sweeps import GRID, ledger_rows, start_grasp, tiny_model, until
from world_models.errors import UserError
from world_models.files.reading import to_json
from world_models.files.writing import write_file

MANY = (*GRID, "seeds=400", "max_rows=2", "tracking.enabled=false")
"""A sweep that runs long enough to be interrupted."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("models"))


def status_at(file: Path) -> Status:
    found = Status.read(file)
    assert found is not None
    return found


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command line."""
    code = main([str(word) for word in words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def end_early(process: subprocess.Popen[str], folder: Path, *signals: signal.Signals) -> tuple[str, str]:
    """Send signals to a sweep that has recorded something; return its output."""
    until(lambda: process.poll() is not None or bool(list(folder.glob("ledger/part-*"))), "a first result")
    for sent in signals:
        process.send_signal(sent)
    return process.communicate(timeout=120)


@pytest.mark.parametrize("backend", ["inline", "ray"])
def test_ctrl_c_finishes_what_is_in_flight_and_the_same_command_goes_on(model: Path, tmp_path: Path, backend: str) -> None:
    words = ("sweep", *MANY, f"backend={backend}", f"world_models={model}", f"output={tmp_path}")
    process = start_grasp(*words)
    printed, said = end_early(process, tmp_path, signal.SIGINT)
    assert process.returncode == 130, said
    assert re.search(r"finishing \d+ batch(es)? in flight", printed)
    assert "go on with: grasp sweep" in printed
    assert "Traceback" not in said + printed
    kept = ledger_rows(tmp_path)
    assert 0 < kept < 800
    assert status_at(tmp_path / "sweeps" / "smoke" / "status.json").state == "stopped"
    ended = start_grasp(*words, "seeds=4")
    printed, said = ended.communicate(timeout=120)
    assert ended.returncode == 0, said
    assert "another grid (396 seeds fewer)" in printed
    table = Ledger(Outputs(tmp_path).ledger).table(columns=["cell_id"])
    assert len(set(table["cell_id"].to_pylist())) == table.num_rows >= max(kept, 8)


def test_a_second_ctrl_c_stops_at_once(model: Path, tmp_path: Path) -> None:
    slow = (*MANY, "planners.gd.settings.iterations=20000", "planners.grasp.settings.iterations=3", "planner=grasp,gd")
    process = start_grasp("sweep", *slow, "max_rows=64", f"world_models={model}", f"output={tmp_path}")
    until(lambda: process.poll() is not None or bool(list(tmp_path.glob("ledger/part-*"))), "a first result")
    process.send_signal(signal.SIGINT)
    until(lambda: "finishing" in (tmp_path / "sweeps/smoke/status.json").read_text(encoding="utf-8"), "the first Ctrl-C")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "go on with: grasp sweep" in said
    assert "Traceback" not in said
    assert ledger_rows(tmp_path) > 0


def test_sigterm_has_a_bound() -> None:
    stop = Stop()
    with pytest.raises(KeyboardInterrupt), Interrupts(stop, lambda name: None, grace=0.05):  # noqa: PT012
        signal.raise_signal(signal.SIGTERM)
        assert stop.wait(30)
        threading.Event().wait(30)


@pytest.mark.timeout(600)
def test_a_second_driver_is_refused_or_joins_and_takes_over_when_the_first_dies(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shared = (f"world_models={model}", f"output={tmp_path}", "tracking.enabled=false")
    first = start_grasp("sweep", *MANY, *shared)
    until(lambda: first.poll() is not None or ledger_rows(tmp_path) > 0, "a first result")
    code, _, said = run(capsys, "sweep", *MANY, "name=other", *shared)
    assert code == 2
    assert f"pid {first.pid}" in said
    assert "--join" in said
    code, _, said = run(capsys, "sweep", "--join", *MANY, "seeds=3", *shared)
    assert code == 2
    assert "a sweep named smoke is running with another grid" in said
    # Expensive cells come first, so this sweep is done before the others.
    dear = ("planner=gd", "planners.gd.settings.iterations=2000", "seeds=2", "tasks.wall.settings.kind=free")
    code, printed, said = run(capsys, "sweep", "--join", "sweep=smoke", "name=dear", "horizons=[60]", *dear, *shared)
    assert code == 0, said
    assert f"pid {first.pid}" in printed
    assert "nothing to plan" in printed
    second_driver = start_grasp("sweep", "--join", *GRID, "name=joined", "horizons=[12]", "seeds=30", "max_rows=2", *shared)
    until(lambda: (tmp_path / "sweeps/joined/status.json").exists(), "the first driver to take the second's sweep up")
    assert first.poll() is None
    assert second_driver.poll() is None
    first.kill()
    first.communicate(timeout=60)
    printed, said = second_driver.communicate(timeout=300)
    assert second_driver.returncode == 0, said
    assert "the other driver has ended" in printed
    table = Ledger(Outputs(tmp_path).ledger).table(columns=["cell_id", "horizon"])
    assert len(set(table["cell_id"].to_pylist())) == table.num_rows
    assert table["horizon"].to_pylist().count(12) == 60


def test_two_sweeps_share_a_run_and_each_gets_its_table(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    conf = tmp_path / "conf"
    (conf / "sweep").mkdir(parents=True)
    for name, seeds in (("one", 3), ("two", 5)):
        text = f"# @package _global_\ndefaults:\n  - override /task: [wall]\n  - override /planner: [gd]\n\nname: {name}\n"
        (conf / "sweep" / f"{name}.yaml").write_text(
            text + f"horizons: [10]\nseeds: {{start: 0, count: {seeds}}}\n", encoding="utf-8"
        )
    words = (f"world_models={model}", f"output={tmp_path}/out", "planners.gd.settings.iterations=3", "backend=inline")
    code, printed, said = run(capsys, "sweep", "--conf", conf, "sweep=one,two", "--dry-run", *words)
    assert code == 0, said
    assert "together 5 cells, each planned once" in printed
    code, printed, said = run(capsys, "sweep", "--conf", conf, "sweep=one,two", "tracking.enabled=false", *words)
    assert code == 0, said
    assert ledger_rows(tmp_path / "out") == 5
    assert "sweep one (3 seeds from 0) and sweep two (5 seeds from 0): 5 cells, 5 to plan" in printed
    for name in ("one", "two"):
        assert (tmp_path / "out" / "sweeps" / name / "report.csv").exists()
        assert json.loads((tmp_path / "out" / "sweeps" / name / "status.json").read_text(encoding="utf-8"))["state"] == "done"
    code, _, said = run(capsys, "sweep", "--conf", conf, "sweep=one,two", "name=same", *words)
    assert (code, said.count("name=same names one sweep")) == (2, 1)
    code, _, said = run(capsys, "sweep", "--conf", conf, "sweep=one,tow", *words)
    assert (code, "did you mean 'two'" in said) == (2, True)


def test_status_shows_a_sweep_that_has_ended_one_that_died_and_none(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    words = (*GRID, f"world_models={model}", f"output={tmp_path}", "tracking.enabled=false")
    assert run(capsys, "sweep", *words)[0] == 0
    code, printed, _ = run(capsys, "status", f"output={tmp_path}")
    assert code == 0
    assert "sweep smoke: done on" in printed
    assert "4/4 cells" in printed
    assert "success so far: " in printed
    code, printed, _ = run(capsys, "status", "smoke", "--json", f"output={tmp_path}")
    line = json.loads(printed)
    assert (line["kind"], line["cells"], line["progress"]["done"]) == ("status", 4, 4)
    code, _, said = run(capsys, "status", "smok", f"output={tmp_path}")
    assert code == 2
    assert "did you mean 'smoke'" in said
    died = start_grasp("sweep", *MANY, "name=died", *words[-3:])
    until(lambda: (tmp_path / "sweeps/died/status.json").exists() and ledger_rows(tmp_path) > 6, "a first result")
    assert f"pid {died.pid}" in run(capsys, "status", "died", f"output={tmp_path}")[1]
    died.kill()
    died.communicate(timeout=60)
    code, printed, _ = run(capsys, "status", "died", f"output={tmp_path}")
    assert code == 0
    assert f"pid {died.pid}) is gone without a word" in printed
    assert "goes on with it" in printed


def test_progress_as_json_lines_or_not_at_all(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    words = (*GRID, f"world_models={model}", "tracking.enabled=false")
    code, printed, _ = run(capsys, "sweep", "--json", *words, f"output={tmp_path}/json")
    assert code == 0
    lines = [json.loads(line) for line in printed.splitlines()]
    assert lines[-1]["done"] == lines[-1]["total"] == 4
    assert (lines[-1]["kind"], lines[-1]["progress"]["unit"], lines[-1]["progress"]["left"]) == ("sweep", "cells", 0.0)
    code, printed, _ = run(capsys, "sweep", "--quiet", *words, f"output={tmp_path}/quiet")
    assert code == 0
    assert "cells/s" not in printed
    assert "4/4" not in printed


def test_another_grid_of_the_same_name_is_reported_and_kept(tmp_path: Path) -> None:
    point = Point(Named.of("wall"), "wall", "digest", Named.of("gd"), 10)
    outputs, grid = Outputs(tmp_path), Grid("s", (Entry("wall", "gd", "px", point),), (0, 1, 2))
    assert outputs.save(grid, "a: 1") is None
    assert outputs.save(grid, "a: 2") is None
    said = outputs.save(replace(grid, seeds=(1, 2, 3, 4)), "a: 3")
    assert said is not None
    assert "2 seeds more, 1 seeds fewer" in said
    assert read_saved(tmp_path / "sweeps/s/history/0-sweep.json").seeds == (0, 1, 2)
    assert outputs.load("s").seeds == (1, 2, 3, 4)


def test_requests_are_taken_once_and_nonsense_is_set_aside(tmp_path: Path) -> None:
    join_requests = JoinRequests(tmp_path / "inbox")
    assert join_requests.take() == []
    join_requests.submit(JoinRequest("one"))
    join_requests.submit(JoinRequest("two"))
    (tmp_path / "inbox" / "x.json").write_text("[]", encoding="utf-8")
    assert {request.sweep for _, request in join_requests.take()} == {"one", "two"}
    assert join_requests.take() == []
    assert [file.name for file in (tmp_path / "inbox").iterdir()] == ["x.json.spoilt-1"]
    request_id = join_requests.submit(JoinRequest("three"))
    assert join_requests.is_pending(request_id)
    assert join_requests.refusal(request_id) is None
    join_requests.take()
    join_requests.refuse(request_id, "no such model")
    assert not join_requests.is_pending(request_id)
    assert join_requests.refusal(request_id) == "no such model"
    join_requests.withdraw(request_id)
    assert [file.name for file in (tmp_path / "inbox").iterdir()] == ["x.json.spoilt-1"]


def test_status_survives_its_file(tmp_path: Path) -> None:
    worker = WorkerStatus("worker 1", "node", "cpu", ("wall",), "wall gd H10, 4 seeds from 0", 1.5, 12, 1)
    said = Status(
        ("s",), "here", 7, "planning", 1, 3.0, 20, 4, 8, 1, 2.5, 4.0, 3.0, 6.0, {"gd": (3, 7)}, 2, 1, ("x",), (worker,)
    )
    write_file(tmp_path / "other.json", to_json(said))
    assert Status.read(tmp_path / "other.json") == said
    write_file(tmp_path / "other.json", "{}")
    with pytest.raises(UserError, match="another version"):
        Status.read(tmp_path / "other.json")
    files = StatusWriter(lambda beat: replace(said, beat=beat), every=0.01)
    files.add_file(tmp_path / "status.json")
    files.start()
    until(lambda: (tmp_path / "status.json").exists(), "a first writing")
    first = status_at(tmp_path / "status.json").beat
    until(lambda: status_at(tmp_path / "status.json").beat > first, "a second writing")
    (tmp_path / "taken").touch()
    files.add_file(tmp_path / "taken" / "status.json")
    files.close()


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def planned(seeds: range, seconds: float) -> BatchResult:
    records = quick_result(plane_point(), tuple(seeds)).results
    return BatchResult(tuple(replace(r, status="completed", worker_seconds=seconds / len(seeds)) for r in records))


def test_the_view_counts_cells_and_says_the_time_left() -> None:
    clock, stream, durations = Clock(), io.StringIO(), DurationModel()
    point = plane_point()
    tally = Tally([Portion.of(point, range(8))], {point.point_id: "mine"}, durations, clock)
    view = SweepProgress(Console(file=stream, width=200), tally, InlineBackend(), View.LIVE, clock)
    with view:
        assert tally.time_left() is None
        clock.now += 8.0
        batch = planned(range(4), 8.0)
        durations.add(batch)
        tally.on_result(batch)
        left = tally.time_left()
        assert left is not None
        assert left.seconds == pytest.approx(8.0)
        view.refresh()
        said = stream.getvalue().strip()
        assert said.startswith("4/8 cells  0.5/s  8 s (4 s to 17 s) left  mine 0/4")
        clock.now += LINE_EVERY / 2
        view.refresh()
        assert stream.getvalue().strip() == said
        tally.on_join(Grid("joined", (), ()), [Portion.of(plane_point(20), range(4))])
        assert tally.total == 12
