"""Drawings that wait: found when planning is over, handed out one by one, tried twice where workers die with them."""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator

from orchestrator.artifacts.drawing import Drawing, Drawn

ATTEMPTS = 2
"""Workers that may die with a drawing; it is left out then, and looked for again by the next run."""

_MAX_PENDING = 50
"""Drawings that are looked through for one whose world model a worker has loaded."""

_log = logging.getLogger(__name__)


def _nothing() -> Iterator[Drawing]:
    return iter(())


class DrawingQueue:
    """Hands drawings out and their results on. For one thread."""

    def __init__(
        self, find: Callable[[], Iterable[Drawing]] = _nothing, keep: Callable[[Drawn], None] = lambda drawn: None
    ) -> None:
        """`find` says what is lacking, as far as it is recorded; `keep` makes what was drawn durable."""
        self._find = find
        self._keep = keep
        self._found: Iterator[Drawing] | None = None
        self._pending: deque[Drawing] = deque()
        self._in_flight = 0
        self._deaths: Counter[str] = Counter()
        """By point id."""

    def invalidate(self) -> None:
        """More cells are recorded: what is lacking is another thing now."""
        self._found = None
        self._pending.clear()

    @property
    def over(self) -> bool:
        """Whether nothing is lacking and nothing is being drawn."""
        if not self._in_flight:
            self._look()
        return not self._in_flight and not self._pending

    def next(self, models: Iterable[str]) -> Drawing | None:
        """A drawing of a world model that the worker has, if there is one near; None: none is left to be handed out."""
        self._look()
        if not self._pending:
            return None
        known = set(models)
        drawing = next((d for d in self._pending if d.point.model_digest in known), self._pending[0])
        self._pending.remove(drawing)
        self._in_flight += 1
        return drawing

    def done(self, drawing: Drawing, made: Drawn | None) -> None:
        """A worker's answer; None: it died."""
        self._in_flight -= 1
        if made is not None:
            self._keep(made)
            return
        self._deaths[drawing.point.point_id] += 1
        if self._deaths[drawing.point.point_id] < ATTEMPTS:
            self._pending.append(drawing)
        else:
            _log.warning("%d workers died drawing %s: it is left out", ATTEMPTS, drawing.point)

    def _look(self) -> None:
        """Keep some in view; what is found first is found when first asked."""
        if self._found is None:
            # What flies would be found again.
            if self._in_flight:
                return
            self._found = iter(self._find())
        while len(self._pending) < _MAX_PENDING and (drawing := next(self._found, None)) is not None:
            self._pending.append(drawing)
