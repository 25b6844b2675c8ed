"""The rule for every name that becomes a file or a folder, and the one join that stays below a folder."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from world_models.errors import UserError, require

LONGEST = 100
"""Bytes of a name: file systems take 255, and suffixes and temporary names need room."""


def file_name(kind: str, text: str) -> str:
    """`text` if it may become the name of a file or folder; `kind` says what it names, e.g. "sweep name".

    Raises UserError unless it has 1 to `LONGEST` bytes, only letters, digits, `_`, `-` and `.`, and begins with a letter, a
    digit or `_`: so it is neither hidden, nor an option, nor a way out of a folder.
    """
    shown = text if len(text) <= LONGEST else f"{text[:40]}..."
    sound = bool(text) and all(c.isalnum() or c in "_-." for c in text) and (text[0].isalnum() or text[0] == "_")
    require(
        sound,
        f"{kind} {shown!r} is not a file name: use letters, digits, _ - and . and begin with a letter or a digit.",
    )
    size = len(text.encode("utf-8", "surrogatepass"))
    require(size <= LONGEST, f"{kind} {shown!r} is too long for a file name ({size} bytes): use at most {LONGEST}.")
    return text


def inside(root: Path, *names: str) -> Path:
    """The path of `names` (each a name or a relative path with `/`) below `root`.

    Raises UserError for a name that is empty or absolute, or that leads out of `root`. Symbolic links are the user's own.
    """
    path = root
    for name in names:
        parts = PurePosixPath(name).parts
        if not parts or name.startswith("/") or ".." in parts or "\0" in name or "\\" in name:
            raise UserError(f"{name!r} leads out of the folder {str(root)!r}: give a name below it.")
        path = path.joinpath(*parts)
    return path
