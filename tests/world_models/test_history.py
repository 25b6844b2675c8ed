"""History modes: their texts, and the contexts that they make of a known past."""

from __future__ import annotations

import pytest
import torch

from planners.testing.worlds import Attending
from world_models.errors import UserError
from world_models.history import History
from world_models.models.analytic import LinearQuadratic, Pendulums

DOUBLE = torch.float64
STATES = torch.arange(2 * 5 * 3, dtype=DOUBLE).view(2, 5, 3)
ACTIONS = -torch.arange(2 * 4 * 2, dtype=DOUBLE).view(2, 4, 2)


@pytest.mark.parametrize("text", ["repeat", "grow", "repeat:1", "grow:1", "grow:12"])
def test_a_text_is_one_mode(text: str) -> None:
    assert str(History.of(text)) == text
    assert str(History.of(text).within(100)) == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("growing", "unknown history"),
        ("grow:", "K from 1 to 9999"),
        ("grow:0", "K from 1 to 9999"),
        ("repeat:01", "K from 1 to 9999"),
    ],
)
def test_other_texts_are_refused(text: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        History.of(text)


@pytest.mark.parametrize(
    ("text", "history", "spelling"),
    [
        ("grow:3", 3, "grow"),
        ("grow:5", 3, "grow"),
        ("grow:2", 3, "grow:2"),
        ("grow", 1, "repeat"),
        ("grow:1", 1, "repeat"),
        ("repeat:1", 1, "repeat"),
    ],
)
def test_what_makes_no_difference_has_one_spelling(text: str, history: int, spelling: str) -> None:
    assert str(History.of(text).within(history)) == spelling


@pytest.mark.parametrize("known", [1, 2, 3, 5])
@pytest.mark.parametrize("text", ["repeat", "repeat:1", "repeat:2", "grow", "grow:1", "grow:2"])
def test_contexts_hold_the_last_known_states_and_what_the_mode_adds(text: str, known: int) -> None:
    history, model = History.of(text), Attending(DOUBLE)
    states, actions = STATES[:, :known], ACTIONS[:, : known - 1]
    context = history.context(model, states, actions)
    seen = min(known, 3, history.most or 3)
    assert torch.equal(context.states[:, -seen:], states[:, known - seen :])
    assert torch.equal(context.actions[:, context.known - seen :], actions[:, known - seen :])
    assert context.known == (seen if history.grows else 3)
    assert context.actions.shape[1] == context.known - 1
    assert (context.states[:, : context.known - seen] == states[:, known - seen, None]).all()
    assert context.actions[:, : context.known - seen].eq(0).all()


def test_a_model_of_whole_windows_does_not_grow() -> None:
    with pytest.raises(UserError, match="needs windows of 1 to 2 states, and the model takes 2: choose repeat"):
        History.of("grow").check(Pendulums())
    History.of("grow").check(Attending())
    History.of("grow").check(LinearQuadratic.random(0))
