"""Imports of targets: with a time limit, without their output, and every failure in one sentence."""

from __future__ import annotations

import contextlib
import sys
import threading
from importlib import import_module, invalidate_caches
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from world_models.errors import UserError, require
from world_models.plugins.targets import Target

SECONDS = 60.0
"""The longest that a plug-in's import may take."""


def load_target(target: Target, seconds: float = SECONDS) -> object:
    """The object that a target names. What its module prints goes to standard error.

    Raises UserError for an import that fails or does not end, a name that its module lacks, and a file whose name is taken.
    """
    if target.file is not None:
        make_importable(target.file)
    elif find_spec(target.top) is None:
        add_folder(Path.cwd())  # as `python -m` does, and the script of a command does not
    module = _imported(target, seconds)
    found: object = module
    for part in target.name.split("."):
        members = vars(found) if isinstance(found, ModuleType | type) else {}
        if part not in members:
            known = ", ".join(sorted(name for name in vars(module) if not name.startswith("_"))[:12])
            raise UserError(
                f"target {target.text!r}: module {target.module} has no {target.name}; it has {known or 'nothing'}."
            )
        found = members[part]
    return found


def make_importable(file: Path) -> None:
    """Let Python find a file by its name. Raises UserError if that name leads to another module."""
    loaded = sys.modules.get(file.stem)
    add_folder(file.parent)
    spec = None if loaded is not None else find_spec(file.stem)
    origin = getattr(loaded, "__file__", None) if loaded is not None else spec.origin if spec else None
    same = origin is not None and Path(origin).resolve() == file
    require(same, f"{file} has the name of another module, {origin or file.stem}, which Python would import: rename the file.")


def add_folder(folder: Path) -> None:
    """Let Python find the modules in a folder, after all that it found before."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
        invalidate_caches()


def _imported(target: Target, seconds: float) -> ModuleType:
    """The target's module, imported in a thread, so that one that hangs can be told of."""
    answer: list[ModuleType | BaseException] = []

    def work() -> None:
        try:
            answer.append(import_module(target.module))
        except BaseException as error:
            answer.append(error)

    thread = threading.Thread(target=work, name=f"import of {target.module}", daemon=True)
    with contextlib.redirect_stdout(sys.stderr):
        thread.start()
        thread.join(seconds)
    require(bool(answer), f"target {target.text!r}: importing {target.module} has not ended after {seconds:g} s: mend it.")
    found = answer[0]
    if isinstance(found, BaseException):
        installed = f"the installed packages of {sys.prefix}, and then in {Path.cwd()}"
        last = f"{type(found).__name__}: {found}".splitlines()[0][:300]
        where = installed if target.file is None else target.file
        raise UserError(f"target {target.text!r} cannot be imported ({last}); it was looked for in {where}.") from found
    return found
