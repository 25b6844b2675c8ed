"""LatCo: lifted states with full gradients and Lagrange multipliers on the dynamics (Rybkin et al. 2021, arXiv 2106.13229).

Virtual states and actions are variables as in GRASP, but nothing is detached: states also move by the gradient through the
model's state input. Each step may violate the dynamics at first, at a price that rises until they hold.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from planners.objectives import dynamics_misses, final_cost, full_lifted_gradients
from planners.search.noise import RowNoise
from planners.search.search_planner import SearchPlanner, SearchSettings
from planners.search.search_run import Rows, Run
from planners.settings import Count, Number, any_positive, choice, count, number, per_row
from planners.updates.optimizers import make_optimizer
from world_models.base import lifted_step

_LARGEST = 1e6
"""Upper limit of the multipliers; its inverse is the lower limit."""


@dataclass(frozen=True)
class LatCoSettings(SearchSettings):
    """LatCo's hyperparameters. Learning rates and noise are in normalised state and action units."""

    lr_states: Number = number(0.05, positive=True)
    lr_actions: Number = number(0.05, positive=True)
    multiplier: Number = number(1.0, positive=True)
    """Initial weight of every step's mean squared dynamics violation; the rolled-out final cost weighs 1."""
    lr_multipliers: Number = number(0.1)
    """Each update scales a multiplier by (violation / tolerance)^lr, limited to a factor of e^lr."""
    tolerance: Number = number(1e-5, positive=True)
    """Target of the multipliers: mean squared dynamics violation of a step."""
    update_every: Count = count(5, by_row=True)
    """Iterations between updates of the multipliers."""
    goal_weight: Number = number(0.0)
    """Weight of the dense goal term on all steps except the last, whose weight is 1."""
    check_every: Count = count(10, by_row=True)
    """Iterations between rollouts of the actions: the returned plan is the best of these."""
    optimizer: str = choice("adam", "gd")
    """Update rule of states and actions."""
    init_noise: Number = number(0.0)
    """Standard deviation of the noise on the initial virtual states."""


class LatCoSearch:
    """State of a LatCo run: virtual states s_1..s_{T-1}, actions a_0..a_{T-1}, log multipliers of s_1..s_{T-1}."""

    def __init__(self, settings: LatCoSettings, run: Run) -> None:
        self._run = run
        self.actions: Float[Tensor, "batch time action"] = run.start.actions.clone()
        self.states: Float[Tensor, "batch virtual *state"] = run.start.states.clone()
        if any_positive(settings.init_noise):
            start = RowNoise(run.seeds, "initial states", self.states.shape[1:], self.states)
            self.states += start.at(0) * per_row(settings.init_noise, self.states)
        self._state_optimizer = make_optimizer(settings.optimizer, self.states, settings.lr_states)
        self._action_optimizer = make_optimizer(settings.optimizer, self.actions, settings.lr_actions)
        self._settings = settings
        self.log_multipliers: Float[Tensor, "batch virtual"] = self._by_step(settings.multiplier).log()
        self._goal_weight = self._goal_weights()

    def step(self, iteration: int) -> None:
        """Descend the Lagrangian in states and actions; update the multipliers and check the actions when due."""
        run, settings = self._run, self._settings
        gradients = full_lifted_gradients(
            run.model, run.problems, self.states, self.actions, self._goal_weight, self.log_multipliers.exp()
        )
        run.spend(run.problems.steps)
        self._state_optimizer.update(self.states, gradients[0])
        self._action_optimizer.update(self.actions, run.tangent(gradients[1]))
        run.project(self.actions)
        for rows in _due(settings.update_every, iteration, len(self.actions)):
            self._update(rows)
        for rows in _due(settings.check_every, iteration, len(self.actions)):
            self._check(rows)

    def keep(self, rows: Rows) -> None:
        """Keep only these rows."""
        device_rows = rows.to(self.actions.device)
        self.actions, self.states = self.actions[device_rows], self.states[device_rows]
        self.log_multipliers, self._goal_weight = self.log_multipliers[device_rows], self._goal_weight[device_rows]
        self._state_optimizer.keep(rows)
        self._action_optimizer.keep(rows)
        self._settings = self._settings.rows(rows)

    def _update(self, rows: Rows) -> None:
        """Update the multipliers: log multiplier += lr * log(violation / tolerance), that logarithm clamped to [-1, 1]."""
        run, device_rows = self._run, rows.to(self.actions.device)
        settings = self._settings.rows(rows)
        states, logs = self.states[device_rows], self.log_multipliers[device_rows]
        predicted = lifted_step(run.model, run.problems.rows(device_rows).context, states, self.actions[device_rows])
        run.spend(run.problems.steps, rows)
        ratio = dynamics_misses(predicted, states) / per_row(settings.tolerance, logs)
        logs = logs + per_row(settings.lr_multipliers, logs) * ratio.log().clamp(-1.0, 1.0)
        most = torch.tensor(_LARGEST, dtype=logs.dtype).log().item()
        self.log_multipliers[device_rows] = logs.clamp(-most, most)

    def _check(self, rows: Rows) -> None:
        """Roll the actions out and record them."""
        run, device_rows = self._run, rows.to(self.actions.device)
        actions = self.actions[device_rows]
        cost = final_cost(run.model, run.problems.rows(device_rows), actions)
        run.spend(run.problems.steps, rows)
        run.record(actions, cost, rows)

    def _by_step(self, value: Number) -> Float[Tensor, "batch virtual"]:
        """A setting, expanded to every virtual state."""
        ones = self.actions.new_ones(len(self.actions), self.states.shape[1])
        return ones * per_row(value, ones)

    def _goal_weights(self) -> Float[Tensor, "batch time"]:
        return torch.cat([self._by_step(self._settings.goal_weight), self.actions.new_ones(len(self.actions), 1)], 1)


def _due(every: Count, iteration: int, batch: int) -> tuple[Rows, ...]:
    """The rows that are due after `iteration`, as one index tensor, or nothing if no row is."""
    rows = torch.nonzero((iteration + 1) % torch.as_tensor(every).expand(batch) == 0).flatten()
    return (rows,) if len(rows) else ()


@dataclass(frozen=True)
class LatCo(SearchPlanner[LatCoSettings]):
    """The LatCo planner: `LatCo(LatCoSettings(...)).plan(model, problems, seeds)`."""

    settings: LatCoSettings = LatCoSettings()

    def search(self, settings: LatCoSettings, run: Run) -> LatCoSearch:
        """Search over virtual states, actions and multipliers."""
        return LatCoSearch(settings, run)
