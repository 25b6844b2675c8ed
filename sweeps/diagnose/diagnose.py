"""`grasp diagnose`: whether GRASP's claims hold for a task and model, with figures, tables and a verdict per claim."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table
from torch import Tensor

from orchestrator.core.cell import digest
from orchestrator.core.messages import mask_words
from orchestrator.core.portion import count
from orchestrator.driver.run_cells import Hooks, run_cells
from orchestrator.evaluation.results import BatchResult
from orchestrator.ledger.ledger import Ledger
from orchestrator.scheduling.durations import DurationModel
from orchestrator.tracking.content.sweep_info import SweepInfo
from orchestrator.tracking.failures import TrackingError
from orchestrator.tracking.tracker import Tracker
from planners.diagnostics.gradients import normalised
from sweeps.analysis.rows import COLUMNS, Row, records_of, summarise
from sweeps.config.grid import missing_of
from sweeps.config.jobs import make_backend
from sweeps.console.display import LINE_EVERY
from sweeps.console.terminal import duration, say, show
from sweeps.diagnose.claims import Claim, ablation_claim, brittle_claim, control_claim, curvature_claims, gradient_claims
from sweeps.diagnose.measure import (
    BrittleRow,
    CurvatureRow,
    GradientRow,
    Subject,
    measure_brittleness,
    measure_control,
    measure_horizon,
)
from sweeps.diagnose.setup import CLAIMED, DiagnosisSpec, read_diagnosis
from sweeps.reports.tables import csv_text, render_table, to_csv
from sweeps.running.progress import SweepProgress, Tally, labels_of
from world_models.checkpoints import store as checkpoints
from world_models.files.writing import write_file


@dataclass(frozen=True)
class Findings:
    """All that was measured."""

    curvatures: tuple[CurvatureRow, ...]
    gradients: tuple[GradientRow, ...]
    brittle: BrittleRow
    ablation: tuple[Row, ...]
    claims: tuple[Claim, ...]


def diagnose(overrides: Sequence[str], console: Console, conf: Path | None = None) -> int:
    """Measure, print the table of claims, write figures and tables to a folder and to MLflow; return 1 when cells failed."""
    began = monotonic()
    spec = read_diagnosis(overrides, conf)
    spec.outputs.prepare()
    if spec.tracking_store is not None and (warning := spec.tracking_store.check()):
        say(console, f"{warning}: the measurements are written to files")
    torch.set_num_threads(spec.threads)
    first, last = spec.horizons[0], spec.horizons[-1]
    say(
        console,
        f"{spec.name}: {len(spec.horizons)} horizons from {first} to {last} on {spec.problems} problems, "
        f"then GRASP, whole and with parts taken away, at H = {last} on {len(spec.grid.seeds)} problems",
    )
    curvatures, gradients, brittle = _measure(spec, console)
    ablation = _ablate(spec, console)
    claims = (
        *[control_claim(curvatures), *curvature_claims(curvatures), *gradient_claims(gradients), brittle_claim(brittle)],
        *_ablation_claims(spec, ablation),
    )
    findings = Findings(curvatures, gradients, brittle, ablation, claims)
    title = f"{spec.task_label} with {Path(spec.model).name}"
    files = _write(findings, title, spec.folder)
    show(console, render_table(ablation, f"ablation of {title}"))
    show(console, claims_table(claims, title), 140)
    trouble = _track(spec, findings, files, mask_words(["grasp", "diagnose", *overrides]))
    if trouble:
        say(console, trouble)
    say(console, f"{duration(monotonic() - began)}; figures and tables are in {spec.folder}; runs: grasp ui")
    return int(any(row.failed for row in ablation))


def _measure(spec: DiagnosisSpec, console: Console) -> tuple[tuple[CurvatureRow, ...], tuple[GradientRow, ...], BrittleRow]:
    """All measurements but the ablation, in float64, since values grow by many powers of ten."""
    loaded = checkpoints.load(spec.model, spec.device, torch.float64)
    seeds, longest = spec.grid.seeds, spec.horizons[-1]
    subject = Subject(spec.task, loaded, seeds[: spec.problems], longest)
    curvatures: list[CurvatureRow] = []
    gradients: list[GradientRow] = []
    with _Bar(console, sum(spec.horizons)) as bar:
        for horizon in spec.horizons:
            bar.say(f"curvature and gradients at H = {horizon}")
            found = measure_horizon(subject, horizon, spec.probe)
            curvatures += [*found[0], measure_control(horizon // spec.task.action_block, horizon, spec.problems)]
            gradients += found[1]
            bar.advance(horizon)
        bar.say("state gradients")
        brittle = measure_brittleness(Subject(spec.task, loaded, seeds, longest))
    return tuple(curvatures), tuple(gradients), brittle


def _ablate(spec: DiagnosisSpec, console: Console) -> tuple[Row, ...]:
    """Plan the ablation's cells that the ledger lacks; return the rows of its table."""
    grid, ledger, durations = spec.grid, Ledger(spec.outputs.ledger), DurationModel()
    missing = missing_of([grid], ledger)
    if missing:
        durations.learn_from(ledger)
        tally = Tally(missing, labels_of([grid]), durations)
        say(console, f"ablation: {count(missing)} of {count(grid.portions())} cells to plan")
        with make_backend(spec.backend) as backend, SweepProgress(console, tally, backend) as view:

            def on_result(result: BatchResult) -> None:
                tally.on_result(result)
                view.refresh()

            run_cells(
                grid.portions(),
                ledger,
                backend,
                hooks=Hooks(on_result=on_result),
                artifacts=spec.outputs.artifacts,
                durations=durations,
                config_digest=digest(spec.config_text),
            )
    return tuple(summarise(grid, records_of(grid, ledger, COLUMNS)))


