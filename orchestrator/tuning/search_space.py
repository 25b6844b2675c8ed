"""Search spaces: which settings of a planner are tuned, in which ranges, and under which conditions."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from orchestrator.core.cell import Scalar
from planners import check_setting, setting_kinds
from world_models.errors import UnknownNameError, UserError, brief, require

SettingCondition = tuple[tuple[str, tuple[Scalar, ...]], ...]
"""Other settings of the space, with the values that they must have."""

_KEYS = ("low", "high", "log", "choices", "when")


@runtime_checkable
class Suggest(Protocol):
    """A source of values: an Optuna trial, or `Known`."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """A number in `[low, high]`."""
        ...

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        """A whole number in `[low, high]`."""
        ...

    def suggest_categorical(self, name: str, choices: Sequence[Scalar]) -> Scalar:
        """One of the choices."""
        ...


@dataclass(frozen=True)
class Known:
    """Repeats earlier values. Raises KeyError for a setting without one."""

    values: Mapping[str, Scalar]

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """The earlier value."""
        return float(self.values[name])  # pyright: ignore[reportArgumentType]

    def suggest_int(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        """The earlier value."""
        return int(self.values[name])  # pyright: ignore[reportArgumentType]

    def suggest_categorical(self, name: str, choices: Sequence[Scalar]) -> Scalar:
        """The earlier value."""
        return self.values[name]


@dataclass(frozen=True)
class Range:
    """A range of numbers from `low` to `high`, both included."""

    name: str
    low: float
    high: float
    log: bool = False
    whole: bool = False
    when: SettingCondition = ()

    def suggest(self, suggest: Suggest) -> Scalar:
        """A suggested value."""
        if self.whole:
            return suggest.suggest_int(self.name, int(self.low), int(self.high), log=self.log)
        return suggest.suggest_float(self.name, self.low, self.high, log=self.log)

    def holds(self, value: Scalar) -> bool:
        """Whether this value could be suggested."""
        return isinstance(value, int | float) and not isinstance(value, bool) and self.low <= value <= self.high

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}{', log scale' if self.log else ''}"


@dataclass(frozen=True)
class Options:
    """A choice among some values."""

    name: str
    choices: tuple[Scalar, ...]
    when: SettingCondition = ()

    def suggest(self, suggest: Suggest) -> Scalar:
        """A suggested value."""
        return suggest.suggest_categorical(self.name, self.choices)

    def holds(self, value: Scalar) -> bool:
        """Whether this value could be suggested."""
        return value in self.choices

    def __str__(self) -> str:
        return " or ".join(str(choice) for choice in self.choices)


Dimension = Range | Options


@dataclass(frozen=True)
class Space:
    """The tuned settings; those that others depend on come first."""

    dimensions: tuple[Dimension, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the settings."""
        return tuple(dimension.name for dimension in self.dimensions)

    @property
    def conditional(self) -> bool:
        """Whether any setting is tuned only under a condition."""
        return any(dimension.when for dimension in self.dimensions)

    def settings(self, suggest: Suggest) -> dict[str, Scalar]:
        """Suggested settings, without those whose condition does not hold."""
        found: dict[str, Scalar] = {}
        for dimension in self.dimensions:
            if all(found.get(name) in values for name, values in dimension.when):
                found[dimension.name] = dimension.suggest(suggest)
        return found

    def part_of(self, settings: Mapping[str, Scalar]) -> dict[str, Scalar]:
        """The known settings that the space could suggest: a start for a study, which chooses the rest."""
        held = (dimension for dimension in self.dimensions if dimension.name in settings)
        return {dimension.name: settings[dimension.name] for dimension in held if dimension.holds(settings[dimension.name])}

    def words(self) -> dict[str, str]:
        """Each setting's range, with its condition, for people and for comparison."""
        return {dimension.name: f"{dimension}{_condition_words(dimension.when)}" for dimension in self.dimensions}


def space_of(raw: Mapping[str, object], planner: str) -> Space:
    """The space that a config describes. UserError says what is wrong, with the nearest name for an unknown setting."""
    kinds = setting_kinds(planner)
    require(bool(raw), f"the search space is empty: name settings of planner {planner}, e.g. space={planner}.")
    for name in raw:
        if name not in kinds:
            raise UnknownNameError(f"setting of planner {planner!r} in the search space:", name, kinds)
    dimensions = {name: _dimension(name, value, kinds[name], planner) for name, value in raw.items() if value is not None}
    return Space(tuple(_in_order(dimensions)))


