"""Promises of every planner, on every world."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from planners import make_planner
from planners.base import ModelProblems, Planner, Plans, PlanStatus
from planners.classes import executable
from planners.settings import Scalar
from planners.testing.worlds import WORLDS, Chances, Counting, problems_for, small_mlp, take
from world_models.base import Context, WorldModel, rollout
from world_models.models.analytic import LinearQuadratic
from world_models.testing import refuses

SEEDS = [1, 2, 3]
SINGLE, DOUBLE = torch.float32, torch.float64
TOLERANCE = {SINGLE: 1e-4, DOUBLE: 1e-9}

AS_OURS: dict[str, Scalar] = {"bounds": "task", "keep": "best"}
"""Settings with which published solvers keep every promise of ours; without them they leave bounds and drop better plans."""
SHORT: dict[str, dict[str, Scalar]] = {
    "grasp": {"iterations": 12, "sync_every": 5, "sync_steps": 3, "final_sync_steps": 4, "init_noise": 0.1},
    "gd": {"iterations": 12, "init_noise": 0.1},
    "cem": {"iterations": 12, "samples": 24, "elites": 5, "min_std": 0.05},
    "icem": {"iterations": 12, "samples": 24, "elites": 5, "min_std": 0.05, "shrink": 1.1},
    "mppi": {"iterations": 12, "samples": 24},
    "latco": {"iterations": 12, "check_every": 4, "update_every": 3, "goal_weight": 0.1, "init_noise": 0.1},
    "random_shooting": {"iterations": 12, "samples": 24},
    "cem_swm": {"iterations": 12, "samples": 24, "elites": 5, **AS_OURS},
    "cem_dino": {"iterations": 12, "samples": 24, "elites": 5, **AS_OURS},
    "gd_swm": {"iterations": 12, "samples": 6, "noise": 0.02, **AS_OURS},
    "gd_dino": {"iterations": 12, "lr": 0.5, "first_std": 0.1, **AS_OURS},
    "grasp_author": {"iterations": 12, "lr_actions": 0.01, "sync_every": 5, "sync_steps": 3, **AS_OURS},
}
"""A short run of each planner that uses all of its parts."""
PUBLISHED = ("cem_swm", "cem_dino", "gd_swm", "gd_dino", "grasp_author")
"""Solvers of others, with their own defaults: as published they keep no bounds, and what they return need not be the best."""


@dataclass(frozen=True)
class PlannerCase:
    """A planner, and how much may be asked of it."""

    make: Callable[[Mapping[str, Scalar]], Planner]
    """A planner with some settings changed from those of a short run."""
    thorough: Mapping[str, Scalar] = field(default_factory=dict)
    """Settings of a run that is long enough to find a corner of the bounds."""
    improves_every_row: bool = True
    """A short run improves on every initial plan, and not only on some."""
    finds_corners: bool = True
    """A thorough run finds a plan that lies in a corner of the bounds."""
    keeps_bounds: bool = True
    """Plans stay within the bounds; other planners' are clipped when they are executed."""
    knows_classes: bool = True
    """Where actions are classes, the planner returns such; other planners' plans are rounded before they are executed."""

    @staticmethod
    def named(name: str) -> PlannerCase:
        """The case of a planner of ours."""
        short = SHORT[name]
        thorough = {"iterations": 60, **({"samples": 100} if "samples" in short else {})}
        return PlannerCase(
            lambda changes: make_planner(name, {**short, **changes}),
            thorough,
            improves_every_row=name not in ("latco", "random_shooting"),
            finds_corners=name != "random_shooting",
            knows_classes=name not in PUBLISHED,
        )

    def plan(self, model: WorldModel, problems: ModelProblems, seeds: list[int], **changes: Scalar) -> Plans:
        """A short run, with some settings changed."""
        plans = self.make(changes).plan(model, problems, seeds)
        return plans if self.knows_classes else executable(model, problems, plans)


def check_planner(planner: str | Planner | PlannerCase) -> None:
    """Check everything that sweeps count on, on small worlds; AssertionError for the first promise that is broken.

    A planner is given as it is, with settings for a short run of some ten iterations, or by the name of one of ours. Give a
    `PlannerCase` where it needs other settings for a thorough run, or cannot find a corner of its bounds.
    """
    if isinstance(planner, str):
        case = PlannerCase.named(planner)
    elif isinstance(planner, PlannerCase):
        case = planner
    else:
        case = PlannerCase(lambda changes: planner)
    for check in PLANNER_CHECKS:
        for world in WORLDS if check in ON_EVERY_WORLD else ("mlp",):
            check(case, world)


