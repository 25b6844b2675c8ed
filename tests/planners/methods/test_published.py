"""Published solvers: what upstream's own classes recorded on a toy world (tests/golden/record_solvers.py) is reproduced.

First the update alone, fed upstream's random numbers, costs and gradients; then the whole planner, fed its random numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from planners import ModelProblems, Plans, PlanStatus, Scalar, make_planner
from planners.methods.published import cem, gd, grasp
from planners.methods.published.units import ActionUnits, StandardActions
from planners.settings import Settings
from planners.testing import WORLDS, PlannerCase, problems_for
from planners.testing.planners import PLANNER_CHECKS, PUBLISHED, SHORT, batches_and_seeds_of_classes_are_kept_apart
from world_models.base import Context, SquaredDistance, rollout, serial_rollout, step_pullback
from world_models.errors import UserError

F64, CPU = torch.float64, torch.device("cpu")
MEAN, STD = torch.tensor([-0.0087, 0.0068], dtype=F64), torch.tensor([0.2019, 0.2002], dtype=F64)
UNITS: dict[str, Scalar] = {"action_mean": "-0.0087 0.0068", "action_std": "0.2019 0.2002"}
NEAR = 1e-6
"""How near to upstream's numbers ours must be."""


@pytest.fixture(scope="module")
def recorded() -> Mapping[str, Tensor]:
    with np.load(Path(__file__).parents[2] / "golden" / "published_solvers.npz") as file:
        return {key: torch.from_numpy(file[key]) for key in file.files}


@dataclass(frozen=True)
class Toy:
    """The recorded world, for actions in a task's units: s' = 0.9 s + 0.4 tanh(s W + z U), z = (a - mean) / std."""

    inner: Tensor
    outer: Tensor
    state_shape: tuple[int, ...] = (4,)
    action_dim: int = 2
    history: int = 1
    device: torch.device = CPU
    dtype: torch.dtype = F64

    def encode(self, observation: Tensor) -> Tensor:
        return observation

    def step(self, states: Tensor, actions: Tensor) -> Tensor:
        now = states[:, -1]
        return 0.9 * now + 0.4 * torch.tanh(now @ self.inner + (actions[:, -1] - MEAN) / STD @ self.outer)


def toy(recorded: Mapping[str, Tensor]) -> tuple[Toy, ModelProblems]:
    model = Toy(recorded["world/inner"], recorded["world/outer"])
    context = Context.at(model, recorded["world/start"])
    return model, ModelProblems(
        context, recorded["world/goal"], 4, -torch.ones(2).double(), torch.ones(2).double(), SquaredDistance()
    )


class Replay:
    """Row noise that was recorded: values `[iteration, problem, ...]` by purpose."""

    values: Mapping[str, Tensor] = {}

    def __init__(self, seeds: object, purpose: str, shape: object, like: Tensor) -> None:
        self._values = self.values[purpose]

    def at(self, iteration: int | Tensor, rows: Tensor | None = None) -> Tensor:
        return self._values[int(torch.as_tensor(iteration).flatten()[0])]


def replayed(
    monkeypatch: pytest.MonkeyPatch,
    recorded: Mapping[str, Tensor],
    name: str,
    settings: Mapping[str, Scalar],
    noise: Mapping[str, Tensor],
) -> Plans:
    """A plan of ours in the recorded world with the recorded noise."""
    monkeypatch.setattr(Replay, "values", noise)
    for module in ("published.cem", "published.gd", "published.grasp", "grasp"):
        monkeypatch.setattr(f"planners.methods.{module}.RowNoise", Replay)
    model, problems = toy(recorded)
    return make_planner(name, {**UNITS, **settings}).plan(model, problems, [1, 2])


def test_the_cem_alone_has_upstreams_means_deviations_and_plan(recorded: Mapping[str, Tensor]) -> None:
    mean, std = torch.zeros(2, 4, 2, dtype=F64), torch.ones(2, 4, 2, dtype=F64)
    steps = [recorded[f"cem_swm/{name}"] for name in ("noise", "cost", "mean", "std")]
    for noise, cost, their_mean, their_std in zip(*steps, strict=True):
        mean, std = cem.refitted(cem.candidates(mean, std, noise), cost, 5)
        torch.testing.assert_close(mean, their_mean, rtol=0, atol=NEAR)
        torch.testing.assert_close(std, their_std, rtol=0, atol=NEAR)
    torch.testing.assert_close(mean, recorded["cem_swm/actions"], rtol=0, atol=NEAR)


