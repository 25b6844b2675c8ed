"""The history mode that a model plans with: its card's own, or one that it is asked to plan with."""

from __future__ import annotations

from world_models.checkpoints.formats import OUTSIDE, known_format, takes_shorter_windows
from world_models.errors import require
from world_models.history import GROW, REPEAT, History
from world_models.parts import ENSEMBLE, Card, model_config


def history_of(card: Card, asked: str | None = None) -> History:
    """The mode that is asked for, or without that the card's own: `grow` where the model takes shorter windows.

    Raises UserError for a text that is not a history mode, and for `grow` of a model that takes whole windows only.
    """
    grows = takes_shorter_windows(card)
    text = str(card.get("history", GROW if grows else REPEAT)) if asked is None else asked
    history = History.of(text).within(states_seen(card))
    sentence = f"world model {card.get('name')!r} takes windows of {states_seen(card)} states and no shorter ones"
    require(grows or not history.grows, f"{sentence}: choose history={REPEAT} instead of {text}.")
    return history


def states_seen(card: Card) -> int:
    """Number of states that a step of a card's model sees."""
    config = model_config(card)
    if str(card.get("format")) not in OUTSIDE and known_format(card) == ENSEMBLE:
        return states_seen(config["member"])
    return int(config.get("history", 1))
