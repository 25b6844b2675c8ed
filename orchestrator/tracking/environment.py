"""The environment of a sweep, as files for its page: command, versions, hardware, and uncommitted changes."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import torch

from orchestrator.core.messages import mask_text
from orchestrator.core.process import host
from orchestrator.core.provenance import ROOT, device_name, git_revision
from orchestrator.core.repositories import diff_of, repositories
from orchestrator.core.secrets import Secrets
from world_models.files.writing import WriteError, write_file
from world_models.processors import cpus_here


def write_environment(folder: Path, command: str) -> list[Path]:
    """Write the files to `folder`, which is created, and return their paths; none if the disk fails."""
    own = {f"{number}-{each.name}.diff": each.diff for number, each in enumerate(repositories(), 1)}
    texts = {"command.txt": command, "environment.txt": describe(), "git.diff": git_diff(), **own}
    files, secrets = [], Secrets.of((), os.environ)
    try:
        for name, text in texts.items():
            write_file(folder / name, f"{secrets.scrub(text).rstrip()}\n")
            files.append(folder / name)
    except WriteError:
        return []
    return files


def describe() -> str:
    """Python, hardware and installed distributions of this process, one per line."""
    return mask_text("\n".join([*_machine(), "", *_distributions()]))


def git_diff(root: Path = ROOT) -> str:
    """Uncommitted changes of the checkout, without secrets and key files; a sentence if there are none."""
    if not (root / ".git").exists():
        return "# not a git checkout"
    return diff_of(root)


def _machine() -> Iterator[str]:
    yield f"revision: {git_revision()}"
    yield from (each.sentence for each in repositories())
    yield f"python: {platform.python_version()}"
    yield f"system: {platform.platform()}"
    yield f"host: {host()}"
    yield f"cores: {cpus_here()} of {os.cpu_count()}"
    yield f"memory: {os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.1f} GiB"
    yield device_name("cpu")
    yield f"torch: {torch.__version__}, CUDA {torch.version.cuda or 'none'}"
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            yield f"cuda:{number}: {torch.cuda.get_device_name(number)}"


def _distributions() -> list[str]:
    """Distributions as `pip freeze` lists them, without their origins."""
    found = {str(each.metadata["Name"]): each.version for each in metadata.distributions()}
    return [f"{name}=={found[name]}" for name in sorted(found, key=str.lower)]
