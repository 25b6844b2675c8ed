"""Damped Gauss-Newton steps on the rolled-out goal cost: the model is linearised at all times of a rollout in parallel.

Near a goal, gradient descent through a long rollout is slow: the rollout's Jacobian is badly conditioned. A Levenberg-Marquardt
step solves for the smallest change of the actions that closes the gap, whatever the conditioning. It needs the Jacobian of the
last state: one backward pass per state feature. Since the states of the rollout are known, all times share these passes.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from planners.base import ModelProblems
from planners.objectives import blocks
from planners.search.search_run import Rows, Run
from planners.settings import Number
from planners.updates.refiner import Refiner
from world_models.base import QuadraticCost, WorldModel, rollout, step_vjp
from world_models.errors import require

MAX_FEATURES = 64
"""Largest number of state features; more would cost too many backward passes."""

_LESS, _MORE = 0.3, 10.0


def states_fit(model: WorldModel) -> bool:
    """Whether a model's states are small enough for Gauss-Newton steps."""
    return torch.Size(model.state_shape).numel() <= MAX_FEATURES


def check_state_size(model: WorldModel) -> None:
    """Raise UserError for a model whose states are too large for Gauss-Newton steps."""
    size = torch.Size(model.state_shape).numel()
    sentence = (
        f"Gauss-Newton steps need states of at most {MAX_FEATURES} numbers, and this model's have {size}: choose gd or cem."
    )
    require(states_fit(model), sentence)


def final_state_jacobian(
    model: WorldModel,
    problems: ModelProblems,
    actions: Float[Tensor, "batch time action"],
    states: Float[Tensor, "batch time *state"],
) -> Float[Tensor, "batch features time action"]:
    """Derivative of a rollout's last state (flattened) with respect to its actions; `states` are the rollout's s_1..s_T."""
    parts = [
        _jacobian_block(model, problems.rows(rows), actions[rows], states[rows])
        for rows in blocks(model, problems, actions.device)
    ]
    return torch.cat(parts)


def _jacobian_block(
    model: WorldModel,
    problems: ModelProblems,
    actions: Float[Tensor, "batch time action"],
    states: Float[Tensor, "batch time *state"],
) -> Float[Tensor, "batch features time action"]:
    batch, time, h, features = problems.batch, problems.steps, model.history, problems.goal[0].numel()
    # Zero where a window is shorter than h: its last states are those of the last slots.
    to_states = actions.new_zeros(batch, time, features, h, features)
    to_actions = actions.new_zeros(batch, time, features, h, actions.shape[2])
    for part in problems.context.along(model, states[:, :-1], actions):
        seen, taken = (each.flatten(0, 1).contiguous() for each in (part.states, part.actions))
        predicted, vjp = step_vjp(model, seen, taken)
        for feature in range(features):
            cotangent = predicted.new_zeros(len(predicted), features)
            cotangent[:, feature] = 1
            for whole, gradient in zip((to_states, to_actions), vjp(cotangent.view_as(predicted)), strict=True):
                shape = *part.actions.shape[:3], whole.shape[-1]
                whole[:, part.times, feature, h - part.seen :] = gradient.reshape(shape)
    return _chained(to_states, to_actions)


def _chained(
    to_states: Float[Tensor, "batch time out h features"], to_actions: Float[Tensor, "batch time out h action"]
) -> Float[Tensor, "batch out time action"]:
    """The chain rule applied backwards through time; a step's window also holds earlier states and actions."""
    batch, time, features, h = to_states.shape[:4]
    adjoint = [to_states.new_zeros(batch, features, features) for _ in range(time + 1)]
    adjoint[time] = torch.eye(features, dtype=to_states.dtype, device=to_states.device).expand(batch, -1, -1)
    jacobian = to_actions.new_zeros(batch, features, time, to_actions.shape[4])
    for t in reversed(range(time)):
        for back in range(min(h, t + 1)):
            slot = h - 1 - back
            adjoint[t - back] = torch.baddbmm(adjoint[t - back], adjoint[t + 1], to_states[:, t, :, slot])
            jacobian[:, :, t - back] += adjoint[t + 1] @ to_actions[:, t, :, slot]
    return jacobian


