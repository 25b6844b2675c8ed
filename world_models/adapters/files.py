"""Reading of checkpoint files from any source: safetensors, or PyTorch's pickles through the restricted unpickler."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse_tensors
from torch import Tensor

from world_models.adapters.pickles.records import ModuleRecord
from world_models.adapters.pickles.unpickle import OPTIMISERS, ClassNames, read_object
from world_models.errors import UserError, require
from world_models.files.reading import read_json

PLAIN_TYPES = ("int", "float", "str", "bool", "tuple", "complex", "bytes")
"""Types of Python's own that settings in a pickle name."""

KNOWN = ClassNames(
    (
        *("models.*", "jepa.*", "module.*", "stable_worldmodel.*", "stable_pretraining.*", "transformers.*"),
        *("app.*", "src.*", "tensordict.*", "omegaconf.*", "functools.partial", *OPTIMISERS),
        *("lightning.*", "lightning_fabric.*", "pytorch_lightning.*", "torch.nn.parallel.*", "typing.Any"),
        *("collections.Counter", "pathlib.*", "argparse.Namespace", *(f"builtins.{name}" for name in PLAIN_TYPES)),
        # TD-MPC2 saves the empty shells of its value functions along with their weights.
        "torch._utils._rebuild_meta_tensor_no_storage",
    )
)
"""Classes named in published checkpoints of any kind; they all become inert records."""

WEIGHT_SUFFIXES = (".pt", ".pth", ".ckpt", ".tar", ".safetensors")
"""Suffixes of files with weights."""

MAX_MODULES = 100_000
"""Modules of a file that are looked at; a damaged one may contain itself."""

LENGTH_BYTES = 8
"""Bytes of the header's length, with which a safetensors file begins; the header follows and begins with a brace."""


@dataclass(frozen=True)
class Content:
    """The content of a checkpoint file."""

    entries: dict[str, object]
    """Its top-level entries: tensors, records of modules, or plain values, by name."""
    module: ModuleRecord | None = None
    """The single pickled module of which the entries are the `state_dict`, if the file holds one."""

    def module_classes(self) -> list[str]:
        """Dotted names of the classes of all modules inside the pickled one, outermost first."""
        return [module.type_name for _, module in self._modules()]

    def module_values(self, suffix: str) -> Mapping[str, object]:
        """The plain attributes of the first module at a location that ends with `suffix`, such as `layers.0.attn`."""
        return next((module.values for location, module in self._modules() if location.endswith(suffix)), {})

    def _modules(self) -> Iterator[tuple[str, ModuleRecord]]:
        waiting = [("", self.module)] if self.module is not None else []
        for _ in range(MAX_MODULES):
            if not waiting:
                return
            location, module = waiting.pop()
            yield location, module
            waiting += [(f"{location}.{name}", child) for name, child in reversed(module.modules.items())]


def read_content(path: Path) -> dict[str, object]:
    """The top-level entries of a checkpoint file: tensors, records of modules, or plain values, by name.

    A file with a single pickled module gives its `state_dict`. Raises UserError for a file that is unsafe or not a checkpoint.
    """
    return read_file(path).entries


