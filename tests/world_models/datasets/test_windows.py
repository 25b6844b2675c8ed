"""Windows depend on their seed and number alone, stay inside their episodes, and come once per epoch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from world_models.datasets import Windows, batches, from_arrays, split_episodes
from world_models.errors import UserError

LENGTHS = st.lists(st.integers(0, 30), min_size=1, max_size=20).filter(lambda lengths: max(lengths) >= 4)


@settings(deadline=None, max_examples=25)
@given(LENGTHS, st.integers(1, 4), st.integers(0, 2**63))
def test_an_epoch_has_every_window_once(lengths: list[int], rows: int, seed: int) -> None:
    windows = Windows(np.array(lengths), rows, seed)
    every = {(e, s) for e, length in enumerate(lengths) for s in range(length - rows + 1)}
    for epoch in (0, 3):
        episodes, starts = windows.at(np.arange(windows.count) + epoch * windows.count)
        assert sorted(zip(episodes.tolist(), starts.tolist(), strict=True)) == sorted(every)


@settings(deadline=None, max_examples=25)
@given(LENGTHS, st.integers(0, 9), st.permutations(range(12)))
def test_a_window_does_not_depend_on_the_others(lengths: list[int], seed: int, order: list[int]) -> None:
    numbers = np.array(order) * 7
    windows = Windows(np.array(lengths), 2, seed)
    together = np.stack(windows.at(numbers), 1)
    alone = np.concatenate([np.stack(windows.at(numbers[k : k + 1]), 1) for k in range(len(numbers))])
    assert np.array_equal(together, alone)


def test_seeds_and_epochs_have_orders_of_their_own() -> None:
    one, two = Windows(np.array([500]), 1, seed=1), Windows(np.array([500]), 1, seed=2)
    numbers = np.arange(500)
    assert (one.at(numbers)[1] != two.at(numbers)[1]).mean() > 0.9
    assert (one.at(numbers)[1] != one.at(numbers + 500)[1]).mean() > 0.9
    assert abs(np.corrcoef(one.at(numbers)[1], numbers)[0, 1]) < 0.15


def test_windows_of_chosen_episodes_only() -> None:
    windows = Windows(np.array([5, 9, 3, 8]), 4, episodes=np.array([3, 0, 2]))
    episodes, starts = windows.at(np.arange(windows.count))
    assert windows.count == 5 + 2
    assert set(episodes.tolist()) == {0, 3}
    assert starts[episodes == 3].max() == 4


def test_windows_that_cannot_be_are_refused() -> None:
    with pytest.raises(UserError, match=r"none of the 2 episodes has the 9 rows"):
        Windows(np.array([5, 8]), 9)
    with pytest.raises(UserError, match=r"0 rows"):
        Windows(np.array([5, 8]), 0)


def test_batches_are_the_same_with_any_number_of_threads_and_from_any_beginning() -> None:
    data = from_arrays({"x": np.arange(60.0), "action": np.arange(120.0).reshape(60, 2)}, [20, 25, 15])
    windows = Windows(data.lengths, 4, seed=3)
    one, four = (list(batches(data, windows, 8, end=20, threads=threads)) for threads in (1, 4))
    later = list(batches(data, windows, 8, begin=12, end=20))
    assert len(one) == 20
    for a, b in zip(one, four, strict=True):
        assert np.array_equal(a["x"], b["x"])
    assert all(np.array_equal(a["x"], b["x"]) for a, b in zip(one[12:], later, strict=True))
    assert all((np.diff(batch["x"], axis=1) == 1).all() for batch in one)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 300), st.floats(0, 0.99), st.integers(0, 5))
def test_a_split_holds_every_episode_once(count: int, share: float, seed: int) -> None:
    training, validation = split_episodes(count, share, seed)
    assert sorted([*training.tolist(), *validation.tolist()]) == list(range(count))
    if count >= 2 and share > 0:
        assert len(training) >= 1
        assert abs(len(validation) - share * count) <= 1


def test_a_share_outside_of_one_is_refused() -> None:
    with pytest.raises(UserError, match=r"share of 1.5"):
        split_episodes(10, 1.5)
