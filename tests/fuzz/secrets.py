"""Gives three planted secrets in many ways, and searches all that was printed and written for them: none may be found.

By hand: python -m tests.fuzz.secrets --ways 200 --seed 0
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from unittest import mock

from orchestrator.tracking import environment
from planners.search.search_planner import SearchPlanner
from sweeps.cli.main import main
from tests.fuzz.secret_search import Planted, hits
from tests.fuzz.secret_ways import GRID, OFF, Way, ways
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


def command_line() -> int:
    """Try the ways by hand; 1 if a secret was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ways", type=int, default=200, help="how many at most")
    parser.add_argument("--seed", type=int, default=0, help="of the secrets and of the order")
    parser.add_argument("--only", default="", help="only ways with this in their names")
    given = parser.parse_args()
    random = Random(given.seed)
    planted = Planted.of(random)
    chosen = [(name, way) for name, way in ways(planted).items() if given.only in name]
    random.shuffle(chosen)
    leaking = 0
    with tempfile.TemporaryDirectory() as scratch, repeating_server() as server:
        sweep = swept(Path(scratch) / "swept")
        for number, (name, way) in enumerate(chosen[: given.ways]):
            began = time.process_time()
            found = leaks(way, planted, Path(scratch) / f"way-{number}", sweep, server)
            leaking += bool(found)
            sys.stdout.write("\n".join([f"{name}: {len(found)} hits, {time.process_time() - began:.1f} s", *found]) + "\n")
            sys.stdout.flush()
    sys.stdout.write(f"{min(given.ways, len(chosen))} ways, {leaking} with a secret found\n")
    return int(leaking > 0)


if __name__ == "__main__":
    sys.exit(command_line())
