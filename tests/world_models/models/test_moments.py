"""Moments of feature maps: invariant where they should be, and rotated as shapes rotate."""

import numpy as np
import pytest
import torch

from world_models.models.encoders import ENCODERS, Moments
from world_models.tasks.push_t import PushT

SIZE = 32
NAMES = ("mass", "x", "y", "spread", "difference", "mixed", "xxx", "xxy", "xyy", "yyy")


def _features(maps: torch.Tensor) -> dict[str, np.ndarray]:
    values = Moments(SIZE)(maps[:, None].float()).double().numpy()
    return dict(zip(NAMES, values.T, strict=True))


def _blob(generator: torch.Generator) -> torch.Tensor:
    maps = torch.zeros(4, SIZE, SIZE)
    maps[:, 8:15, 6:16] = torch.rand(4, 7, 10, generator=generator)
    return maps


def test_moments_agree_with_sums_over_cells():
    maps = _blob(torch.Generator().manual_seed(0))
    found = _features(maps)
    line = (np.arange(SIZE) + 0.5) / SIZE * 2 - 1
    for row, mass in enumerate(maps.double().numpy()):
        mean_x, mean_y = (mass.sum(0) * line).sum() / mass.sum(), (mass.sum(1) * line).sum() / mass.sum()
        x, y = np.meshgrid(line - mean_x, line - mean_y)

        def about(i: int, j: int, x: np.ndarray = x, y: np.ndarray = y, mass: np.ndarray = mass) -> float:
            return float((mass * x**i * y**j).sum() / mass.sum())

        spread = about(2, 0) + about(0, 2)
        assert found["x"][row] == pytest.approx(mean_x, abs=1e-3)
        assert found["y"][row] == pytest.approx(mean_y, abs=1e-3)
        assert found["mixed"][row] == pytest.approx(2 * about(1, 1) / spread, abs=5e-3)
        assert found["difference"][row] == pytest.approx((about(2, 0) - about(0, 2)) / spread, abs=5e-3)
        assert found["xxy"][row] == pytest.approx(about(2, 1) / spread**1.5, abs=5e-3)
        assert found["yyy"][row] == pytest.approx(about(0, 3) / spread**1.5, abs=5e-3)


def test_only_the_position_changes_when_a_shape_moves():
    maps = _blob(torch.Generator().manual_seed(1))
    before, after = _features(maps), _features(maps.roll((9, 4), (1, 2)))
    assert np.allclose(after["x"] - before["x"], 4 * 2 / SIZE, atol=1e-3)
    assert np.allclose(after["y"] - before["y"], 9 * 2 / SIZE, atol=1e-3)
    for name in set(NAMES) - {"x", "y"}:
        assert np.allclose(before[name], after[name], atol=5e-3), name


def test_moments_rotate_with_a_shape():
    """A quarter turn takes (x, y) to (-y, x)."""
    maps = _blob(torch.Generator().manual_seed(2))
    before, after = _features(maps), _features(maps.rot90(-1, (1, 2)))
    for turned, was, sign in (("x", "y", -1), ("y", "x", 1), ("difference", "difference", -1), ("mixed", "mixed", -1)):
        assert np.allclose(after[turned], sign * before[was], atol=1e-4), turned
    for turned, was, sign in (("xxx", "yyy", -1), ("xxy", "xyy", 1), ("xyy", "xxy", -1), ("yyy", "xxx", 1)):
        assert np.allclose(after[turned], sign * before[was], atol=1e-4), turned


def test_an_empty_picture_has_finite_features_and_gradients():
    maps = torch.zeros(2, 3, SIZE, SIZE, requires_grad=True)
    features = Moments(SIZE)(maps)
    features.sum().backward()
    assert maps.grad is not None
    assert torch.isfinite(features).all()
    assert torch.isfinite(maps.grad).all()


def test_the_encoder_learns_where_a_block_heads_from_few_pictures():
    task, rng = PushT(), np.random.default_rng(0)
    states = np.zeros((640, 10))
    states[:, 4:6], states[:, 6] = rng.uniform(180, 332, (640, 2)), rng.uniform(-np.pi, np.pi, 640)
    seen = (torch.from_numpy(task.pixels(states, 64)).float().permute(0, 3, 1, 2) / 255 - 0.9) * 3
    heading = torch.from_numpy(np.stack([np.cos(states[:, 6]), np.sin(states[:, 6])], 1)).float()
    torch.manual_seed(0)
    encoder = ENCODERS["moments"](64, 2, 8)
    optimiser = torch.optim.Adam(encoder.parameters(), 5e-3)
    for step in range(250):
        rows = torch.from_numpy(np.random.default_rng(step).integers(512, size=64))
        loss = (encoder(seen[rows]) - heading[rows]).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        missed = (encoder(seen[512:]) - heading[512:]).square().mean()
    assert missed < 0.4 * heading.square().mean()
