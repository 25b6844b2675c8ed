"""Inert records: a pickle's description of an object, without the object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from world_models.errors import UserError

MAX_DEPTH = 64
"""Nesting depth of modules beyond which a file counts as damaged."""


@dataclass(frozen=True, eq=False)
class Name:
    """A class or function named in a pickle: only its dotted name."""

    name: str


@dataclass(eq=False, repr=False)
class ModuleRecord:
    """An object of a pickle that is not rebuilt: the name of its class and its stored data."""

    type_name: str
    """Dotted name of the class or function, such as `models.vit.ViTPredictor`."""
    arguments: tuple[object, ...] = ()
    """Arguments of its constructor."""
    state: dict[str, object] = field(default_factory=dict)
    """Its attributes; for a torch module these include `_parameters`, `_buffers` and `_modules`."""
    items: dict[object, object] = field(default_factory=dict)
    """Entries, if the object is a mapping."""
    elements: list[object] = field(default_factory=list)
    """Entries, if the object is a sequence or a set."""

    def __repr__(self) -> str:
        """Representation by class name only, because contents may be of any size and depth."""
        return f"ModuleRecord({self.type_name!r})"

    @property
    def parameters(self) -> dict[str, Tensor]:
        """The module's own parameters by name."""
        return _tensors(self.state.get("_parameters"))

    @property
    def buffers(self) -> dict[str, Tensor]:
        """The module's own buffers by name, without the non-persistent ones."""
        left_out = self.state.get("_non_persistent_buffers_set")
        hidden = _elements(left_out) if left_out is not None else []
        return {name: value for name, value in _tensors(self.state.get("_buffers")).items() if name not in hidden}

    @property
    def modules(self) -> dict[str, ModuleRecord]:
        """The module's own children by name."""
        children = self.state.get("_modules")
        if not isinstance(children, Mapping):
            return {}
        return {str(name): child for name, child in children.items() if isinstance(child, ModuleRecord)}

    @property
    def values(self) -> dict[str, object]:
        """Plain attributes: numbers, strings, booleans, and tensors that are not buffers."""
        plain = (bool, int, float, str, Tensor)
        return {name: value for name, value in self.state.items() if isinstance(value, plain)}

    def state_dict(self) -> dict[str, Tensor]:
        """All parameters and buffers by dotted path, as in torch's `state_dict`.

        Raises UserError for a module that contains itself or is nested deeper than `MAX_DEPTH`.
        """
        result: dict[str, Tensor] = {}
        stack: list[tuple[str, ModuleRecord, int]] = [("", self, 0)]
        while stack:
            prefix, module, depth = stack.pop()
            if depth > MAX_DEPTH:
                raise UserError(
                    f"module {self.type_name} is nested deeper than {MAX_DEPTH} or contains itself: the file is damaged."
                )
            own = {**module.parameters, **module.buffers}
            result.update({prefix + name: value for name, value in own.items()})
            stack += [(f"{prefix}{name}.", child, depth + 1) for name, child in reversed(module.modules.items())]
        return result


def _tensors(mapping: object) -> dict[str, Tensor]:
    if not isinstance(mapping, Mapping):
        return {}
    return {str(name): value for name, value in mapping.items() if isinstance(value, Tensor)}


def _elements(value: object) -> list[object]:
    if isinstance(value, ModuleRecord):
        inside = value.arguments[0] if value.arguments and isinstance(value.arguments[0], list) else []
        return [*value.elements, *inside]
    return list(value) if isinstance(value, (set, frozenset, list, tuple)) else []
