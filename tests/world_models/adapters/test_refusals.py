"""Refusals of the importers of DINO-WM's and jepa-wms' files, each in one sentence."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.world_models.adapters import hostile
from tests.world_models.adapters.published import DinoWM, classes, dino_wm_file, dinov2_file
from tests.world_models.adapters.test_dino_wm import SETTINGS, load
from world_models.adapters.patches import dino_wm, jepa_wms
from world_models.adapters.patches.dinov2 import read_dinov2
from world_models.errors import UserError
from world_models.tasks import make_task

__all__ = ["classes"]

Classes = Mapping[str, type[nn.Module]]


@pytest.mark.parametrize(
    ("task", "settings", "sentence"),
    [
        (
            {"name": "push_t", "action_block": 1},
            SETTINGS,
            "takes actions of size 10, and push_t's model step has 2: set action_block=5",
        ),
        ({"name": "push_t", "action_block": 5}, None, "does not contain its encoder: name the DINOv2 weights file"),
        ({"name": "point_maze", "action_block": 5}, SETTINGS, "was trained on pusht, not on point_maze"),
        ({"name": "wall", "action_block": 5}, None, "takes 4 proprioception features, and wall has 2"),
        ({"name": "point_maze", "action_block": 5, "maze": "medium"}, None, "know only the maze 'umaze', not 'medium'"),
    ],
)
def test_what_does_not_fit_a_task_is_said(
    classes: Classes, tmp_path: Path, task: dict[str, object], settings: str | None, sentence: str
) -> None:
    path, _ = dino_wm_file(tmp_path, classes, DinoWM(depth=1), settings)
    found = dino_wm.recognise(path)
    assert found is not None
    with pytest.raises(UserError, match=sentence) as error:
        dino_wm.convert(found, make_task(**task))  # pyright: ignore
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ("encoder: {name: r3m_resnet}", "trained on encoder r3m_resnet: only dinov2_vits14"),
        ("encoder: {name: dinov2_vits14, feature_key: x_norm_clstoken}", "feature x_norm_clstoken"),
        ("concat_dim: 0", "concat_dim 0: only 1 is supported"),
        ("num_action_repeat: many", "num_action_repeat 'many'"),
        ("- 1\n- 2", "does not hold settings by name"),
        ("a: [", "cannot be read"),
        ("a: !!python/object/apply:os.system ['touch canary']", "cannot be read"),
        ("[" * 100_000, "cannot be read"),
    ],
)
def test_settings_that_are_not_read_are_named(classes: Classes, tmp_path: Path, settings: str, sentence: str) -> None:
    path, _ = dino_wm_file(tmp_path, classes, DinoWM(depth=1), settings)
    with pytest.raises(UserError, match=sentence) as error:
        dino_wm.recognise(path)
    assert "\n" not in str(error.value)


def test_a_reduced_file_without_settings_is_read_too(classes: Classes, tmp_path: Path) -> None:
    sizes = DinoWM(visual=24, patches=4, frames=2, depth=1, heads=2, head_dim=8, hidden=32, embedding=5)
    path, _ = dino_wm_file(tmp_path, classes, sizes)
    weights, _ = dinov2_file(tmp_path, width=24, depth=1, hidden=48, positions=10)
    found = dino_wm.recognise(path)
    assert found is not None
    assert (found.action_block, found.sizes["history"], found.sizes["patches"]) == (None, 2, 4)
    task = make_task("push_t", action_block=5)
    model = load(tmp_path / "imported", dino_wm.convert(found, task, weights), task).model
    assert model.state_shape == (4, 29)


def test_weights_of_another_encoder_and_shapes_that_do_not_fit_are_refused(classes: Classes, tmp_path: Path) -> None:
    path, _ = dino_wm_file(tmp_path, classes, DinoWM(depth=1))
    found = dino_wm.recognise(path)
    assert found is not None
    task = make_task("push_t", action_block=5)
    weights, tensors = dinov2_file(tmp_path, width=768, depth=1, hidden=48)
    with pytest.raises(UserError, match=r"tokens of width 768, .* takes 384: give the weights of dinov2_vits14"):
        dino_wm.convert(found, task, weights)
    tensors["norm.weight"] = torch.ones(5)
    torch.save(tensors, weights)
    with pytest.raises(UserError, match=r"norm.weight does not fit"):
        dino_wm.convert(found, task, weights)
    torch.save({"model": {"w": torch.ones(3)}}, weights)
    with pytest.raises(UserError, match="holds no DINOv2 weights"):
        dino_wm.convert(found, task, weights)
    with pytest.raises(UserError, match="cannot be read"):
        dino_wm.convert(found, task, tmp_path / "absent.pth")
    with pytest.raises(UserError, match="damaged"):
        dino_wm.convert(found, task, hostile.lying_safetensors(tmp_path))
    content = torch.load(path, weights_only=False)
    layer = content["predictor"].transformer.layers[0][1].net
    layer[4] = nn.Linear(layer[1].out_features, 7)
    torch.save(content, path)
    weights, _ = dinov2_file(tmp_path, depth=1)
    with pytest.raises(UserError, match=r"transformer.layers.0.1.net.4.weight should be \(404, 2048\) and is \(7, 2048\)"):
        dino_wm.convert(found, task, weights)


WRONG = (torch.tensor(3.0), torch.ones(2, 3))
"""Shapes that fit nowhere, or by accident."""


def test_any_tensor_of_a_wrong_shape_gives_a_sentence(classes: Classes, tmp_path: Path) -> None:
    """Each weight of the predictor and of the encoder in turn: missing, or of a wrong shape."""
    sizes = DinoWM(visual=24, patches=4, frames=2, depth=1, heads=2, head_dim=8, hidden=32, embedding=5)
    path, _ = dino_wm_file(tmp_path, classes, sizes)
    weights, encoder = dinov2_file(tmp_path, width=24, depth=1, hidden=48, positions=10)
    task = make_task("push_t", action_block=5)
    content = torch.load(path, weights_only=False)
    for part in ("predictor", "action_encoder", "proprio_encoder"):
        for module in content[part].modules():
            for name, good in list(module._parameters.items()):
                for value in (None, *WRONG):
                    if good is None or (value is not None and value.shape == good.shape):
                        continue
                    module._parameters[name] = value
                    torch.save(content, path)
                    with pytest.raises(UserError) as error:
                        dino_wm.convert(dino_wm.recognise(path), task, weights)  # pyright: ignore
                    assert "\n" not in str(error.value)
                module._parameters[name] = good
    for name in encoder:
        for value in (None, *WRONG):
            changed = {key: held for key, held in encoder.items() if key != name} | ({} if value is None else {name: value})
            torch.save(changed, weights)
            if name != "mask_token":
                with pytest.raises(UserError):
                    read_dinov2(weights)


@pytest.mark.parametrize("adapter", [dino_wm, jepa_wms])
def test_hostile_files_run_nothing(classes: Classes, tmp_path: Path, adapter: object) -> None:
    """A file that calls os.system is not one of ours; next to a real predictor it is refused by name."""
    canary = tmp_path / "canary"
    assert adapter.recognise(hostile.system_call(tmp_path, canary)) is None  # pyright: ignore
    assert adapter.recognise(tmp_path) is None  # pyright: ignore
    path, _ = dino_wm_file(tmp_path, classes, DinoWM(depth=1))
    content = torch.load(path, weights_only=False)
    torch.save({**content, "decoder": hostile.Runs(canary)}, path)
    with pytest.raises(UserError, match=r"posix\.system, which no known checkpoint contains"):
        dino_wm.recognise(path)
    for keep in (0.3, 0.95):
        with pytest.raises(UserError, match="damaged"):
            adapter.recognise(hostile.truncated(path, keep))  # pyright: ignore
    assert not canary.exists()


def test_files_of_others_are_not_claimed(classes: Classes, tmp_path: Path) -> None:
    torch.save({"model": {"_encoder.state.0.weight": torch.ones(2)}}, tmp_path / "tdmpc2.pt")
    path, _ = dino_wm_file(tmp_path, classes, DinoWM(depth=1))
    assert dino_wm.recognise(tmp_path / "tdmpc2.pt") is None
    assert jepa_wms.recognise(tmp_path / "tdmpc2.pt") is None
    assert jepa_wms.recognise(path) is None
