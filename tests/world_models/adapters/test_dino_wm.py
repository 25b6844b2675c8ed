"""DINO-WM's checkpoints: the published layout loads, equals the formulas, and plans."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from planners import PLANNERS, ModelProblems, PlanStatus
from tests.support.planning import plan
from tests.world_models.adapters import patch_formulas as formulas
from tests.world_models.adapters.published import DinoWM, classes, dino_wm_file, dinov2_file, dinov2_shapes, drawn
from world_models.adapters.base import Imported
from world_models.adapters.patches import dino_wm
from world_models.adapters.patches.dinov2 import DinoConfig, DinoV2
from world_models.adapters.patches.importing import RENDERING
from world_models.adapters.patches.model import PatchConfig, PatchGoalCost, PatchModel
from world_models.adapters.trained_units import trained_units
from world_models.base import Context, PixelObservation, QuadraticCost, StandardisedModel, WorldModel, rollout
from world_models.checkpoints import store as checkpoints
from world_models.tasks import Task, make_task

__all__ = ["classes"]

Classes = Mapping[str, type[nn.Module]]
HALF = (0.5, 0.5, 0.5)
PROPRIO = ((236.6155, 264.5674, -2.93032027, 2.54307914), (101.1202, 87.0112, 74.84556075, 74.14009094))
ACTION = ((-0.0087, 0.0068), (0.2019, 0.2002))
SETTINGS = """
img_size: 224
frameskip: 5
concat_dim: 1
num_hist: 3
num_action_repeat: 1
num_proprio_repeat: 1
normalize_action: true
ckpt_base_path: ${oc.env:HOME}
env: {name: pusht}
encoder: {_target_: models.dino.DinoV2Encoder, name: dinov2_vits14, feature_key: x_norm_patchtokens}
"""


def normalised(values: Tensor, constants: tuple[tuple[float, ...], tuple[float, ...]]) -> Tensor:
    mean, deviation = (torch.tensor(part, dtype=torch.float64) for part in constants)
    return (values.double() - mean) / deviation


def pixel_observation(count: int, proprioception: int, size: int = 224) -> PixelObservation:
    generator = torch.Generator().manual_seed(9)
    pixels = torch.randint(0, 256, (count, size // 16, size // 16, 3), generator=generator)
    pixels = pixels.repeat_interleave(16, 1).repeat_interleave(16, 2).to(torch.uint8)
    return PixelObservation(pixels, 100 * torch.randn(count, proprioception, generator=generator, dtype=torch.float64))


def load(folder: Path, made: Imported, task: Task, dtype: torch.dtype = torch.float64) -> checkpoints.LoadedModel:
    card = {
        "dynamics": dict(task.dynamics),
        "sensors": dict(made.sensors),
        "goal_cost": made.goal_cost,
        "goal_costs": ["latent"],
    }
    return checkpoints.load(str(checkpoints.write(folder, made.format, "m", made.config, made.tensors, card)), dtype=dtype)


def small(predictor: str = "causal-vit", dtype: torch.dtype = torch.float64, **changes: object) -> PatchModel:
    """A model with all parts of the published ones, small: four patches, pictures of 28 px."""
    encoder = DinoConfig(width=12, depth=2, heads=2, hidden=24, grid=3)
    sizes: dict[str, object] = {"history": 2, "frames": 3, "side": 2, "depth": 2, "heads": 2, "hidden": 24, "head_dim": 6}
    embedding = 3 if predictor == "causal-vit" else 10 + 4
    rest = {"width": 10, "action_embedding": embedding, "proprioception": 4, "body_embedding": 4, "picture": 32}
    full = {"action_dim": 2, "action_block": 2, "predictor": predictor, "encoder": encoder, **sizes, **rest, **changes}
    model = PatchModel(PatchConfig(**full))  # pyright: ignore
    model.load_state_dict(drawn({name: tuple(value.shape) for name, value in model.state_dict().items()}, 6))
    for units in (model.action_units, model.body_units):
        assert units is not None
        units.weight.copy_(torch.eye(len(units.bias)) * 1.7)
    return model.to(dtype).requires_grad_(False).eval()


def test_the_published_layout_loads_and_equals_the_formulas(classes: Classes, tmp_path: Path) -> None:
    path, states = dino_wm_file(tmp_path, classes, DinoWM(), SETTINGS)
    weights, encoder = dinov2_file(tmp_path)
    found = dino_wm.recognise(path)
    assert found is not None
    assert (found.action_size, found.action_block, found.proprioception_dim) == (10, 5, 4)
    assert found.needs == ("dinov2_vits14 weights",)
    assert {key: found.sizes[key] for key in ("patches", "token", "history", "depth", "heads")} == {
        "patches": 196,
        "token": 404,
        "history": 3,
        "depth": 6,
        "heads": 16,
    }
    task = make_task("push_t", action_block=5)
    made = dino_wm.convert(found, task, weights)
    assert json.loads(json.dumps(made.config))["action_block"] == 5
    assert RENDERING in made.notes
    loaded = load(tmp_path / "imported", made, task)
    model = loaded.model
    assert isinstance(model, WorldModel)
    assert (model.state_shape, model.action_dim, model.history) == ((196, 394), 10, 3)
    assert (loaded.sensors.kind, loaded.sensors.size, loaded.sensors.proprioception) == ("pixels", 224, 4)
    seen = pixel_observation(3, 4)
    encoded = model.encode(seen)
    proprioception = formulas.embed(states["proprio_encoder"], normalised(seen.proprioception, PROPRIO))
    expected = [
        torch.cat([formulas.dinov2(encoder, formulas.picture(pixels, HALF, HALF, 196), 6), row.expand(196, -1)], 1)
        for pixels, row in zip(seen.pixels, proprioception, strict=True)
    ]
    torch.testing.assert_close(encoded, torch.stack(expected), rtol=1e-5, atol=1e-5)
    actions = torch.rand(1, 3, 10, dtype=torch.float64) * 2 - 1
    embedded = formulas.embed(states["action_encoder"], normalised(actions.view(3, 5, 2), ACTION).flatten(1))
    tokens = [torch.cat([state, row.expand(196, -1)], 1) for state, row in zip(expected, embedded, strict=True)]
    following = formulas.causal_vit(states["predictor"], tokens, 16)[-1][:, :394]
    torch.testing.assert_close(model.step(torch.stack(expected)[None], actions)[0], following, rtol=1e-5, atol=1e-5)
    picture = (following - expected[0])[:, :384].square().mean()
    proprioception_error = (following - expected[0])[0, 384:].square().mean()
    torch.testing.assert_close(loaded.goal_cost(following[None], expected[0][None])[0], picture + proprioception_error)


def test_the_checkpoint_in_float32_agrees_with_itself_in_float64(classes: Classes, tmp_path: Path) -> None:
    path, _ = dino_wm_file(tmp_path, classes, DinoWM(depth=2))
    weights, _ = dinov2_file(tmp_path, depth=1)
    found = dino_wm.recognise(path)
    assert found is not None
    task = make_task("push_t", action_block=5)
    made = dino_wm.convert(found, task, weights)
    single, double = (load(tmp_path / "imported", made, task, dtype).model for dtype in (torch.float32, torch.float64))
    torch.manual_seed(0)
    states, actions = torch.randn(2, 3, 196, 394), torch.rand(2, 3, 10)
    close = {"rtol": 1e-5, "atol": 1e-5}
    torch.testing.assert_close(single.step(states, actions).double(), double.step(states.double(), actions.double()), **close)
    alone = torch.cat([single.step(states[i : i + 1], actions[i : i + 1]) for i in range(2)])
    torch.testing.assert_close(single.step(states, actions), alone, **close)


@pytest.mark.parametrize("predictor", ["causal-vit", "modulated-vit"])
def test_gradients_with_respect_to_actions_and_states_are_those_of_finite_differences(predictor: str) -> None:
    model = small(predictor)
    torch.manual_seed(1)
    states = torch.randn(2, 2, *model.state_shape, dtype=torch.float64, requires_grad=True)
    actions = torch.rand(2, 2, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(model.step, (states, actions))


@pytest.mark.parametrize("predictor", ["causal-vit", "modulated-vit"])
def test_any_batch_split_gives_the_same(predictor: str) -> None:
    model = small(predictor, torch.float32)
    torch.manual_seed(1)
    states, actions = torch.randn(5, 2, *model.state_shape), torch.rand(5, 2, 4)
    together = model.step(states, actions)
    parts = [model.step(states[rows], actions[rows]) for rows in (slice(0, 2), slice(2, 3), slice(3, 5))]
    torch.testing.assert_close(together, torch.cat(parts), rtol=1e-5, atol=1e-5)
    seen = pixel_observation(4, 4, 32)
    encoded = [
        model.encode(PixelObservation(seen.pixels[rows], seen.proprioception[rows])) for rows in (slice(0, 1), slice(1, 4))
    ]
    torch.testing.assert_close(model.encode(seen), torch.cat(encoded), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("predictor", ["causal-vit", "modulated-vit"])
def test_no_frame_sees_the_future_and_all_see_the_past(predictor: str) -> None:
    """The state after a window depends on all of its frames and actions; one that is shortened by its last frame does not."""
    model = small(predictor)
    torch.manual_seed(2)
    states = torch.randn(1, 2, *model.state_shape, dtype=torch.float64, requires_grad=True)
    actions = torch.rand(1, 2, 4, dtype=torch.float64, requires_grad=True)
    by_state, by_action = torch.autograd.grad(model.step(states, actions).sum(), (states, actions))
    assert (by_state.abs().amax((0, 2, 3)) > 1e-6).all()
    assert (by_action.abs().amax((0, 2)) > 1e-6).all()


@pytest.mark.parametrize("name", ["push_t", "wall", "point_maze"])
def test_the_statistics_of_actions_are_those_of_the_training_data_in_our_units(name: str) -> None:
    """Point maze's axes are swapped and one is turned round."""
    model, task = small(), make_task(name, action_block=2)
    weight, bias = trained_units(task).action.tensors(normalised=True)
    model.action_units.weight.copy_(weight)
    model.action_units.bias.copy_(bias)
    assert isinstance(model, StandardisedModel)
    mean, deviation = model.action_statistics()
    torch.testing.assert_close(model.action_units(mean), torch.zeros(2).double(), atol=1e-6, rtol=0)
    for axis in torch.eye(2, dtype=torch.float64):
        moved = model.action_units(mean + axis * deviation)
        torch.testing.assert_close(moved.abs().sort().values, torch.tensor([0.0, 1.0]).double(), atol=1e-6, rtol=0)
    if name == "push_t":
        torch.testing.assert_close(torch.stack([mean, deviation]).float(), torch.tensor(ACTION))


