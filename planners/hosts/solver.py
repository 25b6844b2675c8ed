"""A planner of ours behind the solver interface of stable-worldmodel and le-wm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeVar, cast, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from planners import make_planner
from planners.base import ModelProblems, Plans, Start
from planners.hosts.goal_costs import ObjectiveCost, PlanCost
from planners.hosts.infos import Info, batch_of, on_device, rows_of
from planners.hosts.options import LIFTED, settings_of
from planners.search.initialisers import interpolated_states
from planners.search.search_planner import SearchSettings
from world_models.base import WorldModel, rollout
from world_models.errors import UserError, require


@dataclass(frozen=True)
class HostProblems:
    """A host's info as problems of ours."""

    model: WorldModel
    problems: ModelProblems
    goal_cost: ObjectiveCost | PlanCost
    """The problems' goal cost, which knows the host's units."""


@runtime_checkable
class Source(Protocol):
    """A host's model and costs."""

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of the model."""
        ...

    def problems(self, info: Info, steps: int, low: Tensor, high: Tensor, lifted: bool) -> HostProblems:
        """Problems of `steps` model steps; UserError if the host lacks what they need, and with `lifted` a model that steps."""
        ...

    def cost_of(self, info: Info, actions: Float[Tensor, "batch time action"]) -> Float[Tensor, " batch"]:
        """The host's own cost of one plan per environment."""
        ...


class HostedPlanner:
    """Base of the solvers: `configure`, `solve` and the sizes that a host's policy reads."""

    planner: ClassVar[str] = "grasp"

    def __init__(
        self,
        source: Source,
        batch_size: int | None = None,
        device: str | torch.device | None = None,
        seed: int = 1234,
        bound: float | None = None,
        check_cost: bool = True,
        **settings: Any,
    ) -> None:
        """A solver that plans with `settings` of `planner`, at most `batch_size` environments at once (None: all).

        The n-th problem since `configure` has the seed `seed + n`, so that neither the batch size nor the other environments
        matter. `bound` is the largest absolute value of an action in the units that the host's model sees; None: no bounds, as
        in the host's own solvers. `check_cost` compares the cost of each plan with the host's own.

        Raises UserError for a setting that is wrong or a device that is not the model's, UnknownNameError for unknown names.
        """
        self.settings = settings_of(self.planner, settings)
        self._source, self._batch_size, self._seed, self._check_cost = source, batch_size, seed, check_cost
        self._bound = float("inf") if bound is None else bound
        require(batch_size is None or batch_size >= 1, f"batch_size {batch_size} is not a valid number of environments.")
        require(self._bound > 0, f"bound {bound} is not positive: give the largest absolute value of an action.")
        if device is not None:
            found = source.device.type
            sentence = f"device {str(device)!r} is not the model's, which is on {found}: move the model, or give {found}."
            require(torch.device(device).type == found, sentence)
        self._planner = make_planner(self.settings)
        self._sizes = 0, 0, 0
        self._planned = 0

    def configure(self, *, action_space: Any, n_envs: int, config: Any) -> None:
        """Take the sizes of a batch of environments, and begin with the first seed.

        `action_space` is that of all environments together; `config` has `horizon` and `action_block`. Raises UserError for
        discrete actions.
        """
        continuous = action_space.dtype is not None and np.issubdtype(action_space.dtype, np.floating)
        require(continuous, f"actions of {action_space} are not continuous: take a discrete solver of the host's.")
        self._sizes = int(config.horizon), n_envs, int(np.prod(action_space.shape[1:])) * int(config.action_block)
        self._planned = 0

    @property
    def horizon(self) -> int:
        """Model steps of a plan; 0 before `configure`."""
        return self._sizes[0]

    @property
    def n_envs(self) -> int:
        """Number of environments; 0 before `configure`."""
        return self._sizes[1]

    @property
    def action_dim(self) -> int:
        """Size of one model step's action, the environment's times `action_block`; 0 before `configure`."""
        return self._sizes[2]

    def __call__(self, info_dict: Info, init_action: Tensor | None = None) -> dict[str, Any]:
        """The same as `solve`."""
        return self.solve(info_dict, init_action)

    def solve(self, info_dict: Info, init_action: Tensor | None = None) -> dict[str, Any]:
        """A plan per environment of `info_dict`; the first attempt begins at `init_action` `[batch, given, action]`.

        Returns `actions` `[batch, horizon, action]` on the CPU, `costs` in the host's units, and by environment the `status`
        and the number of model `evaluations`. Raises UserError where the host's costs are not what was planned for.
        """
        require(
            self.horizon >= 1, f"horizon {self.horizon} is not a plan length: call configure first, as the host's policies do."
        )
        with torch.inference_mode(False):
            info = on_device(info_dict, self._source.device, self._source.dtype)
            batch = batch_of(info)
            size = self._batch_size or batch
            blocks = [slice(first, min(first + size, batch)) for first in range(0, batch, size)]
            inits = [None if init_action is None else init_action[rows] for rows in blocks]
            parts = [self._solve(rows_of(info, rows), init) for rows, init in zip(blocks, inits, strict=True)]
        return {
            "actions": torch.cat([plans.actions for plans, _ in parts]).cpu(),
            "costs": torch.cat([costs for _, costs in parts]).tolist(),
            "status": [status.value for plans, _ in parts for status in plans.status],
            "evaluations": torch.cat([plans.evaluations for plans, _ in parts]).tolist(),
        }

    def _solve(self, info: Mapping[str, Any], init: Tensor | None) -> tuple[Plans, Float[Tensor, " batch"]]:
        """Plans of some environments, and their costs in the host's units."""
        steps, _, size = self._sizes
        high = torch.full((size,), self._bound, device=self._source.device, dtype=self._source.dtype)
        found = self._source.problems(info, steps, -high, high, self._lifted)
        first = self._seed + self._planned
        self._planned += found.problems.batch
        start = None if init is None else _start(found.model, found.problems, init.to(high))
        plans = self._planner.plan(found.model, found.problems, range(first, first + found.problems.batch), start=start)
        costs = found.goal_cost.to_host(plans.cost)
        if self._check_cost:
            _compare(costs, self._source.cost_of(info, plans.actions), self.planner)
        return plans, costs

    @property
    def _lifted(self) -> bool:
        explored = isinstance(self.settings, SearchSettings) and self.settings.init == "explore"
        return self.planner in LIFTED or explored


