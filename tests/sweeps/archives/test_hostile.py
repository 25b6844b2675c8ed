"""`grasp import` of hostile archives: one sentence, nothing written, nobody called."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from rich.console import Console

from benchmarks.services import free_port
from orchestrator.ledger.ledger import Ledger
from sweeps.archives import members
from sweeps.archives.importing import import_archive
from sweeps.archives.records import checked_records
from sweeps.cli.main import main
from sweeps.config.outputs import Outputs
from sweeps.running.tracking import saved_description
from sweeps.ui import servers
from tests.fuzz.archives import run
from tests.sweeps.archives.hostile import KINDS, Base, packed
from world_models.errors import UserError

QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def base(archive: Path) -> Base:
    return Base.of(archive.read_bytes())


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """The output folder, deep enough for what climbs out of it; nothing beside it may change."""
    beside = tmp_path / "beside"
    beside.write_text("as it was")
    yield tmp_path / "a" / "b" / "outputs"
    assert beside.read_text() == "as it was"
    assert {file.relative_to(tmp_path).parts[0] for file in tmp_path.rglob("*") if file.is_file()} <= {"beside", "a", "x.zip"}
    assert {file.parent.name for file in (tmp_path / "a").rglob("*") if file.is_file()} <= {"few", "ledger", "outputs"}
    assert not list(Path("/tmp").glob("*escaped*"))


def files_below(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*"))


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_refused_in_one_sentence_and_nothing_is_written(kind: str, base: Base, folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "x.zip"
    file.write_bytes(KINDS[kind](base))
    with pytest.raises(UserError) as refusal:
        import_archive(file, Outputs(folder), None, QUIET)
    sentence = str(refusal.value)
    assert sentence.isprintable()
    assert len(sentence) < 900
    assert files_below(folder) == []


@pytest.mark.parametrize("kind", ["name leads out", "bomb", "encrypted", "record with NaN"])
def test_the_command_ends_with_2(
    kind: str, base: Base, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "x.zip"
    file.write_bytes(KINDS[kind](base))
    assert main(["import", str(file), f"output={folder}"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("grasp: ")
    assert err.count("\n") == 1
    assert files_below(folder) == []


@pytest.mark.parametrize("name", ["../../evil", "..", ".", "", "/tmp/evil", "-x", "n" * 300, "a/b", "a\0b"])
def test_another_name_follows_the_rule_of_names(name: str, archive: Path, folder: Path) -> None:
    with pytest.raises(UserError, match=r"sweep name .* is (not|too long for) a file name"):
        import_archive(archive, Outputs(folder), name, QUIET)
    assert not folder.exists()


def test_what_is_no_file_is_refused_without_waiting(folder: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for file in (pipe, tmp_path, tmp_path / "nowhere.zip", Path("/dev/zero")):
        with pytest.raises(UserError, match="cannot be read as an exported sweep"):
            import_archive(file, Outputs(folder), None, QUIET)


def test_more_is_unpacked_if_it_is_asked_for(base: Base, folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "x.zip"
    file.write_bytes(packed({**base.members, "report.txt": bytes(2 * 10**6)}))
    with pytest.raises(UserError, match="give --max-bytes 20"):
        import_archive(file, Outputs(folder), None, QUIET)
    assert import_archive(file, Outputs(folder), None, QUIET, max_bytes=10**7) == 0


def test_a_size_is_given_in_words(archive: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", str(archive), f"output={folder}", "--max-bytes", "much"]) == 2
    assert "'much' is not a size: give e.g. 20GB" in capsys.readouterr().err
    assert main(["import", str(archive), f"output={folder}", "--max-bytes", "1KB"]) == 2
    assert "more than the 1000 that are accepted" in capsys.readouterr().err
    assert main(["import", str(archive), f"output={folder}", "--max-bytes", "20MB"]) == 0


def test_a_full_disk_is_seen_before_unpacking(archive: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(members.shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(UserError, match="has 1000 free: free some space"):
        import_archive(archive, Outputs(folder), None, QUIET)


def test_records_that_read_to_much_are_not_read(base: Base, home: Outputs, tmp_path: Path) -> None:
    """Parquet says a value once, however often it occurs, so that the size of the file tells nothing."""
    parts = [(name.removeprefix("ledger/"), data) for name, data in base.members.items() if name.startswith("ledger/")]
    for name, data in parts:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError, match="its records read to more than 5000 bytes"):
        checked_records(tmp_path, home.load("few"), 10, 5000, tmp_path)
    assert checked_records(tmp_path, home.load("few"), 10, 10**6, tmp_path).num_rows == 10


def test_what_a_killed_import_left_is_removed(archive: Path, folder: Path) -> None:
    left = folder / ".import-left"
    (left / "ledger").mkdir(parents=True)
    assert import_archive(archive, Outputs(folder), None, QUIET) == 0
    assert not [name for name in files_below(folder) if ".import-" in name]


@pytest.fixture
def listener() -> Iterator[tuple[int, list[object]]]:
    """A port on the loopback, and who called there."""
    calls: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def count() -> None:
            while True:
                try:
                    connection, caller = server.accept()
                except OSError:
                    return
                connection.close()
                calls.append(caller)

        threading.Thread(target=count, daemon=True).start()
        yield port, calls
        server.shutdown(socket.SHUT_RDWR)


SERVER = """\
import http.server, os, pathlib, sys
pathlib.Path(sys.argv[2]).write_text(os.environ["MLFLOW_BACKEND_STORE_URI"])
server = http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), type("Answers", (http.server.BaseHTTPRequestHandler,), {
    "do_GET": lambda self: (self.send_response(200), self.end_headers()), "log_message": lambda *_: None}))
