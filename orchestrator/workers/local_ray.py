"""Ray for one process on this machine: it listens on loopback only, in a private folder, with a token of its own.

Ray itself listens on all interfaces, keeps its token readable by everyone in HOME, and shares a folder with all users.
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil
import ray
import torch
from ray._private import ray_constants
from ray._raylet import AuthenticationTokenLoader, Config  # pyright: ignore[reportAttributeAccessIssue]

from orchestrator.core.provenance import ROOT
from orchestrator.core.secrets import one_line
from orchestrator.core.surroundings import environment_of_children
from world_models.errors import UserError
from world_models.files.names import inside
from world_models.processors import cpus_here

_OBJECT_STORE = 256 * 1024**2
"""Size of Ray's object store in bytes: results and artifacts are small."""
_PREFIX, _LOCK = "grasp-", "held"
_LONGEST = 107 - len("/session_2026-12-31_23-59-59_999999_4194304/sockets/plasma_store")
"""Most bytes in the path of Ray's folder, because that of a Unix socket has at most 107."""
ATTEMPTS = 3
"""Attempts at starting Ray, which waits 30 s for its processes."""
_MEMORY_MONITOR = "RAY_memory_"
"""Prefix of the settings that users may need on a machine that they share; other settings of Ray are ours."""

SETTINGS = {
    # Ray's default niceness of 15 starves its workers next to any other process: 60 s to start an actor instead of 3.
    "RAY_worker_niceness": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    # A driver under `uv run` would make every worker build its environment again.
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "0",
}
"""Settings of Ray's processes that a driver on any cluster needs."""

_LOCAL_SETTINGS = {
    # Ray's own switch for machines that cannot have clusters: the address of its node is then 127.0.0.1.
    ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR: "0",
    # Pages of metrics ask for no token.
    "RAY_enable_metrics_collection": "0",
    # A busy machine takes longer than Ray expects.
    "RAY_agent_register_timeout_ms": "120000",
    "RAY_worker_register_timeout_seconds": "180",
}

_log = logging.getLogger(__name__)


def start_local_ray() -> ExitStack:
    """Start Ray on this machine, and return what stops it when it is closed. UserError if it does not start."""
    with ExitStack() as started:
        folder = started.enter_context(_private_folder())
        token = folder / "token"
        token.touch(mode=0o600)
        token.write_text(secrets.token_hex(32), encoding="ascii")
        started.callback(_forget_token)
        started.callback(ray.shutdown)
        with environment_of(_variables(token)), _loopback():
            _forget_token()
            _start(folder)
        return started.pop_all()


def _start(folder: Path) -> None:
    """Start Ray's processes; on a machine so busy that they take longer than Ray waits, once more. UserError if it fails."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            ray.init(
                "local",  # otherwise Ray would join whatever cluster runs on this machine
                include_dashboard=False,
                num_cpus=cpus_here(),
                # With Ray's own count, GPUs that torch cannot use (a build without CUDA) would fail every batch.
                num_gpus=torch.cuda.device_count(),
                object_store_memory=_OBJECT_STORE,
                log_to_driver=False,
                logging_level=logging.ERROR,
                _temp_dir=str(folder / "r"),
            )
        # Ray raises errors of every kind, among them plain exceptions.
        except Exception as error:
            _end_processes(folder)
            late = "timed out" in str(error)
            if late and attempt < ATTEMPTS:
                _log.warning("Ray did not start in time, attempt %d of %d", attempt, ATTEMPTS)
                continue
            reason = "the machine is too busy for it" if late else one_line(error)[:200]
            raise UserError(
                f"Ray did not start on this machine ({reason}): run the same command again later, or plan without Ray, with "
                "backend=inline."
            ) from error
        else:
            return


def _end_processes(folder: Path) -> None:
    """Kill what an attempt has started: the processes that were given Ray's folder, and all below them."""
    found: list[psutil.Process] = []
    for process in psutil.Process().children():
        with suppress(psutil.Error):
            if any(str(folder) in word for word in process.cmdline()):
                found += [process, *process.children(recursive=True)]
    for process in found:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(found, timeout=10)


def python_path() -> str:
    """The workers' PYTHONPATH: they must import the driver's code, even from a checkout that is not installed."""
    return os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))


def _variables(token: Path) -> dict[str, str]:
    """The environment of Ray's processes."""
    settled = environment_of_children()
    mine = {name: value for name, value in settled.items() if not name.startswith("RAY_") or name.startswith(_MEMORY_MONITOR)}
    own = {"PYTHONPATH": python_path(), "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    return mine | SETTINGS | _LOCAL_SETTINGS | own


@contextmanager
def environment_of(variables: Mapping[str, str]) -> Iterator[None]:
    """The environment of processes that are started inside the block; other threads miss no variable of this one meanwhile."""
    before = dict(os.environ)
    changed = {name for name in before.keys() | variables.keys() if before.get(name) != variables.get(name)}

    def give(values: Mapping[str, str]) -> None:
        for name in changed:
            if name in values:
                os.environ[name] = values[name]
            else:
                os.environ.pop(name, None)

    give(variables)
    try:
        yield
    finally:
        give(before)


@contextmanager
def _loopback() -> Iterator[None]:
    """Let Ray in this process, which has read its environment already, take 127.0.0.1 as the node's address."""
    before, ray_constants.ENABLE_RAY_CLUSTER = ray_constants.ENABLE_RAY_CLUSTER, False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def _forget_token() -> None:
    """Let Ray read its settings and its token again: it keeps those of the cluster that this process had before."""
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


@contextmanager
def _private_folder() -> Iterator[Path]:
    """A folder that only this user can enter, with a short path; it is removed at the end, like those of dead processes."""
    root = _short_root()
    for left in root.glob(f"{_PREFIX}*/{_LOCK}"):
        with suppress(OSError), left.open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left.parent, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=root))
    with (folder / "new").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        (folder / "new").rename(folder / _LOCK)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _short_root() -> Path:
    """A folder for temporary files whose path leaves room for that of a socket. UserError if there is none."""
    roots = [os.environ.get("RAY_TMPDIR"), tempfile.gettempdir(), "/tmp", "/var/tmp"]
    for root in filter(None, roots):
        longest = os.fsencode(inside(Path(root), f"{_PREFIX}12345678", "r"))
        if len(longest) <= _LONGEST and Path(root).is_dir() and os.access(root, os.W_OK | os.X_OK):
            return Path(root)
    raise UserError(
        f"Ray needs a folder for its sockets with a path of at most {_LONGEST - len(_PREFIX) - 11} letters, and neither "
        f"{tempfile.gettempdir()!r} nor /tmp will do: set RAY_TMPDIR to a short one, or plan without Ray, with backend=inline."
    )
