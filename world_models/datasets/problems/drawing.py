"""Problems made of recorded rows: the simulator is put into the states of start and goal."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Float

from world_models.datasets.base import DatasetError, Episodes, Role, SeededEpisodes
from world_models.datasets.blocks import blocks
from world_models.datasets.opening import open_dataset
from world_models.datasets.problems.columns import ActionColumn, Columns, action_column, columns_for, observed
from world_models.datasets.problems.pictures import picture_column
from world_models.datasets.problems.rows import ProblemList, ProblemRows, problem_list
from world_models.datasets.problems.settings import REPLAYED as REPLAYED_GOAL
from world_models.datasets.problems.settings import RecordedProblems
from world_models.datasets.statistics import Moments, used_rows
from world_models.errors import require
from world_models.tasks.base import Problem, RecordedPictures, ResetSeeds, RestoresRows, Task, classes_of
from world_models.tasks.recorded.pictures import as_pictures
from world_models.tasks.recorded.protocols import SettlesStarts

SECTION = "problems"
"""Section of the config in which columns are named."""
REPLAYED = 0.1
"""How far, in tolerances of the goal, a replay may be from what was recorded."""
ELSEWHERE = "choose other rows (problems.draw.seed), or mend the dataset"
"""The remedy for rows that cannot be used."""
KIND = "recorded"
"""`Problem.kind` of such problems."""


@dataclass(frozen=True)
class RecordedSource:
    """The problems of a task at a horizon, from a dataset; the same for everybody who opens it."""

    task: Task
    settings: RecordedProblems
    horizon: int
    data: Episodes

    @staticmethod
    def open(task: Task, settings: RecordedProblems, horizon: int, opened: Episodes | None = None) -> RecordedSource:
        """Open the dataset, unless it is `opened`. Raises UserError if its content is not that of when the sweep was made."""
        if opened is not None:
            return RecordedSource(task, settings, horizon, opened)
        data = open_dataset(settings.path, settings.kind)
        found = data.digest()
        require(
            found == settings.digest,
            f"{data.path} has digest {found}, not {settings.digest}: it has changed since the sweep was made; run it anew.",
        )
        return RecordedSource(task, settings, horizon, data)

    @cached_property
    def problems(self) -> ProblemList:
        """The rows of each problem."""
        return problem_list(self.data, self.settings, self.horizon)

    @cached_property
    def action(self) -> ActionColumn:
        """The column of the actions."""
        return action_column(self.task, self.data, self.settings.action, SECTION)

    @cached_property
    def observed(self) -> Columns | None:
        """The columns of the task's observations; None if there are none, and the task may do without."""
        settings = self.settings
        if not settings.observation and isinstance(self.task, RestoresRows) and not observed(self.task, self.data):
            return None
        return columns_for(self.task, self.data, settings.observation, self.action.name, SECTION)

    def problem(self, seed: int, past: int = 0, size: int | None = None) -> Problem:
        """Problem number `seed`, with up to `past` states before its start, a model step apart.

        Its recorded pictures, if the settings name a column, are of `size` px; None: they are left out.
        Raises UserError beyond the end of the list, and for rows into whose states the task cannot be put.
        """
        rows, block = self.problems.at(seed), self.task.action_block
        known = min(past, rows.start // block) if self.settings.history else 0
        first = rows.start - known * block
        actions = self._actions(rows.episode, first, rows.goal)
        seen = [*range(first, rows.start + 1, block), rows.goal]
        states = self._states(rows, np.array(seen))
        if self.settings.goal == REPLAYED_GOAL:
            states[-1] = self.task.simulate(states[known : known + 1], actions[None, known * block :])[0, -1]
        if isinstance(self.task, SettlesStarts):
            states[known] = self.task.first_observed(states[known : known + 1])[0]
        return Problem(
            seed,
            self.horizon,
            KIND,
            start=states[known],
            goal=states[-1],
            reference_actions=actions[known * block :],
            past_states=states[:known],
            past_actions=actions[: known * block],
            pictures=None if size is None else self._pictures(rows.episode, seen, size),
            action_statistics=self._action_statistics,
        )

    @cached_property
    def _action_statistics(self) -> Float[np.ndarray, "2 action"] | None:
        """Mean and deviation of all recorded actions that are numbers, in the task's units; None for classes."""
        if classes_of(self.task) is not None:
            return None
        column = self.data.columns[self.action.name]
        moments = Moments(replace(column, shape=(self.task.action_dim,)))
        for block in blocks(self.data, [column.name]):
            recorded = used_rows(self.data, column, block)
            finite = np.isfinite(recorded.reshape(len(recorded), -1)).all(1)
            moments.add(self.action.clipped(recorded[finite], 1))
        found = moments.result()
        return np.stack([found.mean, np.where(found.std > 0, found.std, 1.0)])

    @cached_property
    def pixels(self) -> str | None:
        """The column of the pictures that a pixel model sees; None if the task draws them."""
        name = self.settings.pictures
        return None if name is None else picture_column(self.data, name, f"{SECTION}.pictures")

    def _pictures(self, episode: int, rows: list[int], size: int) -> RecordedPictures | None:
        if self.pixels is None:
            return None
        values = self.data.windows(np.full(len(rows), episode), np.array(rows), 1, [self.pixels])[self.pixels][:, 0]
        found = as_pictures(values, size)
        return RecordedPictures(found[:-1], found[-1])

    def _actions(self, episode: int, first: int, end: int) -> Float[np.ndarray, "time action"]:
        name = self.action.name
        recorded = self.data.rows(episode, first, end, [name])[name]
        if not np.isfinite(recorded).all():
            row = first + int(np.flatnonzero(~np.isfinite(recorded.reshape(len(recorded), -1)).all(1))[0])
            where = f"{self.data.path}, episode {episode}, row {row}"
            raise DatasetError(f"{where}: the action is not a number: {ELSEWHERE}.")
        return self.action.values(recorded, 1).astype(np.float64)

    def _states(self, rows: ProblemRows, chosen: np.ndarray) -> Float[np.ndarray, "n state"]:
        """Simulator states of some rows of an episode: from their columns, else by replaying the episode from its reset."""
        values = self._values(rows.episode, chosen)
        seen = None if self.observed is None else self.observed.joined(values, 1).astype(np.float64)
        if seen is not None:
            self._check_finite(rows.episode, chosen, seen)
        if isinstance(self.task, RestoresRows):
            states = self.task.recorded_states(values, seen)
        else:
            states = seen if self._observations_are_states else None
        if states is None:
            states = self._replayed(rows.episode, chosen, seen)
        self._check_finite(rows.episode, chosen, states)
        return states

    def _check_finite(self, episode: int, chosen: np.ndarray, values: Float[np.ndarray, "n feature"]) -> None:
        bad = np.flatnonzero(~np.isfinite(values).all(1))
        if len(bad):
            where = f"{self.data.path}, episode {episode}, row {int(chosen[bad[0]])}"
            raise DatasetError(f"{where}: the state is not a number: {ELSEWHERE}.")

    def _values(self, episode: int, chosen: np.ndarray) -> dict[str, np.ndarray]:
        """All columns but pictures of some rows."""
        names = [name for name, column in self.data.columns.items() if column.role is not Role.PIXELS]
        episodes = np.full(len(chosen), episode)
        return {name: values[:, 0] for name, values in self.data.windows(episodes, chosen, 1, names).items()}

    @cached_property
    def _observations_are_states(self) -> bool:
        """Whether the task observes its whole state as it is."""
        example = self.task.sample(np.random.default_rng(0), 1, self.task.action_block)[0][0, 0]
        seen = self.task.observe(example)
        return seen.shape == example.shape and np.array_equal(seen, example)

    def _replayed(
        self, episode: int, chosen: np.ndarray, seen: Float[np.ndarray, "n observation"] | None
    ) -> Float[np.ndarray, "n state"]:
        """States after the recorded actions from the episode's reset, which must be observed as they were recorded."""
        seeds = self.data.reset_seeds if isinstance(self.data, SeededEpisodes) else ()
        seed = seeds[episode] if episode < len(seeds) else None
        if seed is None or not isinstance(self.task, ResetSeeds):
            needed = self.task.restored_from if isinstance(self.task, RestoresRows) else "a column of the simulator's states"
            raise DatasetError(
                f"task {self.task.name} cannot be put into the rows of {self.data.path}, which has "
                f"{', '.join(self.data.columns)}: it takes {needed}; add such columns, or choose a dataset that has them."
            )
        actions = self._actions(episode, 0, int(chosen[-1]))
        states = self.task.simulate(self.task.reset_state(seed)[None], actions[None])[0][chosen]
        if seen is not None:
            far = float((np.abs(self.task.observe(states) - seen) / self.task.goal_tolerance).max())
            require(
                far <= REPLAYED,
                f"{self.data.path}, episode {episode}: replayed from its reset with seed {seed}, it ends {far:.3g} tolerances "
                "from what was recorded: give the environment that was recorded.",
            )
        return states
