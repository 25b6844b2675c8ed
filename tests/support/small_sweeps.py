"""Sweeps with a world model that plans badly and fast, for tests of everything around planning."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from orchestrator.ledger.ledger import Ledger
from sweeps.config.outputs import Outputs
from world_models.checkpoints.store import save
from world_models.models.mlp import MLPConfig, ResidualMLP
from world_models.tasks import make_task

ROOT = Path(__file__).parents[2]
GRID = (
    "sweep=smoke",
    "horizons=[10]",
    "planners.gd.settings.iterations=3",
    "planners.grasp.settings.iterations=3",
    "planners.grasp.settings.sync_every=2",
)


def tiny_model(folder: Path) -> Path:
    """An untrained model of the wall."""
    torch.manual_seed(0)
    network = ResidualMLP(MLPConfig(observation_dim=2, action_dim=2, width=8, depth=1))
    return save(folder / "tiny", "tiny", network, torch.ones(2), {"dynamics": dict(make_task("wall").dynamics)})


def grasp_command(*words: object) -> list[str]:
    """The command line of `grasp WORDS`."""
    return [sys.executable, "-m", "sweeps", *map(str, words)]


def start_grasp(*words: object) -> subprocess.Popen[str]:
    """A new process that runs `grasp WORDS`."""
    # Tests that were started in the background ignore Ctrl-C, and children inherit that.
    hear = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(grasp_command(*words), cwd=ROOT, env=environment, preexec_fn=hear, **pipes)


def until(condition: Callable[[], bool], what: str, seconds: float = 120.0) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds:g} s"
        time.sleep(0.05)


def ledger_rows(folder: Path) -> int:
    """Number of cells in the ledger of an output folder."""
    return Ledger(Outputs(folder).ledger).table(columns=["cell_id"]).num_rows
