"""Real services for benchmarks, tests and the rehearsal: PostgreSQL and an MLflow server, each on a free loopback port.

Each is a context manager that ends what it started. `kill` ends a service as a crash does; `start` starts it again on the same
port with the same data.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from world_models.errors import UserError

HOST = "127.0.0.1"
TIMEOUT = 300.0
"""Longest wait for a service to answer, in seconds."""


def free_port() -> int:
    """A loopback port that is free right now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def postgresql_programs() -> Path | None:
    """The folder of PostgreSQL's `initdb` and `postgres`, of the newest version installed; None if there is none."""
    known = shutil.which("initdb")
    if known:
        return Path(known).resolve().parent
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda file: int(file.parts[-3]))
    return found[-1].parent if found else None


@dataclass
class Service:
    """A process that can be killed and started again."""

    command: Sequence[str]
    answers: Callable[[], bool]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None
    """Account that the process runs under; None: ours."""
    end_signal: signal.Signals = signal.SIGTERM
    """Signal that asks the process to end."""
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process and wait until it answers; UserError with the last line of its log when it does not."""
        with self.log.open("ab") as stream:
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                env={**os.environ, **self.environment},
                user=self.user,
                group=None if self.user is None else pwd.getpwnam(self.user).pw_gid,
                extra_groups=None if self.user is None else [],
                cwd=self.log.parent,
                start_new_session=True,
            )
        deadline = time.monotonic() + TIMEOUT
        while time.monotonic() < deadline and self._process.poll() is None:
            if self.answers():
                return
            time.sleep(0.1)
        self.stop()
        last = (self.log.read_text(errors="replace", encoding="utf-8").strip().splitlines() or ["its log is empty"])[-1]
        raise UserError(f"{Path(self.command[0]).name} did not start ({last}): see its log {self.log}.")

    @property
    def pid(self) -> int:
        """Id of the process; UserError while it is not running."""
        if self._process is None:
            raise UserError(f"{Path(self.command[0]).name} is not running: start it first.")
        return self._process.pid

    def stop(self) -> None:
        """Ask the process to end, and kill it when it does not within 15 seconds."""
        self._end(self.end_signal)

    def kill(self) -> None:
        """Kill the process and its children at once, as a crash does."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        for sent in (how, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, sent)
            try:
                process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                continue
            return

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()


class PostgreSQL(Service):
    """A database cluster in its own temporary folder, with a password; `uri` is the address of its only database.

    The server refuses to run as root, so root runs it as the user `postgres`. UserError where it is not installed.
    """

    def __init__(self, port: int | None = None) -> None:
        programs = postgresql_programs()
        if programs is None:
            raise UserError("PostgreSQL is not installed: apt-get install postgresql.")
        self.port = port or free_port()
        self.password = secrets.token_hex(8)
        self.folder = Path(tempfile.mkdtemp(prefix="grasp-postgresql-"))
        self._account = "postgres" if os.geteuid() == 0 else None
        data = self._initialise(programs)
        settings = ["listen_addresses=127.0.0.1", "unix_socket_directories=", "max_connections=50"]
        options = [word for setting in settings for word in ("-c", setting)]
        probe = [str(programs / "pg_isready"), "-q", "-h", HOST, "-p", str(self.port)]
        super().__init__(
            command=[str(programs / "postgres"), "-D", str(data), "-p", str(self.port), *options],
            answers=lambda: subprocess.run(probe, check=False, timeout=10).returncode == 0,
            log=self.folder / "log.txt",
            user=self._account,
            end_signal=signal.SIGINT,
        )

    @property
    def uri(self) -> str:
        """Address of the database, with user and password."""
        return f"postgresql://grasp:{self.password}@{HOST}:{self.port}/postgres"

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        super().__exit__(kind, error, trace)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _initialise(self, programs: Path) -> Path:
        data, secret = self.folder / "data", self.folder / "password"
        secret.write_text(self.password, encoding="utf-8")
        if self._account is not None:
            for path in (self.folder, secret):
                shutil.chown(path, self._account)
        command = [programs / "initdb", "-D", data, "-U", "grasp", "-A", "scram-sha-256", f"--pwfile={secret}", "--no-sync"]
        locale = ["--encoding=UTF8", "--no-locale"]
        done = subprocess.run([*command, *locale], user=self._account, cwd=self.folder, capture_output=True, check=False)
        if done.returncode:
            raise UserError(f"initdb failed: {done.stderr.decode(errors='replace').strip()}")
        return data


class MLflowServer(Service):
    """MLflow's server over a database, with artifacts through its proxy; `uri` is its address."""

    def __init__(
        self,
        backend_store: str,
        folder: Path,
        port: int | None = None,
        workers: int = 2,
        options: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """`backend_store` is a database URI; `folder` gets artifacts and the log; `options` are added to the command."""
        folder.mkdir(parents=True, exist_ok=True)
        self.port = port or free_port()
        # Through the environment: the list of processes must not show a password in the database's address.
        quiet = {
            "MLFLOW_BACKEND_STORE_URI": backend_store.replace("postgresql://", "postgresql+psycopg://"),
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "DO_NOT_TRACK": "true",
            "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        }
        super().__init__(
            command=[
                *(sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(self.port)),
                *("--workers", str(workers), "--artifacts-destination", str((folder / "artifacts").resolve()), *options),
            ],
            answers=lambda: answers(f"{self.uri}/health"),
            log=folder.resolve() / "mlflow-server.log",
            environment={**quiet, **(environment or {})},
        )

    @property
    def uri(self) -> str:
        """Address of the server."""
        return f"http://{HOST}:{self.port}"


def answers(address: str) -> bool:
    """Whether an HTTP server answers with status 200 at an address."""
    try:
        with urllib.request.urlopen(address, timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False
