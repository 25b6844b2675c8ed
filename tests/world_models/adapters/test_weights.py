"""The same network is read whatever is around its tensors: wrappers, prefixes, types, devices, optimisers and averages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tests.world_models.adapters.foreign import SMALL, classes_of, lewm_state, stored, tdmpc2_state
from tests.world_models.adapters.layouts import RECORDED, SMALL_JEPA
from tests.world_models.adapters.published import DinoWM, classes, dino_wm_file, dinov2_file, jepa_wms_file
from world_models.adapters.base import NOTHING, Found, Given
from world_models.adapters.files import read_content
from world_models.adapters.lewm import files as lewm
from world_models.adapters.patches import dino_wm, jepa_wms
from world_models.adapters.tdmpc2 import files as tdmpc2
from world_models.adapters.weights import plain_name
from world_models.errors import UserError
from world_models.tasks import make_task

__all__ = ["classes"]

State = dict[str, Tensor]


def renamed(state: State, change: Callable[[str], str]) -> State:
    return {change(name): value for name, value in state.items()}


def digest(path: Path, folder: Path, given: Given = NOTHING) -> str:
    found = lewm.recognise(path, given)
    assert found is not None
    task = make_task("push_t", action_block=5)
    return stored(lewm.convert(found, task), task, folder / "imported").digest


@pytest.fixture
def state() -> State:
    return lewm_state(SMALL)


@pytest.fixture
def plain(state: State, tmp_path: Path) -> str:
    torch.save(state, tmp_path / "plain.pt")
    return digest(tmp_path / "plain.pt", tmp_path)


def test_our_stand_in_has_the_layout_that_upstream_saves() -> None:
    """Names and shapes, of LeWM and of PLDM."""
    own = {name: list(value.shape) for name, value in lewm_state(SMALL_JEPA, old_names=False).items()}
    assert own == RECORDED["lewm"]
    assert own == RECORDED["pldm"]


@pytest.mark.parametrize(
    "change",
    [
        lambda name: f"_orig_mod.{name}",
        lambda name: f"module.{name}",
        lambda name: f"module._orig_mod.{name}",
        lambda name: f"_orig_mod.module.model.{name}",
        lambda name: f"model.module.{name}",
        lambda name: name.replace("predictor.", "predictor._orig_mod.").replace("encoder.layer", "encoder.module.layer"),
    ],
)
def test_prefixes_of_compilers_and_of_data_parallel_change_nothing(
    state: State, plain: str, tmp_path: Path, change: Callable[[str], str]
) -> None:
    torch.save({"state_dict": renamed(state, change)}, tmp_path / "wrapped.pt")
    assert digest(tmp_path / "wrapped.pt", tmp_path) == plain
    save_file(renamed(state, change), tmp_path / "wrapped.safetensors")
    assert digest(tmp_path / "wrapped.safetensors", tmp_path) == plain


def test_only_whole_segments_are_prefixes() -> None:
    assert plain_name("module.a._orig_mod.b.modules.module_list.module") == "a.b.modules.module_list"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_other_precisions_become_float32(state: State, tmp_path: Path, dtype: torch.dtype) -> None:
    cast = {name: value.to(dtype) if value.is_floating_point() else value for name, value in state.items()}
    torch.save(cast, tmp_path / "cast.pt")
    torch.save({name: value.float() for name, value in cast.items()}, tmp_path / "single.pt")
    assert digest(tmp_path / "cast.pt", tmp_path) == digest(tmp_path / "single.pt", tmp_path)


def test_patch_models_of_half_precision_plan_in_float32(classes: dict[str, type[nn.Module]], tmp_path: Path) -> None:
    weights, _ = dinov2_file(tmp_path)
    task = make_task("push_t", action_block=5)
    path, _ = jepa_wms_file(tmp_path, own=True)
    content = torch.load(path)
    for name in ("predictor", "proprio_encoder"):
        content[name] = {key: value.half() for key, value in content[name].items()}
    torch.save(content, path)
    found = jepa_wms.recognise(path)
    assert found is not None
    assert {value.dtype for value in jepa_wms.convert(found, task, weights).tensors.values()} == {torch.float32}


def test_tensors_saved_on_a_gpu_are_read_on_the_cpu(
    state: State, plain: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
    torch.save(state, tmp_path / "gpu.pt")
    assert b"cuda:0" in (tmp_path / "gpu.pt").read_bytes()
    assert all(value.device.type == "cpu" for value in read_content(tmp_path / "gpu.pt").values() if isinstance(value, Tensor))
    assert digest(tmp_path / "gpu.pt", tmp_path) == plain


def noted(path: Path, given: Given = NOTHING) -> str:
    found = lewm.recognise(path, given)
    assert found is not None
    return " ".join(found.notes)


def moved(state: State) -> State:
    return {name: value + 1 if value.is_floating_point() else value for name, value in state.items()}


@pytest.mark.parametrize(
    "place",
    [
        lambda averaged: {"ema": averaged},
        lambda averaged: {"ema_state_dict": {"module": averaged}},
        lambda averaged: {"callbacks": {"EMA": {"shadow": averaged}}},
        lambda averaged: renamed(averaged, lambda name: f"ema_model.{name}"),
    ],
)
def test_averages_beside_the_weights_are_a_choice(
    state: State, plain: str, tmp_path: Path, place: Callable[[State], dict[str, object]]
) -> None:
    averaged = place(moved(state))
    inside = all(isinstance(value, Tensor) for value in averaged.values())
    content = {"state_dict": {**state, **averaged}} if inside else {"state_dict": state, **averaged}
    if inside:  # a prefix in front of one network needs one in front of the other
        content = {"state_dict": {**renamed(state, lambda name: f"model.{name}"), **averaged}}
    path = tmp_path / "both.ckpt"
    torch.save({**content, "optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}}}, path)
    assert digest(path, tmp_path) == plain
    assert "Its trained weights were taken" in noted(path)
    assert "The state of its optimiser is left out." in noted(path)
    torch.save(moved(state), tmp_path / "average.pt")
    assert digest(path, tmp_path, Given(weights="averaged")) == digest(tmp_path / "average.pt", tmp_path)
    assert "--weights trained takes these" in noted(path, Given(weights="averaged"))


def test_the_average_that_lightning_stores_in_place_of_the_weights_is_taken_and_said(
    state: State, plain: str, tmp_path: Path
) -> None:
    path = tmp_path / "averaging.ckpt"
    named = {key: renamed(value, lambda name: f"model.{name}") for key, value in (("a", state), ("b", moved(state)))}
    torch.save({"state_dict": named["a"], "current_model_state": named["b"], "averaging_state": {}}, path)
    assert digest(path, tmp_path) == plain
    assert "Its averaged weights were taken, of state_dict/model, not those of current_model_state/model" in noted(path)
    assert digest(path, tmp_path, Given(weights="trained")) != plain


def test_an_average_that_is_not_there_is_refused(state: State, classes: dict[str, type[nn.Module]], tmp_path: Path) -> None:
    torch.save(state, tmp_path / "plain.pt")
    torch.save({"model": tdmpc2_state(2, 2)}, tmp_path / "agent.pt")
    path, _ = dino_wm_file(tmp_path, classes, DinoWM(depth=1))
    other, _ = jepa_wms_file(tmp_path, own=True)
    recognisers: list[tuple[Callable[[Path, Given], Found | None], Path]] = [
        (lewm.recognise, tmp_path / "plain.pt"),
        (tdmpc2.recognise, tmp_path / "agent.pt"),
        (dino_wm.recognise, path),
        (jepa_wms.recognise, other),
    ]
    for recognise, file in recognisers:
        with pytest.raises(UserError, match=r"holds no averaged weights.*leave --weights out"):
            recognise(file, Given(weights="averaged"))


def test_tensors_that_differ_under_one_name_are_refused(state: State, tmp_path: Path) -> None:
    name = "predictor.pos_embedding"
    torch.save({**state, f"module.{name}": state[name] + 1}, tmp_path / "twice.pt")
    with pytest.raises(UserError, match=r"two tensors predictor\.pos_embedding that differ"):
        lewm.recognise(tmp_path / "twice.pt")


def test_whole_modules_in_data_parallel_are_unwrapped(classes: dict[str, type[nn.Module]], tmp_path: Path) -> None:
    path, states = dino_wm_file(tmp_path, classes, DinoWM(depth=1))
    before = dino_wm.recognise(path)
    content = torch.load(path, weights_only=False)
    content["predictor"] = nn.DataParallel(content["predictor"])
    torch.save(content, path)
    after = dino_wm.recognise(path)
    assert before is not None
    assert after == before
    assert states


def test_agents_are_read_under_prefixes_too(tmp_path: Path) -> None:
    state = tdmpc2_state(10, 10)
    torch.save({"model": renamed(state, lambda name: f"module._orig_mod.{name}")}, tmp_path / "wrapped.pt")
    torch.save({"model": state}, tmp_path / "plain.pt")
    task, made = make_task("push_t", action_block=5), []
    for name in ("plain.pt", "wrapped.pt"):
        found = tdmpc2.recognise(tmp_path / name)
        assert found is not None
        made.append(stored(tdmpc2.convert(found, task), task, tmp_path / "imported").digest)
    assert made[0] == made[1]


def test_a_pickled_object_tells_its_heads(tmp_path: Path) -> None:
    """A number that no shape shows and no settings beside the file give."""
    names = [f"stable_worldmodel.wm.lewm.module.{name}" for name in ("Attention", "Part")]
    with classes_of(*names) as made:
        root = made[names[1]]()
        for key, value in lewm_state(SMALL_JEPA, old_names=False).items():
            *parents, leaf = key.split(".")
            module: nn.Module = root
            for parent in parents:
                if parent not in module._modules:
                    module.add_module(parent, made[names[0] if parent == "attn" else names[1]]())
                    if parent == "attn":
                        module.get_submodule(parent).heads = 8  # pyright: ignore
                module = module.get_submodule(parent)
            module.register_buffer(leaf, value)
        torch.save(root, tmp_path / "object.ckpt")
    found = lewm.recognise(tmp_path / "object.ckpt")
    assert found is not None
    assert found.sizes["predictor"] == "192 wide, 2 deep, 8 heads"