@pytest.mark.parametrize("name", sorted(PLANNERS))
@pytest.mark.parametrize("predictor", ["causal-vit", "modulated-vit"])
def test_every_planner_plans(name: str, predictor: str) -> None:
    model = small(predictor, torch.float32)
    states = model.encode(pixel_observation(4, 4, 32))
    high = torch.ones(model.action_dim)
    cost = PatchGoalCost(12, 4, 0.5, all_patches=False)
    problems = ModelProblems(Context.at(model, states[:2]), states[2:], 3, -high, high, cost)
    quick = {} if name == "latco" else {"iterations": 6}
    done = plan(name, model, problems, [1, 2], **quick)
    assert done.status == (PlanStatus.COMPLETED,) * 2
    torch.testing.assert_close(done.states, rollout(model, problems.context, done.actions), rtol=1e-4, atol=1e-4)
    assert (done.trace.diff(dim=1) <= 0).all()
    assert torch.isfinite(done.cost).all()


@pytest.mark.parametrize("everywhere", [False, True])
def test_the_goal_cost_is_the_published_objective(everywhere: bool) -> None:
    cost = PatchGoalCost(6, 2, 0.3, everywhere)
    torch.manual_seed(3)
    states, goals = torch.randn(2, 4, 5, 9, dtype=torch.float64)
    proprioception = (states - goals)[:, :, 6:8] if everywhere else (states - goals)[:, :1, 6:8]
    expected = (states - goals)[..., :6].square().mean((1, 2)) + 0.3 * proprioception.square().mean((1, 2))
    torch.testing.assert_close(cost(states, goals), expected)
    assert isinstance(cost, QuadraticCost)
    weighted = ((states - goals).square() * cost.feature_weights(goals)).mean((1, 2))
    torch.testing.assert_close(weighted, expected)


