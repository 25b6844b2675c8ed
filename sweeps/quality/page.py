"""docs/planning-quality.md: written from the results file, worst.yaml and remarks.md beside it, and from nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sweeps.quality import figures as quality_figures
from sweeps.quality import results as results_file
from sweeps.quality.caveats import caveats
from sweeps.quality.results import Results
from sweeps.quality.sweeps import ABLATION, EQUAL, MPC, OWN, TIME_CAPPED
from sweeps.quality.tables import (
    MeasuredPoint,
    condition_text,
    group_by_verdict,
    measured_points,
    points_of_part,
    rate_text,
    shown_failures,
    targets,
    versus_text,
)
from world_models.errors import UserError, require

PAGE, ASSETS, FAILURE_NOTES, REMARKS = "planning-quality.md", "planning-quality", "worst.yaml", "remarks.md"
"""The page, the folder beside it with figures, films and results, and what is written there by hand: a sentence on each of the
worst cells, and a section that follows the targets."""
TIME_CAPPED_TEXT = (
    "`grasp_hurried_by_NAME` is tuned GRASP with so few seconds a problem as a target allows, a share of what NAME takes with "
    "its own budget. It may try as often as these allow."
)
UNSEEN = "not looked at yet"
READING = (
    "Success is the final state in the simulator, on problems that nothing was chosen on, with Wilson's 95 % interval.",
    "*vs grasp* is the difference in success from GRASP on the same problems with a 95 % interval; *better* and *worse* are",
    "said where McNemar's exact test, adjusted for all comparisons of the table (Benjamini and Hochberg), is at most 0.05,",
    "everything else is *unclear*. Seconds are means over all problems, solved or not.",
)
ALT = {
    "success": "success against the horizon, by planner and task",
    "seconds": "success against planning seconds",
    "growth": "planning seconds against the horizon",
    "model": "success in the world model and in the simulator",
    "sensitivity": "heat maps of GRASP's success by goal weight and noise",
}


@dataclass(frozen=True)
class HandWrittenNotes:
    """What people wrote about the results."""

    failures: Mapping[str, str]
    """A sentence on a cell, by cell id."""
    remarks: str = ""
    """Markdown that stands after the targets, with a heading of its own."""


def build(results: Results, folder: Path) -> Path:
    """Write page, figures and results below a folder; the page's path. The same results give the same bytes.

    UserError where the folder cannot be written to or worst.yaml is no list of sentences.
    """
    assets = folder / ASSETS
    try:
        assets.mkdir(parents=True, exist_ok=True)
        results_file.write(results, assets / results_file.RESULTS)
        results = results_file.read(assets / results_file.RESULTS)  # the page is made from what others will have
        points = measured_points(results)
        figures = quality_figures.draw(points, results.facts, assets)
        animations = {file.stem for file in assets.glob("*.gif")}
        notes = HandWrittenNotes(read_notes(assets / FAILURE_NOTES), _text(assets / REMARKS))
        text = page(results, points, [file.stem for file in figures], notes, animations)
        (folder / PAGE).write_text(text)
    except OSError as error:
        raise UserError(f"cannot write the page to {folder} ({error.strerror}): choose another with page=FOLDER.") from error
    return folder / PAGE


def read_notes(file: Path) -> dict[str, str]:
    """What somebody wrote about cells, by cell id; empty without the file, UserError for what is no such file."""
    if not file.exists():
        return {}
    raw = yaml.safe_load(file.read_text()) or {}
    sound = isinstance(raw, dict) and all(isinstance(text, str) for text in raw.values())
    require(sound, f"{file} is no list of sentences: write CELL_ID: sentence, a line each.")
    return {str(key): value for key, value in raw.items()}


def _text(file: Path) -> str:
    return file.read_text().strip() if file.exists() else ""


def page(
    results: Results, points: Sequence[MeasuredPoint], figures: Sequence[str], notes: HandWrittenNotes, animations: set[str]
) -> str:
    """The page's text, in Markdown."""
    facts = results.facts
    own, equal, mpc = (points_of_part(points, part) for part in (OWN, EQUAL, MPC))
    lines = ["# Planning quality", "", first_paragraph(own, equal, facts), ""]
    if facts["variant"] != "full":
        lines += [f"This is the `{facts['variant']}` variant, which shows that everything works; its numbers say nothing.", ""]
    lines += [
        *READING,
        "",
        *_figure(figures, "success"),
        *_targets(points, facts),
        *([notes.remarks, ""] if notes.remarks else []),
        *_section("Own budgets", "Every planner with settings tuned by the same number of trials, executed in open loop.", own),
        *_section("Equal seconds", _equal_seconds_text(facts), equal),
        *_section("GRASP in a share of another's seconds", TIME_CAPPED_TEXT, points_of_part(points, TIME_CAPPED)),
        *_section("Replanned (MPC)", "`mpc:K` plans anew after every K environment steps.", mpc),
        *_resource_use(own, figures),
        *_model(own, figures),
        *_ablation(points_of_part(points, ABLATION), facts),
        *_sensitivity(figures),
        *_claims(facts),
        *_shown_failures(points, facts, notes.failures, animations),
        *caveats(facts, own, equal),
    ]
    return "\n".join(lines).rstrip() + "\n"


