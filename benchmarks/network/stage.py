"""The cluster of the network cuts: a Ray head, three nodes, an MLflow server and an object store, each a host of its own."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pyarrow.fs as pafs

from benchmarks.network.hosts import Network
from benchmarks.rehearsal_checks import Row, records
from benchmarks.rehearsal_stage import RehearsalError
from benchmarks.rehearsed import COMMANDS, ROOT
from benchmarks.services import Service, answers
from orchestrator.core.cell import cell_id_of
from orchestrator.driver.status import Status
from sweeps.config.outputs import Outputs
from world_models.errors import UserError

HEAD, TRACKING, STORE = "head", "tracking", "store"
NODES = ("node1", "node2", "node3")
HOSTS = (HEAD, TRACKING, STORE, *NODES)
NAME, BUCKET = "cuts", "results"
SWEEP = (
    *(f"name={NAME}", "task=wall", "planner=gd", f"horizons={[*range(20, 40, 2)]}", "max_rows=2", "artifacts.cells=[]"),
    *("planners.gd.settings.iterations=200", "planners.gd.settings.attempts=1"),
)
SEEDS = 30
"""Seeds of a sweep at first, and how many more it gets whenever it ends before the cuts do."""
STEP = 240.0
"""Longest wait for anything, in seconds."""
CHECKS = 7
"""Unanswered checks after which Ray gives a node up: 49 seconds, where its own settings come to 65. After a cut, connections
recover only when they try again, which may take as long as the cut has lasted: 20 seconds must not become a loss."""


class Stage:
    """Starts the parts of the cluster, and the sweep on its head; `folder` holds everything, one log per part."""

    def __init__(self, folder: Path, network: Network) -> None:
        self.folder, self.network = folder, network
        self.output = folder / "outputs"
        self.tracking_uri = f"http://{network.address(TRACKING)}:5000"
        self.store = f"{network.address(STORE)}:9000"
        self.seeds = SEEDS
        self.drivers = 0
        """Number of drivers that were started: the counts of each begin at zero."""
        self._driver: subprocess.Popen[bytes] | None = None
        self._began = time.monotonic()
        token = folder / "ray_token"
        token.touch(mode=0o600)
        token.write_text(secrets.token_hex(32), encoding="ascii")
        self._environment = {
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "PYTHONPATH": str(ROOT),
            "RAY_AUTH_TOKEN_PATH": str(token),
            "GRASP_RAY_ADDRESS": f"{network.address(HEAD)}:6379",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_EC2_METADATA_DISABLED": "true",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        }

    @property
    def seconds(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._began

    @property
    def storage(self) -> str:
        """The URI of the sweep's results."""
        return f"s3://{BUCKET}/run?endpoint_override={self.store}&scheme=http&region=us-east-1"

    def say(self, text: str) -> None:
        """Print a line of progress."""
        print(f"[{self.seconds:4.0f} s] {text}", flush=True)

    def tracking(self) -> Service:
        """MLflow's server, on a file."""
        command = [sys.executable, "-m", "mlflow", "server", "--host", self.network.address(TRACKING), "--workers", "1"]
        files = ["--backend-store-uri", f"sqlite:///{self.folder / 'mlflow.db'}", "--artifacts-destination"]
        command += [*files, str(self.folder / "artifacts"), "--allowed-hosts", "*"]
        return self._service(TRACKING, TRACKING, command, f"{self.tracking_uri}/health")

    def object_store(self) -> Service:
        """The object store: moto's server, which speaks S3's protocol."""
        command = [sys.executable, "-m", "moto.server", "--host", self.network.address(STORE), "--port", "9000"]
        return self._service(STORE, STORE, command, f"http://{self.store}/moto-api/")

    def head(self) -> Service:
        """The head node."""
        address = self.network.address(HEAD)
        command = ["bash", str(COMMANDS / "head.sh"), "--node-ip-address", address, "--temp-dir", str(self.folder / "h")]
        health = f"http://{address}:8265/api/gcs_healthz"
        return self._service(HEAD, HEAD, command, health, patience(CHECKS) | {"GRASP_DASHBOARD_HOST": address})

    def node(self, host: str) -> Service:
        """A worker node with one CPU, on one of the hosts for nodes."""
        address, folder = self.network.address(host), self.folder / host[-1]
        command = ["bash", str(COMMANDS / "worker.sh"), "--node-ip-address", address, "--temp-dir", str(folder)]
        health = f"http://{address}:52365/api/local_raylet_healthz"
        return self._service(host, host, [*command, "--num-cpus", "1"], health)

    def restart(self, host: str, node: Service) -> None:
        """Start a node's machine again."""
        self.network.kill(host)
        node.stop()
        node.start()

    def sweep(self) -> None:
        """Start the sweep on the head, or continue it."""
        command = [sys.executable, "-m", "sweeps", *("sweep", *SWEEP, f"seeds={self.seeds}", "backend=ray")]
        command += [f"backend.address={self.network.address(HEAD)}:6379", f"output={self.output}"]
        command += [f"storage='{self.storage}'", f"tracking.uri={self.tracking_uri}"]
        token = {"RAY_AUTH_MODE": "token", "OMP_NUM_THREADS": "1"}
        self.drivers += 1
        with (self.folder / "terminal.log").open("ab") as log:
            self._driver = subprocess.Popen(
                self.network.on(HEAD, command),
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                cwd=ROOT,
                env={**os.environ, **self._environment, **token},
            )

    def end_of_sweep(self) -> int:
        """Wait for the sweep to end by itself; its exit code."""
        assert self._driver is not None
        return self._driver.wait(timeout=STEP)

    def make_bucket(self) -> None:
        """Make the sweep's bucket."""
        self._objects().create_dir(BUCKET)

    def records(self) -> list[Row]:
        """All records in the ledger, without deduplication."""
        copy = self.folder / "copy" / "ledger"
        copy.mkdir(parents=True)
        pafs.copy_files(f"{BUCKET}/run/ledger", str(copy), self._objects())
        return records(copy.parent)

    def grid(self) -> list[Row]:
        """The cells of the sweep, as its config defines them."""
        portions = Outputs(self.output).load(NAME).portions()
        return [
            {"cell_id": cell_id_of(portion.point.point_id, int(seed)), "point_id": portion.point.point_id, "seed": int(seed)}
            for portion in portions
            for seed in portion.seeds
        ]

    def sync(self) -> int:
        """`grasp sync` on the head; its exit code."""
        command = [sys.executable, "-m", "sweeps", "sync", f"output={self.output}"]
        with (self.folder / "sync.log").open("ab") as log:
            done = subprocess.run(
                self.network.on(HEAD, command),
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env={**os.environ, **self._environment},
                timeout=STEP,
                check=False,
            )
        return done.returncode

    def terminal(self) -> str:
        """Everything that the sweep's terminal has shown, on one line."""
        return " ".join((self.folder / "terminal.log").read_text(encoding="utf-8", errors="replace").split())

    def said(self, name: str) -> str:
        """Text of a part's log."""
        return (self.folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")

    def status(self) -> Status | None:
        """The status that `grasp status` shows; None before there is one."""
        with suppress(UserError):
            return Status.read(self.output / "sweeps" / NAME / "status.json")
        return None

    def workers(self) -> int:
        """Number of workers that the latest line of the terminal counts."""
        found = re.findall(r"\d+/(\d+) workers busy", self.terminal())
        return int(found[-1]) if found else 1

    def recorded(self) -> int:
        """Number of cells that the driver says to be recorded."""
        status = self.status()
        return 0 if status is None else status.there + status.done

    def wait_for(self, what: str, holds: Callable[[], bool]) -> None:
        """Wait until it holds, with a longer sweep whenever the sweep ends; RehearsalError after `STEP` seconds."""
        assert self._driver is not None
        deadline = time.monotonic() + STEP
        while not holds():
            if self._driver.poll() == 0:
                self.seeds += SEEDS
                self.sweep()
            elif self._driver.poll() is not None:
                raise RehearsalError(f"the sweep ended with {self._driver.poll()} before there was {what}")
            if time.monotonic() > deadline:
                raise RehearsalError(f"there was no {what} within {STEP:.0f} s")
            time.sleep(0.3)

    def _objects(self) -> pafs.S3FileSystem:
        keys = {"access_key": "key", "secret_key": "secret", "region": "us-east-1"}
        return pafs.S3FileSystem(endpoint_override=self.store, scheme="http", allow_bucket_creation=True, **keys)

    def _service(
        self, name: str, host: str, command: list[str], health: str, environment: dict[str, str] | None = None
    ) -> Service:
        environment = self._environment | (environment or {})
        return Service(self.network.on(host, command), lambda: answers(health), self.folder / f"{name}.log", environment)


def patience(checks: int) -> dict[str, str]:
    """Settings of a Ray head that gives a node up after so many unanswered checks, of 7 seconds each."""
    prefix = "RAY_health_check"
    return {f"{prefix}_timeout_ms": "5000", f"{prefix}_period_ms": "2000", f"{prefix}_failure_threshold": str(checks)}
