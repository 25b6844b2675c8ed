"""A dataset of TwoRoom in stable-worldmodel's layout, and a small LeWM of upstream's classes trained on it in minutes.

Its encoder learns a fixed linear map of the position, its predictor the embeddings of the following frames from windows of one
to three of them: not LeWM's recipe, but weights that plan, and fail often enough to compare failures.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import Tensor, nn

from world_models.adapters.lewm.vit import IMAGENET_MEAN, IMAGENET_STD
from world_models.tasks import make_task

EPISODES, ROWS, SIDE, BLOCK = 60, 101, 224, 5
CHUNK = 128


def write_dataset(path: Path, episodes: int = EPISODES, rows: int = ROWS) -> Path:
    """Walks through TwoRoom with pictures, a row a step; the last action of an episode is not a number."""
    task = make_task("two_room")
    states, actions = task.sample(np.random.default_rng(0), episodes, rows - 1)
    actions = np.concatenate([actions, np.full_like(actions[:, :1], np.nan)], 1)
    with h5py.File(path, "w") as file:
        picture = (SIDE, SIDE, 3)
        pixels = file.create_dataset("pixels", (episodes * rows, *picture), "u1", chunks=(1, *picture), compression="lzf")
        for episode, walked in enumerate(states):
            pixels[episode * rows : (episode + 1) * rows] = task.pixels(walked, SIDE)  # pyright: ignore
        for name, values in (("state", states), ("proprio", states), ("action", actions)):
            file[name] = values.reshape(-1, 2).astype(np.float32)
        file["ep_len"], file["ep_offset"] = np.full(episodes, rows), np.arange(episodes) * rows
        file["ep_idx"], file["step_idx"] = np.repeat(np.arange(episodes), rows), np.tile(np.arange(rows), episodes)
    return path


def statistics(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of the recorded actions."""
    with h5py.File(path) as file:
        actions = np.asarray(file["action"])
    actions = actions[np.isfinite(actions).all(1)].astype(np.float64)
    return actions.mean(0), actions.std(0)


def train(model: Any, path: Path, steps: int, seed: int = 0) -> nn.Module:
    """Train a model of theirs on the dataset, in place: `steps` batches of frames, then twice as many of windows."""
    torch.manual_seed(seed)
    mean, std = (torch.tensor(each, dtype=torch.float32) for each in statistics(path))
    with h5py.File(path) as file:
        pixels, lengths = np.asarray(file["pixels"]), np.asarray(file["ep_len"])
        states, actions = (torch.as_tensor(np.asarray(file[name])) for name in ("state", "action"))
    rows = int(lengths[0])
    map_ = torch.linalg.qr(torch.randn(model.pred_proj.output_dim, 2))[0] * model.pred_proj.output_dim**0.5
    targets = ((states - 112.0) / 55.0) @ map_.T
    optimiser = torch.optim.AdamW([*model.encoder.parameters(), *model.projector.parameters()], 1e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps)
    model.train()
    loss = targets.new_zeros(())
    for _ in range(steps):
        chosen = torch.randint(len(pixels), (CHUNK,))
        loss = (_embedded(model, pixels[chosen.numpy()]) - targets[chosen]).square().mean()
        _stepped(optimiser, schedule, loss)
    print(f"encoder: loss {loss.item():.3g}", flush=True)
    model.eval()
    with torch.no_grad():
        parts = [_embedded(model, pixels[first : first + CHUNK]) for first in range(0, len(pixels), CHUNK)]
    frames = torch.cat(parts).unflatten(0, (-1, rows))
    taken = ((actions - mean) / std).unflatten(0, (-1, rows))
    network = [*model.predictor.parameters(), *model.action_encoder.parameters(), *model.pred_proj.parameters()]
    optimiser = torch.optim.AdamW(network, 1e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=2 * steps)
    model.train()
    window = torch.arange(4) * BLOCK
    for _ in range(2 * steps):
        episode, first = torch.randint(len(frames), (CHUNK,)), torch.randint(rows - 1 - 3 * BLOCK, (CHUNK,))
        seen = frames[episode[:, None], first[:, None] + window]
        blocks = first[:, None] + torch.arange(3 * BLOCK)
        acted = taken[episode[:, None], blocks].reshape(CHUNK, 3, -1)
        loss = (model.predict(seen[:, :3], model.action_encoder(acted)) - seen[:, 1:]).square().mean()
        _stepped(optimiser, schedule, loss)
    print(f"predictor: loss {loss.item():.3g}", flush=True)
    return model.eval()


def _embedded(model: Any, pixels: np.ndarray) -> Tensor:
    scaled = torch.from_numpy(pixels).float() / 255
    mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
    return model.encode({"pixels": ((scaled - mean) / std).permute(0, 3, 1, 2)[:, None]})["emb"][:, 0]


def _stepped(optimiser: torch.optim.Optimizer, schedule: Any, loss: Tensor) -> None:
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    schedule.step()
