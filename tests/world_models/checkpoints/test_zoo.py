"""The shipped models: open-loop error on held-out trajectories, no leaks through walls, cards that tell the truth."""

import numpy as np
import pytest
import torch

from world_models.base import Context, rollout
from world_models.checkpoints import store as checkpoints
from world_models.tasks import make_task
from world_models.training.assess import open_loop_errors
from world_models.training.data import Dataset, collect
from world_models.training.train import HELD_OUT_SEED

LIMITS = {
    "wall": ("position_px", {"1": 0.03, "50": 0.4, "100": 0.8}),
    "wall_slow": ("position_px", {"1": 0.02, "50": 0.3, "100": 0.7}),
    "push_t": ("block_px", {"1": 1.5, "20": 10.0, "50": 30.0}),
    "pendulum": ("distance_tolerances", {"1": 0.02, "20": 0.2, "50": 0.8}),
    "reacher": ("distance_tolerances", {"1": 0.2, "20": 0.8, "50": 1.6}),
    "cartpole": ("distance_tolerances", {"1": 0.02, "10": 0.3, "20": 1.5}),
}
"""Limits of the mean open-loop error, by number of environment steps."""

SCRIPTED = {
    "cartpole": {
        "behaviour": "scripted",
        "features": ["cart_m", "cart_m_s", "pole_rad", "pole_rad_s"],
        "tolerance": [0.1, 0.5, 0.05, 0.5],
    }
}
"""Settings of tasks whose training data come from a script, by model: a card has the settings of the dynamics only."""
STATE_MODELS = [name for name in checkpoints.zoo_names() if "sensors" not in checkpoints.read_card(name)[0]]
"""State models; models of pictures are tested in tests/world_models/checkpoints/test_zoo_pixels.py."""


def task_of(card):
    settings = dict(card["dynamics"]) | SCRIPTED.get(card["name"], {})
    return make_task(settings.pop("name"), **settings)


@pytest.fixture(scope="module")
def held_out():
    """Held-out stretches by model name, collected anew (fewer than the cards use)."""
    kept: dict[str, Dataset] = {}

    def get(name: str) -> Dataset:
        if name not in kept:
            task = task_of(checkpoints.read_card(name)[0])
            kept[name] = collect(task, 100, 150, HELD_OUT_SEED + 1).windows(100, 25)
        return kept[name]

    return get


@pytest.mark.parametrize("name", STATE_MODELS)
def test_open_loop_error_is_within_its_limit(name, held_out):
    loaded = checkpoints.load(name)
    task = task_of(loaded.card)
    errors = open_loop_errors(loaded.model, loaded.decode, task, held_out(name))
    if name in LIMITS:
        part, limits = LIMITS[name]
        measured = {n: errors[part][n]["model"] for n in limits}
        assert all(measured[n] <= limit for n, limit in limits.items()), measured
    else:
        error = errors["position_m"]["50"]
        assert error["model"] <= 0.1 * error["persistence"], error


@pytest.mark.parametrize("name", STATE_MODELS)
def test_cards_say_what_is_measured(name, held_out):
    loaded = checkpoints.load(name)
    errors = open_loop_errors(loaded.model, loaded.decode, task_of(loaded.card), held_out(name))
    for part, by_steps in errors.items():
        for steps in ("1", "50"):
            said = loaded.card["open_loop_error"][part][steps]
            assert by_steps[steps]["persistence"] == pytest.approx(said["persistence"], rel=0.35, abs=0.02)
            assert by_steps[steps]["model"] <= 2.0 * said["model"] + 1e-3
    assert loaded.card["goal_cost_rank_correlation"] > 0.9


@pytest.mark.parametrize("name", ["wall", "wall_slow"])
def test_the_wall_models_never_go_through_the_wall(name):
    loaded = checkpoints.load(name)
    rng = np.random.default_rng(5)
    side = np.where(rng.random(500) < 0.5, -1.0, 1.0)
    start = np.stack([np.where(side < 0, 29.0, 35.0) + side * rng.uniform(0, 8, 500), rng.uniform(22, 58, 500)], 1)
    actions = np.stack([-side[:, None] * rng.uniform(0.3, 1.0, (500, 40)), rng.uniform(-0.2, 0.2, (500, 40))], -1)
    with torch.no_grad():
        state = loaded.model.encode(torch.from_numpy(start))
        states = rollout(loaded.model, Context.at(loaded.model, state), torch.from_numpy(actions).float())
        positions = loaded.decode(states).numpy()
    depth = np.where(side[:, None] < 0, positions[..., 0] - 29.0, 35.0 - positions[..., 0])
    assert depth.max() < 1.0, f"a push went {depth.max():.2f} px into the wall"


@pytest.mark.parametrize("name", STATE_MODELS)
def test_weights_are_small_enough_to_ship(name):
    assert (checkpoints.resolve(name) / "model.safetensors").stat().st_size < 4e6


@pytest.mark.parametrize("name", STATE_MODELS)
def test_action_gradients_agree_with_finite_differences(name):
    loaded = checkpoints.load(name, dtype=torch.float64)
    torch.manual_seed(0)
    states = torch.randn(4, 1, *loaded.model.state_shape, dtype=torch.float64)
    actions = (0.5 * torch.randn(4, 1, loaded.model.action_dim, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(lambda a: loaded.model.step(states, a), actions, eps=1e-6, atol=1e-5)


def test_the_zoo_holds_a_model_for_every_task():
    names = {checkpoints.read_card(name)[0]["dynamics"]["name"] for name in checkpoints.zoo_names()}
    assert names == {"wall", "point_maze", "push_t", "gymnasium"}
