"""Rows of a batch that sync at different times: each does what it would do alone, whatever the other rows."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from planners.methods.sync_schedule import Phase, SyncSchedule
from planners.search.noise import RowNoise
from planners.updates.optimizers import make_optimizer

Counts = tuple[int, int, int, int]
"""sync_every, sync_steps, iterations, final_steps."""

COUNTS = st.tuples(st.integers(0, 5), st.integers(0, 3), st.integers(1, 9), st.integers(0, 3))


def plainly(counts: Counts, extra: tuple[int, int]) -> list[str]:
    """Steps of a single row, from the description of the method."""
    every, steps, iterations, final = counts
    done = []
    for iteration in range(iterations):
        done.append("lift")
        if every and steps and (iteration + 1) % every == 0:
            done += ["sync"] * (steps + extra[0])
        if iteration + 1 == iterations and final:
            done += ["finish"] * (final + extra[1])
        done.append("end")
    return done


@given(st.lists(COUNTS, min_size=1, max_size=6), st.tuples(st.integers(0, 1), st.integers(0, 1)))
def test_every_row_does_what_it_does_alone(rows: list[Counts], extra: tuple[int, int]) -> None:
    counts = [torch.tensor(column) for column in zip(*rows, strict=True)]
    schedule = SyncSchedule(len(rows), *counts, extra_steps=extra)
    here = torch.arange(len(rows))
    done: list[list[str]] = [[] for _ in rows]
    taken = 0
    while len(here):
        step = schedule.next()
        acting = torch.arange(len(here)) if step.rows is None else step.rows
        for row in here[acting].tolist():
            done[row] += [step.phase.value] * step.steps
        progress = schedule.advance(step)
        for ended in progress.ended:
            for row in (here if ended is None else here[ended]).tolist():
                done[row].append("end")
        stay = torch.tensor([done[row].count("end") < rows[row][2] for row in here.tolist()])
        if not stay.all():
            here = here[stay]
            if len(here):
                schedule.keep(torch.nonzero(stay).flatten())
        taken += 1
    assert done == [plainly(row, extra) for row in rows]
    assert taken <= sum(map(len, done))


def test_rows_in_step_act_together_and_most_rows_go_first() -> None:
    alike = SyncSchedule(3, 2, 1, 4, 0, extra_steps=(0, 0))
    for _ in range(6):
        step = alike.next()
        assert step.rows is None
        alike.advance(step)
    mixed = SyncSchedule(3, torch.tensor([1, 4, 4]), 2, 4, 0, extra_steps=(0, 0))
    phases = []
    for _ in range(5):
        step = mixed.next()
        phases.append((step.phase, None if step.rows is None else step.rows.tolist()))
        mixed.advance(step)
    lift = (Phase.LIFT, [1, 2])
    assert phases == [(Phase.LIFT, None), lift, lift, lift, (Phase.SYNC, None)]


@pytest.mark.parametrize("name", ["adam", "gd"])
@given(st.lists(st.sets(st.integers(0, 3), min_size=1), max_size=8), st.booleans())
def test_updates_of_some_rows_are_those_of_the_rows_alone(name: str, row_sets: list[set[int]], by_row: bool) -> None:
    torch.manual_seed(0)
    gradients = torch.randn(len(row_sets), 4, 3, dtype=torch.float64)
    rates = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64) if by_row else 0.1
    start = torch.randn(4, 3, dtype=torch.float64)
    together, optimizer = start.clone(), make_optimizer(name, start, rates)
    for gradient, chosen in zip(gradients, row_sets, strict=True):
        rows = torch.tensor(sorted(chosen))
        optimizer.update(together, gradient[rows], rows)
    for row in range(4):
        alone = start[row : row + 1].clone()
        own = make_optimizer(name, alone, rates[row : row + 1] if isinstance(rates, torch.Tensor) else rates)
        for gradient, chosen in zip(gradients, row_sets, strict=True):
            if row in chosen:
                own.update(alone, gradient[row : row + 1])
        torch.testing.assert_close(together[row], alone[0], rtol=1e-12, atol=1e-12)


def test_a_float32_row_is_updated_to_the_same_bits_whatever_the_other_rows() -> None:
    torch.manual_seed(0)
    start, rate = torch.randn(3, 4), 0.07
    by_row = torch.full((3,), rate, dtype=torch.float64)
    variables = [start.clone() for _ in range(3)]
    shared, own, apart = (make_optimizer("adam", start, lr) for lr in (rate, by_row, by_row))
    for _ in range(300):
        gradient = torch.randn(3, 4)
        shared.update(variables[0], gradient)
        own.update(variables[1], gradient)
        for rows in (torch.tensor([0]), torch.tensor([1, 2])):
            apart.update(variables[2], gradient[rows], rows)
        assert torch.equal(variables[0], variables[1])
        assert torch.equal(variables[0], variables[2])


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 40)), max_size=6))
def test_noise_of_rows_at_different_iterations(steps: list[tuple[int, int]]) -> None:
    like, shape = torch.zeros(1), (40, 30)
    many = RowNoise([5, 6, 7], "states", shape, like)
    clock = torch.zeros(3, dtype=torch.int64)
    for row, ahead in steps:
        clock[row] += ahead
        rows = torch.tensor([row])
        alone = RowNoise([5 + row], "states", shape, like).at(int(clock[row]))
        assert torch.equal(many.at(clock, rows), alone)
    alone = [RowNoise([5 + row], "states", shape, like).at(int(clock[row]))[0] for row in range(3)]
    assert torch.equal(many.at(clock), torch.stack(alone))
    many.keep(torch.tensor([2, 0]))
    assert torch.equal(many.at(clock[[2, 0]]), torch.stack([alone[2], alone[0]]))
