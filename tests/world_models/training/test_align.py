"""Latents whose axes labels name: the changed encoder reads the labels, and says what `align` returned."""

import pytest
import torch

from world_models.errors import UserError
from world_models.models.jepa import JEPA, JEPAConfig
from world_models.training.align import align


@pytest.mark.parametrize("encoder", ["conv", "vit", "moments"])
def test_latents_become_the_readable_labels(encoder: str):
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    model = JEPA(JEPAConfig(action_dim=2, size=32, latent=5, encoder=encoder, encoder_width=8))
    pixels = torch.randint(256, (60, 32, 32, 3), generator=generator, dtype=torch.uint8)
    with torch.no_grad():
        before = model.embed(pixels).unflatten(0, (6, 10))
        mixed = before @ torch.randn(5, 2, generator=generator) * 30 + 100
        labels = torch.cat([mixed, torch.randn(6, 10, 1, generator=generator)], 2)
        returned = align(model, before, labels)
        after = model.embed(pixels).unflatten(0, (6, 10))
    flat = labels.flatten(0, 1)
    wanted = ((labels - flat.mean(0)) / flat.std(0))[..., :2]
    assert torch.allclose(after, returned, atol=1e-3)
    assert torch.allclose(after[..., :2], wanted, atol=2e-2)
    assert (after[..., 2:].abs() < 1e-3).all()


def test_fewer_latents_than_labels_are_refused():
    model = JEPA(JEPAConfig(action_dim=2, size=32, latent=2))
    with pytest.raises(UserError, match="choose 3 or more"):
        align(model, torch.zeros(2, 3, 2), torch.zeros(2, 3, 3))
