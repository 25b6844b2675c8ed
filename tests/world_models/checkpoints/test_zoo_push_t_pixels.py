"""The shipped pixel model of Push-T: its card holds the measured errors, and says that labels were used."""

from __future__ import annotations

import pytest

from world_models.checkpoints import store as checkpoints
from world_models.tasks import make_task
from world_models.training.frames import collect_frames
from world_models.training.pixel_card import encode_frames, probe_errors
from world_models.training.train import HELD_OUT_SEED

NAME = "push_t_pixels"
LARGEST = 12_000_000
"""Bytes of a shipped model, at most."""


@pytest.fixture(scope="module")
def loaded() -> checkpoints.LoadedModel:
    return checkpoints.load(NAME)


def test_open_loop_errors_of_the_linear_probe_are_those_of_the_card(loaded, tmp_path):
    """On trajectories that neither training nor the card has seen."""
    assert loaded.card["model"]["probe_width"] == 0
    assert loaded.card["labels"]["encoder"] == loaded.card["labels"]["probe"] == "observation"
    assert loaded.card["goal_cost"] == "probe"
    task = make_task("push_t")
    held_out = collect_frames(task, 50, 100, HELD_OUT_SEED + 1, 64, tmp_path)
    errors = probe_errors(loaded.model, loaded.decode, task, held_out, encode_frames(loaded.model, held_out))
    for part in ("agent_px", "block_px", "angle_deg"):
        for steps in ("1", "10", "25"):
            said, measured = loaded.card["open_loop_error"][part][steps], errors[part][steps]
            assert measured["model"] <= 1.5 * said["model"] + 1.0, (part, steps)
            assert measured["readout"] == pytest.approx(said["readout"], rel=0.3, abs=0.5), (part, steps)
            assert steps == "1" or measured["model"] < 0.5 * measured["persistence"], (part, steps)


def test_the_model_is_small() -> None:
    assert sum(path.stat().st_size for path in checkpoints.resolve(NAME).iterdir()) < LARGEST
