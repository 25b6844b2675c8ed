"""While results cannot be written, a sweep waits and says once what for."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.records import CellResult
from orchestrator.storage.base import StorageFull, StorageWaitError
from sweeps.cli.main import main

SWEEP = ("sweep=smoke", "planner=gd", "planners.gd.settings.iterations=3", "artifacts.cells=[]", "tracking.enabled=false")


@pytest.mark.parametrize(
    ("error", "until"),
    [(StorageFull("no room is left."), "there is room"), (StorageWaitError("s3://b cannot be written."), "its store answers")],
)
def test_a_sweep_says_once_what_it_waits_for_and_goes_on(
    error: StorageWaitError, until: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failures, append = [error, error], Ledger.append

    def refused(ledger: Ledger, results: Iterable[CellResult]) -> None:
        if failures:
            raise failures.pop()
        append(ledger, results)

    monkeypatch.setattr(Ledger, "append", refused)
    monkeypatch.setattr("orchestrator.driver.run_cells.RETRY_EVERY", 0.01)
    assert main(["sweep", *SWEEP, f"output={tmp_path}"]) == 0
    said = capsys.readouterr()
    lines = [line for line in (said.out + said.err).splitlines() if "waits until" in line]
    assert lines == [f"{error} Nothing is lost: this waits until {until}; Ctrl-C stops."]
    assert Ledger(tmp_path / "ledger").table().num_rows == 2
