"""On a GPU, models, planners, batches and sweeps are what they are on a CPU. Skipped where there is none, as where CI runs.

`GRASP_TEST_DEVICE=cpu` runs what makes sense there on a CPU, so that the tests themselves can be tried without a GPU.
"""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
import torch
from torch import nn

from planners import PLANNERS, ModelProblems, Plans, PlanStatus, Scalar, Settings, make_planner
from tests.end_to_end.gpu_planning import CPU, DOUBLE, VARIANTS, apart, loaded, planned, problems, results_of
from tests.support.planning import SETTINGS
from world_models.base import rollout
from world_models.checkpoints import store as checkpoints
from world_models.precision import matmul_precision

DEVICE = os.environ.get("GRASP_TEST_DEVICE", "cuda")
GPU = DEVICE.startswith("cuda")
if GPU and not torch.cuda.is_available():
    pytest.skip("no CUDA device here: run this file on a machine with an NVIDIA GPU.", allow_module_level=True)

# Libraries give other warnings on a GPU than where CI runs: these are shown but are not failures.
pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.timeout(90)]
needs_gpu = pytest.mark.skipif(not GPU, reason="there is nothing to see on a CPU")
every_variant = pytest.mark.parametrize("variant", VARIANTS)


@pytest.mark.parametrize("name", checkpoints.zoo_names())
def test_models_compute_what_they_compute_on_a_cpu(name: str) -> None:
    model = loaded(name, DEVICE)
    assert model.model.device.type == torch.device(DEVICE).type
    exact, single = results_of(loaded(name, "cpu", DOUBLE)), results_of(loaded(name, "cpu"))
    for part, found in results_of(model).items():
        assert apart(found, exact[part]) <= 3e-5 + 10 * apart(single[part], exact[part]), part
    for part, found in results_of(loaded(name, DEVICE, DOUBLE)).items():
        assert apart(found, exact[part]) < 1e-9, part


SLACK = {"highest": 1e-3, "high": 1e-2, "medium": 5e-2}
"""Largest difference between costs of one plan computed in batches of different sizes."""


def check(done: Plans, posed: ModelProblems, precision: str) -> None:
    """Check what holds for every plan."""
    assert done.actions.device == done.states.device == done.cost.device == posed.goal.device
    for part in (done.actions, done.states, done.cost, done.trace):
        assert torch.isfinite(part).all()
    assert (done.actions <= posed.high).all()
    assert (done.actions >= posed.low).all()
    assert (done.cost <= done.trace[:, 0] * (1 + SLACK[precision]) + 1e-9).all(), "no plan is worse than what it was given"
    assert not {PlanStatus.NON_FINITE} & set(done.status)
    assert done.evaluations.device == done.spent.device == CPU


@every_variant
@pytest.mark.parametrize("name", ["wall", "wall_pixels"])
def test_planners_plan(variant: str, name: str) -> None:
    posed = problems(name, DEVICE)
    for precision in ("highest", "high", "medium"):
        check(planned(variant, loaded(name, DEVICE), posed, [1, 2, 3, 4], precision=precision), posed, precision)


@every_variant
@pytest.mark.parametrize("name", ["wall", "wall_pixels"])
def test_a_plan_is_the_same_alone_in_a_batch_and_on_a_cpu(variant: str, name: str) -> None:
    """In float64, so that a difference is a fault and not a rounding that an optimiser has blown up."""
    model, posed = loaded(name, DEVICE, DOUBLE), problems(name, DEVICE, DOUBLE)
    done = planned(variant, model, posed, [1, 2, 3, 4])
    for row in (0, 3):
        alone = planned(variant, model, posed.rows(slice(row, row + 1)), [row + 1])
        assert apart(alone.actions[0], done.actions[row]) < 1e-5
        assert alone.evaluations[0] == done.evaluations[row]
    known = planned(variant, loaded(name, "cpu", DOUBLE), problems(name, "cpu", DOUBLE), [1, 2, 3, 4])
    assert apart(done.actions, known.actions) < 1e-5
    assert apart(done.cost, known.cost) < 1e-5
    assert done.status == known.status
    assert done.evaluations.equal(known.evaluations)


