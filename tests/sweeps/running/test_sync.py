"""Tracking from the command line: refused before planning, waiting during it, delivered by `grasp sync` afterwards."""

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
import yaml

from benchmarks.services import PostgreSQL, postgresql_programs
from orchestrator.core.process import ProcessIdentity, host
from orchestrator.ledger.ledger import Ledger
from orchestrator.tracking.content.sweep_info import CellSet
from orchestrator.tracking.outbox import Outbox, SweepRecord
from sweeps.cli.main import main
from sweeps.config.outputs import Outputs
from sweeps.running.tracking import saved_description
from tests.support.tracking_bench import Bench
from world_models.checkpoints.store import save
from world_models.models.mlp import MLPConfig, ResidualMLP
from world_models.tasks import make_task

SWEEP = ("sweep=smoke", "backend=inline", "horizons=[10]", "planner=gd", "planners.gd.settings.iterations=3")
"""A sweep of two cells that are planned fast."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained model of the wall, which plans badly and fast."""
    torch.manual_seed(0)
    network = ResidualMLP(MLPConfig(observation_dim=2, action_dim=2, width=8, depth=1))
    folder = tmp_path_factory.mktemp("models") / "tiny"
    return save(folder, "tiny", network, torch.ones(2), {"dynamics": dict(make_task("wall").dynamics)})


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = main([str(word) for word in words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def sweep(capsys, model: Path, folder: Path, *words: str) -> tuple[int, str, str]:
    return run(capsys, "sweep", *SWEEP, f"world_models={model}", f"output={folder}", *words)


def nobody() -> str:
    """A loopback address without a server."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


@pytest.fixture
def refusing() -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(401, "who are you")

        def log_message(self, format: str, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("tracking.uri=htp://tracking:5000", "unknown scheme of tracking.uri 'htp': did you mean 'http'"),
        ("tracking.uri=tracking:5000", "has no scheme: give e.g. http://tracking:5000"),
        ("tracking.enabled=perhaps", "tracking.enabled 'perhaps' is not true or false"),
        ("tracking.url=http://tracking", "unknown config key 'tracking.url': did you mean 'tracking.uri'"),
        ("tracking.experiment=''", "tracking.experiment '' is not an experiment's name"),
    ],
)
def test_a_wrong_address_is_one_sentence_before_anything_is_planned(capsys, model, tmp_path, word, sentence):
    code, _, said = sweep(capsys, model, tmp_path / "out", word)
    assert code == 2
    assert sentence in said
    assert not list((tmp_path / "out").glob("[!.]*")), "nothing was planned or saved"


def test_refused_credentials_are_one_sentence_before_anything_is_planned(capsys, model, tmp_path, refusing):
    code, _, said = sweep(capsys, model, tmp_path / "out", f"tracking.uri=http://me:secret@{refusing}")
    assert code == 2
    assert "refuses the credentials (HTTP 401" in said
    assert "tracking.enabled=false" in said
    assert "secret" not in said
    assert not list((tmp_path / "out").glob("[!.]*")), "nothing was planned or saved"


def test_without_tracking_nothing_of_it_is_written(capsys, model, tmp_path):
    code, said, _ = sweep(capsys, model, tmp_path, "tracking.enabled=false")
    assert code == 0
    assert not {"mlflow.db", "outbox", "mlartifacts", "mlmarkers"} & {file.name for file in tmp_path.iterdir()}
    code, said, _ = run(capsys, "sync", f"output={tmp_path}")
    assert code == 0
    assert "nothing waits" in said
    code, _, said = run(capsys, "sync", "smoke", f"output={tmp_path}")
    assert code == 2
    assert "give tracking.enabled=true" in said
    code, said, _ = run(capsys, "sync", "smoke", f"output={tmp_path}", "tracking.enabled=true")
    assert code == 0
    assert "wrote 1 point with pictures of 1 and 1 sweep" in said


def test_sync_takes_over_after_a_reboot_that_gave_the_drivers_pid_to_another_process(capsys, model, tmp_path):
    assert sweep(capsys, model, tmp_path)[0] == 0
    outputs = Outputs(tmp_path)
    description, store = saved_description("smoke", outputs)
    assert store is not None
    outbox, cells = Outbox(outputs.outbox / store.key), CellSet.of(description.grid.portions())
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        lives = process_of(other.pid)
        drivers = {
            "the same process": (lives, 1),
            "before the reboot": (replace(lives, boot="before"), 0),
            "the process before": (replace(lives, started=lives.started - 1), 0),
            "a container of the same name": (replace(lives, namespace="pid:[7]"), 0),
            "an earlier version": (ProcessIdentity(host(), other.pid), 0),
        }
        for case, (driver, left) in drivers.items():
            name = outbox.add(SweepRecord(description.info(), cells, ended=False, driver=driver))
            code, said, _ = run(capsys, "sync", f"output={tmp_path}")
            assert code == 0
            assert ("wrote" in said, len(outbox.names())) == (True, left), case
            outbox.discard([name])
        other.communicate(b"\n")


def process_of(pid: int) -> ProcessIdentity:
    """The identity that a child of this process gives itself."""
    stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return replace(ProcessIdentity.here(), pid=pid, started=float(stat[19]))


@pytest.mark.skipif(postgresql_programs() is None, reason="needs PostgreSQL: apt-get install postgresql")
def test_records_wait_for_a_database_that_is_down_and_sync_writes_them(capsys, model, tmp_path):
    database = PostgreSQL()
    outputs = Outputs(tmp_path)
    try:
        code, said, _ = sweep(capsys, model, tmp_path, f"tracking.uri='{database.uri}'")
        assert code == 0, "the sweep is well"
        assert "cannot be reached" in said
        assert "2 records wait for MLflow" in said
        assert "`grasp sync`" in said
        assert Ledger(outputs.ledger).table().num_rows == 2
        assert_no_secret(tmp_path, database.password)
        (box,) = [Outbox(folder) for folder in outputs.outbox.iterdir()]
        assert box.waiting() == 2
        code, _, said = run(capsys, "sync", f"output={tmp_path}")
        assert code == 2
        assert "cannot be reached" in said
        database.start()
        code, _, said = run(capsys, "sync", f"output={tmp_path}")
        assert code == 2
        assert "no password" in said, "the address that was kept has none"
        code, said, _ = run(capsys, "sync", f"output={tmp_path}", f"tracking.uri='{database.uri}'")
        assert code == 0
        assert "wrote 1 point with pictures of 1 and 1 sweep to MLflow at postgresql://127.0.0.1" in said
        assert database.password not in said
        assert box.names() == []
        bench = Bench(database.uri.replace("postgresql:", "postgresql+psycopg:"), tmp_path, tmp_path / "bench", "grasp")
        assert len(bench.runs("point")) == 1
        (parent,) = bench.runs("sweep")
        assert parent.info.status == "FINISHED"
        assert parent.data.metrics["cells"] == 2
        assert database.password not in json.dumps(parent.data.to_dictionary())
        code, said, _ = run(capsys, "sync", f"output={tmp_path}", f"tracking.uri='{database.uri}'")
        assert "nothing waits" in said
        code, said, _ = run(capsys, "sync", "smoke", f"output={tmp_path}", f"tracking.uri='{database.uri}'")
        assert "wrote 0 points and 1 sweep" in said
        assert_no_secret(tmp_path, database.password)
    finally:
        database.__exit__(None, None, None)


def assert_no_secret(folder: Path, secret: str) -> None:
    for file in folder.rglob("*"):
        if file.is_file():
            assert secret.encode() not in file.read_bytes(), file
    config = yaml.safe_load((folder / "sweeps" / "smoke" / "config.yaml").read_text(encoding="utf-8"))
    assert config["tracking"]["uri"].startswith("postgresql://127.0.0.1")


def test_sync_of_an_unknown_sweep_or_folder(capsys, tmp_path):
    code, _, said = run(capsys, "sync", f"output={tmp_path}")
    assert code == 2
    assert "no sweep has been run" in said
    code, _, said = run(capsys, "sync", "a", "b")
    assert code == 2
    assert "takes one sweep" in said


def test_ui_says_where_a_server_is(capsys, tmp_path):
    code, said, _ = run(capsys, "ui", f"output={tmp_path}", f"tracking.uri=http://me:secret@{nobody()}")
    assert code == 0
    assert "http://127.0.0.1" in said
    assert "secret" not in said


def test_an_override_that_cannot_be_read_is_shown_without_its_password(capsys, model, tmp_path):
    code, _, said = sweep(capsys, model, tmp_path, "planners.gd.settings.lr=http://me:sec,ret{@tracking")
    assert code == 2
    assert "sec,ret" not in said
