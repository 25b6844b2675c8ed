"""Graphs of `torch.export`, run operator by operator from their JSON.

torch's own reader unpickles what an archive holds and evaluates its expressions; this one only looks up operators of `aten`
by name, and reads tensors from their bytes. As a gift, the graph follows its weights to another device and floating type.
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from world_models.checkpoints.exported.archive import Archive
from world_models.errors import UserError, require

MAJOR = 8
"""The version of the graphs' format that is known."""

_ATEN = re.compile(r"torch\.ops\.aten\.([a-z0-9_]+)\.(\w+)", re.ASCII)
_PYTHON = re.compile(r"_operator\.(getitem|add|sub|mul|floordiv|truediv|mod|neg|eq|ne|ge|gt|le|lt)")
_WITH_FILES = {"from_file", "save"}
_DTYPES = {
    1: torch.uint8, 2: torch.int8, 3: torch.int16, 4: torch.int32, 5: torch.int64, 6: torch.float16, 7: torch.float32,
    8: torch.float64, 12: torch.bool, 13: torch.bfloat16,
}  # fmt: skip
_MEMORY_FORMATS = {1: torch.contiguous_format, 2: torch.channels_last, 3: torch.channels_last_3d, 4: torch.preserve_format}
_PLAIN = {"as_int", "as_ints", "as_float", "as_floats", "as_string", "as_strings", "as_bool", "as_bools", "as_int_lists"}


@dataclass(frozen=True)
class _Node:
    """A call of an operator."""

    call: Callable[..., Any]
    inputs: tuple[tuple[str | None, Mapping[str, Any]], ...]
    """Arguments, with the names of those that are given by name."""
    outputs: tuple[Any, ...]
    """Names of the results; a list of names for a list of tensors."""
    dead: tuple[str, ...]
    """Values that nothing needs after it."""


class Program(nn.Module):
    """A graph with its weights. Raises UserError for one that does not only compute, or is of an unknown version."""

    def __init__(self, archive: Archive, name: str) -> None:
        super().__init__()
        self._path = str(archive.path)
        whole = json.loads(archive.members[name])
        version = whole["schema_version"]["major"]
        sentence = (
            f"{archive.path} has format {version} of torch.export, and known is {MAJOR}: export it again with torch 2.13."
        )
        require(version == MAJOR, sentence)
        graph, signature = whole["graph_module"]["graph"], whole["graph_module"]["signature"]
        self._weights, self._inputs = self._read_inputs(archive, name, signature["input_specs"])
        home = next((graph["tensor_values"][each]["dtype"] for each in self._inputs if each in graph["tensor_values"]), 7)
        self._home = home if _DTYPES[home].is_floating_point else 7
        self.register_buffer("like", torch.zeros(0, dtype=_DTYPES[self._home]))
        self._outputs = [self._output(spec) for spec in signature["output_specs"]]
        self._nodes = tuple(_nodes(self._path, graph["nodes"], set(self._outputs) | set(self._weights)))

    like: Tensor
    """An empty tensor of the program's device and floating type."""

    def forward(self, *inputs: Tensor) -> Tensor:
        """The graph's first result."""
        values: dict[str, Any] = {name: getattr(self, key) for name, key in self._weights.items()}
        values |= dict(zip(self._inputs, inputs, strict=True))
        for node in self._nodes:
            positional = [self._value(argument, values) for name, argument in node.inputs if name is None]
            named = {name: self._value(argument, values) for name, argument in node.inputs if name is not None}
            found = node.call(*positional, **named)
            _bind(node.outputs, found, values)
            for name in node.dead:
                values.pop(name, None)
        return values[self._outputs[0]]

    def _value(self, argument: Mapping[str, Any], values: Mapping[str, Any]) -> Any:
        """An argument's value: a constant, or one of the values so far."""
        ((kind, value),) = argument.items()
        if kind in _PLAIN:
            return value
        if kind == "as_none":
            return None
        if kind == "as_device":
            return self.like.device
        if kind == "as_scalar_type":
            return self.like.dtype if value == self._home else _DTYPES[value]
        if kind == "as_memory_format":
            return _MEMORY_FORMATS[value]
        if kind == "as_layout":
            return torch.strided
        if kind in ("as_tensor", "as_name"):
            return values[value if kind == "as_name" else value["name"]]
        if kind == "as_tensors":
            return [values[each["name"]] for each in value]
        if kind in ("as_optional_tensor", "as_sym_int", "as_sym_bool", "as_sym_float"):
            return self._value(value, values)
        if kind in ("as_optional_tensors", "as_sym_ints", "as_sym_bools", "as_sym_floats"):
            return [self._value(each, values) for each in value]
        raise UserError(
            f"{self._path} has an argument of kind {kind}, which only torch itself can run: export a plainer model."
        )

    def _read_inputs(self, archive: Archive, name: str, specs: list[Any]) -> tuple[dict[str, str], list[str]]:
        """Attributes of this module by the names of weights in the graph, and the names of what the caller gives."""
        stem = name.removeprefix("models/").removesuffix(".json")
        tables = {
            kind: json.loads(archive.members.get(f"data/{kind}/{stem}_{kind}_config.json", b'{"config": {}}'))["config"]
            for kind in ("weights", "constants")
        }
        weights: dict[str, str] = {}
        inputs: list[str] = []
        for spec in specs:
            ((kind, value),) = spec.items()
            if kind == "user_input":
                inputs.append(value["arg"]["as_tensor"]["name"])
                continue
            target = next(
                (value[key] for key in ("parameter_name", "buffer_name", "tensor_constant_name") if key in value), None
            )
            folder = "weights" if target in tables["weights"] else "constants"
            entry = tables[folder].get(target)
            if entry is None or entry["use_pickle"]:
                sentence = f"{archive.path} keeps {target or kind} as a pickled object, which is not read: export it again."
                raise UserError(sentence)
            key = f"weight_{len(weights)}"
            tensor = _tensor(archive.members[f"data/{folder}/{entry['path_name']}"], entry["tensor_meta"])
            if tensor.is_floating_point():
                self.register_parameter(key, nn.Parameter(tensor, requires_grad=False))
            else:
                self.register_buffer(key, tensor)
            weights[value["arg"]["name"]] = key
        return weights, inputs

    def _output(self, spec: Mapping[str, Any]) -> str:
        ((kind, value),) = spec.items()
        sentence = f"{self._path} changes its own weights or inputs ({kind}): export it in evaluation mode, and let it be pure."
        require(kind == "user_output", sentence)
        return value["arg"]["as_tensor"]["name"]


