"""Slow tests, left out by `make test-fast`: they take servers, clusters, kills or training. Each group with what it proves."""

from __future__ import annotations

SLOW = {
    "tests/end_to_end": "the whole tool by its commands: clusters, Slurm, browsers, kills of drivers, packages, surroundings",
    "tests/fuzz": "whatever is typed or stored gives a sentence",
    "tests/conformance/test_adapter_batches.py": "imported models plan to the same bits in batches of any size",
    "tests/conformance/test_backends.py": "each cell is answered once on a real Ray cluster, whatever dies",
    "tests/conformance/test_mixed_settings.py": "rows with settings of their own equal separate runs",
    "tests/conformance/test_row_isolation.py": "a row that cannot be planned leaves its neighbours as they are",
    "tests/orchestrator/evaluation/test_usage.py": "the use of processors is that of each worker",
    "tests/orchestrator/ledger": "nothing acknowledged is lost, killed at every system call",
    "tests/orchestrator/scheduling/test_scheduler.py": "each cell leaves once, for any sequence of deaths and failures",
    "tests/orchestrator/storage": "locks, stores that go away, and addresses, with real servers",
    "tests/orchestrator/tracking": "MLflow ends with everything once, whatever its server and database do",
    "tests/orchestrator/tuning": "studies go on after deaths of drivers and databases and plan nothing twice",
    "tests/orchestrator/workers/test_ray_backend.py": "answers that are lost with a connection are planned again",
    "tests/planners/search/test_attempts.py": "further attempts are those of separate runs, for every planner",
    "tests/sweeps/api": "results as data frames, of sweeps that are really run",
    "tests/sweeps/archives": "hostile archives write nothing outside and change nothing",
    "tests/sweeps/diagnose": "figures of gradients and costs, of models that are really loaded",
    "tests/sweeps/models": "models become, are described and are listed by the command, from simulators and from files",
    "tests/sweeps/quality": "the study goes on after kills, and its page follows from its results",
    "tests/sweeps/reports": "reports of sweeps that are really run, and their figures at every width",
    "tests/sweeps/reproduce": "a checkpoint is imported, planned with and set beside published figures",
    "tests/sweeps/running": "sync, check and rerun of sweeps that are really run",
    "tests/sweeps/tuning": "studies by the command: growth, winners on held-out seeds, settings that are fixed",
    "tests/world_models/adapters": "imported checkpoints equal the published formulas, at published sizes",
    "tests/world_models/checkpoints": "models that ship predict as their cards say",
    "tests/world_models/datasets/test_damage.py": "truncated and changed files of every kind are refused with the place",
    "tests/world_models/datasets/test_object_store.py": "an epoch over an object store survives connections that are cut",
    "tests/world_models/models/test_ensemble.py": "ensembles are trained and resumed member by member",
    "tests/world_models/models/test_gru.py": "memory predicts what one observation cannot",
    "tests/world_models/training": "training resumes to the same bytes after kills, from simulators and from files",
}
"""By file or folder. Everything else is fast."""


def is_slow(path: str) -> bool:
    """Whether a test file, relative to the project, is left out of the fast tests."""
    return any(path == slow or path.startswith(f"{slow}/") for slow in SLOW)
