"""Requirements on every kind of world model, whatever is inside: planners rely on all of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.conformance.model_kinds import MODELS, Recurrent
from world_models.testing import MODEL_CHECKS, ModelCase, check_world_model, vectors


@pytest.mark.parametrize("check", MODEL_CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", MODELS)
def test_every_model_keeps_its_promises(name: str, check: Callable[[ModelCase], None]) -> None:
    check(MODELS[name])


class Averaging(Recurrent):
    """A model whose rows see the mean of the batch."""

    def step(self, states: Tensor, actions: Tensor) -> Tensor:
        return super().step(states, actions - actions.mean(0))


def test_check_world_model_says_in_a_sentence_what_is_broken() -> None:
    torch.manual_seed(0)
    check_world_model(Recurrent(), vectors(3))
    with pytest.raises(AssertionError, match=r"rows \[0\] step differently alone"):
        check_world_model(Averaging(), vectors(3))
