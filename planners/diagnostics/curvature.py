"""Curvature of the objectives that planners descend.

A row's objective is outer(inner(x)): `inner` goes through the model, `outer` is a simple convex cost. Its Hessian is
J^T H J + (second derivatives of `inner`), with J the Jacobian of `inner` and H the Hessian of `outer`. The first part, the
Gauss-Newton matrix, is the one that matters near a solution, and it is meaningful for piecewise linear (ReLU) models too; both
are measured, matrix-free.

Second derivatives need a model whose weights require gradients: `twice_differentiable` gives a copy.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from planners.base import ModelProblems
from planners.objectives import target_loss
from world_models.base import WorldModel, lifted_step, rollout

LinearMap = Callable[[Float[Tensor, "batch variables"]], Float[Tensor, "batch variables"]]
"""One symmetric matrix per row, applied to one vector per row."""


@dataclass(frozen=True)
class Objective:
    """One loss per row: outer(inner(x))."""

    inner: Callable[[Float[Tensor, "batch variables"]], Float[Tensor, "batch outputs"]]
    outer: Callable[[Float[Tensor, "batch outputs"]], Float[Tensor, " batch"]]

    def __call__(self, x: Float[Tensor, "batch variables"]) -> Float[Tensor, " batch"]:
        """The loss of each row."""
        return self.outer(self.inner(x))


@dataclass(frozen=True)
class Curvature:
    """Curvature of an objective at one point per row."""

    gauss_newton: Float[Tensor, " batch"]
    """Largest eigenvalue of the Gauss-Newton matrix."""
    hessian: Float[Tensor, " batch"]
    """Largest magnitude of an eigenvalue of the Hessian."""


def twice_differentiable(model: WorldModel) -> WorldModel:
    """A copy of a network with weights that require gradients, which frozen models may refuse; other models as they are."""
    if isinstance(model, nn.Module):
        return copy.deepcopy(model).requires_grad_(True)
    return model


def flat_variables(
    states: Float[Tensor, "batch virtual *state"], actions: Float[Tensor, "batch time action"]
) -> Float[Tensor, "batch variables"]:
    """The lifted objective's variables in one vector per row: actions first, then virtual states."""
    return torch.cat([actions.flatten(1), states.flatten(1)], 1)


def shooting_objective(model: WorldModel, problems: ModelProblems) -> Objective:
    """Goal cost of the rollout's last state as a function of the flattened actions."""
    shape = problems.goal.shape[1:]

    def final(x: Float[Tensor, "batch variables"]) -> Float[Tensor, "batch outputs"]:
        return rollout(model, problems.context, x.unflatten(1, (problems.steps, -1)))[:, -1].flatten(1)

    return Objective(final, lambda y: problems.goal_cost(y.unflatten(1, shape), problems.goal))


def lifted_objective(model: WorldModel, problems: ModelProblems, goal_weight: Float[Tensor, "batch time"]) -> Objective:
    """`lifted_loss` as a function of the `flat_variables`."""
    time, shape, features = problems.steps, problems.goal.shape[1:], problems.goal[0].numel()
    cut = time * model.action_dim

    def parts(x: Float[Tensor, "batch variables"]) -> Float[Tensor, "batch outputs"]:
        states = x[:, cut:].unflatten(1, (time - 1, *shape))
        predicted = lifted_step(model, problems.context, states, x[:, :cut].unflatten(1, (time, -1)))
        return torch.cat([predicted.flatten(1), x[:, cut:]], 1)

    def loss(y: Float[Tensor, "batch outputs"]) -> Float[Tensor, " batch"]:
        predicted = y[:, : time * features].unflatten(1, (time, *shape))
        states = y[:, time * features :].unflatten(1, (time - 1, *shape))
        return target_loss(problems, predicted, states, goal_weight)

    return Objective(parts, loss)


