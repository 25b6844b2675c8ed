"""Planner settings: frozen dataclasses whose fields carry their own limits and are checked when an object is built.

A number may be a tensor `[batch]`: each problem of a batch is then planned with its own value.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeVar

import torch
from jaxtyping import Int
from torch import Tensor

from world_models.errors import UnknownNameError, UserError, brief, require

Scalar = bool | int | float | str | None
Setting = Scalar | Tensor
Number = float | Tensor
"""A number for all rows, or one per row: `[batch]`, float64 on the CPU."""
Count = int | Tensor
"""A whole number for all rows, or one per row: `[batch]`, int64 on the CPU."""
Choice = str | Tensor
"""A name for all rows, or one per row as its index among the field's names: `[batch]`, int64 on the CPU."""

MOST_COUNT = 1_000_000
"""Largest whole number of a setting, unless its field says otherwise: more would plan a cell for days or fill any memory."""
MOST_EVALUATIONS = 10**12
"""Largest budget of model evaluations."""
LARGEST_NUMBER = 1e9
"""Largest number of a setting, unless its field says otherwise: float32 still holds its square."""

S = TypeVar("S", bound="Settings")


def count(default: int | None, low: int = 1, high: int = MOST_COUNT, by_row: bool = False) -> Any:
    """A field for a whole number in `[low, high]`; `by_row` fields may differ between rows, and None is allowed if it is the
    default."""
    return dataclasses.field(default=default, metadata={"kind": "count", "low": low, "high": high, "by_row": by_row})


def number(
    default: float | None, low: float = 0.0, high: float = LARGEST_NUMBER, positive: bool = False, by_row: bool = True
) -> Any:
    """A field for a finite number in `[low, high]`; `positive` excludes 0, and None is allowed if it is the default."""
    metadata = {"kind": "number", "low": low, "high": high, "positive": positive, "by_row": by_row}
    return dataclasses.field(default=default, metadata=metadata)


def flag(default: bool) -> Any:
    """A field for true or false."""
    return dataclasses.field(default=default, metadata={"kind": "flag"})


def choice(default: str, *others: str, by_row: bool = False) -> Any:
    """A field for one of some names; `by_row` fields may differ between rows, as indices among the names."""
    return dataclasses.field(default=default, metadata={"kind": "choice", "names": (default, *others), "by_row": by_row})


def axes(default: str, positive: bool = False) -> Any:
    """A field for numbers by axis of an environment step's action: a number for all, `0.2 0.1`, `model` for the model's own, or
    `data` for those of the dataset whose rows are planned; without a dataset, `data` is the model's, and `data 0.2 0.1` these.

    Its value is text: names and numbers have one spelling each, because settings enter the ids of cells.
    """
    return dataclasses.field(default=default, metadata={"kind": "axes", "positive": positive, "by_row": False})