def read_file(path: Path) -> Content:
    """The content of a checkpoint file. Raises UserError for a file that is unsafe or not a checkpoint."""
    if _is_safetensors(path):
        return Content(dict(read_safetensors(path)))
    found = read_object(path, KNOWN)
    if isinstance(found, ModuleRecord):
        return Content({str(name): value for name, value in (found.items or found.state_dict()).items()}, found)
    if not isinstance(found, dict):
        raise UserError(f"{path} holds a {type(found).__name__}, not a mapping of weights: it is not a checkpoint.")
    return Content({str(name): value for name, value in found.items()})


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file; raises UserError if its header does not fit its content."""
    content = path.read_bytes()
    require(len(content) > LENGTH_BYTES, f"{path} has {len(content)} bytes, too few for a checkpoint: copy it again.")
    try:
        return parse_tensors(content)
    except (SafetensorError, ValueError, RuntimeError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path} is truncated or not a valid safetensors file ({reason}): copy it again.") from error


def tensors_in(content: Mapping[str, object]) -> dict[str, Tensor]:
    """The tensors among some entries."""
    return {name: value for name, value in content.items() if isinstance(value, Tensor)}


def fitted(path: Path, found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors that a model needs, complete and finite.

    Raises UserError for a tensor that is missing, has another shape or is not finite, and for surplus tensors.
    """
    for name, like in wanted.items():
        if name not in found:
            raise UserError(f"{path} lacks the tensor {name}: it is truncated or of another variant.")
        if found[name].shape != like.shape:
            raise UserError(f"{path}: tensor {name} has shape {list(found[name].shape)}, expected {list(like.shape)}.")
        require(bool(torch.isfinite(found[name]).all()), f"{path}: tensor {name} is not finite: the model is broken.")
    stray = sorted(set(found) - set(wanted))
    require(
        not stray,
        f"{path} has the tensor {stray[0] if stray else ''}, which this architecture does not: it is of another variant.",
    )
    return {name: found[name] for name in wanted}


CONFIG_BYTES = 2**24
"""The largest config beside a checkpoint that is read."""


def sibling_config(path: Path, name: str = "config.json") -> Mapping[str, object]:
    """The JSON mapping in a file of the same folder, or an empty one; raises UserError if the file is something else."""
    file = path.parent / name
    try:
        return read_json(file, dict[str, object], "a mapping", "copy it again, or move it away", CONFIG_BYTES)
    except FileNotFoundError:
        return {}


def weight_file(path: Path) -> Path:
    """The checkpoint file that a path names: itself, or the one with weights in a folder or in its `checkpoints`.

    Of `model_latest` beside numbered files of the same run, the latest is meant. Raises UserError for a path that does not
    exist, or a folder with no such file, or with several of which none is the latest.
    """
    if path.is_file():
        return path
    require(path.is_dir(), f"{path} does not exist: give the path of a checkpoint file or folder.")
    files = _files_in(path)
    if not files:
        raise UserError(f"{path} holds no file with weights ({', '.join(WEIGHT_SUFFIXES)}): give the path of one.")
    latest = [file for file in files if _LATEST.fullmatch(_stem(file))]
    numbered = [file for file in files if re.search(r"\d", _stem(file))]
    if len(latest) == 1 and len(latest) + len(numbered) == len(files):
        return latest[0]
    if len(files) > 1:
        raise UserError(f"{path} holds {len(files)} files with weights: give one of them, such as {files[-1]}.")
    return files[0]


def passed_over(path: Path) -> str | None:
    """A remark on the numbered files of a folder beside the latest one, which was taken; None without any."""
    others = len(_files_in(path)) - 1 if path.is_dir() else 0
    return f"The latest of {others + 1} files with weights was taken, {weight_file(path).name}." if others > 0 else None


_LATEST = re.compile(r"(?:.*[-_.])?latest|last")
"""Names, without suffixes, of files that hold the latest weights of a run."""


def _stem(file: Path) -> str:
    return file.name.removesuffix("".join(file.suffixes[-2:])) if file.name.endswith(".pth.tar") else file.stem


def _files_in(path: Path) -> list[Path]:
    folders = [path, path / "checkpoints"]
    found = [sorted(file for file in folder.iterdir() if _has_weights(file)) for folder in folders if folder.is_dir()]
    return next((each for each in found if each), [])


def _has_weights(file: Path) -> bool:
    return file.suffix in WEIGHT_SUFFIXES and file.is_file()


def _is_safetensors(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            beginning = file.read(LENGTH_BYTES + 1)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): give the path of a checkpoint file.") from error
    return path.suffix == ".safetensors" or beginning[LENGTH_BYTES:] == b"{"
