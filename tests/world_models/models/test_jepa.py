"""JEPA: derivatives to actions, rows that do not mix, normalisation, regularisers with known values, checkpoints."""

import numpy as np
import pytest
import torch

from world_models.base import Context, PixelObservation, rollout
from world_models.checkpoints import store as checkpoints
from world_models.errors import UnknownNameError, UserError
from world_models.models.encoders import ENCODERS, SoftArgmax
from world_models.models.jepa import JEPA, JEPAConfig
from world_models.models.probe import Probe, ProbeCost
from world_models.models.temporal import TemporalConfig, TemporalCost
from world_models.training.regularisers import REGULARISERS, sigreg, vicreg
from world_models.training.train_pixels import TrainedPixels, save

SMALL = {"action_dim": 2, "size": 32, "latent": 5, "encoder_width": 8, "width": 24, "depth": 2}


def small(dtype=torch.float32, **changes) -> JEPA:
    torch.manual_seed(0)
    model = JEPA(JEPAConfig(**{**SMALL, **changes}))
    model.delta_scale.uniform_(0.1, 0.5)
    model.state_std.uniform_(0.5, 2.0)
    model.picture_mean.uniform_(0.2, 0.8)
    return model.to(dtype).eval()


def pixel_observation(count: int, features: int = 0) -> PixelObservation:
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(0, 256, (count, 32, 32, 3), generator=generator, dtype=torch.uint8)
    return PixelObservation(pixels, torch.randn(count, features, generator=generator))


