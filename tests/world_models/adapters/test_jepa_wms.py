"""jepa-wms' checkpoints: both published layouts load and equal the formulas."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.world_models.adapters import patch_formulas as formulas
from tests.world_models.adapters.published import dinov2_file, drawn, embedding_shapes, jepa_wms_file
from tests.world_models.adapters.test_dino_wm import ACTION, HALF, PROPRIO, load, normalised, pixel_observation
from world_models.adapters.patches import dino_wm, jepa_wms
from world_models.errors import UserError
from world_models.tasks import make_task

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def imported(folder: Path, own: bool) -> tuple[object, dict[str, Tensor], dict[str, dict[str, Tensor]]]:
    path, states = jepa_wms_file(folder, own)
    weights, encoder = dinov2_file(folder)
    found = jepa_wms.recognise(path)
    assert found is not None
    assert dino_wm.recognise(path) is None
    assert (found.action_size, found.proprioception_dim, found.sizes["depth"]) == (10, 4, 6)
    assert found.sizes["model"] == ("jepa-wm" if own else "dino-wm baseline")
    task = make_task("push_t", action_block=5)
    return load(folder / "imported", jepa_wms.convert(found, task, weights), task), encoder, states


@pytest.mark.parametrize("own", [True, False], ids=["jepa-wm", "dino-wm baseline"])
def test_the_published_layout_loads_and_equals_the_formulas(own: bool, tmp_path: Path) -> None:
    loaded, encoder, states = imported(tmp_path, own)
    model = loaded.model  # pyright: ignore
    proprioception_width = 16 if own else 20
    assert (model.state_shape, model.action_dim, model.history) == ((256, 384 + proprioception_width), 10, 2)
    seen = pixel_observation(2, 4)
    mean, deviation = IMAGENET if own else (HALF, HALF)
    proprioception = formulas.embed(states["proprio_encoder"], normalised(seen.proprioception, PROPRIO))
    pictures = [formulas.picture(pixels, mean, deviation, 224) for pixels in seen.pixels]
    tokens = [formulas.dinov2(encoder, picture, 6) for picture in pictures]
    proprioception_tokens = [row.expand(256, -1) for row in proprioception]
    expected = torch.stack([torch.cat(pair, 1) for pair in zip(tokens, proprioception_tokens, strict=True)])
    torch.testing.assert_close(model.encode(seen), expected, rtol=1e-5, atol=1e-5)
    actions = torch.rand(1, 2, 10, dtype=torch.float64) * 2 - 1
    own_units = normalised(actions.view(2, 5, 2), ACTION).flatten(1)
    if own:
        following = formulas.modulated_vit(states["predictor"], tokens, proprioception_tokens, own_units, 16, 16)
    else:
        embedded = formulas.embed(states["action_encoder"], own_units)
        frames = [torch.cat([state, row.expand(256, -1)], 1) for state, row in zip(expected, embedded, strict=True)]
        following = formulas.causal_vit(states["predictor"], frames, 16)[-1][:, : 384 + proprioception_width]
    torch.testing.assert_close(model.step(expected[None], actions)[0], following, rtol=1e-5, atol=1e-5)
    miss = (following - expected[0]).square()
    cost = loaded.goal_cost(following[None], expected[:1])[0]  # pyright: ignore
    torch.testing.assert_close(cost, miss[:, :384].mean() + 0.1 * miss[:, 384:].mean())


def damaged(folder: Path, own: bool, **changes: object) -> Path:
    """A published file with some entries of its state dicts changed: `{"predictor": {key: tensor or None}}`."""
    path, _ = jepa_wms_file(folder, own)
    content = torch.load(path, weights_only=True)
    for part, edits in changes.items():
        assert isinstance(edits, dict)
        held = content.setdefault(part, {})
        for key, value in edits.items():
            held.pop(f"module.{key}", None)
            if value is not None:
                held[f"module.{key}"] = value
    torch.save(content, path)
    return path


@pytest.mark.parametrize(
    ("own", "changes", "sentence"),
    [
        (True, {"predictor": {"predictor_embed.weight": torch.ones(384, 1024)}}, "takes tokens of width 1024, as of DINOv3"),
        (True, {"predictor": {"predictor_blocks.0.mlp.fc3.weight": torch.ones(2, 2)}}, "gated MLPs"),
        (True, {"predictor": {"predictor_norm.weight": torch.ones(384)}}, "as a token: only proprioception as features"),
        (True, {"predictor": {"predictor_norm.weight": None}}, "has no predictor_norm.weight"),
        (True, {"proprio_encoder": {"mlp.0.weight": torch.ones(2, 2)}}, "proprio_encoder ends in an MLP"),
        (False, {"predictor": {"pos_embedding": None}}, "V-JEPA 2-AC"),
        (False, {"predictor": {"pos_embedding": torch.ones(1, 300, 414)}}, "do not divide into frames of 256 patches"),
        (False, {"action_encoder": {"patch_embed.weight": torch.ones(10, 10, 2)}}, "spans 2 steps"),
    ],
)
def test_variants_that_are_not_read_are_named(own: bool, changes: dict[str, object], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=sentence) as error:
        jepa_wms.recognise(damaged(tmp_path, own, **changes))
    assert "\n" not in str(error.value)


def test_shapes_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    task = make_task("push_t", action_block=5)
    weights, _ = dinov2_file(tmp_path, depth=1)
    path = damaged(tmp_path, True, predictor={"predictor_blocks.3.attn.qkv.weight": torch.ones(3, 400)})
    found = jepa_wms.recognise(path)
    assert found is not None
    with pytest.raises(UserError, match=r"predictor_blocks.3.attn.qkv.weight should be \(1200, 400\) and is \(3, 400\)"):
        jepa_wms.convert(found, task, weights)
    path = damaged(tmp_path, True, proprio_encoder=drawn(embedding_shapes(2, 16), 4))
    found = jepa_wms.recognise(path)
    assert found is not None
    with pytest.raises(UserError, match="takes 2 proprioception features, and push_t has 4"):
        jepa_wms.convert(found, task, weights)
    with pytest.raises(UserError, match="does not contain its encoder"):
        jepa_wms.convert(found, make_task("wall", action_block=5))
