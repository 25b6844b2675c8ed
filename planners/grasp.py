"""GRASP: gradient-based planning with lifted states, stochastic state iterates and a reshaped gradient (arXiv 2602.00475).

The states between start and goal are variables beside the actions, so every model call of an iteration is one batched call over
problems and time. Periodic sync steps on the true rollout bring the actions back to what the model can do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from planners.cem import check_elites, refit
from planners.gradient import Descent
from planners.newton import LevenbergMarquardt, states_fit
from planners.noise import RowNoise
from planners.objectives import final_cost, full_lifted_gradients, lifted_gradients
from planners.optimizers import make_optimizer
from planners.run import Rows, Run
from planners.sampling import elites_of, offered_costs
from planners.search import SearchPlanner, SearchSettings
from planners.settings import Count, Number, any_positive, choice, count, first_above, flag, number, per_row
from world_models.base import rollout
from world_models.errors import require

_ROUNDS = 1000
"""Apart from each other by so many draws, syncs of one row never share noise, whatever their lengths."""


@dataclass(frozen=True)
class GraspSettings(SearchSettings):
    """GRASP's hyperparameters. Learning rates and noise are in normalised state and action units."""

    lr_states: Number = number(0.1, positive=True)
    lr_actions: Number = number(0.01, positive=True)
    noise: Number = number(0.05)
    """Standard deviation of the noise added to the virtual states after each update."""
    noise_schedule: str = choice("constant", "linear", "cosine")
    """`linear` decays to zero within each sync phase, `cosine` over the whole run."""
    goal_weight: Number = number(0.02)
    """Weight of the dense goal term; what is good depends on the model's scale by orders of magnitude."""
    final_goal_weight: Number | None = number(None)
    """Where the weight of the dense goal term ends, linearly over the run. None: it stays."""
    sync: str = choice("gd", "cem", "newton", "auto", "none")
    """What brings the actions back to the true rollout: gradient steps, the cross-entropy method around them, damped
    Gauss-Newton steps (small states only), Gauss-Newton steps where the states are small enough and gradient steps elsewhere,
    or nothing."""
    sync_every: Count = count(25, low=0, by_row=True)
    """Iterations between syncs; 0 never syncs."""
    sync_steps: Count = count(10, low=0, by_row=True)
    """Steps on the rolled-out final cost a sync: of gradient descent or Gauss-Newton, or rounds of sampling."""
    sync_lr: Number = number(0.05, positive=True)
    sync_samples: int = count(64)
    """Plans drawn a round of a CEM sync."""
    sync_elites: int = count(8)
    sync_std: Number = number(0.3, positive=True)
    """Standard deviation of the actions at the start of a CEM sync."""
    sync_damping: Number = number(0.01, positive=True)
    """Damping at the start of a sync by Gauss-Newton steps, relative to the mean curvature."""
    final_sync_steps: Count = count(0, low=0, by_row=True)
    """Steps of one more sync after the last iteration, from the best plan so far: near misses become hits. These are
    Gauss-Newton steps where the syncs' are, else gradient steps."""
    final_sync_lr: Number = number(0.01, positive=True)
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
    init_noise: Number = number(0.0)
    """Standard deviation of the noise on the initial virtual states."""

    def check(self) -> None:
        """A sync must come before the run's end."""
        super().check()
        check_elites(self.sync_elites, self.sync_samples, "sync_elites", "sync_samples")
        late = first_above(self.sync_every, self.iterations)
        if self.sync != "none" and late is not None:
            sentence = f"sync_every {late[0]:g} exceeds iterations {late[1]:g}: no sync would come; choose 0 if none is wanted."
            require(False, sentence)

    def noise_at(self, iteration: int) -> Number:
        """The noise's standard deviation after the update of `iteration`."""
        if self.noise_schedule == "linear":
            phase = self._phase()
            return self.noise * (1 - (iteration % phase) / phase)
        if self.noise_schedule == "cosine":
            angle = math.pi * iteration / _exact(self.iterations)
            return self.noise * 0.5 * (1 + (angle.cos() if isinstance(angle, Tensor) else math.cos(angle)))
        return self.noise

    def goal_weight_at(self, iteration: int) -> Number:
        """The weight of the dense goal term in `iteration`."""
        if self.final_goal_weight is None:
            return self.goal_weight
        return self.goal_weight + (self.final_goal_weight - self.goal_weight) * (iteration / _exact(self.iterations))

    def _phase(self) -> Count:
        """Iterations between syncs, or all."""
        if isinstance(self.sync_every, Tensor):
            every = torch.as_tensor(self.iterations, device=self.sync_every.device)
            return _exact(torch.where(self.sync_every > 0, self.sync_every, every))
        return self.sync_every or _exact(self.iterations)