MODEL, DATA = "model", "data"
"""Values of a setting by axis: the model's own, and the dataset's."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """Base of every planner's settings. Building one with a value out of range raises UserError with its name and value."""

    algorithm_version: ClassVar[int] = 1
    """A planner that comes to plan otherwise with the same settings gives a higher one in its settings class: its cells have
    other ids from then on, and are planned anew (`planners.identity`)."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, _checked(field, getattr(self, field.name)))
        self.check()

    def check(self) -> None:
        """Raise UserError if settings that are each valid conflict with one another; subclasses extend it."""
        lengths = {name: len(value) for name, value in self.tensors().items()}
        if len(set(lengths.values())) > 1:
            listed = ", ".join(f"{name} has {length}" for name, length in lengths.items())
            raise UserError(f"settings by row of different lengths ({listed}): give one value per problem.")

    @classmethod
    def of(cls: type[S], planner: str, settings: Mapping[str, Setting]) -> S:
        """Settings from a mapping; a name that `planner` does not take raises UnknownNameError with the nearest names."""
        fields = {field.name: field for field in dataclasses.fields(cls)}
        for name in settings:
            if name not in fields:
                raise UnknownNameError(f"setting of planner {planner!r}:", name, fields)
        # Not by the constructor, whose annotations only hold for checked values: __post_init__ checks these, once.
        made = object.__new__(cls)
        for name, field in fields.items():
            object.__setattr__(made, name, settings.get(name, field.default))
        made.__post_init__()
        return made

    @classmethod
    def check_one(cls, planner: str, name: str, value: Scalar) -> None:
        """Raise UserError unless a setting of `planner` may have this value, whatever the others are."""
        known = {field.name: field for field in dataclasses.fields(cls)}
        if name not in known:
            raise UnknownNameError(f"setting of planner {planner!r}:", name, known)
        _checked(known[name], value)

    @staticmethod
    def stack(rows: Sequence[S]) -> S:
        """One settings object for a batch whose row i is planned with `rows[i]`.

        Raises UserError for a setting that differs although it can't differ within a batch, or that already differs by row.
        """
        first = rows[0]
        for settings in rows:
            settings.as_dict()
        mixed: dict[str, Any] = {}
        for field in dataclasses.fields(first):
            values = [getattr(settings, field.name) for settings in rows]
            if any(value != values[0] for value in values):
                sentence = f"{field.name} {values} cannot differ between the rows of one batch: plan them in separate batches."
                require(bool(field.metadata.get("by_row")) and None not in values, sentence)
                names = field.metadata.get("names")
                plain = [names.index(value) for value in values] if names else values
                mixed[field.name] = torch.tensor(plain, dtype=_dtype(field))
        return dataclasses.replace(first, **mixed)

    def tensors(self) -> dict[str, Tensor]:
        """The settings that have one value per row."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, Tensor)}

    def rows(self: S, rows: Int[Tensor, " rows"]) -> S:
        """The settings of some rows; the same object if none differs by row."""
        cpu_rows = rows.cpu()
        return self._with({name: value[cpu_rows] for name, value in self.tensors().items()})

    def concat(self: S, others: S) -> S:
        """The settings of these rows followed by those of `others`; both are rows of one batch."""
        mine, theirs = self.tensors(), others.tensors()
        return self._with({name: torch.cat([value, theirs[name]]) for name, value in mine.items()})

    def to(self: S, device: torch.device) -> S:
        """The settings with their tensors on a device, for use inside a search."""
        return self._with({name: value.to(device) for name, value in self.tensors().items()})

    def _with(self: S, tensors: Mapping[str, Tensor]) -> S:
        """These settings with other tensors, taken from checked ones; the same object if none differs by row."""
        if not tensors:
            return self
        other = copy.copy(self)
        for name, value in tensors.items():
            # Not through __post_init__, which would move tensors back to the CPU: rows leave and join all the time.
            object.__setattr__(other, name, value)
        return other

    def check_rows(self, batch: int) -> None:
        """Raise UserError for a tensor setting that does not have one value per problem."""
        for name, value in self.tensors().items():
            require(
                len(value) == batch,
                f"{name} has {len(value)} values for {batch} problems: give one number, or one per problem.",
            )

    def as_dict(self) -> dict[str, Scalar]:
        """All settings with defaults filled in and numbers in canonical types. Raises UserError for settings by row."""
        for name in self.tensors():
            raise UserError(f"{name} differs by row: only settings with one value for all rows have a canonical form.")
        return dataclasses.asdict(self)


def _dtype(field: dataclasses.Field) -> torch.dtype:
    return torch.float64 if field.metadata["kind"] == "number" else torch.int64


