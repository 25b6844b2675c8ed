"""Each format, written by its own library's writer, is read back equal and keeps every promise of a dataset."""

from __future__ import annotations

from functools import cache
from multiprocessing import get_context
from pathlib import Path
from tempfile import mkdtemp

import pytest

from tests.world_models.datasets.elsewhere import total_of_windows
from tests.world_models.datasets.made import MAKERS
from tests.world_models.datasets.values import LENGTHS
from world_models.datasets import Episodes, Role, columns_with, open_dataset
from world_models.testing.datasets import DATASET_CHECKS, DatasetCase


@cache
def made(kind: str) -> DatasetCase:
    return MAKERS[kind](Path(mkdtemp()))


@pytest.mark.parametrize("check", DATASET_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("kind", MAKERS)
def test_every_kind_keeps_every_promise(kind: str, check) -> None:
    check(made(kind))


@pytest.mark.parametrize("kind", MAKERS)
def test_kind_lengths_and_roles_are_found(kind: str) -> None:
    data = made(kind).open()
    assert isinstance(data, Episodes)
    assert data.kind == kind.partition(",")[0]
    assert data.lengths.tolist() == ([7, 7, 7] if kind == "collected" else list(LENGTHS))
    (action,) = columns_with(data, Role.ACTION)
    assert data.columns[action].transition
    assert data.columns[action].shape == (2,)
    assert bool(data.open_ended.all()) == (data.kind in ("minari", "collected"))


def test_what_the_files_say_of_themselves_becomes_facts_and_notes() -> None:
    assert made("robomimic").open().facts == {"environment": "Lift"}
    assert made("minari").open().facts["total_steps"] == sum(LENGTHS) - 3
    assert "'instruction'" in made("hdf5").open().notes[0]


def test_the_full_digest_is_of_the_values_and_not_of_the_format(tmp_path: Path) -> None:
    from world_models.datasets.arrow_writing import ArrowWriter

    source = made("minari").open()
    writer = ArrowWriter(tmp_path / "copy", source.columns.values(), part_bytes=1, batch_bytes=100)
    for episode in range(len(source.lengths)):
        writer.begin()
        writer.append(source.episode(episode))
        writer.end(bool(source.open_ended[episode]))
    writer.finish()
    copy = open_dataset(tmp_path / "copy")
    assert copy.kind == "arrow"
    assert copy.digest(full=True) == source.digest(full=True)
    assert copy.digest() != source.digest()
    assert copy.columns == source.columns


def test_other_processes_read_the_same() -> None:
    open_ones = [made(kind).open() for kind in ("arrow", "hdf5", "minari", "npz")]
    truth = [total_of_windows(data) for data in open_ones]  # their files are open now
    with get_context("spawn").Pool(2) as pool:
        assert pool.map(total_of_windows, open_ones) == truth
