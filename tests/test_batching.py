"""Batches cover exactly the cells, occupy every worker and are short at the tail."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.batching import Batch, make_batches
from orchestrator.cells import Cell, Named, Point
from world_models.errors import UserError


def points(count: int) -> list[Point]:
    return [Point(Named.of("wall"), "wall", "abc", Named.of("gd"), 10 * (i + 1)) for i in range(count)]


def makespan(batches: list[Batch], workers: int, price: float = 1.0) -> float:
    """Time until the last worker is done when each takes the next batch in order."""
    busy = [0.0] * workers
    for batch in batches:
        busy[busy.index(min(busy))] += price * batch.point.horizon * len(batch.seeds)
    return max(busy)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(1, 90), min_size=1, max_size=7),
    st.integers(1, 64),
    st.integers(1, 9),
    st.randoms(use_true_random=False),
)
def test_batches_cover_exactly_the_cells(sizes: list[int], max_rows: int, workers: int, random) -> None:
    cells = [point.cell(seed) for point, n in zip(points(len(sizes)), sizes, strict=True) for seed in range(100, 100 + n)]
    random.shuffle(cells)
    batches = make_batches(cells, max_rows, workers)
    covered = [cell for batch in batches for cell in batch.cells]
    assert sorted(c.cell_id for c in covered) == sorted(c.cell_id for c in cells)
    assert all(1 <= len(batch.seeds) <= max_rows for batch in batches)
    assert len(batches) >= min(workers, len(cells))
    costs = [batch.point.horizon * len(batch.seeds) for batch in batches]
    assert costs == sorted(costs, reverse=True)
    drawn = [(batch.point, seed) for batch in batches for seed in batch.artifact_seeds]
    assert len(drawn) == len(set(drawn)) == len(sizes)


@pytest.mark.parametrize("workers", [2, 3, 8])
def test_the_tail_is_short(workers: int) -> None:
    cells = [point.cell(seed) for point in points(6) for seed in range(64)]
    batches = make_batches(cells, 64, workers)
    fair = sum(cell.point.horizon for cell in cells) / workers
    assert makespan(batches, workers) <= 1.25 * fair


def test_a_given_cost_decides_what_comes_first_and_what_is_split() -> None:
    cheap, dear = points(2)
    cells = [point.cell(seed) for point in (cheap, dear) for seed in range(16)]
    batches = make_batches(cells, 64, 2, cost=lambda point: 100.0 if point == cheap else 1.0)
    assert batches[0].point == cheap
    assert sum(batch.point == cheap for batch in batches) >= 4
    assert sum(batch.point == dear for batch in batches) == 1


def test_enough_points_are_not_split() -> None:
    cells = [point.cell(seed) for point in points(6) for seed in range(8)]
    assert len(make_batches(cells, 64, 1)) <= 8


def test_nonsense_is_refused() -> None:
    (point,) = points(1)
    with pytest.raises(UserError, match="max_rows 0"):
        make_batches([point.cell(0)], 0)
    with pytest.raises(UserError, match="0 workers"):
        make_batches([point.cell(0)], 1, 0)
    with pytest.raises(UserError, match="listed twice"):
        make_batches([Cell(point, 1), Cell(point, 1)])
    assert make_batches([]) == []
