"""Hostile files for the tests of all readers of checkpoints. Each function writes one file and returns its path."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zipfile
from pathlib import Path

import torch


class Runs:
    """Unpickles into a call of os.system that makes the canary file."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.canary}",)


def system_call(folder: Path, canary: Path) -> Path:
    """A torch zip whose pickle calls os.system."""
    path = folder / "system.pth"
    torch.save({"predictor": Runs(canary), "epoch": 1}, path)
    return path


def plain_system_call(folder: Path, canary: Path, protocol: int) -> Path:
    """A plain pickle that calls os.system."""
    path = folder / f"plain_{protocol}.ckpt"
    path.write_bytes(pickle.dumps({"model": Runs(canary)}, protocol))
    return path


def evaluated(folder: Path, canary: Path) -> Path:
    """A pickle that builds an allowed class and then asks for builtins.eval."""
    path = folder / "eval.ckpt"
    code = f"open({str(canary)!r}, 'w')".encode()
    path.write_bytes(
        b"\x80\x02ccollections\nOrderedDict\n)R0cbuiltins\neval\nX" + struct.pack("<I", len(code)) + code + b"\x85R."
    )
    return path


def archive(path: Path, pickled: bytes, storages: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    """A file in torch's zip layout with these contents."""
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("archive/data.pkl", pickled)
        for key, content in storages.items():
            file.writestr(f"archive/data/{key}", content)
    return path


class _Storages(pickle.Pickler):
    def persistent_id(self, obj: object) -> object:
        return obj.identity if isinstance(obj, Stored) else None


class Stored:
    """Stand-in for a storage in a hand-made pickle."""

    def __init__(self, key: str, count: int) -> None:
        self.identity = ("storage", torch.FloatStorage, key, "cpu", count)


class Rebuilt:
    """Stand-in for a tensor in a hand-made pickle, with any shape and strides."""

    def __init__(self, storage: Stored, offset: object, shape: object, strides: object) -> None:
        self.arguments = (storage, offset, shape, strides, False, None)

    def __reduce__(self) -> tuple[object, ...]:
        return torch._utils._rebuild_tensor_v2, self.arguments


def pickled(value: object) -> bytes:
    """The pickle of a value that may hold `Rebuilt` tensors."""
    buffer = io.BytesIO()
    _Storages(buffer, 2).dump(value)
    return buffer.getvalue()


def lying_tensor(
    folder: Path, name: str, count: int, shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0
) -> Path:
    """A zip whose one tensor claims `shape` over a storage of four numbers that claims `count`."""
    value = {"weight": Rebuilt(Stored("0", count), offset, shape, strides)}
    return archive(folder / name, pickled(value), {"0": bytes(16)})


def compressed(folder: Path) -> Path:
    """A zip bomb: a deflated storage of about a gigabyte of zeros."""
    value = {"weight": Rebuilt(Stored("0", 2**20), 0, (2**20,), (1,))}
    return archive(folder / "bomb.pth", pickled(value), {"0": bytes(2**22)}, zipfile.ZIP_DEFLATED)


def nested(folder: Path, depth: int = 30_000) -> Path:
    """A list in a list in a list, deeper than Python's stack."""
    path = folder / "nested.ckpt"
    path.write_bytes(b"\x80\x02" + b"]" * depth + b"a" * (depth - 1) + b".")
    return path


def nested_key(folder: Path, depth: int = 30_000) -> Path:
    """A dictionary whose key is a tuple in a tuple in a tuple: hashing it would recurse."""
    path = folder / "nested_key.ckpt"
    path.write_bytes(b"\x80\x02})" + b"\x85" * depth + b"K\x01s.")
    return path


def own_child(folder: Path) -> Path:
    """A module that contains itself."""
    module = torch.nn.Module()
    module.__dict__["_modules"] = {"again": module}
    path = folder / "own_child.pth"
    torch.save({"predictor": module}, path)
    return path


def truncated(source: Path, keep: float) -> Path:
    """The first part of a file."""
    path = source.with_name(f"cut_{keep}_{source.name}")
    content = source.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    return path


def lying_safetensors(folder: Path, header: int | None = None) -> Path:
    """A safetensors file whose header claims more than the file holds, in length or in a tensor's extent."""
    path = folder / f"lying_{header}.safetensors"
    text = json.dumps({"weight": {"dtype": "F32", "shape": [2**20, 2**20], "data_offsets": [0, 2**42]}}).encode()
    path.write_bytes(struct.pack("<Q", header or len(text)) + text + bytes(16))
    return path
