"""GRASP as its author's solver for LeWM has it: our search with the author's settings, without bounds, and the last iterate.

Of a model with a history, the author's lifted updates see one state alone; ours see windows of the model's history.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from planners.methods.cem import check_elites
from planners.methods.gd import Descent
from planners.methods.grasp import GraspSearch, GraspSettings
from planners.methods.published.base import PublishedPlanner, PublishedSettings
from planners.search.noise import RowNoise
from planners.search.search_run import Rows, Run
from planners.settings import Count, Number, choice, count, number, per_row
from planners.updates.refiner import Refiner
from planners.updates.sampling import elites_of, evaluate_plans
from world_models.base import rollout


@dataclass(frozen=True)
class GraspAuthorSettings(PublishedSettings):
    """Settings of the author's solver as its `grasp.yaml` has them, in standardised action units."""

    iterations: Count = count(750, by_row=True)
    """`n_steps`."""
    lr_states: Number = number(0.1, positive=True)
    """`lr_s`."""
    lr_actions: Number = number(0.005, positive=True)
    """`lr_a`."""
    noise: Number = number(0.005)
    """`state_noise_scale`."""
    goal_weight: Number = number(1.0)
    sync: str = choice("gd", "cem", "none")
    """`sync_mode`. The author's `cem` draws the wider, the farther the virtual states are from the rollout."""
    sync_every: Count = count(50, low=0, by_row=True)
    """`gd_interval`."""
    sync_steps: Count = count(10, low=0, by_row=True)
    """`gd_opt_steps`; 5 in the author's settings for `cem`."""
    sync_lr: Number = number(0.05, positive=True)
    """`gd_lr`."""
    sync_samples: int = count(64)
    sync_elites: int = count(8, low=2)
    sync_variance_scale: Number = number(1.0)
    """Variance of the actions in the first round of a CEM sync, per squared distance between virtual state and rollout."""
    sync_variance_floor: Number = number(0.01, positive=True)
    """Variance that is added in every round of a CEM sync."""

    def check(self) -> None:
        """Raise UserError for more elites than samples."""
        super().check()
        check_elites(self.sync_elites, self.sync_samples, "sync_elites", "sync_samples")

    def grasp(self) -> GraspSettings:
        """The same as settings of our GRASP."""
        return GraspSettings(
            iterations=self.iterations,
            lr_states=self.lr_states,
            lr_actions=self.lr_actions,
            noise=self.noise,
            goal_weight=self.goal_weight,
            sync=self.sync,
            sync_every=self._interval(),
            sync_steps=self.sync_steps,
            sync_lr=self.sync_lr,
            sync_samples=self.sync_samples,
            sync_elites=self.sync_elites,
        )

    def _interval(self) -> Count:
        """Iterations between syncs; 0 where the run ends before the first, which ours would refuse."""
        every, iterations = torch.broadcast_tensors(torch.as_tensor(self.sync_every), torch.as_tensor(self.iterations))
        found = torch.where(every <= iterations, every, 0)
        return found if found.ndim else int(found)


class AuthorSearch(GraspSearch):
    """GRASP's search with the author's CEM sync."""

    def __init__(self, settings: GraspAuthorSettings, run: Run) -> None:
        self._author = settings
        super().__init__(settings.grasp(), run)

    def refiners(self, settings: GraspSettings, run: Run) -> tuple[Refiner, Refiner]:
        """The author's refiner for CEM syncs; there is no last sync."""
        if settings.sync != "cem":
            return super().refiners(settings, run)
        return VarianceResampling(run, self, self._author), Descent(run, "adam", settings.final_sync_lr)


def first_variance(
    states: Float[Tensor, "rows virtual *state"], path: Float[Tensor, "rows time *state"], goal: Float[Tensor, "rows *state"]
) -> Float[Tensor, "rows time"]:
    """Squared distance, averaged over features, between each virtual state and the rollout's; the mean of all comes first.

    A plan of one step has no virtual states: its distance is that of the rolled-out state to the goal.
    """
    if states.shape[1] == 0:
        return (path - goal.unsqueeze(1)).square().flatten(2).mean(2)
    apart = (path[:, :-1] - states).square().flatten(2).mean(2)
    return torch.cat([apart.mean(1, keepdim=True), apart], 1)