def hessian_product(objective: Objective, x: Float[Tensor, "batch variables"]) -> LinearMap:
    """The map v -> H v at x, by differentiating the gradient again."""
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(objective(leaf).sum(), leaf, create_graph=True)

    def product(v: Float[Tensor, "batch variables"]) -> Float[Tensor, "batch variables"]:
        return torch.autograd.grad(gradient, leaf, v, retain_graph=True)[0]

    return product


def gauss_newton_product(objective: Objective, x: Float[Tensor, "batch variables"]) -> LinearMap:
    """The map v -> J^T H J v at x, with J of `inner` and H of `outer`. J v is the derivative of J^T u, linear in u."""
    with torch.enable_grad():
        leaf = x.detach().requires_grad_()
        inner = objective.inner(leaf)
        dual = torch.zeros_like(inner, requires_grad=True)
        (pulled,) = torch.autograd.grad(inner, leaf, dual, create_graph=True)
        outputs = inner.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(objective.outer(outputs).sum(), outputs, create_graph=True)

    def product(v: Float[Tensor, "batch variables"]) -> Float[Tensor, "batch variables"]:
        (pushed,) = torch.autograd.grad(pulled, dual, v, retain_graph=True)
        (curved,) = torch.autograd.grad(gradient, outputs, pushed, retain_graph=True)
        return torch.autograd.grad(inner, leaf, curved, retain_graph=True)[0]

    return product


def extreme_eigenvalue(
    product: LinearMap, like: Float[Tensor, "batch variables"], iterations: int = 24, seed: int = 0
) -> Float[Tensor, " batch"]:
    """The eigenvalue of largest magnitude of each row's symmetric matrix, by Lanczos iterations from one random vector.

    Fully reorthogonalised, so it is exact once there are as many iterations as distinct eigenvalues, and a lower bound of the
    magnitude before. All rows start from the same vector: a row's result does not depend on its neighbours.
    """
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(like.shape[1], generator=generator, dtype=torch.float64).to(like)
    vector = (start / start.norm()).expand_as(like)
    basis, diagonal, off_diagonal = [vector], [], []
    for _ in range(min(iterations, like.shape[1])):
        image = product(basis[-1])
        diagonal.append((image * basis[-1]).sum(1))
        space = torch.stack(basis, 1)
        for _ in range(2):
            image = image - torch.einsum("bk,bkn->bn", torch.einsum("bkn,bn->bk", space, image), space)
        length = image.norm(dim=1)
        # The remainder once the space is exhausted is rounding error: such a row continues with zeros, which change nothing.
        scale = torch.stack(diagonal, 1).abs().amax(1)
        alive = length > 1e3 * torch.finfo(like.dtype).eps * scale
        if not alive.any():
            break
        off_diagonal.append(torch.where(alive, length, 0))
        basis.append(torch.where(alive.unsqueeze(1), image / length.unsqueeze(1), 0))
    return _of_largest_magnitude(diagonal, off_diagonal)


def _of_largest_magnitude(diagonal: list[Tensor], off_diagonal: list[Tensor]) -> Float[Tensor, " batch"]:
    """The extreme eigenvalue of symmetric tridiagonal matrices."""
    matrix = torch.diag_embed(torch.stack(diagonal, 1))
    if len(diagonal) > 1:
        off = torch.diag_embed(torch.stack(off_diagonal[: len(diagonal) - 1], 1), offset=1)
        matrix = matrix + off + off.mT
    values = torch.linalg.eigvalsh(matrix)
    return torch.where(values[:, 0].abs() > values[:, -1].abs(), values[:, 0], values[:, -1])


def curvature(objective: Objective, x: Float[Tensor, "batch variables"], iterations: int = 24) -> Curvature:
    """Curvature of an objective at x; the model in it must be `twice_differentiable`."""
    return Curvature(
        gauss_newton=extreme_eigenvalue(gauss_newton_product(objective, x), x, iterations),
        hessian=extreme_eigenvalue(hessian_product(objective, x), x, iterations).abs(),
    )
