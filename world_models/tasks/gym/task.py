"""Any Gymnasium environment as a task: `make_task("gymnasium", id="Pendulum-v1")`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Shaped, UInt8

from world_models.errors import UserError
from world_models.seeding import stable_rng
from world_models.tasks.base import BOX, Problem, check_horizon
from world_models.tasks.gym.behaviour import SCRIPTED, WARM_UP, behave, varied
from world_models.tasks.gym.finding import Source, simulator_of
from world_models.tasks.gym.pictures import bars, can_render, picture_of
from world_models.tasks.gym.presets import preset_of
from world_models.tasks.gym.problems import DRAWS, draw_problem
from world_models.tasks.gym.processes import Helpers
from world_models.tasks.gym.recorded import RESTORED_FROM, Rows, states_of_rows
from world_models.tasks.gym.scripts import Script, script_of, scripted
from world_models.tasks.gym.settings import AUTO, normalised, tolerances
from world_models.tasks.gym.simulator import TOLERANCE, VERDICT, Simulator
from world_models.tasks.gym.spaces import feature_indices


@dataclass(frozen=True)
class GymTask:
    """An environment of Gymnasium whose goals are states that scripted behaviour reaches. Settings left out: `presets.py`.

    State = [observation, snapshot of the simulator]; the observation is the environment's own, flattened, and the pose is its
    `features`. Raises UserError for invalid settings, and for environments whose states cannot be restored exactly.
    """

    id: str = ""
    """The environment's id, such as `Pendulum-v1`."""
    kwargs: Mapping[str, object] | str | None = None
    """Keyword arguments of the environment; kept as JSON text."""
    features: tuple[int | str, ...] | None = None
    """Indices or names of the observed features in which the goal is reached; None: the preset's, or all."""
    tolerance: float | tuple[float, ...] | None = None
    """Largest error of each of these features at the goal, in its unit; distances count in tolerances."""
    success: str | Callable[[Any, Any], Any] = TOLERANCE
    """Success test: `tolerance` (a distance of at most 1), `terminated`, a key of `info`, or a function of poses and goals."""
    distance_by: Callable[[Any, Any], Any] | None = None
    """Distance of poses and goals; None: Euclidean, each feature divided by its tolerance."""
    behaviour: str | Script = AUTO
    """Behaviour that leads to goals: `random`, `smooth` or `hold`; `scripted` (our policy for the environment), or a function
    that takes a random generator and returns a policy, a function of what is observed; `auto`: the preset's, or `smooth`."""
    strength: float | None = None
    """Scale of that behaviour's actions if they are a box, up to 1; None: the preset's, or 1."""
    away: float = 2.0
    """Least distance of a goal from its start and from where null actions end."""
    keys: tuple[str, ...] | None = None
    """Keys of a dict observation; None: all of its boxes but the goals."""
    state: str = "auto"
    """How states are taken: `mujoco`, `attribute`, `callables`, `replay`, or `auto`, the first of them that is exact."""
    longest: int = 200
    """Most steps that a replayed state holds."""
    action_block: int = 1
    """Environment steps per model step."""
    get_state: Callable[[Any], Any] | None = None
    """`get_state(env)` gives numbers, arrays, or lists and mappings of them."""
    set_state: Callable[[Any, Any], object] | None = None
    """`set_state(env, state)` restores them."""
    picture: str | None = None
    """Key of the observed pictures (`observation` if there is none), of states by replay; None: those that are rendered."""
    info: tuple[str, ...] | None = None
    """Keys of `info` whose numbers are observed features too."""
    processes: int = 1
    """Processes that simulate a batch; the results are the same, and a cell's id does not depend on it."""

    name = "gymnasium"
    distance_unit = "tolerances"

    def __post_init__(self) -> None:
        given = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        for name, value in normalised(given).items():
            object.__setattr__(self, name, value)

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    @property
    def source(self) -> Source:
        """Everything that determines the environment and how its states are taken."""
        verdict = self.success if isinstance(self.success, str) else TOLERANCE
        functions = (self.get_state, self.set_state)
        return Source(
            self.id, str(self.kwargs), self.keys, verdict, self.state, self.longest, *functions, self.picture, self.info
        )

    @cached_property
    def _found(self) -> tuple[Simulator, str]:
        return simulator_of(self.source)

    @property
    def simulator(self) -> Simulator:
        """The environment, made on first use; it holds nothing between calls that matters."""
        return self._found[0]

    @property
    def state_kind(self) -> str:
        """How states are taken: `mujoco`, `attribute`, `callables` or `replay`."""
        return self._found[1]

    @property
    def version(self) -> int:
        """1; 2 of discrete actions, which in version 1 were planned as a box."""
        return 1 if self.action_kind == BOX else 2

    @property
    def action_kind(self) -> str:
        """`box`, or `discrete`: one value per class, and the largest is executed, the first of equal ones."""
        return self.simulator.interface.actions.kind

    @property
    def action_dim(self) -> int:
        """Number of values of an action; of discrete ones, the number of classes."""
        return self.simulator.interface.actions.size

    @property
    def observation_dim(self) -> int:
        """Number of observed features, the environment's verdict among them where it tells success."""
        return self.simulator.size

    @cached_property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the observed features: the preset's, or the key and an index."""
        names = self.simulator.interface.names
        preset = preset_of(self.id)
        known = preset is not None and self.keys == preset.keys and self.info is None
        own = preset.names[: len(names)] if preset is not None and known else ()
        return own + names[len(own) :]

    @cached_property
    def pose_indices(self) -> tuple[int, ...]:
        """Positions of the pose in the observation: the features, and the environment's verdict where it tells success."""
        names = self.feature_names
        found = feature_indices(names, self.features or tuple(range(len(names))), self.id)
        verdict = (names.index(VERDICT),) if self._has_verdict else ()
        return tuple(i for i in found if i not in verdict) + verdict

    @cached_property
    def pose_tolerance(self) -> Float[np.ndarray, " pose"]:
        """Tolerance of each part of the pose; infinite for the verdict where other features make the distance."""
        features = self.features or tuple(range(len(self.feature_names)))
        given = tolerances(self.id, len(features), self.tolerance)
        by_index = dict(zip(feature_indices(self.feature_names, features, self.id), given, strict=True))
        return np.array([by_index.get(i, np.inf) for i in self.pose_indices])

    @property
    def _has_verdict(self) -> bool:
        return self.source.verdict != TOLERANCE

    @property
    def goal_tolerance(self) -> Float[np.ndarray, " observation"]:
        """The tolerance of each feature, infinite for those that do not matter."""
        tolerance = np.full(self.observation_dim, np.inf)
        tolerance[list(self.pose_indices)] = self.pose_tolerance
        if self._has_verdict:
            tolerance[-1] = 0.5
        return tolerance

    @property
    def dynamics(self) -> Mapping[str, object]:
        """The settings that change the dynamics or what is observed."""
        settings: dict[str, object] = {"name": self.name, "id": self.id, "action_block": self.action_block}
        settings |= {"kwargs": json.loads(str(self.kwargs))} if self.kwargs != "{}" else {}
        settings |= {"keys": list(self.keys)} if self.keys is not None else {}
        settings |= {"success": self.success} if self._has_verdict else {}
        settings |= {"picture": self.picture} if self.picture is not None else {}
        settings |= {"info": list(self.info)} if self.info is not None else {}
        return settings

    @property
    def _problem_key(self) -> tuple[str, ...]:
        """Text of the settings that problems depend on."""
        behaviour = self.behaviour
        if callable(behaviour):
            behaviour = f"{behaviour.__module__}:{behaviour.__qualname__}"
        settings = [self.features, self.tolerance, self.keys, behaviour, self.strength, self.away, self.source.verdict]
        settings += [self.info] if self.info is not None else []
        return (self.name, self.id, str(self.kwargs), json.dumps(settings))

    def problem(self, seed: int, horizon: int) -> Problem:
        """The problem of a seed: its goal is where `behaviour` leads from a reset, `away` tolerances from doing nothing.

        Raises UserError if none is found at this horizon.
        """
        check_horizon(horizon, self.action_block)
        rng = stable_rng(*self._problem_key, horizon, seed)
        drawn = draw_problem(self.simulator, self._behave, rng, horizon, self._is_apart)
        kind = SCRIPTED if self._script is not None else str(self.behaviour)
        if drawn is None:
            raise UserError(
                f"none of {DRAWS} trajectories of {horizon} steps with behaviour {kind!r} ends in a state of "
                f"{self.id} that is a goal, {self.away:g} tolerances from its start and from where null actions end: choose "
                "another horizon or behaviour, a smaller tolerance or a smaller away."
            )
        start, goal, actions = drawn
        return Problem(seed, horizon, kind, start, goal, actions)

    @property
    def _script(self) -> Script | None:
        """The script of scripted behaviour; None for blind behaviour."""
        if isinstance(self.behaviour, str):
            return script_of(self.id) if self.behaviour == SCRIPTED else None
        return self.behaviour

    def _behave(
        self, rng: np.random.Generator, start: Float[np.ndarray, " state"], length: int
    ) -> tuple[Float[np.ndarray, "time_plus_one state"], Float[np.ndarray, "time action"]]:
        """States and actions of the behaviour that leads to goals."""
        if self._script is not None:
            return self.simulator.follow(start, self._script(rng), length)
        actions = behave(rng, str(self.behaviour), self.simulator.interface.actions, 1, length, self.strength or 1.0)[0]
        return self.simulator.run(start, actions), actions

    def _is_apart(self, goal: Float[np.ndarray, " state"], other: Float[np.ndarray, " state"]) -> bool:
        """Whether the goal is one, and another state neither reaches it nor is nearer than `away`."""
        goals, others = self.pose(self.observe(goal)), self.pose(self.observe(other))
        apart = not self.reached(others, goals) and self.distance(others, goals) >= self.away
        return bool(apart and self.reached(goals, goals))

    def simulate(
        self, states: Float[np.ndarray, "batch state"], actions: Float[np.ndarray, "batch time action"]
    ) -> Float[np.ndarray, "batch time_plus_one state"]:
        """States before and after each action, row after row in an environment of each process; replays are exact."""
        if self.processes > 1 and len(states) > 1:
            return self._helpers.simulate(states, actions, self._simulate_here)
        return self._simulate_here(states, actions)

    @property
    def _helpers(self) -> Helpers:
        """The other processes, started when there are none."""
        held = vars(self)
        if "helpers" not in held or not held["helpers"].end.alive:
            held["helpers"] = Helpers(dataclasses.replace(self, processes=1), self.processes - 1)
        return held["helpers"]

    def _simulate_here(
        self, states: Float[np.ndarray, "batch state"], actions: Float[np.ndarray, "batch time action"]
    ) -> Float[np.ndarray, "batch time_plus_one state"]:
        result = np.empty((len(states), actions.shape[1] + 1, states.shape[1]))
        for row, (start, plan) in enumerate(zip(states, actions, strict=True)):
            result[row] = self.simulator.run(start, plan)
        return result

    def observe(self, states: Float[np.ndarray, "*batch state"]) -> Float[np.ndarray, "*batch observation"]:
        """The environment's own observations, which are part of the states."""
        return states[..., : self.observation_dim]

    def normalise(self, recorded: Shaped[np.ndarray, "n *shape"]) -> Float[np.ndarray, "n action"]:
        """The task's actions for recorded ones of the environment, in its units or classes."""
        return self.simulator.interface.actions.normalised(recorded)

    @property
    def restored_from(self) -> str:
        """Columns that determine a state, in words."""
        return RESTORED_FROM

    def recorded_states(
        self, columns: Rows, observations: Float[np.ndarray, "n observation"] | None
    ) -> Float[np.ndarray, "n state"] | None:
        """States of recorded rows; None if their columns do not determine them."""
        return states_of_rows(self.simulator, self.id, columns, observations)

    def reset_state(self, seed: int) -> Float[np.ndarray, " state"]:
        """The state after a reset with a seed."""
        return self.simulator.reset(seed)

    def pose(self, observations: Float[np.ndarray, "*batch observation"]) -> Float[np.ndarray, "*batch pose"]:
        """The features in which the goal is reached, and the environment's verdict where it tells success."""
        return observations[..., list(self.pose_indices)]

    def distance(
        self, poses: Float[np.ndarray, "*batch pose"], goals: Float[np.ndarray, "*batch pose"]
    ) -> Float[np.ndarray, "*batch"]:
        """Euclidean distance with each feature divided by its tolerance, unless `distance_by` is given."""
        if self.distance_by is not None:
            return np.asarray(self.distance_by(poses, goals), dtype=np.float64)
        return np.asarray(np.linalg.norm((poses - goals) / self.pose_tolerance, axis=-1))

    def reached(
        self, poses: Float[np.ndarray, "*batch pose"], goals: Float[np.ndarray, "*batch pose"]
    ) -> Bool[np.ndarray, "*batch"]:
        """The success test: a distance of at most 1, the environment's verdict, or the function that was given."""
        if callable(self.success):
            return np.asarray(self.success(poses, goals), dtype=bool)
        if self._has_verdict:
            return np.asarray(np.broadcast_to(poses[..., -1] > 0.5, np.broadcast_shapes(poses.shape, goals.shape)[:-1]))
        return np.asarray(np.linalg.norm((poses - goals) / self.pose_tolerance, axis=-1) <= 1.0)

    def pose_errors(
        self, poses: Float[np.ndarray, "*batch pose"], goals: Float[np.ndarray, "*batch pose"]
    ) -> dict[str, Float[np.ndarray, "*batch"]]:
        """The distance in tolerances, and the error of each feature under its name, of the first eight."""
        names = [self.feature_names[i] for i in self.pose_indices]
        errors = {name if "_" in name else f"{name}_error": np.abs(poses - goals)[..., i] for i, name in enumerate(names[:8])}
        return {"distance_tolerances": self.distance(poses, goals), **errors}

    @property
    def can_render(self) -> bool:
        """Whether the environment draws pictures in this process, or observes them."""
        return self.picture is not None or can_render(self.simulator)

    def render(self, state: Float[np.ndarray, " state"], size: int = 64) -> UInt8[np.ndarray, "size size 3"]:
        """The environment's picture of a state, or its features as bars where it draws none in this process."""
        if not self.can_render:
            return bars(self.observe(state), size)
        return picture_of(self.simulator, state, size, self.id)

    def sample(
        self, rng: np.random.Generator, count: int, length: int
    ) -> tuple[Float[np.ndarray, "count time_plus_one state"], Float[np.ndarray, "count length action"]]:
        """Behaviour of all kinds, weak and strong, from resets and, in every other row, from states after one.

        With a script, three of four rows follow it, and the others go on blindly from where it leads.
        """
        if self._script is not None:
            return scripted(self.simulator, self._script, rng, count, length)
        simulator = self.simulator
        starts = np.stack([simulator.reset(int(seed)) for seed in rng.integers(2**31 - 1, size=count)])
        warm_up = varied(rng, simulator.interface.actions, count, WARM_UP)
        for row, steps in enumerate(rng.integers(WARM_UP, size=count)):
            starts[row] = simulator.run(starts[row], warm_up[row, : steps * (row % 2)])[-1]
        actions = varied(rng, simulator.interface.actions, count, length)
        return self.simulate(starts, actions), actions
