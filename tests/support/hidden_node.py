"""A Ray cluster of two nodes on this machine, the second of which sees neither a user's folder nor this checkout."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.services import free_port

ROOT = Path(__file__).parents[2]
HEAD, SECOND = "127.0.0.2", "127.0.0.3"
NAME = "second"
"""Name of the host that the second node takes itself for."""
WAIT = 90.0
"""Longest wait for a node, in seconds."""
_HIDE = """
set -e
mkdir -p "$KEPT" && mount --bind "$LIBRARIES" "$KEPT"
for folder in "$HIDDEN" "$ROOT"; do mount -t tmpfs none "$folder"; done
mkdir -p "$LIBRARIES" && mount --bind "$KEPT" "$LIBRARIES"
hostname "$NAME"
cd /
exec "$@"
"""


def can_hide() -> bool:
    """Whether this process may hide folders and rename the host for others that it starts."""
    if shutil.which("unshare") is None:
        return False
    tried = ["unshare", "--mount", "--uts", "--propagation", "private", "sh", "-c", "mount -t tmpfs none /mnt && hostname x"]
    return subprocess.run(tried, capture_output=True, check=False).returncode == 0


@contextmanager
def two_nodes(environment: Path, hidden: Path, folder: Path) -> Iterator[dict[str, str]]:
    """Variables that lead to a cluster of an environment's own Ray, of which only the second node plans.

    Its logs and sessions lie in `folder`.
    """
    folder.mkdir()
    (folder / "token").write_text(secrets.token_hex(32), encoding="utf-8")
    address = f"{HEAD}:{free_port()}"
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(folder / "token")}
    here = token | {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    there = {
        "KEPT": str(folder / "libraries"),
        "LIBRARIES": sysconfig.get_path("purelib"),
        "HIDDEN": str(hidden),
        "ROOT": str(ROOT),
        "NAME": NAME,
    }
    ray = [environment / "bin" / "python", "-m", "ray.scripts.scripts", "start", "--block"]
    ray += ["--disable-usage-stats", "--dashboard-agent-listen-port", str(free_port()), "--temp-dir"]
    head = [*ray, folder / "1", "--num-cpus", "0", "--head", "--port", address.rpartition(":")[2], "--node-ip-address", HEAD]
    head += ["--include-dashboard", "false", "--ray-client-server-port", str(free_port())]
    unshared = ["unshare", "--mount", "--uts", "--propagation", "private", "bash", "-c", _HIDE, "bash"]
    ray[ray.index("--temp-dir") - 1] = str(free_port())
    second = [*unshared, *ray, folder / "2", "--num-cpus", "2", "--address", address, "--node-ip-address", SECOND]
    nodes: list[subprocess.Popen[bytes]] = []
    try:
        for number, (command, extra) in enumerate(((head, {}), (second, there)), 1):
            with (folder / f"{number}.log").open("ab") as log:
                nodes.append(
                    subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=here | extra, cwd=folder)
                )
            _wait(folder / f"{number}.log", nodes[-1])
        yield token | {"RAY_ADDRESS": address}
    finally:
        for node in reversed(nodes):
            node.terminate()
        for node in nodes:
            try:
                node.wait(timeout=40)
            except subprocess.TimeoutExpired:
                node.kill()


def _wait(log: Path, node: subprocess.Popen[bytes]) -> None:
    """Wait until a node says that it has started. Raises RuntimeError with its log when it has not."""
    deadline = time.monotonic() + WAIT
    while "Ray runtime started" not in (said := log.read_text(encoding="utf-8", errors="replace")):
        if node.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"a Ray node did not start: {said[-2000:]}")
        time.sleep(0.3)