def test_the_encoder_with_registers_skips_them() -> None:
    shapes = {**dinov2_shapes(12, 1, 24, 10), "register_tokens": (1, 3, 12)}
    shapes.pop("mask_token")
    model = DinoV2(DinoConfig(width=12, depth=1, heads=2, hidden=24, grid=3, registers=3)).double()
    model.load_state_dict(drawn(shapes, 1))
    tokens = model(torch.randn(2, 3, 42, 42, dtype=torch.float64))
    assert tokens.shape == (2, 9, 12)


def test_wall_units_are_positions_in_px_and_half_displacements() -> None:
    """An action of theirs moves the point by twice its size; constants as jepa-wms publishes them."""
    units = trained_units(make_task("wall", speed=3.0, action_block=5))
    weight, bias = units.action.tensors(normalised=False)
    action = torch.tensor([0.4, -1.0])
    theirs = weight @ action + bias
    torch.testing.assert_close(2 * theirs, 3.0 * action)
    weight, bias = units.proprioception.tensors(normalised=True)
    torch.testing.assert_close(
        weight @ torch.tensor([31.8945 + 17.6635, 31.8140]) + bias, torch.tensor([1.0, 0.0]), atol=1e-4, rtol=0
    )


def test_units_of_the_wall_as_dino_wm_has_it_are_its_own_actions() -> None:
    """An action of 1 is 1.8 of theirs, or what the setting says."""
    for bound in (1.8, 1.0):
        weight, bias = trained_units(make_task("wall_dino", bound=bound)).action.tensors(normalised=False)
        torch.testing.assert_close(weight, bound * torch.eye(2))
        assert not bias.any()
    maze = trained_units(make_task("point_maze_dino"))
    torch.testing.assert_close(maze.proprioception.tensors(normalised=False), (torch.eye(4), torch.zeros(4)))
    assert maze.quarter_turns == 0


