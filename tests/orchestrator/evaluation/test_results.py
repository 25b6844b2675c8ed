"""From cells to records: executing a recorded plan again gives the recorded result."""

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from orchestrator.artifacts.drawing import Drawing, RenderJob
from orchestrator.artifacts.frames import RolloutView, animation
from orchestrator.artifacts.selection import SelectedCell
from orchestrator.core.batch import Batch
from orchestrator.core.cell import Named, Point
from orchestrator.core.modes import ExecutionMode
from orchestrator.core.portion import by_point
from orchestrator.driver.run_cells import run_cells
from orchestrator.evaluation.execution import Execution, plan_and_execute, predicted_states
from orchestrator.ledger.ledger import Ledger
from orchestrator.testing import DIGEST, GD, Plane, load_plane, make_plane, plane_evaluator, plane_point
from orchestrator.workers.backend import InlineBackend, evaluated
from orchestrator.workers.evaluator import Evaluator, check_point
from planners import make_planner
from planners.base import Plans, PlanStatus
from world_models.checkpoints.store import LoadedModel
from world_models.errors import UserError
from world_models.parts import PREFIX
from world_models.tasks import execute


def test_a_recorded_plan_can_be_executed_again_exactly() -> None:
    batch = Batch.of(plane_point(12), tuple(range(5)))
    for record in plane_evaluator().evaluate(batch).results:
        problem = Plane().problem(record.seed, record.horizon)
        actions = np.array(record.actions, np.float32).astype(float).reshape(1, record.horizon, 2)
        rollout = execute(Plane(), [problem], actions)
        assert rollout.final_distance[0] == pytest.approx(record.distance, abs=1e-6)
        assert bool(rollout.success[0]) == record.success
        assert rollout.steps_to_success()[0] == record.steps_to_success
        assert rollout.distance[0, 0] == pytest.approx(record.start_distance)


def test_records_say_what_the_model_predicted() -> None:
    correct, exploiting = (
        plane_evaluator().evaluate(Batch.of(plane_point(12, model), (0, 1))) for model in ("plane", "plane_wrong")
    )
    assert all(
        r.success and r.model_success and r.model_distance == pytest.approx(r.distance, abs=1e-5) for r in correct.results
    )
    for record in exploiting.results:
        assert record.model_success
        assert not record.success
        assert record.model_distance is not None
        assert record.model_distance < 0.05
        assert record.distance == pytest.approx(12 * 0.05, abs=0.06)
        assert record.steps_to_success is None
        assert record.predicted_cost == pytest.approx(record.model_distance**2 / 2, rel=1e-3, abs=1e-9)


def test_action_blocks_are_unfolded_into_environment_steps() -> None:
    point = plane_point(8, "plane_2", {"action_block": 2})
    (record,) = plane_evaluator().evaluate(Batch.of(point, (3,))).results
    assert record.error is None
    assert len(record.actions) == 8 * 2
    assert record.success
    assert record.model_distance == pytest.approx(record.distance, abs=1e-5)
    assert record.evaluations is not None
    assert record.evaluations >= GD["iterations"] * 4
    assert record.evaluations % 4 == 0


def replanned(every: int, **settings) -> Point:
    return replace(plane_point(12, **settings), mode=f"mpc:{every}")


def test_a_replanned_cell_is_recorded_with_what_it_did_and_cost() -> None:
    evaluator, seeds = plane_evaluator(), (0, 1, 2)
    once = evaluator.evaluate(Batch.of(plane_point(12), seeds)).results
    whole = evaluator.evaluate(Batch.of(replanned(12), seeds)).results
    parts = evaluator.evaluate(Batch.of(replanned(4), seeds)).results
    for a, b, c in zip(once, whole, parts, strict=True):
        assert (a.mode, b.mode, c.mode) == ("open_loop", "mpc:12", "mpc:4")
        assert len({a.cell_id, b.cell_id, c.cell_id}) == 3
        varies = {"cell_id", "point_id", "mode", "plan_seconds", "batch_seconds", "worker_seconds", "finished_at"}
        assert {k: v for k, v in asdict(a).items() if k not in varies} == {
            k: v for k, v in asdict(b).items() if k not in varies
        }
        assert a.evaluations is not None
        assert c.evaluations is not None
        # 60 iterations and three more rollouts, of 12, 8 and 4 steps: those of the first planning and of two shorter ones.
        assert c.evaluations == a.evaluations * (12 + 8 + 4) // 12
        assert c.plan_seconds == pytest.approx((c.batch_seconds or 0) / 3)
        problem = Plane().problem(c.seed, 12)
        rollout = execute(Plane(), [problem], np.array(c.actions).reshape(1, 12, 2))
        assert rollout.final_distance[0] == pytest.approx(c.distance, abs=1e-6)
        assert c.success
        assert c.model_success
        assert c.model_distance == pytest.approx(c.distance, abs=1e-5)
        assert c.predicted_cost == pytest.approx((c.model_distance or 0) ** 2 / 2, rel=1e-3, abs=1e-9)


