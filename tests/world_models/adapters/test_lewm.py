"""LeWM checkpoints load, and give the numbers of the published architecture written out by hand."""

import json
import math

import pytest
import torch
from torch.nn.functional import gelu, silu

from planners import PLANNERS
from tests.support.planning import plan as plan_with
from tests.world_models.adapters.foreign import SMALL, LeWMSizes, lewm_state, problems, save_whole_module, stored
from world_models.adapters.lewm import files as lewm
from world_models.adapters.lewm.model import LeWM
from world_models.adapters.lewm.reading import own_name
from world_models.base import PixelObservation
from world_models.errors import UserError
from world_models.tasks import make_task

MEAN, STD = torch.tensor([-0.0087, 0.0068]), torch.tensor([0.2019, 0.2002])
"""Mean and deviation of the actions in Push-T's expert data."""


def linear(state, name, x):
    bias = state.get(f"{name}.bias")
    return x @ state[f"{name}.weight"].T + (0 if bias is None else bias)


def normed(state, name, x, eps=1e-5):
    centred = x - x.mean(-1, keepdim=True)
    x = centred / (centred.pow(2).mean(-1, keepdim=True) + eps).sqrt()
    return x if name is None else x * state[f"{name}.weight"] + state[f"{name}.bias"]


def attended(query, key, value, causal):
    """Attention computed head by head and frame by frame."""
    result = torch.zeros_like(query)
    for t in range(len(query)):
        seen = t + 1 if causal else len(key)
        scores = key[:seen] @ query[t] / math.sqrt(query.shape[-1])
        result[t] = scores.softmax(0) @ value[:seen]
    return result


def projected(state, name, x):
    hidden = linear(state, f"{name}.net.0", x)
    scale = state[f"{name}.net.1.weight"] / (state[f"{name}.net.1.running_var"] + 1e-5).sqrt()
    hidden = (hidden - state[f"{name}.net.1.running_mean"]) * scale + state[f"{name}.net.1.bias"]
    return linear(state, f"{name}.net.3", gelu(hidden))


def encoded(state, picture, patch, heads):
    """The latent of one picture, from a state dict with the published (transformers 4) names."""
    x = (picture.double().float() / 255 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    kernel = state["encoder.embeddings.patch_embeddings.projection.weight"]
    tokens = [state["encoder.embeddings.cls_token"][0, 0]]
    for top in range(0, x.shape[0], patch):
        for left in range(0, x.shape[1], patch):
            window = x[top : top + patch, left : left + patch].permute(2, 0, 1)
            bias = state["encoder.embeddings.patch_embeddings.projection.bias"]
            tokens.append((kernel * window).sum((1, 2, 3)) + bias)
    x = torch.stack(tokens) + state["encoder.embeddings.position_embeddings"][0]
    depth = len({key.split(".")[3] for key in state if key.startswith("encoder.encoder.layer.")})
    for number in range(depth):
        layer = f"encoder.encoder.layer.{number}"
        inner = normed(state, f"{layer}.layernorm_before", x, 1e-12)
        names = [f"{layer}.attention.attention.{name}" for name in ("query", "key", "value")]
        parts = [linear(state, name, inner).chunk(heads, -1) for name in names]
        mixed = torch.cat([attended(q, k, v, causal=False) for q, k, v in zip(*parts, strict=True)], -1)
        x = x + linear(state, f"{layer}.attention.output.dense", mixed)
        hidden = linear(state, f"{layer}.intermediate.dense", normed(state, f"{layer}.layernorm_after", x, 1e-12))
        x = x + linear(state, f"{layer}.output.dense", gelu(hidden))
    return projected(state, "projector", normed(state, "encoder.layernorm", x, 1e-12)[0])


def predicted(state, latents, actions, heads):
    """The latent that follows one window; actions in [-1, 1]."""
    taken = torch.cat([(part - MEAN) / STD for part in actions.split(2, -1)], -1)
    taken = taken @ state["action_encoder.patch_embed.weight"][:, :, 0].T + state["action_encoder.patch_embed.bias"]
    condition = linear(state, "action_encoder.embed.2", silu(linear(state, "action_encoder.embed.0", taken)))
    x = latents + state["predictor.pos_embedding"][0]
    if "predictor.transformer.input_proj.weight" in state:
        x = linear(state, "predictor.transformer.input_proj", x)
        condition = linear(state, "predictor.transformer.cond_proj", condition)
    depth = len({key.split(".")[3] for key in state if key.startswith("predictor.transformer.layers.")})
    for number in range(depth):
        layer = f"predictor.transformer.layers.{number}"
        shift, scale, gate, shift2, scale2, gate2 = linear(state, f"{layer}.adaLN_modulation.1", silu(condition)).chunk(6, -1)
        inner = normed(state, f"{layer}.attn.norm", normed(state, None, x, 1e-6) * (1 + scale) + shift)
        parts = [part.chunk(heads, -1) for part in linear(state, f"{layer}.attn.to_qkv", inner).chunk(3, -1)]
        mixed = torch.cat([attended(q, k, v, causal=True) for q, k, v in zip(*parts, strict=True)], -1)
        x = x + gate * linear(state, f"{layer}.attn.to_out.0", mixed)
        inner = normed(state, f"{layer}.mlp.net.0", normed(state, None, x, 1e-6) * (1 + scale2) + shift2)
        x = x + gate2 * linear(state, f"{layer}.mlp.net.4", gelu(linear(state, f"{layer}.mlp.net.1", inner)))
    x = normed(state, "predictor.transformer.norm", x)[-1]
    if "predictor.transformer.output_proj.weight" in state:
        x = linear(state, "predictor.transformer.output_proj", x)
    return projected(state, "pred_proj", x)


def pictures(count, size, seed=0):
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, size, size, 3), dtype=torch.uint8, generator=generator)
    return PixelObservation(pixels, torch.zeros(count, 0))


