"""The lines of `--json`: one schema, and the keys that each kind has had from the start."""

from __future__ import annotations

import json
from dataclasses import fields

import pytest

from orchestrator.driver.status import Status
from sweeps.console.events import SCHEMA, Event, JoinedEvent, Progress, StatusEvent, StudyEvent, SweepEvent

CELLS = Progress("cells", 3, 8, 1.5, 2.0, 1.0, 4.0)
STATUS = Status(("s",), "here", 7, "planning", 1, 1.5, 8, 2, 1, 0, 0.5, 2.0, 1.0, 4.0)
SWEEP = SweepEvent(CELLS, 1, 6, 0, 1.5, 0.67, (2.0, 1.0, 4.0), {"gd": [1, 1]}, 2, 1, 0, 0)
STUDY = StudyEvent(Progress("trials", 3, 8, 1.5), 3, 8, 1, 0.5, 20, 0, 1.5, 2)


@pytest.mark.parametrize(
    ("event", "keys"),
    [
        (
            SWEEP,
            {"done", "total", "failed", "seconds", "rate", "left", "successes", "workers", "busy", "retries", "quarantined"},
        ),
        (JoinedEvent(CELLS, 1, 6), {"done", "total"}),
        (STUDY, {"trials", "total", "pruned", "best", "cells", "cells_failed", "seconds", "under_way"}),
        (StatusEvent.of("s", True, STATUS), {"sweep", "running", *(field.name for field in fields(Status))}),
    ],
    ids=lambda value: value.kind if isinstance(value, Event) else "",
)
def test_all_kinds_have_a_common_part_and_their_own_keys(event: Event, keys: set[str]) -> None:
    line = json.loads(json.dumps(event.as_json()))
    assert line.keys() == {"schema", "kind", "progress"} | keys
    assert (line["schema"], line["kind"]) == (SCHEMA, event.kind)
    assert line["progress"].keys() == {field.name for field in fields(Progress)}
    assert (line["progress"]["done"], line["progress"]["total"]) == (3, 8)


def test_a_sweep_without_a_driver_has_no_progress() -> None:
    assert StatusEvent.of("s", False, None).as_json() == {
        "schema": SCHEMA,
        "kind": "status",
        "progress": None,
        "sweep": "s",
        "running": False,
    }
