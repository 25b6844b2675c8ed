"""GRASP: gradient-based planning with lifted states, stochastic state iterates and a reshaped gradient (arXiv 2602.00475).

The states between start and goal are optimised along with the actions, so every model call of an iteration is one batched call
over problems and time. Periodic sync steps on the serial rollout bring the actions back to what the model can do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from planners.methods.cem import Resampling, check_elites
from planners.methods.gd import Descent
from planners.methods.sync_schedule import Phase, RowSelection, SyncSchedule
from planners.objectives import final_cost, full_lifted_gradients, lifted_gradients
from planners.search.noise import RowNoise
from planners.search.search_planner import SearchPlanner, SearchSettings
from planners.search.search_run import Rows, Run
from planners.settings import Choice, Count, Number, any_positive, choice, count, first_above, flag, number, per_row
from planners.updates.newton import LevenbergMarquardt, states_fit
from planners.updates.optimizers import make_optimizer
from planners.updates.refiner import Refiner
from world_models.base import rollout
from world_models.errors import require


@dataclass(frozen=True)
class GraspSettings(SearchSettings):
    """GRASP's hyperparameters. Learning rates and noise are in normalised state and action units."""

    lr_states: Number = number(0.1, positive=True)
    lr_actions: Number = number(0.01, positive=True)
    noise: Number = number(0.05)
    """Standard deviation of the noise added to the virtual states after each update."""
    noise_schedule: Choice = choice("constant", "linear", "cosine", by_row=True)
    """`linear` decays to zero within each sync phase, `cosine` over the whole run."""
    goal_weight: Number = number(0.02)
    """Weight of the dense goal term; good values depend on the model's scale and vary by orders of magnitude."""
    final_goal_weight: Number | None = number(None)
    """Weight of the dense goal term at the end of the run, reached linearly. None: the weight stays constant."""
    sync: str = choice("gd", "cem", "newton", "auto", "none")
    """Method that brings the actions back to the serial rollout: gradient steps (`gd`), the cross-entropy method around the
    actions (`cem`), damped Gauss-Newton steps (`newton`, small states only), Gauss-Newton steps where the states are small
    enough and gradient steps elsewhere (`auto`), or nothing (`none`)."""
    sync_every: Count = count(25, low=0, by_row=True)
    """Iterations between syncs; 0 means no syncs."""
    sync_steps: Count = count(10, low=0, by_row=True)
    """Steps per sync on the rolled-out final cost: gradient or Gauss-Newton steps, or rounds of sampling."""
    sync_lr: Number = number(0.05, positive=True)
    sync_samples: int = count(64)
    """Plans drawn per round of a CEM sync."""
    sync_elites: int = count(8)
    sync_std: Number = number(0.3, positive=True)
    """Standard deviation of the actions at the start of a CEM sync."""
    sync_damping: Number = number(0.01, positive=True)
    """Damping at the start of a sync by Gauss-Newton steps, relative to the mean curvature."""
    final_sync_steps: Count = count(0, low=0, by_row=True)
    """Steps of one more sync after the last iteration, from the best plan so far: near misses become hits. They are
    Gauss-Newton steps if the syncs use those, else gradient steps."""
    final_sync_lr: Number = number(0.01, positive=True)
    optimizer: str = choice("adam", "gd")
    """Update rule of states and actions; sync steps always use Adam."""
    reset_moments_at_sync: bool = flag(True)
    """Reset Adam's moments after each sync."""
    reset_states_after_sync: bool = flag(False)
    """Replace the virtual states by the rollout of the synced actions."""
    stop_gradient: bool = flag(True)
    """The reshaped gradient: nothing flows through the model's state input. Off for ablations only."""
    double_last: bool = flag(True)
    """The last step, whose target is the goal, also has a dense goal term."""
    init_noise: Number = number(0.0)
    """Standard deviation of the noise on the initial virtual states."""

    def check(self) -> None:
        """Raise UserError for more elites than samples, or for a first sync after the run's end."""
        super().check()
        check_elites(self.sync_elites, self.sync_samples, "sync_elites", "sync_samples")
        late = first_above(self.sync_every, self.iterations)
        if self.sync != "none" and late is not None:
            sentence = (
                f"sync_every {late[0]:g} exceeds iterations {late[1]:g}: no sync would take place; choose 0 if none is wanted."
            )
            require(False, sentence)

    def noise_at(self, iteration: Count) -> Number:
        """Standard deviation of the noise after the update of `iteration`, which may differ by row."""
        if isinstance(self.noise_schedule, Tensor):
            # In the order of the field's names.
            fades = self.noise_schedule.new_ones(3, len(self.noise_schedule), dtype=torch.float64)
            for row, fade in enumerate(self._fades(iteration)):
                fades[row] *= fade
            return self.noise * fades.gather(0, self.noise_schedule.unsqueeze(0)).squeeze(0)
        constant, linear, cosine = self._fades(iteration)
        return self.noise * {"linear": linear, "cosine": cosine}.get(self.noise_schedule, constant)

    def _fades(self, iteration: Count) -> tuple[Number, Number, Number]:
        """Fractions of the noise left in `iteration` under each schedule: constant, linear, cosine."""
        phase, iteration = self._phase(), _exact(iteration)
        angle = math.pi * iteration / _exact(self.iterations)
        wave = angle.cos() if isinstance(angle, Tensor) else math.cos(angle)
        return 1.0, 1 - (iteration % phase) / phase, 0.5 * (1 + wave)

    def goal_weight_at(self, iteration: Count) -> Number:
        """Weight of the dense goal term in `iteration`."""
        if self.final_goal_weight is None:
            return self.goal_weight
        return self.goal_weight + (self.final_goal_weight - self.goal_weight) * (_exact(iteration) / _exact(self.iterations))

    def _phase(self) -> Count:
        """Iterations between syncs, or of the whole run where there are none."""
        if isinstance(self.sync_every, Tensor):
            every = torch.as_tensor(self.iterations, device=self.sync_every.device)
            return _exact(torch.where(self.sync_every > 0, self.sync_every, every))
        return self.sync_every or _exact(self.iterations)


