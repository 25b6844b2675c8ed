"""What sweeps lack."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.core.portion import Portion, lacking, merged
from orchestrator.ledger.ledger import Ledger
from sweeps.grid import Grid


def missing_of(grids: Sequence[Grid], ledger: Ledger, retry_failed: bool) -> list[Portion]:
    """The cells of some grids that the ledger lacks, each once."""
    portions = merged(portion for grid in grids for portion in grid.portions())
    return lacking(portions, ledger.finished_seeds(include_failed=not retry_failed))
