"""One plan from Python: `plan(...)` plans a problem in this process, and a `Planned` shows the result."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from html import escape
from os import PathLike
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from orchestrator.ledger.records import CellResult
from sweeps.api.arguments import override_words
from sweeps.running.plan import PlannedCell, plan_cell, read_plan
from world_models.errors import UserError
from world_models.files.writing import write_file


def plan(*words: str, conf: str | PathLike[str] | None = None, **keys: object) -> Planned:
    """Plan one problem in this process, execute the plan in the simulator, and draw it; nothing is written.

    `words` and `keys` are overrides as `grasp plan` takes them, e.g. `task="wall", planner="gd", horizons=[25], seeds=[3]`.
    Raises UserError for invalid input, and if it makes more than one cell.

    >>> import grasp_orchestrator as grasp
    >>> planned = grasp.plan("artifacts.video=false", task="wall", planner="gd", horizons=[10], seeds=[3])
    >>> planned.success, f"{planned.distance:.1f} {planned.unit} from the goal"
    (True, '0.1 px from the goal')
    """
    return Planned(plan_cell(read_plan(override_words(words, keys), None if conf is None else Path(conf))))


@dataclass(frozen=True, repr=False)
class Planned:
    """One problem, planned and executed; a notebook shows its animation."""

    cell: PlannedCell

    @property
    def result(self) -> CellResult:
        """Everything that was measured, in the form of a ledger record."""
        return self.cell.result

    @property
    def success(self) -> bool:
        """Whether the final state in the simulator passes the task's test; where there is none, that in the model."""
        return self.result.success

    @property
    def distance(self) -> float | None:
        """Distance to the goal at the end, in the simulator, in `unit`; None if planning failed."""
        return self.result.distance

    @property
    def unit(self) -> str:
        """Unit of the distance."""
        return self.cell.entry.unit

    @property
    def error(self) -> str | None:
        """Reason that planning failed, in one line; None if it did not."""
        return self.result.error

    @property
    def actions(self) -> Float64[np.ndarray, "time action"]:
        """Environment actions of the plan, within [-1, 1]; no rows if planning failed.

        >>> planned.actions.shape
        (10, 2)
        """
        flat = np.array(self.result.actions, np.float64)
        return flat.reshape(self.cell.entry.point.horizon, -1) if len(flat) else flat.reshape(0, 0)

    def save(self, file: str | PathLike[str]) -> Path:
        """Write the animation (.gif, .mp4), the picture of its end (.png) or the trajectory (.parquet), by the file's suffix.

        Raises UserError for another suffix, for a file that could not be drawn, and for a path that cannot be written.

        >>> planned.save("plan.gif").name
        'plan.gif'
        """
        target = Path(file)
        data = self._file(target.suffix.removeprefix("."))
        if data is None:
            kinds = ", ".join(f".{artifact.kind}" for artifact in self.cell.artifacts) or "nothing"
            reason = self.error or "; ".join(self.cell.troubles)
            raise UserError(f"{target} cannot be saved{f' ({reason})' if reason else ''}: this plan has {kinds}.")
        write_file(target, data)
        return target

    def _file(self, kind: str) -> bytes | None:
        return next((artifact.data for artifact in self.cell.artifacts if artifact.kind == kind), None)

    def __repr__(self) -> str:
        entry = self.cell.entry
        words = f"{entry.task} with {entry.planner}, horizon {entry.point.horizon}, seed {self.cell.seed}"
        if self.error is not None:
            return f"{words}: planning failed: {self.error}"
        assert self.distance is not None
        where = "" if self.result.judged is None else " in the model"
        return f"{words}: {'success' if self.success else 'no success'}{where}, {self.distance:.3g} {self.unit} from the goal"

    def _repr_png_(self) -> bytes | None:
        """Picture of the plan's end, for notebooks that show no HTML."""
        return self._file("png")

    def _repr_html_(self) -> str:
        """One line on the result and the animation below it, for notebooks."""
        gif = self._file("gif")
        image = "" if gif is None else f'<img alt="animation" src="data:image/gif;base64,{b64encode(gif).decode()}">'
        return f"<p>{escape(repr(self))}</p>{image}"
