"""Tracking stores: wrong addresses and refused credentials are one sentence before planning; no secret is shown."""

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.core.messages import mask_text, mask_uri
from orchestrator.tracking.tracking_store import TrackingStore
from world_models.errors import UserError


class Answers:
    """A server that always gives the same answer and records its requests."""

    def __init__(self) -> None:
        self.status, self.body, self.kind = 200, "{}", "application/json"
        self.sent: list[dict[str, str]] = []
        answers = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answers.sent.append(dict(self.headers))
                self.send_response(answers.status)
                self.send_header("Content-Type", answers.kind)
                self.end_headers()
                self.wfile.write(answers.body.encode())

            def log_message(self, format: str, *args: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server.server_address[1]}"

    def of(self, uri: str) -> TrackingStore:
        return TrackingStore(uri.replace("HERE", self.address), Path("files"), "grasp")


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Answers]:
    for name in ("USERNAME", "PASSWORD", "TOKEN", "AUTH"):
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}", raising=False)
    found = Answers()
    threading.Thread(target=found.server.serve_forever, args=(0.02,), daemon=True).start()
    yield found
    found.server.shutdown()
    found.server.server_close()


@pytest.mark.parametrize(
    ("uri", "sentence"),
    [
        ("htp://tracking:5000", "unknown scheme of tracking.uri 'htp': did you mean 'http'"),
        ("postgres://tracking/mlflow", "did you mean 'postgresql'?"),
        ("mysql://tracking/mlflow", "scheme of tracking.uri 'mysql'"),
        ("localhost:5000", "has no scheme: give e.g. http://localhost:5000"),
        ("tracking", "give e.g. http://HOST:PORT"),
        ("http://", "names no host"),
        ("http://me:se/cret@tracking:5000", "a password needs %2F"),
        ("http://tracking:port", "cannot be read"),
    ],
)
def test_an_invalid_address_is_one_sentence_without_its_password(uri, sentence):
    with pytest.raises(UserError) as raised:
        TrackingStore(uri, Path("files"))
    assert sentence in str(raised.value)
    assert "cret" not in str(raised.value)


def test_a_server_that_takes_records_gives_no_warning(answers):
    answers.body = json.dumps({"experiment": {"experiment_id": "1", "lifecycle_stage": "active"}})
    assert answers.of("http://HERE").check() is None
    answers.status, answers.body = 404, json.dumps({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no experiment"})
    assert answers.of("http://HERE/").check() is None


@pytest.mark.parametrize(
    ("status", "body", "kind", "sentence"),
    [
        (401, "not authenticated", "text/plain", "refuses the credentials (HTTP 401: not authenticated)"),
        (403, "<html>go away</html>", "text/html", "refuses the credentials (HTTP 403"),
        (403, "Invalid Host header - me", "text/plain", "Invalid Host header"),
        (404, "<html>nothing here</html>", "text/html", "is not an MLflow server (it answers HTTP 404)"),
        (200, "<html>a web shop</html>", "text/html", "is not an MLflow server (it answers HTTP 200)"),
        (200, "[1, 2]", "application/json", "is not an MLflow server"),
        (
            200,
            json.dumps({"experiment": {"experiment_id": "1", "lifecycle_stage": "deleted"}}),
            "application/json",
            "has deleted experiment 'grasp'",
        ),
    ],
)
def test_permanent_errors_are_refused_and_name_the_way_without_tracking(answers, status, body, kind, sentence):
    answers.status, answers.body, answers.kind = status, body, kind
    with pytest.raises(UserError) as raised:
        answers.of("http://me:secret@HERE").check()
    assert sentence in str(raised.value)
    assert "tracking.enabled=false" in str(raised.value)
    assert "secret" not in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_temporary_errors_are_a_warning(answers, status):
    answers.status = status
    warning = answers.of("http://me:secret@HERE").check()
    assert warning is not None
    assert f"HTTP {status}" in warning
    assert "cannot be reached" in warning
    assert "secret" not in warning


def test_servers_and_databases_that_do_not_answer_are_a_warning():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        for uri in (f"http://me:secret@{address}", f"postgresql://me:secret@{address}/mlflow"):
            warning = TrackingStore(uri, Path("files")).check()
            assert warning is not None
            assert "refused" in warning.lower()
            assert "secret" not in warning


def test_credentials_come_from_the_address_or_the_environment(answers, monkeypatch):
    answers.body = json.dumps({"experiment": {"lifecycle_stage": "active"}})
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "t0ken")
    answers.of("http://HERE").check()
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "me")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "secret")
    answers.of("http://HERE").check()
    answers.of("http://you:p%40ss@HERE").check()
    sent = [headers.get("Authorization") for headers in answers.sent]
    assert sent == ["Bearer t0ken", "Basic bWU6c2VjcmV0", "Basic eW91OnBAc3M="]


def test_a_file_that_is_not_a_database_is_refused(tmp_path):
    file = tmp_path / "mlflow.db"
    assert TrackingStore(f"sqlite:///{file}", tmp_path).check() is None
    file.write_text("this is a text, and a long one", encoding="utf-8")
    with pytest.raises(UserError, match="is not an SQLite database"):
        TrackingStore(f"sqlite:///{file}", tmp_path).check()


secrets = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="/?#@:[]%\\"), min_size=8)


@settings(max_examples=200, deadline=None)
@given(secret=secrets, scheme=st.sampled_from(["http", "https", "postgresql"]))
def test_no_message_shows_a_password(secret, scheme):
    secret = f"pw-{secret}"
    uri = f"{scheme}://me:{secret}@tracking:5000/mlflow?password={secret}"
    where = TrackingStore(uri, Path("files"))
    for shown in (
        where.masked_uri,
        repr(where),
        where.scrub(f"could not open {where.mlflow_uri}: {secret} refused"),
        where.key,
    ):
        assert secret not in shown
    assert secret not in mask_text(f"grasp sweep tracking.uri={uri} seeds=4")
    assert "seeds=4" in mask_text(f"grasp sweep tracking.uri={uri} seeds=4")


def test_the_same_store_is_known_whatever_the_credentials_and_wherever_the_folder_lies(tmp_path):
    first, second = (TrackingStore(f"http://{who}tracking:5000", Path("files")) for who in ("", "me:secret@"))
    assert first.key == second.key
    assert first.key != TrackingStore("http://tracking:5001", Path("files")).key
    here, there = (TrackingStore(f"sqlite:///{tmp_path}/{at}/mlflow.db", tmp_path / at / "mlartifacts") for at in "ab")
    assert here.key == there.key, "the output folder may be moved"


def test_masks():
    assert mask_uri("postgresql://me:secret@db:5432/mlflow") == "postgresql://db:5432/mlflow"
    assert mask_uri("sqlite:////tmp/mlflow.db") == "sqlite:////tmp/mlflow.db"
    assert mask_uri("http://me:se/cret@tracking:5000") == "http://tracking:5000"
    assert mask_uri("http://tracking:5000/a@b") == "http://tracking:5000/a@b"
    assert mask_uri("s3://bucket/path?secret_key=x") == "s3://bucket/path"
