"""TorchScript: its code is looked through before torch loads it, since loading runs parts of it.

TorchScript can call torch's operators and nothing of Python. Two of them write and read files; operators of other libraries
can do anything. An archive with one of those names in its code, in whatever place, is refused.
"""

from __future__ import annotations

import re

import torch
from torch import nn

from world_models.checkpoints.exported.archive import Archive
from world_models.errors import UserError, require

_FORBIDDEN = re.compile(rb"\b(save|from_file)\b")
"""The operators of torch that touch files."""
_OPERATOR = re.compile(rb"\bops\s*\.\s*(\w+)")
_LIBRARIES = {b"aten", b"prim"}


def load_script(archive: Archive) -> nn.Module:
    """The module of a TorchScript archive. Raises UserError for code that may do more than compute, and for a damaged one."""
    for name, source in archive.members.items():
        if name.endswith(".py"):
            _check_source(archive, name, source)
    try:
        return torch.jit.load(archive.repacked(), map_location="cpu")
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{archive.path} cannot be loaded ({reason}): save it again with this version of torch.") from error


def methods_of(module: nn.Module) -> set[str]:
    """Names of the methods that a TorchScript module exports."""
    assert isinstance(module, torch.jit.ScriptModule)
    return set(module._c._method_names())


def _check_source(archive: Archive, name: str, source: bytes) -> None:
    found = [*_FORBIDDEN.findall(source), *(lib for lib in _OPERATOR.findall(source) if lib not in _LIBRARIES)]
    # With escapes, `getattr` could spell a name that is not seen here.
    found += [b"getattr with an escape"] if re.search(rb"getattr\s*\([^)]*\\", source) else []
    require(
        not found,
        f"{archive.path} calls {found[0].decode() if found else ''} in {name}, which may do more than compute: save a model "
        "that uses torch's own operators only.",
    )
