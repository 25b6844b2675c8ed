"""The environment, the kind and the file of a checkpoint are read from what surrounds it, and asked for where nothing tells."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml

from tests.world_models.adapters.foreign import SMALL, lewm_state
from world_models.adapters import kinds
from world_models.adapters.base import Given
from world_models.adapters.files import passed_over, weight_file
from world_models.adapters.origins import (
    environment_of,
    is_same_environment,
    known_name,
    settings_around,
    targets_in,
    task_environment,
)
from world_models.adapters.pickles.records import ModuleRecord
from world_models.errors import UserError
from world_models.tasks import make_task

TARGET = {"_target_": "os.system", "command": "touch canary", "predictor": {"heads": 2, "dim_head": 64}}


@pytest.mark.parametrize(
    ("path", "environment"),
    [
        ("runs/lewm-pusht/weights.pt", "pusht"),
        ("models--user--lewm-tworooms/weights.pt", "two_room"),
        ("two_room/lewm/weights.pt", "two_room"),
        ("lewm_reacher_epoch_3_object.ckpt", "reacher"),
        ("ogb-cube/weights.pt", "cube"),
        ("pusht/reacher/weights.pt", "reacher"),
        ("pusht_and_tworoom/weights.pt", None),
        ("firewall/cubes/weights.pt", None),
        ("pusht/a/b/c/weights.pt", None),
    ],
)
def test_the_nearest_part_of_a_path_that_names_one_environment_tells_it(path: str, environment: str | None) -> None:
    assert environment_of(Path("/", path), ()) == environment


@pytest.mark.parametrize(
    "settings",
    [
        {"data": {"dataset": {"name": "tworoom.h5", "keys_to_load": ["pixels"]}}},
        {"dataset_name": "tworoom_expert"},
        {"env": {"name": "two_room"}},
        {"output_model_name": "tworoom_dinov2_small"},
    ],
)
def test_settings_tell_it_before_the_path(settings: dict[str, object], tmp_path: Path) -> None:
    path = tmp_path / "pusht" / "weights.pt"
    path.parent.mkdir()
    (path.parent / "config.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    assert environment_of(path, settings_around(path, {})) == "two_room"


def test_settings_of_a_lightning_checkpoint_are_read_from_its_records(tmp_path: Path) -> None:
    """Lightning keeps OmegaConf's containers or its own dictionary, both of them pickled objects."""

    def node(value: object) -> ModuleRecord:
        return ModuleRecord("omegaconf.nodes.AnyNode", state={"_val": value})

    dataset = ModuleRecord("omegaconf.dictconfig.DictConfig", state={"_content": {"name": node("reacher.h5")}})
    held = ModuleRecord("lightning.fabric.utilities.data.AttributeDict", items={"data": {"dataset": dataset}})
    assert (
        environment_of(tmp_path / "last.ckpt", settings_around(tmp_path / "last.ckpt", {"hyper_parameters": held})) == "reacher"
    )


def test_names_of_environments_are_compared_by_what_they_mean() -> None:
    assert is_same_environment("pusht", "push_t")
    assert is_same_environment("push_t", "push_t_upstream")
    assert is_same_environment("tworoom", "two_room")
    assert is_same_environment("wall", "wall_dino")
    assert is_same_environment("wall_dino", "wall_dino")
    assert known_name("push_t_upstream") == "pusht"
    assert known_name("point_maze_dino") == "point_maze"
    assert not is_same_environment("two_room", "wall")
    assert is_same_environment("my-robot-2", "my_robot_2")
    assert not is_same_environment("my-robot-2", "my_robot_1")


def test_an_environment_of_gymnasium_goes_by_its_id(tmp_path: Path) -> None:
    task = make_task("gymnasium", id="Reacher-v5", action_block=5)
    assert task_environment(task) == "Reacher-v5"
    assert is_same_environment("reacher", "Reacher-v5")
    assert is_same_environment("reacher-easy", "dm_control/reacher-easy-v0")
    assert not is_same_environment("reacher-easy", "Reacher-v5")
    assert kinds.convert(kinds.recognise(saved(tmp_path / "lewm-reacher")), task).format.endswith("lewm/1")
    with pytest.raises(UserError, match="was trained on pusht, not on Reacher-v5"):
        kinds.convert(kinds.recognise(saved(tmp_path / "lewm-pusht")), task)


def saved(folder: Path, config: dict[str, object] | None = None) -> Path:
    folder.mkdir(parents=True)
    torch.save(lewm_state(SMALL), folder / "weights.pt")
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def test_a_lewm_of_another_environment_is_not_taken_because_sizes_agree(tmp_path: Path) -> None:
    task = make_task("push_t", action_block=5)
    for name, folder in (("reacher", "lewm-reacher"), ("two_room", "lewm-tworoom")):
        with pytest.raises(UserError, match=f"was trained on {name}, not on push_t"):
            kinds.convert(kinds.recognise(saved(tmp_path / folder)), task)
    assert kinds.convert(kinds.recognise(saved(tmp_path / "lewm-pusht")), task).format.endswith("lewm/1")