def plan_is_the_best_rollout_seen_within_bounds(case: PlannerCase, world: str) -> None:
    """Actions, states, costs and trace of a plan agree with each other and with the model, in both precisions."""
    assert isinstance(case.make({}), Planner), "the planner lacks the method plan of Planner"
    for dtype, slack in TOLERANCE.items():
        model = WORLDS[world](dtype)
        problems = problems_for(model, steps=4)
        done = case.plan(model, problems, SEEDS)
        assert done.actions.dtype == done.states.dtype == dtype, f"a plan in {dtype} has actions in {done.actions.dtype}"
        _check_bounds(case, done, problems)
        assert done.status == (PlanStatus.COMPLETED,) * 3, f"plans of sound problems end as {done.status}"
        _close(done.states, rollout(model, problems.context, done.actions), "states are not the rollout of the actions")
        final = problems.goal_cost(done.states[:, -1], problems.goal)
        _close(done.cost, final, "cost is not the goal cost of the final state")
        assert (done.trace.diff(dim=1) <= 0).all(), "the best cost so far worsens along the trace"
        _close(done.trace[:, -1], done.cost, "the trace does not end at the plan's cost", slack)
        assert (done.cost <= done.last_cost + slack).all(), "the last iterate is better than the best"
        improved = done.trace[:, -1] < done.trace[:, 0]
        assert improved.all() if case.improves_every_row else improved.any(), "planning does not improve the initial plan"


def batch_equals_one_by_one_and_permutes(case: PlannerCase, world: str) -> None:
    """A problem's plan is the same alone, in a batch, and in another order."""
    for dtype in (DOUBLE, *([SINGLE] if world in ("mlp", "pendulums") else [])):
        model, slack = WORLDS[world](dtype), TOLERANCE[dtype]
        problems, seeds, order = problems_for(model, batch=4, steps=4), [7, 8, 9, 10], [2, 0, 3, 1]
        together = case.plan(model, problems, seeds)
        alone = case.plan(model, take(problems, [2]), seeds[2:3])
        _close(alone.actions[0], together.actions[2], "a problem has another plan alone than in a batch", slack)
        _close(alone.last_cost[0], together.last_cost[2], "a problem has another last cost alone than in a batch", slack)
        assert alone.evaluations[0] == together.evaluations[2], "a problem takes other model steps alone than in a batch"
        permuted = case.plan(model, take(problems, order), [seeds[i] for i in order])
        _close(permuted.actions, together.actions[order], "the order of a batch changes plans", slack)


def a_plan_of_one_step_improves(case: PlannerCase, world: str) -> None:
    """The shortest horizon is planned as well."""
    model = WORLDS[world](DOUBLE)
    done = case.plan(model, problems_for(model, steps=1), SEEDS)
    shape = (3, 1, model.action_dim)
    assert done.actions.shape == shape, f"actions of one step have shape {tuple(done.actions.shape)}, not {shape}"
    assert (done.trace[:, -1] < done.trace[:, 0]).all(), "planning one step does not improve the initial plan"


def seeds_fix_plans(case: PlannerCase, world: str) -> None:
    """A row's noise depends on its own seed, and on nothing else."""
    model = WORLDS[world](SINGLE)
    problems = problems_for(model, steps=4)
    one, same, other = (case.plan(model, problems, seeds) for seeds in (SEEDS, SEEDS, [1, 2, 4]))
    assert torch.equal(one.actions, same.actions), "the same seeds give other plans"
    assert torch.equal(one.trace, same.trace), "the same seeds give another trace"
    assert torch.equal(one.actions[:2], other.actions[:2]), "a row's plan depends on another row's seed"
    assert not torch.equal(one.last_cost[2], other.last_cost[2]), "a row's plan does not depend on its seed"


def the_global_generator_neither_matters_nor_moves(case: PlannerCase, world: str) -> None:
    """Planning draws no numbers from torch's own generator."""
    model = WORLDS[world](SINGLE)
    problems = problems_for(model, steps=4)
    kept = torch.get_rng_state()
    try:
        torch.manual_seed(1)
        before = torch.get_rng_state()
        one = case.plan(model, problems, SEEDS)
        assert torch.equal(torch.get_rng_state(), before), "planning draws from torch's global generator"
        torch.manual_seed(2)
        assert torch.equal(case.plan(model, problems, SEEDS).actions, one.actions), "torch's global seed changes plans"
    finally:
        torch.set_rng_state(kept)


