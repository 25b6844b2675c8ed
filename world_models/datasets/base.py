"""The contract of a dataset: episodes of named columns, read in part, by anyone, from anywhere.

**Rows.** Row t of an episode holds what was observed at time t, and the action that was taken then; it leads to row t + 1. A
column whose values belong to that step (an action, a reward) is marked as `transition`. From the last row nothing leads on.
Where its action was not recorded, because a format keeps one observation more than actions, the episode is `open_ended`: its
last row reads NaN in the transition columns of numbers with a point, and 0 in others. Of an episode with n rows, n - 1
transitions can always be learned from.

**Processes.** A dataset can be pickled and forked: files are opened when they are first read, once per process. Reading is safe
from several threads.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Int

from world_models.errors import UnknownNameError, UserError


class DatasetError(UserError):
    """A dataset that cannot be read: one sentence with the file, and the episode and row where they are known."""


class Role(Enum):
    """The use of a column, as far as its name and shape, or a mapping, tell."""

    ACTION = "action"
    OBSERVATION = "observation"
    PIXELS = "pixels"
    """Pictures of one byte per channel, `[height, width, channels]`."""
    STATE = "state"
    """A simulator's state, such as positions and velocities."""
    GOAL = "goal"
    REWARD = "reward"
    TERMINATED = "terminated"
    TRUNCATED = "truncated"
    TIME = "time"
    """Seconds, rising within an episode."""
    STEP = "step"
    """Number of the row within its episode, or in the dataset."""
    EPISODE = "episode"
    """Number of the row's episode."""
    OTHER = "other"


@dataclass(frozen=True)
class Column:
    """A named column; each row has one value of the same shape and type."""

    name: str
    shape: tuple[int, ...]
    """Shape of one row's value, () for a number."""
    dtype: str
    """Element type in NumPy's words, such as `float32`, `uint8`, `bool`."""
    role: Role = Role.OTHER
    unit: str = ""
    """Physical unit, such as `m` or `px`; empty where it is unknown."""
    features: tuple[str, ...] = ()
    """Names of the value's elements, if known."""
    transition: bool = False
    """Whether a value belongs to the step from its row to the next."""

    @property
    def row_bytes(self) -> int:
        """Bytes of one row's value."""
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize


@runtime_checkable
class Episodes(Protocol):
    """A dataset: episodes of any length, read by column and row."""

    @property
    def kind(self) -> str:
        """Name of the format, such as `minari` or `hdf5`."""
        ...

    @property
    def path(self) -> str:
        """The file, folder or address that was opened."""
        ...

    @property
    def columns(self) -> Mapping[str, Column]:
        """The columns by name."""
        ...

    @property
    def lengths(self) -> Int[np.ndarray, " episodes"]:
        """Number of rows of each episode."""
        ...

    @property
    def open_ended(self) -> Bool[np.ndarray, " episodes"]:
        """Whether each episode's last row lacks the action, because none was recorded."""
        ...

    @property
    def facts(self) -> Mapping[str, Any]:
        """Facts that the source states about itself, such as `environment` and `fps`; JSON values."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """Remarks on columns left out and on assumptions, one sentence each."""
        ...

    def episode(self, episode: int, columns: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """All rows of an episode: an array `[rows, *shape]` per column, all columns if none are named."""
        ...

    def rows(self, episode: int, start: int, stop: int, columns: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """Rows `start` to `stop - 1` of an episode, as `[stop - start, *shape]` per column.

        Raises DatasetError for rows that it lacks or that are damaged, UnknownNameError for a column that it lacks.
        """
        ...

    def windows(
        self,
        episodes: Int[np.ndarray, " n"],
        starts: Int[np.ndarray, " n"],
        rows: int,
        columns: Sequence[str] | None = None,
    ) -> dict[str, np.ndarray]:
        """`rows` rows from each start on, as `[n, rows, *shape]` per column. Raises as `rows` does."""
        ...

    def digest(self, full: bool = False) -> str:
        """Content digest, 16 hex digits.

        The fast one is of names, sizes and sampled blocks of the files. The full one is of every value, and equal for the same
        content in whatever format.
        """
        ...


@runtime_checkable
class SeededEpisodes(Protocol):
    """A dataset that knows the seeds of the resets with which its episodes began."""

    @property
    def reset_seeds(self) -> tuple[int | None, ...]:
        """The seed of each episode, None where it is not known; empty if none is."""
        ...


def columns_with(data: Episodes, role: Role) -> list[str]:
    """Names of the columns with a role, in their order."""
    return [name for name, column in data.columns.items() if column.role is role]


def named_columns(data: Episodes, names: Sequence[str] | None) -> list[str]:
    """The names, or those of all columns; raises UnknownNameError for one that the dataset lacks."""
    if names is None:
        return list(data.columns)
    for name in names:
        if name not in data.columns:
            raise UnknownNameError(f"column of {data.path}", name, data.columns)
    return list(names)


_ROLES = {
    Role.ACTION: r"(rel_|abs_)?actions?",
    Role.REWARD: r"(next\.)?rewards?",
    Role.TERMINATED: r"(next\.)?(terminals?|terminations?|terminated|dones?|is_terminal)",
    Role.TRUNCATED: r"(next\.)?(timeouts?|truncations?|truncated)",
    Role.TIME: r"timestamps?|time",
    Role.STEP: r"step_idx|frame_index|index|step|t",
    Role.EPISODE: r"ep_idx|episode_idx|episode_index|episode_id",
    Role.STATE: r"qpos|qvel|states?|physics|velocities|sim_state",
    Role.GOAL: r"(desired_|achieved_)?goals?|goal_.*",
    Role.OBSERVATION: r"observations?|obs|proprios?|proprioception|keypoints?|observation[./].*",
}
_IN_OBSERVATION = re.compile(r"(obs|observations|observation)[./].*")
_TRANSITION = {Role.ACTION, Role.REWARD, Role.TERMINATED, Role.TRUNCATED}


def column_of(name: str, shape: Sequence[int], dtype: np.dtype | type | str, **more: Any) -> Column:
    """A column whose role and `transition` are taken from its name and shape, unless they are given."""
    size, kind = tuple(int(side) for side in shape), np.dtype(dtype)
    role = more.pop("role", None) or role_of(name, size, kind)
    transition = more.pop("transition", role in _TRANSITION)
    return Column(name, size, kind.name, role, transition=transition, **more)


def role_of(name: str, shape: tuple[int, ...], dtype: np.dtype) -> Role:
    """The role that a column's name and shape suggest."""
    if dtype == np.uint8 and len(shape) == 3 and (shape[2] in (1, 3, 4) or shape[0] in (1, 3, 4)):
        return Role.PIXELS
    last = re.split("/", name)[-1].lower()
    for role, pattern in _ROLES.items():
        if re.fullmatch(pattern, last):
            return role
    return Role.OBSERVATION if _IN_OBSERVATION.fullmatch(name.lower()) else Role.OTHER
