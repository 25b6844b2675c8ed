"""Two drivers on one ledger: the second is refused, or joins the first."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from rich.console import Console

from orchestrator.core.portion import Portion, count, lacking, merged
from orchestrator.driver.join_requests import JoinRequest, JoinRequests
from orchestrator.driver.status import Status
from orchestrator.ledger.ledger import Ledger
from orchestrator.storage.locks import Holder
from sweeps.config.grid import Grid, missing_of
from sweeps.config.jobs import Job, check_grid
from sweeps.config.outputs import Outputs
from sweeps.console.display import LINE_EVERY, View
from sweeps.console.events import JoinedEvent, Progress
from sweeps.console.terminal import emit, say
from world_models.errors import UserError

LOOK = 1.0
"""Shortest pause between two looks at the ledger, in seconds."""
CALM = 10.0
"""The shortest pause as a multiple of the last look's duration: the driver needs the machine more."""
TAKEN_WITHIN = 30.0
"""Seconds without an answer to a request after which a line says so."""


class SecondDriver:
    """The behaviour of a driver while another one may hold its ledger."""

    def __init__(self, jobs: Sequence[Job], ledger: Ledger, console: Console, view: View) -> None:
        """`jobs` are the sweeps that this driver should plan."""
        self._jobs = jobs
        self._grids = [job.grid for job in jobs]
        self._outputs = jobs[0].outputs
        self._join_requests = JoinRequests(self._outputs.join_requests)
        self._ledger = ledger
        self._console = console
        self._view = view

    def refuse(self) -> None:
        """Raise UserError with host and pid of the driver that is writing, if there is one."""
        holder = self._holder()
        if holder is not None:
            raise UserError(
                f"another driver writes to the ledger {self._outputs.ledger} ({holder}): wait for it, stop it, "
                "or let it plan this sweep too with --join."
            )

    def check_names(self) -> None:
        """Raise UserError if a running driver plans another grid under the name of one of our sweeps."""
        holder = self._holder()
        for grid in self._grids if holder is not None else ():
            running_status = _status(self._outputs, grid.name)
            difference = self._outputs.difference(grid)
            if difference is not None and running_status is not None and running_status.is_from(holder):
                raise UserError(
                    f"a sweep named {grid.name} is running with another grid ({difference}): give yours another name, "
                    f"e.g. name={grid.name}-2."
                )

    def join(self, missing: list[Portion]) -> list[Portion]:
        """Have the running driver plan our saved sweeps, and follow it until all their cells are in the ledger.

        Returns the cells still missing when that driver has ended (usually none), or all of `missing` if none is running.
        """
        holder = self._holder()
        if holder is None:
            return missing
        request_ids = [self._join_requests.submit(JoinRequest(grid.name)) for grid in self._grids]
        say(self._console, f"joined the driver on {holder}: it plans these cells too; Ctrl-C here leaves it running")
        try:
            return self._follow(missing, request_ids)
        finally:
            for request_id in request_ids:
                self._join_requests.withdraw(request_id)

    def _follow(self, missing: list[Portion], request_ids: Sequence[str]) -> list[Portion]:
        total, began, said = count(missing), time.monotonic(), 0.0
        doubts = list(request_ids)
        while missing:
            holder, looked = self._holder(), time.monotonic()
            missing = missing_of(self._grids, self._ledger)
            took = time.monotonic() - looked
            if holder is None:
                if missing:
                    say(self._console, f"the other driver has ended: {count(missing)} cells are left and are planned here")
                return missing
            doubts = [request_id for request_id in doubts if not self._doubted(request_id, time.monotonic() - began)]
            if time.monotonic() - said >= LINE_EVERY:
                said = time.monotonic()
                self._show(total - count(missing), total, said - began)
            time.sleep(max(LOOK, CALM * took) if missing else 0.0)
        return missing

    def _show(self, done: int, total: int, seconds: float) -> None:
        if self._view is View.JSON:
            there = count(merged(portion for grid in self._grids for portion in grid.portions())) - total
            progress = Progress("cells", there + done, there + total, round(seconds, 1))
            emit(JoinedEvent(progress, done, total).as_json())
        elif self._view is View.LIVE:
            say(self._console, f"{done}/{total} cells")

    def _doubted(self, request_id: str, seconds: float) -> bool:
        """Print once why a request is not being planned; whether there is a reason."""
        refusal = self._join_requests.refusal(request_id)
        if refusal is not None:
            say(self._console, f"the other driver cannot plan this ({refusal}): it is planned here once the other has ended")
            return True
        if seconds > TAKEN_WITHIN and self._join_requests.is_pending(request_id):
            say(
                self._console,
                "the other driver has not accepted this: it may be stopping, waiting for disk space, or using another output "
                "folder; the cells that it leaves are planned here once it has ended",
            )
            return True
        return False

    def _holder(self) -> Holder | None:
        """The driver that is writing to the ledger, if any."""
        holder = self._ledger.holder()
        return holder if holder is not None and holder.alive else None


class RequestedSweeps:
    """Sweeps requested by other drivers: saved with ours and planned by our workers."""

    def __init__(
        self,
        outputs: Outputs,
        ledger: Ledger,
        mine: Sequence[Portion],
        on_join: Callable[[Grid, Sequence[Portion]], None],
        on_refusal: Callable[[str], None],
    ) -> None:
        """`mine` is planned anyway; `on_join` receives a sweep and the cells that it adds."""
        self._outputs = outputs
        self._ledger = ledger
        self._join_requests = JoinRequests(outputs.join_requests)
        self._mine = list(mine)
        self._on_join = on_join
        self._on_refusal = on_refusal

    def take(self) -> list[Portion]:
        """Cells of the sweeps requested since the last call; requests that cannot be planned here are refused with a reason."""
        portions: list[Portion] = []
        for request_id, request in self._join_requests.take():
            try:
                grid = self._outputs.load(request.sweep)
                check_grid(grid)
                fresh = missing_of([grid], self._ledger)
            except UserError as error:
                self._join_requests.refuse(request_id, str(error))
                self._on_refusal(f"a sweep that asked to join was left out: {error}")
                continue
            fresh = lacking(fresh, {portion.point.point_id: portion.seeds for portion in self._mine})
            self._mine = merged([*self._mine, *fresh])
            self._on_join(grid, fresh)
            portions += fresh
        return portions


def _status(outputs: Outputs, name: str) -> Status | None:
    """The last status of a sweep's driver; None if it cannot be read."""
    try:
        return Status.read(outputs.sweep(name) / "status.json")
    except UserError:
        return None