def imported_from(folder, state, task=None):
    torch.save(state, folder / "weights.pt")
    task = task or make_task("push_t", action_block=5)
    found = lewm.recognise(folder / "weights.pt")
    assert found is not None
    return stored(lewm.convert(found, task), task, folder / "imported")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    state = lewm_state(SMALL)
    return state, imported_from(tmp_path_factory.mktemp("small"), state)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    state = lewm_state()
    return state, imported_from(tmp_path_factory.mktemp("published"), state)


def test_the_published_layout_has_the_published_size(published):
    state, loaded = published
    learned = sum(value.numel() for key, value in state.items() if "running" not in key and "num_batches" not in key)
    assert learned == 18_034_478
    model = loaded.model
    assert (model.state_shape, model.action_dim, model.history) == ((192,), 10, 3)
    assert loaded.sensors.kind == "pixels"
    assert (loaded.sensors.size, loaded.sensors.proprioception) == (224, 0)
    assert loaded.decode is None
    assert set(loaded.goal_costs) == {"latent"}


@pytest.mark.parametrize("which", ["small", "published"])
def test_encode_and_step_are_the_published_formula(request, which):
    state, loaded = request.getfixturevalue(which)
    model, size = loaded.model, loaded.sensors.size
    observation = pictures(1, size)
    wanted = encoded(state, observation.pixels[0], patch=14, heads=state["encoder.layernorm.weight"].numel() // 64)
    torch.testing.assert_close(model.encode(observation)[0], wanted, atol=1e-5, rtol=1e-5)
    latents, actions = torch.randn(2, 3, *model.state_shape), torch.rand(2, 3, 10) * 2 - 1
    heads = state["predictor.transformer.layers.0.attn.to_qkv.weight"].shape[0] // 3 // 64
    wanted = torch.stack([predicted(state, z, a, heads) for z, a in zip(latents, actions, strict=True)])
    torch.testing.assert_close(model.step(latents, actions), wanted, atol=1e-5, rtol=1e-5)


def test_the_past_matters_and_the_last_action_too(small):
    model = small[1].model
    states, actions = torch.randn(1, 3, 24), torch.zeros(1, 3, 10)
    following = model.step(states, actions)
    for t in range(3):
        other = actions.clone()
        other[:, t] = 0.5
        assert (model.step(states, other) - following).abs().max() > 1e-4
        moved = states.clone()
        moved[:, t] += 0.5
        assert (model.step(moved, actions) - following).abs().max() > 1e-4


def test_both_namings_of_the_vit_and_every_wrapping_are_the_same_model(tmp_path, small):
    old, new = lewm_state(SMALL), lewm_state(SMALL, old_names=False)
    for key, value in old.items():
        new[own_name(key)].copy_(value)
    save_whole_module(tmp_path / "lewm_object.ckpt", old)
    torch.save({"state_dict": {f"model.{key}": value for key, value in old.items()}, "epoch": 3}, tmp_path / "lightning.ckpt")
    torch.save(new, tmp_path / "new.pt")
    task = make_task("push_t", action_block=5)
    for file in ("lewm_object.ckpt", "lightning.ckpt", "new.pt"):
        found = lewm.recognise(tmp_path / file)
        assert found is not None
        loaded = stored(lewm.convert(found, task), task, tmp_path / "imported")
        assert loaded.digest == small[1].digest


def test_the_statistics_of_actions_are_those_of_the_training_data(small):
    mean, deviation = small[1].model.action_statistics()
    torch.testing.assert_close(mean, torch.tensor([-0.0087, 0.0068]))
    torch.testing.assert_close(deviation, torch.tensor([0.2019, 0.2002]))


@pytest.mark.parametrize("name", sorted(PLANNERS))
def test_it_plans_with_every_planner(small, name):
    model = small[1].model
    latents = model.encode(pictures(4, 28))
    settings = {"iterations": 3} | ({"sync_every": 2, "final_sync_steps": 1} if name == "grasp" else {})
    plans = plan_with(name, model, problems(model, latents), [0, 1], **settings)
    assert plans.actions.shape == (2, 3, 10)
    assert plans.actions.abs().max() <= 1
    assert torch.isfinite(plans.cost).all()


def test_gradients_agree_with_finite_differences(tmp_path):
    tiny = LeWMSizes(image=14, vit=64, vit_depth=1, latent=4, width=6, depth=2, inner=64, mlp=5, projector=5)
    model = imported_from(tmp_path, lewm_state(tiny)).model
    assert isinstance(model, LeWM)
    model.double()
    states, actions = torch.randn(2, 3, 4).double().requires_grad_(), torch.randn(2, 3, 10).double().requires_grad_()
    assert torch.autograd.gradcheck(model.step, (states, actions))
    assert torch.autograd.gradgradcheck(lambda a: model.step(states.detach(), a).square().sum(), (actions,))


def test_batch_splits_change_nothing(small):
    model = small[1].model
    observation = pictures(5, 28)
    latents = model.encode(observation)
    one = [
        model.encode(PixelObservation(observation.pixels[i : i + 1], observation.proprioception[i : i + 1])) for i in range(5)
    ]
    torch.testing.assert_close(torch.cat(one), latents, atol=1e-5, rtol=0)
    states, actions = torch.randn(5, 3, 24), torch.randn(5, 3, 10)
    one = torch.cat([model.step(states[i : i + 1], actions[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(one, model.step(states, actions), atol=1e-5, rtol=0)
    model.train()
    torch.testing.assert_close(model.step(states[:1], actions[:1]), one[:1], atol=1e-5, rtol=0)
    model.eval()


def test_pictures_of_another_size_are_refused(small):
    with pytest.raises(UserError, match="32 x 32 px: this encoder takes 28 x 28"):
        small[1].model.encode(pictures(1, 32))


def test_config_json_gives_the_number_of_heads(tmp_path):
    torch.save(lewm_state(SMALL), tmp_path / "weights.pt")
    config = {"encoder": {"size": "tiny"}, "predictor": {"heads": 4, "dim_head": 32}}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(UserError, match="patches must tile the image"):
        lewm.recognise(tmp_path / "weights.pt")
    config["encoder"] |= {"num_attention_heads": 2}
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    found = lewm.recognise(tmp_path / "weights.pt")
    assert found is not None
    assert found.sizes["encoder"].endswith("2 heads")
    del config["encoder"]
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    found = lewm.recognise(tmp_path / "weights.pt")
    assert found is not None
    assert found.sizes["predictor"] == "16 wide, 2 deep, 4 heads"
    config["predictor"]["heads"] = 5
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(UserError, match=r"128 attention features, its config\.json 5 x 32"):
        lewm.recognise(tmp_path / "weights.pt")


def test_actions_of_a_task_without_statistics_pass_as_they_are(tmp_path):
    loaded = imported_from(tmp_path, lewm_state(SMALL), make_task("wall", action_block=5))
    assert isinstance(loaded.model, LeWM)
    assert loaded.model.action_mean.tolist() == [0, 0]
    assert loaded.model.action_std.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"projector.net.0.weight": None}, r"no valid tensor projector\.net\.0\.weight"),
        ({"predictor.transformer.layers.1.attn.to_out.0.bias": None}, "lacks the tensor"),
        ({"pred_proj.net.3.weight": torch.zeros(24, 3)}, r"pred_proj\.net\.3\.weight has shape \[24, 3\], expected \[24, 40\]"),
        ({"encoder.embeddings.position_embeddings": torch.zeros(1, 4, 64)}, "position_embeddings has shape"),
        ({"decoder.weight": torch.zeros(3)}, r"has the tensor decoder\.weight"),
        ({"pred_proj.net.3.bias": torch.full((24,), torch.inf)}, "not finite"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, change, sentence):
    state = {key: value for key, value in {**lewm_state(SMALL), **change}.items() if value is not None}
    with pytest.raises(UserError, match=sentence):
        imported_from(tmp_path, state)


def test_it_must_fit_the_task(tmp_path):
    with pytest.raises(UserError, match=r"a model step of task 'push_t' has 2.*set action_block to 5"):
        imported_from(tmp_path, lewm_state(SMALL), make_task("push_t"))