class GraspSearch:
    """State of a GRASP run: virtual states s_1..s_{T-1}, actions a_0..a_{T-1}, and their moments."""

    def __init__(self, settings: GraspSettings, run: Run) -> None:
        self._settings = settings
        self._run = run
        self.actions: Float[Tensor, "batch time action"] = run.start.actions.clone()
        self.states: Float[Tensor, "batch virtual *state"] = run.start.states.clone()
        virtual = self.states.shape[1:]
        if any_positive(settings.init_noise):
            start = RowNoise(run.seeds, "initial states", virtual, self.states)
            self.states += start.at(0) * per_row(settings.init_noise, self.states)
        self._noise = RowNoise(run.seeds, "states", virtual, self.states)
        self._state_optimizer = make_optimizer(settings.optimizer, self.states, settings.lr_states)
        self._action_optimizer = make_optimizer(settings.optimizer, self.actions, settings.lr_actions)
        self._sync, self._last_sync = self.refiners(settings, run)
        steps = settings.sync_steps if settings.sync != "none" else 0
        counts = settings.sync_every, steps, settings.iterations, settings.final_sync_steps
        self._sync_schedule = SyncSchedule(
            len(self.actions), *counts, extra_steps=(self._sync.extra_steps, self._last_sync.extra_steps)
        )
        self._schedules = settings.to(self.states.device)
        self._goal_weight = self._goal_weights(0)

    def step(self, iteration: int) -> Rows | None:
        """Take scheduled steps until some rows finish their iteration; all of them, if all are in step."""
        while not (ended := self._advance()):
            pass
        return ended[0]

    def refiners(self, settings: GraspSettings, run: Run) -> tuple[Refiner, Refiner]:
        """The refiners of the syncs and of the last sync."""
        newton = settings.sync == "newton" or (settings.sync == "auto" and states_fit(run.model))
        if newton:
            return LevenbergMarquardt(run, settings.sync_damping), LevenbergMarquardt(run, settings.sync_damping)
        last = Descent(run, "adam", settings.final_sync_lr)
        if settings.sync == "cem":
            return Resampling(run, settings.sync_samples, settings.sync_elites, settings.sync_std), last
        return Descent(run, "adam", settings.sync_lr), last

    def _advance(self) -> RowSelection:
        """Take the next scheduled step, a lifted update or steps of a sync; returns the rows that finished their iteration."""
        scheduled = self._sync_schedule.next()
        if scheduled.phase is Phase.LIFT:
            self._lift(scheduled.rows)
        else:
            refiner = self._sync if scheduled.phase is Phase.SYNC else self._last_sync
            for _ in range(scheduled.steps):
                refiner.step(self.actions, scheduled.rows)
        changes = self._sync_schedule.advance(scheduled)
        for rows in changes.synced:
            self._after_sync(rows)
        for rows in changes.to_sync:
            self._sync.begin(rows)
        for rows in changes.to_finish:
            self._before_last_sync(rows)
        return changes.ended

    def keep(self, rows: Rows) -> None:
        """Keep only these rows."""
        device_rows = rows.to(self.actions.device)
        self.actions, self.states = self.actions[device_rows], self.states[device_rows]
        self._goal_weight = self._goal_weight[device_rows]
        for part in (
            self._sync_schedule,
            self._noise,
            self._state_optimizer,
            self._action_optimizer,
            self._sync,
            self._last_sync,
        ):
            part.keep(rows)
        self._settings = self._settings.rows(rows)
        self._schedules = self._settings.to(self.states.device)

    def join(self, others: GraspSearch) -> None:
        """Append the rows of `others`, a search that has just begun; the runs have been joined already."""
        self.actions = torch.cat([self.actions, others.actions])
        self.states = torch.cat([self.states, others.states])
        self._goal_weight = torch.cat([self._goal_weight, others._goal_weight])
        self._sync_schedule.join(others._sync_schedule)
        self._noise.join(others._noise)
        self._state_optimizer.join(others._state_optimizer)
        self._action_optimizer.join(others._action_optimizer)
        self._sync.join(others._sync)
        self._last_sync.join(others._last_sync)
        self._settings = self._settings.concat(others._settings)
        self._schedules = self._settings.to(self.states.device)

    def _lift(self, rows: Rows | None) -> None:
        """Take one lifted update and add noise."""
        run, settings, clock = self._run, self._settings, self._sync_schedule.clock
        device_rows = slice(None) if rows is None else rows.to(self.actions.device)
        if settings.final_goal_weight is not None:
            self._goal_weight = self._goal_weights(clock)
        gradients = lifted_gradients if settings.stop_gradient else full_lifted_gradients
        problems = run.problems_of(rows)
        found = gradients(
            run.model, problems, self.states[device_rows], self.actions[device_rows], self._goal_weight[device_rows]
        )
        run.spend(problems.steps, rows)
        self._state_optimizer.update(self.states, found[0], rows)
        self._action_optimizer.update(self.actions, run.tangent(found[1]), rows)
        run.project(self.actions)
        if any_positive(settings.noise):
            sigma = self._sigma(clock)
            if rows is None:
                self.states.addcmul_(self._noise.at(clock), sigma)
            else:
                noise = self._noise.at(clock, rows)
                self.states[device_rows] = torch.addcmul(
                    self.states[device_rows], noise, sigma if sigma.ndim == 0 else sigma[device_rows]
                )

    def _goal_weights(self, iteration: Count) -> Float[Tensor, "batch time"]:
        """Weights of the goal term by row and time; the last step's includes its target term, whose target is the goal."""
        dense = per_row(self._schedules.goal_weight_at(_on_device(iteration, self.actions)), self.actions[:, :, 0])
        weights = self.actions.new_ones(self.actions.shape[:2]) * dense
        weights[:, -1] = 1 + (weights[:, -1] if self._settings.double_last else 0)
        return weights

    def _sigma(self, iteration: Count) -> Tensor:
        sigma = per_row(self._schedules.noise_at(_on_device(iteration, self.states)), self.states)
        return sigma if isinstance(sigma, Tensor) else self.states.new_full((), sigma)

    def _after_sync(self, rows: Rows | None) -> None:
        """Reset moments and virtual states after a sync, as the settings say."""
        run, settings = self._run, self._settings
        if settings.reset_moments_at_sync:
            self._state_optimizer.reset(rows)
            self._action_optimizer.reset(rows)
        if settings.reset_states_after_sync:
            device_rows = slice(None) if rows is None else rows.to(self.actions.device)
            problems, actions = run.problems_of(rows), self.actions[device_rows]
            states = rollout(run.model, problems.context, actions)
            run.spend(problems.steps, rows)
            run.record(actions, problems.goal_cost(states[:, -1], problems.goal), rows)
            self.states[device_rows] = states[:, :-1]

    def _before_last_sync(self, rows: Rows | None) -> None:
        """Check the last iterate, then begin the last sync at the best plan so far."""
        run = self._run
        device_rows = slice(None) if rows is None else rows.to(self.actions.device)
        problems, last = run.problems_of(rows), self.actions[device_rows]
        run.record(last, final_cost(run.model, problems, last), rows)
        run.spend(problems.steps, rows)
        self.actions[device_rows] = run.best(rows)
        self._last_sync.begin(rows)


def _on_device(iteration: Count, like: Tensor) -> Count:
    return iteration.to(like.device) if isinstance(iteration, Tensor) else iteration


def _exact(value: Count) -> Count:
    """Whole numbers by row as float64, so that quotients equal Python's (torch divides integers in float32)."""
    return value.double() if isinstance(value, Tensor) else value


@dataclass(frozen=True)
class GRASP(SearchPlanner[GraspSettings]):
    """The GRASP planner: `GRASP(GraspSettings(...)).plan(model, problems, seeds)`."""

    settings: GraspSettings = GraspSettings()

    def search(self, settings: GraspSettings, run: Run) -> GraspSearch:
        """Search over virtual states and actions."""
        return GraspSearch(settings, run)