class GraspSearch:
    """The iterate of a GRASP run: virtual states s_1..s_{T-1}, actions a_0..a_{T-1}, and their moments."""

    def __init__(self, settings: GraspSettings, run: Run) -> None:
        self._settings = settings
        self._run = run
        newton = settings.sync == "newton" or (settings.sync == "auto" and states_fit(run.model))
        self._sync_kind = "newton" if newton else "gd" if settings.sync == "auto" else settings.sync
        self.actions: Float[Tensor, "batch time action"] = run.start.actions.clone()
        self.states: Float[Tensor, "batch virtual *state"] = run.start.states.clone()
        virtual = self.states.shape[1:]
        if any_positive(settings.init_noise):
            start = RowNoise(run.seeds, "initial states", virtual, self.states)
            self.states += start.at(0) * per_row(settings.init_noise, self.states)
        self._noise = RowNoise(run.seeds, "states", virtual, self.states)
        self._sync_noise = RowNoise(run.seeds, "sync", (settings.sync_samples, *self.actions.shape[1:]), self.actions)
        self._state_optimizer = make_optimizer(settings.optimizer, self.states, settings.lr_states)
        self._action_optimizer = make_optimizer(settings.optimizer, self.actions, settings.lr_actions)
        self._schedules = settings.to(self.states.device)
        self._goal_weight = self._goal_weights(0)

    def step(self, iteration: int) -> None:
        """One lifted update with noise, and a sync when one is due."""
        run, settings = self._run, self._settings
        if settings.final_goal_weight is not None:
            self._goal_weight = self._goal_weights(iteration)
        gradients = lifted_gradients if settings.stop_gradient else full_lifted_gradients
        state_gradient, action_gradient = gradients(run.model, run.problems, self.states, self.actions, self._goal_weight)
        run.spend(run.problems.steps)
        self._state_optimizer.update(self.states, state_gradient)
        self._action_optimizer.update(self.actions, action_gradient)
        run.project(self.actions)
        if any_positive(settings.noise):
            self.states.addcmul_(self._noise.at(iteration), self._sigma(iteration))
        for rows in _due(settings.sync_every, settings.sync_steps, iteration, settings.sync != "none"):
            self._sync(iteration, rows)
        for rows in _due(settings.iterations, settings.final_sync_steps, iteration, True):
            self._finish(rows)

    def keep(self, rows: Rows) -> None:
        """Go on with these of the rows."""
        there = rows.to(self.actions.device)
        self.actions, self.states = self.actions[there], self.states[there]
        self._goal_weight = self._goal_weight[there]
        for part in (self._noise, self._sync_noise, self._state_optimizer, self._action_optimizer):
            part.keep(rows)
        self._settings = self._settings.rows(rows)
        self._schedules = self._settings.to(self.states.device)

    def _goal_weights(self, iteration: int) -> Float[Tensor, "batch time"]:
        """Weights of the goal term by row and time; the last step's holds its target, which is the goal, too."""
        dense = per_row(self._schedules.goal_weight_at(iteration), self.actions[:, :, 0])
        weights = self.actions.new_ones(self.actions.shape[:2]) * dense
        weights[:, -1] = 1 + (weights[:, -1] if self._settings.double_last else 0)
        return weights

    def _sigma(self, iteration: int) -> Tensor:
        sigma = per_row(self._schedules.noise_at(iteration), self.states)
        return sigma if isinstance(sigma, Tensor) else self.states.new_full((), sigma)

    def _sync(self, iteration: int, rows: Rows | None) -> None:
        """Bring the actions back to what the model can do, and what follows from that for the iterate."""
        run = self._run
        settings, there = self._part(rows)
        actions = self.actions if there is None else self.actions[there]
        if self._sync_kind == "gd":
            Descent(run, actions, "adam", settings.sync_lr, rows).run_for(settings.sync_steps)
        elif self._sync_kind == "newton":
            LevenbergMarquardt(run, actions, settings.sync_damping, rows).run_for(settings.sync_steps)
        else:
            self._sample(iteration, settings, actions, rows)
        if there is not None:
            self.actions[there] = actions
        if settings.reset_moments_at_sync:
            self._state_optimizer.reset(rows)
            self._action_optimizer.reset(rows)
        if settings.reset_states_after_sync:
            problems = run.problems if there is None else run.problems.rows(there)
            states = rollout(run.model, problems.context, actions)
            run.spend(problems.steps, rows)
            run.offer(actions, problems.goal_cost(states[:, -1], problems.goal), rows)
            self.states[slice(None) if there is None else there] = states[:, :-1]

    def _sample(
        self, iteration: int, settings: GraspSettings, actions: Float[Tensor, "rows time action"], rows: Rows | None
    ) -> None:
        """A sync by the cross-entropy method around the actions, in place; each row takes its own number of rounds."""
        std = torch.ones_like(actions) * per_row(settings.sync_std, actions)
        steps = torch.as_tensor(settings.sync_steps).expand(len(actions))
        picked = torch.arange(len(self.actions)) if rows is None else rows
        for number_of in range(int(steps.max())):
            going = torch.nonzero(steps > number_of).flatten()
            there = going.to(actions.device)
            noise = self._sync_noise.at(iteration * _ROUNDS + number_of)[picked[going].to(actions.device)]
            mean, spread = actions[there], std[there]
            plans = torch.addcmul(mean.unsqueeze(1), noise, spread.unsqueeze(1))
            plans[:, 0] = mean
            elites = elites_of(plans, offered_costs(self._run, plans, picked[going]), settings.sync_elites)
            actions[there], std[there] = refit(mean, spread, elites, 0.0, 0.0)

    def _finish(self, rows: Rows | None) -> None:
        """The last sync, from the best plan so far."""
        run = self._run
        settings, there = self._part(rows)
        problems = run.problems if there is None else run.problems.rows(there)
        last = self.actions if there is None else self.actions[there]
        run.offer(last, final_cost(run.model, problems, last), rows)
        run.spend(problems.steps, rows)
        actions = run.best(rows).clone()
        if self._sync_kind == "newton":
            LevenbergMarquardt(run, actions, settings.sync_damping, rows).run_for(settings.final_sync_steps)
        else:
            Descent(run, actions, "adam", settings.final_sync_lr, rows).run_for(settings.final_sync_steps)
        self.actions[slice(None) if there is None else there] = actions

    def _part(self, rows: Rows | None) -> tuple[GraspSettings, Tensor | None]:
        """The settings of some rows, and the rows on the device."""
        return (self._settings, None) if rows is None else (self._settings.rows(rows), rows.to(self.actions.device))