@pytest.mark.parametrize("name", PLANNERS)
def test_rows_of_a_batch_have_settings_of_their_own(name: str) -> None:
    kind, planner = PLANNERS[name]
    fields = {"iterations": (12, 6, 9), "lr_actions": (0.02, 0.05, 0.1), "lr": (0.02, 0.05, 0.1), "std": (1.0, 0.5, 0.2)}
    fields |= {
        "noise": (0.0, 0.1, 0.2),
        "sync_every": (3, 0, 5),
        "goal_weight": (0.0, 0.1, 0.3),
        "finish_cost": (0.0, 0.3, 0.01),
    }
    fields |= {
        "momentum": (0.0, 0.1, 0.4),
        "kept_elites": (0.0, 0.5, 1.0),
        "tolerance": (1e-4, 0.05, 1.0),
        "update_every": (1, 4, 9),
    }
    fields |= {"noise_schedule": ("linear", "constant", "cosine"), "final_sync_steps": (0, 6, 2), "std_decay": (0.8, 0.95, 1.0)}
    known = SETTINGS[name] | {"precision": "highest"}
    own = {field: values for field, values in fields.items() if kind.__dataclass_fields__.get(field) is not None}
    rows = [{**known, **{field: values[row] for field, values in own.items()}} for row in range(3)]
    model, posed = loaded("wall", DEVICE, DOUBLE), problems("wall", DEVICE, DOUBLE, 3)
    together = planner(Settings.stack([kind.of(name, row) for row in rows])).plan(model.model, posed, [1, 2, 3])  # pyright: ignore[reportCallIssue]
    for row, settings in enumerate(rows):
        alone = make_planner(name, settings).plan(model.model, posed.rows(slice(row, row + 1)), [row + 1])
        assert apart(alone.actions[0], together.actions[row]) < 1e-6
        assert (alone.evaluations[0], alone.status[0]) == (together.evaluations[row], together.status[row])


@pytest.mark.parametrize("variant", ["grasp", "newton", "gd", "cem", "mppi"])
@pytest.mark.parametrize("name", ["wall", "wall_pixels"])
def test_rounding_hardly_costs_anything(variant: str, name: str) -> None:
    """Plans of rounded models are judged by the exact one, by the mean remaining share of the way to the goal."""
    more: dict[str, Scalar] = {"iterations": 30} | ({"samples": 100, "elites": 10} if variant == "cem" else {})
    posed, exact = problems(name, DEVICE, batch=16), loaded(name, DEVICE, DOUBLE)
    truth = problems(name, DEVICE, DOUBLE, 16)
    left: dict[str, float] = {}
    for precision in ("highest", "high", "medium"):
        done = planned(variant, loaded(name, DEVICE), posed, list(range(16)), precision=precision, **more)
        with torch.no_grad():
            costs = [
                truth.goal_cost(rollout(exact.model, truth.context, actions.double())[:, -1], truth.goal)
                for actions in (done.actions, torch.zeros_like(done.actions))
            ]
        left[precision] = float((costs[0] / costs[1].clamp_min(1e-6)).clamp_max(1).mean())
    assert left["highest"] < 0.5
    assert left["high"] < left["highest"] + 0.05, left
    assert left["medium"] < left["highest"] + 0.15, left


def test_bounds_hold_exactly_where_everything_is_at_a_bound() -> None:
    """Goals are out of reach, and the bounds are not bfloat16 numbers."""
    posed = problems("wall_pixels", DEVICE, bound=0.3)
    posed = replace(posed, goal=posed.context.last + 100 * (posed.goal - posed.context.last))
    for variant in VARIANTS:
        for precision in ("high", "medium"):
            done = planned(variant, loaded("wall_pixels", DEVICE), posed, [1, 2, 3, 4], precision=precision)
            assert (done.actions.abs() <= posed.high).all(), (variant, precision)


@needs_gpu
def test_a_precision_holds_for_products_and_convolutions_and_ends_with_its_block() -> None:
    generator = torch.Generator().manual_seed(0)
    left, right = torch.randn(2, 256, 256, generator=generator).to(DEVICE)
    maps, kernel = torch.randn(4, 32, 32, 32, generator=generator).to(DEVICE), torch.randn(32, 32, 3, 3, generator=generator)
    exact = left.double() @ right.double(), nn.functional.conv2d(maps.double(), kernel.to(DEVICE).double())

    def errors() -> tuple[float, float]:
        return apart(left @ right, exact[0]), apart(nn.functional.conv2d(maps, kernel.to(DEVICE)), exact[1])

    def switches() -> tuple[str, str]:
        return torch.get_float32_matmul_precision(), torch.backends.cudnn.conv.fp32_precision  # pyright: ignore[reportAttributeAccessIssue]

    before, device = switches(), torch.device(DEVICE)
    with matmul_precision("medium", device):
        assert min(errors()) > 1e-4
        with matmul_precision("high", device):
            assert 3e-5 < errors()[0] < 1e-2 > errors()[1]
            with matmul_precision("highest", device):
                assert max(errors()) < 3e-5
            assert errors()[0] > 3e-5
    assert switches() == before
