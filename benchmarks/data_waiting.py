"""How long training waits for recorded data: the part of `python -m benchmarks.data` that trains."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.training import share
from sweeps.config.compose import compose
from sweeps.config.schema.configs import TrainConfig
from world_models.datasets import Episodes, open_dataset
from world_models.datasets.problems.columns import columns_for
from world_models.models.mlp import MLPConfig
from world_models.tasks.wall import Wall
from world_models.training.fit_states import FitSettings, WindowBatch, scaled_model, state_stage
from world_models.training.loop import run_stage
from world_models.training.pixel_settings import PixelTrainSettings
from world_models.training.recorded.frames import PictureColumns, cut, recorded_frames
from world_models.training.recorded.source import Source
from world_models.training.train_pixels import PixelTrainer

WALL = Wall()
EPISODES, LENGTH = 60, 100
PICTURE_STEPS = 40
"""Gradient steps of the encoder."""
STATE_STEPS = (120, 40, 20)
"""Gradient steps of a state model, by the steps for which it is unrolled."""


def write_wall(path: Path) -> None:
    """Write episodes of the wall with pictures of 96 px as stable-worldmodel does."""
    import h5py

    states, actions = WALL.sample(np.random.default_rng(0), EPISODES, LENGTH)
    flat = states.reshape(-1, states.shape[2])
    with h5py.File(path, "w") as file:
        pixels = file.create_dataset("pixels", (len(flat), 96, 96, 3), np.uint8, chunks=(1, 96, 96, 3))
        for begin in range(0, len(flat), 256):
            pixels[begin : begin + 256] = WALL.pixels(flat[begin : begin + 256], 96)
        file["observation"] = flat.astype(np.float32)
        taken = np.concatenate([actions, np.full_like(actions[:, :1], np.nan)], axis=1)
        file["action"] = taken.reshape(len(flat), -1).astype(np.float32)
        file["ep_len"] = np.full(EPISODES, LENGTH + 1)
        file["ep_offset"] = np.arange(EPISODES) * (LENGTH + 1)


def wait_shares(folder: Path) -> dict[str, float]:
    """Shares of the training time of a state model and of an encoder that are spent waiting for batches of recorded data."""
    write_wall(folder / "wall.h5")
    data = open_dataset(folder / "wall.h5")
    found = {"wait_share_mlp": round(of_states(data), 4), "wait_share_jepa": round(of_pictures(data, folder), 4)}
    return {"wait_share": max(found.values()), **found}


def of_states(data: Episodes) -> float:
    """The share with the default settings, but for fewer steps."""
    settings = FitSettings(steps=STATE_STEPS)
    source = Source.of(data, columns_for(WALL, data), np.arange(EPISODES), WALL.action_block)

    def make(step: int) -> WindowBatch:
        return source.draw(step, settings.batch_size, settings.unroll_at(step), settings.seed, settings.abrupt_share)

    scale = (torch.from_numpy(each).float() for each in (source.scale.mean, source.scale.std, source.scale.change))
    model = scaled_model(MLPConfig(2, 2, WALL.action_block, 256, 3), settings.seed, *scale)
    return share(run_stage(state_stage(model, make, settings, prefetch=True)))


def of_pictures(data: Episodes, folder: Path) -> float:
    """The share of the stage of `wall_pixels` that sees pictures."""
    settings = PixelTrainSettings.of(compose(TrainConfig, ["world_model=wall_pixels"]).config.world_model.train)
    settings = replace(settings, encoder=replace(settings.encoder, steps=PICTURE_STEPS))
    columns = PictureColumns(columns_for(WALL, data), "pixels")
    frames = recorded_frames(data, columns, cut(data, np.arange(EPISODES), LENGTH), LENGTH, settings.size, folder)
    trainer = PixelTrainer(WALL, settings, torch.device("cpu"), None, None)
    trainer.encoder(frames)
    return share(trainer.reports["encoder"])
