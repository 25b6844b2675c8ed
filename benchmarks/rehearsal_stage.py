"""The stage of the rehearsal: a folder, ports and addresses, and the commands of docker/ run as plain processes."""

from __future__ import annotations

import os
import re
import secrets
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.processes import descendants, title
from benchmarks.rehearsed import COMMANDS, ROOT
from benchmarks.services import HOST, PostgreSQL, Service, free_port, postgresql_programs
from orchestrator.ledger.ledger import Ledger

HEAD = "127.0.0.2"
"""Address of the head. Each node has its own; 127.0.0.1 would not do, since Ray replaces it by the network's address."""
STEP = 300.0
"""Longest wait for anything, in seconds."""


class RehearsalError(Exception):
    """Something did not happen, or had the wrong result."""


class Stage:
    """Starts the parts of the cluster and records the commands that it ran; `folder` holds everything, one log per part."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.output = folder / "outputs"
        self.ran: list[Sequence[str]] = []
        self._began = time.monotonic()
        self._secret("ray_token", secrets.token_hex(32))
        ports = {name: str(free_port()) for name in ("GRASP_RAY_PORT", "GRASP_DASHBOARD_PORT", "GRASP_TRACKING_PORT")}
        self.dashboard = f"http://{HOST}:{ports['GRASP_DASHBOARD_PORT']}"
        self.tracking_uri = f"http://{HOST}:{ports['GRASP_TRACKING_PORT']}"
        self.environment = {
            **ports,
            "PATH": os.pathsep.join(
                map(str, filter(None, (Path(sys.executable).parent, os.environ["PATH"], postgresql_programs())))
            ),
            "RAY_AUTH_TOKEN_PATH": str(folder / "ray_token"),
            "GRASP_RAY_ADDRESS": f"{HEAD}:{ports['GRASP_RAY_PORT']}",
            "GRASP_DASHBOARD": self.dashboard,
            "GRASP_TRACKING_URI": self.tracking_uri,
            "GRASP_TRACKING_ARTIFACTS": str(folder / "artifacts"),
            "GRASP_OUTPUT": str(self.output),
        }

    @property
    def seconds(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._began

    def say(self, text: str) -> None:
        """Print a line of progress."""
        print(f"[{self.seconds:4.0f} s] {text}", flush=True)

    def finished(self) -> int:
        """Number of cells that are in the ledger now."""
        return sum(len(seeds) for seeds in Ledger(self.output / "ledger").finished_seeds().values())

    def tracking(self, database: PostgreSQL) -> Service:
        """MLflow's server on a running database."""
        self._secret("database_password", database.password)
        self.environment |= {
            "GRASP_DATABASE": f"grasp@{HOST}:{database.port}/postgres",
            "GRASP_DATABASE_PASSWORD_FILE": str(self.folder / "database_password"),
            "PGPORT": str(database.port),
        }
        self.run("pg_isready", ["pg_isready", "--host", HOST, "--username", "grasp", "--dbname", "postgres"])
        return self._service("tracking", ["bash", str(COMMANDS / "tracking.sh")], f"{self.tracking_uri}/health")

    def head(self) -> Service:
        """The head node."""
        more = ["--node-ip-address", HEAD, "--temp-dir", str(self.folder / "head")]
        more += [
            word for name in ("ray-client-server", "dashboard-agent-listen") for word in (f"--{name}-port", str(free_port()))
        ]
        return self._service("head", ["bash", str(COMMANDS / "head.sh"), *more], f"{self.dashboard}/api/gcs_healthz")

    def wait_for_head(self) -> None:
        """Wait for the head's port, as a driver that starts with its cluster does; RehearsalError when nothing answers."""
        head = f"tcp://{self.environment['GRASP_RAY_ADDRESS']}"
        if self.run("knock", ["python", str(COMMANDS / "ready.py"), head, "60"]):
            raise RehearsalError(f"nothing answers at {head}")

    def worker(self, number: int) -> Service:
        """A node with one CPU and, as if on its own machine, its own address, ports and folder."""
        name, agent = f"worker{number}", free_port()
        more = ["--node-ip-address", f"127.0.0.{2 + number}", "--temp-dir", str(self.folder / name), "--num-cpus", "1"]
        more += ["--dashboard-agent-listen-port", str(agent)]
        command = ["bash", str(COMMANDS / "worker.sh"), *more]
        return self._service(name, command, f"http://{HOST}:{agent}/api/local_raylet_healthz")

    def start(self, name: str, command: Sequence[str]) -> subprocess.Popen[bytes]:
        """A new process in the checkout whose output goes to its log."""
        self.ran.append(command)
        with self._log(name).open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=ROOT, env=self._all())

    def run(self, name: str, command: Sequence[str]) -> int:
        """Run a process in the checkout to its end; return its exit code."""
        return self.start(name, command).wait(timeout=STEP)

    def said(self, name: str) -> str:
        """Text of a part's log."""
        return self._log(name).read_text(errors="replace", encoding="utf-8")

    def entrypoint(self) -> list[str]:
        """The command that the head ran for the submission, from the submission's log."""
        found = re.search(r"Running entrypoint for job \S+: (.*)", self.said("submission"))
        return shlex.split(found[1]) if found else []

    @property
    def revision(self) -> str:
        """The commit that the submission named; empty when it named none."""
        said = [word.partition("=") for word in self.entrypoint()]
        return next((value for name, _, value in said if name == "GRASP_REVISION"), "")

    def wait_for(self, what: str, holds: Callable[[], bool], job: subprocess.Popen[bytes]) -> None:
        """Wait until it holds; RehearsalError when the submission ends first or `STEP` seconds pass."""
        deadline = time.monotonic() + STEP
        while not holds():
            if job.poll() is not None:
                raise RehearsalError(f"the submission ended with {job.returncode} before there was {what}")
            if time.monotonic() > deadline:
                raise RehearsalError(f"there was no {what} within {STEP:.0f} s")
            time.sleep(0.5)

    def _service(self, name: str, command: Sequence[str], health: str) -> Service:
        check = ["python", str(COMMANDS / "ready.py"), health]
        self.ran += [command, check]

        def well() -> bool:
            return subprocess.run(check, env=self._all(), capture_output=True, check=False).returncode == 0

        return Service(command, well, self._log(name), self.environment)

    def _all(self) -> dict[str, str]:
        return {**os.environ, **self.environment}

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def _secret(self, name: str, text: str) -> None:
        file = self.folder / name
        file.touch(mode=0o600)
        file.write_text(text, encoding="utf-8")


def plans(node: Service) -> bool:
    """Whether one of our actors lives on a node."""
    return any("PlanningActor" in title(process) for process in descendants(node.pid))
