"""`grasp ui`: MLflow's server on loopback over the sweeps' store."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from sweeps.outputs import Outputs
from sweeps.terminal import say
from world_models.errors import UserError, require

HOST = "127.0.0.1"
PATIENCE = 120.0
"""Seconds that the server may take to answer."""


def serve(outputs: Outputs, port: int, console: Console, wait: Callable[[subprocess.Popen[bytes]], int] | None = None) -> int:
    """Serve until Ctrl-C; UserError when there is nothing to serve, or the port is taken.

    `wait` blocks until the server should end (tests give their own).
    """
    require(
        outputs.database.is_file(),
        f"no sweep has been tracked in {str(outputs.root)!r} yet: run `grasp sweep`, or name the folder with output=.",
    )
    check_port(port)
    log = outputs.root / "mlflow-server.log"
    with log.open("wb") as stream:
        server = subprocess.Popen(
            server_command(outputs, port), stdout=stream, stderr=stream, env=_environment(), start_new_session=True
        )
    try:
        with console.status("starting MLflow's server (about 15 s)"):
            _until_up(server, port, log)
        say(console, where_to_click(port))
        return (wait or _wait)(server)
    finally:
        _stop(server)


def check_port(port: int) -> None:
    """UserError unless `port` is free on loopback."""
    require(0 < port < 65536, f"port {port} is no port: give one between 1 and 65535.")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            other = min(port + 1, 65535)
            raise UserError(
                f"port {port} on {HOST} is taken ({error.strerror}): choose another, e.g. `grasp ui --port {other}`."
            ) from error


def server_command(outputs: Outputs, port: int) -> list[str]:
    """The server's command line; two workers instead of four save memory."""
    return [
        *(sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "2"),
        *("--backend-store-uri", outputs.tracking_uri, "--artifacts-destination", str(outputs.tracking_artifacts)),
    ]


def where_to_click(port: int) -> str:
    """Where the sweeps are in the UI."""
    address = f"http://{HOST}:{port}"
    found = _experiment(address)
    page = f"{address}/#/experiments/{found}/runs" if found else address
    return (
        f"MLflow is at {page}\n"
        "Each sweep is a run; the + beside it shows its points (task, planner, horizon). Open one for its metrics by seed, "
        "pictures and cells under Artifacts; tick several and press Compare. Ctrl-C ends the server."
    )


def _environment() -> dict[str, str]:
    return os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true"}


def _until_up(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if server.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"http://{HOST}:{port}/health", timeout=2):
                return
        except OSError:
            time.sleep(0.2)
    last = (log.read_text(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
    raise UserError(f"MLflow's server did not start ({last}): its log is {log}.")


def _experiment(address: str) -> str | None:
    """Id of the sweeps' experiment."""
    query = urllib.parse.urlencode({"experiment_name": "grasp"})
    try:
        with urllib.request.urlopen(f"{address}/api/2.0/mlflow/experiments/get-by-name?{query}", timeout=10) as answer:
            return str(json.load(answer)["experiment"]["experiment_id"])
    except (OSError, KeyError, ValueError):
        return None


def _wait(server: subprocess.Popen[bytes]) -> int:
    try:
        return server.wait()
    except KeyboardInterrupt:
        return 0


def _stop(server: subprocess.Popen[bytes]) -> None:
    """End the server and its workers, which share its session."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(server.pid, how)
        except ProcessLookupError:
            return
        try:
            server.wait(timeout=10)
        except subprocess.TimeoutExpired:
            continue
        return
