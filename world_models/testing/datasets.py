"""Promises of every dataset: what training, problems and `grasp data` rely on."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from world_models.datasets import Episodes
from world_models.testing.refusals import refuses


@dataclass(frozen=True)
class DatasetCase:
    """A dataset, opened anew by each call of `open`, and what it should hold."""

    open: Callable[[], Episodes]
    held: Mapping[str, Sequence[np.ndarray]] | None = None
    """The true values of some columns, an array `[rows, *shape]` per episode; None where they are not known."""
    tolerance: Mapping[str, float] | None = None
    """Largest mean absolute error of columns that are stored with loss, by name."""


def columns_are_as_described(case: DatasetCase) -> None:
    """Each episode has its length in rows, and each column its shape and type in all of them."""
    data = case.open()
    assert len(data.columns) > 0, "it has no columns"
    assert data.lengths.dtype == np.int64, f"lengths are {data.lengths.dtype} and not int64"
    assert data.open_ended.shape == data.lengths.shape, "lengths and open_ended have different shapes"
    for name, column in data.columns.items():
        assert column.name == name, f"column {name!r} calls itself {column.name!r}"
    for episode, length in enumerate(data.lengths.tolist()):
        for name, values in data.episode(episode).items():
            column = data.columns[name]
            assert values.shape == (length, *column.shape), f"episode {episode}: {name!r} has shape {values.shape}"
            assert values.dtype == np.dtype(column.dtype), f"episode {episode}: {name!r} is {values.dtype}"


def values_are_those_written(case: DatasetCase) -> None:
    """Values that are known are read as they were written."""
    data = case.open()
    for name, episodes in (case.held or {}).items():
        assert name in data.columns, f"column {name!r} is missing; there are {list(data.columns)}"
        assert len(episodes) == len(data.lengths), f"{len(data.lengths)} episodes are read and {len(episodes)} were written"
        for episode, truth in enumerate(episodes):
            found = data.episode(episode, [name])[name]
            known = found[: len(truth)]
            assert known.shape == truth.shape, f"episode {episode}: {name!r} has shape {known.shape}, not {truth.shape}"
            allowed = (case.tolerance or {}).get(name)
            if allowed is None:
                assert np.array_equal(known, truth, equal_nan=truth.dtype.kind == "f"), f"episode {episode}: {name!r} differs"
            else:
                error = np.abs(known.astype(float) - truth.astype(float)).mean()
                assert error <= allowed, f"episode {episode}: {name!r} is off by {error:.3g} on average"


def missing_actions_are_filled(case: DatasetCase) -> None:
    """The last row of an open-ended episode reads NaN or 0 in the columns of transitions."""
    data = case.open()
    columns = [column for column in data.columns.values() if column.transition]
    for episode in np.nonzero(data.open_ended)[0].tolist():
        last = int(data.lengths[episode]) - 1
        for column in columns if last >= 0 else []:
            value = data.rows(episode, last, last + 1, [column.name])[column.name]
            filled = np.isnan(value).all() if value.dtype.kind == "f" else not value.any()
            assert filled, f"episode {episode}: the last row of {column.name!r} is {value.ravel()[:3]}"


def random_access_equals_sequential(case: DatasetCase) -> None:
    """Rows and windows in any order equal those of the episodes read from their beginnings."""
    data, rng = case.open(), np.random.default_rng(0)
    whole = [data.episode(episode) for episode in range(len(data.lengths))]
    rows = int(min(3, data.lengths.max()))
    able = np.nonzero(data.lengths >= rows)[0]
    episodes = rng.choice(able, 12)
    starts = (rng.random(12) * (data.lengths[episodes] - rows + 1)).astype(np.int64)
    ends = data.lengths[able[-1:]] - rows
    episodes, starts = np.concatenate([episodes, able[-1:], able[:1]]), np.concatenate([starts, ends, [0]])
    names = list(data.columns)[::-1]
    windows = data.windows(episodes, starts, rows, names)
    for name in names:
        for k, (episode, start) in enumerate(zip(episodes.tolist(), starts.tolist(), strict=True)):
            truth = whole[episode][name][start : start + rows]
            alone = data.rows(episode, start, start + rows, [name])[name]
            assert _same(windows[name][k], truth), f"a window of {name!r} differs from the episode, {episode} from row {start}"
            assert _same(alone, truth), f"rows of {name!r} differ from the episode, {episode} from row {start}"


def a_copy_reads_the_same(case: DatasetCase) -> None:
    """A dataset that was pickled reads the same, before and after its files were used."""
    data = case.open()
    unused = pickle.loads(pickle.dumps(data))
    first = data.episode(0)
    used = pickle.loads(pickle.dumps(data))
    for other in (unused, used):
        assert all(_same(other.episode(0)[name], first[name]) for name in first), "a pickled copy reads something else"
        assert other.digest() == data.digest(), "a pickled copy has another digest"


def threads_do_not_disturb_each_other(case: DatasetCase) -> None:
    """Several threads may read at once."""
    data = case.open()
    truth = [case.open().episode(episode) for episode in range(len(data.lengths))]
    wanted = [episode for _ in range(4) for episode in range(len(data.lengths))]
    with ThreadPoolExecutor(4) as pool:
        for episode, found in zip(wanted, pool.map(data.episode, wanted), strict=True):
            assert all(_same(found[name], truth[episode][name]) for name in found), "a thread read something else"


def digests_are_stable(case: DatasetCase) -> None:
    """Both digests are 16 hex digits and the same each time."""
    first, second = case.open(), case.open()
    for full in (False, True):
        digest = first.digest(full)
        assert re.fullmatch("[0-9a-f]{16}", digest), f"{digest!r} is not 16 hex digits"
        assert digest == second.digest(full), "two openings have different digests"


def what_is_not_there_is_refused(case: DatasetCase) -> None:
    """Unknown columns, episodes and rows are refused in a sentence."""
    data = case.open()
    last, count = int(data.lengths[0]), len(data.lengths)
    with refuses("an unknown column", "no such column"):
        data.rows(0, 0, 0, ["no such column"])
    with refuses("an episode that does not exist", str(count)):
        data.episode(count)
    with refuses("rows beyond the end", str(last)):
        data.rows(0, 0, last + 1)
    with refuses("a window beyond the end", str(last)):
        data.windows(np.array([0]), np.array([last]), 1)


DATASET_CHECKS: tuple[Callable[[DatasetCase], None], ...] = (
    columns_are_as_described,
    values_are_those_written,
    missing_actions_are_filled,
    random_access_equals_sequential,
    a_copy_reads_the_same,
    threads_do_not_disturb_each_other,
    digests_are_stable,
    what_is_not_there_is_refused,
)
"""All checks of a dataset with at least one episode that is not empty."""


def check_dataset(case: DatasetCase) -> None:
    """Check every promise. Raises AssertionError for the first that is broken."""
    for check in DATASET_CHECKS:
        check(case)


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
