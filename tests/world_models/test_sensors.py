"""Observations of a model: state observations or pictures, the same in any batch; those that do not fit are refused."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import Tensor

from orchestrator.artifacts.drawing import Drawing, RenderJob
from orchestrator.artifacts.selection import SelectedCell
from orchestrator.core.batch import Batch
from orchestrator.testing import DIGEST, Plane, PlaneModel, load_plane, make_plane, plane_point
from orchestrator.workers.backend import evaluated
from orchestrator.workers.evaluator import Evaluator
from world_models import sensors
from world_models.base import PixelObservation, SquaredDistance
from world_models.checkpoints.store import LoadedModel, check_goal_cost
from world_models.errors import UnknownNameError, UserError
from world_models.sensors import STATE, Sensors


@dataclass(frozen=True)
class Lights(Plane):
    """A plane whose pictures are two lights, as bright as the coordinates."""

    name = "plane"
    proprioception_dim = 2

    def pixels(self, states: np.ndarray, size: int) -> np.ndarray:
        picture = np.zeros((len(states), size, size, 3), np.uint8)
        picture[:, 0, :2, 0] = np.clip(128 + 16 * states, 0, 255).round()
        return picture

    def proprioception(self, states: np.ndarray) -> np.ndarray:
        return 2 * states


class Reader(PlaneModel):
    """A model that reads the coordinates off the lights."""

    def encode(self, observation: PixelObservation) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return (observation.pixels[:, 0, :2, 0].float() - 128) / 16


def test_states_are_observed_as_the_task_observes_them() -> None:
    states = np.random.default_rng(0).normal(size=(5, 2))
    observed = STATE.observe(Plane(), states, torch.device("cpu"), torch.float64)
    assert isinstance(observed, Tensor)
    assert torch.equal(observed, torch.from_numpy(states))


def test_pictures_come_with_the_requested_proprioception(monkeypatch: pytest.MonkeyPatch) -> None:
    states = np.random.default_rng(0).normal(size=(7, 2))
    for features in (0, 2):
        observation = Sensors("pixels", 8, features).observe(Lights(), states, torch.device("cpu"), torch.float32)
        assert isinstance(observation, PixelObservation)
        assert observation.pixels.shape == (7, 8, 8, 3)
        assert torch.allclose(observation.proprioception, torch.from_numpy(2 * states[:, :features]).float())
    whole = Sensors("pixels", 8).encode(Reader(), Lights(), states)
    assert torch.allclose(whole, torch.from_numpy(states).float(), atol=1 / 32)
    monkeypatch.setattr(sensors, "PICTURES_AT_ONCE", 3)
    assert torch.equal(Sensors("pixels", 8).encode(Reader(), Lights(), states), whole)


def test_sensors_round_trip_through_a_card_and_nonsense_is_refused() -> None:
    eyes = Sensors("pixels", 224, 4)
    assert Sensors.of({"sensors": eyes.as_card()}) == eyes
    assert Sensors.of({}) == STATE
    with pytest.raises(UnknownNameError, match="pixel"):
        Sensors("pixel")
    with pytest.raises(UserError, match="sensors 'eyes' of a model card"):
        Sensors.of({"sensors": "eyes"})
    with pytest.raises(UserError, match="needs images, and task 'plane' renders none"):
        eyes.check(Plane(), "m")
    with pytest.raises(UserError, match="takes 4 proprioception features, and task 'plane' has 2"):
        eyes.check(Lights(), "m")
    replace(eyes, proprioception=2).check(Lights(), "m")
    STATE.check(Plane(), "m")


def test_a_cell_is_planned_from_pictures_and_without_a_decoder_success_in_the_model_is_unknown() -> None:
    def load(name: str, device: str) -> LoadedModel:
        card = {"name": name, "goal_costs": ["latent", "twice"], "goal_cost": "latent"}
        costs = {"latent": SquaredDistance(), "twice": lambda states, goals: 2 * SquaredDistance()(states, goals)}
        return LoadedModel(name, Reader(), costs["latent"], None, card, DIGEST, sensors=Sensors("pixels", 8), goal_costs=costs)

    def lights(name: str, **settings: object) -> Lights:
        return Lights(**settings)  # pyright: ignore[reportArgumentType]

    evaluator = Evaluator("cpu", load, lights)
    point = plane_point(8)
    result = evaluator.evaluate(Batch.of(point, (0, 1)))
    seen = Evaluator("cpu", load_plane, make_plane).evaluate(Batch.of(point, (0, 1)))
    render_job = RenderJob(0, result.results[0].actions)
    drawn = evaluator.draw(Drawing(point, (SelectedCell(0, ()),), (render_job,), video=False))
    assert [artifact.name for artifact in drawn.artifacts] == ["0.gif", "0.png", "0.parquet"]  # without the model's prediction
    for blind, sharp in zip(result.results, seen.results, strict=True):
        assert blind.error is None
        assert (blind.model_success, blind.model_distance) == (None, None)
        assert blind.distance == pytest.approx(sharp.distance, abs=0.1)  # lights have 256 levels
    twice = evaluator.evaluate(Batch.of(replace(point, goal_cost="twice"), (0,))).results[0]
    assert twice.goal_cost == "twice"
    assert result.results[0].predicted_cost is not None
    failed = evaluated(evaluator, Batch.of(replace(point, goal_cost="thrice"), (0,))).results[0]
    assert failed.error is not None
    assert "unknown goal cost of world model 'plane' 'thrice': did you mean 'twice'?" in failed.error


def test_goal_costs_are_checked_against_the_card_before_anything_runs() -> None:
    card = {"name": "m", "goal_costs": ["latent", "temporal"], "goal_cost": "temporal"}
    check_goal_cost(card, None, 0.0)
    check_goal_cost(card, "latent", 0.0)
    with pytest.raises(UnknownNameError, match="did you mean 'temporal'"):
        check_goal_cost(card, "temporl", 0.0)
    with pytest.raises(UserError, match=r"disagreement 0\.1 needs an ensemble, and world model 'm' is not one"):
        check_goal_cost(card, None, 0.1)
    with pytest.raises(UnknownNameError, match="'latent'"):
        check_goal_cost({"name": "m"}, "latent", 0.0)
