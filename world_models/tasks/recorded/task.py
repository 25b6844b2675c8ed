"""A task without a simulator: its observations, actions, bounds and tolerances, as a dataset has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from jaxtyping import Bool, Float, Shaped, UInt8

from world_models.errors import UserError, brief, require
from world_models.tasks.base import BOX, DISCRETE, Problem, check_block
from world_models.tasks.gym.pictures import bars
from world_models.tasks.gym.spaces import Actions


@dataclass(frozen=True)
class RecordedTask:
    """A robot, plant or game of which there are recordings and no simulator; plans are judged by what the model predicts.

    Its states are its observations, its problems rows of a dataset. `grasp data task PATH` writes the settings.
    """

    tolerance: tuple[float | None, ...] = ()
    """Largest error of each observed feature at the goal, in its unit; None for those that do not matter."""
    low: tuple[float, ...] = ()
    """Bounds of recorded actions, which become -1; none where actions are classes."""
    high: tuple[float, ...] = ()
    """Bounds of recorded actions, which become 1."""
    classes: int | None = None
    """Number of classes of an action, recorded as 0, 1, ...; None if actions are a box."""
    features: tuple[str, ...] = ()
    """Names of the observed features; none: `feature_0`, `feature_1` and so on."""
    action_block: int = 1
    """Recorded steps per model step."""

    name = "recorded"
    version = 1
    distance_unit = "tolerances"
    no_simulator = "it is known from recordings only"

    def __post_init__(self) -> None:
        check_block(self.action_block)
        given = [each for each in self.tolerance if each is not None]
        require(
            bool(given) and all(0.0 < each < np.inf for each in given),
            f"tolerance {brief(list(self.tolerance))} has no positive number: give the largest error at the goal of each "
            "observed feature, and null for those that do not matter.",
        )
        names = len(self.features)
        require(
            names in (0, len(self.tolerance)),
            f"features has {names} names and tolerance {len(self.tolerance)} numbers: give one of each for every feature.",
        )
        if self.classes is None:
            self._check_bounds()
        else:
            require(
                self.classes > 1, f"classes {self.classes} is not a number of classes: give 2 or more, or bounds low and high."
            )
            require(not self.low and not self.high, "actions are either classes or have bounds: leave out low and high.")

    def _check_bounds(self) -> None:
        bounds = [*self.low, *self.high]
        ordered = len(self.low) == len(self.high) > 0 and all(np.isfinite(each) for each in bounds)
        require(
            ordered and all(low < high for low, high in zip(self.low, self.high, strict=True)),
            f"low {brief(list(self.low))} and high {brief(list(self.high))} are not bounds of actions: give a lower and a "
            "higher number for each value of an action.",
        )

    @property
    def dynamics(self) -> Mapping[str, object]:
        """Name, and the settings that a world model must agree with."""
        bounds = {"low": list(self.low), "high": list(self.high)} if self.classes is None else {"classes": self.classes}
        observed = list(self.features) or self.observation_dim
        return {"name": self.name, "observed": observed, **bounds, "action_block": self.action_block}

    @property
    def action_kind(self) -> str:
        """A box, or classes."""
        return BOX if self.classes is None else DISCRETE

    @property
    def action_dim(self) -> int:
        """Values of an action, or the number of classes."""
        return len(self.low) if self.classes is None else self.classes

    @property
    def observation_dim(self) -> int:
        """Number of observed features."""
        return len(self.tolerance)

    @property
    def goal_tolerance(self) -> Float[np.ndarray, " observation"]:
        """The tolerances, infinite for features that do not matter."""
        return np.array([np.inf if each is None else each for each in self.tolerance], np.float64)

    def problem(self, seed: int, horizon: int) -> Problem:
        """Raises UserError: nothing can be drawn without a simulator."""
        self._refuse("draws no problems of its own: give problems.data=PATH to grasp sweep, plan or tune")

    def simulate(
        self, states: Float[np.ndarray, "batch observation"], actions: Float[np.ndarray, "batch time action"]
    ) -> Float[np.ndarray, "batch time_plus_one observation"]:
        """The states themselves where there are no actions. Raises UserError otherwise."""
        if actions.shape[1]:
            self._refuse("executes nothing: plan open loop (mode=open_loop), which is judged in the world model")
        return states[:, None]

    def sample(
        self, rng: np.random.Generator, count: int, length: int
    ) -> tuple[Float[np.ndarray, "count time_plus_one observation"], Float[np.ndarray, "count length action"]]:
        """Raises UserError: behaviour is in the recordings."""
        self._refuse("collects no data: train from recordings with data=PATH")

    def _refuse(self, fault: str) -> NoReturn:
        raise UserError(f"task {self.name} has no simulator and {fault}.")

    def observe(self, states: Float[np.ndarray, "*batch observation"]) -> Float[np.ndarray, "*batch observation"]:
        """The states."""
        return states

    def imagined(self, observations: Float[np.ndarray, "*batch observation"]) -> Float[np.ndarray, "*batch observation"]:
        """The predicted observations, which are states."""
        return observations

    def normalise(self, recorded: Shaped[np.ndarray, "n *shape"]) -> Float[np.ndarray, "n action"]:
        """Recorded actions between -1 and 1, or as classes."""
        if self.classes is not None:
            return Actions(DISCRETE, self.classes, first=0).normalised(recorded)
        return Actions(BOX, len(self.low), low=np.array(self.low), high=np.array(self.high)).normalised(recorded)

    @property
    def restored_from(self) -> str:
        """The columns that a state takes, in words."""
        return "columns of its observed features"

    def recorded_states(
        self, columns: Mapping[str, Shaped[np.ndarray, "n *shape"]], observations: Float[np.ndarray, "n observation"] | None
    ) -> Float[np.ndarray, "n observation"] | None:
        """The observations, which are the states."""
        return observations

    def pose(self, observations: Float[np.ndarray, "*batch observation"]) -> Float[np.ndarray, "*batch pose"]:
        """The features that matter."""
        return observations[..., np.isfinite(self.goal_tolerance)]

    def distance(
        self, poses: Float[np.ndarray, "*batch pose"], goals: Float[np.ndarray, "*batch pose"]
    ) -> Float[np.ndarray, "*batch"]:
        """The largest error of a feature, in its tolerance."""
        return np.abs((poses - goals) / self._tolerances).max(-1)

    def reached(
        self, poses: Float[np.ndarray, "*batch pose"], goals: Float[np.ndarray, "*batch pose"]
    ) -> Bool[np.ndarray, "*batch"]:
        """Whether every feature is within its tolerance."""
        return np.asarray(self.distance(poses, goals) <= 1.0)

    def pose_errors(
        self, poses: Float[np.ndarray, "*batch pose"], goals: Float[np.ndarray, "*batch pose"]
    ) -> dict[str, Float[np.ndarray, "*batch"]]:
        """The distance in tolerances, and the error of each of the first eight features that matter."""
        names = self.features or tuple(f"feature_{i}" for i in range(self.observation_dim))
        named = [name for name, tolerance in zip(names, self.tolerance, strict=True) if tolerance is not None]
        errors = {f"{name}_error": np.abs(poses - goals)[..., i] for i, name in enumerate(named[:8])}
        return {"distance_tolerances": self.distance(poses, goals), **errors}

    def render(self, state: Float[np.ndarray, " observation"], size: int = 64) -> UInt8[np.ndarray, "size size 3"]:
        """The features as bars, in ten tolerances, or in their own unit where they do not matter."""
        scale = np.where(np.isfinite(self.goal_tolerance), 10.0 * self.goal_tolerance, 1.0)
        return bars(state / scale, size)

    @property
    def _tolerances(self) -> Float[np.ndarray, " pose"]:
        return self.goal_tolerance[np.isfinite(self.goal_tolerance)]


def recorded_task(**settings: object) -> RecordedTask:
    """The task with settings as a config holds them. Raises UserError for those that are not of their kind."""
    known: dict[str, Any] = dict(settings)
    for name in ("tolerance", "low", "high"):
        if name in known:
            known[name] = _numbers(name, known[name], null=name == "tolerance")
    if "features" in known:
        known["features"] = tuple(str(each) for each in _listed("features", known["features"]))
    classes = known.get("classes")
    whole = classes is None or (isinstance(classes, int) and not isinstance(classes, bool))
    require(whole, f"classes {brief(classes)} is not a number of classes: give 2 or more, or bounds low and high.")
    return RecordedTask(**known)


def _numbers(name: str, value: object, null: bool) -> tuple[float | None, ...]:
    found: list[float | None] = []
    for each in _listed(name, value):
        number = isinstance(each, int | float) and not isinstance(each, bool)
        require(number or (null and each is None), f"{name} {brief(value)} has {brief(each)}, which is not a number.")
        found.append(float(each) if isinstance(each, int | float) else None)
    return tuple(found)


def _listed(name: str, value: object) -> tuple[object, ...]:
    require(isinstance(value, list | tuple), f"{name} {brief(value)} is not a list: give one, such as [0.1, 0.2].")
    assert isinstance(value, list | tuple)
    return tuple(value)
