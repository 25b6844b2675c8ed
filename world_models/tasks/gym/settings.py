"""Checks of the settings of a Gymnasium task, and the defaults that a preset gives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from numbers import Real
from typing import Any

import numpy as np

from world_models.errors import UnknownNameError, UserError, brief, require
from world_models.tasks.base import check_block
from world_models.tasks.gym.behaviour import BEHAVIOURS, SCRIPTED
from world_models.tasks.gym.finding import STATES
from world_models.tasks.gym.making import environment_id, kwargs_text
from world_models.tasks.gym.presets import preset_of
from world_models.tasks.gym.processes import MOST_PROCESSES
from world_models.tasks.gym.scripts import SCRIPTS, script_of
from world_models.tasks.gym.simulator import TERMINATED, TOLERANCE, VERDICT

AUTO = "auto"
"""The preset's behaviour, or `smooth`."""
LONGEST = 100_000
"""Largest `longest`."""


def normalised(given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings as they are kept: hashable, complete but for features and tolerance. Raises UserError for invalid ones."""
    settings = dict(given)
    name = settings["id"] = environment_id(settings["id"])
    settings["kwargs"] = kwargs_text(settings["kwargs"])
    preset = preset_of(name)
    of_verdict = settings["success"] != TOLERANCE and not callable(settings["success"])
    if preset is not None:
        defaults: dict[str, Any] = {
            "keys": preset.keys,
            "strength": preset.strength,
        }
        if settings["features"] is None and not of_verdict:
            defaults |= {"features": preset.features}
            defaults |= {"tolerance": preset.tolerance} if settings["tolerance"] is None else {}
        settings |= {key: value for key, value in defaults.items() if settings[key] is None}
    if of_verdict and settings["features"] is None:
        settings |= {"features": (VERDICT,), "tolerance": (0.5,)}
    settings["strength"] = 1.0 if settings["strength"] is None else settings["strength"]
    if settings["behaviour"] == AUTO:
        settings["behaviour"] = preset.behaviour if preset is not None else "smooth"
    settings["features"] = _tuple("features", settings["features"])
    settings["keys"] = _tuple("keys", settings["keys"])
    settings["info"] = _tuple("info", settings["info"])
    settings["tolerance"] = _numbers("tolerance", settings["tolerance"])
    _check(settings)
    return settings


def _check(settings: Mapping[str, Any]) -> None:
    _check_behaviour(settings["id"], settings["behaviour"])
    if settings["state"] not in STATES:
        raise UnknownNameError("state of task gymnasium", settings["state"], STATES)
    check_block(settings["action_block"])
    several = settings["processes"]
    whole = isinstance(several, int) and not isinstance(several, bool) and 1 <= several <= MOST_PROCESSES
    require(
        whole, f"processes {brief(several)} is not a whole number from 1 to {MOST_PROCESSES}: give 1 to simulate in this one."
    )
    picture = settings["picture"]
    require(
        picture is None or (isinstance(picture, str) and bool(picture)),
        f"picture {brief(picture)} is not the key of an observed picture: give one, or `observation` if there is no key.",
    )
    away, longest, success = settings["away"], settings["longest"], settings["success"]
    require(_is_number(away) and away >= 0, f"away {brief(away)} is not a number of tolerances: give 0 or more, such as 2.")
    strength = settings["strength"]
    right = _is_number(strength) and 0 < strength <= 1
    require(right, f"strength {brief(strength)} is not a number above 0, up to 1: give the scale of the behaviour's actions.")
    whole = isinstance(longest, int) and not isinstance(longest, bool) and 1 <= longest <= LONGEST
    require(whole, f"longest {brief(longest)} is not a whole number of replayed steps from 1 to {LONGEST}: give such as 500.")
    known = (isinstance(success, str) and bool(success)) or callable(success)
    require(
        known,
        f"success {brief(success)} is neither {TOLERANCE!r}, {TERMINATED!r}, a key of info nor a function: give one of them.",
    )
    pair = (settings["get_state"], settings["set_state"])
    for function in (*pair, settings["distance_by"]):
        require(function is None or callable(function), f"{brief(function)} is not a function: give one from Python, or none.")
    require((pair[0] is None) == (pair[1] is None), "get_state and set_state belong together: give both or none.")


def _check_behaviour(name: str, behaviour: object) -> None:
    if callable(behaviour):
        return
    if behaviour not in (*BEHAVIOURS, SCRIPTED):
        raise UnknownNameError("behaviour of task gymnasium", str(behaviour), (AUTO, *BEHAVIOURS, SCRIPTED))
    require(
        behaviour != SCRIPTED or script_of(name) is not None,
        f"{name} has no script of ours, as {', '.join(sorted(SCRIPTS))} has: give behaviour a function from Python, which "
        "takes a random generator and returns a policy of what is observed.",
    )


def tolerances(name: str, count: int, given: float | tuple[float, ...] | None) -> tuple[float, ...]:
    """One tolerance per feature. Raises UserError where there is none, or not one for each."""
    if given is None:
        raise UserError(
            f"task gymnasium has no preset for {name}: give `features`, the observed indices or names that make the goal, and "
            "their `tolerance`, a number or one for each."
        )
    values = tuple(given) if isinstance(given, tuple) else (given,) * count
    require(len(values) == count, f"tolerance has {len(values)} values for {count} features of {name}: give one for each.")
    return values


def _tuple(name: str, value: Any) -> tuple[Any, ...] | None:
    if value is None:
        return None
    require(
        isinstance(value, Iterable) and not isinstance(value, str | Mapping),
        f"{name} {brief(value)} is not a list: give one, such as [0, 1].",
    )
    return tuple(value)


def _numbers(name: str, value: Any) -> float | tuple[float, ...] | None:
    """A positive number or several. Raises UserError for anything else."""
    if value is None:
        return None
    values = tuple(value) if isinstance(value, list | tuple | np.ndarray) else (value,)
    if not values or not all(_is_number(one) and one > 0 for one in values):
        raise UserError(
            f"{name} {brief(value)} is not a positive number or a list of them: give the largest error at the goal."
        )
    kept = tuple(float(one) for one in values)
    return kept if isinstance(value, list | tuple | np.ndarray) else kept[0]


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and bool(np.isfinite(float(value)))
