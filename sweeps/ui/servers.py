"""`grasp ui`: MLflow's server on loopback over the sweeps' store."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from wsgiref.simple_server import WSGIRequestHandler, make_server

from rich.console import Console

from orchestrator.core.surroundings import environment_of_children
from orchestrator.storage.uris import http_uri
from orchestrator.tracking.content.pages import view_key
from orchestrator.tracking.local_store.moved import follow_folder
from orchestrator.tracking.tracking_store import TrackingStore
from sweeps.config.compose import compose
from sweeps.config.outputs import Outputs, check_used
from sweeps.config.schema.configs import SweepConfig, TuneConfig
from sweeps.console.signals import Terminated
from sweeps.console.terminal import say
from sweeps.running.tracking import saved_description, tracking_store_of
from sweeps.ui.tied_process import tied_process
from world_models.errors import UserError, require

HOST = "127.0.0.1"
PLACEHOLDER_SPACE = "grasp"
"""Search space for composing a study's config, which needs one; the server does not use it."""
WORKFLOW = "workflowType=machine_learning"
"""The part of an address that makes MLflow open its pages for training."""
START_TIMEOUT = 120.0
"""Seconds that the server may take to answer."""
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Requests without a proxy, for a server on this machine."""


def show_studies(words: Sequence[str], port: int, console: Console, wait: Callable[[], None] | None = None) -> int:
    """Serve optuna-dashboard on loopback for the studies of `output`, or of `optuna.storage`, until Ctrl-C.

    UserError when there is nothing to show or the port is taken. `wait` blocks until the end (tests give their own).
    """
    from optuna_dashboard import wsgi

    from orchestrator.tuning.optuna_storage import masked_location, open_storage
    from sweeps.config.outputs import storage_of

    for word in words:
        check_used(word, ("output", "optuna"))
    config = compose(TuneConfig, [f"space={PLACEHOLDER_SPACE}", *words]).config
    outputs = Outputs.of(config)
    location = storage_of(config.optuna, outputs)
    require(
        not isinstance(location, Path) or location.is_file(),
        f"no study has been run in {str(outputs.root)!r} yet: run `grasp tune`, or name the folder with output=.",
    )
    storage = open_storage(location)
    check_port(port)
    server = make_server(HOST, port, wsgi(storage), handler_class=_Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    say(console, f"optuna-dashboard over {masked_location(location)} is at {http_uri(HOST, port)}. Ctrl-C ends it.")
    try:
        (wait or thread.join)()
    except Terminated:
        raise
    except KeyboardInterrupt:
        return 0
    finally:
        server.shutdown()
        server.server_close()
    return 0


class _Quiet(WSGIRequestHandler):
    """A request handler that prints no line for each request."""

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


def show(words: Sequence[str], port: int, console: Console) -> int:
    """Serve the store that the words (`output`, `tracking.uri`) or the latest sweep name, or print the address of a server."""
    for word in words:
        check_used(word, ("output", "tracking"))
    config = compose(SweepConfig, words).config
    outputs = Outputs(config.output)
    store = tracking_store_of(config.tracking, outputs)
    if store is None or not any(word.startswith("tracking.uri=") for word in words):
        saved = outputs.names()
        store = saved_description(saved[0], outputs)[1] if saved else None
    if store is not None and store.kind == "http":
        say(console, f"the sweeps are tracked by a separate server: {store.masked_uri}, experiment {store.experiment}")
        return 0
    return serve(outputs, port, console, store=store)


def serve(
    outputs: Outputs,
    port: int,
    console: Console,
    wait: Callable[[subprocess.Popen[bytes]], int] | None = None,
    store: TrackingStore | None = None,
) -> int:
    """Serve a tracking store until Ctrl-C; UserError when there is nothing to serve or the port is taken.

    `wait` blocks until the server should end (tests give their own); `store` is a database, by default the output folder's.
    """
    served_store = store or TrackingStore(outputs.tracking_uri, outputs.tracking_artifacts)
    file = served_store.sqlite_file
    require(
        file is None or file.is_file(),
        f"no sweep has been tracked in {str(outputs.root)!r} yet: run `grasp sweep`, or name the folder with output=.",
    )
    if trouble := served_store.check():
        raise UserError(f"{trouble}: start it, or name another with tracking.uri.")
    if file is not None:
        follow_folder(file)
    check_port(port)
    log = outputs.root / "mlflow-server.log"
    command = server_command(outputs, port)
    try:
        with log.open("wb") as stream, tied_process(command, stream, _environment(served_store)) as server:
            with console.status("starting MLflow's server (about 15 s)"):
                _until_up(server, port, log)
            say(console, where_to_click(port, served_store.experiment, next(iter(outputs.names()), None)))
            return (wait or subprocess.Popen.wait)(server)
    except Terminated:
        raise
    except KeyboardInterrupt:
        return 0


def check_port(port: int) -> None:
    """UserError unless `port` is free on loopback."""
    require(0 < port < 65536, f"port {port} is not a valid port: give one between 1 and 65535.")
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
        *("--artifacts-destination", str(outputs.tracking_artifacts)),
    ]


def where_to_click(port: int, experiment: str = "grasp", sweep: str | None = None) -> str:
    """A text that says where the sweeps are in the UI, with a link to the points of one as a table."""
    address = http_uri(HOST, port)
    found = _experiment(address, experiment)
    # Otherwise MLflow shows its pages for language models to whoever has not chosen before.
    page = f"{address}/#/experiments/{found}/runs?{WORKFLOW}" if found else f"{address}/#/?{WORKFLOW}"
    view = f"{page}&viewStateShareKey={view_key(sweep)}" if found and sweep else ""
    points = f"points of {sweep}, the best of each task first: {view}\n" if view else ""
    return (
        f"MLflow is at {page}\n{points}"
        "Each sweep is a run; the + next to it shows its points (task, planner, horizon). Open one for its metrics by seed, "
        "pictures and cells under Artifacts; tick several and press Compare. Ctrl-C ends the server."
    )


def _environment(store: TrackingStore) -> dict[str, str]:
    # The environment names the database: a password in its address must not show in the list of processes.
    return environment_of_children(
        {
            "MLFLOW_BACKEND_STORE_URI": store.mlflow_uri,
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "DO_NOT_TRACK": "true",
        }
    )


def _until_up(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        if server.poll() is not None:
            break
        try:
            with _DIRECT.open(http_uri(HOST, port, "/health"), timeout=2):
                return
        except OSError:
            time.sleep(0.2)
    last = (log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["it said nothing"])[-1]
    raise UserError(f"MLflow's server did not start ({last}): its log is {log}.")


def _experiment(address: str, name: str) -> str | None:
    """Id of the sweeps' experiment."""
    query = urllib.parse.urlencode({"experiment_name": name})
    try:
        with _DIRECT.open(f"{address}/api/2.0/mlflow/experiments/get-by-name?{query}", timeout=10) as answer:
            return str(json.load(answer)["experiment"]["experiment_id"])
    except (OSError, KeyError, ValueError):
        return None
