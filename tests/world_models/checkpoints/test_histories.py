"""The history mode of a model: its card's, what is asked for, and what it cannot do."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sweeps.models.checkpoints import _card
from tests.world_models.adapters.foreign import SMALL, lewm_state, stored
from world_models.adapters.lewm import files as lewm
from world_models.checkpoints import store as checkpoints
from world_models.checkpoints.histories import history_of, states_seen
from world_models.errors import UserError
from world_models.history import History
from world_models.models.ensemble import Ensemble
from world_models.models.jepa import JEPA, JEPAConfig
from world_models.parts import ENSEMBLE, PREFIX
from world_models.plugins import PLUGINS, Kind
from world_models.tasks import make_task

LEWM = {"format": f"{PREFIX}lewm/1", "name": "theirs", "model": {"history": 3}}
JEPA_CARD = {"format": f"{PREFIX}jepa/1", "name": "ours", "model": {"history": 3}}
AGENT = {"format": f"{PREFIX}tdmpc2/1", "name": "agent", "model": {}}


def ensemble(member: object) -> dict[str, object]:
    return {"format": ENSEMBLE, "name": "several", "model": {"member": member, "members": 3}}


@pytest.mark.parametrize(
    ("card", "asked", "mode"),
    [
        (LEWM, None, "grow"),
        (LEWM, "repeat", "repeat"),
        (LEWM, "grow:1", "grow:1"),
        (LEWM, "grow:3", "grow"),
        ({**LEWM, "history": "repeat"}, None, "repeat"),
        ({**LEWM, "history": "grow:1"}, None, "grow:1"),
        (JEPA_CARD, None, "repeat"),
        (JEPA_CARD, "repeat:1", "repeat:1"),
        (AGENT, None, "repeat"),
        (AGENT, "grow", "repeat"),
        (ensemble(LEWM), None, "grow"),
        (ensemble(JEPA_CARD), "repeat:2", "repeat:2"),
    ],
)
def test_the_card_says_the_mode_unless_another_is_asked_for(card: dict[str, object], asked: str | None, mode: str) -> None:
    assert str(history_of(card, asked)) == mode


@pytest.mark.parametrize("card", [JEPA_CARD, ensemble(JEPA_CARD)])
def test_a_model_of_whole_windows_cannot_grow(card: dict[str, object]) -> None:
    with pytest.raises(UserError, match="takes windows of 3 states and no shorter ones: choose history=repeat instead of grow"):
        history_of(card, "grow:2")


def test_an_imported_model_grows_and_says_so_on_its_card(tmp_path: Path) -> None:
    torch.save(lewm_state(SMALL), tmp_path / "weights.pt")
    task, found = make_task("push_t", action_block=5), lewm.recognise(tmp_path / "weights.pt")
    assert found is not None
    imported = lewm.convert(found, task)
    assert _card(found, imported, task)["history"] == "grow"
    loaded = stored(imported, task, tmp_path / "imported")
    assert loaded.history == History(grows=True), "a card from before there were modes has no entry, and means the same"
    assert loaded.with_history("repeat:1").history == History(False, 1)
    assert loaded.with_history("grow:5").history == History(True)


def test_models_that_ship_repeat_as_they_were_trained() -> None:
    for name in checkpoints.zoo_names():
        card, _ = checkpoints.read_card(name)
        assert str(history_of(card)) == "repeat"
        assert states_seen(card) == checkpoints.load(name).model.history


def test_a_model_of_ones_own_grows_if_it_says_that_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PLUGINS, "found", {})
    monkeypatch.setattr(PLUGINS, "offers", {})
    targets = "planners.testing.worlds:Attending", "world_models.models.analytic:Pendulums"
    attending, swinging = (PLUGINS.admit(Kind.WORLD_MODEL, target).text for target in targets)
    assert checkpoints.load(attending).history == History(grows=True)
    assert checkpoints.load(swinging).history == History()
    with pytest.raises(UserError, match="no shorter ones"):
        history_of(checkpoints.read_card(swinging)[0], "grow")


def test_an_ensemble_grows_if_its_members_do() -> None:
    jepa = JEPA(JEPAConfig(action_dim=2, size=32, latent=4, width=8, encoder_width=8))
    assert not Ensemble([jepa, jepa], torch.ones(4)).takes_shorter_windows
