"""GRASP: gradient-based planning with lifted states, stochastic state iterates and a reshaped gradient (arXiv 2602.00475).

The states between start and goal are variables beside the actions, so every model call of an iteration is one batched call over
problems and time. Periodic sync steps on the true rollout bring the actions back to what the model can do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from planners.attempts import AttemptSettings, with_attempts
from planners.base import ModelProblems, OnStep, Plans
from planners.initialisers import interpolated_states, null_actions
from planners.noise import RowNoise
from planners.objectives import final_cost, final_cost_gradient, full_lifted_gradients, lifted_gradients
from planners.optimizers import Adam, make_optimizer
from planners.settings import choice, count, flag, number, per_row
from planners.solve import Run, begin, solve
from world_models.base import WorldModel, rollout


@dataclass(frozen=True)
class GraspSettings(AttemptSettings):
    """GRASP's hyperparameters. Learning rates and noise are in normalised state and action units."""

    iterations: int = count(300)
    lr_states: float = number(0.1, positive=True)
    lr_actions: float = number(0.01, positive=True)
    noise: float = number(0.05)
    """Standard deviation of the noise added to the virtual states after each update."""
    noise_schedule: str = choice("constant", "linear", "cosine")
    """`linear` decays to zero within each sync phase, `cosine` over the whole run."""
    goal_weight: float = number(0.02)
    """Weight of the dense goal term; what is good depends on the model's scale by orders of magnitude."""
    sync_every: int = count(25, low=0)
    """Iterations between syncs; 0 never syncs."""
    sync_steps: int = count(10, low=0)
    """Gradient steps on the rolled-out final cost a sync."""
    sync_lr: float = number(0.05, positive=True)
    final_sync_steps: int = count(0, low=0)
    """Gradient steps of one more sync after the last iteration, from the best plan so far: near misses become hits."""
    final_sync_lr: float = number(0.01, positive=True)
    optimizer: str = choice("adam", "gd")
    """Update rule of states and actions; sync steps always use Adam."""
    reset_moments_at_sync: bool = flag(True)
    """Start Adam's moments afresh after each sync."""
    reset_states_after_sync: bool = flag(False)
    """Put the virtual states on the rollout of the synced actions."""
    stop_gradient: bool = flag(True)
    """The reshaped gradient: nothing flows through the model's state input. Off for ablations only."""
    double_last: bool = flag(True)
    """The last step, whose target is the goal, also has a dense goal term."""
    init_noise: float = number(0.0)
    """Standard deviation of the noise on the initial virtual states."""

    def noise_at(self, iteration: int) -> float:
        """The noise's standard deviation after the update of `iteration`."""
        if self.noise_schedule == "linear":
            phase = self.sync_every or self.iterations
            return self.noise * (1 - (iteration % phase) / phase)
        if self.noise_schedule == "cosine":
            return self.noise * 0.5 * (1 + math.cos(math.pi * iteration / self.iterations))
        return self.noise

    def syncs_after(self, iteration: int) -> bool:
        """Whether a sync follows the update of `iteration`."""
        return self.sync_every > 0 and self.sync_steps > 0 and (iteration + 1) % self.sync_every == 0


class GraspSearch:
    """The iterate of a GRASP run: virtual states s_1..s_{T-1}, actions a_0..a_{T-1}, and their moments."""

    def __init__(self, settings: GraspSettings, run: Run) -> None:
        problems, shape = run.problems, run.problems.goal.shape[1:]
        virtual = (problems.steps - 1, *shape)
        self._settings = settings
        self._run = run
        self.actions: Float[Tensor, "batch time action"] = null_actions(problems, run.model.action_dim)
        self.states: Float[Tensor, "batch virtual *state"] = interpolated_states(problems)
        if settings.init_noise:
            start = RowNoise(run.seeds, "initial states", virtual, self.states)
            self.states += start.at(0) * per_row(settings.init_noise, self.states)
        self._noise = RowNoise(run.seeds, "states", virtual, self.states)
        self._state_optimizer = make_optimizer(settings.optimizer, self.states, settings.lr_states)
        self._action_optimizer = make_optimizer(settings.optimizer, self.actions, settings.lr_actions)
        self._goal_weight = self.actions.new_full((problems.batch, problems.steps), settings.goal_weight)
        self._goal_weight[:, -1] = 1 + (settings.goal_weight if settings.double_last else 0)

    def step(self, iteration: int) -> None:
        """One lifted update with noise, and a sync when one is due."""
        run, settings = self._run, self._settings
        gradients = lifted_gradients if settings.stop_gradient else full_lifted_gradients
        state_gradient, action_gradient = gradients(run.model, run.problems, self.states, self.actions, self._goal_weight)
        run.spend(run.problems.steps)
        self._state_optimizer.update(self.states, state_gradient)
        self._action_optimizer.update(self.actions, action_gradient)
        run.project(self.actions)
        sigma = settings.noise_at(iteration)
        if sigma:
            self.states.add_(self._noise.at(iteration), alpha=sigma)
        if settings.syncs_after(iteration):
            self._sync()
        if settings.final_sync_steps and iteration + 1 == settings.iterations:
            run.offer(self.actions, final_cost(run.model, run.problems, self.actions))
            run.spend(run.problems.steps)
            self.actions.copy_(run.best_actions)
            self._descend(settings.final_sync_steps, settings.final_sync_lr)

    def _descend(self, steps: int, lr: float) -> None:
        """Gradient steps on the goal cost of the true, serial rollout: actions only."""
        run = self._run
        optimizer = Adam(self.actions, lr)
        for _ in range(steps):
            cost, gradient = final_cost_gradient(run.model, run.problems, self.actions)
            run.spend(run.problems.steps)
            run.offer(self.actions, cost)
            optimizer.update(self.actions, gradient)
            run.project(self.actions)

    def _sync(self) -> None:
        """Bring the actions back to what the model can do, and what follows from that for the iterate."""
        run, settings = self._run, self._settings
        self._descend(settings.sync_steps, settings.sync_lr)
        if settings.reset_moments_at_sync:
            self._state_optimizer.reset()
            self._action_optimizer.reset()
        if settings.reset_states_after_sync:
            states = rollout(run.model, run.problems.context, self.actions)
            run.spend(run.problems.steps)
            run.offer(self.actions, run.problems.goal_cost(states[:, -1], run.problems.goal))
            self.states.copy_(states[:, :-1])


@dataclass(frozen=True)
class GRASP:
    """The GRASP planner: `GRASP(GraspSettings(...)).plan(model, problems, seeds)`."""

    settings: GraspSettings = GraspSettings()

    def plan(self, model: WorldModel, problems: ModelProblems, seeds: Sequence[int], on_step: OnStep | None = None) -> Plans:
        """One plan a problem; UserError when problems, seeds and model do not fit together."""

        def attempt(problems: ModelProblems, seeds: Sequence[int], on_step: OnStep | None) -> Plans:
            run = begin(model, problems, seeds)
            return solve(run, GraspSearch(self.settings, run), self.settings.iterations, on_step)

        with torch.no_grad():
            return with_attempts(self.settings, attempt, problems, seeds, on_step)