def test_a_replanned_cell_records_the_prediction_of_its_last_plan() -> None:
    # The model misses 0.05 per step: its prediction of the last four steps, started from the truth, ends at the goal.
    wrong = replace(plane_point(12, "plane_wrong"), mode="mpc:4")
    for record in plane_evaluator().evaluate(Batch.of(wrong, (0, 1))).results:
        assert record.model_success
        assert not record.success
        assert record.distance == pytest.approx(4 * 0.05, abs=0.06)


def test_what_the_model_predicted_is_found_again_from_the_record(monkeypatch: pytest.MonkeyPatch) -> None:
    """Open loop and replanned: the model's states during planning, without planning again."""
    executions: list[Execution] = []

    def remembered(*words: object) -> Execution:
        executions.append(plan_and_execute(*words))  # pyright: ignore[reportArgumentType]
        return executions[-1]

    monkeypatch.setattr("orchestrator.workers.evaluator.plan_and_execute", remembered)
    for mode in ("open_loop", "mpc:4"):
        for model, task in (("plane_wrong", {}), ("plane_2", {"action_block": 2})):
            point = replace(plane_point(12, model, task), mode=mode)
            records = plane_evaluator().evaluate(Batch.of(point, (3, 4))).results
            execution = executions.pop()
            actions = np.array([record.actions for record in records]).reshape(2, 12, 2)
            again = predicted_states(
                Plane(**task), load_plane(model, "cpu"), execution.rollout.states, actions, ExecutionMode.of(mode)
            )
            assert torch.allclose(again, execution.predicted, atol=1e-5)


def test_pictures_of_a_replanned_cell_join_the_predictions(monkeypatch: pytest.MonkeyPatch) -> None:
    views: list[RolloutView] = []

    def remembered(view: RolloutView, most: int) -> list[Image.Image]:
        views.append(view)
        return animation(view, most)

    monkeypatch.setattr("orchestrator.artifacts.drawing.animation", remembered)
    point = replace(plane_point(12, "plane_wrong"), mode="mpc:4")
    evaluator = plane_evaluator()
    (record,) = evaluator.evaluate(Batch.of(point, (4,))).results
    evaluator.draw(Drawing(point, (SelectedCell(4, ()),), (RenderJob(4, record.actions),), video=False))
    (view,) = views
    assert view.expected is not None
    assert view.title == "plane · gd · H12 · mpc:4 · seed 4"
    assert view.success == record.success
    assert view.distance[-1] == pytest.approx(record.distance, abs=1e-6)
    missed = np.linalg.norm(view.expected.poses - view.states, axis=1)
    # The model's error grows by 0.05 per step until the truth is seen again.
    assert missed == pytest.approx([0.0] + [0.05, 0.10, 0.15, 0.20] * 3, abs=1e-5)


def test_two_modes_are_points_of_their_own_in_the_ledger(tmp_path: Path) -> None:
    points = [plane_point(12), replanned(4), replanned(6)]
    cells = [point.cell(seed) for point in points for seed in range(3)]
    ledger, backend = Ledger(tmp_path), InlineBackend(make_evaluator=plane_evaluator)
    assert run_cells(by_point(cells), ledger, backend).computed == 9
    assert run_cells(by_point(cells), ledger, backend).computed == 0
    rows = ledger.table().to_pylist()
    assert Counter(row["mode"] for row in rows) == {"open_loop": 3, "mpc:4": 3, "mpc:6": 3}
    assert {row["cell_id"] for row in rows} == {cell.cell_id for cell in cells}


@pytest.mark.parametrize("mode", ["open_loop", "mpc:4"])
def test_a_cell_alone_is_the_same_as_in_a_batch(mode: str) -> None:
    evaluator, point = plane_evaluator(), replace(plane_point(10, iterations=15), mode=mode)
    together = evaluator.evaluate(Batch.of(point, (4, 5, 6))).results
    for record in together:
        (alone,) = evaluator.evaluate(Batch.of(point, (record.seed,))).results
        assert np.allclose(alone.actions, record.actions, atol=1e-4)
        assert (alone.success, alone.problem_kind, alone.cell_id) == (record.success, record.problem_kind, record.cell_id)
    assert {record.batch_size for record in together} == {3}
    assert together[0].plan_seconds == pytest.approx(together[0].batch_seconds / 3)  # pyright: ignore[reportOptionalOperand]