def bounds_bind_where_they_should(case: PlannerCase, world: str) -> None:
    """An integrator whose goal is out of reach: the best plan is the upper bound throughout."""
    one = torch.eye(1, dtype=DOUBLE)
    model = LinearQuadratic(one, one)
    problems = replace(
        problems_for(model, batch=1, bound=0.25),
        context=Context.at(model, torch.zeros(1, 1, dtype=DOUBLE)),
        goal=torch.full((1, 1), 9.0, dtype=DOUBLE),
    )
    done = case.plan(model, problems, [0], **case.thorough)
    if not case.keeps_bounds:
        assert done.actions.mean() > problems.high.max(), (
            "a goal out of reach is not approached beyond bounds that are not kept"
        )
    elif case.finds_corners:
        _close(done.actions, problems.high.expand_as(done.actions), "a goal out of reach is not approached at full strength")
    else:
        assert done.actions.mean() > 0.1, "a goal out of reach is hardly approached"


def bounds_need_not_hold_zero(case: PlannerCase, world: str) -> None:
    """Plans stay within bounds that null actions would break."""
    model = WORLDS["double_integrator"](SINGLE)
    problems = replace(problems_for(model), low=torch.tensor([0.2, -1.0]), high=torch.tensor([0.4, -0.5]))
    _check_bounds(case, case.plan(model, problems, SEEDS), problems)


def plans_of_classes_are_classes(case: PlannerCase, world: str) -> None:
    """Where actions are classes, a plan takes one class in each step, and its cost is that of these classes."""
    model = Chances()
    problems = model.problems()
    done = case.plan(model, problems, SEEDS)
    taken = done.actions.unflatten(2, (-1, model.classes))
    sentence = "a plan has actions that are not classes: the upper bound for one of them, and the lower bound for the others"
    assert ((taken == 1).sum(3) == 1).all(), sentence
    assert ((taken == -1).sum(3) == model.classes - 1).all(), sentence
    _close(done.states, rollout(model, problems.context, done.actions), "states are not the rollout of the classes")
    _close(done.cost, problems.goal_cost(done.states[:, -1], problems.goal), "cost is not that of the classes")
    if case.knows_classes:
        assert (done.cost <= done.last_cost + TOLERANCE[DOUBLE]).all(), "the last iterate is better than the best"


def batches_and_seeds_of_classes_are_kept_apart(case: PlannerCase, world: str) -> None:
    """A problem whose actions are classes has the same plan alone and in a batch, and the same for the same seed."""
    model = Chances()
    problems = model.problems(4)
    together, again = (case.plan(model, problems, [7, 8, 9, 10]) for _ in range(2))
    alone = case.plan(model, take(problems, [2]), [9])
    assert torch.equal(together.actions, again.actions), "the same seeds give other plans"
    assert torch.equal(alone.actions[0], together.actions[2]), "a problem has another plan alone than in a batch"
    assert alone.evaluations[0] == together.evaluations[2], "a problem takes other model steps alone than in a batch"
    _close(alone.last_cost[0], together.last_cost[2], "a problem has another last cost alone than in a batch")


def the_model_is_left_as_it_was(case: PlannerCase, world: str) -> None:
    """Neither parameters nor their gradients change, and plans carry no graph."""
    for frozen in (True, False):
        model = small_mlp(SINGLE).requires_grad_(not frozen)
        before = {key: value.clone() for key, value in model.state_dict().items()}
        done = case.plan(model, problems_for(model), SEEDS)
        _check_untouched(model, before, frozen)
        for name in ("actions", "states", "trace"):
            assert not getattr(done, name).requires_grad, f"{name} of a plan carry a graph"


