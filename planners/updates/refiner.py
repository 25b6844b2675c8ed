"""Refiners: steps on the rolled-out cost that improve actions in place."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor

from planners.base import ModelProblems
from planners.search.search_run import Rows, Run


class Refiner(ABC):
    """Base of refiners, which take steps on a run's actions; a row's state is kept until `begin` resets it."""

    extra_steps: ClassVar[int] = 0
    """Steps needed in addition to the requested ones."""

    def __init__(self, run: Run) -> None:
        self._run = run

    @abstractmethod
    def begin(self, rows: Rows | None = None) -> None:
        """Reset the state of these searched rows (None: all)."""

    @abstractmethod
    def step(self, actions: Float[Tensor, "batch time action"], rows: Rows | None = None) -> None:
        """Take one step in place for these searched rows (None: all); the run records what it rolls out."""

    @abstractmethod
    def keep(self, rows: Rows) -> None:
        """Keep only these rows."""

    @abstractmethod
    def join(self, others: Any) -> None:
        """Append the rows of `others`, a refiner of the same kind; the runs have been joined already."""

    def _part(
        self, actions: Float[Tensor, "batch time action"], rows: Rows | None
    ) -> tuple[ModelProblems, Float[Tensor, "rows time action"]]:
        """Problems and actions of these rows (None: all)."""
        return self._run.problems_of(rows), actions if rows is None else actions[rows.to(actions.device)]
