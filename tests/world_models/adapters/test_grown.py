"""Rollouts that begin with one frame are those of the projects that the models come from, and the same for every batch."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from planners.base import ModelProblems
from planners.diagnostics.conditioning import _predictions_jacobian
from planners.objectives import final_cost_gradient, full_lifted_gradients, lifted_gradients
from planners.search.rollout_tree import ExploreSettings, Tree
from planners.testing.worlds import Attending, problems_for
from planners.updates.newton import final_state_jacobian
from tests.world_models.adapters.grown import GOLDEN, NAMES, STEPS, Grown, grown
from world_models.base import Context, WorldModel, lifted_step, rollout

DOUBLE = torch.float64
WORLD = Attending(DOUBLE)


@pytest.mark.parametrize("name", NAMES)
def test_one_frame_leads_where_it_leads_in_the_projects_own_code(name: str, tmp_path: Path) -> None:
    theirs, ours = json.loads(GOLDEN.read_text(encoding="utf-8"))[name], grown(name, tmp_path).values()
    assert set(theirs) == set(ours)
    for key, value in ours.items():
        torch.testing.assert_close(value, torch.tensor(theirs[key], dtype=DOUBLE).view_as(value), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", NAMES)
def test_repeating_the_frame_leads_elsewhere(name: str, tmp_path: Path) -> None:
    case = grown(name, tmp_path)
    still = rollout(case.model, Context.at(case.model, case.start), case.actions)
    first = rollout(case.model, case.problems.context, case.actions)
    assert (still - first).square().mean().sqrt() > 0.05


@pytest.mark.parametrize("name", NAMES)
def test_a_window_that_has_grown_is_a_whole_context(name: str, tmp_path: Path) -> None:
    case = grown(name, tmp_path)
    h, whole = case.model.history, rollout(case.model, case.problems.context, case.actions)
    path = torch.cat([case.start.unsqueeze(1), whole], 1)
    for known in range(1, h + 1):
        context = Context(path[:, :known], case.actions[:, : known - 1])
        rest = rollout(case.model, context, case.actions[:, known - 1 :])
        torch.testing.assert_close(rest, whole[:, known - 1 :], rtol=1e-9, atol=1e-9)


def batch_of(case: Grown, rows: int = 4) -> tuple[ModelProblems, torch.Tensor, torch.Tensor]:
    """Problems that differ in starts, goals and actions, and virtual states."""
    generator = torch.Generator().manual_seed(1)
    start, goal = (
        torch.cat([x + 0.2 * torch.randn(x.shape, generator=generator) for _ in range(rows)]) for x in (case.start, case.goal)
    )
    actions = torch.rand(rows, STEPS, case.model.action_dim, generator=generator) * 2 - 1
    high = torch.ones(case.model.action_dim)
    problems = ModelProblems(Context(start.unsqueeze(1), actions[:, :0]), goal, STEPS, -high, high, case.goal_cost)
    return problems, actions, torch.randn(rows, STEPS - 1, *start.shape[1:], generator=generator)


@pytest.mark.parametrize("name", NAMES)
def test_rows_are_the_same_alone_and_in_a_batch(name: str, tmp_path: Path) -> None:
    case = grown(name, tmp_path, torch.float32)
    problems, actions, states = batch_of(case)
    weight = torch.full((len(actions), STEPS), 0.1)

    def computed(part: ModelProblems, rows: torch.Tensor) -> list[torch.Tensor]:
        taken, virtual = actions[rows], states[rows]
        found = [rollout(case.model, part.context, taken), lifted_step(case.model, part.context, virtual, taken)]
        found += final_cost_gradient(case.model, part, taken)
        return [*found, *lifted_gradients(case.model, part, virtual, taken, weight[rows])]

    together = computed(problems, torch.arange(len(actions)))
    for row in range(len(actions)):
        rows = torch.tensor([row])
        for one, all_rows in zip(computed(problems.rows(rows), rows), together, strict=True):
            torch.testing.assert_close(one, all_rows[rows], rtol=1e-5, atol=1e-5)


def known(model: WorldModel, count: int, batch: int = 2, steps: int = STEPS) -> ModelProblems:
    """Problems that know that many states."""
    generator = torch.Generator().manual_seed(3)
    problems = problems_for(model, batch, steps)
    states = torch.randn(batch, count, *model.state_shape, generator=generator, dtype=DOUBLE)
    between = torch.rand(batch, count - 1, model.action_dim, generator=generator, dtype=DOUBLE) - 0.5
    return ModelProblems(
        Context(states, between), *(getattr(problems, x) for x in ("goal", "steps", "low", "high", "goal_cost"))
    )


def iterate(problems: ModelProblems) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(4)
    states = torch.randn(problems.batch, problems.steps - 1, 3, generator=generator, dtype=DOUBLE)
    actions = torch.rand(problems.batch, problems.steps, 2, generator=generator, dtype=DOUBLE) - 0.5
    return states, actions, torch.rand(problems.batch, problems.steps, generator=generator, dtype=DOUBLE)


@pytest.mark.parametrize("steps", [1, 2, STEPS])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_reshaped_gradients_are_autograds_with_the_states_held(count: int, steps: int) -> None:
    problems = known(WORLD, count, steps=steps)
    states, actions, weight = iterate(problems)
    to_states, to_actions = lifted_gradients(WORLD, problems, states, actions, weight)
    leaves = states.clone().requires_grad_(), actions.clone().requires_grad_()
    path, taken = torch.cat([problems.context.states, states], 1), torch.cat([problems.context.actions, leaves[1]], 1)
    loss = torch.zeros((), dtype=DOUBLE)
    for t in range(steps):
        seen = slice(max(0, count + t - 3), count + t)
        predicted = WORLD.step(path[:, seen], taken[:, seen])
        loss = loss + (weight[:, t] * problems.goal_cost(predicted, problems.goal)).sum()
        if t < steps - 1:
            loss = loss + (predicted - leaves[0][:, t]).square().mean(1).sum()
    expected = torch.autograd.grad(loss, leaves, materialize_grads=True, allow_unused=True)
    torch.testing.assert_close(to_states, expected[0])
    torch.testing.assert_close(to_actions, expected[1])


@pytest.mark.parametrize("count", [1, 2, 3])
def test_jacobians_are_autograds(count: int) -> None:
    problems = known(WORLD, count, batch=1)
    states, actions, _ = iterate(problems)
    rolled = rollout(WORLD, problems.context, actions)
    jacobian = final_state_jacobian(WORLD, problems, actions, rolled)[0]
    expected = torch.autograd.functional.jacobian(lambda a: rollout(WORLD, problems.context, a)[0, -1], actions)
    assert isinstance(expected, torch.Tensor)
    torch.testing.assert_close(jacobian, expected[:, 0])
    predicted, jacobian = _predictions_jacobian(WORLD, problems, states, actions)
    torch.testing.assert_close(predicted, lifted_step(WORLD, problems.context, states, actions))
    parts = torch.autograd.functional.jacobian(lambda s, a: lifted_step(WORLD, problems.context, s, a)[0], (states, actions))
    flat = torch.cat([parts[1].flatten(2), parts[0].flatten(2)], 2)
    torch.testing.assert_close(jacobian[0], flat)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_full_gradients_reach_what_the_windows_hold(count: int) -> None:
    problems = known(WORLD, count)
    states, actions, weight = iterate(problems)
    to_states, to_actions = full_lifted_gradients(WORLD, problems, states, actions, weight)
    assert to_states.ne(0).all()
    assert to_actions.ne(0).all()


@pytest.mark.parametrize("hold", [1, 2, 5])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_nodes_of_a_tree_are_where_their_actions_lead(count: int, hold: int) -> None:
    problems = known(WORLD, count, steps=8)
    tree = Tree(WORLD, problems, ExploreSettings(rounds=6, nodes=5, hold=hold))
    generator = torch.Generator().manual_seed(2)
    for _ in range(6):
        nodes = tree.draw(torch.randn(2, 2, tree.capacity, generator=generator, dtype=DOUBLE))
        tree.extend(nodes, torch.randn(2, 5, 2, generator=generator, dtype=DOUBLE))
    every = torch.arange(1, tree.size).expand(2, -1)
    plans = tree.path_to(every)
    for row in range(2):
        for number, node in enumerate(every[row].tolist()):
            depth = int(tree.depth[row, node])
            part = problems.rows(slice(row, row + 1))
            states = rollout(WORLD, part.context, plans[row : row + 1, number, :depth])
            torch.testing.assert_close(tree.states[row, node, -1], states[0, -1])