def refitted_by_time(
    plans: Float[Tensor, "rows samples time action"], cost: Float[Tensor, "rows samples"], elites: int
) -> tuple[Float[Tensor, "rows time action"], Float[Tensor, "rows time"]]:
    """Mean of the best plans, and their variance with Bessel's correction, averaged over the axes of an action."""
    best = elites_of(plans, cost, elites)
    return best.mean(1), best.var(1).mean(-1)


class VarianceResampling(Refiner):
    """The author's CEM sync: a variance for each time, at first from how far virtual states and rollout are apart."""

    def __init__(self, run: Run, search: GraspSearch, settings: GraspAuthorSettings) -> None:
        super().__init__(run)
        like = run.start.actions
        self._search, self._elites = search, settings.sync_elites
        ones = like.new_ones(len(like), 1)
        self._scale, self._floor = (
            ones * per_row(value, ones) for value in (settings.sync_variance_scale, settings.sync_variance_floor)
        )
        self._variance: Float[Tensor, "batch time"] = like.new_zeros(like.shape[:2])
        self._rounds = torch.zeros(len(like), dtype=torch.int64)
        """Rounds of each row over all its syncs, so that no two rounds share noise."""
        self._noise = RowNoise(run.seeds, "sync", (settings.sync_samples, *like.shape[1:]), like)

    def begin(self, rows: Rows | None = None) -> None:
        """Roll the actions out and set the variances by the virtual states."""
        run, device_rows = self._run, _on_device(rows, self._variance)
        problems, actions = self._part(self._search.actions, rows)
        path = rollout(run.model, problems.context, actions)
        run.spend(problems.steps, rows)
        run.record(actions, problems.goal_cost(path[:, -1], problems.goal), rows)
        apart = first_variance(self._search.states[device_rows], path, problems.goal)
        self._variance[device_rows] = self._scale[device_rows] * apart + self._floor[device_rows]

    def step(self, actions: Float[Tensor, "batch time action"], rows: Rows | None = None) -> None:
        """Draw plans around the actions, roll them out, and fit mean and variance to the best."""
        device_rows = _on_device(rows, actions)
        spread = self._variance[device_rows].sqrt()[:, None, :, None]
        plans = actions[device_rows].unsqueeze(1) + self._noise.at(self._rounds, rows) * spread
        mean, variance = refitted_by_time(plans, evaluate_plans(self._run, plans, rows), self._elites)
        actions[device_rows], self._variance[device_rows] = mean, variance + self._floor[device_rows]
        self._rounds[slice(None) if rows is None else rows] += 1

    def keep(self, rows: Rows) -> None:
        """Keep only these rows."""
        device_rows = rows.to(self._variance.device)
        self._scale, self._floor = self._scale[device_rows], self._floor[device_rows]
        self._variance, self._rounds = self._variance[device_rows], self._rounds[rows]
        self._noise.keep(rows)

    def join(self, others: VarianceResampling) -> None:
        """Append the variances, round counts and noise of the rows of `others`."""
        self._scale, self._floor = torch.cat([self._scale, others._scale]), torch.cat([self._floor, others._floor])
        self._variance = torch.cat([self._variance, others._variance])
        self._rounds = torch.cat([self._rounds, others._rounds])
        self._noise.join(others._noise)


def _on_device(rows: Rows | None, like: Tensor) -> Tensor | slice:
    return slice(None) if rows is None else rows.to(like.device)


@dataclass(frozen=True)
class GraspAuthor(PublishedPlanner[GraspAuthorSettings]):
    """GRASP as its author's solver for LeWM plans."""

    settings: GraspAuthorSettings = GraspAuthorSettings()

    def search(self, settings: GraspAuthorSettings, run: Run) -> AuthorSearch:
        """Search over virtual states and actions."""
        return AuthorSearch(settings, run)