def test_a_model_is_loaded_once_and_its_content_must_match_the_cells() -> None:
    loads: list[str] = []

    def load(name: str, device: str) -> LoadedModel:
        loads.append(name)
        return load_plane(name, device)

    evaluator = Evaluator("cpu", load, make_plane)
    for horizon in (4, 6, 8):
        evaluator.evaluate(Batch.of(plane_point(horizon), (0,)))
    assert loads == ["plane"]
    (changed,) = evaluated(evaluator, Batch.of(replace(plane_point(), model_digest="other"), (0,))).results
    assert changed.status == "failed"
    assert changed.error is not None
    assert DIGEST in changed.error


class Diverging:
    """Plans whose second row is not finite."""

    def plan(self, model, problems, seeds, on_step=None, start=None) -> Plans:
        plans = make_planner("gd", GD).plan(model, problems, seeds)
        cost = plans.cost.clone()
        cost[1] = math.inf
        return replace(plans, cost=cost, status=(PlanStatus.COMPLETED, PlanStatus.NON_FINITE))


def test_plans_that_are_not_finite_have_a_status_and_no_values() -> None:
    evaluator = Evaluator("cpu", load_plane, make_plane, lambda name, settings: Diverging())
    good, bad = evaluator.evaluate(Batch.of(plane_point(), (0, 1))).results
    assert (good.status, bad.status) == ("completed", "non_finite")
    assert good.predicted_cost is not None
    assert bad.predicted_cost is None
    assert bad.distance is not None


def test_records_say_where_they_come_from() -> None:
    (record,) = plane_evaluator().evaluate(Batch.of(plane_point(), (0,))).results
    assert record.device.startswith("cpu: ")
    assert record.threads == torch.get_num_threads()
    assert record.torch_version == torch.__version__
    assert (record.kernel, record.precision) == ("torch", "float32")
    assert (record.algorithm_version, record.task_version, record.loader_version, record.noise_seed) == (1, 1, 1, None)
    assert record.finished_at.utcoffset() is not None
    assert json.loads(record.planner_settings) == {**GD, "init_noise": 0}


def read_card(name: str) -> tuple[Mapping[str, object], str]:
    loaded = load_plane(name, "cpu")
    return {
        **loaded.card,
        "format": f"{PREFIX}residual-mlp/1",
        "model": {"action_dim": 2, "action_block": loaded.model.action_dim // 2},
    }, DIGEST


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mode": "closed_loop"}, "unknown execution mode 'closed_loop': did you mean 'open_loop'"),
        ({"mode": "mpc:9"}, "'mpc:9' never replans within horizon 8: choose 8 or less"),
        ({"mode": "mpc:0"}, "'mpc:0' does not say after how many environment steps"),
        ({"horizon": 0}, "horizon 0"),
        ({"horizon": -3}, "horizon -3"),
        ({"planner": Named.of("grps", {})}, "unknown planner 'grps': did you mean 'grasp'"),
        ({"planner": Named.of("gd", {"lr": -0.1})}, "lr"),
        ({"planner": Named.of("gd", {"learning_rate": 0.1})}, "learning_rate"),
        ({"task": Named.of("plane", {"speed": 0.2})}, "speed"),
        ({"task": Named.of("plane", {"action_block": 2})}, "action_block"),
        ({"model_digest": "fedcba"}, "it has changed"),
        ({"algorithm_version": 2}, "of version 2 of planner gd, and here is version 1"),
        ({"task_version": 2}, "of version 2 of task plane, and here is version 1"),
        ({"loader_version": 2}, "of version 2 of the loader of world model plane, and here is version 1"),
    ],
)
def test_points_that_cannot_be_planned_are_refused_before_anything_runs(change: dict, words: str) -> None:
    point = plane_point()
    check_point(point, make_plane, make_planner, read_card)
    with pytest.raises(UserError, match=words):
        check_point(replace(point, **change), make_plane, make_planner, read_card)


def test_a_mode_that_replans_inside_a_model_step_is_refused() -> None:
    point = replace(plane_point(8, "plane_2", {"action_block": 2}), mode="mpc:4")
    check_point(point, make_plane, make_planner, read_card)
    with pytest.raises(UserError, match="'mpc:3' replans inside a model step, which takes 2 environment steps: choose 4"):
        check_point(replace(point, mode="mpc:3"), make_plane, make_planner, read_card)


def test_a_horizon_without_problems_is_refused() -> None:
    point = Point(Named.of("push_t"), "plane", DIGEST, Named.of("gd", GD), 2)
    with pytest.raises(UserError, match="horizon 2 is too short"):
        check_point(point, read_card=read_card)
