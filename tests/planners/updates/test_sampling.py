"""Shared parts of sampling planners (coloured noise, costs, elites) and their use in iCEM, MPPI and random shooting."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from planners import ICEM, ICEMSettings, MPPISettings, RandomShootingSettings, make_planner
from planners.methods.icem import ICEMSearch
from planners.methods.mppi import MPPISearch, path_weights
from planners.methods.random_shooting import spread
from planners.search.noise import RowNoise
from planners.search.search_run import begin
from planners.updates.sampling import coloured, drawn, elites_of, evaluate_plans
from tests.support.planning import WORLDS, Counting, plan, problems_for, small_mlp
from world_models.base import Context
from world_models.models.analytic import LinearQuadratic

F64 = torch.float64


def white(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


@pytest.mark.parametrize("time", [2, 7, 16])
@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0, 3.5])
def test_coloured_noise_has_variance_one_at_every_time(time: int, exponent: float) -> None:
    noise = coloured(white(1, 40_000, time, 1), exponent)
    assert noise.mean(1).abs().max() < 0.03
    assert (noise.var(1) - 1).abs().max() < 0.05


@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.0])
def test_power_falls_with_frequency_as_set(exponent: float) -> None:
    noise = coloured(white(1, 4000, 64, 1), exponent)
    power = torch.fft.rfft(noise, dim=2).abs().square().mean(1)[0, 1:-1, 0]
    frequency = torch.arange(1, len(power) + 1, dtype=F64)
    x, y = frequency.log() - frequency.log().mean(), power.log() - power.log().mean()
    assert ((x * y).sum() / x.square().sum()).item() == pytest.approx(-exponent, abs=0.03)


def test_no_colour_and_one_step_leave_noise_as_it_is() -> None:
    noise = white(2, 5, 9, 3)
    torch.testing.assert_close(coloured(noise, 0.0), noise, rtol=0, atol=1e-12)
    assert torch.equal(coloured(noise[:, :, :1], 2.0), noise[:, :, :1])


def test_colour_by_row_is_that_of_the_row_alone() -> None:
    noise, exponents = white(3, 5, 9, 2), torch.tensor([0.0, 1.0, 2.5], dtype=F64)
    mean, std = white(3, 9, 2, seed=1), white(3, 9, 2, seed=2).abs()
    together = drawn(mean, std, noise, exponents)
    for row, exponent in enumerate(exponents.tolist()):
        alone = mean[row] + std[row] * coloured(noise[row : row + 1], exponent)[0]
        torch.testing.assert_close(together[row], alone, rtol=0, atol=1e-12)
    smooth = together[2].sub(mean[2]).div(std[2])
    assert smooth.diff(dim=1).square().mean() < 0.5 * noise[2].diff(dim=1).square().mean()


def test_costs_are_those_of_the_plans_inside_the_bounds_and_the_best_is_recorded() -> None:
    model = WORLDS["pendulums"](F64)
    problems = problems_for(model)
    run = begin(model, problems, [1, 2, 3])
    plans = white(3, 10, 6, 2)
    plans[1, 4] = torch.nan
    cost = evaluate_plans(run, plans)
    assert plans.nan_to_num(0).abs().max() <= 0.5
    assert cost[1, 4] == torch.inf
    torch.testing.assert_close(run.best_cost, cost.amin(1))
    torch.testing.assert_close(run.best(), plans[torch.arange(3), cost.argmin(1)])
    assert not run.failed.any()
    best = elites_of(plans, cost, 3)
    order = cost.sort(1).indices[:, :3]
    assert torch.equal(best, torch.stack([plans[row, order[row]] for row in range(3)]))


def test_path_weights_are_the_formula_and_ignore_shift_and_scale() -> None:
    cost = torch.tensor([[3.0, 1.0, 2.0, 5.0, 9.0]], dtype=F64)
    weights = path_weights(cost, 0.5)
    expected = torch.exp(-(cost - 1) / (0.5 * 2))
    torch.testing.assert_close(weights, expected / expected.sum())
    torch.testing.assert_close(path_weights(1e-6 * cost + 7, 0.5), weights, rtol=1e-6, atol=1e-9)
    hot, cold = path_weights(cost, 1e6), path_weights(cost, 1e-6)
    torch.testing.assert_close(hot, torch.full_like(cost, 0.2), rtol=1e-4, atol=0)
    assert cold.argmax(1).item() == 1
    assert cold.max() == 1


def test_path_weights_of_costs_that_are_infinite_or_all_alike() -> None:
    inf = torch.inf
    cost = torch.tensor([[3.0, 1.0, 2.0, inf], [inf, inf, inf, inf], [2.0, 2.0, 2.0, 2.0], [inf, inf, 4.0, inf]], dtype=F64)
    weights = path_weights(cost, 0.5)
    torch.testing.assert_close(weights[0, :3], path_weights(cost[:1, :3], 0.5)[0])
    torch.testing.assert_close(weights[1:3], torch.full((2, 4), 0.25, dtype=F64))
    assert weights[3].tolist() == [0, 0, 1, 0]


def test_mppis_mean_is_the_weighted_mean_of_its_draws() -> None:
    model = small_mlp(F64)
    problems = problems_for(model)
    settings = MPPISettings(samples=7, temperature=0.3, std=0.4, std_decay=0.5, noise_exponent=0.0)
    search = MPPISearch(settings, begin(model, problems, [1, 2, 3]))
    noise = RowNoise([1, 2, 3], "samples", (7, 6, 2), search.actions)
    for iteration in range(3):
        before = search.actions
        search.step(iteration)
        plans = before[:, None] + 0.4 * 0.5**iteration * noise.at(iteration)
        plans[:, 0] = before
        weights = path_weights(evaluate_plans(begin(model, problems, [1, 2, 3]), plans), 0.3)
        torch.testing.assert_close(search.actions, (weights[:, :, None, None] * plans).sum(1), rtol=0, atol=1e-12)


def test_icem_draws_fewer_and_fewer_plans_and_never_too_few() -> None:
    settings = ICEMSettings(samples=100, elites=10, shrink=1.5)
    assert [settings.samples_at(i) for i in range(6)] == [100, 66, 44, 29, 20, 20]
    assert settings.samples_at(10_000) == 20
    assert ICEMSettings(samples=15, elites=10).samples_at(9) == 15
    assert {ICEMSettings(shrink=1.0).samples_at(i) for i in range(50)} == {300}
    model = Counting(WORLDS["linear_quadratic"](F64))
    done = ICEM(replace(settings, iterations=6)).plan(model, problems_for(model, batch=1), [1])
    assert done.evaluations.item() == 6 * (100 + 66 + 44 + 29 + 20 + 20) + 3 * 6 == model.count


def test_icems_kept_elites_stay_candidates_until_better_ones_come() -> None:
    """All elites kept: the mean cost of the elites never worsens; the best plan seen is among them."""
    model = small_mlp(F64)
    run = begin(model, problems_for(model), [1, 2, 3])
    search = ICEMSearch(ICEMSettings(samples=12, elites=4, kept_elites=1.0), run)
    last = torch.full((3, 4), torch.inf, dtype=F64)
    for iteration in range(10):
        search.step(iteration)
        assert (search._elite_costs <= last).all()
        torch.testing.assert_close(search._elite_costs[:, 0], run.best_cost)
        assert torch.equal(search._elites[:, 0], run.best())
        last = search._elite_costs


def test_icems_mean_is_a_candidate_of_a_rows_last_iteration_only() -> None:
    """Standing still is optimal and every draw is far worse: the mean wins once it is a candidate, at each row's own end."""
    model = LinearQuadratic(torch.eye(2, dtype=F64), torch.eye(2, dtype=F64))
    problems = problems_for(model, batch=2, bound=1.0)
    run = begin(model, replace(problems, context=Context.at(model, problems.goal)), [1, 2])
    settings = ICEMSettings(iterations=torch.tensor([1, 2]), samples=5, elites=1, momentum=1.0, std=0.5)
    search = ICEMSearch(settings, run)
    search.step(0)
    assert run.best_cost[0] == 0 < run.best_cost[1]
    run.keep(torch.tensor([1]))
    search.keep(torch.tensor([1]))
    search.step(1)
    assert run.best_cost[1] == 0


