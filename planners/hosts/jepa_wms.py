"""Our planners in jepa-wms: `planners.hosts.jepa_wms.install(agent, "grasp")` after its `GC_Agent(...)` is made.

The host's agent picks a planner by name from a fixed list, so that its configuration cannot name ours: the line goes below the
one that builds the agent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from planners import make_planner, planner_settings
from planners.base import ModelProblems
from planners.hosts.dynamics import HostDynamics
from planners.hosts.goal_costs import in_our_units
from planners.settings import Setting
from world_models.errors import UserError, require
from world_models.history import History

MAX_NORM_DIMS = ((0, 1, 2), (6,))
"""Groups of action entries that `max_norms` bound, unless the configuration has `max_norm_dims`."""

Latents = Any
"""Encodings of the host: a tensor `[batch, time, view, height, width, feature]`, or a TensorDict of one as `visual` and of
embedded proprioception as `proprio`."""


@dataclass(frozen=True, eq=False)
class LatentDynamics(HostDynamics):
    """A host's model; a state is the list of the numbers of one frame's encoding, `visual` first."""

    visual: tuple[int, ...] = ()
    """Shape of a frame's visual part."""
    proprio: tuple[int, ...] = ()
    """Shape of a frame's embedded proprioception; empty if there is none."""

    @staticmethod
    def of(model: Any, latents: Latents) -> LatentDynamics:
        """The dynamics of an `EncPredWM`; encodings tell the sizes. UserError for a model whose steps cannot be taken alone."""
        mode = model.proprio_mode
        sentence = f"proprio_mode {mode!r} computes poses outside the model: plan with the host's own planners."
        require(mode == "predict_proprio", sentence)
        visual, proprio = _parts(latents)
        shapes = tuple(visual.shape[2:]), () if proprio is None else tuple(proprio.shape[2:])
        size = torch.Size(shapes[0]).numel() + (torch.Size(shapes[1]).numel() if shapes[1] else 0)
        return LatentDynamics(model, int(model.action_dim), (size,), int(model.ctxt_window), *shapes)

    def frames(self, info: Latents) -> Float[Tensor, "batch seen feature"]:
        """States of all frames of the host's encodings."""
        return torch.cat([part.flatten(2) for part in _parts(info) if part is not None], 2)

    def latents(self, states: Float[Tensor, "n seen feature"], like: Latents) -> Latents:
        """The host's encodings of states, of the type of `like`."""
        visual, proprio = self._split(states)
        return visual if proprio is None else type(like)({"visual": visual, "proprio": proprio})

    def step(
        self, states: Float[Tensor, "n seen feature"], actions: Float[Tensor, "n seen action"]
    ) -> Float[Tensor, "n feature"]:
        """The state that follows each window."""
        visual, proprio = self._split(states)
        inner = self.network.model
        after, _, after_proprio = inner.forward_pred(visual, inner.encode_act(actions), proprio)
        parts = [after] if proprio is None else [after, after_proprio]
        return torch.cat([part[:, -1].flatten(1) for part in parts], 1)

    def _split(self, states: Float[Tensor, "n seen feature"]) -> tuple[Tensor, Tensor | None]:
        first = torch.Size(self.visual).numel()
        visual = states[..., :first].unflatten(-1, self.visual)
        return visual, states[..., first:].unflatten(-1, self.proprio) if self.proprio else None


def _parts(latents: Latents) -> tuple[Tensor, Tensor | None]:
    return (latents, None) if isinstance(latents, Tensor) else (latents["visual"], latents["proprio"])


@dataclass(frozen=True)
class PlanningResult:
    """The result that the host's agent reads."""

    actions: Float[Tensor, "stepped action"]
    """The actions to execute."""
    losses: Float[Tensor, "checks 1"]
    """The best cost so far at each check, in the host's units."""
    prev_elite_losses_mean: Float[Tensor, "checks 1"]
    prev_elite_losses_std: Float[Tensor, "checks 1"]
    pred_frames_over_iterations: list[Any] | None
    """The decoded rollout of the plan, as the only entry."""
    predicted_best_encs_over_iterations: list[Latents]
    """The encodings of the plan's rollout, as the only entry."""


