"""The queue of drawings: filled when planning is over, handed out one by one, retried once if a worker dies with one."""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator

from orchestrator.artifacts.drawing import Drawing, Drawn

ATTEMPTS = 2
"""How often a drawing is tried when its workers die; then it is skipped until the next run."""

_MAX_PENDING = 50
"""Most drawings that are searched for one whose world model the worker has loaded."""

_log = logging.getLogger(__name__)


def _nothing() -> Iterator[Drawing]:
    return iter(())


class DrawingQueue:
    """Hands out drawings and passes on their results. For one thread."""

    def __init__(
        self, find: Callable[[], Iterable[Drawing]] = _nothing, keep: Callable[[Drawn], None] = lambda drawn: None
    ) -> None:
        """`find` yields the missing drawings of recorded cells; `keep` stores the result of one durably."""
        self._find = find
        self._keep = keep
        self._found: Iterator[Drawing] | None = None
        self._pending: deque[Drawing] = deque()
        self._in_flight = 0
        self._deaths: Counter[str] = Counter()
        """Worker deaths by point id."""

    def invalidate(self) -> None:
        """Search for drawings again, because more cells have been recorded."""
        self._found = None
        self._pending.clear()

    @property
    def over(self) -> bool:
        """Whether no drawing is missing and none is in flight."""
        if not self._in_flight:
            self._look()
        return not self._in_flight and not self._pending

    def next(self, models: Iterable[str]) -> Drawing | None:
        """The next drawing, preferably of a loaded world model; None if none is left to hand out."""
        self._look()
        if not self._pending:
            return None
        known = set(models)
        drawing = next((d for d in self._pending if d.point.model_digest in known), self._pending[0])
        self._pending.remove(drawing)
        self._in_flight += 1
        return drawing

    def done(self, drawing: Drawing, made: Drawn | None) -> None:
        """Take a worker's answer; None means that it died."""
        self._in_flight -= 1
        if made is not None:
            self._keep(made)
            return
        self._deaths[drawing.point.point_id] += 1
        if self._deaths[drawing.point.point_id] < ATTEMPTS:
            self._pending.append(drawing)
        else:
            _log.warning("%d workers died drawing %s: it is skipped", ATTEMPTS, drawing.point)

    def _look(self) -> None:
        """Keep some drawings pending; the first search happens at the first call."""
        if self._found is None:
            # Drawings in flight would be found again.
            if self._in_flight:
                return
            self._found = iter(self._find())
        while len(self._pending) < _MAX_PENDING and (drawing := next(self._found, None)) is not None:
            self._pending.append(drawing)
