"""TD-MPC2 checkpoints load, and give the numbers of the published architecture written out by hand."""

import math

import pytest
import torch

from planners import PLANNERS
from tests.support.planning import SETTINGS
from tests.support.planning import plan as plan_with
from tests.world_models.adapters.foreign import problems, stored, tdmpc2_state
from world_models.adapters import kinds
from world_models.adapters.tdmpc2 import files as tdmpc2
from world_models.adapters.tdmpc2.model import TDMPC2, TDMPC2Config
from world_models.errors import UserError
from world_models.tasks import make_task


def written_out(state, prefix, x):
    """linear -> LayerNorm -> Mish, and SimNorm in groups of 8 at the end: one row and one number at a time."""
    numbers = sorted({int(key.removeprefix(prefix).split(".")[0]) for key in state if key.startswith(prefix)})
    rows = []
    for row in x:
        for number in numbers:
            layer = f"{prefix}{number}"
            row = state[f"{layer}.weight"] @ row + state[f"{layer}.bias"]
            variance = (row - row.mean()).pow(2).mean()
            row = (row - row.mean()) / (variance + 1e-5).sqrt() * state[f"{layer}.ln.weight"] + state[f"{layer}.ln.bias"]
            if number != numbers[-1]:
                row = torch.stack([v * math.tanh(math.log1p(math.exp(v))) for v in row])
            else:
                row = torch.cat([part.exp() / part.exp().sum() for part in row.split(8)])
        rows.append(row)
    return torch.stack(rows)


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tdmpc2")
    state = tdmpc2_state(observation=10, action=10)
    torch.save({"model": state}, folder / "agent.pt")
    task = make_task("push_t", action_block=5)
    found = tdmpc2.recognise(folder / "agent.pt")
    assert found is not None
    return state, found, stored(tdmpc2.convert(found, task), task, folder / "imported")


def test_it_says_what_it_is(imported):
    _, found, loaded = imported
    assert (found.kind, found.action_size, found.observation_dim, found.sizes["latent"]) == ("tdmpc2", 10, 10, 512)
    assert loaded.model.state_shape == (512,)
    assert loaded.model.action_dim == 10
    assert loaded.model.history == 1
    assert loaded.sensors.kind == "state"
    assert loaded.decode is None
    assert set(loaded.goal_costs) == {"latent"}


def test_encode_and_step_are_the_published_formula(imported):
    state, _, loaded = imported
    observation, action = 3 * torch.randn(4, 10), torch.rand(4, 1, 10) * 2 - 1
    latent = loaded.model.encode(observation)
    torch.testing.assert_close(latent, written_out(state, "_encoder.state.", observation), atol=1e-5, rtol=0)
    following = written_out(state, "_dynamics.", torch.cat([latent, action[:, 0]], 1))
    torch.testing.assert_close(loaded.model.step(latent[:, None], action), following, atol=1e-5, rtol=0)
    torch.testing.assert_close(following.unflatten(1, (-1, 8)).sum(-1), torch.ones(4, 64))


@pytest.mark.parametrize("name", sorted(PLANNERS))
def test_it_plans_with_every_planner(imported, name):
    model = imported[2].model
    latents = model.encode(3 * torch.randn(4, 10, generator=torch.Generator().manual_seed(1)))
    settings = {"iterations": 3} | ({"sync_every": 2, "final_sync_steps": 1} if name == "grasp" else {})
    plans = plan_with(name, model, problems(model, latents), [0, 1], **settings)
    assert plans.actions.shape == (2, 3, 10)
    assert plans.actions.abs().max() <= 1
    assert torch.isfinite(plans.cost).all()
    assert set(SETTINGS) == set(PLANNERS)


def test_gradients_agree_with_finite_differences():
    torch.manual_seed(0)
    model = TDMPC2(TDMPC2Config(3, 2, 2, latent_dim=16, encoder_widths=(8,), dynamics_widths=(8, 8))).double()
    states, actions = model.encode(torch.randn(3, 3).double())[:, None], torch.randn(3, 1, 4).double()
    assert torch.autograd.gradcheck(model.step, (states.detach().requires_grad_(), actions.requires_grad_()))


def test_batch_splits_change_nothing(imported):
    model = imported[2].model
    observation, action = torch.randn(7, 10), torch.randn(7, 1, 10)
    latent = model.encode(observation)
    torch.testing.assert_close(torch.cat([model.encode(o[None]) for o in observation]), latent, atol=1e-5, rtol=0)
    one = torch.cat([model.step(z[None, None], a[None]) for z, a in zip(latent, action, strict=True)])
    torch.testing.assert_close(one, model.step(latent[:, None], action), atol=1e-5, rtol=0)


def test_other_sizes_are_read_off_the_shapes(tmp_path):
    state = tdmpc2_state(observation=2, action=2, latent=128, hidden=384)
    torch.save(state, tmp_path / "bare.pth")
    found = tdmpc2.recognise(tmp_path / "bare.pth")
    assert found is not None
    assert found.sizes == {
        "state observation": 2,
        "latent": 128,
        "encoder layers": 2,
        "dynamics width": 384,
        "history": 1,
    }


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"_task_emb.weight": torch.zeros(31, 96)}, "31 tasks, a set without known names"),
        ({"_encoder.rgb.2.weight": torch.zeros(32, 9, 7, 7)}, "stacked images"),
        ({"_dynamics.1.weight": None}, "not complete"),
        ({"_dynamics.2.weight": torch.zeros(512, 9)}, r"_dynamics\.2\.weight|dynamics\.2\.weight.*shape"),
        ({"_dynamics.0.ln.weight": None}, r"lacks the tensor dynamics\.0\.ln\.weight"),
        ({"_dynamics.0.bias": torch.full((512,), torch.nan)}, "not finite"),
        ({"_encoder.state.0.extra": torch.zeros(1)}, r"encoder\.0\.extra"),
    ],
)
def test_what_is_not_supported_is_refused(tmp_path, change, sentence):
    state = {**tdmpc2_state(10, 10), **change}
    torch.save({"model": {key: value for key, value in state.items() if value is not None}}, tmp_path / "agent.pt")
    task = make_task("push_t", action_block=5)
    with pytest.raises(UserError, match=sentence):
        stored(tdmpc2.convert(kinds.recognise(tmp_path / "agent.pt"), task), task, tmp_path / "imported")


def test_it_must_fit_the_task(imported):
    found = imported[1]
    with pytest.raises(UserError, match="observations of size 10, and task 'wall' gives 2"):
        tdmpc2.convert(found, make_task("wall", action_block=5))
    with pytest.raises(UserError, match="actions of size 10, and a model step of task 'push_t' has 2"):
        tdmpc2.convert(found, make_task("push_t"))


def test_other_files_are_not_recognised(tmp_path):
    torch.save({"model": {"encoder.weight": torch.zeros(2, 2)}}, tmp_path / "other.pt")
    assert tdmpc2.recognise(tmp_path / "other.pt") is None
