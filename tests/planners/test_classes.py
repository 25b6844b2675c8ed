"""Actions that are classes: relaxing, rounding, drawing, and the best classes of a finite decision process."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from planners import PLANNERS, make_planner
from planners.base import ModelProblems, Start
from planners.classes import Classes, executable
from planners.search.explored_starts import ExploreSettings, explore
from planners.search.search_planner import SearchSettings
from planners.testing import SHORT, Chances, Counting
from planners.testing.planners import PUBLISHED
from planners.updates.sampling import coloured
from world_models.base import rollout
from world_models.errors import UserError

DRAWING = sorted(name for name, (kind, _) in PLANNERS.items() if issubclass(kind, SearchSettings) and kind.draws_classes)
RELAXING = sorted(set(PLANNERS) - set(DRAWING) - set(PUBLISHED))
MODEL = Chances()
THREE = Classes(3, torch.tensor(-1.0), torch.tensor(1.0))


def taken(actions: Tensor, count: int = 3) -> Tensor:
    """Indices of classes, `[..., environment time]`; checks that they are classes."""
    grouped = actions.unflatten(-1, (-1, count)).flatten(-3, -2)
    assert ((grouped == 1).sum(-1) == 1).all()
    assert ((grouped == -1).sum(-1) == count - 1).all()
    return grouped.argmax(-1)


def every_plan(problems: ModelProblems) -> Tensor:
    """All plans of classes, `[plans, time, action]`."""
    length = problems.steps * 2
    rows = torch.tensor(list(itertools.product(range(3), repeat=length)))
    values = torch.nn.functional.one_hot(rows, 3).double() * 2 - 1
    return values.reshape(len(rows), problems.steps, MODEL.action_dim)


def optima(problems: ModelProblems) -> Tensor:
    """The least cost of each problem, by trying all plans."""
    plans = every_plan(problems)
    best = []
    for row in range(problems.batch):
        one = problems.rows(torch.full((len(plans),), row))
        best.append(problems.goal_cost(rollout(MODEL, one.context, plans)[:, -1], one.goal).min())
    return torch.stack(best)


def test_projection_is_the_nearest_point_of_the_simplex() -> None:
    values = torch.randn(200, 4, 6, generator=torch.Generator().manual_seed(0))
    found = values.clone()
    THREE.project(found)
    shares = ((found + 1) / 2).unflatten(-1, (-1, 3))
    assert shares.min() >= 0
    torch.testing.assert_close(shares.sum(-1), torch.ones(200, 4, 2))
    again = found.clone()
    THREE.project(again)
    torch.testing.assert_close(again, found)
    # No other point of the simplex is nearer: the gap to any corner points away from the projection.
    corners = 2 * torch.eye(3) - 1
    gap = (values - found).unflatten(-1, (-1, 3))
    inward = corners - found.unflatten(-1, (-1, 3)).unsqueeze(-2)
    assert (gap.unsqueeze(-2) * inward).sum(-1).max() <= 1e-5


def test_rounding_keeps_classes_and_the_shares_that_are_summed_over_time() -> None:
    shares = torch.rand(50, 8, 2, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    shares = shares / shares.sum(-1, keepdim=True)
    plans = THREE.rounded((2 * shares - 1).flatten(2))
    classes = torch.nn.functional.one_hot(taken(plans), 3)
    owed = shares.flatten(1, 2).cumsum(1) - classes.cumsum(1)
    assert owed.max() < 1
    assert owed.min() > -1
    assert torch.equal(THREE.rounded(plans), plans)
    even = torch.full((1, 2, 6), -1 / 3)
    assert taken(THREE.rounded(even)).tolist() == [[0, 1, 2, 0]]
    assert torch.isnan(THREE.rounded(torch.tensor([[[torch.nan] * 6], [[0.0] * 6]]))[0]).all()


def test_classes_are_drawn_by_their_shares_even_when_they_stick() -> None:
    shares = torch.tensor([0.7, 0.2, 0.1]).repeat(40, 1)
    noise = torch.randn(1, 4000, 40, 3, generator=torch.Generator().manual_seed(2))
    held = []
    for exponent in (0.0, 2.0):
        drawn = taken(THREE.drawn((2 * shares - 1)[None], coloured(noise, exponent) if exponent else noise, 0.0)[0])
        found = torch.bincount(drawn.flatten(), minlength=3) / drawn.numel()
        torch.testing.assert_close(found, 0.98 * shares[0] + 0.02 / 3, atol=0.02, rtol=0)
        held.append((drawn[:, 1:] == drawn[:, :-1]).float().mean().item())
    assert held[0] == pytest.approx(0.54, abs=0.02)
    assert held[1] > 0.7
    even = taken(THREE.drawn((2 * shares - 1)[None], noise, 1.0)[0])
    torch.testing.assert_close(
        torch.bincount(even.flatten(), minlength=3) / even.numel(), torch.full((3,), 1 / 3), atol=0.01, rtol=0
    )


@pytest.mark.parametrize("name", DRAWING)
def test_drawing_planners_find_the_best_classes(name: str) -> None:
    problems = MODEL.problems(6)
    done = make_planner(name, {"iterations": 20, "samples": 100, **({"elites": 10} if "cem" in name else {})}).plan(
        MODEL, problems, range(6)
    )
    torch.testing.assert_close(done.cost, optima(problems))
    assert done.trace[:, 0].min() > done.cost.max() or (done.trace[:, 0] > done.cost).sum() >= 3, "the start must not be best"


@pytest.mark.parametrize("name", RELAXING)
def test_relaxing_planners_round_and_report_what_they_rounded(name: str) -> None:
    problems = MODEL.problems(6)
    done = make_planner(name, SHORT[name]).plan(MODEL, problems, range(6))
    taken(done.actions)
    torch.testing.assert_close(
        problems.goal_cost(rollout(MODEL, problems.context, done.actions)[:, -1], problems.goal), done.cost
    )
    start = Classes(3, problems.low[0], problems.high[0]).rounded(torch.full_like(done.actions, -1 / 3))
    assert (done.cost <= problems.goal_cost(rollout(MODEL, problems.context, start)[:, -1], problems.goal)).all()
    assert (done.cost > done.trace[:, 0]).sum() == 0
    assert (done.cost < done.trace[:, 0]).any()


CHANGES = {
    "explored starts": ("gd", {"init": "explore", "explore_rounds": 4, "explore_nodes": 8, "restarts": 2}),
    "explored draws": ("cem", {"init": "explore", "explore_rounds": 4, "explore_nodes": 8}),
    "Gauss-Newton syncs": ("grasp", {"sync": "newton"}),
    "sampling syncs": ("grasp", {"sync": "cem", "reset_states_after_sync": True}),
    "attempts": ("grasp", {"attempts": 3, "restarts": 2}),
    "rollouts as a start": ("latco", {"init": "zeros"}),
}


@pytest.mark.parametrize("change", sorted(CHANGES))
def test_all_parts_of_planners_keep_to_classes_and_count_their_steps(change: str) -> None:
    name, settings = CHANGES[change]
    model, planner = Counting(MODEL), make_planner(name, {**SHORT[name], **settings})
    problems = MODEL.problems(3)
    done = planner.plan(model, problems, range(3))
    taken(done.actions)
    torch.testing.assert_close(problems.goal_cost(done.states[:, -1], problems.goal), done.cost)
    if "attempts" not in settings:
        assert done.evaluations.sum() == model.count
    alone = planner.plan(MODEL, problems.rows(torch.tensor([1])), [1])
    assert torch.equal(alone.actions[0], done.actions[1])


def test_explored_branches_and_warm_starts_are_classes() -> None:
    problems = MODEL.problems(3)
    branches = explore(MODEL, problems, range(3), 2, ExploreSettings(rounds=4, nodes=8))
    taken(branches.actions)
    start = Start(branches.actions[:, 0], branches.states[:, 0, :-1])
    done = make_planner("cem", SHORT["cem"]).plan(MODEL, problems, range(3), start=start)
    assert (done.cost <= branches.cost[:, 0] + 1e-12).all()


def test_plans_of_a_planner_that_knows_no_classes_are_rounded_for_execution() -> None:
    problems = MODEL.problems(3)
    box = make_planner("gd", SHORT["gd"]).plan(MODEL, replace(problems, classes=None), range(3))
    found = executable(MODEL, problems, box)
    taken(found.actions)
    torch.testing.assert_close(
        found.cost, problems.goal_cost(rollout(MODEL, problems.context, found.actions)[:, -1], problems.goal)
    )
    assert executable(MODEL, problems, found) is found
    assert executable(MODEL, replace(problems, classes=None), box) is box


def test_classes_that_do_not_fit_the_actions_are_refused() -> None:
    planner, problems = make_planner("gd", SHORT["gd"]), MODEL.problems(2)
    with pytest.raises(UserError, match="4 classes for actions of size 6"):
        planner.plan(MODEL, replace(problems, classes=4), [0, 1])
    with pytest.raises(UserError, match="the same two finite numbers"):
        planner.plan(MODEL, replace(problems, high=problems.high * torch.arange(1, 7)), [0, 1])
