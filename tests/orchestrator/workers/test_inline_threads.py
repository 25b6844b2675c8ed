"""The inline backend plans with as many threads as the machine gives, or as were asked for, and puts torch's back."""

from pathlib import Path

import pytest
import torch

from orchestrator.core.portion import Portion
from orchestrator.driver.run_cells import run_cells
from orchestrator.ledger.ledger import Ledger
from orchestrator.testing import plane_evaluator, plane_point
from orchestrator.workers.backend import InlineBackend, inline_threads
from world_models.errors import UserError


@pytest.fixture
def four_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("four_threads")
@pytest.mark.parametrize(("asked", "used"), [(None, 2), (1, 1), (3, 3)])
def test_cells_are_planned_with_the_threads_that_the_machine_gives(
    asked: int | None, used: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.workers.backend.cpus_here", lambda: 2)
    ledger = Ledger(tmp_path)
    backend = InlineBackend(make_evaluator=plane_evaluator, threads=asked)
    run_cells([Portion.of(plane_point(4), range(2))], ledger, backend)
    assert set(ledger.table(columns=["threads"])["threads"].to_pylist()) == {used}
    assert torch.get_num_threads() == 4


@pytest.mark.parametrize("threads", [0, -1, True, 1.5, "two"])
def test_a_number_of_threads_that_is_none_is_refused(threads: object) -> None:
    with pytest.raises(UserError, match="is not a number of threads: give 1 or more, or null for the machine's"):
        inline_threads(threads)
