"""Configs, grids, tuning, reports, the command line, and the same from Python.

`sweep("task=wall", "planner=grasp,gd", seeds=4).table()`; most people write `import grasp_orchestrator as grasp` instead.

The names in `__all__` are public. Everything else is private by convention: it may move or change from one version to the
next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from world_models.lazy import lazy_names

if TYPE_CHECKING:
    from sweeps.api.plan import Planned, plan
    from sweeps.api.registering import register
    from sweeps.api.study import Study, load_study, tune
    from sweeps.api.sweep import Sweep, load_sweep, sweep
    from sweeps.running.rerun import Agreement

__all__ = ["Agreement", "Planned", "Study", "Sweep", "load_study", "load_sweep", "plan", "register", "sweep", "tune"]

__getattr__, __dir__ = lazy_names(
    "sweeps",
    {
        "api.plan": ("Planned", "plan"),
        "api.registering": ("register",),
        "api.study": ("Study", "load_study", "tune"),
        "api.sweep": ("Sweep", "load_sweep", "sweep"),
        "running.rerun": ("Agreement",),
    },
)
