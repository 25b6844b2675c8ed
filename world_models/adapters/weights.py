"""The weights of one network in a checkpoint file, whatever is around them.

Wrappers put segments into the names of tensors (`_orig_mod.` by torch.compile, `module.` by DistributedDataParallel), training
modules put a prefix before them (`model.`), and files hold optimisers, losses and averages (EMA) beside them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from world_models.adapters.files import tensors_in
from world_models.adapters.pickles.records import ModuleRecord
from world_models.errors import UserError, require

Choice = Literal["trained", "averaged"]
"""Weights of the optimiser, or their running average (EMA)."""

CHOICES: tuple[Choice, ...] = ("trained", "averaged")

WRAPPERS = ("_orig_mod", "module")
"""Segments that torch.compile and DistributedDataParallel put into names."""

AVERAGES = frozenset({"ema", "averaged", "average", "averaging", "avg", "swa", "shadow", "target", "teacher"})
"""Words in the names of entries and prefixes that hold averages of the trained weights."""

OPTIMISERS = frozenset({"opt", "optim", "optimizer", "optimizers", "optimiser"})
"""Words in the names of entries that hold the state of optimisers."""

BEFORE_AVERAGING = "current_model_state"
"""Entry of Lightning's weight averaging with the trained weights; `state_dict` then holds their average."""

MAX_DEPTH = 4
"""Nesting depth of entries in which weights are looked for."""


@dataclass(frozen=True)
class Weights:
    """The tensors of a network."""

    tensors: dict[str, Tensor]
    """By plain names, on the CPU, as they are stored."""
    neighbours: frozenset[str] = frozenset()
    """Names of the entries and tensors around them, their first words only."""
    notes: tuple[str, ...] = ()
    """Remarks for the user, one sentence each."""


@dataclass(frozen=True)
class _Candidate:
    location: str
    """Entry and prefix, such as `state_dict/model.`."""
    averaged: bool
    tensors: dict[str, Tensor]
    neighbours: frozenset[str]


def find_weights(content: Mapping[str, object], marks: Collection[str], choice: Choice | None = None) -> Weights | None:
    """The network that has all tensors named in `marks`; None without one.

    By default the weights that its authors' own loader takes: the trained ones, or the average where Lightning's weight
    averaging has stored it in their location. Raises UserError for a choice that the file does not have.
    """
    found = list(_candidates(content, frozenset(marks)))
    if not found:
        return None
    trained, averaged = ([each for each in found if each.averaged is kind] for kind in (False, True))
    if choice is None:
        first = (averaged if BEFORE_AVERAGING in content else trained) or averaged or trained
    else:
        first = trained if choice == "trained" else averaged
        require(bool(first), f"the checkpoint holds no {choice} weights of its own: leave --weights out.")
    taken = min(first, key=lambda each: (len(each.location), each.location))
    return Weights(taken.tensors, taken.neighbours, _notes(content, taken, trained, averaged))


def plain_name(name: str) -> str:
    """The name of a tensor without the segments of wrappers."""
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


def plain_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors by their plain names; raises UserError if two tensors of different content have the same."""
    plain: dict[str, Tensor] = {}
    for name, value in tensors.items():
        own = plain_name(name)
        if own in plain and not torch.equal(plain[own], value):
            raise UserError(f"the checkpoint holds two tensors {own} that differ: save one state dict alone.")
        plain[own] = value
    return plain


def unwrapped(value: object) -> object:
    """A record of a pickled module without the wrappers around it; anything else as it is."""
    while isinstance(value, ModuleRecord) and set(value.modules) in ({wrapper} for wrapper in WRAPPERS):
        (value,) = value.modules.values()
    return value


def in_single_precision(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies of tensors that are independent of each other, those of any floating-point type in float32."""
    return {
        name: value.detach().to(torch.float32 if value.is_floating_point() else value.dtype, copy=True)
        for name, value in tensors.items()
    }


def trained_only(choice: Choice | None, kind: str) -> None:
    """Raise UserError if the average of weights is asked of a kind whose files never hold one."""
    require(choice != "averaged", f"a {kind} checkpoint holds no averaged weights: leave --weights out.")


def _candidates(content: Mapping[str, object], marks: frozenset[str]) -> Iterator[_Candidate]:
    for location, entries in _mappings(content, "", 0):
        tensors = plain_names(tensors_in(entries))
        for prefix in _prefixes(tensors, marks):
            own = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
            neighbours = {name.split(".")[0] for name in tensors if not name.startswith(prefix)}
            replaced = BEFORE_AVERAGING in content and location == "state_dict/"
            averaged = replaced or bool(AVERAGES & _words(location + prefix))
            yield _Candidate(location + prefix, averaged, own, frozenset(neighbours | set(content)))


def _mappings(content: Mapping[str, object], location: str, depth: int) -> Iterator[tuple[str, Mapping[str, object]]]:
    """The mapping itself, and those inside it by their location; the state of optimisers is left out."""
    yield location, content
    if depth == MAX_DEPTH:
        return
    for name, value in content.items():
        if OPTIMISERS & _words(name):
            continue
        if isinstance(value, ModuleRecord):
            held: Mapping[str, object] = _named(value.items) if value.items else dict(value.state_dict())
            yield from _mappings(held, f"{location}{name}/", depth + 1)
        elif isinstance(value, Mapping):
            yield from _mappings(_named(value), f"{location}{name}/", depth + 1)


def _named(entries: Mapping[object, object]) -> dict[str, object]:
    return {str(name): value for name, value in entries.items()}


def _prefixes(tensors: Mapping[str, Tensor], marks: frozenset[str]) -> list[str]:
    """Prefixes before which all marks stand."""
    first = min(marks)
    ends = [name.removesuffix(first) for name in tensors if name.endswith(first)]
    return [end for end in ends if (not end or end.endswith(".")) and all(end + mark in tensors for mark in marks)]


def _words(name: str) -> frozenset[str]:
    return frozenset(re.split(r"[^a-z]+", name.lower()))


def _notes(
    content: Mapping[str, object], taken: _Candidate, trained: list[_Candidate], averaged: list[_Candidate]
) -> tuple[str, ...]:
    notes = []
    if averaged:
        kind, others = ("averaged", trained) if taken.averaged else ("trained", averaged)
        other = f", not those of {_shown(min(others, key=lambda each: len(each.location)).location)}" if others else ""
        asked = f" (--weights {'trained' if taken.averaged else 'averaged'} takes these)" if others else ""
        notes.append(f"Its {kind} weights were taken, of {_shown(taken.location)}{other}{asked}.")
    if any(OPTIMISERS & _words(name) for name in content):
        notes.append("The state of its optimiser is left out.")
    return tuple(notes)


def _shown(location: str) -> str:
    return location.rstrip("/.")[:80] or "its own entries"