def evaluations_are_the_model_steps_taken(case: PlannerCase, world: str) -> None:
    """A plan counts the model steps that were taken, and progress is reported step by step."""
    model = Counting(WORLDS["pendulums"](SINGLE))
    seen: list[tuple[int, int]] = []
    done = case.make({}).plan(model, problems_for(model), SEEDS, lambda i, n: seen.append((i, n)))
    expected = [model.count // 3] * 3
    assert done.evaluations.tolist() == expected, f"a plan says {done.evaluations.tolist()} model steps, and took {expected}"
    assert seen == [(i + 1, len(seen)) for i in range(len(seen))], f"progress is reported as {seen[:3]} and so on"
    assert seen, "progress is not reported"


def a_broken_row_leaves_its_neighbours_bit_for_bit(case: PlannerCase, world: str) -> None:
    """A row that cannot be planned is reported, and its neighbours are what they would be beside a sound one."""
    model = WORLDS[world](SINGLE)
    sound = problems_for(model, steps=3)
    before = case.plan(model, sound, SEEDS)
    for start in (torch.nan, torch.inf, 1e38):
        broken = sound.context.states.clone()
        broken[1] = start
        after = case.plan(model, replace(sound, context=Context(broken, sound.context.actions)), SEEDS)
        _check_neighbours(before, after, [0, 2], f"starts at {start:g}")
    goal = sound.goal.clone()
    goal[0] = torch.nan
    after = case.plan(model, replace(sound, goal=goal), SEEDS)
    _check_neighbours(before, after, [1, 2], "has a goal of NaN")
    assert torch.equal(before.last_cost[1:], after.last_cost[1:]), "a row's last cost depends on a neighbour with a goal of NaN"


def problems_that_do_not_fit_are_refused(case: PlannerCase, world: str) -> None:
    """Senseless batches are refused in one sentence before anything is planned."""
    model = small_mlp(SINGLE)
    problems = problems_for(model, steps=4)
    with refuses("two seeds for three problems", "2 seeds for 3 problems"):
        case.plan(model, problems, [1, 2])
    with refuses("a horizon of 0 steps", "steps 0"):
        case.plan(model, replace(problems, steps=0), SEEDS)
    with refuses("an empty batch", "no problems"):
        case.plan(model, take(problems, []), [])
    with refuses("bounds of another size than the actions", "action bounds"):
        case.plan(model, replace(problems, low=torch.zeros(3), high=torch.ones(3)), SEEDS)
    with refuses("lower bounds above the upper ones", "exceed"):
        case.plan(model, replace(problems, low=problems.high + 1), SEEDS)
    with refuses("a context that is too short", "context of 1 states for a model with history 2"):
        case.plan(WORLDS["pendulums"](SINGLE), replace(problems, low=-torch.ones(2)), SEEDS)


Check = Callable[[PlannerCase, str], None]

ON_EVERY_WORLD: tuple[Check, ...] = (
    plan_is_the_best_rollout_seen_within_bounds,
    batch_equals_one_by_one_and_permutes,
    a_plan_of_one_step_improves,
)
"""Checks that are made on each of `WORLDS`; the others are made on one."""

PLANNER_CHECKS: tuple[Check, ...] = (
    *ON_EVERY_WORLD,
    seeds_fix_plans,
    the_global_generator_neither_matters_nor_moves,
    bounds_bind_where_they_should,
    bounds_need_not_hold_zero,
    the_model_is_left_as_it_was,
    evaluations_are_the_model_steps_taken,
    a_broken_row_leaves_its_neighbours_bit_for_bit,
    problems_that_do_not_fit_are_refused,
    plans_of_classes_are_classes,
    batches_and_seeds_of_classes_are_kept_apart,
)
"""Each takes a case and the name of a world, and raises AssertionError."""


def _check_bounds(case: PlannerCase, done: Plans, problems: ModelProblems) -> None:
    if not case.keeps_bounds:
        return
    assert (done.actions >= problems.low).all(), "actions lie below their lower bounds"
    assert (done.actions <= problems.high).all(), "actions lie above their upper bounds"


def _check_untouched(model: nn.Module, before: Mapping[str, Tensor], frozen: bool) -> None:
    for parameter in model.parameters():
        assert parameter.requires_grad is not frozen, "planning freezes or thaws the model's parameters"
        assert parameter.grad is None, "planning leaves gradients in the model's parameters"
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), f"planning changes {key} of the model"


def _check_neighbours(before: Plans, after: Plans, sound: list[int], broken: str) -> None:
    for row, status in enumerate(after.status):
        expected = PlanStatus.COMPLETED if row in sound else PlanStatus.NON_FINITE
        assert status is expected, f"beside a row that {broken}, row {row} ends as {status.value}, not {expected.value}"
    assert torch.isfinite(after.actions).all(), f"a row that {broken} has a plan that cannot be executed"
    for row in sound:
        assert torch.equal(before.actions[row], after.actions[row]), f"a row's plan depends on a neighbour that {broken}"
        assert torch.equal(before.trace[row], after.trace[row]), f"a row's trace depends on a neighbour that {broken}"


def _close(found: Tensor, expected: Tensor, sentence: str, slack: float | None = None) -> None:
    torch.testing.assert_close(found, expected, rtol=slack, atol=slack, msg=lambda details: f"{sentence}: {details}")
