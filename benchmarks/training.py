"""Training throughput of pixel models: `python -m benchmarks.training`.

Trains the first stage of `wall_pixels`, the one that sees pictures, on all cores for a while, and prints the frames per second
and the share of the time spent waiting for data. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

from sweeps.config.compose import compose
from sweeps.config.schema.configs import TrainConfig
from world_models.tasks import make_task
from world_models.training.frames import collect_frames
from world_models.training.loop import LoopReport
from world_models.training.pixel_card import encode_frames
from world_models.training.pixel_settings import PixelTrainSettings
from world_models.training.train_pixels import PixelTrainer


def main() -> None:
    """Measure and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=100, help="gradient steps")
    parser.add_argument("--trajectories", type=int, default=200, help="trajectories to draw batches from")
    arguments = parser.parse_args()
    settings = PixelTrainSettings.of(compose(TrainConfig, ["world_model=wall_pixels"]).config.world_model.train)
    settings = replace(settings, encoder=replace(settings.encoder, steps=arguments.steps))
    task = make_task("wall")
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        frames = collect_frames(task, arguments.trajectories, settings.length, 0, settings.size, Path(folder))
        collected = len(frames.offsets) - 1
        print(f"collected and drew {collected} frames in {time.monotonic() - began:.1f} s")
        trainer = PixelTrainer(task, settings, torch.device("cpu"), None, None)
        model = trainer.encoder(frames)
        report = trainer.reports["encoder"]
        began = time.monotonic()
        encode_frames(model, frames)
        encoded = collected / (time.monotonic() - began)
    seen = report.steps * settings.encoder.batch_size * (model.history + settings.encoder.unroll)
    figures = {
        "frames_per_s": round(seen / report.seconds, 1),
        "data_wait_share": round(share(report), 4),
        "encode_frames_per_s": round(encoded, 1),
        "threads": torch.get_num_threads(),
    }
    print(f"{seen} frames in {report.seconds:.1f} s of training, {report.waited:.2f} s of them waiting for data")
    print(f"encoding alone takes {figures['encode_frames_per_s']} frames/s")
    print(json.dumps(figures))


def share(report: LoopReport) -> float:
    """Share of the training time that was spent waiting for data."""
    return report.waited / max(report.seconds, 1e-9)


if __name__ == "__main__":
    main()
