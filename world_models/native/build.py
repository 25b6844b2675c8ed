"""Compilation of a C file of this package into a shared library, once per version of source, flags and compiler."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
_SECONDS = 120


class NativeUnavailableError(Exception):
    """A kernel can't be used here; the message says why in one sentence. Callers fall back to torch."""


def cache_folder() -> Path:
    """Folder of compiled kernels: `grasp-orchestrator` in `$XDG_CACHE_HOME` or `~/.cache`."""
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path("~/.cache").expanduser()) / "grasp-orchestrator"


def load_library(source: str, flags: tuple[str, ...]) -> ctypes.CDLL:
    """The shared library of a C file in this folder; the folder's headers count as part of it.

    Raises NativeUnavailableError if there is no C compiler or it fails.
    """
    compiler = _compiler()
    digest = hashlib.sha256("\0".join((compiler, *flags)).encode())
    for path in (HERE / source, *sorted(HERE.glob("*.h"))):
        digest.update(path.read_bytes())
    name = f"{Path(source).stem}-{digest.hexdigest()[:16]}.so"
    try:
        folder = _private(cache_folder())
        if not (folder / name).exists():
            _compile(compiler, flags, HERE / source, folder / name)
        return ctypes.CDLL(str(folder / name))
    except OSError:
        return _load_for_this_process(compiler, flags, HERE / source)


def shared_flags(system: str) -> tuple[str, ...]:
    """Flags for a shared library on a system, as `platform.system()` names it."""
    return ("-dynamiclib",) if system == "Darwin" else ("-shared", "-fPIC")


def _load_for_this_process(compiler: str, flags: tuple[str, ...], source: Path) -> ctypes.CDLL:
    """Compile into a temporary folder: used if the cache folder is not writable, trusted and executable."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            _compile(compiler, flags, source, Path(folder) / "kernel.so")
            return ctypes.CDLL(str(Path(folder) / "kernel.so"))
    except OSError as error:
        raise NativeUnavailableError(f"the kernel can't be compiled or loaded in any folder: {error}.") from error


def _compiler() -> str:
    for name in (os.environ.get("CC", ""), "cc", "gcc", "clang"):
        found = shutil.which(name) if name else None
        if found:
            return found
    raise NativeUnavailableError("there is no C compiler: install gcc or clang, or name one in CC.")


def _private(folder: Path) -> Path:
    """The folder, created if needed; raises OSError unless only this user can write to it, because code is loaded from it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = folder.stat()
    if status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise PermissionError(f"{folder} can be written by others")
    return folder


def _compile(compiler: str, flags: tuple[str, ...], source: Path, target: Path) -> None:
    """Compile to a unique name, then rename: processes that compile at the same time don't interfere."""
    part = target.with_suffix(f".{os.getpid()}")
    command = [compiler, *flags, *shared_flags(platform.system()), "-o", str(part), str(source), "-lm"]
    try:
        done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise NativeUnavailableError(f"{compiler} took more than {_SECONDS} s.") from error
    if done.returncode != 0:
        first = next(iter(done.stderr.strip().splitlines()), "no message")
        raise NativeUnavailableError(f"{compiler} failed: {first}")
    part.replace(target)
