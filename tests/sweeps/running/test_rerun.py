"""`grasp rerun`: cells of a ledger planned again from their records."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.records import CellResult, from_table
from sweeps.cli.main import main
from sweeps.config.outputs import outputs_of
from sweeps.running.rerun import Agreement, cell_of, find, plan_again, version_notes
from sweeps.running.sweep import sweep
from world_models.errors import UserError

SETTINGS = ("planners.grasp.settings.iterations=80", "planners.grasp.settings.attempts=2", "planners.gd.settings.iterations=30")


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rerun")
    words = ["name=few", "task=[wall,push_t]", "planner=[grasp,gd]", "horizons=[25]", "seeds=6", *SETTINGS]
    words += ["backend=inline", "tracking.enabled=false", f"output={folder}"]
    assert sweep(words, Console(quiet=True)) == 0
    return folder


@pytest.fixture(scope="module")
def ledger(output: Path) -> Ledger:
    return Ledger(outputs_of([f"output={output}"]).ledger)


@pytest.fixture(scope="module")
def records(ledger: Ledger) -> list[CellResult]:
    return sorted(from_table(ledger.table()), key=lambda record: record.cell_id)


def test_cells_agree_when_they_are_planned_alone(records: list[CellResult]) -> None:
    together = [record for record in records if record.batch_size > 1]
    for record in random.Random(0).sample(together, 8):
        found = plan_again(record)
        assert found.after.batch_size == 1
        assert found.after.cell_id == record.cell_id
        assert not found.differences


def test_every_record_gives_its_cell(records: list[CellResult]) -> None:
    assert len({cell_of(record).cell_id for record in records}) == len(records) == 24


def test_another_algorithm_version_is_said_in_one_sentence(records: list[CellResult]) -> None:
    record = next(record for record in records if record.planner == "grasp")
    assert version_notes(record) == version_notes(replace(record, algorithm_version=None)) == []
    (note,) = version_notes(replace(record, algorithm_version=2))
    assert note == "the record was planned with version 2 of planner grasp's algorithm, this is version 1: results may differ"


def test_the_verb_says_that_it_agrees(output: Path, records: list[CellResult], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rerun", records[0].cell_id[:10], f"output={output}"]) == 0
    assert f"cell {records[0].cell_id} agrees" in capsys.readouterr().out


def test_what_differs_is_named_and_ends_with_1(
    tmp_path: Path, records: list[CellResult], capsys: pytest.CaptureFixture[str]
) -> None:
    solved = next(record for record in records if record.success)
    forged = replace(solved, success=False, distance=(solved.distance or 0.0) + 1.0)
    ledger = Ledger(outputs_of([f"output={tmp_path}"]).ledger)
    with ledger.writer():
        ledger.append([forged])
    assert main(["rerun", forged.cell_id, f"output={tmp_path}"]) == 1
    said = capsys.readouterr().out
    assert "success no, now yes" in said
    assert "distance" in said


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [(1.0, 1.0009, True), (1.0, 1.002, False), (0.0, 5e-7, True), (0.0, 1e-5, False), (None, None, True), (None, 1.0, False)],
)
def test_distances_agree_within_a_thousandth(
    records: list[CellResult], before: float | None, after: float | None, same: bool
) -> None:
    pair = Agreement(replace(records[0], distance=before), replace(records[0], distance=after))
    assert bool(pair.differences) is not same


def test_bad_input_is_one_sentence(output: Path, ledger: Ledger, records: list[CellResult]) -> None:
    with pytest.raises(UserError, match="no cell 'zzz' among"):
        find("zzz", ledger)
    with pytest.raises(UserError, match="24 cells begin with ''"):
        find("", ledger)
    with pytest.raises(UserError, match="is another one now"):
        plan_again(with_digest(records[0], "0" * 16))
    with pytest.raises(UserError, match="written by another version"):
        cell_of(replace(records[0], seed=12345))
    assert main(["rerun", f"output={output}"]) == 2
    assert main(["rerun", "a", "b", f"output={output}"]) == 2


def with_digest(record: CellResult, digest: str) -> CellResult:
    """Record cells as if the model had had other weights when they were planned."""
    other = replace(record, model_digest=digest)
    point = replace(cell_of(record).point, model_digest=digest)
    return replace(other, point_id=point.point_id, cell_id=point.cell(record.seed).cell_id)
