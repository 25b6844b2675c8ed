"""Faults are said with episode and row, statistics are those of NumPy, and conversions go on and are compared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.world_models.datasets.made import MAKERS
from world_models.datasets import DatasetError, Episodes, Role, from_arrays, open_dataset
from world_models.datasets.arrow_writing import ArrowWriter
from world_models.datasets.blocks import blocks
from world_models.datasets.conversion import convert
from world_models.datasets.findings import review, uses
from world_models.datasets.statistics import statistics

ROWS = 40


def made(lengths: tuple[int, ...] = (10, 10, 20), **changes: np.ndarray) -> Episodes:
    rng = np.random.default_rng(0)
    rows = sum(lengths)
    time = np.concatenate([0.1 * np.arange(length) for length in lengths])
    columns = {"observation": rng.normal(size=(rows, 3)), "action": rng.normal(size=(rows, 2)), "timestamp": time}
    return from_arrays({**columns, **changes}, lengths)


def changed(name: str, row: int, value: float) -> Episodes:
    values = made().windows(np.array([0]), np.array([0]), 1)[name]
    whole = np.concatenate([made().episode(episode)[name] for episode in range(3)])
    whole[row] = value
    return made(**{name: whole.astype(values.dtype)})


def test_a_sound_dataset_has_no_faults() -> None:
    assert review(made()).faults == []
    assert review(MAKERS_DATA["minari"]()).faults == []


MAKERS_DATA = {kind: lambda kind=kind: opened(kind) for kind in MAKERS}


def opened(kind: str) -> Episodes:
    from tempfile import mkdtemp

    return MAKERS[kind](Path(mkdtemp())).open()


@pytest.mark.parametrize(
    ("data", "faults"),
    [
        (changed("action", 13, np.nan), ["episode 1, row 3: 'action' is nan"]),
        (changed("observation", 39, np.inf), ["episode 2, row 19: 'observation' is inf"]),
        (
            changed("timestamp", 15, 0.1),
            [
                "episode 1, row 5: 'timestamp' goes from 0.4 back to 0.1",
                "episode 1, row 6: 'timestamp' jumps from 0.1 to 0.6",
            ],
        ),
        (made((10, 0, 29, 1)), ["episode 1 is empty", "episode 3 has one row, from which nothing can be learned"]),
        (
            made(observation=np.zeros((ROWS, 3)), action=np.ones((ROWS, 2))),
            ["episode 1 has the same values as episode 0"],
        ),
        (
            made(terminals=np.isin(np.arange(ROWS), [4, 9, 19, 39])),
            ["episode 0, row 4: 'terminals' says that the episode ends, and it goes on"],
        ),
        (made(step_idx=np.concatenate([np.arange(10), np.arange(10) * 2, np.arange(20)])), ["'step_idx' jumps from 0 to 2"]),
        (from_arrays({"action": np.zeros((0, 2))}, []), ["it has no episodes"]),
    ],
)
def test_faults_are_said_with_episode_and_row(data: Episodes, faults: list[str]) -> None:
    found = review(data).faults
    assert len(found) >= len(faults)
    for fault, said in zip(faults, found, strict=False):
        assert fault in said


def test_many_faults_are_counted() -> None:
    found = review(made(action=np.full((ROWS, 2), np.nan))).faults
    assert len(found) == 6
    assert found[-1] == "and 35 more: values of 'action' that are not numbers"


def test_rows_that_cannot_be_read_are_a_fault(tmp_path: Path) -> None:
    import h5py

    MAKERS["robomimic"](tmp_path)
    with h5py.File(tmp_path / "made.hdf5", "a") as file:
        del file["data/demo_1/states"], file["data/demo_2/obs/agentview_image"]
    found = review(open_dataset(tmp_path / "made.hdf5")).faults
    assert "no array data/demo_1/states" in found[0]
    assert "no array data/demo_2/obs/agentview_image" in found[1]


def test_uses_are_told_by_the_columns() -> None:
    assert list(uses(made())) == ["a model of states, from observation", "problems up to 19 steps"]
    assert "a model of pictures, from pixels" in list(uses(MAKERS_DATA["arrow"]()))
    assert "no column is an action" in next(uses(from_arrays({"x": np.zeros((5, 2))}, [5])))


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(0, 12), min_size=1, max_size=8), st.integers(1, 400), st.integers(0, 99))
def test_blocks_hold_all_rows_in_order(lengths: list[int], most: int, seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=(sum(lengths), 2))
    data = from_arrays({"x": values}, lengths)
    found = list(blocks(data, ["x"], most))
    truth = [(episode, row) for episode, length in enumerate(lengths) for row in range(length)]
    assert [pair for b in found for pair in zip(b.episodes.tolist(), b.rows.tolist(), strict=True)] == truth
    assert np.array_equal(np.concatenate([b.values["x"] for b in found] or [values]), values)


@settings(deadline=None, max_examples=20)
@given(st.integers(2, 50), st.integers(0, 99), st.floats(-1e6, 1e6), st.booleans())
def test_statistics_are_those_of_numpy(rows: int, seed: int, shift: float, odd: bool) -> None:
    x = np.random.default_rng(seed).normal(size=(rows, 3)) + shift
    if odd:
        x[seed % rows, 1] = np.nan
    found = statistics(from_arrays({"x": x}, [rows // 2, rows - rows // 2]))["x"]
    for mine, theirs in (
        (found.mean, np.nanmean),
        (found.std, np.nanstd),
        (found.minimum, np.nanmin),
        (found.maximum, np.nanmax),
    ):
        np.testing.assert_allclose(mine, theirs(x, axis=0), rtol=1e-9, atol=1e-9)
    assert found.odd.tolist() == [0, int(odd), 0]


def test_actions_after_the_last_row_do_not_count() -> None:
    action = np.zeros((6, 1))
    action[[2, 5]] = 1e9
    assert statistics(from_arrays({"action": action}, [3, 3]))["action"].maximum == 0


def test_a_conversion_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import world_models.datasets.conversion as conversion

    source = made()
    monkeypatch.setattr(conversion, "ArrowWriter", lambda *a, **k: ArrowWriter(*a, **k, part_bytes=1))

    def stop(what: str, done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(source, tmp_path / "out", progress=stop)
    with pytest.raises(DatasetError, match="not finished"):
        open_dataset(tmp_path / "out")
    with pytest.raises(DatasetError, match="begun from another dataset"):
        convert(made((20, 20)), tmp_path / "out")
    done = convert(source, tmp_path / "out")
    assert (done.episodes, done.resumed) == (3, 2)
    assert done.digest == source.digest(full=True) == open_dataset(tmp_path / "out").digest(full=True)
    assert not list((tmp_path / "out").glob(".*"))
    with pytest.raises(DatasetError, match="holds a dataset already"):
        convert(source, tmp_path / "out")


def test_a_conversion_takes_columns_and_keeps_what_is_known_of_them(tmp_path: Path) -> None:
    source = MAKERS_DATA["minari, pictures"]()
    convert(source, tmp_path / "out", ["actions", "observations/camera"])
    copy = open_dataset(tmp_path / "out")
    assert list(copy.columns) == ["actions", "observations/camera"]
    assert copy.columns["observations/camera"].role is Role.PIXELS
    assert copy.open_ended.all()
    assert copy.facts["kind"] == "minari"


def test_a_conversion_that_does_not_read_back_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import world_models.datasets.conversion as conversion

    monkeypatch.setattr(conversion, "episode_digest", lambda data, episode: "0" * 32)
    with pytest.raises(DatasetError, match="episode 0 is not read as it was written"):
        convert(made(), tmp_path / "out")