def goal_quadratic(
    problems: ModelProblems, states: Float[Tensor, "batch *state"]
) -> tuple[Float[Tensor, " batch"], Float[Tensor, "batch features"], Float[Tensor, "batch features features"]]:
    """Goal cost of states, its gradient, and its Hessian with negative eigenvalues set to zero."""
    batch, features = states.shape[0], states[0].numel()
    if isinstance(problems.goal_cost, QuadraticCost):
        slope = problems.goal_cost.feature_weights(problems.goal).flatten() * (1 / features)
        gaps = 2 * (states - problems.goal).flatten(1)
        return problems.goal_cost(states, problems.goal), slope * gaps, torch.diag(2 * slope.clamp_min(0)).repeat(batch, 1, 1)
    with torch.enable_grad():
        leaf = states.detach().clone().requires_grad_()
        cost = problems.goal_cost(leaf, problems.goal)
        (gradient,) = torch.autograd.grad(cost.sum(), leaf, create_graph=True)
        flat = gradient.reshape(batch, features)
        rows = [_second(flat[:, i], leaf).reshape(batch, features) for i in range(features)]
    hessian = torch.stack(rows, 1).double().nan_to_num()
    values, vectors = torch.linalg.eigh((hessian + hessian.mT) / 2)
    curved = (vectors * values.clamp_min(0).unsqueeze(1)) @ vectors.mT
    return cost.detach(), flat.detach(), curved.to(states.dtype)


def _second(gradient: Float[Tensor, " batch"], leaf: Float[Tensor, "batch *state"]) -> Float[Tensor, "batch *state"]:
    if not gradient.requires_grad:
        return torch.zeros_like(leaf)
    (second,) = torch.autograd.grad(gradient.sum(), leaf, retain_graph=True, allow_unused=True)
    return torch.zeros_like(leaf) if second is None else second


