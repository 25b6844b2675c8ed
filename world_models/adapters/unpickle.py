"""Reads PyTorch files that hold whole pickled modules, without executing anything.

The file's pickle is interpreted by a machine that has no callables (`pickle_machine`). Classes named in an explicit list
become inert records, tensors are built here from the file's own storages, and any other name is refused.
Layout of the zip: https://docs.pytorch.org/docs/stable/notes/serialization.html
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import torch
from torch import Tensor

from world_models.adapters.pickle_machine import DamagedPickleError, Machine
from world_models.adapters.records import ModuleRecord, Name
from world_models.errors import UserError, require

DTYPES: Mapping[str, torch.dtype] = {
    "torch.FloatStorage": torch.float32,
    "torch.DoubleStorage": torch.float64,
    "torch.HalfStorage": torch.float16,
    "torch.BFloat16Storage": torch.bfloat16,
    "torch.LongStorage": torch.int64,
    "torch.IntStorage": torch.int32,
    "torch.ShortStorage": torch.int16,
    "torch.CharStorage": torch.int8,
    "torch.ByteStorage": torch.uint8,
    "torch.BoolStorage": torch.bool,
}
"""Element types by the storage classes that files name."""

ALWAYS = (
    *DTYPES,
    *(f"torch.{name}" for name in ("Size", "device", "float32", "float64", "float16", "bfloat16", "int64")),
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_parameter",
    "torch.nn.modules.*",
    "torch.nn.parameter.Parameter",
    "torch._C._nn.gelu",
    "collections.OrderedDict",
    "collections.defaultdict",
    *(f"{module}.{name}" for module in ("builtins", "__builtin__") for name in ("set", "frozenset", "dict", "list")),
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
    "numpy.dtype",
    "numpy.ndarray",
    "_codecs.encode",
)
"""Names that any file of modules may hold. They stand for data: naming one runs nothing."""

OPTIMISERS = ("torch.optim.*", "torch.amp.grad_scaler.*", "torch.cuda.amp.grad_scaler.*", "accelerate.*")
"""Names of pickled optimisers, which checkpoints hold beside the modules; read and left unused."""

MAX_DIMENSIONS = 16
"""Axes of a tensor."""


@dataclass(frozen=True)
class ClassNames:
    """The dotted names that a pickle may hold, `*` standing for anything; all others are refused by name."""

    patterns: tuple[str, ...]

    def __contains__(self, name: str) -> bool:
        """Whether a dotted name is allowed, `ALWAYS` included."""
        return any(fnmatchcase(name, pattern) for pattern in (*ALWAYS, *self.patterns))


def read_modules(path: Path, allowed: ClassNames) -> dict[str, object]:
    """The entries of a file whose pickle is a mapping: `ModuleRecord`, Tensor or plain values by name.

    UserError where the file is damaged, is no mapping, or names anything outside `allowed`.
    """
    found = read_object(path, allowed)
    if isinstance(found, ModuleRecord) and found.items:
        found = found.items
    if not isinstance(found, dict):
        raise UserError(f"{path} holds a {describe(found)}, not a mapping of modules: it is another kind of checkpoint.")
    return {str(name): value for name, value in found.items()}


def read_object(path: Path, allowed: ClassNames) -> object:
    """The object of a PyTorch file (zip) or of a plain pickle: records, tensors and plain values; nothing is executed.

    UserError, one sentence, where the file is empty, damaged, a zip bomb, or names anything outside `allowed`.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            beginning = file.read(4)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): give the path of a checkpoint file.") from error
    require(size > 0, f"{path} is empty (0 bytes): copy the checkpoint again.")
    try:
        if beginning.startswith(b"PK"):
            with zipfile.ZipFile(path) as archive:
                return _Archive(archive, size).read(allowed)
        return _machine(allowed, _no_storage).run(_plain_pickle(path, beginning))
    except DamagedPickleError as error:
        raise UserError(f"{path} is no readable checkpoint ({error}): copy it again, or check that it is one.") from error
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path} is damaged ({reason}): copy the checkpoint again.") from error
    except _RefusedError as error:
        raise UserError(
            f"{path} names {error}, which no known checkpoint holds: it is refused, and nothing was run."
        ) from error


def describe(value: object) -> str:
    """What a value read from a pickle is, in a word or two; never its contents."""
    return value.type_name if isinstance(value, ModuleRecord) else type(value).__name__


def _printable(name: str) -> str:
    """A name from a file, safe to show: no control characters, no endless line."""
    return name[:100].encode("ascii", "backslashreplace").decode("ascii") if name.isprintable() else ascii(name[:100])


class _RefusedError(Exception):
    """A name that is not allowed; the message is the name."""


@dataclass(frozen=True)
class _Storage:
    """A flat tensor of everything that one storage of the file holds."""

    flat: Tensor


def _machine(allowed: ClassNames, persistent: object) -> Machine:
    assert callable(persistent)
    known: dict[str, Name] = {}

    def name(dotted: str) -> Name:
        if dotted not in allowed:
            raise _RefusedError(_printable(dotted))
        return known.setdefault(dotted, Name(dotted))

    return Machine(name, _construct, persistent)