@pytest.mark.parametrize("encoder", sorted(ENCODERS))
@pytest.mark.parametrize("differences", [True, False])
def test_derivatives_of_a_step_and_a_rollout_agree_with_finite_differences(encoder, differences):
    model = small(torch.float64, encoder=encoder, differences=differences, action_block=2)
    start = model.encode(pixel_observation(3))
    actions = torch.randn(3, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2)).requires_grad_()
    context = Context.at(model, start.detach())
    assert torch.autograd.gradcheck(lambda a: rollout(model, context, a)[:, -1], actions)
    states = torch.randn(3, 3, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(model.step, (states, actions[:, :3].detach().requires_grad_()))


@pytest.mark.parametrize("encoder", sorted(ENCODERS))
def test_encode_and_step_do_not_depend_on_how_rows_are_batched(encoder):
    model, seen = small(encoder=encoder, proprioception=3), pixel_observation(9, 3)
    with torch.no_grad():
        whole = model.encode(seen)
        parts = [
            model.encode(PixelObservation(seen.pixels[i:j], seen.proprioception[i:j])) for i, j in ((0, 1), (1, 4), (4, 9))
        ]
        torch.testing.assert_close(torch.cat(parts), whole, rtol=1e-5, atol=1e-5)
        windows, actions = torch.randn(9, 3, 8), torch.randn(9, 3, 2)
        ahead = model.step(windows, actions)
        parts = [model.step(windows[i:j], actions[i:j]) for i, j in ((0, 1), (1, 4), (4, 9))]
        torch.testing.assert_close(torch.cat(parts), ahead, rtol=1e-5, atol=1e-5)


def test_the_history_is_seen_and_a_shift_of_time_is_not():
    model = small()
    windows, actions = torch.randn(4, 3, 5), torch.randn(4, 3, 2)
    ahead = model.step(windows, actions)
    for t in range(3):
        moved = windows.clone()
        moved[:, t] += 0.1
        assert (model.step(moved, actions) - ahead).abs().max() > 1e-4
        taken = actions.clone()
        taken[:, t] += 0.1
        assert (model.step(windows, taken) - ahead).abs().max() > 1e-4


def test_proprioception_is_the_normalised_end_of_a_state():
    model, seen = small(proprioception=2), pixel_observation(4, 2)
    states = model.encode(seen)
    expected = (seen.proprioception - model.state_mean[5:]) / model.state_std[5:]
    torch.testing.assert_close(states[:, 5:], expected)
    other = model.encode(PixelObservation(seen.pixels, seen.proprioception + 1))
    torch.testing.assert_close(other[:, :5], states[:, :5])


def test_calibration_gives_states_mean_zero_and_keeps_the_latents_shape():
    model = small(action_block=2)
    raw = torch.randn(50, 40, 5) * torch.tensor([3.0, 3.0, 0.1, 0.1, 0.0]) + 7.0
    model.state_mean.fill_(1.0)
    states = model.calibrate((raw - model.state_mean) / model.state_std)
    torch.testing.assert_close(states, (raw - model.state_mean) / model.state_std)
    torch.testing.assert_close(states.mean((0, 1)), torch.zeros(5), atol=1e-3, rtol=0)
    assert states[..., :2].std((0, 1)).sub(1).abs().max() < 0.05
    assert states[..., 2:].std((0, 1)).max() < 0.05  # what hardly varies stays small
    change = (states[:, 2:] - states[:, :-2]).std((0, 1))
    torch.testing.assert_close(model.delta_scale[:2], change[:2], rtol=0.01, atol=0)
    assert model.delta_scale.min() >= 0.099 * model.delta_scale.max()


def test_soft_argmax_finds_a_bright_cell():
    maps = torch.zeros(2, 3, 9, 9)
    maps[0, :, 2, 6] = 20.0
    maps[1, :, 8, 0] = 20.0
    positions = SoftArgmax(3)(maps)
    torch.testing.assert_close(positions[0], torch.tensor([0.5] * 3 + [-0.5] * 3), atol=1e-4, rtol=0)
    torch.testing.assert_close(positions[1], torch.tensor([-1.0] * 3 + [1.0] * 3), atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", sorted(REGULARISERS))
def test_regularisers_prefer_a_normal_cloud_to_collapse_and_to_a_line(name):
    generator = torch.Generator().manual_seed(0)
    normal = torch.randn(2000, 6, generator=generator)
    regular = REGULARISERS[name]
    good, collapsed, line = (
        float(regular(z, torch.Generator().manual_seed(5))) for z in (normal, 0.01 * normal, normal[:, :1].expand(-1, 6))
    )
    assert good < 0.05 * min(collapsed, line)


def test_regularisers_have_their_known_values():
    generator = torch.Generator().manual_seed(0)
    spread = torch.tensor([[1.0, 1.0], [-1.0, -1.0]]).repeat(200, 1) * 0.5
    std, covariance = np.sqrt(0.25 * 400 / 399 + 1e-4), 0.25 * 400 / 399
    assert float(vicreg(spread, generator)) == pytest.approx(1 - std + 2 * covariance**2 / 2 / 25, rel=1e-4)
    # Of a point at zero the characteristic function is 1: the integral of (1 - w)^2 w with w = exp(-t^2 / 2).
    t = np.linspace(0, 3, 17)
    w = np.exp(-(t**2) / 2)
    assert float(sigreg(torch.zeros(10, 3), generator)) == pytest.approx(np.trapezoid((1 - w) ** 2 * w, t), rel=1e-4)


def trained(**changes) -> TrainedPixels:
    model = small(**changes)
    torch.manual_seed(3)
    temporal = TemporalCost(TemporalConfig(model.config.state, 6, 12, 1))
    temporal.unit.fill_(17.0)
    probe = Probe(model.config.state, 2, 7)
    return TrainedPixels(model, temporal, probe, ProbeCost(probe, torch.tensor([0.5, 1.5])), "temporal")


def test_a_checkpoint_gives_back_model_costs_probe_and_senses(tmp_path):
    made = trained(proprioception=2)
    card = {"dynamics": {"name": "wall", "speed": 1.0, "action_block": 1}}
    loaded = checkpoints.load(str(save(tmp_path / "m", "m", made, card)))
    assert (loaded.sensors.kind, loaded.sensors.size, loaded.sensors.proprioception) == ("pixels", 32, 2)
    seen = pixel_observation(5, 2)
    states = loaded.model.encode(seen)
    torch.testing.assert_close(states, made.model.encode(seen), rtol=0, atol=1e-6)
    goals = states.flip(0)
    assert made.temporal is not None
    expected = {"temporal": made.temporal, "probe": made.probe_cost, "latent": lambda s, g: (s - g).square().mean(1)}
    assert set(loaded.goal_costs) == set(expected)
    for name, cost in expected.items():
        torch.testing.assert_close(loaded.with_goal_cost(name).goal_cost(states, goals), cost(states, goals))
    torch.testing.assert_close(loaded.goal_cost(states, goals), made.temporal(states, goals))
    assert loaded.decode is not None
    torch.testing.assert_close(loaded.decode(states), made.probe(states))


def test_what_does_not_fit_is_refused():
    model = small(proprioception=2)
    with pytest.raises(UserError, match=r"images of shape \(16, 16, 3\): the model takes 32 x 32"):
        model.encode(PixelObservation(torch.zeros(1, 16, 16, 3, dtype=torch.uint8), torch.zeros(1, 2)))
    with pytest.raises(UserError, match="0 proprioception features: the model takes 2"):
        model.encode(pixel_observation(1))
    with pytest.raises(UserError, match="latent 0 is not a valid size"):
        JEPAConfig(**{**SMALL, "latent": 0})
    with pytest.raises(UserError, match="size 40 is not a multiple of 16: choose 48"):
        JEPAConfig(**{**SMALL, "size": 40})
    with pytest.raises(UnknownNameError, match="convv"):
        JEPAConfig(**{**SMALL, "encoder": "convv"})