def _checked(field: dataclasses.Field, value: object) -> object:
    """`value` in the field's canonical type; raises UserError if it is not valid."""
    name, limits = field.name, field.metadata
    if value is None and field.default is None:
        return None
    if limits["kind"] == "flag":
        require(isinstance(value, bool), f"{name} {value!r} is neither true nor false: give one of them.")
        return value
    if limits["kind"] == "choice" and not isinstance(value, Tensor):
        require(value in limits["names"], f"{name} {value!r} is unknown: give one of {', '.join(limits['names'])}.")
        return value
    if limits["kind"] == "axes":
        return _checked_axes(name, value, bool(limits["positive"]))
    if isinstance(value, Tensor):
        shape = tuple(value.shape)
        require(
            bool(limits["by_row"]), f"{name} {value.tolist()} cannot differ between the rows of one batch: give one number."
        )
        require(len(shape) == 1 and shape[0] > 0, f"{name} has shape {shape}: give one number, or one per problem.")
        if limits["kind"] == "choice":
            known = bool(((value >= 0) & (value < len(limits["names"]))).all())
            require(known, f"{name} {value.tolist()} are not indices of {', '.join(limits['names'])}: count from 0.")
            return value.to(torch.int64)
        entries = [_checked_number(name, entry, limits) for entry in value.tolist()]
        return torch.tensor(entries, dtype=_dtype(field))
    return _checked_number(name, value, limits)


def _checked_number(name: str, value: object, limits: Mapping[str, Any]) -> int | float:
    low, high = limits["low"], limits["high"]
    if isinstance(value, bool) or not isinstance(value, int | float) or not -math.inf < value < math.inf:
        raise UserError(f"{name} {value!r} is not a finite number: give a number >= {low:g}.")
    if value < low:
        flaw = "negative" if value < 0 and low == 0 else f"below {low:g}"
        raise UserError(f"{name} {brief(value)} is {flaw}: give a number >= {low:g}.")
    if value > high:
        raise UserError(f"{name} {brief(value)} is above {high:g}: give a number <= {high:g}.")
    if limits["kind"] == "count":
        require(float(value).is_integer(), f"{name} {value:g} is not a whole number: give one >= {low:g}.")
        return int(value)
    require(value > 0 or not limits["positive"], f"{name} {value:g} is not positive: give a number > 0.")
    return float(value)


def _checked_axes(name: str, value: object, positive: bool) -> str:
    """Numbers by axis in their one spelling, `model`, `data`, or `data` before numbers."""
    if value in (MODEL, DATA):
        return str(value)
    words = str(value).replace(",", " ").split()
    before = words[:1] if words[:1] == [DATA] else []
    words = words[len(before) :]
    advice = f"give one number, one per axis of an action such as '0.2 0.1', {MODEL} or {DATA}."
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        numbers = []
    require(bool(numbers) and not isinstance(value, bool | Tensor), f"{name} {value!r} is not a list of numbers: {advice}")
    sound = all(abs(one) <= LARGEST_NUMBER and (one > 0 or not positive) for one in numbers)
    limit = "above 0" if positive else f"from {-LARGEST_NUMBER:g}"
    require(sound, f"{name} {value!r} has a number that is not {limit} to {LARGEST_NUMBER:g}: {advice}")
    return " ".join([*before, *(repr(one) for one in numbers)])


def per_row(value: Number, like: Tensor) -> Number:
    """A setting that can multiply `like` `[batch, ...]`: a number as it is, a tensor `[batch]` with trailing axes added."""
    if isinstance(value, Tensor):
        return value.to(like).reshape(-1, *[1] * (like.ndim - 1))
    return value


def any_positive(value: Number) -> bool:
    """Whether a setting is positive in any row."""
    return bool((value > 0).any()) if isinstance(value, Tensor) else value > 0


def first_above(left: Count | Number, right: Count | Number) -> tuple[int | float, int | float] | None:
    """The values of the first row in which `left` exceeds `right`; None if there is no such row."""
    lefts, rights = torch.broadcast_tensors(torch.as_tensor(left).reshape(-1), torch.as_tensor(right).reshape(-1))
    rows = torch.nonzero(lefts > rights).flatten().tolist()
    return (float(lefts[rows[0]]), float(rights[rows[0]])) if rows else None