def first_paragraph(own: Sequence[MeasuredPoint], equal: Sequence[MeasuredPoint], facts: Mapping[str, Any]) -> str:
    """What GRASP alone wins and where it loses, by the adjusted verdicts and no others."""
    sentences = [_sentence("With own budgets", own)]
    if equal:
        sentences.append(_sentence("Within equal seconds", equal))
    return " ".join(sentences)


def _sentence(when: str, points: Sequence[MeasuredPoint]) -> str:
    found = group_by_verdict(points)
    every = len(found.better) + len(found.worse) + len(found.unclear)
    if not every:
        return f"{when}, nothing can be compared with GRASP."
    lost = f"GRASP alone loses on {_by_condition(found.worse)}" if found.worse else "GRASP alone loses nowhere"
    won = f"succeeds more often than {_by_planner(found.better)}" if found.better else "is nowhere shown to succeed more often"
    return (
        f"{when}, {lost}; it {won}. In {len(found.unclear)} of {every} comparisons these problems cannot tell "
        f"({len(found.better)} won, {len(found.worse)} lost)."
    )


def _by_condition(points: Sequence[MeasuredPoint]) -> str:
    """`push_t H50 (to cem by 0.25) and wall H50 (...)`."""
    by: dict[str, list[str]] = {}
    for one in points:
        assert one.versus is not None
        by.setdefault(condition_text(one), []).append(f"{one.planner} by {one.versus.success.difference or 0.0:.2f}")
    return ", ".join(f"{condition} (to {', '.join(others)})" for condition, others in by.items())


def _by_planner(points: Sequence[MeasuredPoint]) -> str:
    """`cem on push_t H50 and H75, wall H50; gd on ...`."""
    by: dict[str, dict[str, list[str]]] = {}
    for one in points:
        task, when = condition_text(one).split(" ", 1)
        by.setdefault(one.planner, {}).setdefault(task, []).append(when)
    said = {planner: [f"{task} {' and '.join(when)}" for task, when in tasks.items()] for planner, tasks in by.items()}
    return "; ".join(f"{planner} on {', '.join(conditions)}" for planner, conditions in said.items())


def _figure(figures: Sequence[str], name: str) -> list[str]:
    return [f"![{ALT[name]}]({ASSETS}/{name}.png)", ""] if name in figures else []


def _targets(points: Sequence[MeasuredPoint], facts: Mapping[str, Any]) -> Iterator[str]:
    found = targets(points, facts)
    if not found:
        return
    yield from (
        "## Targets",
        "",
        f"The best of our planners ({', '.join(facts['ours'])}) on held-out problems. The best of several",
    )
    yield from ("is a little lucky; the tables have each.", "", "| target | measured | |", "|---|---|---|")
    for one in found:
        yield f"| {one.requirement} | {one.measured} | {'met' if one.met else '**missed**'} |"
    yield ""


def _equal_seconds_text(facts: Mapping[str, Any]) -> str:
    return (
        "Every other planner (`NAME_timed`, with its tuned settings) has tuned GRASP's mean seconds a problem at that task "
        "and horizon as `max_seconds`, and no bound on evaluations. Where it is told what counts as reached it may try up "
        f"to {facts['timed_attempts']} times until they are spent. An iteration that has begun is ended, so that seconds may "
        "exceed the limit; s/plan says what was spent."
    )


def _section(title: str, words: str, points: Sequence[MeasuredPoint]) -> Iterator[str]:
    if not points:
        return
    yield from (f"## {title}", "", words, "")
    yield from ("| task | H | planner | success | n | vs grasp | distance | s/plan |", "|---|---|---|---|---|---|---|---|")
    for one in points:
        far = "-" if one.distance is None else f"{one.distance:.3g} {one.unit}"
        failed = f" ({one.failed} failed)" if one.failed else ""
        yield (
            f"| {one.task} | {_horizon(one)} | {one.planner} | {rate_text(one.success)} | {one.success.trials}{failed} "
            f"| {versus_text(one)} | {far} | {_number(one.seconds)} |"
        )
    yield ""


