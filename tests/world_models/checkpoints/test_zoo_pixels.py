"""The shipped pixel model of the wall: its card holds the measured errors, and its temporal cost grows with the way."""

from __future__ import annotations

import pytest

from world_models.checkpoints import store as checkpoints
from world_models.tasks import make_task
from world_models.training.frames import Frames, collect_frames
from world_models.training.pixel_card import encode_frames, probe_errors, rank_correlations
from world_models.training.train import HELD_OUT_SEED

NAME = "wall_pixels"
LARGEST = 12_000_000
"""Bytes of a shipped model, at most."""


@pytest.fixture(scope="module")
def loaded() -> checkpoints.LoadedModel:
    return checkpoints.load(NAME)


@pytest.fixture(scope="module")
def held_out(tmp_path_factory: pytest.TempPathFactory) -> Frames:
    """Trajectories that neither training nor the card has seen."""
    return collect_frames(make_task("wall"), 50, 100, HELD_OUT_SEED + 1, 64, tmp_path_factory.mktemp("frames"))


def test_open_loop_errors_are_those_of_the_card(loaded, held_out):
    errors = probe_errors(loaded.model, loaded.decode, make_task("wall"), held_out, encode_frames(loaded.model, held_out))
    for steps in ("1", "10", "50"):
        said, measured = (entry["position_px"][steps] for entry in (loaded.card["open_loop_error"], errors))
        assert measured["model"] <= 2.0 * said["model"] + 0.1  # a few large misses at corners decide the mean
        assert measured["readout"] == pytest.approx(said["readout"], abs=0.1)
    assert errors["position_px"]["50"]["model"] < 2.0


def test_the_temporal_cost_grows_with_the_way_over_all_distances_and_within_each_band(loaded, held_out):
    states = encode_frames(loaded.model, held_out)
    found = rank_correlations(loaded.goal_costs, make_task("wall"), held_out.observations, states)
    bands = found["temporal"]
    assert set(bands) == {"all", "0-5", "5-10", "10-20", "20-40", "40+"}
    assert bands.pop("all") >= 0.95
    assert min(bands.values()) >= 0.7
    assert found["latent"]["40+"] < 0.3  # straight distance says little about ways round the wall
    assert loaded.card["labels"] == {"encoder": "none", "latent": "none", "probe": "observation", "temporal": "none"}
    assert loaded.card["goal_cost"] == "temporal"


def test_the_model_is_small() -> None:
    assert sum(path.stat().st_size for path in checkpoints.resolve(NAME).iterdir()) < LARGEST
