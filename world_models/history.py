"""How the known past becomes the context that a model plans from: the history modes `repeat` and `grow`."""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from world_models.base import Context, WorldModel, takes_shorter_windows
from world_models.errors import UnknownNameError, require

REPEAT, GROW = "repeat", "grow"
"""The modes: what is not known is filled with the first known state, or left out."""


@dataclass(frozen=True)
class History:
    """A history mode. Its text is `repeat` or `grow`, with the suffix `:K` if a model sees at most K observed states.

    - `repeat`: before the first known state everything stood still. A context holds h states, of which the first are that
      state repeated, with null actions between.
    - `grow`: a context holds the known states alone, 1 to h of them, and the window of a step grows along a rollout until it
      holds h. This is how the models of other projects are evaluated; it takes a model that `takes_shorter_windows`.
    """

    grows: bool = False
    most: int | None = None
    """Observed states that are seen at most, the current one among them; None: as many as the model sees."""

    @staticmethod
    def of(text: str) -> History:
        """The mode that a text says. Raises UserError for anything but `repeat`, `grow`, `repeat:K` and `grow:K`, K >= 1."""
        mode, colon, most = str(text).partition(":")
        if mode not in (REPEAT, GROW):
            raise UnknownNameError("history", text, (REPEAT, GROW, f"{REPEAT}:K", f"{GROW}:K"))
        sentence = (
            f"history {text!r} does not say how many observed states are seen at most: give {mode}:K with K from 1 to 9999."
        )
        require(not colon or re.fullmatch("[1-9][0-9]{0,3}", most) is not None, sentence)
        return History(mode == GROW, int(most) if colon else None)

    def __str__(self) -> str:
        """The text that `of` reads."""
        return (GROW if self.grows else REPEAT) + ("" if self.most is None else f":{self.most}")

    def within(self, history: int) -> History:
        """The same for a model that sees `history` states, with one spelling for what makes no difference there."""
        most = None if self.most is None or self.most >= history else self.most
        return History(self.grows and history > 1, most)

    def seen(self, model: WorldModel) -> int:
        """Observed states that a model sees at most, the current one among them."""
        return model.history if self.most is None else min(self.most, model.history)

    def check(self, model: WorldModel) -> None:
        """Raise UserError for a model that cannot take the windows."""
        sentence = f"history {str(self)!r} needs windows of 1 to {model.history} states, and the model takes {model.history}"
        require(not self.grows or takes_shorter_windows(model), f"{sentence}: choose {REPEAT}.")

    def context(
        self,
        model: WorldModel,
        states: Float[Tensor, "batch known *state"],
        actions: Float[Tensor, "batch between action"] | None = None,
    ) -> Context:
        """The context after some known states, the last of which is the current one, and the actions between them.

        `actions` may be left out if only one state is known.
        """
        known = min(states.shape[1], self.seen(model))
        states = states[:, -known:]
        between = states.new_zeros(len(states), 0, model.action_dim) if actions is None else actions
        between = between[:, between.shape[1] - known + 1 :]
        if self.grows:
            return Context(states, between)
        still = Context.at(model, states[:, 0])
        missing = model.history - known
        return Context(torch.cat([still.states[:, :missing], states], 1), torch.cat([still.actions[:, :missing], between], 1))


AS_REPEATED = History()
"""The mode `repeat`."""