def test_point_maze_units_turn_our_maze_onto_theirs() -> None:
    """D4RL's U: rows of its text run along x, columns along y; a cell (i, j) is centred at (i - 0.2, j - 0.2)."""
    rows = ["#####", "#GOO#", "###O#", "#OOO#", "#####"]
    theirs = {(i - 0.2, j - 0.2) for i, row in enumerate(rows) for j, cell in enumerate(row) if cell != "#"}
    task = make_task("point_maze", action_block=5)
    units = trained_units(task)
    weight, bias = (part.double() for part in units.proprioception.tensors(normalised=False))
    centres = torch.tensor(task.layout.centres)  # pyright: ignore
    moved = torch.cat([centres, torch.zeros_like(centres)], 1) @ weight.T + bias
    assert {(round(x, 6), round(y, 6)) for x, y in moved[:, :2].tolist()} == {(round(x, 6), round(y, 6)) for x, y in theirs}
    assert np.linalg.det(weight[:2, :2].numpy()) == pytest.approx(1.0), "a rotation: pictures can follow it"
    force, zero = units.action.tensors(normalised=False)
    torch.testing.assert_close(force.double(), weight[2:, 2:])
    assert not zero.any()
    dot = torch.zeros(5, 5)
    dot[1, 4] = 1.0  # row 1 from the top, at the right: up and to the right
    position = dot.rot90(units.quarter_turns).nonzero()[0]
    turned = torch.tensor([position[1] - 2.0, 2.0 - position[0]])
    torch.testing.assert_close(turned, weight[:2, :2].float() @ torch.tensor([2.0, 1.0]))


@pytest.mark.parametrize(
    "task", [make_task("wall", action_block=5), make_task("point_maze", action_block=5)], ids=["wall", "maze"]
)
def test_observations_are_read_back_off_the_states_where_proprioception_is_all_there_is(
    classes: Classes, tmp_path: Path, task: Task
) -> None:
    """Real pictures and proprioception of a task are encoded by its sensors and decoded again."""
    sizes = DinoWM(visual=24, patches=4, frames=2, depth=1, heads=2, head_dim=8, hidden=32, proprioception=task.observation_dim)
    path, _ = dino_wm_file(tmp_path, classes, sizes)
    weights, _ = dinov2_file(tmp_path, width=24, depth=1, hidden=48, positions=10)
    found = dino_wm.recognise(path)
    assert found is not None
    loaded = load(tmp_path / "imported", dino_wm.convert(found, task, weights), task)
    states, _ = task.sample(np.random.default_rng(0), 2, 5)
    encoded = loaded.sensors.encode(loaded.model, task, states[:, -1])
    assert encoded.shape == (2, 4, 34)
    assert loaded.decode is not None
    np.testing.assert_allclose(loaded.decode(encoded).numpy(), task.observe(states[:, -1]), atol=1e-4)
