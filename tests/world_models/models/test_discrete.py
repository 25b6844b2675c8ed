"""Discrete latents by their embeddings: expected ones are smooth, hard ones are codes with the smooth ones' gradient."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from world_models.errors import UserError
from world_models.models.discrete import DiscreteLatents
from world_models.testing import check_world_model, vectors


class Logits(nn.Module):
    """Logits of three variables with five codes."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.layer = nn.Linear(inputs, 15)

    def forward(self, *parts: Tensor) -> Tensor:
        return self.layer(torch.cat([part.flatten(1) for part in parts], 1)).unflatten(1, (3, 5))


def made(**settings: object) -> DiscreteLatents:
    torch.manual_seed(0)
    own = {"encoder": Logits(6), "dynamics": Logits(8), "codebook": torch.randn(5, 2), "variables": 3, "action_dim": 2}
    return DiscreteLatents(**{**own, **settings})  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("codebook", [(5, 2), (3, 5, 2)])
def test_expected_embeddings_keep_every_promise(codebook: tuple[int, ...]) -> None:
    torch.manual_seed(1)
    check_world_model(made(codebook=torch.randn(codebook)), vectors(6))


def test_hard_states_are_codes_and_their_gradient_is_that_of_expected_ones() -> None:
    soft, hard = made(), made(hard=True)
    seen, actions = torch.randn(4, 6), torch.randn(4, 1, 2)
    state = hard.encode(seen)
    assert state.shape == (4, 3, 2)
    distances = (state.unsqueeze(2) - hard.codebook.unsqueeze(0)).abs().amax(-1).amin(-1)
    assert distances.max() < 1e-6
    gradients = []
    for model in (soft, hard):
        leaf = actions.clone().requires_grad_()
        gradients.append(torch.autograd.grad(model.step(state.detach().unsqueeze(1), leaf).sum(), leaf)[0])
    torch.testing.assert_close(*gradients)
    cold = made(temperature=1e-4).encode(seen)
    torch.testing.assert_close(cold, state, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"codebook": torch.zeros(2, 5, 2)}, r"a codebook of shape \(2, 5, 2\) is neither"),
        ({"temperature": 0.0}, "temperature 0.0 is not positive"),
    ],
)
def test_senseless_settings_are_refused(settings: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        made(**settings)