def _exact(value: Count) -> Count:
    """Whole numbers by row in float64, for quotients that are those of Python's numbers (of integers torch makes float32)."""
    return value.double() if isinstance(value, Tensor) else value


def _due(every: Count, steps: Count, iteration: int, wanted: bool) -> tuple[Rows | None, ...]:
    """Whose turn it is after `iteration`: nobody's (), everybody's (None,), or some rows'."""
    if not isinstance(every, Tensor) and not isinstance(steps, Tensor):
        return (None,) if wanted and every > 0 and steps > 0 and (iteration + 1) % every == 0 else ()
    intervals, lengths = torch.broadcast_tensors(torch.as_tensor(every), torch.as_tensor(steps))
    due = (intervals > 0) & (lengths > 0) & ((iteration + 1) % intervals.clamp_min(1) == 0)
    rows = torch.nonzero(due).flatten()
    return (rows,) if wanted and len(rows) else ()


@dataclass(frozen=True)
class GRASP(SearchPlanner[GraspSettings]):
    """The GRASP planner: `GRASP(GraspSettings(...)).plan(model, problems, seeds)`."""

    settings: GraspSettings = GraspSettings()

    def search(self, settings: GraspSettings, run: Run) -> GraspSearch:
        """Virtual states, actions and their moments."""
        return GraspSearch(settings, run)
