"""Hill climbing: draw plans around the best one so far, roll them out, keep the best."""

from dataclasses import dataclass

from planners.search.noise import RowNoise
from planners.search.search_planner import SearchPlanner, SearchSettings
from planners.search.search_run import Rows, Run
from planners.settings import Number, count, number, per_row
from planners.updates.sampling import evaluate_plans


@dataclass(frozen=True)
class ClimbingSettings(SearchSettings):
    samples: int = count(100)
    std: Number = number(0.5, positive=True)  # a number, or one per problem


class ClimbingSearch:
    def __init__(self, settings: ClimbingSettings, run: Run) -> None:
        self._run, self.actions = run, run.start.actions.clone()
        shape = (settings.samples, *self.actions.shape[1:])
        self._noise = RowNoise(run.seeds, "climbing", shape, self.actions)  # each row's noise comes from its own seed
        self._std = self.actions.new_ones(len(self.actions), 1, 1, 1) * per_row(settings.std, self.actions.unsqueeze(1))

    def step(self, iteration: int) -> None:
        plans = self.actions.unsqueeze(1) + self._noise.at(iteration) * self._std
        evaluate_plans(self._run, plans)  # inside the bounds, rolled out, counted; the best of each row is kept
        self.actions = self._run.best()

    def keep(self, rows: Rows) -> None:  # the other rows are finished
        self.actions, self._std = self.actions[rows], self._std[rows]
        self._noise.keep(rows)


@dataclass(frozen=True)
class Climbing(SearchPlanner[ClimbingSettings]):
    settings: ClimbingSettings = ClimbingSettings()

    def search(self, settings: ClimbingSettings, run: Run) -> ClimbingSearch:
        return ClimbingSearch(settings, run)
