"""The environment of this process and of those that it starts: variables of other tools that would change what we do.

A notebook's kernel, a git hook, a scheduler or a shell profile sets them for other programs. Variables that users set for us on
purpose stay: credentials and certificates, `CUDA_VISIBLE_DEVICES`, `OMP_NUM_THREADS`, `PYTHONPATH`, proxies.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, MutableMapping
from pathlib import Path

from world_models.processors import allowed_cpus, cpus_here

KEPT_FOR_MLFLOW = (
    *("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_AUTH"),
    *("MLFLOW_TRACKING_AWS_SIGV4", "MLFLOW_TRACKING_INSECURE_TLS", "MLFLOW_TRACKING_SERVER_CERT_PATH"),
    *("MLFLOW_TRACKING_CLIENT_CERT_PATH", "MLFLOW_S3_ENDPOINT_URL", "MLFLOW_S3_IGNORE_TLS"),
)
"""Variables of MLflow that say how to reach a server; what is written there, and where, is in our config."""

_OF_PYTHON = (
    *("PYTHONWARNINGS", "PYTHONINSPECT", "PYTHONOPTIMIZE", "PYTHONSTARTUP", "PYTHONVERBOSE", "PYTHONDEBUG"),
    *("PYTHONPROFILEIMPORTTIME", "PYTHONDUMPREFS", "PYTHONBREAKPOINT"),
)
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_NUMBER_OF_RAY = re.compile(
    r"RAY_\w+_(ms|us|s|seconds|bytes|mb|size|port|retries|threads|timeout|interval|limit)", re.IGNORECASE
)
"""Settings of Ray that are numbers; Ray crashes when it is imported if they are not."""
_TERMINAL = ("COLUMNS", "LINES")
_TEMPORARY = ("TMPDIR", "TEMP", "TMP")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def settle(environment: MutableMapping[str, str]) -> None:
    """Take the variables of other tools out of an environment, and those of ours that have no valid value."""
    for name in list(environment):
        if name.startswith("GIT_") or name in _OF_PYTHON or (name.startswith("MLFLOW_") and name not in KEPT_FOR_MLFLOW):
            del environment[name]
    for name in (*_THREADS, *_TERMINAL):
        if name in environment and not _is_count(environment[name]):
            del environment[name]
    for name in filter(_NUMBER_OF_RAY.fullmatch, list(environment)):
        if not _is_number(environment[name]):
            del environment[name]
    for name in _TEMPORARY:
        if name in environment and not _is_usable(environment[name]):
            del environment[name]
    if cpus_here() < allowed_cpus():
        environment.setdefault("OMP_NUM_THREADS", str(cpus_here()))
    if "OMP_WAIT_POLICY" not in environment:
        # Threads that wait for each other in long loops take the processors from those that they wait for.
        environment.setdefault("GOMP_SPINCOUNT", "20000")
    # matplotlib refuses at import a backend that it does not find, and ours draw to files only.
    environment["MPLBACKEND"] = "agg"
    # Servers on this machine are not behind a proxy.
    if any(name.lower() in _PROXIES for name in environment):
        known = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
        names = [name for name in known.split(",") if name.strip()]
        joined = ",".join([*names, *(host for host in _LOOPBACK if host not in names)])
        environment["no_proxy"] = environment["NO_PROXY"] = joined


def environment_of_children(variables: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment, settled, with some more variables, for a process that it starts."""
    environment = dict(os.environ)
    settle(environment)
    return environment | dict(variables or {})


def _is_count(text: str) -> bool:
    """Whether a text is a whole number above zero; OMP_NUM_THREADS may have one per level, `4,2`."""
    return all(part.strip().isdecimal() and int(part) > 0 for part in text.split(","))


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _is_usable(folder: str) -> bool:
    """Whether temporary files can be made in a folder."""
    return Path(folder).is_dir() and os.access(folder, os.W_OK | os.X_OK)
