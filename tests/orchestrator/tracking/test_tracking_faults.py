"""MLflow in trouble, for real: servers and databases killed, answers lost, disks full. Everything arrives, in order, once."""

import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.services import MLflowServer, PostgreSQL, postgresql_programs
from orchestrator.driver.run_cells import Hooks
from orchestrator.scheduling.scheduler import Limits
from orchestrator.tracking import background_tracker as module
from orchestrator.tracking.background_tracker import BackgroundTracker
from orchestrator.tracking.failures import UnavailableError
from tests.support.proxy import FaultyProxy
from tests.support.tracking_bench import Bench, cells_of
from world_models.files.writing import write_error

HORIZONS, SEEDS = (4, 6, 8), range(3)
CELLS = cells_of(HORIZONS, SEEDS)
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def database() -> Iterator[PostgreSQL]:
    if postgresql_programs() is None:
        pytest.skip("needs PostgreSQL: apt-get install postgresql")
    with PostgreSQL() as found:
        yield found


@pytest.fixture(scope="module")
def server(database: PostgreSQL, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MLflowServer]:
    with MLflowServer(database.uri, tmp_path_factory.mktemp("server"), workers=1) as found:
        yield found


@pytest.fixture
def proxy(server: MLflowServer) -> Iterator[FaultyProxy]:
    with FaultyProxy(server.uri) as found:
        yield found


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the waits between attempts."""
    monkeypatch.setattr(module, "_FIRST_WAIT", 0.05)
    monkeypatch.setattr(module, "_LONGEST_WAIT", 0.2)
    monkeypatch.setattr(module, "_GATHER", 0.05)


@pytest.fixture
def bench(server: MLflowServer, proxy: FaultyProxy, tmp_path: Path) -> Bench:
    return Bench(server.uri, tmp_path, tmp_path, tmp_path.name, through=proxy.uri)


def swept(bench: Bench, said: list[str] | None = None, timeout: float = 30.0) -> BackgroundTracker:
    """A sweep that has been planned and is being tracked."""
    tracker = bench.background(CELLS, CELLS, say=(said if said is not None else []).append, finish_timeout=timeout)
    tracker.start()
    bench.plan(CELLS, hooks=Hooks(on_result=tracker.on_result), limits=Limits(2))
    return tracker


def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.02)


def drain(bench: Bench) -> None:
    """Deliver everything as `grasp sync` does, after the sweep's own thread has released the outbox."""
    locks: list[int | None] = []
    until(lambda: locks.append(bench.outbox.claim()) or locks[-1] is not None)
    relay, hiccups = bench.relay(), 0
    while True:
        try:
            if not relay.deliver_next(lambda record: record.orphaned):
                break
        except UnavailableError:  # what was killed in the middle of a request can cost the server's next answer
            hiccups += 1
            if hiccups > 3:
                raise
    assert locks[-1] is not None
    os.close(locks[-1])


def test_answers_that_are_lost_make_nothing_twice(bench: Bench, proxy: FaultyProxy):
    chance = random.Random(5)  # with every sixth it would always be the same request of a record that takes six
    proxy.fault = lambda number, method, path: "drop" if chance.random() < 0.2 else None
    assert swept(bench).finish() is None
    dropped = {path.rsplit("/", 1)[-1] for _, path, fault in proxy.seen if fault == "drop"}
    assert len(dropped) > 2, "answers of several kinds of requests were lost"
    proxy.fault = lambda number, method, path: None
    bench.check_all_once(HORIZONS, SEEDS)
    assert bench.outbox.names() == []


def test_every_request_has_a_connection_of_its_own(bench: Bench, proxy: FaultyProxy):
    assert swept(bench).finish() is None
    assert len(proxy.headers) > 5 * len(HORIZONS)
    assert {headers.get("Connection") for headers in proxy.headers} == {"close"}


