"""The same problem with several noises: points of their own over the same problems."""

from dataclasses import replace

import pytest

from orchestrator.core.batch import Batch, Slice
from orchestrator.testing import plane_evaluator, plane_point

OWN = plane_point(6, init_noise=0.5, iterations=5)
OTHER = replace(OWN, noise_seed=3)


def test_another_noise_is_another_plan_of_the_same_problem() -> None:
    own = plane_evaluator().evaluate(Batch.of(OWN, (0, 1))).results
    other = plane_evaluator().evaluate(Batch.of(OTHER, (0, 1))).results
    again = plane_evaluator().evaluate(Batch.of(OTHER, (1,))).results
    for one, two in zip(own, other, strict=True):
        assert one.start_distance == two.start_distance
        assert one.actions != two.actions
        assert (one.noise_seed, two.noise_seed) == (None, 3)
        assert one.cell_id != two.cell_id
    assert again[0].actions == pytest.approx(other[1].actions, abs=1e-6)


def test_noises_share_a_batch() -> None:
    alone = [
        *plane_evaluator().evaluate(Batch.of(OWN, (0,))).results,
        *plane_evaluator().evaluate(Batch.of(OTHER, (0,))).results,
    ]
    together = plane_evaluator().evaluate(Batch((Slice(OWN, (0,)), Slice(OTHER, (0,))))).results
    for one, two in zip(alone, together, strict=True):
        assert one.cell_id == two.cell_id
        assert one.actions == pytest.approx(two.actions, abs=1e-6)
