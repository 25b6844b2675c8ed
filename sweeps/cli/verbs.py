"""The commands by name: `grasp X` is `sweeps/commands/X.py`."""

from __future__ import annotations

from collections.abc import Mapping

from sweeps.commands import (
    check,
    compare,
    config,
    data,
    diagnose,
    export,
    import_,
    models,
    plan,
    plugins,
    quality,
    report,
    reproduce,
    rerun,
    status,
    sweep,
    sync,
    train,
    tune,
    ui,
)
from sweeps.console.command import Command

VERBS: Mapping[str, Command] = {
    "sweep": sweep.COMMAND,
    "config": config.COMMAND,
    "status": status.COMMAND,
    "tune": tune.COMMAND,
    "plan": plan.COMMAND,
    "diagnose": diagnose.COMMAND,
    "report": report.COMMAND,
    "compare": compare.COMMAND,
    "rerun": rerun.COMMAND,
    "reproduce": reproduce.COMMAND,
    "plugins": plugins.COMMAND,
    "export": export.COMMAND,
    "import": import_.COMMAND,
    "quality": quality.COMMAND,
    "train": train.COMMAND,
    "models": models.COMMAND,
    "data": data.COMMAND,
    "sync": sync.COMMAND,
    "check": check.COMMAND,
    "ui": ui.COMMAND,
}
"""Commands by name, in the order of the overview."""