def test_every_kind_of_request_may_lose_its_answer(bench: Bench, proxy: FaultyProxy):
    lost: set[str] = set()

    def each_once(number: int, method: str, path: str) -> str | None:
        kind = f"{method} {path.split('mlflow-artifacts')[0].rsplit('/', 1)[-1]}"
        new = kind not in lost
        lost.add(kind)
        return "drop" if new else None

    proxy.fault = each_once
    assert swept(bench).finish() is None
    assert len(lost) >= 6
    bench.check_all_once(HORIZONS, SEEDS)


@pytest.mark.parametrize(("which", "kind"), [(1, "sweep"), (2, "point")])
def test_a_run_that_an_abandoned_request_creates_after_all_is_found_before_the_end(
    bench: Bench, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch, which: int, kind: str
):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    late, made = threading.Event(), []

    def held_back(number: int, method: str, path: str) -> threading.Event | None:
        if path.endswith("runs/create"):
            made.append(number)
            return late if len(made) == which else None
        return None

    proxy.fault = held_back
    tracker = swept(bench)
    until(lambda: len(made) > which)
    late.set()
    until(lambda: len(runs := bench.runs(kind)) > len({run.info.run_name for run in runs}))
    assert tracker.finish() is None
    bench.check_all_once(HORIZONS, SEEDS)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_that_is_overloaded_is_waited_for(bench: Bench, proxy: FaultyProxy, status: int):
    proxy.fault = lambda number, method, path: status if 3 <= number < 12 else None
    said: list[str] = []
    assert swept(bench, said).finish() is None
    assert len(proxy.seen) > 12
    assert said == []
    proxy.fault = lambda number, method, path: None
    bench.check_all_once(HORIZONS, SEEDS)


def test_refused_credentials_are_reported_at_once_and_once(bench: Bench, proxy: FaultyProxy):
    proxy.fault = lambda number, method, path: 401 if number >= 6 else None
    said: list[str] = []
    tracker = swept(bench, said)
    until(lambda: bool(said))
    trouble = tracker.finish()
    assert len(said) == 1
    assert "401" in said[0]
    assert "planning continues" in said[0]
    assert trouble is not None
    assert "`grasp sync`" in trouble
    assert bench.outbox.waiting() > 0
    proxy.fault = lambda number, method, path: None
    drain(bench)
    bench.check_all_once(HORIZONS, SEEDS)