def test_dino_wms_cem_is_the_same_computation(recorded: Mapping[str, Tensor]) -> None:
    mean, std = torch.zeros(2, 4, 2, dtype=F64), torch.ones(2, 4, 2, dtype=F64)
    steps = [recorded[f"cem_dino/{name}"] for name in ("noise", "cost", "plans")]
    for noise, cost, their_plans in zip(*steps, strict=True):
        plans = cem.candidates(mean, std, noise)
        torch.testing.assert_close(plans, their_plans, rtol=0, atol=NEAR)
        mean, std = cem.refitted(plans, cost, 5)
    torch.testing.assert_close(mean, recorded["cem_dino/actions"], rtol=0, atol=NEAR)
    model = WORLDS["mlp"](F64)
    short: dict[str, Scalar] = {"iterations": 4, "samples": 12, "elites": 3}
    one, other = (make_planner(name, short).plan(model, problems_for(model), [1, 2, 3]) for name in ("cem_swm", "cem_dino"))
    assert torch.equal(one.actions, other.actions)


@pytest.mark.parametrize("name", ["gd_swm", "gd_dino"])
def test_the_descent_alone_has_upstreams_iterates_and_plan(recorded: Mapping[str, Tensor], name: str) -> None:
    mine = {key.removeprefix(f"{name}/"): value for key, value in recorded.items() if key.startswith(f"{name}/")}
    if name == "gd_dino":  # has one plan per problem, and no axis for several
        mine = {key: value if key == "actions" else value.unsqueeze(-3) for key, value in mine.items()}
    settings = gd.GDSWMSettings(noise=0.01) if name == "gd_swm" else gd.GDDinoSettings()
    plans = mine["first"].clone()
    rule = gd.update_rule(settings, plans)
    for noise, gradient, their_plans in zip(mine["noise"], mine["gradient"], mine["plans"], strict=True):
        torch.testing.assert_close(plans, their_plans, rtol=0, atol=NEAR)
        rule.update(plans, gradient)
        plans += noise * settings.noise
    best = mine["last_cost"].argmin(1) if name == "gd_swm" else torch.zeros(2, dtype=torch.int64)
    torch.testing.assert_close(plans[torch.arange(2), best], mine["actions"], rtol=0, atol=NEAR)


@pytest.mark.parametrize(
    ("name", "key", "settings"),
    [
        ("cem_swm", "cem_swm", {"iterations": 6, "samples": 20, "elites": 5}),
        ("cem_dino", "cem_dino", {"iterations": 6, "samples": 20, "elites": 5}),
        ("gd_swm", "gd_swm", {"iterations": 20, "samples": 6, "noise": 0.01}),
        ("gd_dino", "gd_dino", {"iterations": 40}),
        ("grasp_author", "grasp_author_gd", {"iterations": 60, "sync_every": 20}),
        (
            "grasp_author",
            "grasp_author_cem",
            {"iterations": 60, "sync_every": 20, "sync": "cem", "sync_steps": 5, "sync_samples": 16, "sync_elites": 4},
        ),
    ],
)
def test_the_whole_planner_finds_upstreams_plan(
    monkeypatch: pytest.MonkeyPatch, recorded: Mapping[str, Tensor], name: str, key: str, settings: dict[str, Scalar]
) -> None:
    mine = {part.split("/")[1]: value for part, value in recorded.items() if part.startswith(f"{key}/")}
    if name == "gd_dino":
        mine |= {part: mine[part].unsqueeze(-3) for part in ("first", "noise")}
    noise = {
        "samples": mine.get("noise"),
        "states": mine.get("noise"),
        "noise": mine.get("noise"),
        "sync": mine.get("sync_noise"),
    }
    first = {"first plans": mine["first"].unsqueeze(0)} if "first" in mine else {}
    known = {purpose: values for purpose, values in (noise | first).items() if values is not None}
    found = replayed(monkeypatch, recorded, name, settings, known)
    torch.testing.assert_close(found.actions, mine["actions"] * STD + MEAN, rtol=0, atol=NEAR)
    assert found.status == (PlanStatus.COMPLETED,) * 2
    torch.testing.assert_close(found.cost, found.last_cost)


