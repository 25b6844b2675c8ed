"""Reads PyTorch files that hold whole pickled modules, without executing anything.

The file's pickle is interpreted by a machine that has no callables (`pickle_machine`). Classes named in an explicit list
become inert records, tensors are built here from the file's own storages, and any other name is refused.
Layout of the zip: https://docs.pytorch.org/docs/stable/notes/serialization.html
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load as parse_safetensors
from torch import Tensor

from world_models.adapters.pickles.machine import DamagedPickleError, Machine
from world_models.adapters.pickles.records import ModuleRecord, Name
from world_models.adapters.pickles.torch_zip import DTYPES, Archive, rebuilt
from world_models.errors import UserError, require

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

Storages = Callable[[object], object]
"""What a persistent id of a pickle refers to."""


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
    return _interpret(path, lambda storages: _machine(allowed, storages))


def _interpret(path: Path, machine: Callable[[Storages], Machine]) -> object:
    """The object of a file, as a machine that is made for the file's storages sees it."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            beginning = file.read(4)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): give the path of a checkpoint file.") from error
    require(size > 0, f"{path} is empty (0 bytes): copy the checkpoint again.")
    try:
        if beginning.startswith(b"PK"):
            with zipfile.ZipFile(path) as file:
                archive = Archive(file, size)
                return machine(archive.storage).run(archive.pickle())
        return machine(_no_storage).run(_plain_pickle(path))
    except DamagedPickleError as error:
        raise UserError(f"{path} is no readable checkpoint ({error}): copy it again, or check that it is one.") from error
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path} is damaged ({reason}): copy the checkpoint again.") from error
    except _RefusedError as error:
        raise UserError(
            f"{path} names {error}, which no known checkpoint holds: it is refused, and nothing was run."
        ) from error


def names_in(path: Path) -> frozenset[str]:
    """All classes and functions that a file names, without reading its storages: tells kinds of checkpoints apart, cheaply.

    Empty for safetensors. UserError where the file is empty or damaged.
    """
    if path.suffix == ".safetensors":
        return frozenset()
    found: set[str] = set()

    def name(dotted: str) -> Name:
        found.add(dotted)
        return Name(dotted)

    def construct(target: object, arguments: tuple[object, ...]) -> object:
        if not isinstance(target, Name):
            raise DamagedPickleError("it constructs from what is no class")
        return {} if target.name == "collections.OrderedDict" else ModuleRecord(target.name)

    _interpret(path, lambda _: Machine(name, construct, lambda _: None))
    return frozenset(found)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a state dict by name, from a safetensors file or a PyTorch file without modules.

    UserError where the file is damaged, holds anything but tensors and plain values, or lies about their sizes.
    """
    if path.suffix != ".safetensors":
        return {name: value for name, value in read_modules(path, ClassNames(())).items() if isinstance(value, Tensor)}
    try:
        return parse_safetensors(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): give the path of a checkpoint file.") from error
    except (SafetensorError, ValueError, KeyError, MemoryError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path} is damaged ({reason}): copy the checkpoint again.") from error


def describe(value: object) -> str:
    """What a value read from a pickle is, in a word or two; never its contents."""
    return value.type_name if isinstance(value, ModuleRecord) else type(value).__name__


def _printable(name: str) -> str:
    """A name from a file, safe to show: no control characters, no endless line."""
    return name[:100].encode("ascii", "backslashreplace").decode("ascii") if name.isprintable() else ascii(name[:100])


class _RefusedError(Exception):
    """A name that is not allowed; the message is the name."""


def _machine(allowed: ClassNames, storages: Storages) -> Machine:
    known: dict[str, Name] = {}

    def name(dotted: str) -> Name:
        if dotted not in allowed:
            raise _RefusedError(_printable(dotted))
        return known.setdefault(dotted, Name(dotted))

    return Machine(name, _construct, storages)


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
        return rebuilt(arguments)
    if target.name == "torch._utils._rebuild_parameter":
        if not arguments or not isinstance(arguments[0], Tensor):
            raise DamagedPickleError("it has a parameter without a tensor")
        return arguments[0]
    return ModuleRecord(target.name, arguments)


def _no_storage(identity: object) -> object:
    raise DamagedPickleError("it refers to storages outside of itself")


def _plain_pickle(path: Path) -> bytes:
    content = path.read_bytes()
    if content[:20].find(b"\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19") >= 0:
        raise DamagedPickleError(
            "it has the layout of PyTorch before 1.6, which is not read: save it again with a newer PyTorch"
        )
    return content


def names_of(values: Mapping[str, object] | Sequence[object]) -> list[str]:
    """Class names of the records among some values, sorted: for messages and `inspect`."""
    found = values.values() if isinstance(values, Mapping) else values
    return sorted({value.type_name for value in found if isinstance(value, ModuleRecord)})
