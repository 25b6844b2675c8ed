"""Measurements of `grasp diagnose` on a model and its task: curvature and gradients over horizons, brittle state gradients."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from planners.base import ModelProblems
from planners.diagnostics.brittleness import Brittleness, brittleness
from planners.diagnostics.conditioning import lifted_condition, shooting_condition
from planners.diagnostics.curvature import (
    Curvature,
    curvature,
    flat_variables,
    lifted_objective,
    shooting_objective,
    twice_differentiable,
)
from planners.diagnostics.gradients import (
    LiftedPhase,
    lifted_gradient_norms,
    lifted_iterate,
    shooting_gradient_norms,
    shooting_iterate,
)
from world_models.base import Context, Decode, SquaredDistance, WorldModel, rollout
from world_models.checkpoints.store import LoadedModel
from world_models.errors import UserError
from world_models.models.analytic import LinearQuadratic
from world_models.tasks import Task

SHOOTING, LIFTED, CONTROL = "shooting", "lifted", "control"
"""Names of objectives; `control` is shooting in a linear world whose curvature is known."""

NULL, RANDOM = "null actions", "random actions"
"""Names of the iterates that do not depend on iterations."""

RADII = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Perturbations of the state, as shares of its distance to the goal."""

CONTROL_GAIN = 1.1
"""Factor by which the control world multiplies its state in each step."""

LANCZOS = 12
"""Iterations for each extreme eigenvalue."""

DENSE_FEATURES, DENSE_VARIABLES = 32, 640
"""Sizes above which condition numbers are left out (NaN), since their matrices are dense."""


@dataclass(frozen=True)
class CurvatureRow:
    """Curvature of one objective at one iterate and horizon, one value per problem."""

    objective: str
    iterate: str
    horizon: int
    """Environment steps."""
    steps: int
    """Model steps T."""
    values: Curvature
    condition: Float[Tensor, " batch"]


@dataclass(frozen=True)
class GradientRow:
    """Norm of the gradient with respect to each time step's action."""

    objective: str
    iterate: str
    horizon: int
    norms: Float[Tensor, "batch time"]


@dataclass(frozen=True)
class BrittleRow:
    """The demonstration of brittle state gradients, and the true distances from the states that it found."""

    measured: Brittleness
    truly_removed: Float[Tensor, "radii batch"] | None
    """Share of the distance that is really removed; NaN where the state is impossible, None where it can't be simulated."""


@dataclass(frozen=True)
class Probe:
    """Settings of GRASP and GD, and the iterations after which their iterates are measured."""

    phase: LiftedPhase
    gd_lr: float
    early: int
    late: int

    @property
    def iterate_names(self) -> tuple[str, str]:
        """Names of the early and late iterates of a run."""
        return f"after {self.early} iterations", f"after {self.late} iterations"


@dataclass(frozen=True)
class Iterate:
    """The variables at which both objectives are measured."""

    name: str
    shooting: Float[Tensor, "batch time action"]
    states: Float[Tensor, "batch virtual *state"]
    lifted: Float[Tensor, "batch time action"]


class Subject:
    """A task's problems as its world model sees them, at every horizon up to theirs.

    A shorter horizon keeps the start, and its goal is where the reference is by then, so that horizons are paired.
    """

    def __init__(self, task: Task, loaded: LoadedModel, seeds: Sequence[int], horizon: int) -> None:
        """The model should be in float64; raises UserError when the task has no such problems."""
        problems = [task.problem(seed, horizon) for seed in seeds]
        self.task = task
        self.loaded = loaded
        self.seeds = tuple(seeds)
        self.horizon = horizon
        self.starts = np.stack([problem.start for problem in problems])
        self._path = task.simulate(self.starts, np.stack([problem.reference_actions for problem in problems]))

    @property
    def model(self) -> WorldModel:
        """The world model."""
        return self.loaded.model

    def encode(self, states: Float[np.ndarray, "batch simulator_state"]) -> Tensor:
        """Model states of simulator states."""
        return self.loaded.sensors.encode(self.model, self.task, states)

    def problems(self, horizon: int) -> ModelProblems:
        """The problems at a horizon, in environment steps."""
        bound = torch.ones(self.model.action_dim, dtype=self.model.dtype, device=self.model.device)
        return ModelProblems(
            context=self.loaded.history.context(self.model, self.encode(self.starts).unsqueeze(1)),
            goal=self.encode(self._path[:, horizon]),
            steps=horizon // self.task.action_block,
            low=-bound,
            high=bound,
            goal_cost=self.loaded.goal_cost,
        )


