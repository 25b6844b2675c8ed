"""Noise belongs to a row: its seed, purpose and iteration decide, and nothing else."""

from __future__ import annotations

import torch

from planners.search.noise import RowNoise


def test_noise_belongs_to_the_row() -> None:
    like = torch.zeros(1)
    many = RowNoise([5, 6, 7], "states", (40, 4), like)
    alone = RowNoise([6], "states", (40, 4), like)
    other = RowNoise([6], "actions", (40, 4), like)
    later = RowNoise([6], "states", (40, 4), like)
    draws = [many.at(i) for i in range(200)]
    for i, draw in enumerate(draws):
        assert torch.equal(alone.at(i)[0], draw[1])
    assert torch.equal(later.at(150)[0], draws[150][1]), "iterations may be skipped"
    assert not torch.equal(other.at(0)[0], draws[0][1])
    flat = torch.stack(draws)
    assert abs(flat.mean()) < 0.01
    assert abs(flat.std() - 1) < 0.01
    assert len({float(x) for x in flat[:, :, 0, 0].flatten()}) == 600, "no number is drawn twice"
    rows = flat.movedim(1, 0).flatten(1)
    assert (torch.corrcoef(rows) - torch.eye(3)).abs().max() < 0.03


def test_noise_in_double_precision_is_the_same_noise() -> None:
    single = RowNoise([3], "states", (5, 2), torch.zeros(1)).at(4)
    double = RowNoise([3], "states", (5, 2), torch.zeros(1, dtype=torch.float64)).at(4)
    assert torch.equal(single.double(), double)
