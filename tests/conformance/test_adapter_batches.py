"""Plans with imported models are the same bits in every batch, on the CPU: rows of any number, at any place."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from planners import ModelProblems, make_planner
from tests.world_models.adapters.grown import NAMES, Grown, grown
from world_models.base import Context, PixelObservation
from world_models.models.rows import Linear, SiLU, linear

PROBLEMS = 64
BATCHES = (1, 16, PROBLEMS)
SAMPLED = {"samples": 9, "iterations": 2, "elites": 3}
PLANNERS: dict[str, dict[str, int]] = {
    "cem_swm": SAMPLED,
    "gd_swm": {"iterations": 1, "samples": 3},
    "grasp_author": {"iterations": 2, "sync_every": 2, "sync_steps": 1},
}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sums of many numbers are cut by threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def planned(case: Grown, name: str, batch: int) -> Tensor:
    """Actions of all problems, planned in batches."""
    model, generator = case.model, torch.Generator().manual_seed(0)
    start, goal = (torch.randn(PROBLEMS, *model.state_shape, generator=generator) for _ in range(2))
    planner, high = make_planner(name, PLANNERS[name]), torch.ones(model.action_dim)
    parts = []
    for first in range(0, PROBLEMS, batch):
        rows = slice(first, first + batch)
        context = Context(start[rows].unsqueeze(1), torch.zeros(len(start[rows]), 0, model.action_dim))
        problems = ModelProblems(context, goal[rows], 4, -high, high, case.goal_cost)
        parts.append(planner.plan(model, problems, range(first, first + len(start[rows]))).actions)
    return torch.cat(parts)


@pytest.mark.parametrize("planner", PLANNERS)
@pytest.mark.parametrize("name", ["lewm", "dino_wm"])
def test_plans_are_the_same_bits_in_batches_of_1_16_and_64(name: str, planner: str, tmp_path: Path) -> None:
    case = grown(name, tmp_path, torch.float32)
    alone, *together = (planned(case, planner, batch) for batch in BATCHES)
    for each in together:
        assert torch.equal(each, alone)


@pytest.mark.parametrize("name", NAMES)
def test_encoded_pictures_are_the_same_bits_alone(name: str, tmp_path: Path) -> None:
    model = grown(name, tmp_path, torch.float32).model
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (16, 28, 28, 3), dtype=torch.uint8, generator=generator)
    body = torch.randn(16, 4, generator=generator)
    with torch.no_grad():
        together = model.encode(PixelObservation(pixels, body))
        for row in range(16):
            alone = model.encode(PixelObservation(pixels[row : row + 1], body[row : row + 1]))
            assert torch.equal(alone[0], together[row])


@pytest.mark.parametrize("inputs", [1, 2, 7, 10, 24])
@pytest.mark.parametrize("rows", [1, 2, 3, 5, 9, 40])
def test_a_padded_map_is_the_map(inputs: int, rows: int) -> None:
    torch.manual_seed(0)
    ours, theirs = Linear(inputs, 6).double(), torch.nn.Linear(inputs, 6).double()
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(rows, 1, inputs, dtype=torch.float64, requires_grad=True)
    found, wanted = ours(x), theirs(x)
    torch.testing.assert_close(found, wanted)
    weight = torch.randn_like(wanted)
    one, other = (
        torch.autograd.grad((y * weight).sum(), [x, *net.parameters()]) for y, net in ((found, ours), (wanted, theirs))
    )
    torch.testing.assert_close(one, other)
    assert linear(x[:0], ours.weight).shape == (0, 1, 6)


def test_silu_is_silu() -> None:
    x = torch.tensor([-1e4, -200.0, -90.0, -20.0, -1.0, 0.0, 1e-3, 3.0, 90.0, 1e4], dtype=torch.float64, requires_grad=True)
    found, wanted = SiLU()(x), torch.nn.SiLU()(x)
    torch.testing.assert_close(found, wanted, atol=1e-30, rtol=1e-12)
    (one,), (other,) = (torch.autograd.grad(y.sum(), x) for y in (found, wanted))
    torch.testing.assert_close(one, other, atol=1e-30, rtol=1e-12)
