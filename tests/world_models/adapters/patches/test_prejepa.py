"""stable-worldmodel's PreJEPA is DINO-WM's model under other names, whatever the order of its embeddings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from tests.world_models.adapters import patch_formulas as formulas
from tests.world_models.adapters.foreign import stored
from tests.world_models.adapters.layouts import recorded
from world_models.adapters import kinds
from world_models.adapters.base import Found
from world_models.adapters.patches import prejepa
from world_models.adapters.patches.hub_dinov2 import from_hub
from world_models.adapters.patches.model import PatchModel
from world_models.adapters.trained_units import trained_units
from world_models.base import PixelObservation
from world_models.errors import UserError
from world_models.tasks import make_task

HEADS = {"predictor": {"heads": 3, "dim_head": 16}}
State = dict[str, Tensor]


def saved(folder: Path, state: State, config: dict[str, object] | None = None) -> Path:
    folder.mkdir(parents=True)
    torch.save(state, folder / "weights.pt")
    (folder / "config.json").write_text(json.dumps(HEADS if config is None else config), encoding="utf-8")
    return folder / "weights.pt"


def described(path: Path) -> Found:
    found = prejepa.recognise(path)
    assert found is not None
    return found


def model_of(path: Path, folder: Path) -> PatchModel:
    task = make_task("push_t", action_block=5)
    model = stored(kinds.convert(kinds.recognise(path), task), task, folder).model
    assert isinstance(model, PatchModel)
    return model


def observed() -> PixelObservation:
    generator = torch.Generator().manual_seed(2)
    pixels = torch.randint(0, 256, (2, 28, 28, 3), generator=generator, dtype=torch.uint8)
    return PixelObservation(pixels, 200 + 100 * torch.randn(2, 4, generator=generator))


def under(state: State, prefix: str) -> State:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def test_the_recorded_layout_is_recognised(tmp_path: Path) -> None:
    found = described(saved(tmp_path / "pusht", recorded("prejepa")))
    assert {key: found.sizes[key] for key in ("patches", "token", "history", "depth", "heads")} == {
        "patches": 4,
        "token": 152,
        "history": 3,
        "depth": 2,
        "heads": 3,
    }
    assert (found.action_size, found.proprioception_dim, found.sizes["environment"]) == (10, 4, "pusht")


def test_encoder_and_embedding_are_the_published_formulas(tmp_path: Path) -> None:
    state = recorded("prejepa")
    model, seen = model_of(saved(tmp_path / "pusht", state), tmp_path / "m"), observed()
    units = trained_units(make_task("push_t"))
    mean, deviation = torch.tensor(units.proprioception.mean), torch.tensor(units.proprioception.deviation)
    body = formulas.embed(under(state, "extra_encoders.proprio."), (seen.proprioception - mean).double() / deviation).float()
    states = model.encode(seen)
    torch.testing.assert_close(states[:, :, 128:], body[:, None].expand(-1, 4, -1), atol=1e-5, rtol=0)
    torch.testing.assert_close(states[:, :, :128], by_hand(under(state, "backbone."), seen.pixels), atol=2e-5, rtol=1e-5)


def by_hand(state: State, pixels: Tensor) -> Tensor:
    """DINOv2 under the names of transformers: normalised patch tokens of pictures of 28 px."""
    pictures = pixels.permute(0, 3, 1, 2) / 255.0
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    pictures = (pictures - mean[:, None, None]) / std[:, None, None]
    start = "embeddings.patch_embeddings.projection"
    tokens = F.conv2d(pictures, state[f"{start}.weight"], state[f"{start}.bias"], stride=14).flatten(2).mT
    tokens = torch.cat([state["embeddings.cls_token"].expand(len(tokens), -1, -1), tokens], 1)
    grid = state["embeddings.position_embeddings"][:, 1:].unflatten(1, (5, 5)).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, size=(2, 2), mode="bicubic", align_corners=False).flatten(2).mT
    tokens = tokens + torch.cat([state["embeddings.position_embeddings"][:, :1], grid], 1)

    def normed(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, (128,), state[f"{name}.weight"], state[f"{name}.bias"], 1e-6)

    def linear(x: Tensor, name: str) -> Tensor:
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    for number in range(2):
        layer = f"encoder.layer.{number}"
        x = normed(tokens, f"{layer}.norm1")
        q, k, v = (linear(x, f"{layer}.attention.{part}_proj").unflatten(-1, (2, 64)).transpose(1, 2) for part in "qkv")
        mixed = ((q @ k.mT / 8).softmax(-1) @ v).transpose(1, 2).flatten(2)
        tokens = tokens + state[f"{layer}.layer_scale1.lambda1"] * linear(mixed, f"{layer}.attention.o_proj")
        x = F.gelu(linear(normed(tokens, f"{layer}.norm2"), f"{layer}.mlp.fc1"))
        tokens = tokens + state[f"{layer}.layer_scale2.lambda1"] * linear(x, f"{layer}.mlp.fc2")
    return normed(tokens, "layernorm")[:, 1:]


def swapped(state: State) -> State:
    """The same function with the embedding of actions before that of proprioception."""
    order = torch.cat([torch.arange(128), torch.arange(137, 152), torch.arange(128, 137)])
    found = {}
    for name, value in state.items():
        inside = name.startswith("predictor.") and not (name.endswith(".0.bias") and value.ndim == 4)
        axes = [axis for axis, size in enumerate(value.shape) if size == 152] if inside else []
        found[name] = value.index_select(axes[0], order) if axes else value
    first = {name: value for name, value in found.items() if name.startswith("extra_encoders.action.")}
    rest = {name: value for name, value in found.items() if name not in first}
    return {**first, **rest}


def test_the_order_of_the_embeddings_is_that_of_the_file(tmp_path: Path) -> None:
    state = recorded("prejepa")
    one = model_of(saved(tmp_path / "a" / "pusht", state), tmp_path / "one")
    other = model_of(saved(tmp_path / "b" / "pusht", swapped(state)), tmp_path / "two")
    states, actions = one.encode(observed())[:, None], torch.rand(2, 1, 10) * 2 - 1
    torch.testing.assert_close(other.encode(observed())[:, None], states)
    torch.testing.assert_close(other.step(states, actions), one.step(states, actions), atol=1e-5, rtol=1e-5)


def test_a_safetensors_file_needs_its_config_for_the_order(tmp_path: Path) -> None:
    state = swapped(recorded("prejepa"))
    path = saved(tmp_path / "a" / "pusht", state)
    hub = tmp_path / "b" / "pusht" / "model.safetensors"
    hub.parent.mkdir(parents=True)
    save_file({name: value.contiguous() for name, value in state.items()}, hub)
    (hub.parent / "config.json").write_text(json.dumps(HEADS), encoding="utf-8")
    with pytest.raises(UserError, match=r"does not tell the order of proprio and action: put its config\.json beside it"):
        kinds.recognise(hub)
    config = {**HEADS, "extra_encoders": {"_target_": "torch.nn.ModuleDict", "modules": {"action": {}, "proprio": {}}}}
    (hub.parent / "config.json").write_text(json.dumps(config), encoding="utf-8")
    first, second = model_of(path, tmp_path / "one").state_dict(), model_of(hub, tmp_path / "two").state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_names_of_older_transformers_are_the_same_encoder() -> None:
    state = under(recorded("prejepa"), "backbone.")
    names = {
        f"attention.{new}_proj": f"attention.attention.{old}" for new, old in zip("qkv", ("query", "key", "value"), strict=True)
    }
    names["attention.o_proj"] = "attention.output.dense"
    older = dict(state)
    for new, old in names.items():
        older = {name.replace(f"attention.{new}", f"attention.{old}"): value for name, value in older.items()}
    ours, theirs = from_hub(state, 2, "new"), from_hub(older, 2, "old")
    assert ours[0] == theirs[0]
    assert all(torch.equal(ours[1][name], theirs[1][name]) for name in ours[1])


def without(state: State, *starts: str) -> State:
    return {name: value for name, value in state.items() if not name.startswith(starts)}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda s: without(s, "backbone.encoder.layer.0.layer_scale1"), "another encoder than DINOv2"),
        (lambda s: {**s, "backbone.embeddings.register_tokens": torch.zeros(1, 4, 128)}, "another encoder than DINOv2"),
        (lambda s: {**s, "extra_encoders.goal.patch_embed.weight": torch.zeros(3, 4, 1)}, "also takes goal"),
        (lambda s: without(s, "predictor.transformer.layers.0.0.bias"), "no causal mask"),
        (lambda s: without(s, "backbone.encoder.layer.1.attention.k_proj"), "lacks queries, keys or values"),
        (lambda s: without(s, "backbone.layernorm"), "inconsistent sizes"),
        (lambda s: {**s, "predictor.pos_embedding": torch.zeros(1, 11, 152)}, "do not divide into frames"),
        (lambda s: {**s, "backbone.embeddings.position_embeddings": torch.zeros(1, 7, 128)}, "form no square"),
    ],
)
def test_what_is_not_supported_is_refused(tmp_path: Path, change, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        kinds.recognise(saved(tmp_path / "pusht", change(recorded("prejepa"))))


def test_only_push_t_has_known_means_and_deviations(tmp_path: Path) -> None:
    state = recorded("prejepa")
    state["extra_encoders.proprio.patch_embed.weight"] = torch.zeros(9, 2, 1)
    path = saved(tmp_path / "wall", state)
    with pytest.raises(UserError, match="known for push_t and push_t_upstream only"):
        kinds.convert(kinds.recognise(path), make_task("wall", action_block=5))
    with pytest.raises(UserError, match="holds its encoder"):
        prejepa.convert(described(path), make_task("push_t", action_block=5), path)


def test_it_plans_without_proprioception(tmp_path: Path) -> None:
    """Its `dinowm_noprop`."""
    state = swapped(without(recorded("prejepa"), "extra_encoders.proprio."))
    narrow = {
        name: value.index_select(next(axis for axis, size in enumerate(value.shape) if size == 152), torch.arange(143))
        if name.startswith("predictor.") and 152 in value.shape
        else value
        for name, value in state.items()
    }
    model = model_of(saved(tmp_path / "pusht", narrow), tmp_path / "m")
    states = model.encode(observed())
    assert states.shape == (2, 4, 128)
    assert model.step(states[:, None], torch.zeros(2, 1, 10)).shape == (2, 4, 128)