def test_random_plans_are_uniform_between_bounds_and_normal_where_these_are_far() -> None:
    low, high = torch.tensor([-2.0, -torch.inf, 0.0], dtype=F64), torch.tensor([1.0, torch.inf, 21.0], dtype=F64)
    centre = torch.full((1, 1, 3), 5.0, dtype=F64)
    plans = spread(white(1, 50_000, 1, 3), centre, low, high, 1.0)[0, :, 0]
    inside = (plans[:, 0] + 2) / 3
    assert inside.min() >= 0
    assert inside.max() <= 1
    for share in (0.1, 0.25, 0.5, 0.9):
        assert (inside <= share).double().mean().item() == pytest.approx(share, abs=0.01)
    for far in (1, 2):
        assert plans[:, far].mean().item() == pytest.approx(5, abs=0.02)
        assert plans[:, far].std().item() == pytest.approx(1, abs=0.02)
    near = spread(white(1, 1000, 1, 3), centre, low, high, 1.1)[0, :, 0, 2]
    assert near.std().item() == pytest.approx(21 / math.sqrt(12), rel=0.1), "21 is less than 20 times 1.1"


def test_random_shooting_is_the_best_of_its_start_and_its_draws() -> None:
    model = small_mlp(F64)
    problems = problems_for(model)
    settings = RandomShootingSettings(iterations=3, samples=10)
    done = make_planner("random_shooting", {"iterations": 3, "samples": 10}).plan(model, problems, [1, 2, 3])
    noise = RowNoise([1, 2, 3], "samples", (10, 6, 2), problems.goal)
    centre = torch.zeros(3, 6, 2, dtype=F64)
    draws = [spread(noise.at(i), centre, problems.low, problems.high, settings.std) for i in range(3)]
    costs = evaluate_plans(begin(model, problems, [1, 2, 3]), torch.cat([centre[:, None], *draws], 1))
    torch.testing.assert_close(done.cost, costs.amin(1))
    torch.testing.assert_close(done.last_cost, done.cost)


@pytest.mark.parametrize("name", ["cem", "icem", "mppi", "random_shooting"])
def test_infinite_bounds_are_fine(name: str) -> None:
    model = WORLDS["linear_quadratic"](torch.float32)
    far = torch.full((2,), torch.inf)
    problems = replace(problems_for(model), low=-far, high=far)
    done = plan(name, model, problems, [1, 2, 3], samples=60)
    assert torch.isfinite(done.actions).all()
    assert (done.cost <= done.trace[:, 0]).all()
    assert (done.cost < done.trace[:, 0]).any()
