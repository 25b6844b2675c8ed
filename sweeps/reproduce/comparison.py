"""Own success rates beside published ones: differences of independent proportions, and what they come to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from math import sqrt
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from scipy.stats import fisher_exact

from sweeps.analysis.intervals import Rate
from sweeps.reproduce.published import Figure

LEVEL = 0.05
"""Level of the test below which a difference is called one."""


class Verdict(Enum):
    """Verdict on a published figure."""

    AGREES = "no difference seen"
    HIGHER = "higher than published"
    LOWER = "lower than published"
    UNKNOWN = "nothing planned"


@dataclass(frozen=True)
class Reproduced:
    """A published figure and one's own rate under the same protocol."""

    figure: Figure
    own: Rate

    @property
    def difference(self) -> float | None:
        """Own rate minus the published one; None if nothing was planned."""
        return None if self.own.value is None else self.own.value - self.figure.rate

    @property
    def interval(self) -> tuple[float, float]:
        """A 95 % interval of the difference of independent rates (Newcombe 1998, method 10)."""
        if self.own.value is None:
            return -1.0, 1.0
        (low, high), (theirs_low, theirs_high) = self.own.interval, self.figure.interval
        own, published = self.own.value, self.figure.rate
        below = sqrt((own - low) ** 2 + (theirs_high - published) ** 2)
        above = sqrt((high - own) ** 2 + (published - theirs_low) ** 2)
        return own - published - below, own - published + above

    @property
    def p_value(self) -> float:
        """P-value of Fisher's exact test, with the published rate's successes rounded to whole ones."""
        theirs = round(self.figure.rate * self.figure.trials)
        own = self.own.successes, self.own.trials - self.own.successes
        found: Any = fisher_exact([own, (theirs, self.figure.trials - theirs)])  # its type differs between versions of scipy
        return float(found[1])

    @property
    def verdict(self) -> Verdict:
        """Whether the two differ by more than chance explains."""
        if self.difference is None:
            return Verdict.UNKNOWN
        if self.p_value >= LEVEL:
            return Verdict.AGREES
        return Verdict.HIGHER if self.difference > 0 else Verdict.LOWER


def render(rows: Sequence[Reproduced], title: str) -> Table:
    """The table for a terminal."""
    caption = (
        "published, own: success rate with Wilson's 95 % interval and number of problems; difference: own minus published, "
        f"with Newcombe's 95 % interval; called one where Fisher's exact test is below {LEVEL}. The problems are the same only "
        "if the dataset is."
    )
    table = Table(title=title, caption=caption, title_justify="left", caption_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for column in ("planner", "published", "n", "own", "n", "difference", "verdict", "source"):
        table.add_column(column, justify="right" if column == "n" else "left")
    for row in rows:
        table.add_row(*cells_of(row))
    return table


def cells_of(row: Reproduced) -> tuple[str, ...]:
    """The texts of a row."""
    figure, (low, high) = row.figure, row.figure.interval
    published = f"{figure.rate:.2f} [{low:.2f}, {high:.2f}]"
    gap = "-" if row.difference is None else f"{row.difference:+.2f} [{row.interval[0]:+.2f}, {row.interval[1]:+.2f}]"
    counts = str(figure.trials), str(row.own.trials)
    return figure.planner, published, counts[0], row.own.text, counts[1], gap, row.verdict.value, figure.source