def _dimension(name: str, raw: object, kind: str, planner: str) -> Dimension:
    where = f"space.{name}"
    require(
        isinstance(raw, Mapping),
        f"{where} {raw!r} is not a range: give e.g. {{low: 0.01, high: 1, log: true}} or {{choices: [a, b]}}.",
    )
    assert isinstance(raw, Mapping)
    for key in raw:
        if key not in _KEYS:
            raise UnknownNameError(f"key of {where}:", str(key), _KEYS)
    when = _condition(where, raw.get("when"))
    if raw.get("choices") is not None:
        require("low" not in raw and "high" not in raw, f"{where} has choices and a range: give one of them.")
        return _options(where, name, raw["choices"], when, planner)
    if kind == "flag":
        return Options(name, (False, True), when)
    require(kind != "choice", f"{where} needs a list of names: give choices, e.g. {{choices: [a, b]}}.")
    return _range(where, name, raw, kind == "count", when, planner)


def _range(where: str, name: str, raw: Mapping[str, object], whole: bool, when: SettingCondition, planner: str) -> Range:
    bounds = []
    for end in ("low", "high"):
        value = raw.get(end)
        valid = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
        require(valid, f"{where}.{end} {brief(value)} is not a finite number: a range has low and high.")
        assert isinstance(value, int | float)
        require(
            not whole or float(value).is_integer(),
            f"{where}.{end} {value!r} is not a whole number, but {name} must be one: give one.",
        )
        bounds.append(float(value))
    low, high = bounds
    log = raw.get("log", False)
    require(isinstance(log, bool), f"{where}.log {log!r} is neither true nor false: give one of them.")
    require(low <= high, f"{where} goes from {low:g} to {high:g}: low is above high; swap them.")
    require(low < high, f"{where} goes from {low:g} to {high:g}: fix it with planners.NAME.settings.{name}={low:g} instead.")
    require(not log or low > 0, f"{where} has a log scale from {low:g}: it must start above 0, e.g. low: 0.001.")
    for value in (low, high):
        check_setting(planner, name, int(value) if whole else value)
    return Range(name, low, high, bool(log), whole, when)


def _options(where: str, name: str, raw: object, when: SettingCondition, planner: str) -> Options:
    require(
        isinstance(raw, Sequence) and not isinstance(raw, str) and len(raw) > 1,
        f"{where}.choices {raw!r}: give at least two, e.g. [a, b].",
    )
    assert isinstance(raw, Sequence)
    for position, value in enumerate(raw):
        require(value not in raw[:position], f"{where}.choices has {value!r} twice: name each once.")
        check_setting(planner, name, value)
    return Options(name, tuple(raw), when)


def _condition(where: str, raw: object) -> SettingCondition:
    if raw is None:
        return ()
    require(
        isinstance(raw, Mapping), f"{where}.when {raw!r} is not a condition: give e.g. {{sync: gd}} or {{sync: [gd, cem]}}."
    )
    assert isinstance(raw, Mapping)
    return tuple((str(name), tuple(value) if isinstance(value, list) else (value,)) for name, value in raw.items())


def _in_order(dimensions: Mapping[str, Dimension]) -> Iterator[Dimension]:
    """The dimensions in order of dependence: those that others depend on come first."""
    done: set[str] = set()
    for dimension in dimensions.values():
        for name, values in dimension.when:
            if name not in dimensions:
                raise UnknownNameError(f"setting that space.{dimension.name} depends on:", name, dimensions)
            possible = [value for value in values if dimensions[name].holds(value)]
            require(
                bool(possible), f"space.{dimension.name} depends on {name} being {_or(values)}, which space.{name} never is."
            )
    while len(done) < len(dimensions):
        ready = [d for d in dimensions.values() if d.name not in done and all(name in done for name, _ in d.when)]
        if not ready:
            left = ", ".join(sorted(set(dimensions) - done))
            raise UserError(f"the conditions of {left} depend on each other in a circle: remove one of them.")
        done |= {dimension.name for dimension in ready}
        yield from ready


def _condition_words(condition: SettingCondition) -> str:
    return "".join(f", where {name} is {_or(values)}" for name, values in condition)


def _or(values: Sequence[Scalar]) -> str:
    return " or ".join(str(value) for value in values)
