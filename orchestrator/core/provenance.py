"""The provenance of results: code revision, library versions, device, threads and host."""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

import torch

from orchestrator.core.cell import canonical
from orchestrator.core.process import host
from orchestrator.core.surroundings import environment_of_children

ROOT = Path(__file__).resolve().parents[2]
"""The folder that holds the packages: a checkout, or site-packages."""

LIBRARIES = (
    "torch",
    "numpy",
    "pyarrow",
    "ray",
    "pymunk",
    "mujoco",
    "gymnasium",
    "gymnasium-robotics",
    "gym-pusht",
    "grasp-orchestrator",
)
"""Distributions that results depend on."""


@dataclass(frozen=True)
class Provenance:
    """The software and hardware of a worker."""

    device: str
    threads: int
    host: str
    torch_version: str
    versions: str
    """Library versions, as a JSON object."""

    @staticmethod
    def here(device: str) -> Provenance:
        """The provenance of what this process plans on `device`."""
        return Provenance(device_name(device), torch.get_num_threads(), host(), str(torch.__version__), canonical(versions()))


@cache
def git_revision() -> str:
    """The commit of this package's checkout, with `-dirty` if it was changed; otherwise `GRASP_REVISION`, or "unknown".

    Code sent to a cluster has no `.git`, so its sender names the commit in the environment.
    """
    if not (ROOT / ".git").exists():
        return os.environ.get("GRASP_REVISION") or "unknown"
    return revision_of(ROOT)


def revision_of(root: Path) -> str:
    """The commit of a checkout, with `-dirty` if a tracked file was changed; "unknown" without one."""
    said = git(root, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    return (said or b"").decode().strip() or "unknown"


def git(root: Path, *words: str) -> bytes | None:
    """The output of git for the checkout at `root`, whatever repository a hook's environment names; None if it fails."""
    # Another user may own the checkout on a shared machine; its code runs here anyway. Asking takes no lock.
    command = ["git", "--no-optional-locks", "-C", str(root), "-c", f"safe.directory={root}", *words]
    try:
        done = subprocess.run(command, capture_output=True, timeout=10, check=True, env=environment_of_children())
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


@cache
def versions() -> dict[str, str]:
    """Versions of Python and the installed libraries among `LIBRARIES`."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


@cache
def device_name(device: str) -> str:
    """Kind and name of the hardware, e.g. "cpu: Intel(R) Xeon(R)" or "cuda: NVIDIA H100"."""
    kind = torch.device(device).type
    if kind == "cuda":
        return f"cuda: {torch.cuda.get_device_name(device)}"
    return f"{kind}: {_cpu_name()}"


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