def _construct(target: object, arguments: tuple[object, ...]) -> object:
    """What "calling" a name gives: a container, a tensor of the file, or a record of the call."""
    if not isinstance(target, Name):
        raise DamagedPickleError("it constructs from what is no class")
    if target.name == "collections.OrderedDict":
        if arguments:
            raise DamagedPickleError("it fills an OrderedDict in an unknown way")
        return {}
    if target.name == "torch.Size":
        return arguments[0] if len(arguments) == 1 and isinstance(arguments[0], tuple) else ModuleRecord(target.name, arguments)
    if target.name == "torch._utils._rebuild_tensor_v2":
        return _tensor(arguments)
    if target.name == "torch._utils._rebuild_parameter":
        if not arguments or not isinstance(arguments[0], Tensor):
            raise DamagedPickleError("it has a parameter without a tensor")
        return arguments[0]
    return ModuleRecord(target.name, arguments)


def _tensor(arguments: tuple[object, ...]) -> Tensor:
    """A view of a storage of the file, after a check that it stays inside and repeats nothing."""
    storage, offset, shape, strides = (*arguments, None, None, None, None)[:4]
    if not (isinstance(storage, _Storage) and isinstance(offset, int) and _counts(shape) and _counts(strides)):
        raise DamagedPickleError("it describes a tensor in an unknown way")
    assert isinstance(shape, tuple)
    assert isinstance(strides, tuple)
    if len(shape) != len(strides) or len(shape) > MAX_DIMENSIONS:
        raise DamagedPickleError("it describes a tensor in an unknown way")
    held, wanted = storage.flat.numel(), math.prod(shape)
    end = offset + 1 + sum((length - 1) * stride for length, stride in zip(shape, strides, strict=True)) if wanted else 0
    if offset < 0 or wanted > held or end > held:
        raise DamagedPickleError(f"it describes a tensor of {wanted} elements in a storage of {held}")
    if not wanted:
        return storage.flat.new_empty(shape)
    return storage.flat.as_strided(shape, strides, offset)


def _counts(value: object) -> bool:
    return isinstance(value, tuple) and all(isinstance(part, int) and 0 <= part < 2**31 for part in value)


def _no_storage(identity: object) -> object:
    raise DamagedPickleError("it refers to storages outside of itself")


def _plain_pickle(path: Path, beginning: bytes) -> bytes:
    content = path.read_bytes()
    if content[:20].find(b"\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19") >= 0:
        raise DamagedPickleError(
            "it has the layout of PyTorch before 1.6, which is not read: save it again with a newer PyTorch"
        )
    return content


class _Archive:
    """The zip layout: `NAME/data.pkl` beside `NAME/data/KEY`, stored without compression."""

    def __init__(self, archive: zipfile.ZipFile, size: int) -> None:
        self._archive = archive
        self._entries = {info.filename: info for info in archive.infolist()}
        pickles = [name for name in self._entries if name.count("/") <= 1 and name.split("/")[-1] == "data.pkl"]
        if len(pickles) != 1:
            raise DamagedPickleError("its zip holds no data.pkl, so no PyTorch wrote it")
        self._folder = pickles[0].removesuffix("data.pkl")
        self._check_sizes(size)
        self._storages: dict[str, _Storage] = {}

    def _check_sizes(self, size: int) -> None:
        entries = self._archive.infolist()
        if len(entries) != len(self._entries):
            raise DamagedPickleError("its zip holds two entries of one name")
        if any(info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size for info in entries):
            raise DamagedPickleError("its zip is compressed, which PyTorch never does")
        total = sum(info.file_size for info in entries)
        if total > size:
            raise DamagedPickleError(f"its zip claims {total} bytes in a file of {size}")

    def read(self, allowed: ClassNames) -> object:
        """The object of `data.pkl`."""
        if self._text("byteorder", "little") != "little":
            raise DamagedPickleError("it was written on a big-endian machine")
        content = self._archive.read(self._folder + "data.pkl")
        return _machine(allowed, self._storage).run(content)

    def _text(self, name: str, default: str) -> str:
        if self._folder + name not in self._entries:
            return default
        return self._archive.read(self._folder + name)[:16].decode("ascii", "replace").strip()

    def _storage(self, identity: object) -> _Storage:
        """What `("storage", class, key, location, elements)` refers to, on the CPU."""
        if not (isinstance(identity, tuple) and len(identity) == 5 and identity[0] == "storage"):
            raise DamagedPickleError("it refers to storages in an unknown way")
        _, kind, key, _, count = identity
        if not (isinstance(kind, Name) and kind.name in DTYPES and isinstance(key, str) and isinstance(count, int)):
            raise DamagedPickleError("it refers to storages in an unknown way")
        if key not in self._storages:
            self._storages[key] = self._load(key, DTYPES[kind.name], count)
        return self._storages[key]

    def _load(self, key: str, dtype: torch.dtype, count: int) -> _Storage:
        entry = self._entries.get(f"{self._folder}data/{key}")
        held = entry.file_size if entry else 0
        if count < 0 or held != count * dtype.itemsize:
            raise DamagedPickleError(f"storage {key[:20]!r} should have {count} elements and has {held} bytes")
        if entry is None or not count:
            return _Storage(torch.empty(0, dtype=dtype))
        return _Storage(torch.frombuffer(bytearray(self._archive.read(entry)), dtype=dtype))


def names_of(values: Mapping[str, object] | Sequence[object]) -> list[str]:
    """Class names of the records among some values, sorted: for messages and `inspect`."""
    found = values.values() if isinstance(values, Mapping) else values
    return sorted({value.type_name for value in found if isinstance(value, ModuleRecord)})
