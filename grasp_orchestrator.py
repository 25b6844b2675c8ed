"""The front door: `import grasp_orchestrator as grasp`.

    found = grasp.sweep("task=wall", "planner=grasp,gd", seeds=8, horizons=[25])
    found.table()

The names in `__all__` are public, and so are those that the packages `sweeps`, `orchestrator`, `planners` and `world_models`
list in theirs; everything else is private by convention. Each name is imported when it is first used.

PEP 561 has no marker for a single module: type checkers read the types of these names from the four packages, which ship
`py.typed`.
"""

from __future__ import annotations

import sys
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator import Backend, Ledger
    from planners import PLANNERS, Planner, Settings, make_planner
    from sweeps import Agreement, Planned, Study, Sweep, load_study, load_sweep, plan, register, sweep, tune
    from world_models import TASKS, Task, UserError, WorldModel, make_task

__all__ = [
    "PLANNERS",
    "TASKS",
    "Agreement",
    "Backend",
    "Ledger",
    "Planned",
    "Planner",
    "Settings",
    "Study",
    "Sweep",
    "Task",
    "UserError",
    "WorldModel",
    "load_study",
    "load_sweep",
    "make_planner",
    "make_task",
    "plan",
    "register",
    "sweep",
    "tune",
]

_PACKAGES = {
    "orchestrator": ("Backend", "Ledger"),
    "planners": ("PLANNERS", "Planner", "Settings", "make_planner"),
    "sweeps": ("Agreement", "Planned", "Study", "Sweep", "load_study", "load_sweep", "plan", "register", "sweep", "tune"),
    "world_models": ("TASKS", "Task", "UserError", "WorldModel", "make_task"),
}
"""Which package each name comes from."""
_DISTRIBUTION = "grasp-orchestrator"
_HOME = Path(__file__).resolve().parent
_REMEDY = f"uninstall the other one, or install {_DISTRIBUTION} in an environment of its own."


class ShadowedError(ImportError):
    """Python found a package of another distribution under the name of one of ours."""


def main() -> int:
    """Run the command line `grasp` and return its exit code; 2 where another distribution's packages stand in the way."""
    try:
        command_line = _found("sweeps.cli.process", "run_process")
    except ShadowedError as error:
        sys.stderr.write(f"grasp: {error}\n")
        return 2
    return command_line()


def __getattr__(name: str) -> Any:
    for package, names in _PACKAGES.items():
        if name in names:
            return _found(package, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


def _found(module: str, name: str) -> Any:
    """A name of one of our modules; ShadowedError where another distribution's package stands in its place."""
    package = module.split(".")[0]
    _check_place(package)
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        place = _HOME / package
        owner = _other_owner(package, place)
        if owner is None:
            raise
        raise ShadowedError(
            f"{package!r} in {place} was overwritten by that of the distribution {owner!r}: {_REMEDY}"
        ) from error


def _check_place(package: str) -> None:
    """Raise ShadowedError unless Python finds the package beside this module, where it was installed."""
    spec = find_spec(package)
    if spec is None:
        raise ShadowedError(f"the package {package!r} is missing beside {__file__}: install {_DISTRIBUTION} again.")
    places = [Path(place).resolve() for place in spec.submodule_search_locations or [spec.origin or ""]]
    if _HOME / package in places:
        return
    owner = _other_owner(package, places[0])
    whose = "which no installed distribution owns" if owner is None else f"that of the distribution {owner!r}"
    raise ShadowedError(f"Python found {package!r} in {places[0]}, {whose}, before that of {_DISTRIBUTION}: {_REMEDY}")


def _other_owner(package: str, place: Path) -> str | None:
    """The other distribution that installed a package at `place`; None where there is none."""
    for distribution in metadata.distributions():
        for name in (f"{package}/__init__.py", f"{package}.py"):
            here = Path(str(distribution.locate_file(name))).resolve() in (place, place / "__init__.py")
            if here and distribution.name != _DISTRIBUTION and name in map(str, distribution.files or ()):
                return distribution.name
    return None


if __name__ == "__main__":
    sys.exit(main())