def _start(model: WorldModel, problems: ModelProblems, init: Float[Tensor, "batch given action"]) -> Start | None:
    """The start at a host's warm start, completed by null actions; rows of null actions start on the straight line."""
    given = init.any(2).any(1)
    if not given.any():
        return None
    missing = problems.steps - init.shape[1]
    sentence = f"a warm start of {init.shape[1]} steps for plans of {problems.steps}: give at most as many."
    require(missing >= 0, sentence)
    actions = torch.nn.functional.pad(init, (0, 0, 0, missing))
    with torch.no_grad():
        states = rollout(model, problems.context, actions)[:, :-1]
    straight = interpolated_states(problems)
    return Start(actions, torch.where(given.view(-1, *[1] * (states.ndim - 1)), states, straight))


def _compare(ours: Float[Tensor, " batch"], theirs: Float[Tensor, " batch"], planner: str) -> None:
    """Raise UserError unless the costs of plans are the host's own."""
    tolerance = min(1e4 * torch.finfo(ours.dtype).eps, 0.2)
    differ = torch.isfinite(theirs) & ~torch.isclose(ours, theirs.to(ours), rtol=tolerance, atol=tolerance)
    for row in torch.nonzero(differ).flatten().tolist()[:1]:
        raise UserError(
            f"{planner} planned for a cost of {float(ours[row]):.6g} where the host has {float(theirs[row]):.6g}: its "
            "objective reads more than the last state, so set whole_plans=True and plan with gd, cem, icem, mppi or "
            "random_shooting."
        )


FAMILY = {
    "GraspSolver": "grasp",
    "LatCoSolver": "latco",
    "GDSolver": "gd",
    "CEMSolver": "cem",
    "ICEMSolver": "icem",
    "MPPISolver": "mppi",
    "RandomShootingSolver": "random_shooting",
}
"""Our planners by the name of their solver class, the same for every host."""

H = TypeVar("H", bound=HostedPlanner)


def solvers_of(base: type[H]) -> tuple[type[H], ...]:
    """A subclass of a host's `base` for each planner, in the order of `FAMILY`, to be imported from the module of `base`."""
    made: list[type[H]] = []
    for name, planner in FAMILY.items():
        names = {"planner": planner, "__module__": base.__module__, "__doc__": f"Our planner {planner} as a solver."}
        made.append(cast("type[H]", type(name, (base,), names)))
    return tuple(made)