def test_it_is_asked_for_where_nothing_tells_it(tmp_path: Path) -> None:
    folder, task = saved(tmp_path / "a" / "b" / "lewm"), make_task("push_t", action_block=5)
    with pytest.raises(UserError, match=r"does not say which environment .* give --trained-on, such as --trained-on push_t"):
        kinds.convert(kinds.recognise(folder), task)
    found = kinds.recognise(folder, Given(environment="push_t"))
    assert found.sizes["environment"] == "pusht"
    assert kinds.convert(found, task).format.endswith("lewm/1")
    with pytest.raises(UserError, match="was trained on two_room, not on push_t"):
        kinds.convert(kinds.recognise(folder, Given(environment="TwoRoom")), task)


def test_what_a_file_tells_is_not_overruled(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="was trained on reacher, not on push_t"):
        kinds.recognise(saved(tmp_path / "lewm-reacher"), Given(environment="push_t"))


def test_targets_are_texts_and_are_never_instantiated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = saved(tmp_path / "pusht", {"_target_": "stable_worldmodel.wm.lewm.LeWM", "predictor": TARGET})
    settings = settings_around(folder / "weights.pt", {})
    assert targets_in(settings) == ("stable_worldmodel.wm.lewm.LeWM", "os.system")
    kinds.recognise(saved(tmp_path / "b" / "pusht", {"predictor": {**TARGET["predictor"], "_target_": "os.system"}}))  # pyright: ignore
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        ({"_target_": "stable_worldmodel.wm.pldm.pldm.PLDM"}, "pldm"),
        ({"_target_": "stable_worldmodel.wm.lewm.LeWM", "output_model_name": "pldm"}, "lewm"),
        ({"output_model_name": "pldm"}, "pldm"),
        (None, "lewm"),
    ],
)
def test_classes_and_names_of_runs_tell_the_kind(tmp_path: Path, config: dict[str, object] | None, kind: str) -> None:
    folder = saved(tmp_path / "pusht", config)
    found = kinds.recognise(folder)
    assert found.kind == kind
    imported = kinds.convert(found, make_task("push_t", action_block=5))
    assert imported.format == f"grasp-orchestrator/{kind}/1"


def test_networks_and_file_names_tell_it_too(tmp_path: Path) -> None:
    state = {f"model.{name}": value for name, value in lewm_state(SMALL).items()}
    torch.save({"state_dict": {**state, "idm.net.0.weight": torch.zeros(2, 2)}}, tmp_path / "one.ckpt")
    torch.save({"state_dict": {**state, "sigreg.t": torch.zeros(2)}}, tmp_path / "pldm.ckpt")
    torch.save({"state_dict": state}, tmp_path / "pldm_2.ckpt")
    assert [kinds.recognise(tmp_path / f"{name}.ckpt").kind for name in ("one", "pldm", "pldm_2")] == ["pldm", "lewm", "pldm"]


@pytest.mark.parametrize(
    ("names", "taken"),
    [
        (("model_latest.pth", "model_90.pth", "model_100.pth"), "model_latest.pth"),
        (("latest.pth.tar", "e40.pth.tar"), "latest.pth.tar"),
        (("last.ckpt", "epoch=3-step=9.ckpt"), "last.ckpt"),
        (("weights.pt",), "weights.pt"),
    ],
)
def test_the_latest_of_a_runs_files_is_taken_and_said(tmp_path: Path, names: tuple[str, ...], taken: str) -> None:
    (tmp_path / "checkpoints").mkdir()
    for name in names:
        (tmp_path / "checkpoints" / name).touch()
    assert weight_file(tmp_path).name == taken
    expected = None if len(names) == 1 else f"The latest of {len(names)} files with weights was taken, {taken}."
    assert passed_over(tmp_path) == expected
    assert passed_over(tmp_path / "checkpoints" / names[-1]) is None


@pytest.mark.parametrize(
    "names", [("model_1.pth", "model_2.pth"), ("model_latest.pth", "other.pth"), ("a_latest.pt", "b_latest.pt")]
)
def test_no_file_is_guessed(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(UserError, match="holds 2 files with weights: give one of them"):
        weight_file(tmp_path)


def test_the_latest_is_said_where_it_is_recognised(tmp_path: Path) -> None:
    for name in ("pusht_latest.pt", "pusht_1.pt"):
        torch.save(lewm_state(SMALL), tmp_path / name)
    assert kinds.recognise(tmp_path).notes[0] == "The latest of 2 files with weights was taken, pusht_latest.pt."
