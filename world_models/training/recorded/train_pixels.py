"""Training of a pixel model from recorded episodes. No simulator runs; a killed run resumes when started again."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from world_models.datasets import open_dataset, split_episodes
from world_models.datasets.problems.columns import columns_for
from world_models.datasets.problems.pictures import picture_column
from world_models.parts import Parts
from world_models.tasks import Task
from world_models.training.loop import Progress
from world_models.training.machine.pools import Pool
from world_models.training.pixel_card import pixel_card
from world_models.training.pixel_settings import PixelTrainSettings
from world_models.training.recorded.frames import PictureColumns, RecordedFrames, cut, proprioception_for, recorded_frames
from world_models.training.recorded.train import STEPS, RecordedData, described
from world_models.training.train_pixels import HELD_OUT, PixelTrainer, train_and_save


def train_recorded_pixels(
    name: str,
    task: Task,
    settings: PixelTrainSettings,
    out: Path,
    progress: Progress | None = None,
    device: torch.device | str = "cpu",
    data_folder: Path | None = None,
    pool: Pool | None = None,
    *,
    recorded: RecordedData,
) -> Path:
    """Train the pixel model `name` of `task` from a dataset into the checkpoint folder `out` and return it.

    Pictures, observations (the labels of the probe and the card) and actions come from the dataset alone. Each episode is cut
    into trajectories of `settings.length` steps, whose pictures are kept in `data_folder` in the model's size. An interrupted
    run resumes where it last saved. The predictors of an ensemble are trained by `pool`. Raises UserError for a dataset that
    does not fit.
    """
    out.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    folder = data_folder or out.parent / "data"
    data = open_dataset(recorded.path, recorded.kind)
    pixels = picture_column(data, recorded.pixels)
    numbers = columns_for(task, data, recorded.observation, recorded.action)
    wanted = settings.proprioception or settings.encoder.labels == "proprioception"
    features = proprioception_for(task, data, recorded.proprioception) if wanted else 0
    columns = PictureColumns(numbers, pixels, recorded.proprioception if wanted else None, features)
    training, validation = split_episodes(len(data.lengths), recorded.validation, recorded.seed)
    starts, judged = cut(data, training, settings.length), cut(data, validation, settings.length)
    judged = judged[np.linspace(0, len(judged) - 1, min(HELD_OUT, len(judged))).astype(int)]

    def read(these: np.ndarray) -> RecordedFrames:
        def reported(done: int, total: int) -> None:
            if progress is not None:
                progress("read", done, total, float("nan"))

        return recorded_frames(data, columns, these, settings.length, settings.size, folder, reported)

    frames, held_out = read(starts), read(judged)
    entry = {
        **described(data, data.digest(), columns.names, recorded, len(training), len(validation)),
        "trajectories": frames.trajectories,
        "frames": frames.count,
        "training_rows": int(data.lengths[training].sum()),
    }
    seconds = time.monotonic() - began
    trainer = PixelTrainer(task, settings, torch.device(device), out, progress, pool)

    def describe(parts: Parts) -> Mapping[str, object]:
        return pixel_card(parts, task, settings, held_out, STEPS)

    return train_and_save(name, out, trainer, frames, describe, entry, {"read": seconds})