server.handle_request()
server.handle_request()
"""
"""Answers whether it is up and which experiment there is, and ends; it writes down the store that it was given."""


def calling_archive(base: Base, file: Path, port: int) -> dict[str, object]:
    """Write an archive whose config names a port everywhere, and return the config."""
    store = f"s3://bucket/x?endpoint_override=127.0.0.1:{port}&scheme=http"
    config = yaml.safe_load(base.members["config.yaml"]) | {
        "tracking": {"enabled": True, "uri": f"http://127.0.0.1:{port}", "experiment": "x"},
        "storage": store,
        "output": str(file.with_name("theirs")),
        "backend": {"name": "ray", "address": f"127.0.0.1:{port}"},
        "optuna": {"storage": f"postgresql://127.0.0.1:{port}/x"},
    }
    grid = json.loads(base.members["sweep.json"]) | {"storage": store}
    texts = {"config.yaml": yaml.safe_dump(config).encode(), "sweep.json": json.dumps(grid).encode()}
    file.write_bytes(packed({**base.members, **texts}))
    return config


def test_nothing_of_it_is_followed(
    base: Base, tmp_path: Path, listener: tuple[int, list[object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its tracking server, its object store, its Ray cluster and its output folder stay unknown to every command."""
    port, calls = listener
    credentials = {
        "MLFLOW_TRACKING_USERNAME": "me",
        "MLFLOW_TRACKING_PASSWORD": "planted-password",
        "MLFLOW_TRACKING_TOKEN": "planted-token",
        "AWS_ACCESS_KEY_ID": "somebody",
        "AWS_SECRET_ACCESS_KEY": "planted-key",
    }
    for name, value in credentials.items():
        monkeypatch.setenv(name, value)
    file, folder = tmp_path / "x.zip", tmp_path / "outputs"
    output = f"output={folder}"
    config = calling_archive(base, file, port)
    assert main(["import", str(file), output]) == 0
    kept = yaml.safe_load((folder / "sweeps" / "few" / "config.yaml").read_text())
    assert kept == {
        key: value for key, value in config.items() if key not in ("tracking", "storage", "output", "backend", "optuna")
    }
    outputs = Outputs(folder)
    store_of = saved_description("few", outputs)[1]
    assert store_of is not None
    assert store_of.uri == outputs.tracking_uri
    assert outputs.of_sweep("few").storage is None
    assert Ledger(outputs.ledger).table().num_rows == len(base.records)
    served = folder / "served.txt"
    monkeypatch.setattr(servers, "server_command", lambda outputs, port: [sys.executable, "-c", SERVER, str(port), str(served)])
    for words in (["status", "few"], ["report", "few"], ["sync"], ["ui", "--port", str(free_port())]):
        assert main([*words, output]) == 0
    assert served.read_text() == outputs.tracking_uri
    assert calls == []
    assert {one.name for one in tmp_path.iterdir()} == {"x.zip", "outputs"}
    texts = [one.read_bytes() for one in folder.rglob("*") if one.is_file()]
    assert not [text for text in texts if b"planted" in text or f":{port}".encode() in text]


def test_fuzzed_archives_are_refused_or_taken_whole(archive: Path) -> None:
    found = run(archive, count=200, seed=19, seconds=3.0)
    assert found.faults == []
    assert found.refused