class HostedPlanner:
    """A planner of ours with the methods of the host's: `set_objective` and `plan`."""

    def __init__(
        self,
        model: Any,
        planner: str,
        horizon: int,
        num_act_stepped: int | None = None,
        max_norms: Sequence[float] | None = None,
        max_norm_dims: Sequence[Sequence[int]] | None = None,
        decode: bool = False,
        seed: int = 1234,
        settings: Mapping[str, Setting] | None = None,
    ) -> None:
        """A planner for an `EncPredWM`, with the meanings that the host's configuration gives to the names.

        The n-th plan has the seed `seed + n`. Raises UserError for wrong settings, and for a horizon below 1.
        """
        require(horizon >= 1, f"horizon {horizon} is not a valid number of steps: give at least 1.")
        self.settings = planner_settings(planner, settings)
        self._planner, self._model, self._horizon, self._stepped = make_planner(self.settings), model, horizon, num_act_stepped
        self._norms, self._dims = max_norms or (), MAX_NORM_DIMS if max_norm_dims is None else max_norm_dims
        self._decode, self._seed, self._planned = decode, seed, 0
        self._objective: Callable[[Latents, Tensor], Tensor] | None = None

    def set_objective(self, objective: Callable[[Latents, Tensor], Tensor]) -> None:
        """Take the objective of the next plans, which holds the goal's encoding as `target_enc`."""
        self._objective = objective

    def plan(self, z_init: Latents, steps_left: int | None = None) -> PlanningResult:
        """A plan from encodings `[1, 1, ...]`, as long as the horizon or as the steps that are left.

        Raises UserError if there is no objective, for more than one frame, or where the host's cost of the plan is another.
        """
        if self._objective is None:
            raise UserError("there is no objective: call set_objective first, as the agent's set_goal does.")
        steps = self._horizon if steps_left is None else min(self._horizon, steps_left)
        with torch.inference_mode(False):
            problems, dynamics = self._problems(z_init, steps)
            seed = self._seed + self._planned
            self._planned += 1
            plans = self._planner.plan(dynamics, problems, [seed])
            actions = plans.actions.transpose(0, 1)
            with torch.no_grad():
                encodings = self._model.unroll(z_init, act_suffix=actions)
                theirs = self._objective(encodings, actions).flatten()
        goal_cost = problems.goal_cost
        losses = goal_cost.to_host(plans.trace[0].detach().cpu()).unsqueeze(1)  # pyright: ignore[reportAttributeAccessIssue]
        _compare(float(losses[-1]), float(theirs[0]))
        frames = [self._model.decode_unroll(encodings)] if self._decode else None
        stepped = actions[: self._stepped, 0] if self._stepped else actions[:, 0]
        return PlanningResult(stepped, losses, losses, torch.zeros_like(losses), frames, [encodings])

    def _problems(self, z_init: Latents, steps: int) -> tuple[ModelProblems, LatentDynamics]:
        objective = self._objective
        assert objective is not None
        dynamics = LatentDynamics.of(self._model, z_init)
        frames = dynamics.frames(z_init).detach().clone()
        seen = tuple(frames.shape[:2])
        sentence = f"encodings of {seen[0]} rows and {seen[1]} frames: give one row and one frame, whose past is unknown."
        require(seen == (1, 1), sentence)
        goal = dynamics.frames(objective.target_enc)[:, -1].detach().clone()  # pyright: ignore[reportFunctionMemberAccess]

        def score(states: Tensor, goals: Tensor) -> Tensor:
            latents = dynamics.latents(states.unsqueeze(0), z_init)
            return objective(latents, states.new_zeros(1, len(states), dynamics.action_dim)).flatten()

        high = self._bounds(dynamics.action_dim, frames)
        context = History(grows=True).context(dynamics, frames)
        return ModelProblems(context, goal, steps, -high, high, in_our_units(score, goal)), dynamics

    def _bounds(self, action_dim: int, like: Tensor) -> Float[Tensor, " action"]:
        """Largest absolute values of the actions: `max_norms` for the entries of each group, none for the others."""
        high = like.new_full((action_dim,), torch.inf)
        for norm, entries in zip(self._norms, self._dims, strict=False):
            high[list(entries)] = norm
        return high


def _compare(ours: float, theirs: float) -> None:
    sentence = (
        f"the plan's last state costs {ours:.6g}, and the host counts {theirs:.6g}: the objective reads more than the last "
        "state, so set sum_all_diffs to false, or plan with the host's own planners."
    )
    require(abs(ours - theirs) <= 1e-3 * max(1.0, abs(theirs)), sentence)


def install(agent: Any, planner: str, seed: int | None = None, **settings: Setting) -> None:
    """Let an agent of the host plan with a planner of ours.

    Horizon, executed actions, bounds and decoding are those of the agent's configuration; `seed` None: its `local_seed`.
    Raises UserError for wrong settings.
    """
    config = agent.cfg.planner
    agent.planner = HostedPlanner(
        agent.model,
        planner,
        horizon=int(config["horizon"]),
        num_act_stepped=config.get("num_act_stepped"),
        max_norms=config.get("max_norms"),
        max_norm_dims=config.get("max_norm_dims"),
        decode=bool(config.get("decode_each_iteration", False)),
        seed=int(agent.cfg.local_seed) if seed is None else seed,
        settings=settings,
    )
