"""Drawings that wait: found when planning is over, handed out one by one, tried twice where workers die with them."""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator

from orchestrator.artifacts.drawing import Drawing, Drawn

ATTEMPTS = 2
"""Workers that may die with a drawing; it is left out then, and looked for again by the next run."""

_AHEAD = 50
"""Drawings that are looked through for one whose world model a worker has loaded."""

_log = logging.getLogger(__name__)


def _nothing() -> Iterator[Drawing]:
    return iter(())


class Drawings:
    """Hands drawings out and their results on. For one thread."""

    def __init__(
        self, find: Callable[[], Iterable[Drawing]] = _nothing, keep: Callable[[Drawn], None] = lambda drawn: None
    ) -> None:
        """`find` says what is lacking, as far as it is recorded; `keep` makes what was drawn durable."""
        self._find = find
        self._keep = keep
        self._found: Iterator[Drawing] | None = None
        self._ahead: deque[Drawing] = deque()
        self._flying = 0
        self._deaths: Counter[str] = Counter()
        """By point id."""

    def look_again(self) -> None:
        """More cells are recorded: what is lacking is another thing now."""
        self._found = None
        self._ahead.clear()

    @property
    def over(self) -> bool:
        """Whether nothing is lacking and nothing is being drawn."""
        if not self._flying:
            self._look()
        return not self._flying and not self._ahead

    def next(self, models: Iterable[str]) -> Drawing | None:
        """A drawing of a world model that the worker has, if there is one near; None: none is left to be handed out."""
        self._look()
        if not self._ahead:
            return None
        known = set(models)
        chosen = next((d for d in self._ahead if d.point.model_digest in known), self._ahead[0])
        self._ahead.remove(chosen)
        self._flying += 1
        return chosen

    def done(self, drawing: Drawing, made: Drawn | None) -> None:
        """A worker's answer; None: it died."""
        self._flying -= 1
        if made is not None:
            self._keep(made)
            return
        self._deaths[drawing.point.point_id] += 1
        if self._deaths[drawing.point.point_id] < ATTEMPTS:
            self._ahead.append(drawing)
        else:
            _log.warning("%d workers died drawing %s: it is left out", ATTEMPTS, drawing.point)

    def _look(self) -> None:
        """Keep some in view; what is found first is found when first asked."""
        if self._found is None:
            # What flies would be found again.
            if self._flying:
                return
            self._found = iter(self._find())
        while len(self._ahead) < _AHEAD and (drawing := next(self._found, None)) is not None:
            self._ahead.append(drawing)