def iterates(model: WorldModel, problems: ModelProblems, seeds: Sequence[int], probe: Probe) -> Iterator[Iterate]:
    """Random actions with their rollout, null actions with virtual states on a line, and the iterates of GD and GRASP."""
    drawn = [
        torch.rand(problems.steps, model.action_dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        for seed in seeds
    ]
    actions = torch.lerp(problems.low, problems.high, torch.stack(drawn).to(problems.goal))
    with torch.no_grad():
        yield Iterate(RANDOM, actions, rollout(model, problems.context, actions)[:, :-1], actions)
    for name, iterations in zip((NULL, *probe.iterate_names), (0, probe.early, probe.late), strict=True):
        shooting = shooting_iterate(model, problems, iterations, probe.gd_lr)
        yield Iterate(name, shooting, *lifted_iterate(model, problems, seeds, iterations, probe.phase))


def measure_horizon(subject: Subject, horizon: int, probe: Probe) -> tuple[list[CurvatureRow], list[GradientRow]]:
    """Curvature at null actions, random actions and late iterates, and gradients along the runs."""
    problems, model = subject.problems(horizon), subject.model
    smooth = twice_differentiable(model)
    weight = probe.phase.weights(problems)
    curvatures: list[CurvatureRow] = []
    gradients: list[GradientRow] = []
    early, _ = probe.iterate_names
    for iterate in iterates(model, problems, subject.seeds, probe):
        if iterate.name != early:
            curvatures += _curvature_rows(smooth, model, problems, iterate, weight, horizon)
        if iterate.name != RANDOM:
            norms = shooting_gradient_norms(model, problems, iterate.shooting)
            gradients.append(GradientRow(SHOOTING, iterate.name, horizon, norms))
            norms = lifted_gradient_norms(model, problems, iterate.states, iterate.lifted, weight)
            gradients.append(GradientRow(LIFTED, iterate.name, horizon, norms))
    return curvatures, gradients


def _curvature_rows(
    smooth: WorldModel,
    model: WorldModel,
    problems: ModelProblems,
    iterate: Iterate,
    weight: Float[Tensor, "batch time"],
    horizon: int,
) -> list[CurvatureRow]:
    """The curvature of both objectives at one iterate."""
    x = flat_variables(iterate.states, iterate.lifted)
    shooting = curvature(shooting_objective(smooth, problems), iterate.shooting.flatten(1), LANCZOS)
    lifted = curvature(lifted_objective(smooth, problems, weight), x, LANCZOS)
    unknown = torch.full_like(shooting.hessian, torch.nan)
    conditions = unknown, unknown
    if problems.goal[0].numel() <= DENSE_FEATURES and x.shape[1] <= DENSE_VARIABLES:
        conditions = (
            shooting_condition(model, problems, iterate.shooting),
            lifted_condition(model, problems, iterate.states, iterate.lifted, weight),
        )
    return [
        CurvatureRow(SHOOTING, iterate.name, horizon, problems.steps, shooting, conditions[0]),
        CurvatureRow(LIFTED, iterate.name, horizon, problems.steps, lifted, conditions[1]),
    ]


def measure_control(steps: int, horizon: int, batch: int = 2) -> CurvatureRow:
    """Curvature measured on a world whose state grows by `CONTROL_GAIN` per step, to compare with `control_curvature`."""
    eye = torch.eye(2, dtype=torch.float64)
    world = LinearQuadratic(CONTROL_GAIN * eye, eye)
    start, bound = torch.zeros(batch, 2, dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    problems = ModelProblems(Context.at(world, start), start + 1, steps, -bound, bound, SquaredDistance())
    actions = torch.zeros(batch, steps, 2, dtype=torch.float64)
    values = curvature(shooting_objective(world, problems), actions.flatten(1), LANCZOS)
    return CurvatureRow(CONTROL, NULL, horizon, steps, values, shooting_condition(world, problems, actions))


def control_curvature(steps: int) -> float:
    """The control world's curvature in closed form: the sum of gain^(2k) over its steps, for a mean over two features."""
    return sum(CONTROL_GAIN ** (2 * k) for k in range(steps))


def measure_brittleness(subject: Subject) -> BrittleRow:
    """Result of perturbing the starts towards the goals of the subject's own horizon."""
    problems = subject.problems(subject.horizon)
    measured = brittleness(subject.model, problems, RADII)
    return BrittleRow(measured, _truly_removed(subject, problems, measured))


def _truly_removed(subject: Subject, problems: ModelProblems, measured: Brittleness) -> Float[Tensor, "radii batch"] | None:
    """Share of the distance that the found states remove in the simulator; None unless the model observes its states."""
    observed = subject.task.observe(subject.starts)
    decode = subject.loaded.decode
    if decode is None or observed.shape != subject.starts.shape or not np.allclose(observed, subject.starts):
        return None
    before = _true_distance(subject, decode, problems, problems.context.last)
    return torch.stack([1 - _true_distance(subject, decode, problems, states) / before for states in measured.states])


def _true_distance(
    subject: Subject, decode: Decode, problems: ModelProblems, states: Float[Tensor, "batch *state"]
) -> Float[Tensor, " batch"]:
    """Distance to the goal in the model's state space after the simulator has stood still in `states` for a model step."""
    still = np.zeros((1, subject.task.action_block, subject.task.action_dim))
    with torch.no_grad():
        observations = decode(states).cpu().double().numpy()
    found = np.full_like(observations, np.nan)
    for row, observation in enumerate(observations):
        try:
            found[row] = subject.task.simulate(observation[None], still)[0, -1]
        except UserError:  # an impossible state, such as inside a wall
            continue
    return (subject.encode(found) - problems.goal).flatten(1).norm(dim=1)
