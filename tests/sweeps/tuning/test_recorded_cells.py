"""The cells that a study finds in the ledger, also if a part of it is damaged while the study runs."""

import logging
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.records import SCHEMA
from orchestrator.testing import plane_point, quick_result
from sweeps.tuning.study_run import RecordedCells


def test_cells_of_a_damaged_part_are_planned_once_more_instead_of_ending_the_study(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ledger, points = Ledger(tmp_path), [plane_point(5), plane_point(6)]
    with ledger.writer():
        for point in points:
            ledger.append(quick_result(point, (0, 1)).results)
    recorded = RecordedCells(Ledger(tmp_path))
    (damaged,) = tmp_path.glob("*.parquet")
    data = bytearray(damaged.read_bytes())
    actions = pq.read_metadata(damaged).row_group(0).column(SCHEMA.names.index("actions"))
    data[actions.data_page_offset + 2] ^= 1
    damaged.write_bytes(data)
    with caplog.at_level(logging.WARNING):
        found = [len([*recorded(point)]) for point in points]
    assert found == [0, 0]
    assert f"{damaged.name} is damaged" in caplog.text
