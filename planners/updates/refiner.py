"""What refines actions on the rolled-out cost: steps that change rows in place."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor

from planners.base import ModelProblems
from planners.search.search_run import Rows, Run


class Refiner(ABC):
    """Steps on actions of a run; what belongs to a row lies there until the row begins anew."""

    extra_steps: ClassVar[int] = 0
    """Steps that come on top of those asked for."""

    def __init__(self, run: Run) -> None:
        self._run = run

    @abstractmethod
    def begin(self, rows: Rows | None = None) -> None:
        """These rows of the searched ones (None: all) start afresh."""

    @abstractmethod
    def step(self, actions: Float[Tensor, "batch time action"], rows: Rows | None = None) -> None:
        """One step of these of the searched rows (None: all), in place; what it rolls out is offered to the run."""

    @abstractmethod
    def keep(self, rows: Rows) -> None:
        """Go on with these of the rows."""

    @abstractmethod
    def join(self, others: Any) -> None:
        """The rows of `others`, a refiner of the same kind, behind these; the run has been joined before."""

    def _part(
        self, actions: Float[Tensor, "batch time action"], rows: Rows | None
    ) -> tuple[ModelProblems, Float[Tensor, "rows time action"]]:
        """Problems and actions of some rows."""
        return self._run.problems_of(rows), actions if rows is None else actions[rows.to(actions.device)]
