"""Reading of PyTorch files that hold whole pickled modules, without executing anything.

The file's pickle is interpreted by a machine without callables (`machine`). Classes in an explicit list become inert records,
tensors are built here from the file's own storages, and any other name is refused.
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
    "torch._utils._rebuild_parameter_with_state",
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
"""Names that any file of modules may contain. They stand for data: none of them executes anything."""

OPTIMISERS = ("torch.optim.*", "torch.amp.grad_scaler.*", "torch.cuda.amp.grad_scaler.*", "accelerate.*")
"""Names of pickled optimisers, which checkpoints hold along with the modules; read and ignored."""

Storages = Callable[[object], object]
"""Map from a persistent id of a pickle to its object."""


@dataclass(frozen=True)
class ClassNames:
    """The dotted names that a pickle may contain, with `*` as wildcard; all others are refused."""

    patterns: tuple[str, ...]

    def __contains__(self, name: str) -> bool:
        """Whether a dotted name is allowed here or in `ALWAYS`."""
        return any(fnmatchcase(name, pattern) for pattern in (*ALWAYS, *self.patterns))


def read_modules(path: Path, allowed: ClassNames) -> dict[str, object]:
    """The entries of a file whose pickle is a mapping: `ModuleRecord`, Tensor or plain values by name.

    Raises UserError if the file is damaged, not a mapping, or contains a name outside `allowed`.
    """
    found = read_object(path, allowed)
    if isinstance(found, ModuleRecord) and found.items:
        found = found.items
    if not isinstance(found, dict):
        raise UserError(f"{path} holds a {describe(found)}, not a mapping of modules: it is another kind of checkpoint.")
    return {str(name): value for name, value in found.items()}


def read_object(path: Path, allowed: ClassNames) -> object:
    """The object in a PyTorch file (zip) or a plain pickle: records, tensors and plain values; nothing is executed.

    Raises UserError if the file is empty, damaged, a zip bomb, or contains a name outside `allowed`.
    """
    return _interpret(path, lambda storages: _machine(allowed, storages))


def _interpret(path: Path, machine: Callable[[Storages], Machine]) -> object:
    """The object in a file, read by a machine built for the file's storages."""
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
        raise UserError(f"{path} is not a readable checkpoint ({error}): copy it again, or check that it is one.") from error
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path} is damaged ({reason}): copy the checkpoint again.") from error
    except _RefusedError as error:
        raise UserError(
            f"{path} names {error}, which no known checkpoint contains: it is refused, and nothing was executed."
        ) from error


def names_in(path: Path) -> frozenset[str]:
    """All classes and functions named in a file, without reading its storages: a cheap way to tell kinds of checkpoints apart.

    Empty for safetensors. Raises UserError if the file is empty or damaged.
    """
    if path.suffix == ".safetensors":
        return frozenset()
    found: set[str] = set()

    def name(dotted: str) -> Name:
        found.add(dotted)
        return Name(dotted)

    def construct(target: object, arguments: tuple[object, ...]) -> object:
        if not isinstance(target, Name):
            raise DamagedPickleError("it constructs from something that is not a class")
        return {} if target.name == "collections.OrderedDict" else ModuleRecord(target.name)

    _interpret(path, lambda _: Machine(name, construct, lambda _: None))
    return frozenset(found)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a state dict by name, from a safetensors file or a PyTorch file without modules.

    Raises UserError if the file is damaged, holds anything but tensors and plain values, or claims wrong sizes.
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
    """The type name of a value read from a pickle, never its contents."""
    return value.type_name if isinstance(value, ModuleRecord) else type(value).__name__


def _printable(name: str) -> str:
    """A name from a file in printable form: no control characters, at most 100 characters."""
    return name[:100].encode("ascii", "backslashreplace").decode("ascii") if name.isprintable() else ascii(name[:100])


class _RefusedError(Exception):
    """A name that is not allowed, which is the message."""


def _machine(allowed: ClassNames, storages: Storages) -> Machine:
    known: dict[str, Name] = {}

    def name(dotted: str) -> Name:
        if dotted not in allowed:
            raise _RefusedError(_printable(dotted))
        return known.setdefault(dotted, Name(dotted))

    return Machine(name, _construct, storages)


def _construct(target: object, arguments: tuple[object, ...]) -> object:
    """The result of "calling" a name: a container, a tensor of the file, or a record of the call."""
    if not isinstance(target, Name):
        raise DamagedPickleError("it constructs from something that is not a class")
    if target.name == "collections.OrderedDict":
        if arguments:
            raise DamagedPickleError("it fills an OrderedDict in an unknown way")
        return {}
    if target.name == "torch.Size":
        return arguments[0] if len(arguments) == 1 and isinstance(arguments[0], tuple) else ModuleRecord(target.name, arguments)
    if target.name == "torch._utils._rebuild_tensor_v2":
        return rebuilt(arguments)
    if target.name in ("torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state"):
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
            "it has the layout of PyTorch before 1.6, which is not supported: save it again with a newer PyTorch"
        )
    return content


def names_of(values: Mapping[str, object] | Sequence[object]) -> list[str]:
    """Sorted class names of the records among some values, for messages and `inspect`."""
    found = values.values() if isinstance(values, Mapping) else values
    return sorted({value.type_name for value in found if isinstance(value, ModuleRecord)})
