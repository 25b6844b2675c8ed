"""Runs a way of giving secrets, and searches all that was printed and written for them."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import subprocess
import threading
import traceback
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from unittest import mock

from orchestrator.tracking import environment
from planners.search.search_planner import SearchPlanner
from sweeps.cli.main import main
from tests.fuzz.secrets.search import Planted, hits
from tests.fuzz.secrets.ways import GRID, OFF, Way
from tests.support.small_sweeps import ROOT, grasp_command


class _Repeats(BaseHTTPRequestHandler):
    """Refuses each request, and repeats the credentials that came with it."""

    def do_GET(self) -> None:
        kind, _, given = self.headers.get("Authorization", "").partition(" ")
        shown = b64decode(given).decode(errors="replace") if kind == "Basic" else given
        body = f"no entry with {kind} {given}, that is {shown!r}, for {self.path}: {shown}".encode()
        self.send_response(401)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815 - the library's name

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


@contextlib.contextmanager
def repeating_server() -> Iterator[str]:
    """Host and port of a server that refuses and repeats."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Repeats)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def swept(folder: Path) -> Path:
    """An output folder with a sweep of two cells."""
    with contextlib.redirect_stdout(io.StringIO()):
        assert main(["sweep", "--quiet", *GRID, OFF, f"output={folder}"]) == 0
    return folder


def leaks(way: Way, planted: Planted, folder: Path, sweep: Path, server: str) -> list[str]:
    """Run a way's commands in a new folder; a line for each place with a secret, and for each traceback."""
    given = folder.with_name(f"{folder.name}-given")
    for name, text in way.files.items():
        file = given / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    folder.mkdir(parents=True)
    shutil.copytree(sweep, folder / "swept")  # what a command adds there is searched too
    names = {"OUT": str(folder / "out"), "GIVEN": str(given), "SERVER": server, "SWEPT": str(folder / "swept")}
    if way.changed:
        _checkout(given, way.changed)
    said = ""
    for words in way.commands:
        command = [_filled(word, names) for word in words]
        said += _as_process(command, way, folder) if way.process else _in_process(command, way, planted, folder, given)
    found = hits(planted, said, folder)
    return [*found, said] if found or ("Traceback" in said and not way.process) else []


def _filled(word: str, names: dict[str, str]) -> str:
    for name, value in names.items():
        word = word.replace(name, value)
    return word


def _checkout(folder: Path, files: Mapping[str, str]) -> None:
    """Make a git checkout with new files, whose contents `git diff` shows."""
    folder.mkdir(parents=True)
    person = ("-c", "user.name=x", "-c", "user.email=x@example.org")
    for words in (["init", "-q"], [*person, "commit", "-q", "--allow-empty", "-m", "first"]):
        subprocess.run(["git", *words], cwd=folder, check=True)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    subprocess.run(["git", "add", "-N", "-f", "."], cwd=folder, check=True)


def _as_process(command: Sequence[str], way: Way, folder: Path) -> str:
    variables = {**os.environ, "PYTHONPATH": str(ROOT), **way.variables}
    done = subprocess.run(
        grasp_command(*command), cwd=folder, env=variables, capture_output=True, text=True, timeout=300, check=False
    )
    return done.stdout + done.stderr


def _in_process(command: Sequence[str], way: Way, planted: Planted, folder: Path, given: Path) -> str:
    said = io.StringIO()
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.dict(os.environ, way.variables))
        stack.enter_context(contextlib.chdir(folder))
        stack.enter_context(contextlib.redirect_stdout(said))
        stack.enter_context(contextlib.redirect_stderr(said))
        if way.changed:
            stack.enter_context(mock.patch.object(environment, "git_diff", partial(environment.git_diff, given)))
        if way.failing is not None:
            stack.enter_context(mock.patch.object(SearchPlanner, "plan", side_effect=RuntimeError(way.failing(planted))))
        try:
            main(list(command))
        except Exception:  # what a fuzzer looks for
            said.write(traceback.format_exc())
    return said.getvalue()