def test_a_slow_server_delays_no_planning_and_waiting_records_are_reported(
    bench: Bench, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    at_last = threading.Event()
    proxy.fault = lambda number, method, path: at_last
    tracker = swept(bench, timeout=0.5)
    assert bench.client.get_experiment_by_name(bench.experiment) is None, "planning ended before anything was answered"
    said = tracker.finish()
    at_last.set()
    assert said is not None
    assert said.startswith(f"{bench.outbox.waiting()} records wait for MLflow")
    assert bench.ledger.table().num_rows == len(CELLS)


def test_a_database_that_goes_away_and_comes_back(database: PostgreSQL, server: MLflowServer, tmp_path: Path):
    behind_a_server = Bench(server.uri, tmp_path, tmp_path / "server", "server")
    direct = Bench(database.uri, tmp_path / "files", tmp_path / "direct", "direct")
    direct.tracker.open()
    trackers = [swept(behind_a_server), swept(direct)]
    database.kill()
    ended: list[str | None] = []
    threads = [threading.Thread(target=lambda tracker=tracker: ended.append(tracker.finish())) for tracker in trackers]
    for thread in threads:
        thread.start()
    time.sleep(0.5)  # some attempts fail; nothing depends on how many
    database.start()
    for thread in threads:
        thread.join()
    assert ended == [None, None]
    behind_a_server.check_all_once(HORIZONS, SEEDS)
    direct.client = type(direct.client)(tracking_uri=direct.tracking_store.mlflow_uri)
    direct.check_all_once(HORIZONS, SEEDS)


@pytest.fixture
def killable(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MLflowServer]:
    """A server that may be killed: the module's, or one over SQLite."""
    if request.param == "postgresql":
        yield request.getfixturevalue("server")
        return
    with MLflowServer(f"sqlite:///{tmp_path}/server.db", tmp_path / "server", workers=1) as found:
        yield found


@pytest.mark.parametrize("killable", ["postgresql", "sqlite"], indirect=True)
def test_a_server_that_is_killed_and_started_again(killable: MLflowServer, tmp_path: Path):
    with FaultyProxy(killable.uri) as proxy:
        bench = Bench(killable.uri, tmp_path, tmp_path, tmp_path.name, through=proxy.uri)
        at = 14

        def kill(number: int, method: str, path: str) -> None:
            if number == at:
                killable.kill()

        proxy.fault = kill
        tracker = swept(bench, timeout=1.0)
        until(lambda: len(proxy.seen) > at)
        said = tracker.finish()
        assert said is not None
        assert "records wait" in said
        assert bench.outbox.waiting() > 0
        killable.start()
        later = bench.background(CELLS, [])
        later.start()
        assert later.finish() is None, "the next run of the sweep drains what waits"
        bench.check_all_once(HORIZONS, SEEDS)


DRIVER = """
import os, sys
from pathlib import Path
from orchestrator.ledger.ledger import Ledger
from orchestrator.evaluation.results import BatchResult
from orchestrator.ledger.records import from_table
from tests.orchestrator.tracking.test_tracking_faults import CELLS
from tests.support.tracking_bench import Bench
from world_models.files.writing import write_error
uri, folder, through = sys.argv[1:]
bench = Bench(uri, Path(folder), Path(folder), "driver", through=through)
tracker = bench.background(CELLS, CELLS)
tracker.start()
tracker.on_result(BatchResult(tuple(from_table(bench.ledger.table()))))
print(tracker.finish(), flush=True)
"""


def test_kill_9_of_the_driver_at_any_request_leaves_what_the_next_one_finishes(
    server: MLflowServer, proxy: FaultyProxy, tmp_path: Path
):
    bench = Bench(server.uri, tmp_path, tmp_path, "driver", through=proxy.uri)
    bench.plan(CELLS)
    running: list[subprocess.Popen[bytes]] = []
    kills = iter((5, 19))
    at = next(kills)

    def kill(number: int, method: str, path: str) -> str | None:
        if running and number == at:
            os.kill(running[-1].pid, signal.SIGKILL)
            return "drop"
        return None

    proxy.fault = kill
    for _ in range(2):
        words = [sys.executable, "-c", DRIVER, server.uri, str(tmp_path), proxy.uri]
        running.append(subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL))
        assert running[-1].wait(timeout=120) == -signal.SIGKILL
        at = len(proxy.seen) + next(kills, 0)
    proxy.fault = lambda number, method, path: None
    assert bench.outbox.names(), "the sweep's beginning waits for its end"
    drain(bench)
    assert bench.outbox.names() == []
    bench.check_all_once(HORIZONS, SEEDS)


def test_a_full_disk_of_the_store_is_waited_for(tmp_path: Path):
    bench = Bench(f"sqlite:///{tmp_path}/mlflow.db", tmp_path / "files", tmp_path, "full")
    bench.tracker.open()
    size = (tmp_path / "mlflow.db").stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    bench.plan(CELLS)
    # The kernel refuses to let any file grow beyond what the database has now.
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        tracker = bench.background(CELLS, [], finish_timeout=1.0)
        tracker.start()
        said = tracker.finish()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert said is not None
    assert "records wait" in said
    drain(bench)
    bench.check_all_once(HORIZONS, SEEDS)


def test_an_outbox_that_cannot_be_written_stops_neither_sweep_nor_tracking(tmp_path: Path):
    bench = Bench(f"sqlite:///{tmp_path}/mlflow.db", tmp_path / "files", tmp_path, "held")
    bench.outbox.root.mkdir()

    def full(record: object) -> str:
        raise write_error(bench.outbox.root, OSError(28, "No space left on device"))

    bench.outbox.add = full  # pyright: ignore[reportAttributeAccessIssue]
    assert swept(bench).finish() is None
    bench.check_all_once(HORIZONS, SEEDS)