def _ablation_claims(spec: DiagnosisSpec, rows: Sequence[Row]) -> list[Claim]:
    """A claim for each ablation in `CLAIMED`."""
    table = records_of(spec.grid, Ledger(spec.outputs.ledger), ("point_id", "seed", "evaluations"))
    evaluations = {(row["point_id"], row["seed"]): row["evaluations"] for row in table.to_pylist() if row["evaluations"]}
    base = rows[0]
    claims = []
    for row in (row for row in rows if row.planner in CLAIMED):
        pairs = [
            (evaluations.get((row.entry.point.point_id, s)), evaluations.get((base.entry.point.point_id, s)))
            for s in spec.grid.seeds
        ]
        claims.append(ablation_claim(row, base, torch.tensor([mine / whole for mine, whole in pairs if mine and whole])))
    return claims


def claims_table(claims: Iterable[Claim], title: str) -> Table:
    """Table of claims with measurement, verdict and figure."""
    table = Table(title=f"claims: {title}", title_justify="left", box=SIMPLE_HEAD, pad_edge=False, show_lines=True)
    table.add_column("claim", ratio=3)
    table.add_column("measured", ratio=6)
    table.add_column("verdict", no_wrap=True)
    table.add_column("figure", no_wrap=True)
    for claim in claims:
        table.add_row(claim.statement, claim.measured.replace("; ", "\n"), claim.verdict.value, claim.figure)
    return table


def _write(findings: Findings, title: str, folder: Path) -> list[Path]:
    """Write figures, then tables, and return their paths; WriteError when the folder can't be written."""
    from sweeps.diagnose.figures import ablation_figure, brittleness_figure, curvature_figure, gradients_figure

    written = [
        curvature_figure(findings.curvatures, title, folder / "curvature.png"),
        gradients_figure(findings.gradients, title, folder / "gradients.png"),
        brittleness_figure(findings.brittle, title, folder / "brittleness.png"),
        ablation_figure(findings.ablation, title, folder / "ablation.png"),
        _csv(folder / "claims.csv", ("claim", "verdict", "measured", "rule", "figure"), _claim_lines(findings.claims)),
        _csv(folder / "curvature.csv", CURVATURE_COLUMNS, _curvature_lines(findings.curvatures)),
        _csv(folder / "gradients.csv", GRADIENT_COLUMNS, _gradient_lines(findings.gradients)),
        _csv(folder / "brittleness.csv", BRITTLE_COLUMNS, _brittle_lines(findings.brittle)),
    ]
    write_file(folder / "ablation.csv", to_csv(findings.ablation))
    return [*written, folder / "ablation.csv"]


