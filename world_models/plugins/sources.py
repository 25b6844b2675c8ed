"""The source files of a plug-in, and their digest, which is part of the identity of its cells."""

from __future__ import annotations

import ast
import hashlib
import sysconfig
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path

from world_models.errors import UserError
from world_models.files.names import inside
from world_models.plugins.targets import Target

MOST_BYTES = 50 * 2**20
"""Largest total size of the files that travel to workers."""
_SKIPPED = ("__pycache__", "node_modules")


@dataclass(frozen=True)
class Sources:
    """The files that a plug-in consists of, below the folder from which it is imported."""

    folder: Path
    files: tuple[Path, ...]
    """Relative to `folder`, sorted."""
    installed: bool
    """Whether a package manager put them where they are: then every worker has a copy of its own, or lacks it."""

    @property
    def digest(self) -> str:
        """Digest of the Python files' names and contents, 16 hex digits."""
        found = hashlib.sha256()
        for file in self.files:
            if file.suffix == ".py":
                content = (self.folder / file).read_bytes()
                found.update(f"{file.as_posix()}\0{len(content)}\0".encode() + content)
        return found.hexdigest()[:16]

    def contents(self) -> Mapping[str, bytes]:
        """All files by their relative paths with `/`. Raises UserError for more than `MOST_BYTES`."""
        total = sum((self.folder / file).stat().st_size for file in self.files)
        if total > MOST_BYTES:
            raise UserError(
                f"the plug-in in {self.folder} has {total / 2**20:.0f} MB of files, and at most {MOST_BYTES // 2**20} travel "
                "to workers: keep data and weights out of its folder, or install it on every node."
            )
        return {file.as_posix(): (self.folder / file).read_bytes() for file in self.files}


def sources_of(target: Target) -> Sources:
    """The files of a target: of a file, it and what it imports from its own folder; else all of its top-level package.

    Raises UserError for a module that is not there.
    """
    if target.file is not None:
        return Sources(target.file.parent, tuple(_with_neighbours(target.file)), installed=False)
    spec = find_spec(target.top)
    if spec is None:
        raise UserError(f"target {target.text!r}: there is no module {target.top!r} here: install it, or give a file's path.")
    return _sources_of_module(target.top, spec)


def _sources_of_module(name: str, spec: ModuleSpec) -> Sources:
    places = [Path(place) for place in spec.submodule_search_locations or ()]
    if not places:
        origin = Path(spec.origin or name)
        files: tuple[Path, ...] = (Path(origin.name),) if origin.is_file() else ()
        return Sources(origin.parent, files, _is_installed(origin))
    folder = places[0].parent
    files = tuple(sorted(path.relative_to(folder) for place in places[:1] for path in _files_below(place)))
    return Sources(folder, files, _is_installed(folder))


def _files_below(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        below = path.relative_to(folder).parts
        if path.is_file() and path.suffix != ".pyc" and not any(p in _SKIPPED or p.startswith(".") for p in below):
            yield path


def _is_installed(path: Path) -> bool:
    """Whether a path is in a folder of installed packages or of the standard library."""
    places = {Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib", "stdlib")}
    return any(path.resolve().is_relative_to(place) for place in places)


def _with_neighbours(file: Path) -> list[Path]:
    """A file, and all that it imports from its own folder, directly or not; relative to the folder, sorted."""
    folder, found, waiting = file.parent, {Path(file.name)}, [file]
    while waiting:
        for name in _imported_names(waiting.pop()):
            for path in _neighbours(folder, name):
                relative = path.relative_to(folder)
                if relative not in found:
                    found.add(relative)
                    if path.suffix == ".py":
                        waiting.append(path)
    return sorted(found)


def _neighbours(folder: Path, name: str) -> Iterator[Path]:
    """The files of a top-level module in a folder, if it is there."""
    package = inside(folder, name)
    if (package / "__init__.py").is_file():
        yield from _files_below(package)
    elif (file := package.with_suffix(".py")).is_file():
        yield file


def _imported_names(file: Path) -> set[str]:
    """Top-level names that a file imports; none for one that cannot be parsed, which its import then says."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):
        return set()
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found