def test_a_sync_by_cem_is_the_wider_the_farther_states_and_rollout_are_apart() -> None:
    states, path = torch.zeros(1, 2, 3), torch.tensor([[[1.0, 1, 1], [2, 2, 2], [9, 9, 9]]])
    goal = torch.tensor([[8.0, 8, 8]])
    torch.testing.assert_close(grasp.first_variance(states, path, goal), torch.tensor([[2.5, 1.0, 4.0]]))
    torch.testing.assert_close(grasp.first_variance(states[:, :0], path[:, -1:], goal), torch.tensor([[1.0]]))


AS_PUBLISHED = {
    name: {key: value for key, value in settings.items() if key not in ("bounds", "keep")}
    for name, settings in SHORT.items()
    if name in PUBLISHED
}
AS_PUBLISHED["gd_dino"] |= {"lr": 0.15, "first_std": 0.01}
"""Plain descent without bounds diverges in steps that the bounds would have stopped."""


DIVERGES = ("gd_dino", batches_and_seeds_of_classes_are_kept_apart)
"""Plain descent on relaxed classes, without their bounds."""
CHECKED = [(name, check) for name in PUBLISHED for check in PLANNER_CHECKS if (name, check) != DIVERGES]


@pytest.mark.parametrize(("name", "check"), CHECKED, ids=lambda part: part if isinstance(part, str) else part.__name__)
def test_as_published_they_keep_all_promises_but_bounds(name: str, check: Callable) -> None:
    case = PlannerCase(
        lambda changes: make_planner(name, {**AS_PUBLISHED[name], **changes}),
        PlannerCase.named(name).thorough,
        improves_every_row=False,
        knows_classes=False,
        keeps_bounds=False,
    )
    check(case, "mlp")


@pytest.mark.parametrize("name", PUBLISHED)
def test_without_a_limit_plans_leave_the_bounds_and_are_reported_so(name: str) -> None:
    model = WORLDS["mlp"](F64)
    problems = replace(problems_for(model, bound=0.001), goal=problems_for(model).goal * 5)
    free = make_planner(name, AS_PUBLISHED[name]).plan(model, problems, [1, 2, 3])
    assert free.actions.abs().max() > 0.01
    torch.testing.assert_close(free.states, rollout(model, problems.context, free.actions))
    within = make_planner(name, {**AS_PUBLISHED[name], "bounds": "task"}).plan(model, problems, [1, 2, 3])
    assert within.actions.abs().max() <= 0.001


def test_the_returned_plan_may_be_worse_than_the_best_one() -> None:
    model = WORLDS["pendulums"](F64)
    problems = problems_for(model, batch=8)
    short: dict[str, Scalar] = {"iterations": 2, "samples": 30, "elites": 15}
    returned, best = (
        make_planner("cem_swm", {**short, "keep": keep}).plan(model, problems, range(8)) for keep in ("returned", "best")
    )
    assert torch.equal(returned.last_cost, best.last_cost)
    assert torch.equal(returned.cost, returned.last_cost)
    assert (returned.cost >= best.cost).all()
    assert (returned.cost > best.cost).any()
    assert torch.equal(returned.trace[:, -1], returned.cost)


def test_the_search_begins_at_the_datas_mean_and_a_start_is_taken_over() -> None:
    model = WORLDS["mlp"](F64)
    problems = problems_for(model)
    null = make_planner("grasp_author", {"iterations": 1, "lr_actions": 1e-9, "action_mean": "0.1 -0.2"})
    torch.testing.assert_close(
        null.plan(model, problems, [1, 2, 3]).actions, torch.tensor([0.1, -0.2]).double().expand(3, 6, 2)
    )
    before = make_planner("gd", {"iterations": 40}).plan(model, problems, [1, 2, 3])
    after = null.plan(model, problems, [1, 2, 3], start=replace(before.after(0)))
    torch.testing.assert_close(after.actions, before.actions)