def _nodes(path: str, nodes: list[Any], kept: set[str]) -> Iterator[_Node]:
    """The calls in order; a value is dropped after its last use, unless it is `kept`."""
    needed = set(kept)
    backwards: list[tuple[str, ...]] = []
    for node in reversed(nodes):
        names = set(_names([argument["arg"] for argument in node["inputs"]])) | set(_names(node["outputs"]))
        backwards.append(tuple(names - needed))
        needed |= names
    for node, dead in zip(nodes, reversed(backwards), strict=True):
        # Of the two kinds of arguments, 2 is given by name; -1 of older archives leaves it open.
        inputs = tuple((each["name"] if each.get("kind") == 2 else None, each["arg"]) for each in node["inputs"])
        yield _Node(_operator(path, node["target"]), inputs, tuple(map(_output_name, node["outputs"])), dead)


def _operator(path: str, target: str) -> Callable[..., Any]:
    """The operator of a name. Raises UserError for a name that is not one of those that only compute."""
    if match := _PYTHON.fullmatch(target):
        return getattr(operator, match[1])
    if (match := _ATEN.fullmatch(target)) and match[1] not in _WITH_FILES:
        found = getattr(getattr(torch.ops.aten, match[1], None), match[2], None)
        if isinstance(found, torch._ops.OpOverload):
            return found
    raise UserError(f"{path} calls {target[:100]!r}, which is not an operator of aten: export a model that uses only those.")


def _output_name(output: Mapping[str, Any]) -> Any:
    ((kind, value),) = output.items()
    if kind == "as_tensors":
        return [each["name"] for each in value]
    return value.get("name", value.get("as_name")) if isinstance(value, Mapping) else None


def _bind(outputs: tuple[Any, ...], found: Any, values: dict[str, Any]) -> None:
    """Give an operator's results their names."""
    results = (found,) if len(outputs) == 1 else found or ()
    for name, result in zip(outputs, results, strict=False):
        if isinstance(name, list):
            values |= dict(zip(name, result, strict=True))
        elif name is not None:
            values[name] = result


def _names(argument: Any) -> Iterator[str]:
    """Names of all values in arguments or outputs."""
    if isinstance(argument, list):
        for each in argument:
            yield from _names(each)
    elif isinstance(argument, Mapping):
        for key, value in argument.items():
            if key in ("name", "as_name") and isinstance(value, str):
                yield value
            else:
                yield from _names(value)


def _tensor(content: bytes, meta: Mapping[str, Any]) -> Tensor:
    """A tensor from its bytes."""
    sizes, strides = ([each["as_int"] for each in meta[key]] for key in ("sizes", "strides"))
    offset = meta["storage_offset"]["as_int"]
    flat = torch.frombuffer(bytearray(content) or bytearray(1), dtype=_DTYPES[meta["dtype"]]) if content else torch.empty(0)
    return flat.to(_DTYPES[meta["dtype"]]).as_strided(sizes, strides, offset).clone(memory_format=torch.contiguous_format)