def _resource_use(own: Sequence[MeasuredPoint], figures: Sequence[str]) -> Iterator[str]:
    yield from (
        "## Seconds and model evaluations",
        "",
        "Seconds of the successes alone flatter a planner that succeeds seldom: read",
    )
    yield from ("them beside those of all problems. In a batch a problem is charged its share.", "")
    yield from _figure(figures, "seconds")
    yield from ("| task | H | planner | s/plan, all | s/plan, solved | model steps |", "|---|---|---|---|---|---|")
    for one in own:
        steps = "-" if one.evaluations is None else f"{one.evaluations:.0f}"
        seconds = f"{_number(one.seconds)} | {_number(one.solved_seconds)}"
        yield f"| {one.task} | {one.horizon} | {one.planner} | {seconds} | {steps} |"
    yield ""
    yield from _figure(figures, "growth")


def _model(own: Sequence[MeasuredPoint], figures: Sequence[str]) -> Iterator[str]:
    yield from (
        "## In the model and in the simulator",
        "",
        "Where the model sees more success than the simulator, plans exploit its",
    )
    yield from ("errors, and no planner mends that.", "")
    yield from _figure(figures, "model")
    yield from ("| task | H | planner | in the model | in the simulator | lost |", "|---|---|---|---|---|---|")
    for one in own:
        if one.in_model.value is not None and one.success.value is not None:
            lost = one.in_model.value - one.success.value
            rates = f"{one.in_model.value:.2f} | {one.success.value:.2f} | {lost:+.2f}"
            yield f"| {one.task} | {one.horizon} | {one.planner} | {rates} |"
    yield ""


def _ablation(points: Sequence[MeasuredPoint], facts: Mapping[str, Any]) -> Iterator[str]:
    if not points:
        return
    yield from (
        "## What GRASP needs",
        "",
        "Tuned GRASP with one thing changed, the rest left as tuned, on the same problems.",
        "",
    )
    for name, settings in facts["changes"].items():
        yield f"- `{name}`: {', '.join(f'{key} {value}' for key, value in settings.items())}"
    yield from (
        "",
        "| task | H | planner | success | n | vs grasp | s/plan | model steps |",
        "|---|---|---|---|---|---|---|---|",
    )
    for one in points:
        steps = "-" if one.evaluations is None else f"{one.evaluations:.0f}"
        yield (
            f"| {one.task} | {one.horizon} | {one.planner} | {rate_text(one.success)} | {one.success.trials} "
            f"| {versus_text(one)} | {_number(one.seconds)} | {steps} |"
        )
    yield ""


def _sensitivity(figures: Sequence[str]) -> Iterator[str]:
    if "sensitivity" in figures:
        yield from ("## Sensitivity", "", "GRASP with factors on the tuned goal weight (gamma) and noise (sigma).", "")
        yield from _figure(figures, "sensitivity")


def _claims(facts: Mapping[str, Any]) -> Iterator[str]:
    if not facts["claims"]:
        return
    yield from (
        "## GRASP's claims",
        "",
        "What `grasp diagnose` measures of them; the rules are in [diagnose.md](diagnose.md).",
        "",
    )
    yield from ("| task | claim | verdict | measured |", "|---|---|---|---|")
    for task, claims in facts["claims"].items():
        for one in claims:
            yield f"| {task} | {_cell(one['claim'])} | **{one['verdict']}** | {_cell(one['measured'])} |"
    yield ""


def _shown_failures(
    points: Sequence[MeasuredPoint], facts: Mapping[str, Any], notes: Mapping[str, str], animations: set[str]
) -> Iterator[str]:
    found = shown_failures(points, facts)
    labels = " and ".join(facts["worst"][0])
    yield from (
        "## The worst plans",
        "",
        f"Of each point of {labels} the plan that missed and ended farthest; the farthest of these by",
    )
    yield from ("distance at the end over distance at the start.", "")
    if not found:
        yield from ("No plan missed.", "")
    for one, at in found:
        cell, seed = one.ids[at], int(one.cells.seed[at])
        far = f"{one.cells.distance[at]:.3g} of {one.cells.start_distance[at]:.3g} {one.unit} left"
        yield f"- {condition_text(one)}, {one.planner}, seed {seed} (`{cell}`), {far}: {notes.get(cell, UNSEEN)}"
        if cell in animations:
            yield from ("", f"  ![{condition_text(one)}, seed {seed}]({ASSETS}/{cell}.gif)", "")
    yield ""


def _horizon(one: MeasuredPoint) -> str:
    return condition_text(one).split(" ", 1)[1].removeprefix("H")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