@dataclass(frozen=True)
class Knowing(Toy):
    """A model that knows by what its actions are standardised."""

    def action_statistics(self) -> tuple[Tensor, Tensor]:
        return MEAN, STD


def test_a_model_that_knows_its_statistics_needs_no_settings(recorded: Mapping[str, Tensor]) -> None:
    model, problems = toy(recorded)
    given = make_planner("cem_swm", {"iterations": 3, **UNITS}).plan(model, problems, [1, 2])
    known = make_planner("cem_swm", {"iterations": 3}).plan(Knowing(model.inner, model.outer), problems, [1, 2])
    assert torch.equal(given.actions, known.actions)


@pytest.mark.parametrize(
    ("text", "with_data", "found"),
    [
        ("data", True, 0.5),
        ("data", False, None),
        ("data 3", True, 0.5),
        ("data 3", False, 3.0),
        ("model", True, None),
        ("4", True, 4.0),
    ],
)
def test_the_datas_statistics_come_before_given_ones_and_the_models(
    text: str, with_data: bool, found: float | None, recorded: Mapping[str, Tensor]
) -> None:
    model, problems = toy(recorded)
    half = torch.full((2,), 0.5, dtype=F64)
    problems = replace(problems, action_statistics=(half, half) if with_data else None)
    units = ActionUnits.of(Knowing(model.inner, model.outer), problems, text, text)
    assert torch.equal(units.std, STD if found is None else torch.full((2,), found, dtype=F64))


@pytest.mark.parametrize("world", ["mlp", "pendulums"])
def test_standardised_actions_lead_where_the_tasks_own_do(world: str) -> None:
    model = WORLDS[world](F64)
    problems = problems_for(model, steps=3)
    units = ActionUnits.of(model, problems, "0.1", "0.5")
    standard = StandardActions(model, units)
    actions = torch.randn(3, 3, model.action_dim, dtype=F64, generator=torch.Generator().manual_seed(0))
    context = Context(problems.context.states, units.standard(problems.context.actions))
    expected = rollout(model, problems.context, actions)
    torch.testing.assert_close(rollout(standard, context, units.standard(actions)), expected)
    torch.testing.assert_close(serial_rollout(standard, context, units.standard(actions)), expected)
    window = torch.cat([problems.context.actions, actions[:, :1]], 1)
    ours, theirs = (
        step_pullback(model, problems.context.states, window),
        step_pullback(standard, context.states, units.standard(window)),
    )
    torch.testing.assert_close(theirs[0], ours[0])
    torch.testing.assert_close(theirs[1](torch.ones_like(ours[0])), 0.5 * ours[1](torch.ones_like(ours[0])))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"action_std": "0.2 0"}, "action_std '0.2 0' has a number that is not above 0"),
        ({"action_std": "wide"}, "action_std 'wide' is not a list of numbers"),
        ({"action_mean": True}, "action_mean True is not a list of numbers"),
        ({"elites": 1}, "elites 1 is below 2"),
        ({"elites": 400}, "elites 400 exceeds samples 300"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Scalar], words: str) -> None:
    with pytest.raises(UserError, match=words):
        make_planner("cem_swm", settings)


def test_numbers_by_axis_have_one_spelling_and_must_fit_the_actions() -> None:
    spelled: Settings = cem.CEMSWMSettings.of("cem_swm", {"action_mean": "0.10, -2e-1", "action_std": 1})
    assert (spelled.as_dict()["action_mean"], spelled.as_dict()["action_std"]) == ("0.1 -0.2", "1.0")
    model = WORLDS["mlp"](F64)
    with pytest.raises(UserError, match=r"action_std '1\.0 1\.0 1\.0' has 3 numbers for actions of size 2"):
        make_planner("cem_swm", {"action_std": "1 1 1"}).plan(model, problems_for(model), [1, 2, 3])
