"""The temporal goal cost: what each method learns on worlds whose distances are known; zero at the goal; derivatives."""

import math

import pytest
import torch
from scipy.stats import spearmanr

from world_models.errors import UnknownNameError, UserError
from world_models.models.temporal import METHODS, Pairs, TemporalConfig, TemporalCost, expectile, quasimetric
from world_models.training.latent_stages import TemporalSettings, temporal_stage
from world_models.training.loop import run_stage
from world_models.training.windows import States

TURNS = 1.6 * math.pi


def curled(length: int = 60) -> States:
    """Walks along an open ring that is seen as a circle: its ends are near in the state and far by the way."""
    generator = torch.Generator().manual_seed(0)
    actions = torch.rand(200, length, 1, generator=generator) * 2 - 1
    actions[::2] = actions[::2].sign() * actions[::2, :1].abs().clamp_min(0.5)
    positions = [torch.rand(200, 1, generator=generator) * 50]
    for t in range(length):
        positions.append((positions[-1] + actions[:, t]).clamp(0, 50))
    angle = torch.stack(positions, 1) / 50 * TURNS
    return States(torch.cat([angle.cos(), angle.sin()], 2), actions, 1)


def ways(states: torch.Tensor) -> torch.Tensor:
    return torch.atan2(states[:, 1], states[:, 0]).remainder(2 * math.pi) / TURNS * 50


@pytest.mark.parametrize(("method", "overall"), [("quasimetric", 0.97), ("expectile", 0.9), ("contrastive", 0.5)])
def test_steps_apart_follow_the_way_and_not_the_straight_line(method, overall):
    data = curled()
    settings = TemporalSettings(
        method=method, steps=400, batch_size=256, width=64, embedding=4, lr=3e-3, reach=12, average=0.98
    )
    cost, stage = temporal_stage(data, settings, "")
    run_stage(stage)
    cost.calibrate(data.states)
    flat = data.states.flatten(0, 1)
    first, second = flat[torch.randint(len(flat), (2, 2000), generator=torch.Generator().manual_seed(1))]
    far = (ways(first) - ways(second)).abs()
    with torch.no_grad():
        learned = cost(first, second)
    found = spearmanr(learned, far).statistic
    straight = spearmanr((first - second).norm(dim=1), far).statistic
    assert found > overall
    if method == "quasimetric":
        assert straight < 0.94
        assert learned.mean() == pytest.approx(1.0, abs=0.1)
        near = far < 4
        assert cost.steps_apart(first, second)[~near].mean() > 8  # a step is at most 1 long


def test_the_cost_is_a_squared_distance_zero_at_the_goal_and_differentiable():
    torch.manual_seed(0)
    cost = TemporalCost(TemporalConfig(5, 7, 16, 2)).double()
    cost.unit.fill_(3.0)
    a, b, c = torch.randn(3, 6, 5, dtype=torch.float64)
    assert (cost(a, a) == 0).all()
    torch.testing.assert_close(cost(a, b), cost(b, a))
    torch.testing.assert_close(cost(a, b), (cost.steps_apart(a, b).square() - 1e-6) / 9.0)
    assert (cost.steps_apart(a, c) <= cost.steps_apart(a, b) + cost.steps_apart(b, c)).all()
    assert torch.autograd.gradcheck(cost, (a.requires_grad_(), b))


class Fixed(TemporalCost):
    """A known embedding: the state itself."""

    def embed(self, states):
        return states


def pairs(moved: float, apart: float) -> Pairs:
    first = torch.zeros(4, 1)
    return Pairs(first, first + moved, torch.full((4,), apart))


def test_losses_have_their_known_values():
    cost, price = Fixed(TemporalConfig(1, 1, 1, 1)), torch.tensor(0.0)
    far, near = float(expectile(cost, pairs(6.0, 2.0), price)), float(expectile(cost, pairs(2.0, 6.0), price))
    assert far == pytest.approx(0.95 * 0.16, rel=1e-3)
    assert near == pytest.approx(0.05 * 0.16, rel=1e-3)
    # The constraint adds 0 to the loss by construction; the slopes are what counts.
    second = torch.full((4, 1), 3.0, requires_grad=True)
    price = torch.tensor(0.5, requires_grad=True)
    loss = quasimetric(cost, Pairs(torch.zeros(4, 1), second, torch.full((4,), 2.0)), price)
    slopes = torch.autograd.grad(loss, (second, price))
    value, excess = math.log1p(math.exp(0.5)), 0.5
    expected = value * 2 * excess / 2.0 / 4 - 1.5 / 3.1 / 4
    torch.testing.assert_close(slopes[0], torch.full((4, 1), expected), rtol=1e-3, atol=1e-5)
    assert float(slopes[1]) == pytest.approx(-(excess**2 - 0.05**2) / (1 + math.exp(-0.5)), rel=1e-3)


def test_unknown_names_and_sizes_are_refused():
    with pytest.raises(UnknownNameError, match="quasimetric"):
        TemporalSettings(method="quasimetrics")
    with pytest.raises(UnknownNameError, match="effort"):
        TemporalSettings(price="efort")
    with pytest.raises(UserError, match="reach 0"):
        TemporalSettings(reach=0)
    with pytest.raises(UserError, match="embedding 0"):
        TemporalConfig(3, embedding=0)
    assert set(METHODS) == {"quasimetric", "contrastive", "expectile"}
