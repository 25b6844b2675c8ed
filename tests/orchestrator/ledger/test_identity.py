"""Parts of earlier schemas: their cells have the ids that this version gives them, so nothing is planned anew."""

import json
from collections.abc import Mapping
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.core.cell import Named, Point, canonical, digest
from orchestrator.core.portion import Portion, lacking
from orchestrator.ledger.identity import point_of
from orchestrator.ledger.ledger import Ledger
from orchestrator.ledger.parts import name_of
from orchestrator.ledger.records import SCHEMA_VERSION, VERSION_KEY, from_table
from orchestrator.testing import plane_point
from planners import full_settings
from tests.golden.make_identities import points

GOLDEN = Path(__file__).parents[2] / "golden"
NEWER = ("attempts", "finish_cost", "explore_greed", "final_sync_steps")
"""Settings that planners did not always have."""
HORIZONS = range(2, 14)
SEEDS = 3


def present(horizon: int) -> Point:
    """The point as a sweep of this version asks for it: all settings, defaults filled in."""
    return replace(plane_point(horizon), planner=Named.of("grasp", full_settings("grasp", {"noise": 0.1})))


def old_settings(horizon: int) -> Mapping[str, object]:
    """Its settings when there were fewer of them; every third point was planned with all of them."""
    known = present(horizon).planner.as_dict()
    return known if horizon % 3 == 0 else {name: value for name, value in known.items() if name not in NEWER}


def old_id(horizon: int) -> str:
    """The id that the code of that time gave it."""
    point = present(horizon)
    planner = {"name": "grasp", "settings": sorted(old_settings(horizon).items())}
    shared = {"task": vars(point.task), "model_digest": point.model_digest, "horizon": horizon, "mode": point.mode}
    return digest({**shared, "planner": planner})


def write_old_part(folder: Path, version: int) -> None:
    """A part of an earlier schema, sorted by recorded point id as merged ones are, in many row groups."""
    (row, *_) = pq.read_table(GOLDEN / f"ledger-{version}.parquet").to_pylist()
    schema = pq.read_schema(GOLDEN / f"ledger-{version}.parquet")
    rows = [
        {
            **row,
            "point_id": old_id(horizon),
            "cell_id": digest([old_id(horizon), seed]),
            "planner": "grasp",
            "planner_settings": canonical(old_settings(horizon)),
            "horizon": horizon,
            "seed": seed,
        }
        for horizon in HORIZONS
        for seed in range(SEEDS)
    ]
    rows.sort(key=lambda each: (each["point_id"], each["seed"]))
    folder.mkdir(exist_ok=True)
    written = BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema), written, row_group_size=4)
    (folder / name_of(written.getvalue(), 0)).write_bytes(written.getvalue())


@pytest.mark.parametrize("version", [1, 2])
def test_cells_recorded_when_there_were_fewer_settings_are_not_planned_again(version: int, tmp_path: Path) -> None:
    write_old_part(tmp_path, version)
    asked = [Portion.of(present(horizon), range(SEEDS)) for horizon in HORIZONS]
    ledger = Ledger(tmp_path)
    assert lacking(asked, ledger.finished_seeds()) == []
    for horizon in HORIZONS:
        found = from_table(ledger.table([present(horizon).point_id]))
        assert [record.cell_id for record in found] == [present(horizon).cell(seed).cell_id for seed in range(SEEDS)]
        assert {point_of(vars(record)).point_id for record in found} == {present(horizon).point_id}
    assert ledger.table([old_id(2)]).num_rows == 0
    assert ledger.table(columns=["cell_id"]).num_rows == SEEDS * len(HORIZONS)


def test_merging_writes_the_present_ids(tmp_path: Path) -> None:
    write_old_part(tmp_path, 2)
    before = from_table(Ledger(tmp_path).table().sort_by([("point_id", "ascending"), ("seed", "ascending")]))
    ledger = Ledger(tmp_path)
    with ledger.writer():
        ledger.append(replace(record, seed=record.seed + 10, cell_id=f"new-{i}") for i, record in enumerate(before))
        ledger.compact()
    (part,) = tmp_path.glob("*.parquet")
    assert pq.read_schema(part).metadata[VERSION_KEY] == str(SCHEMA_VERSION).encode()
    ids = set(pq.read_table(part, columns=["point_id"])["point_id"].to_pylist())
    assert ids == {present(horizon).point_id for horizon in HORIZONS}
    assert [record for record in from_table(Ledger(tmp_path).table()) if record.seed < SEEDS] == before


def test_a_record_says_its_point() -> None:
    (row, *_) = pq.read_table(GOLDEN / "ledger-5.parquet").to_pylist()
    for point in points().values():
        settings = {f"{kind}_settings": json.dumps(dict(getattr(point, kind).settings)) for kind in ("task", "planner")}
        plain = {**vars(point), "task": point.task.name, "planner": point.planner.name, "success_rule": point.success}
        assert point_of({**row, **plain, **settings}) == point