class LevenbergMarquardt(Refiner):
    """Levenberg-Marquardt on the actions of a run; each row has its own damping, and only ever moves downhill.

    A row's first step only rolls its actions out, in one call with the other rows' proposals. After a rejected step the next
    one differs only in its damping, so the linearisation is reused; its model steps are counted all the same, so that budgets
    do not depend on this.
    """

    extra_steps = 1

    def __init__(self, run: Run, damping: Number) -> None:
        check_state_size(run.model)
        super().__init__(run)
        like, states = run.start.actions, run.start.states
        self._first_damping = torch.as_tensor(damping).to(like).expand(len(like)).clone()
        self._damping = self._first_damping.clone()
        self._known = torch.zeros(len(like), dtype=torch.bool)
        """Whether `_states` and `_cost` belong to the row's actions; on the CPU."""
        self._states = states.new_zeros(len(like), like.shape[1], *states.shape[2:])
        self._cost = like.new_zeros(len(like))
        features = states[:0].flatten(2).shape[2]
        self._linear = torch.zeros(len(like), dtype=torch.bool)
        """Whether `_jacobian`, `_gradient` and `_hessian` belong to the row's actions; on the CPU."""
        self._jacobian = like.new_zeros(len(like), features, *like.shape[1:])
        self._gradient = like.new_zeros(len(like), features)
        self._hessian = like.new_zeros(len(like), features, features)

    def begin(self, rows: Rows | None = None) -> None:
        """Reset the dampings, and forget the rollouts of the actions."""
        which = slice(None) if rows is None else rows
        self._known[which] = self._linear[which] = False
        device_rows = which if isinstance(which, slice) else which.to(self._damping.device)
        self._damping[device_rows] = self._first_damping[device_rows]

    def step(self, actions: Float[Tensor, "batch time action"], rows: Rows | None = None) -> None:
        """Propose a step for each row and accept it where the rolled-out cost falls."""
        run, row_indices = self._run, torch.arange(len(actions)) if rows is None else rows
        device_rows = row_indices.to(actions.device)
        known = self._known[row_indices].to(actions.device)
        before = actions[device_rows]
        proposal = before.clone()
        moving = row_indices[self._known[row_indices]]
        if len(moving):
            problems = run.problems if len(moving) == len(actions) else run.problems_of(moving)
            proposal[known] += self._direction(problems, before[known], moving)
            run.spend(problems.steps, moving)
            run.project(proposal)
        states, cost = self._rolled_out(proposal, rows)
        better = cost < self._cost[device_rows]
        damping = self._damping[device_rows]
        damped = (damping * torch.where(better, _LESS, _MORE)).clamp_(1e-8, 1e8)
        self._damping[device_rows] = torch.where(known, damped, damping)
        taken = better | ~known
        actions[device_rows] = torch.where(taken[:, None, None], proposal, before)
        wide = taken.view(-1, *[1] * (states.ndim - 1))
        self._states[device_rows] = torch.where(wide, states, self._states[device_rows])
        self._cost[device_rows] = torch.where(taken, cost, self._cost[device_rows])
        self._known[row_indices] = True
        self._linear[row_indices] &= ~taken.cpu()

    def keep(self, rows: Rows) -> None:
        """Keep only the dampings and rollouts of these rows."""
        device_rows = rows.to(self._damping.device)
        self._first_damping, self._damping = self._first_damping[device_rows], self._damping[device_rows]
        self._known, self._states, self._cost = self._known[rows], self._states[device_rows], self._cost[device_rows]
        self._linear, self._jacobian = self._linear[rows], self._jacobian[device_rows]
        self._gradient, self._hessian = self._gradient[device_rows], self._hessian[device_rows]

    def join(self, others: LevenbergMarquardt) -> None:
        """Append the dampings and rollouts of the rows of `others`."""
        linear = ("_linear", "_jacobian", "_gradient", "_hessian")
        for name in ("_first_damping", "_damping", "_known", "_states", "_cost", *linear):
            setattr(self, name, torch.cat([getattr(self, name), getattr(others, name)]))

    def _rolled_out(
        self, actions: Float[Tensor, "rows time action"], rows: Rows | None
    ) -> tuple[Float[Tensor, "rows time *state"], Float[Tensor, " rows"]]:
        """Roll actions out: their states and goal costs, which the run records."""
        run, problems = self._run, self._run.problems_of(rows)
        states = rollout(run.model, problems.context, actions)
        cost = problems.goal_cost(states[:, -1], problems.goal)
        run.spend(problems.steps, rows)
        run.record(actions, cost, rows)
        return states, cost

    def _direction(
        self, problems: ModelProblems, actions: Float[Tensor, "rows time action"], rows: Rows
    ) -> Float[Tensor, "rows time action"]:
        """The step -J^T (d I + H J J^T)^-1 g to the minimum of the damped quadratic model, by a system of the state's size.

        J is the last state's Jacobian, g and H are the goal cost's derivatives there. The damping d is relative to the mean
        eigenvalue of H J J^T, so that it means the same on every task. Actions on a bound that descent would push outwards stay
        there (Bertsekas 1982), and the system is solved for the others.
        """
        self._linearise(problems, actions, rows)
        device_rows = rows.to(actions.device)
        jacobian, gradient = self._run.tangent(self._jacobian[device_rows]), self._gradient[device_rows]
        hessian = self._hessian[device_rows]
        flat = (jacobian * _free(problems, actions, jacobian, gradient).unsqueeze(1)).flatten(2).double()
        system = hessian.double() @ flat @ flat.mT
        scale = system.diagonal(dim1=1, dim2=2).mean(1).clamp_min(torch.finfo(torch.float32).tiny)
        damped = torch.diag_embed((self._damping[device_rows].double() * scale).unsqueeze(1).expand(-1, system.shape[1]))
        # solve_ex: a non-finite row must not raise an error for the others.
        weights = torch.linalg.solve_ex(system + damped, gradient.double().unsqueeze(2)).result
        return (flat.mT @ weights).neg().to(actions).view_as(actions)

    def _linearise(self, problems: ModelProblems, actions: Float[Tensor, "rows time action"], rows: Rows) -> None:
        """Compute the derivatives of the rows whose actions have changed since the last call."""
        moved = ~self._linear[rows]
        stale = rows[moved]
        if not len(stale):
            return
        if len(stale) < len(rows):
            problems, actions = self._run.problems_of(stale), actions[moved.to(actions.device)]
        device_rows = stale.to(actions.device)
        states = self._states[device_rows]
        self._jacobian[device_rows] = final_state_jacobian(self._run.model, problems, actions, states)
        _, self._gradient[device_rows], self._hessian[device_rows] = goal_quadratic(problems, states[:, -1])
        self._linear[stale] = True


def _free(
    problems: ModelProblems,
    actions: Float[Tensor, "rows time action"],
    jacobian: Float[Tensor, "rows features time action"],
    gradient: Float[Tensor, "rows features"],
) -> Bool[Tensor, "rows time action"]:
    """Mask of the actions that can move in the direction of descent without leaving the bounds at once."""
    slope = torch.einsum("bf,bfta->bta", gradient, jacobian)
    low, high = actions <= problems.low, actions >= problems.high
    return ~((low & (slope > 0)) | (high & (slope < 0)))
