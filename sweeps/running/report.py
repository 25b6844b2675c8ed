"""`grasp report`: a saved sweep as tables on the terminal and as files in the sweep's folder."""

from __future__ import annotations

from rich.console import Console

from orchestrator.ledger.ledger import Ledger
from sweeps.config.outputs import Outputs
from sweeps.console.terminal import say
from sweeps.reports.show import show
from sweeps.running.status_view import snapshot_of


def report(name: str | None, outputs: Outputs, console: Console) -> int:
    """Show a saved sweep from the ledger and write all files; 1 if any of its cells has failed, else 0."""
    grid = outputs.load(name)
    outputs = outputs.of_sweep(grid.name)
    running = snapshot_of(grid.name, outputs).running
    if running:
        say(console, f"sweep {grid.name} is being planned: these are the results so far (grasp status shows its progress)")
    seen = show(grid, outputs, Ledger(outputs.ledger), console, for_papers=True)
    missing = sum(row.missing for row in seen.rows)
    if missing and not running:
        say(console, f"{missing} cells are missing: run the sweep again to plan them")
    say(console, f"report.html, tables and figures: {outputs.sweep(grid.name)}")
    return int(any(row.failed for row in seen.rows))
