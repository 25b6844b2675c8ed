"""Checkpoints round-trip, and whatever is not one of ours is refused in one sentence."""

import json
import re
import shutil

import pytest
import torch

from world_models.checkpoints import store as checkpoints
from world_models.errors import UnknownNameError, UserError
from world_models.models.mlp import MLPConfig, ResidualMLP
from world_models.tasks import make_task


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    model = ResidualMLP(MLPConfig(observation_dim=4, action_dim=2, width=8, depth=2))
    model.set_normalisation(torch.arange(4.0), torch.full((4,), 2.0), torch.full((4,), 0.1))
    card = {"dynamics": dict(make_task("wall").dynamics)}
    return checkpoints.save(tmp_path / "m", "m", model, torch.tensor([1.0, 1.0, 0.0, 0.0]), card), model


def test_round_trip_gives_the_same_model(folder):
    path, model = folder
    loaded = checkpoints.load(str(path))
    states, actions = torch.randn(5, 1, 4), torch.randn(5, 1, 2)
    torch.testing.assert_close(loaded.model.step(states, actions), model.step(states, actions), rtol=0, atol=0)
    torch.testing.assert_close(loaded.decode(loaded.model.encode(states[:, 0])), states[:, 0])
    assert loaded.goal_cost(states[:, 0], states[:, 0]).eq(0).all()
    assert not any(p.requires_grad for p in loaded.model.parameters())


def test_digest_is_of_the_content_not_of_the_location_or_the_time(folder, tmp_path):
    path, model = folder
    card, digest = checkpoints.read_card(str(path))
    shutil.copytree(path, tmp_path / "copy")
    text = {**card, "seconds": {"all": 1.0}}
    (tmp_path / "copy" / "card.json").write_text(json.dumps(text), encoding="utf-8")
    assert checkpoints.read_card(str(tmp_path / "copy"))[1] == digest == card["content_digest"]
    with torch.no_grad():
        model.out.bias += 1e-3
    other = checkpoints.save(tmp_path / "other", "m", model, torch.ones(4), {"dynamics": card["dynamics"]})
    assert checkpoints.read_card(str(other))[1] != digest


@pytest.mark.parametrize("keep", [0, 4, 100, -8])
def test_truncated_weights_are_refused(folder, keep):
    path, _ = folder
    file = path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"model\.safetensors.*truncated"):
        checkpoints.load(str(path))


def test_foreign_files_are_refused(folder, tmp_path):
    path, _ = folder
    (path / "card.json").write_text('{"format": "someone-else/9"}', encoding="utf-8")
    with pytest.raises(UserError, match="someone-else/9"):
        checkpoints.load(str(path))
    (path / "card.json").write_text("not json", encoding="utf-8")
    with pytest.raises(UserError, match="is not a model's card"):
        checkpoints.load(str(path))
    with pytest.raises(UserError, match="not a checkpoint folder"):
        checkpoints.load(str(tmp_path))


def test_a_pickle_in_place_of_the_weights_is_never_executed(folder, tmp_path):
    path, _ = folder
    canary = tmp_path / "canary"

    class Hostile:
        def __reduce__(self):
            return canary.touch, ()

    torch.save({"weights": Hostile()}, path / "model.safetensors")
    with pytest.raises(UserError, match="truncated or does not fit"):
        checkpoints.load(str(path))
    assert not canary.exists()


def test_weights_that_do_not_fit_the_card_are_refused(folder):
    path, _ = folder
    card = json.loads((path / "card.json").read_text(encoding="utf-8"))
    card["model"]["width"] = 16
    (path / "card.json").write_text(json.dumps(card), encoding="utf-8")
    with pytest.raises(UserError, match="does not fit its card"):
        checkpoints.load(str(path))


def test_unknown_names_are_answered_with_the_nearest():
    with pytest.raises(UnknownNameError, match=re.escape("unknown world model 'wal'")):
        checkpoints.load("wal")


def test_a_model_must_fit_the_task(folder):
    card = checkpoints.read_card(str(folder[0]))[0]
    wall = make_task("wall")
    checkpoints.check_fit(card, wall.dynamics, 2)
    with pytest.raises(UserError, match=r"actions of size 2, and the task's model step has 10"):
        checkpoints.check_fit(card, wall.dynamics, 10)
    with pytest.raises(UserError, match=r"trained on wall \(speed 1.0"):
        checkpoints.check_fit(card, make_task("wall", speed=0.5).dynamics, 2)
