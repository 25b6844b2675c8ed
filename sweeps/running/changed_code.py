"""The cells that are new only because the code of a plug-in was edited."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from orchestrator.core.cell import Point
from orchestrator.core.portion import Portion
from orchestrator.ledger.identity import POINT_COLUMNS, point_of
from orchestrator.ledger.ledger import Ledger


def changed_code(missing: Sequence[Portion], ledger: Ledger) -> list[str]:
    """A sentence for each plug-in whose code has changed since the same cells were planned; none without plug-ins."""
    with_code = [portion for portion in missing if portion.point.code]
    if not with_code:
        return []
    known: dict[Point, set[tuple[str, str]]] = {}
    for point in _points(ledger):
        known.setdefault(_without_code(point), set()).update(point.code)
    cells: Counter[str] = Counter()
    for portion in with_code:
        for what in _changed(portion.point, known.get(_without_code(portion.point), set())):
            cells[what] += len(portion)
    return [f"{number} because the code of {what} has changed" for what, number in cells.items()]


def _points(ledger: Ledger) -> Iterable[Point]:
    table = ledger.table(columns=list(POINT_COLUMNS))
    return map(point_of, table.group_by(list(POINT_COLUMNS)).aggregate([]).to_pylist())


def _without_code(point: Point) -> Point:
    return replace(point, code=(), model="", model_digest="")


def _changed(point: Point, before: set[tuple[str, str]]) -> Iterator[str]:
    names = {"task": point.task.name, "planner": point.planner.name, "goal_cost": point.goal_cost}
    for kind, code in point.code:
        if any(other == kind for other, _ in before) and (kind, code) not in before:
            yield f"{kind.replace('_', ' ')} {names[kind]}"
