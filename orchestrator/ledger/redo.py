"""Which recorded cells are planned once more: failed ones, or those that finished before some moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.core.portion import Portion, lacking
from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.parts import coded, is_failed


@dataclass(frozen=True)
class Redo:
    """Recorded cells that count as missing; none by default."""

    failed: bool = False
    """Whether cells that failed are planned once more."""
    before: datetime | None = None
    """Cells that finished before this moment are planned anew, and their new records take the place of the old ones."""

    def missing(self, portions: Sequence[Portion], ledger: Ledger) -> list[Portion]:
        """The cells that the ledger lacks, and those to plan once more."""
        if self.before is None:
            return lacking(portions, ledger.finished_seeds(include_failed=not self.failed))
        points = {portion.point.point_id for portion in portions}
        table = ledger.table(points, ["point_id", "seed", "status", "finished_at"])
        table = table.filter(pc.field("finished_at") >= pa.scalar(self.before, pa.timestamp("us", tz="UTC")))
        if self.failed:
            table = table.filter(pa.array(~is_failed(table["status"])))
        codes, names = coded(table["point_id"])
        seeds = table["seed"].to_numpy()
        return lacking(portions, {name: np.unique(seeds[codes == code]) for code, name in enumerate(names)})