CURVATURE_COLUMNS = ("objective", "place", "horizon", "T", "problem", "gauss_newton", "hessian", "condition")
GRADIENT_COLUMNS = ("objective", "place", "horizon", "t", "lower_quartile", "median", "upper_quartile")
BRITTLE_COLUMNS = ("radius", "problem", "removed", "removed_by_one_step", "truly_removed")


def _csv(path: Path, columns: Sequence[str], lines: Iterable[Sequence[object]]) -> Path:
    write_file(path, csv_text(columns, lines))
    return path


def _claim_lines(claims: Iterable[Claim]) -> Iterable[Sequence[object]]:
    return ((c.statement, c.verdict.value, c.measured, c.rule, c.figure) for c in claims)


def _curvature_lines(rows: Iterable[CurvatureRow]) -> Iterable[Sequence[object]]:
    for row in rows:
        columns = row.values.gauss_newton.tolist(), row.values.hessian.tolist(), row.condition.tolist()
        for problem, values in enumerate(zip(*columns, strict=True)):
            yield row.objective, row.iterate, row.horizon, row.steps, problem, *values


def _gradient_lines(rows: Iterable[GradientRow]) -> Iterable[Sequence[object]]:
    """Lines with quartiles over problems of the gradient norm, as a share of the plan's largest."""
    for row in rows:
        quartiles = normalised(row.norms).quantile(torch.tensor([0.25, 0.5, 0.75]).to(row.norms), dim=0)
        for t, values in enumerate(quartiles.T.tolist()):
            yield row.objective, row.iterate, row.horizon, t, *values


def _brittle_lines(row: BrittleRow) -> Iterable[Sequence[object]]:
    def listed(values: Tensor | None, radius: int, problem: int) -> object:
        return "" if values is None else float(values[radius, problem])

    for i, radius in enumerate(row.measured.radii):
        for problem in range(row.measured.removed.shape[1]):
            columns = row.measured.removed, row.measured.removed_by_one_step, row.truly_removed
            yield radius, problem, *(listed(values, i, problem) for values in columns)


def _track(spec: DiagnosisSpec, findings: Findings, files: Sequence[Path], command: str) -> str | None:
    """Track the ablation as its own sweep with figures, tables and verdicts on its page; return the error, if any."""
    lines = ["The measurements and rules are in tables/claims.csv.", "", "| claim | verdict | figure |", "|---|---|---|"]
    lines += [f"| {c.statement} | **{c.verdict.value}** | {c.figure} |" for c in findings.claims]
    info = SweepInfo(spec.name, spec.config_text, command, "\n".join(lines))
    if spec.tracking_store is None:
        return None
    tracker = Tracker(spec.tracking_store)
    table = records_of(spec.grid, Ledger(spec.outputs.ledger))
    try:
        tracker.sync(info, table, spec.outputs.artifacts, [file for file in files if file.suffix == ".png"])
        tracker.attach(
            info.name, {f"verdict/{c.key}": c.verdict.value for c in findings.claims}, [f for f in files if f.suffix == ".csv"]
        )
    except TrackingError as error:
        return str(error)
    return None


class _Bar:
    """Progress of the measurements: a bar on a terminal, plain lines elsewhere, with the time left."""

    def __init__(self, console: Console, total: int) -> None:
        self._console = console
        self._total = total
        self._done = 0
        self._doing = ""
        self._began = self._last = monotonic()
        columns = (BarColumn(bar_width=24), TextColumn("{task.description}", markup=False))
        self._bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._bar.add_task("", total=total)

    def __enter__(self) -> _Bar:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def say(self, doing: str) -> None:
        """Show what is being measured now."""
        self._doing = doing
        self._show()

    def advance(self, amount: int) -> None:
        """Show that `amount` more is done."""
        self._done += amount
        self._show()

    def _show(self) -> None:
        elapsed = monotonic() - self._began
        left = elapsed * (self._total - self._done) / self._done if self._done else 0.0
        words = [self._doing, f"{100 * self._done // self._total} %"] + ([f"{duration(left)} left"] if left else [])
        self._bar.update(self._task, completed=self._done, description="  ".join(words))
        if not self._console.is_terminal and monotonic() - self._last >= LINE_EVERY:
            self._last = monotonic()
            say(self._console, "  ".join(words))
