"""`grasp tune`: the requested number of trials, then the best of them on fresh seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from rich.console import Console

from orchestrator.core.portion import merged
from orchestrator.tracking.study_tracker import StudyInfo, StudyTracking
from orchestrator.tuning.trials import TrialView
from sweeps.analysis.point_cells import records_of
from sweeps.analysis.rows import summarise
from sweeps.config.grid import Grid, missing_of
from sweeps.config.jobs import Job
from sweeps.console.display import View
from sweeps.console.resuming import resume_command
from sweeps.console.terminal import duration, say
from sweeps.reports.tables import headline
from sweeps.running.driver import Driver
from sweeps.running.tracking import SweepTracking, tracking_store_of
from sweeps.tuning import report as tune_report
from sweeps.tuning.progress import refused_words
from sweeps.tuning.rounding import RoundedSettings, label_of, to_round, with_rounded
from sweeps.tuning.spec import StudySpec, read_study
from sweeps.tuning.study_run import StudyRun
from sweeps.tuning.verdict import Verdict, judge, select_candidates
from sweeps.tuning.winner import WINNER


def tune(overrides: Sequence[str], console: Console, conf: Path | None = None, view: View = View.LIVE) -> int:
    """Run a study to its number of trials and judge the best of them; 130 or 143 when stopped, else 0."""
    own = ["--conf", str(conf)] if conf is not None else []
    return run_study(read_study(overrides, conf), overrides, console, view, resume_command(["tune", *own, *overrides]))


def run_study(spec: StudySpec, overrides: Sequence[str], console: Console, view: View, goes_on: str) -> int:
    """Run a composed study as `tune` does; records and messages quote `overrides` and the command that `goes_on`."""
    spec.outputs.prepare()
    tracking = _tracking(spec, goes_on, console)
    run = StudyRun(spec, console, view, goes_on, observers=[tracking.on_trial_end])
    tracking.check()
    tracking.start()
    for name in spec.fixed:
        say(console, f"{name} is fixed on the command line and not tuned")
    try:
        if not _trials(run, console):
            return run.stop.code
        under_way = run.spec.plan.total - run.study.finished()
        if under_way > 0:
            say(
                console,
                f"{under_way} trials are in progress in another driver: run the same command again once they have ended",
            )
            return 0
        return _conclude(run, tracking, overrides, console)
    finally:
        tracking.stop()


def _tracking(spec: StudySpec, command: str, console: Console) -> StudyTracking:
    info = StudyInfo(spec.name, spec.config_text, command, spec.definition.objectives, spec.definition.words())
    store = tracking_store_of(spec.config.tracking, spec.outputs)
    return StudyTracking(store, info, partial(say, console))


def _conclude(run: StudyRun, tracking: StudyTracking, overrides: Sequence[str], console: Console) -> int:
    """Judge the best trials, and write tables, figures and a page in MLflow."""
    spec, views = run.spec, run.study.views()
    candidates = select_candidates(spec, views)
    if not _judge(run, candidates, overrides, console):
        return run.stop.code
    verdict = judge(spec, run.ledger, candidates)
    rounded = to_round(spec, verdict)
    if not _judge_rounded(run, verdict, rounded, overrides, console):
        return run.stop.code
    verdict = with_rounded(spec, run.ledger, verdict, rounded)
    folder = tune_report.write(spec, verdict)
    tune_report.show(spec, verdict, console)
    objectives = spec.definition.objectives
    front = [view.number for view in candidates.values()]
    from sweeps.tuning.figures import draw  # matplotlib, only where a picture is drawn

    pictures = draw(folder, views, spec.space, objectives, run.study.importances(), front)
    tables = [folder / name for name in ("report.txt", WINNER, "held_out.json")]
    tracking.finish(views, [*pictures, *tables], tune_report.headline(spec, verdict))
    say(console, f"files in {folder}; trials and pictures: grasp ui, or grasp ui --optuna")
    return 0


def _trials(run: StudyRun, console: Console) -> bool:
    """Plan the trials that the study lacks; False if it was stopped."""
    spec, done = run.spec, run.study.finished()
    if done >= spec.plan.total:
        say(console, f"study {spec.name}: all {done} trials have ended")
        return True
    done_words = f", {done} already ended" if done else ""
    say(
        console,
        f"study {spec.name}: {spec.plan.total} trials{done_words}, {len(spec.space.names)} settings of {spec.planner.label}, "
        f"at most {len(spec.instances)} cells each on {spec.config.backend.name}; Ctrl-C stops, the same command goes on",
    )
    summary = run.run()
    ended = f"{run.study.finished()} of {spec.plan.total} trials have ended"
    if refused := run.study.refused():
        ended += f", and {refused_words(refused)}, because they conflict: grasp ui shows why"
    say(console, f"{summary.computed} cells planned in {duration(summary.seconds)}; {ended}")
    if run.stop.is_set():
        say(console, f"stopped; go on with: {run.resume_command}")
    return not run.stop.is_set()


def _judge(run: StudyRun, candidates: dict[str, TrialView], overrides: Sequence[str], console: Console) -> bool:
    """Plan the candidates and the default on the choice seeds and on the held-out seeds, as two sweeps; False if stopped."""
    spec, split = run.spec, run.spec.seed_split
    settings = {label: view.settings for label, view in candidates.items()}
    grids = [
        spec.candidates(f"{spec.name}-{kind}", settings, seeds)
        for kind, seeds in (("choice", split.choice), ("held-out", split.held_out))
    ]
    what = (
        f"judging {len(candidates)} trials and the planner's own settings on {len(split.choice)} choice seeds "
        f"and {len(split.held_out)} held-out seeds"
    )
    return _plan(run, grids, what, overrides, console)


def _judge_rounded(
    run: StudyRun, verdict: Verdict, rounded: RoundedSettings, overrides: Sequence[str], console: Console
) -> bool:
    """Plan rounded settings on the held-out seeds, in one sweep with the unrounded ones; False if stopped."""
    if not rounded:
        return True
    spec, seeds = run.spec, run.spec.seed_split.held_out
    settings = {standing.label: standing.settings for standing in verdict.standings if standing.label in rounded}
    settings |= {label_of(label): values for label, values in rounded.items()}
    grid = spec.candidates(f"{spec.name}-rounded", settings, seeds)
    what = f"judging {' and '.join(rounded)} with settings of {spec.digits} digits on {len(seeds)} held-out seeds"
    return _plan(run, [grid], what, overrides, console)


def _plan(run: StudyRun, grids: Sequence[Grid], what: str, overrides: Sequence[str], console: Console) -> bool:
    """Plan the cells of the grids that the ledger lacks, one sweep per grid; False if stopped."""
    missing = missing_of(grids, run.ledger)
    if not missing:
        return True
    spec = run.spec
    even = replace(spec.config, even_batches=True)  # because their seconds are compared
    jobs = [Job(grid, spec.outputs, even, spec.config_text) for grid in grids]
    trackers = [SweepTracking(job, overrides, run.ledger, partial(say, console)) for job in jobs]
    for job, tracker in zip(jobs, trackers, strict=True):
        tracker.check()
        spec.outputs.save(job.grid, job.config_text)
    say(console, what)
    driver = Driver(jobs, run.ledger, console, run.view, trackers=trackers, resume_command=run.resume_command)
    summary = driver.run(merged(portion for grid in grids for portion in grid.portions()), missing)
    for job, tracker in zip(jobs, trackers, strict=True):
        tracker.finish(headline(summarise(job.grid, records_of(job.grid, run.ledger))), [])
    if summary.left:
        say(console, f"stopped with {summary.left} cells to go; go on with: {run.resume_command}")
    return not summary.left
